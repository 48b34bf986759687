"""A forwarder whose way to some zones is slow: relays queries over UDP, those for such a zone after a delay.

    slow.py CONFIG

CONFIG has the lines `listen ADDRESS` and `upstream ADDRESS`, and `zone NAME SECONDS` for each slow zone. At most 256
queries wait; more are dropped.
"""

import socket
import sys
import threading

MAX_WAITING = 256
UPSTREAM_LIMIT_S = 2


def read(path):
    """The listening address, the upstream, and the delay of each zone in seconds."""
    with open(path, encoding="ascii") as file:
        lines = [line.split() for line in file if line.strip() and not line.startswith("#")]
    addresses = dict(line for line in lines if len(line) == 2)
    zones = {line[1]: float(line[2]) for line in lines if line[0] == "zone"}
    return addresses["listen"], addresses["upstream"], zones


def name_of(query):
    """The name in the question, in lower case; empty where there is none."""
    labels, at = [], 12
    while at < len(query) and query[at]:
        end = at + 1 + query[at]
        labels.append(query[at + 1 : end].decode("latin-1").lower())
        at = end
    return ".".join(labels)


def relay(server, query, client, upstream, waiting):
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.settimeout(UPSTREAM_LIMIT_S)
            out.connect((upstream, 53))
            out.send(query)
            server.sendto(out.recv(65535), client)
    except OSError as error:
        print(f"{client}: {error}", file=sys.stderr)
    finally:
        waiting.release()


def main():
    listen, upstream, zones = read(sys.argv[1])
    waiting = threading.Semaphore(MAX_WAITING)
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((listen, 53))
    while True:
        query, client = server.recvfrom(65535)
        if not waiting.acquire(blocking=False):
            continue
        name = name_of(query)
        delay = next((seconds for zone, seconds in zones.items() if name.endswith("." + zone)), 0)
        timer = threading.Timer(delay, relay, (server, query, client, upstream, waiting))
        timer.daemon = True
        timer.start()


if __name__ == "__main__":
    main()
