//! Others on the same hooks keep working, among them other runs of ours; what a killed run left is removed.

use std::mem::size_of;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use aya::programs::TcAttachType;
use rustix::process::Signal;

use crate::agent::{Agent, By, NSLOOKOUT, expect_nothing, filters, has_clsact, tcx};
use crate::fixture::{Namespace, Node, SERVER, until};
use crate::needs_root;

/// Packets that the filters of somebody else counted on a hook.
fn foreign_packets(node: &Namespace, link: &str, hook: &str) -> u64 {
    let shown = filters(node, link, hook);
    let sent = shown.lines().filter_map(|line| line.trim().strip_prefix("Sent "));
    sent.map(|line| line.split_whitespace().nth(2).unwrap().parse::<u64>().unwrap()).sum()
}

/// The filters without their counters.
fn plain(node: &Namespace, link: &str) -> String {
    ["ingress", "egress"].map(|hook| node.run(&format!("tc filter show dev {link} {hook}"))).concat()
}

/// Adds a foreign filter that sends copies of all IPv4 packets, or the packets themselves, to a link nobody reads.
///
/// u32 and mirred are in the smallest kernels; the action's counter says that the filter works.
fn add_filter(node: &Namespace, place: &str, action: &str) {
    node.try_run("ip link add sink1 type veth peer name sink2");
    node.run("ip link set sink1 up");
    node.run("ip link set sink2 up");
    node.run(&format!("tc filter add dev {place} u32 match u32 0 0 action mirred egress {action}"));
}

/// Somebody's filters before ours (which pass packets on to us) and behind ours (which have the last word).
#[test]
fn foreign_filters_keep_working() {
    needs_root!();
    let node = Node::new();
    let _server = node.server.dnsmasq(53, "");
    let host = &node.node;
    host.run("tc qdisc add dev cali1 clsact");
    add_filter(host, "cali1 ingress protocol ip prio 1", "mirror dev sink1 continue");
    add_filter(host, "cali1 ingress protocol ip prio 3", "mirror dev sink1");
    add_filter(host, "cali1 egress protocol ip prio 7", "mirror dev sink1");
    let before = plain(host, "cali1");
    for by in [By::Clsact, By::Tcx] {
        let agent = Agent::watch(host, &format!("{} -i cali1", by.options()));
        if by == By::Clsact {
            // Behind the first, before the others.
            let ingress = filters(host, "cali1", "ingress");
            let ours = ingress.lines().find(|line| line.contains("nslookout-")).unwrap_or_default();
            assert!(ours.contains("pref 2 ") && !ours.contains("+qdisc"), "{ingress}");
            let egress = filters(host, "cali1", "egress");
            assert!(egress.lines().any(|l| l.contains("nslookout-") && l.contains("pref 1 ")), "{egress}");
        }
        let counted = ["ingress", "egress"].map(|hook| foreign_packets(host, "cali1", hook));
        for number in 0..5 {
            node.ask(&format!("n{number}.a.test"));
        }
        agent.wait_for_lines(5);
        // Two filters count each query, one counts each answer.
        assert!(foreign_packets(host, "cali1", "ingress") >= counted[0] + 10, "{by:?}");
        assert!(foreign_packets(host, "cali1", "egress") >= counted[1] + 5, "{by:?}");
        let ended = agent.stop();
        ended.expect_exact();
        assert!(ended.json.iter().all(|line| line["outcome"] == "answered"), "{:#?}", ended.json);
        assert_eq!(plain(host, "cali1"), before, "{by:?}");
        assert!(has_clsact(host, "cali1"), "{by:?}");
    }
}

