#!/bin/bash
# Records the captures of this directory anew: two network namespaces, real resolvers, real clients. Wants root, ip,
# nft, tcpdump, dnsmasq, unbound, dig, gcc and musl-gcc, python3, and what containers.sh wants. The expected texts change with every recording:
#   agent/tests/data/record.sh && UPDATE_EXPECT=1 cargo test -p nslookout --test replay
set -eu
data=$(cd "$(dirname "$0")" && pwd)
source=$data/../../../xtask/lab/clients/getaddrinfo.c
work=$(mktemp -d)
C="ip netns exec nslcap-client"
S="ip netns exec nslcap-server"

finish() {
    set +e
    for ns in nslcap-client nslcap-server; do
        ip netns pids $ns 2>/dev/null | xargs -r kill 2>/dev/null
        ip netns del $ns 2>/dev/null
    done
    rm -rf "$work" /etc/netns/nslcap-client
}
trap finish EXIT

ip netns add nslcap-client
ip netns add nslcap-server
ip link add eth0 netns nslcap-client type veth peer name eth0 netns nslcap-server
$C ip link set lo up
$C ip link set eth0 up
$C ip addr add 192.0.2.2/24 dev eth0
$C ip addr add 2001:db8::2/64 dev eth0 nodad
$S ip link set lo up
$S ip link set eth0 up
for host in 53 54 55; do
    $S ip addr add 192.0.2.$host/24 dev eth0
    $S ip addr add 2001:db8::$host/64 dev eth0 nodad
done
mkdir -p /etc/netns/nslcap-client

resolv_conf() { printf '%s\n' "$@" >/etc/netns/nslcap-client/resolv.conf; }

# 60 addresses fit into no 512 bytes.
for last in $(seq 60); do echo "198.51.100.$last big.example.test"; done >"$work/hosts"
{ echo '192.0.2.80 www.example.test'; echo '2001:db8::80 www.example.test'; echo '192.0.2.81 v4.example.test'; } >>"$work/hosts"
$S dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= --no-resolv --no-hosts --user=root --bind-interfaces \
    --listen-address=192.0.2.53,2001:db8::53 --addn-hosts="$work/hosts" --local-ttl=60 --local=/test/ \
    --cname=alias.example.test,www.example.test --mx-host=example.test,mail.example.test,10 \
    --srv-host=_dns._udp.example.test,www.example.test,53,1,2 --txt-record=text.example.test,'two words','é' \
    --txt-record=long.example.test,"$(printf 'x%.0s' $(seq 250))","$(printf 'y%.0s' $(seq 250))" \
    --edns-packet-max=4096 2>"$work/dnsmasq.log" &
cat >"$work/unbound.conf" <<END
server:
  interface: 192.0.2.54
  access-control: 192.0.2.0/24 refuse
  do-daemonize: no
  username: ""
  chroot: ""
  directory: ""
  pidfile: ""
  use-syslog: no
  module-config: "iterator"
END
$S unbound -c "$work/unbound.conf" 2>"$work/unbound.log" &
$S python3 "$data/responder.py" 192.0.2.55 &
$S python3 "$data/responder.py" 2001:db8::55 &
musl-gcc -static -O2 -o "$work/musl" "$source"
gcc -O2 -o "$work/glibc" "$source"
sleep 1

# record NAME TCPDUMP-OPTION... -- reads the commands from standard input
record() {
    local name=$1
    shift
    $C tcpdump -Z root --immediate-mode -U -w "$data/$name.pcap" "$@" 2>"$work/$name.log" &
    local pid=$!
    until grep -q 'listening on' "$work/$name.log"; do sleep 0.1; done
    sleep 0.3
    . /dev/stdin || true
    sleep 0.5
    kill $pid
    wait $pid || true
}

dns='port 53'
dig() { $C dig +tries=1 "$@" >/dev/null || true; }
musl() { $C "$work/musl" "$@" || true; }
glibc() { $C "$work/glibc" "$@" || true; }

resolv_conf 'nameserver 192.0.2.53' 'search ns.svc.cluster.test svc.cluster.test cluster.test' 'options ndots:5'
record search-list -i eth0 $dns <<'END'
musl www.example.test
glibc www.example.test
END
record snaplen -i eth0 -s 96 $dns <<'END'
glibc www.example.test
dig @192.0.2.53 a-name-that-is-longer-than-what-the-capture-keeps.example.test
END

