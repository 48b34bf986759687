#!/bin/bash
# Records the captures of this directory anew: each kind of client looks up eleven names through a search list of three,
# the last of which is truncated over UDP. Wants root, ip, tcpdump, unbound, zstd and the lab's clients (`cargo xtask setup`).
set -eu
data=$(cd "$(dirname "$0")" && pwd)
root=$data/../../../..
bin=$root/target/lab/bin
sources=$root/xtask/lab/clients
work=$(mktemp -d)
C=nslwire-client
S=nslwire-server

finish() {
    set +e
    [ -f "$work/unbound.pid" ] && kill "$(cat "$work/unbound.pid")"
    ip netns del $C
    ip netns del $S
    rm -rf "$work" /etc/netns/$C
}
trap finish EXIT

ip netns add $S
ip netns add $C
ip link add eth0 netns $C type veth peer name eth0 netns $S
ip -n $C addr add 10.77.0.2/24 dev eth0
ip -n $S addr add 10.77.0.53/24 dev eth0
for ns in $C $S; do
    ip -n $ns link set lo up
    ip -n $ns link set eth0 up
done
mkdir -p /etc/netns/$C
printf 'nameserver 10.77.0.53\noptions ndots:5\nsearch a.svc.cluster.local svc.cluster.local cluster.local\n' \
    >/etc/netns/$C/resolv.conf

{
    printf '%s\n' 'server:' ' username: ""' ' chroot: ""' ' use-syslog: no' ' interface: 10.77.0.53' \
        ' access-control: 0.0.0.0/0 allow' ' local-zone: "." static'
    echo " directory: \"$work\""
    echo " pidfile: \"$work/unbound.pid\""
    for i in $(seq 10); do
        echo " local-data: \"n$i.example. 30 A 192.0.2.$i\""
        echo " local-data: \"n$i.example. 30 AAAA 2001:db8::$i\""
    done
    for i in $(seq 59); do echo " local-data: \"big.example. 30 A 192.0.2.$i\""; done
    printf '%s\n' 'remote-control:' ' control-enable: no'
} >"$work/unbound.conf"
ip netns exec $S unbound -c "$work/unbound.conf"
names="$(seq -f 'n%g.example' -s ' ' 10) big.example"

record() {
    name=$1
    shift
    ip netns exec $C tcpdump -q -U -Z root -s0 -i eth0 -w "$work/$name.pcap" port 53 2>"$work/tcpdump" &
    tcpdump=$!
    until grep -qs listening "$work/tcpdump"; do sleep 0.1; done
    timeout 60 ip netns exec $C "$@" >"$work/$name.out" 2>&1 || echo "$name: not every lookup succeeded"
    # Its buffer is read once a second.
    sleep 2
    kill $tcpdump
    wait $tcpdump || true
    zstd -q -19 -f "$work/$name.pcap" -o "$data/$name.pcap.zst"
}

record musl-1.2.3 "$bin/getaddrinfo-musl" $names
record musl-1.2.4 "$bin/getaddrinfo-musl-1.2.4" $names
record musl-1.2.5 "$bin/getaddrinfo-musl-1.2.5" $names
record glibc-2.36 "$bin/getaddrinfo-glibc" $names
record go-1.19 "$bin/lookup-go" $names
record c-ares-1.18 "$bin/ares_getaddrinfo" $names
record c-ares-1.34 "$root"/target/lab/venv/pycares-*/bin/python3 "$sources/ares_getaddrinfo.py" $names
record node-20-resolve node "$sources/lookup.js" resolve $names
record node-20-lookup node "$sources/lookup.js" lookup $names
record busybox-1.35-nslookup sh -c "for name in $names n1; do busybox nslookup \$name; done"
record dig sh -c "for name in $names; do dig \$name A \$name AAAA; done"
record kdig sh -c "for name in $names; do kdig \$name A \$name AAAA; done"
