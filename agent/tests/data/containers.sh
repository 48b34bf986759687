#!/bin/bash
# Writes captures of this directory anew in other formats, in other link layers, and broken. Wants editcap and mergecap
# (Wireshark 4), python3, gzip and zstd; no root. record.sh ends with it.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The same packets in every container (files.rs compares them with refused.pcap).
editcap -F pcapng refused.pcap same-as-refused.comments.pcapng --capture-comment 'two comments' -a 1:'a packet comment'
editcap -F nsecpcap refused.pcap same-as-refused.nanoseconds.pcap
editcap -F modpcap refused.pcap same-as-refused.modified.pcap
# Two members, cut in the middle of a record.
{ head -c 300 refused.pcap | gzip -n9; tail -c +301 refused.pcap | gzip -n9; } >same-as-refused.pcap.gz
zstd -q -f -19 same-as-refused.comments.pcapng -o same-as-refused.pcapng.zst

# And in every link layer and byte order: what stands in front of IP is exchanged.
python3 - <<'PYTHON'
import struct

with open("refused.pcap", "rb") as file:
    capture = file.read()
packets = []
offset = 24
while offset < len(capture):
    seconds, fraction, length, original = struct.unpack_from("<4I", capture, offset)
    packets.append((seconds, fraction, original - 14, capture[offset + 16 + 14 : offset + 16 + length]))
    offset += 16 + length

def write(name, order, link_type, header):
    with open(f"same-as-refused.{name}.pcap", "wb") as file:
        file.write(struct.pack(order + "IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, link_type))
        for seconds, fraction, original, ip in packets:
            whole = len(header) + original
            file.write(struct.pack(order + "4I", seconds, fraction, len(header) + len(ip), whole) + header + ip)

mac = bytes(12)
write("big-endian", ">", 1, mac + b"\x08\x00")
write("vlan", "<", 1, mac + b"\x81\x00\x00\x64\x08\x00")
write("pppoe", "<", 1, mac + b"\x88\x64\x11\x00\x00\x01\x00\x00\x00\x21")
write("raw", "<", 101, b"")
write("sll", "<", 113, struct.pack(">HHH8sH", 0, 1, 6, bytes(8), 0x0800))
write("sll2", "<", 276, struct.pack(">HHIHBB8s", 0x0800, 0, 2, 1, 0, 6, bytes(8)))
write("sll2-vlan", "<", 276, struct.pack(">HHIHBB8sHH", 0x8100, 0, 2, 1, 0, 6, bytes(8), 100, 0x0800))
write("null", "<", 0, struct.pack("<I", 2))
write("null-other", "<", 0, struct.pack(">I", 2))
write("loop", "<", 108, struct.pack(">I", 2))
write("ppp", "<", 9, b"\x00\x21")
write("ppp-serial", "<", 50, b"\xff\x03\x00\x21")

# Every packet as an obsolete Packet Block of a big-endian section, in units of 2^-32 s, an hour off.
def block(kind, body):
    body += bytes(-len(body) % 4)
    total = struct.pack(">I", len(body) + 12)
    return struct.pack(">I", kind) + total + body + total

with open("same-as-refused.obsolete.pcapng", "wb") as file:
    file.write(block(0x0A0D0D0A, struct.pack(">IHHq", 0x1A2B3C4D, 1, 0, -1)))
    options = struct.pack(">HHB3xHHqHH", 9, 1, 0xA0, 14, 8, 3600, 0, 0)
    file.write(block(1, struct.pack(">HHI", 101, 0, 0) + options))
    for seconds, fraction, original, ip in packets:
        stamp = (seconds - 3600 << 32) + ((fraction << 32) + 999_999) // 1_000_000
        file.write(block(2, struct.pack(">HHQII", 0, 0, stamp, len(ip), original) + ip))
PYTHON

# Two interfaces: of raw IP with microseconds, and of Ethernet with nanoseconds.
mergecap -F pcapng -I none -w two-interfaces.pcapng raw-ip.pcap ipv6.pcap
# Of 802.11 and of Ethernet.
editcap -F pcapng -T ieee-802-11 strays.pcap "$work/radio.pcapng"
mergecap -F pcapng -I none -w radio-and-ethernet.pcapng "$work/radio.pcapng" strays.pcap
editcap -F pcap -T ieee-802-11 strays.pcap radio.pcap
# Two sections, one behind the other.
editcap -F pcapng strays.pcap "$work/strays.pcapng"
editcap -F pcapng mid-flight.pcap "$work/mid-flight.pcapng"
cat "$work/mid-flight.pcapng" "$work/strays.pcapng" >two-sections.pcapng
# The last record is cut off; a gzip stream is; a record in the middle is broken.
head -c -20 strays.pcap >cut-off.pcap
gzip -n9c strays.pcap | head -c -30 >cut-off-gzip.pcap.gz
head -c -20 "$work/strays.pcapng" >cut-off-pcapng.pcapng
second=$((40 + $(od -An -tu4 -j32 -N4 strays.pcap)))
{ head -c $((second + 8)) strays.pcap; printf '\377\377\377\177'; tail -c +$((second + 13)) strays.pcap; } >broken.pcap
