"""The introspection of the ECS agent: what the ECS guide documents ("Amazon ECS container introspection").

The list of tasks is a file, read anew for each request.
"""

import argparse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

METADATA = (
    '{"Cluster": "default", "ContainerInstanceArn": "arn:aws:ecs:us-west-2:012345678910:container-instance/default/1f73",'
    ' "Version": "Amazon ECS Agent - v1.99.0 (*4b4013d5)"}'
)

arguments = argparse.ArgumentParser()
arguments.add_argument("--bind", default="127.0.0.1")
arguments.add_argument("--port", type=int, default=51678)
arguments.add_argument("--tasks", required=True)
options = arguments.parse_args()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/v1/metadata":
            status, text = 200, METADATA
        elif self.path == "/v1/tasks":
            with open(options.tasks) as file:
                status, text = 200, file.read()
        else:
            status, text = 404, ""
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer((options.bind, options.port), Handler).serve_forever()
