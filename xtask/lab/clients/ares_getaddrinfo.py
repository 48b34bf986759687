"""Resolves each name on the command line by the c-ares that pycares brings: one ares_getaddrinfo call for A and AAAA.

    ares_getaddrinfo.py [-n TIMES] [-i MILLISECONDS] NAME...

One channel for all names of a round, as a program has one; a new channel for the next round, since the cache that c-ares
keeps since 1.31 would hide every repetition from the wire. Prints one line per lookup and exits as getaddrinfo.c does.
"""

import argparse
import socket
import sys
import threading
import time

import pycares

LIMIT_S = 60


def resolve(channel, name):
    done = threading.Event()
    outcome = []

    def finished(result, error):
        outcome.extend([result, error])
        done.set()

    start = time.monotonic()
    channel.getaddrinfo(name, 443, family=socket.AF_UNSPEC, type=socket.SOCK_STREAM, callback=finished)
    ended = done.wait(LIMIT_S)
    took = (time.monotonic() - start) * 1e3
    result, error = outcome if ended else (None, None)
    if result is None:
        words = pycares.errno.strerror(error) if ended else "no end"
        print(f"{name}  {took:.1f} ms  {words}", flush=True)
        return False
    found = [node.addr[0] for node in result.nodes]
    text = [address.decode() if isinstance(address, bytes) else address for address in found]
    print(f"{name}  {took:.1f} ms  {' '.join(text)}", flush=True)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=1, metavar="TIMES")
    parser.add_argument("-i", type=int, default=0, metavar="MILLISECONDS")
    parser.add_argument("names", nargs="+", metavar="NAME")
    plan = parser.parse_args()
    failed = False
    for turn in range(plan.n):
        if turn > 0:
            time.sleep(plan.i / 1e3)
        channel = pycares.Channel()
        for name in plan.names:
            failed |= not resolve(channel, name)
        channel.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
