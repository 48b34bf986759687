"""Asks one question over TCP and resets the connection as soon as the answer is there, so often: hurry.py ADDRESS NAME TIMES."""

import socket
import struct
import sys
import time

address, name, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
for number in range(times):
    query = struct.pack(">HHHHHH", 4097 * (number + 1) % 65536, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\x01\0\x01"
    with socket.create_connection((address, 53), timeout=5) as stream:
        # Closing with nothing left to linger for sends a reset in place of a FIN (socket(7), SO_LINGER).
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.sendall(struct.pack(">H", len(query)) + query)
        (length,) = struct.unpack(">H", stream.recv(2, socket.MSG_WAITALL))
        stream.recv(length, socket.MSG_WAITALL)
    time.sleep(0.3)
