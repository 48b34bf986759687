#!/usr/bin/env python3
"""A DNS server with bad habits, for captures: the first label of the name says which.

usage: responder.py ADDRESS

slow7 answers after 7 s, slow2 after 2 s, twice answers again 20 ms later, half answers A but not AAAA, big answers
with 2900 bytes whatever the client can take, bigN with N records of 263 bytes each, fail says SERVFAIL, badvers says BADVERS; anything else gets an A.
"""
import socket
import struct
import sys
import threading
import time

address = sys.argv[1]
server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
server.bind((address, 53))


def question_of(query):
    end = 12
    while query[end]:
        end += query[end] + 1
    return query[12 : end + 5], query[13 : 13 + query[12]].decode(), struct.unpack("!H", query[end + 1 : end + 3])[0]


def answer(query, client):
    question, habit, qtype = question_of(query)
    records, rcode, additional = [], 0, b""
    if habit.startswith("big"):
        text = b"\xfa" + b"x" * 250
        records = [struct.pack("!HHHIH", 0xC00C, 16, 1, 60, len(text)) + text for _ in range(int(habit[3:] or 11))]
    elif habit == "fail":
        rcode = 2
    elif habit == "badvers":
        additional = struct.pack("!BHHBBHH", 0, 41, 1232, 1, 0, 0, 0)
    elif qtype == 1:
        records = [struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + bytes([192, 0, 2, 80])]
    if habit == "half" and qtype == 28:
        return
    time.sleep({"slow7": 7.0, "slow2": 2.0}.get(habit, 0))
    header = query[:2] + struct.pack("!HHHHH", 0x8180 | rcode, 1, len(records), 0, 1 if additional else 0)
    message = header + question + b"".join(records) + additional
    server.sendto(message, client)
    if habit == "twice":
        time.sleep(0.02)
        server.sendto(message, client)


while True:
    datagram, sender = server.recvfrom(4096)
    threading.Thread(target=answer, args=(datagram, sender), daemon=True).start()