/// `check` names whoever is on the hooks, ourselves too, and changes nothing.
#[test]
fn check_names_the_others() {
    needs_root!();
    let node = Node::new();
    let host = &node.node;
    host.run("tc qdisc add dev cali1 clsact");
    add_filter(host, "cali1 ingress protocol ip prio 4", "mirror dev sink1");
    let _foreign = host.enter(|| foreign_tcx_drop("eni1")).unwrap();
    let agents = [By::Tcx, By::Clsact].map(|by| Agent::watch(host, &format!("{} -i cali1", by.options())));
    let state =
        || (plain(host, "cali1"), tcx(host, "cali1", TcAttachType::Ingress), has_clsact(host, "eni1"));
    let before = state();
    let told = host.run(&format!("{NSLOOKOUT} check"));
    for hook in [
        "ingress tcx nsl_ingress",
        "ingress clsact nslookout-",
        "ingress clsact u32 (priority 4)",
        "egress tcx nsl_egress",
        "egress clsact nslookout-",
        "ingress tcx foreign",
    ] {
        assert!(told.contains(&format!("already on the hook: {hook}")), "no `{hook}` in:\n{told}");
    }
    assert!(told.contains("ready: nslookout watch"), "{told}");
    assert_eq!(state(), before);
    for agent in agents {
        agent.stop().expect_exact();
    }
}

/// A drop by somebody behind us stays a drop, and we have seen the packet.
#[test]
fn a_foreign_filter_may_drop() {
    needs_root!();
    let node = Node::new();
    let _server = node.server.dnsmasq(53, "");
    let host = &node.node;
    host.run("tc qdisc add dev cali1 clsact");
    add_filter(host, "cali1 ingress protocol ip prio 9", "redirect dev sink1");
    expect_dropped(&node, "cali1");
}

/// The same by a tcx program.
#[test]
fn a_foreign_tcx_program_may_drop() {
    needs_root!();
    let node = Node::new();
    let _server = node.server.dnsmasq(53, "");
    // The program drops ARP too: both ends know each other before it comes.
    node.ask("a.test");
    let link = node.node.enter(|| foreign_tcx_drop("cali1")).unwrap();
    expect_dropped(&node, "cali1");
    drop(link);
    until("the foreign program to go", || {
        tcx(&node.node, "cali1", TcAttachType::Ingress).is_empty().then_some(())
    });
    let agent = Agent::watch(&node.node, "-i cali1");
    node.ask("a.test");
    assert_eq!(agent.wait_for_name("a.test")["outcome"], "answered");
}

fn expect_dropped(node: &Node, link: &str) {
    for by in [By::Tcx, By::Clsact] {
        // A tcx program runs before every filter: behind a foreign one that drops, a filter sees nothing.
        let foreign_first = by == By::Clsact && !tcx(&node.node, link, TcAttachType::Ingress).is_empty();
        if foreign_first {
            continue;
        }
        let agent = Agent::watch(&node.node, &format!("{} -i {link} --timeout 500ms", by.options()));
        let dig = format!("dig +tries=1 +timeout=1 @{SERVER} dropped.a.test");
        assert!(!node.client.try_run(&dig).status.success(), "{by:?}: the foreign program was passed by");
        assert_eq!(agent.wait_for_name("dropped.a.test")["outcome"], "unanswered", "{by:?}");
        agent.stop().expect_exact();
    }
}

