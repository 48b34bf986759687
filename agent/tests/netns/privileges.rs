//! What each way to capture needs of the capabilities, and what is given up once it runs.

use std::fs;
use std::process::Output;

use crate::agent::{Agent, NSLOOKOUT, expect_nothing};
use crate::fixture::{Namespace, Node, until};
use crate::needs_root;

/// `line` in `node` as root with these capabilities and no others.
fn with_only(node: &Namespace, capabilities: &[&str], line: &str) -> Output {
    let set: String = capabilities.iter().map(|name| format!(",+{name}")).collect();
    node.try_run(&format!("setpriv --bounding-set=-all{set} {line}"))
}

/// Captures for a moment, and gives standard error.
fn watch(node: &Namespace, capabilities: &[&str], options: &str) -> (Option<i32>, String) {
    let output = with_only(node, capabilities, &format!("{NSLOOKOUT} watch --for 1s {options}"));
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The fewest that each mode works with; without any of them it says which is missing.
#[test]
fn each_mode_needs_these_and_no_others() {
    needs_root!();
    let node = Node::new();
    let other = format!("/run/netns/{}", node.client.name);
    let ebpf: &[&str] = &["bpf", "net_admin", "perfmon"];
    for (options, needed) in [
        ("--capture ebpf --attach tcx".to_owned(), ebpf),
        ("--capture ebpf --attach clsact".into(), ebpf),
        ("--capture packet".into(), &["net_raw"]),
        (format!("--capture packet --netns {other}"), &["net_raw", "sys_admin"]),
        (
            format!("--capture ebpf --attach tcx --netns {other}"),
            &["bpf", "net_admin", "perfmon", "sys_admin"],
        ),
    ] {
        let (code, stderr) = watch(&node.node, needed, &options);
        assert_eq!(code, Some(0), "{options} with {needed:?}: {stderr}");
        assert!(stderr.contains("listening on"), "{options}: {stderr}");
        for missing in needed {
            let rest: Vec<&str> = needed.iter().filter(|name| *name != missing).copied().collect();
            let (code, stderr) = watch(&node.node, &rest, &options);
            let name = format!("CAP_{}", missing.to_uppercase());
            // It contains what the others allow by tcx: ECS can give no CAP_BPF.
            if rest.contains(&"sys_admin") && *missing != "net_raw" {
                assert_eq!(code, Some(0), "{options} with {rest:?}: {stderr}");
                continue;
            }
            assert_eq!(code, Some(2), "{options} without {missing}: {stderr}");
            assert!(stderr.contains(&name), "{options} without {missing}: {stderr}");
        }
    }
    expect_nothing(&node.node, &["cali1", "eni1", "lo"]);
}

/// The capabilities that all threads have or could get of a process, by thread.
fn effective(pid: u32) -> Vec<(String, u64)> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |folder: std::path::PathBuf| {
        let status = fs::read_to_string(folder.join("status")).ok()?;
        let sets = status.lines().filter(|line| {
            ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:", "CapBnd:"].iter().any(|set| line.starts_with(set))
        });
        let hex = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
        let name = fs::read_to_string(folder.join("comm")).ok()?.trim().to_owned();
        assert!(
            status.contains("NoNewPrivs:\t1") || sets.clone().map(hex).any(|set| set != 0),
            "{name}: {status}"
        );
        Some((name, sets.map(hex).fold(0, |all, set| all | set)))
    };
    threads.filter_map(|thread| of(thread.unwrap().path())).collect()
}

/// linux/capability.h
const NET_ADMIN: u64 = 1 << 12;
/// linux/capability.h
const DAC_OVERRIDE: u64 = 1 << 1;
/// linux/capability.h
const DAC_READ_SEARCH: u64 = 1 << 2;
/// linux/capability.h
const SYS_PTRACE: u64 = 1 << 19;

