"""A DNS server that misbehaves as it is told, for what no real server can be configured to do.

    responder.py ADDRESS RULES.json

The first rule that fits a query decides; without one the name does not exist. A rule has conditions and actions:

    name, type, proto   a pattern of the name (without the final dot), the type's name or "*", "udp", "tcp" or "*"
    first               only for the first so many queries of one name and type
    answer              records as "TYPE DATA"; what follows a CNAME belongs to its target
    count               so many A records
    rcode, tc, aa, ra   parts of the header; opt: the size of an OPT record in the response
    soa                 false: without an SOA in a negative response
    question            false: without the question
    delay               seconds before the response is sent
    source              the address that the response is sent from
    size                the response is filled with a TXT record in its additional section up to so many octets
    times               the response is sent so often
    silent              no response at all
"""

import fnmatch
import json
import socket
import struct
import sys
import threading
import time

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "TXT": 16, "AAAA": 28}


def wire(name):
    labels = [label for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


def read_question(query):
    position, labels = 12, []
    while query[position]:
        length = query[position]
        labels.append(query[position + 1 : position + 1 + length].decode("latin-1").lower())
        position += 1 + length
    (qtype,) = struct.unpack(">H", query[position + 1 : position + 3])
    return ".".join(labels), qtype, query[12 : position + 5]


def record(owner, kind, data, ttl=5):
    if kind == "A":
        rdata = socket.inet_pton(socket.AF_INET, data)
    elif kind == "AAAA":
        rdata = socket.inet_pton(socket.AF_INET6, data)
    elif kind == "SOA":
        rdata = wire("ns." + data) + wire("hostmaster." + data) + struct.pack(">5I", 1, 7200, 1800, 86400, 5)
    elif kind == "TXT":
        text = data.encode()
        rdata = b"".join(bytes([len(text[n : n + 255])]) + text[n : n + 255] for n in range(0, len(text), 255))
    else:
        rdata = wire(data)
    return owner + struct.pack(">HHIH", TYPES[kind], 1, ttl, len(rdata)) + rdata


class Responder:
    def __init__(self, address, rules):
        self.address, self.rules = address, rules
        self.seen, self.lock = {}, threading.Lock()

    def rule_for(self, name, qtype, proto):
        with self.lock:
            count = self.seen[(name, qtype)] = self.seen.get((name, qtype), 0) + 1
        for rule in self.rules:
            fits = fnmatch.fnmatch(name, rule.get("name", "*"))
            fits = fits and rule.get("proto", "*") in ("*", proto)
            fits = fits and (rule.get("type", "*") == "*" or TYPES[rule["type"]] == qtype)
            if fits and count <= rule.get("first", count):
                return rule
        return {"rcode": 3}

    def response(self, query, proto):
        """The rule and the response, or the rule alone where there is none."""
        name, qtype, question = read_question(query)
        rule = self.rule_for(name, qtype, proto)
        if rule.get("silent"):
            return rule, None
        answers, owner = b"", b"\xc0\x0c"
        lines = rule.get("answer", []) + [f"A 20.113.0.{n}" for n in range(1, rule.get("count", 0) + 1)]
        for line in lines:
            kind, data = line.split(" ", 1)
            answers += record(owner, kind, data, rule.get("ttl", 5))
            owner = wire(data) if kind == "CNAME" else owner
        authority = b""
        if not any(line.startswith(("A ", "AAAA ")) for line in lines) and rule.get("soa", True):
            authority = record(wire("example"), "SOA", "example", 30)
        with_question = rule.get("question", True)
        flags = 0x8000 | (query[2] << 8 & 0x0100) | rule.get("rcode", 0)
        flags |= (0x0400 if rule.get("aa") else 0) | (0x0080 if rule.get("ra", True) else 0)
        flags |= 0x0200 if rule.get("tc") else 0
        additional, extras = b"", 0
        if "opt" in rule:
            additional += b"\0" + struct.pack(">HHIH", 41, rule["opt"], 0, 0)
            extras += 1
        body = (question if with_question else b"") + answers + authority
        if "size" in rule:
            room = rule["size"] - 12 - len(body) - len(additional) - 11
            # A string of up to 255 octets has one octet of length before it.
            strings, rest = divmod(room, 256)
            text = strings * 255 + max(rest - 1, 0)
            additional += record(b"\0", "TXT", "x" * text)
            extras += 1
        counts = (int(with_question), len(lines), int(bool(authority)), extras)
        return rule, query[:2] + struct.pack(">H4H", flags, *counts) + body + additional

    def datagram(self, sock, query, client):
        rule, response = self.response(query, "udp")
        if response is None:
            return
        time.sleep(rule.get("delay", 0))
        if "source" in rule:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((rule["source"], 53))
        for _ in range(rule.get("times", 1)):
            sock.sendto(response, client)

    def connection(self, stream):
        with stream:
            while (head := stream.recv(2, socket.MSG_WAITALL)) and len(head) == 2:
                query = stream.recv(struct.unpack(">H", head)[0], socket.MSG_WAITALL)
                rule, response = self.response(query, "tcp")
                time.sleep(rule.get("delay", 0))
                if response is not None:
                    stream.sendall(struct.pack(">H", len(response)) + response)

    def serve_streams(self, listener):
        while True:
            stream, _ = listener.accept()
            threading.Thread(target=self.connection, args=(stream,), daemon=True).start()

    def run(self):
        if not any(rule.get("no_tcp") for rule in self.rules):
            listener = socket.create_server((self.address, 53))
            threading.Thread(target=self.serve_streams, args=(listener,), daemon=True).start()
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((self.address, 53))
        while True:
            try:
                query, client = sock.recvfrom(4096)
            except ConnectionError:
                continue
            threading.Thread(target=self.datagram, args=(sock, query, client), daemon=True).start()


if __name__ == "__main__":
    with open(sys.argv[2], encoding="utf-8") as file:
        Responder(sys.argv[1], json.load(file)).run()