/// Attaches a program of two instructions that drops everything to the ingress hook of `link` in this namespace.
fn foreign_tcx_drop(link: &str) -> OwnedFd {
    const BPF_PROG_LOAD: i64 = 5;
    const BPF_LINK_CREATE: i64 = 28;
    const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
    const BPF_TCX_INGRESS: u32 = 46;
    /// The first fields of the kernel's union bpf_attr for BPF_PROG_LOAD (linux/bpf.h).
    #[repr(C)]
    struct Load {
        kind: u32,
        instructions: u32,
        first: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel: u32,
        flags: u32,
        name: [u8; 16],
    }
    /// The same for BPF_LINK_CREATE.
    #[repr(C)]
    struct Create {
        program: u32,
        ifindex: u32,
        hook: u32,
        flags: u32,
        relative: u64,
        revision: u64,
    }
    fn bpf<T>(command: i64, attribute: &T) -> OwnedFd {
        // SAFETY: the kernel reads as many bytes of `attribute` as it is long; both commands return a descriptor.
        unsafe {
            let fd = libc::syscall(libc::SYS_bpf, command, &raw const *attribute, size_of::<T>());
            assert!(fd >= 0, "bpf({command}): {}", std::io::Error::last_os_error());
            OwnedFd::from_raw_fd(fd as i32)
        }
    }
    // mov r0, TCX_DROP; exit
    let program: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];
    let load = Load {
        kind: BPF_PROG_TYPE_SCHED_CLS,
        instructions: 2,
        first: program.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel: 0,
        flags: 0,
        name: *b"foreign\0\0\0\0\0\0\0\0\0",
    };
    let loaded = bpf(BPF_PROG_LOAD, &load);
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::DGRAM, None).unwrap();
    let ifindex = rustix::net::netdevice::name_to_index(&socket, link).unwrap();
    let program = loaded.as_raw_fd() as u32;
    bpf(
        BPF_LINK_CREATE,
        &Create { program, ifindex, hook: BPF_TCX_INGRESS, flags: 0, relative: 0, revision: 0 },
    )
}

/// A filter and a qdisc that were there, empty or not, are there afterwards; a filter that came later holds ours.
#[test]
fn a_qdisc_goes_only_if_it_is_ours_and_empty() {
    needs_root!();
    let node = Node::new();
    let host = &node.node;
    // Somebody's, without a filter.
    host.run("tc qdisc add dev cali1 clsact");
    Agent::watch(host, "--attach clsact -i cali1 -i eni1").stop().expect_exact();
    assert!(has_clsact(host, "cali1"));
    expect_nothing(host, &["eni1"]);
    host.run("tc qdisc del dev cali1 clsact");
    // Ours, but used by somebody by the time we go.
    let agent = Agent::watch(host, "--attach clsact -i cali1");
    add_filter(host, "cali1 egress protocol ip prio 5", "mirror dev sink1");
    agent.stop().expect_exact();
    assert!(has_clsact(host, "cali1"));
    assert!(filters(host, "cali1", "egress").contains("u32"));
    assert_eq!(filters(host, "cali1", "ingress"), "");
}

/// Two runs see everything, whichever of them goes first.
#[test]
fn two_runs_side_by_side() {
    needs_root!();
    let node = Node::new();
    let _server = node.server.dnsmasq(53, "");
    let pairs =
        [(By::Tcx, By::Tcx), (By::Clsact, By::Clsact), (By::Tcx, By::Clsact), (By::Clsact, By::Packet)];
    for (one, other) in pairs {
        for first_goes in [true, false] {
            let watch = |by: By| Agent::watch(&node.node, &format!("{} -i cali1", by.options()));
            let (first, second) = (watch(one), watch(other));
            node.ask("both.a.test");
            for agent in [&first, &second] {
                assert_eq!(agent.wait_for_name("both.a.test")["outcome"], "answered");
            }
            let (goes, stays) = if first_goes { (first, second) } else { (second, first) };
            goes.stop().expect_exact();
            node.ask("one.a.test");
            assert_eq!(stays.wait_for_name("one.a.test")["outcome"], "answered", "{one:?} {other:?}");
            let ended = stays.stop();
            ended.expect_exact();
            assert_eq!(ended.json.len(), 2, "{one:?} {other:?}: {:#?}", ended.json);
            expect_nothing(&node.node, &["cali1"]);
        }
    }
}

/// Kills a run that watched both pods by clsact; its filters stay.
fn kill(node: &Namespace, agent: Agent) {
    agent.signal(Signal::KILL);
    agent.wait();
    for link in ["cali1", "eni1"] {
        assert!(filters(node, link, "ingress").contains("nslookout-"), "{link}");
        assert!(filters(node, link, "egress").contains("nslookout-"), "{link}");
    }
}