/// A run on fixed interfaces keeps nothing but what taking its filters away takes; one that follows keeps what that takes.
#[test]
fn what_is_not_needed_any_more_is_given_up() {
    needs_root!();
    let node = Node::new();
    let _server = node.server.dnsmasq(53, "");
    let before_5_19 = !nslookout::capture::ebpf::kernel_at_least(5, 19);
    let counting = if before_5_19 { 1 << 39 } else { 0 };
    let file = std::env::temp_dir().join(format!("{}.pcapng", node.node.name));
    let write = format!("-w {} --print -i cali1 --attach tcx", file.display());
    for (options, most, told) in [
        ("-i cali1 --capture ebpf --attach tcx", counting, "none"),
        ("-i cali1 --capture ebpf --attach clsact", NET_ADMIN | counting, "CAP_NET_ADMIN"),
        ("--capture packet", 0, "none"),
        ("--capture ebpf --attach tcx", NET_ADMIN | counting, "CAP_NET_ADMIN"),
        ("--capture ebpf --attach clsact", NET_ADMIN | counting, "CAP_NET_ADMIN"),
        (write.as_str(), DAC_OVERRIDE | counting, "CAP_DAC_OVERRIDE"),
    ] {
        let agent = Agent::watch(&node.node, &format!("-v --identity none {options}"));
        let pid = agent.pid();
        until(&format!("privileges to be given up with {options}: {:x?}", effective(pid)), || {
            let threads = effective(pid);
            let all = threads.iter().fold(0, |all, (_, set)| all | set);
            (all & !most == 0).then_some(())
        });
        if !before_5_19 {
            let line = format!("privileges kept: {told}\n");
            assert!(format!("{}\n", agent.stderr()).contains(&line), "{options}: {}", agent.stderr());
        }
        // It goes on capturing, and lets go of everything at its end.
        node.ask("a.test");
        agent.wait_for_name("a.test");
        if !options.contains("-i ") {
            let pod = Namespace::new("pod");
            crate::fixture::plug(&node.node, "cali7", &pod, 7);
            pod.run(&format!("dig +tries=1 +timeout=5 @{} later.a.test", crate::fixture::SERVER));
            assert_eq!(agent.wait_for_name("later.a.test")["interface"], "cali7", "{options}");
            node.node.run("ip link del cali7");
        }
        agent.stop().expect_exact();
        expect_nothing(&node.node, &["cali1", "eni1", "lo"]);
    }
    let _ = fs::remove_file(file);
}

#[test]
fn serve_gives_up_in_all_its_threads() {
    needs_root!();
    let node = Node::new();
    let counting = if nslookout::capture::ebpf::kernel_at_least(5, 19) { 0 } else { 1 << 39 };
    for (identity, most) in [("none", 0), ("processes", SYS_PTRACE | DAC_READ_SEARCH)] {
        let options = format!("--listen 127.0.0.1:0 --identity {identity} -i cali1 --attach tcx");
        let agent = Agent::start(&node.node, &format!("serve {options}"));
        let pid = agent.pid();
        until(&format!("no thread to have more: {:x?}", effective(pid)), || {
            effective(pid).iter().all(|(_, set)| set & !(most | counting) == 0).then_some(())
        });
        assert!(agent.stderr().contains("privileges kept: "), "{}", agent.stderr());
        agent.stop().expect_exact();
    }
}

#[test]
fn check_tells_what_each_is_for() {
    needs_root!();
    let node = Node::new();
    let output = with_only(&node.node, &["net_raw"], &format!("{NSLOOKOUT} check"));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}");
    for (name, have) in [("CAP_NET_RAW", "yes"), ("CAP_BPF", "no"), ("CAP_SYS_ADMIN", "no")] {
        let line = told.lines().find(|line| !line.contains("without") && line.contains(&format!("{name} ")));
        let have = line.is_some_and(|line| line.split_whitespace().any(|word| word == have));
        assert!(have, "{name}: {told}");
    }
    assert!(told.contains("without: "), "{told}");
}
