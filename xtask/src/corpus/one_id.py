"""A stub resolver that gives two open questions one ID and one port: one_id.py ADDRESS pair|names NAME...

`pair` asks for A and AAAA of each name at once, `names` for A of two names at once.
"""

import socket
import struct
import sys
import time


def question(number, name, qtype):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    header = struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0)
    return header + labels + b"\0" + struct.pack(">HH", qtype, 1)


def main():
    address, how, names = sys.argv[1], sys.argv[2], sys.argv[3:]
    if how == "pair":
        rounds = [[(name, 1), (name, 28)] for name in names]
    else:
        rounds = [[(names[n], 1), (names[n + 1], 1)] for n in range(0, len(names) - 1, 2)]
    for number, questions in enumerate(rounds):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(2)
        sock.connect((address, 53))
        for name, qtype in questions:
            sock.send(question(0x1D5E + 977 * number, name, qtype))
        for _ in questions:
            sock.recv(4096)
        time.sleep(0.3)


main()
