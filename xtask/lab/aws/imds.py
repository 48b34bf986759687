"""The instance metadata service of EC2, version 2, as far as it tells of network interfaces.

Serves what the EC2 guide documents ("Use instance metadata", "Instance metadata categories"): a token by PUT, without
which nothing is told, and one document per category. Every request is a line of the log: METHOD PATH STATUS.
"""

import argparse
import json
import secrets
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "/latest/api/token"
MACS = "/latest/meta-data/network/interfaces/macs/"

arguments = argparse.ArgumentParser()
arguments.add_argument("--bind", default="169.254.169.254")
arguments.add_argument("--port", type=int, default=80)
# {"02:…": {"interface-id": "eni-…", "local-ipv4s": ["10.0.0.7"], …}, …}, read anew for each request.
arguments.add_argument("--interfaces", required=True)
arguments.add_argument("--log", required=True)
# required: version 2 alone. optional: version 1 too. v1: no tokens at all. off: 403. garbage: text that nobody expects.
arguments.add_argument("--tokens", default="required", choices=["required", "optional", "v1", "off", "garbage"])
# How many hosts the answer to a PUT may pass, as HttpPutResponseHopLimit.
arguments.add_argument("--hop-limit", type=int, default=64)
# Tokens are forgotten after so many requests: as if their time were over.
arguments.add_argument("--uses", type=int, default=1 << 30)
options = arguments.parse_args()
tokens = {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, text=""):
        with open(options.log, "a") as log:
            log.write(f"{self.command} {self.path} {status}\n")
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self):
        if options.tokens == "off" or self.headers.get("X-Forwarded-For"):
            return self.answer(403)
        if options.tokens == "v1" or self.path != TOKEN:
            return self.answer(404)
        seconds = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if not seconds.isdigit() or not 1 <= int(seconds) <= 21600:
            return self.answer(400)
        self.connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, options.hop_limit)
        token = secrets.token_urlsafe(40)
        tokens[token] = options.uses
        self.answer(200, token)

    def do_GET(self):
        token = self.headers.get("X-aws-ec2-metadata-token")
        if options.tokens in ("required", "garbage") or token is not None:
            if tokens.get(token, 0) <= 0:
                return self.answer(401)
            tokens[token] -= 1
        if options.tokens == "off":
            return self.answer(403)
        if options.tokens == "garbage":
            return self.answer(200, "<html>\n")
        if self.path == "/latest/meta-data/instance-id":
            return self.answer(200, "i-0123456789abcdef0")
        if not self.path.startswith(MACS):
            return self.answer(404)
        with open(options.interfaces) as file:
            interfaces = json.load(file)
        mac, _, category = self.path[len(MACS):].partition("/")
        if not mac:
            return self.answer(200, "\n".join(f"{mac}/" for mac in interfaces))
        found = interfaces.get(mac, {}).get(category)
        if found is None:
            return self.answer(404)
        self.answer(200, "\n".join(found) if isinstance(found, list) else found)

    def log_message(self, *_):
        pass


ThreadingHTTPServer((options.bind, options.port), Handler).serve_forever()