resolv_conf 'nameserver 192.0.2.53'
record truncated -i eth0 $dns <<'END'
musl big.example.test
sleep 0.2
glibc big.example.test
dig @192.0.2.53 +noedns big.example.test
END
record answers -i eth0 $dns <<'END'
dig @192.0.2.53 +noedns www.example.test
dig @192.0.2.53 +bufsize=512 www.example.test AAAA
dig @192.0.2.53 +bufsize=1232 +dnssec alias.example.test
dig @192.0.2.53 +bufsize=4096 big.example.test
dig @192.0.2.53 v4.example.test AAAA
dig @192.0.2.53 www.example.test HTTPS
dig @192.0.2.53 www.example.test TYPE12345
dig @192.0.2.53 nowhere.example.test
dig @192.0.2.53 example.test MX
dig @192.0.2.53 _dns._udp.example.test SRV
dig @192.0.2.53 text.example.test TXT
dig @192.0.2.53 -x 192.0.2.80
dig @192.0.2.53 'a\.dot.and\000\027[31mescape.test'
dig @192.0.2.55 fail.test
dig @192.0.2.55 badvers.test
END
record refused -i eth0 $dns <<'END'
dig @192.0.2.54 www.example.test
resolv_conf 'nameserver 192.0.2.54'
glibc www.example.test
END

resolv_conf 'nameserver 2001:db8::53'
record ipv6 -i eth0 --time-stamp-precision=nano $dns <<'END'
glibc www.example.test
musl v4.example.test
dig @2001:db8::53 +tcp www.example.test AAAA
END

record tcp -i eth0 $dns <<'END'
dig @192.0.2.53 +tcp +keepopen www.example.test A www.example.test AAAA
dig @192.0.2.53 +tcp long.example.test TXT
$C python3 - <<'PYTHON'
import socket, time
name = b"\3www\7example\4test\0"
def query(id, qtype):
    message = id.to_bytes(2, "big") + b"\1\0\0\1\0\0\0\0\0\0" + name + bytes([0, qtype, 0, 1])
    return len(message).to_bytes(2, "big") + message
for pieces in ([query(1, 1) + query(2, 28)], [query(3, 1)[:1], query(3, 1)[1:]]):
    connection = socket.create_connection(("192.0.2.53", 53))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for piece in pieces:
        connection.sendall(piece)
        time.sleep(0.1)
    connection.recv(4096)
    connection.close()
PYTHON
END

record fragments -i eth0 "$dns or (ip[6:2] & 0x1fff != 0) or ip6[6] == 44" <<'END'
dig @192.0.2.55 +bufsize=4096 big.test TXT
dig @2001:db8::55 +bufsize=4096 big.test TXT
END
record strays -i eth0 $dns <<'END'
dig @192.0.2.55 twice.test
END
$C dig @192.0.2.55 +tries=1 slow2.test >/dev/null &
sleep 1
record mid-flight -i eth0 $dns <<'END'
sleep 1.5
dig @192.0.2.55 www.test
END
record late -i eth0 $dns <<'END'
dig @192.0.2.55 +time=9 slow7.test
dig @192.0.2.55 www.test
END

resolv_conf 'nameserver 192.0.2.55'
record one-of-two -i eth0 $dns <<'END'
musl half.test &
glibc half.test &
sleep 18
dig @192.0.2.55 www.test
END
$S nft 'table inet filter { chain input { type filter hook input priority 0; udp dport 53 ip daddr 192.0.2.53 drop; }; }'
resolv_conf 'nameserver 192.0.2.53'
record unanswered -i eth0 $dns <<'END'
musl www.example.test &
glibc www.example.test &
sleep 18
dig @192.0.2.55 www.test
END
$S nft flush ruleset

# A tun device has no link layer: raw IP. The peer behind it says NXDOMAIN to everything.
$C python3 - <<'PYTHON' &
import fcntl, os, struct
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH", b"tun7", 0x1001))
while True:
    packet = os.read(tun, 2048)
    if packet[0] == 0x45 and packet[9] == 17:
        ports = packet[22:24] + packet[20:22]
        message = packet[28:30] + b"\x81\x83" + packet[32:]
        header = packet[:10] + b"\0\0" + packet[16:20] + packet[12:16]
        total = sum(struct.unpack("!10H", header))
        checksum = ~(total + (total >> 16)) & 0xFFFF
        header = header[:10] + struct.pack("!H", checksum) + header[12:]
        os.write(tun, header + ports + packet[24:26] + b"\0\0" + message)
PYTHON
until $C ip link show tun7 2>/dev/null; do sleep 0.1; done
$C ip addr add 198.51.100.2/24 dev tun7
$C ip link set tun7 up
sleep 0.5
record raw-ip -i tun7 $dns <<'END'
dig @198.51.100.53 +noedns www.example.test
END
record cooked -i any $dns <<'END'
dig @192.0.2.53 www.example.test
END
"$data/containers.sh"