#[test]
fn a_killed_run_by_tcx_leaves_nothing() {
    needs_root!();
    let node = Node::new();
    let agent = Agent::watch(&node.node, "--attach tcx");
    assert_eq!(tcx(&node.node, "cali1", TcAttachType::Ingress), ["nsl_ingress"]);
    agent.signal(Signal::KILL);
    agent.wait();
    // The kernel lets go of a dead process's links a little later.
    until("the links to go", || {
        let empty = |hook| tcx(&node.node, "cali1", hook).is_empty();
        (empty(TcAttachType::Ingress) && empty(TcAttachType::Egress)).then_some(())
    });
    expect_nothing(&node.node, &["cali1", "eni1", "lo"]);
}

#[test]
fn the_next_start_removes_what_a_killed_run_left() {
    needs_root!();
    let node = Node::new();
    for by in [By::Tcx, By::Clsact] {
        kill(&node.node, Agent::watch(&node.node, "--attach clsact"));
        // It need not watch the same interfaces.
        let next = Agent::watch(&node.node, &format!("{} -i lo", by.options()));
        expect_nothing(&node.node, &["cali1", "eni1"]);
        next.stop().expect_exact();
        expect_nothing(&node.node, &["cali1", "eni1", "lo"]);
    }
}

#[test]
fn the_next_start_leaves_strangers_alone() {
    needs_root!();
    let node = Node::new();
    let host = &node.node;
    // On cali1 the qdisc is somebody's, on eni1 ours with somebody's filter.
    host.run("tc qdisc add dev cali1 clsact");
    let agent = Agent::watch(host, "--attach clsact -i cali1 -i eni1");
    add_filter(host, "eni1 ingress protocol ip prio 8", "mirror dev sink1");
    kill(host, agent);
    let next = Agent::watch(host, "--attach tcx -i lo");
    assert!(has_clsact(host, "cali1") && has_clsact(host, "eni1"));
    assert_eq!(plain(host, "cali1"), "");
    let left = plain(host, "eni1");
    assert!(left.contains("u32") && !left.contains("nslookout-"), "{left}");
    next.stop().expect_exact();
    assert!(has_clsact(host, "cali1") && plain(host, "eni1").contains("u32"));
}

#[test]
fn the_next_start_leaves_a_running_sibling_alone() {
    needs_root!();
    let node = Node::new();
    let _server = node.server.dnsmasq(53, "");
    let host = &node.node;
    let killed = Agent::watch(host, "--attach clsact");
    let sibling = Agent::watch(host, "--attach clsact -i cali1");
    kill(host, killed);
    let next = Agent::watch(host, "--attach clsact -i cali1");
    let ingress = filters(host, "cali1", "ingress");
    assert_eq!(ingress.matches("nslookout-").count(), 2, "{ingress}");
    expect_nothing(host, &["eni1"]);
    node.ask("after.a.test");
    for agent in [sibling, next] {
        assert_eq!(agent.wait_for_name("after.a.test")["outcome"], "answered");
        agent.stop().expect_exact();
    }
    // The qdisc that the killed run made went with the last of us.
    expect_nothing(host, &["cali1", "eni1", "lo"]);
}

/// An `ingress` qdisc has one list for what comes in: a filter for egress would land there and count queries twice.
#[test]
fn an_ingress_qdisc_is_left_alone() {
    needs_root!();
    let node = Node::new();
    let host = &node.node;
    host.run("tc qdisc add dev cali1 ingress");
    let agent = Agent::watch(host, "--attach clsact -i cali1");
    assert!(
        agent.stderr().contains("failed to attach to cali1: somebody's ingress qdisc is there"),
        "{}",
        agent.stderr()
    );
    assert_eq!(filters(host, "cali1", "ingress"), "");
    agent.stop();
    assert!(host.run("tc qdisc show dev cali1").contains("qdisc ingress"));
}
