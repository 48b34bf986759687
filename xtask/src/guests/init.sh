#!/bin/busybox sh
# Process 1 of a guest: a pod behind a veth, a real resolver on the node, an agent in each of its ways to capture.
# What the host judges stands between the lines "@@begin NAME" and "@@end NAME".
/bin/busybox --install -s /bin
# This shell runs an applet before a program of the same name, whatever PATH says: hence /usr/bin/ip and /usr/bin/tc.
export PATH=/usr/bin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mount -t bpf bpf /sys/fs/bpf
mkdir -p /run/netns
# The kernel's own messages would break lines of JSON.
dmesg -n 1

show() { # NAME COMMAND...: what the command says, between markers
    local section=$1
    shift
    echo "@@begin $section"
    "$@" 2>&1
    echo "@@end $section"
}

# The firmware leaves its own words in the first line.
echo
show release uname -r
# busybox modprobe would need an index; the order of the list is enough.
for module in veth sch_ingress cls_bpf; do
    [ ! -f /modules/$module.ko ] || insmod /modules/$module.ko || echo "insmod $module failed"
done

/usr/bin/ip link set lo up
/usr/bin/ip addr add 10.96.0.10/32 dev lo
/usr/bin/ip netns add pod
/usr/bin/ip link add cali0123456789a type veth peer name eth0 netns pod
/usr/bin/ip addr add 169.254.1.1/32 dev cali0123456789a
/usr/bin/ip link set cali0123456789a up
/usr/bin/ip route add 10.1.0.5/32 dev cali0123456789a
/usr/bin/ip -n pod link set lo up
/usr/bin/ip -n pod addr add 10.1.0.5/32 dev eth0
/usr/bin/ip -n pod link set eth0 up
/usr/bin/ip -n pod route add default via 169.254.1.1 dev eth0 onlink
# An interface where somebody else's clsact stands already: it must be there afterwards too.
/usr/bin/ip link add caliabcdef01234 type veth peer name other
/usr/bin/ip link set caliabcdef01234 up
/usr/bin/tc qdisc add dev caliabcdef01234 clsact

dnsmasq --keep-in-foreground --user=root --no-resolv --no-hosts --listen-address=10.96.0.10 --bind-interfaces \
    --local=/test/ --host-record=web.test,192.0.2.1,2001:db8::1 --host-record=api.test,192.0.2.2,2001:db8::2 &
dnsmasq=$!
sleep 0.5

ask() { # NAME: A and AAAA
    /usr/bin/ip netns exec pod nslookup -type=a "$1" 10.96.0.10
    /usr/bin/ip netns exec pod nslookup -type=aaaa "$1" 10.96.0.10
}

# A query for the A record of web.test, behind its length (RFC 1035 section 4.2.2); the ID is 0x4e53.
ask_over_tcp() {
    {
        printf '\000\032\116\123\001\000\000\001\000\000\000\000\000\000\003web\004test\000\000\001\000\001'
        sleep 0.3
    } | /usr/bin/ip netns exec pod nc -w 3 10.96.0.10 53 | wc -c
}

lookups() {
    ask web.test
    ask api.test
    ask missing.test
    ask_over_tcp
}

show unwatched lookups

pass() { # NAME FLAGS...: lookups under one agent
    local name=$1
    shift
    # The background process may open its files late: what the last pass said must not be taken for this one's.
    rm -f /tmp/lines /tmp/errors
    nslookout watch -i any -o json "$@" >/tmp/lines 2>/tmp/errors &
    agent=$!
    waited=0
    until grep -qs '^listening on' /tmp/errors || [ $waited -ge 600 ] || ! kill -0 $agent 2>/dev/null; do
        waited=$((waited + 1))
        sleep 0.1
    done
    show "$name.attached" /usr/bin/tc filter show dev cali0123456789a ingress
    lookups >/tmp/answers 2>&1
    # A reader that polls and a line that waits for its order both need a moment.
    sleep 1
    kill -TERM $agent 2>/dev/null
    wait $agent
    echo "$?" >/tmp/status
    # The kernel frees programs after a grace period.
    sleep 0.3
    show "$name.answers" cat /tmp/answers
    show "$name.lines" cat /tmp/lines
    show "$name.errors" cat /tmp/errors
    show "$name.status" cat /tmp/status
    show "$name.qdiscs" /usr/bin/tc qdisc show
    show "$name.filters" eval 'for link in cali0123456789a caliabcdef01234 lo; do /usr/bin/tc filter show dev $link ingress; /usr/bin/tc filter show dev $link egress; done 2>/dev/null'
    show "$name.programs" eval 'bpftool prog show | grep nsl_'
}

pass auto
pass clsact --capture ebpf --attach clsact
pass packet --capture packet

kill $dnsmasq
echo "@@done"
poweroff -f
