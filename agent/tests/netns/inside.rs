//! Network namespaces whose traffic the node's own interfaces do not show: the agent goes in.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nslookout::capture::interfaces::Selection;
use nslookout::capture::netns::NetnsRef;
use nslookout::capture::{AttachMethod, CaptureMethod, Drained, LiveConfig, Source};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::agent::{Agent, By, expect_nothing, filters};
use crate::fixture::{Namespace, Process, plug, run, until, until_within};
use crate::identity::cgroup2;
use crate::needs_root;

/// The addresses of a resolver and of tasks on a wire of their own, as an ENI in each task would have it.
const RESOLVER: &str = "10.99.7.1";
const TASK: &str = "10.99.7.2";

/// The kernel takes namespaces of all tests away one after the other.
const GONE: Duration = Duration::from_secs(90);

/// A task, whose `eth0` leads to a resolver past the node.
struct Task {
    task: Namespace,
    resolver: Namespace,
    _server: Process,
}

impl Task {
    fn new() -> Self {
        let (task, resolver) = (Namespace::new("task"), Namespace::new("resolver"));
        plug(&resolver, "wire", &task, 7);
        let _server = resolver.dnsmasq(53, "");
        Self { task, resolver, _server }
    }

    /// Its file.
    fn path(&self) -> String {
        format!("/run/netns/{}", self.task.name)
    }

    fn ask(&self, name: &str) {
        self.task.run(&format!("dig +tries=1 +timeout=5 @{RESOLVER} {name}"));
    }

    /// Is the kernel done with the namespace? Its end of the wire takes the other along.
    fn wait_until_gone(&self) {
        until_within(GONE, "the namespace to be gone", || {
            (!self.resolver.try_run("ip link show wire").status.success()).then_some(())
        });
    }
}

fn text<'a>(line: &'a Value, key: &str) -> &'a str {
    line[key].as_str().unwrap_or("-")
}

#[test]
fn what_a_task_asks_past_the_node_is_seen_inside() {
    needs_root!();
    let node = Namespace::new("node");
    let task = Task::new();
    let _own = task.task.dnsmasq(53, "");
    for by in [By::Tcx, By::Clsact, By::Packet] {
        let agent = Agent::watch(&node, &format!("--netns {} {}", task.path(), by.options()));
        task.ask("udp.a.test");
        task.ask("tcp.a.test +tcp");
        task.task.run("dig +tries=1 @127.0.0.1 lo.a.test");
        // It answers others too, at the same interface.
        task.resolver.run(&format!("dig +tries=1 @{TASK} served.a.test"));
        agent.wait_for_lines(4);
        let ended = agent.stop();
        let keys = ["qname", "transport", "client", "vantage", "interface", "outcome"];
        let brief = |line: &Value| keys.map(|key| text(line, key)).join(" ");
        let mut lines: Vec<String> = ended.json.iter().map(brief).collect();
        lines.sort();
        let name = &task.task.name;
        let expected = [
            format!("lo.a.test. udp 127.0.0.1 client lo@{name} answered"),
            format!("served.a.test. udp {RESOLVER} server eth0@{name} answered"),
            format!("tcp.a.test. tcp {TASK} client eth0@{name} answered"),
            format!("udp.a.test. udp {TASK} client eth0@{name} answered"),
        ];
        assert_eq!(lines, expected, "{by:?}: {:#?}", ended.json);
        ended.expect_exact();
        expect_nothing(&task.task, &["eth0", "lo"]);
        expect_nothing(&node, &["lo"]);
    }
}

/// Interfaces have the same numbers, and the tasks even the same address.
#[test]
fn two_namespaces_are_told_apart() {
    needs_root!();
    let node = Namespace::new("node");
    let tasks = [Task::new(), Task::new()];
    let numbers = tasks.each_ref().map(|task| task.task.run("cat /sys/class/net/eth0/ifindex"));
    assert_eq!(numbers[0], numbers[1], "the kernel counts in each namespace");
    let paths = tasks.each_ref().map(Task::path);
    let options = format!("--netns {} --netns {}", paths[0], paths[1]);
    for by in [By::Tcx, By::Packet] {
        let agent = Agent::watch(&node, &format!("{options} {}", by.options()));
        for (task, name) in tasks.iter().zip(["one.a.test", "two.a.test"]) {
            task.ask(name);
        }
        agent.wait_for_lines(2);
        let ended = agent.stop();
        let at = |name: &str| {
            let line = ended.json.iter().find(|line| text(line, "qname") == name).unwrap();
            assert_eq!((text(line, "client"), text(line, "vantage")), (TASK, "client"));
            (text(line, "interface").to_owned(), line["ifindex"].as_u64().unwrap())
        };
        let [one, two] = ["one.a.test.", "two.a.test."].map(at);
        assert_eq!(
            [&one.0, &two.0],
            tasks.each_ref().map(|task| format!("eth0@{}", task.task.name)).each_ref()
        );
        assert_ne!(one.1, two.1);
        ended.expect_exact();
    }
}

/// The task stops: the agent lets go of what is left of it, and what was counted stays.
#[test]
fn a_namespace_that_goes_is_let_go() {
    needs_root!();
    let node = Namespace::new("node");
    for by in [By::Tcx, By::Clsact, By::Packet] {
        let task = Task::new();
        let agent = Agent::watch(&node, &format!("--netns {} {}", task.path(), by.options()));
        task.ask("before.a.test");
        agent.wait_for_name("before.a.test");
        run(&format!("ip netns del {}", task.task.name));
        task.wait_until_gone();
        let ended = agent.stop();
        ended.expect_exact();
        assert!(ended.packets("received by filter") >= 2, "{}", ended.stderr);
    }
}

#[test]
fn a_process_leads_to_its_namespace_until_it_ends() {
    needs_root!();
    let node = Namespace::new("node");
    let task = Task::new();
    let sleeper = task.task.spawn("sleep 60");
    // `ip netns exec` becomes the program.
    let pid = until("the process to be inside", || {
        let pid = sleeper.0.id().to_string();
        run(&format!("ip netns pids {}", task.task.name)).lines().any(|line| line == pid).then_some(pid)
    });
    let agent = Agent::watch(&node, &format!("--netns {pid}"));
    // Long after it gave up the privilege to look into the process.
    for name in ["a.test", "b.a.test", "c.a.test"] {
        task.ask(name);
        assert_eq!(text(&agent.wait_for_name(name), "interface"), format!("eth0@{pid}"));
        std::thread::sleep(Duration::from_millis(1500));
    }
    // The name goes first, so that the process alone leads there.
    run(&format!("ip netns del {}", task.task.name));
    drop(sleeper);
    task.wait_until_gone();
    agent.stop().expect_exact();
}

#[test]
fn what_cannot_be_entered_is_told() {
    needs_root!();
    let node = Namespace::new("node");
    let path = format!("/run/netns/{}", node.name);
    let other = Namespace::new("other");
    let twice = format!("/run/netns/{}", other.name);
    for (arguments, told) in [
        ("--netns 2147483647".to_owned(), "there is no process 2147483647".to_owned()),
        ("--netns /run/netns/nsltest-none".into(), "there is no /run/netns/nsltest-none".into()),
        ("--netns /etc/passwd".into(), "/etc/passwd is no network namespace".into()),
        ("--netns /proc/self/ns/mnt".into(), "/proc/self/ns/mnt is no network namespace".into()),
        (format!("--netns {path}"), "is the one that nslookout runs in".into()),
        (format!("--netns {twice} --netns {twice}"), format!("was entered already, as `{}`", other.name)),
        ("--netns blue".into(), "of `ip netns` write /run/netns/blue".into()),
    ] {
        for command in ["watch --for 1s", "diagnose --for 1s", "serve --listen 127.0.0.1:0"] {
            let output = node.try_run(&format!("{} {command} {arguments}", crate::agent::NSLOOKOUT));
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{command} {arguments}: {stderr}");
            assert!(stderr.contains(&told), "{command} {arguments}: {stderr}");
        }
    }
    expect_nothing(&other, &["lo"]);
    let checked = node.run(&format!("{} check --netns {twice}", crate::agent::NSLOOKOUT));
    assert!(checked.contains(&format!("lo@{}", other.name)), "{checked}");
}

/// A killed agent leaves what it leaves on a node: nothing by tcx; by clsact what the next one takes away.
#[test]
fn a_killed_agent_leaves_nothing_inside() {
    needs_root!();
    let node = Namespace::new("node");
    let task = Task::new();
    for by in [By::Tcx, By::Clsact] {
        let options = format!("--netns {} {}", task.path(), by.options());
        let agent = Agent::watch(&node, &options);
        agent.signal(Signal::KILL);
        agent.wait();
        let left = filters(&task.task, "eth0", "egress");
        assert_eq!(left.contains("nslookout"), by == By::Clsact, "{left}");
        Agent::watch(&node, &options).stop().expect_exact();
        expect_nothing(&task.task, &["eth0", "lo"]);
    }
}

/// Namespaces that come and go while the capture runs, through the gate.
#[test]
fn namespaces_come_and_go_while_capturing() {
    needs_root!();
    let node = Namespace::new("node");
    for capture in [CaptureMethod::Ebpf, CaptureMethod::Packet] {
        let seen = node.enter(|| come_and_go(capture)).unwrap();
        // Each task asked twice, and was answered.
        assert_eq!(
            seen,
            BTreeMap::from([("first".to_owned(), 4), ("second".to_owned(), 4), ("third".to_owned(), 4)])
        );
    }
}

/// Frames by the label of the namespace where they were seen.
fn come_and_go(capture: CaptureMethod) -> BTreeMap<String, u64> {
    let config = LiveConfig {
        selection: Selection::Any,
        netns: Vec::new(),
        capture,
        attach: AttachMethod::Auto,
        ports: [53].into_iter().collect(),
        vpc_resolvers: Vec::new(),
        ring_bytes: 1 << 20,
    };
    let mut source = Source::live(&config).unwrap().0;
    let gate = source.gate().unwrap().unwrap();
    let namer = source.namer();
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    let mut last = None;
    let mut drain = |source: &mut Source, seen: &mut BTreeMap<String, u64>| {
        let drained = source.drain(100, &mut |frame| {
            // A packet socket lets through what only user space can judge, as the neighbours' IPv6.
            if frame.bytes.get(12..14) != Some(&[0x08, 0x00]) {
                return;
            }
            let place = frame.place.unwrap();
            let name = namer.name_of(place.ifindex).unwrap();
            *seen.entry(name.split_once('@').unwrap().1.to_owned()).or_default() += 1;
            assert!(last.replace(frame.time) <= Some(frame.time), "in the order of their time");
        });
        drained == Drained::Empty
    };
    let missing = gate.enter(NetnsRef::Path("/run/netns/nsltest-none".into()), "none".into());
    for label in ["first", "second", "third"] {
        let task = Task::new();
        let answer = gate.enter(task.path().parse().unwrap(), label.into());
        let entered = until("the namespace to be entered", || {
            drain(&mut source, &mut seen);
            answer.try_recv().ok()
        });
        assert_eq!(entered.unwrap(), label);
        until("the hooks", || source.first_round());
        task.ask("a.test");
        task.ask("b.test");
        // One is left, the others go: either way everything is delivered.
        if label == "second" {
            gate.leave(label.into());
        } else {
            run(&format!("ip netns del {}", task.task.name));
        }
        let names = |source: &Source| match source {
            Source::Live(live) => live.entered().map(str::to_owned).collect::<Vec<_>>(),
            Source::File(_) => Vec::new(),
        };
        until("it to be left", || {
            drain(&mut source, &mut seen);
            std::thread::sleep(Duration::from_millis(1));
            (names(&source).is_empty() && seen.get(label) == Some(&4)).then_some(())
        });
        if label == "second" {
            run(&format!("ip netns del {}", task.task.name));
        }
        until_within(GONE, "the namespace to be gone", || {
            drain(&mut source, &mut seen);
            (!task.resolver.try_run("ip link show wire").status.success()).then_some(())
        });
    }
    assert!(missing.recv().unwrap().is_err_and(|error| error.to_string().contains("nsltest-none")));
    let counters = source.counters().unwrap();
    assert_eq!(counters.attach_errors, BTreeMap::from([("netns".to_owned(), 1)]));
    if capture == CaptureMethod::Ebpf {
        assert_eq!((counters.total_matched(), counters.total_drops()), (12, 0));
    }
    source.detach();
    seen
}

/// A container of a task of ECS: a process in a cgroup as the ECS agent names it, gone with its guard.
struct TaskContainer {
    cgroup: PathBuf,
    process: Option<Process>,
}

impl TaskContainer {
    /// Runs in `namespace`; `None` where there is no cgroup2 hierarchy.
    fn new(namespace: &Namespace, task: &str, id: &str) -> Option<Self> {
        let cgroup = cgroup2()?.join("ecs").join(task).join(id);
        fs::create_dir_all(&cgroup).unwrap();
        let script = format!(
            "echo 0 > {}/cgroup.procs; exec ip netns exec {} sleep 60",
            cgroup.display(),
            namespace.name
        );
        let process = std::process::Command::new("sh").args(["-c", &script]).spawn().unwrap();
        Some(Self { cgroup, process: Some(Process(process)) })
    }
}

impl Drop for TaskContainer {
    fn drop(&mut self) {
        self.process = None;
        until("the end of the container's process", || fs::remove_dir(&self.cgroup).ok());
        let _ = self.cgroup.parent().map(fs::remove_dir);
    }
}

/// Tasks in awsvpc mode come and go, as the ECS agent of the instance tells.
#[test]
fn tasks_of_ecs_are_entered() {
    needs_root!();
    let node = Namespace::new("node");
    let ids = ["1", "2"].map(|digit| format!("{:0>32}", format!("{}{digit}", std::process::id())));
    let document = |ids: &[&String]| {
        let task = |id: &&String| {
            let networks = json!([{"NetworkMode": "awsvpc", "IPv4Addresses": [TASK]}]);
            json!({
                "Arn": format!("arn:aws:ecs:us-west-2:012345678910:task/default/{id}"),
                "KnownStatus": "RUNNING", "Family": "cart", "Version": "8",
                "Containers": [{"DockerId": id.repeat(2), "Name": "cart", "Networks": networks}],
            })
        };
        json!({"Tasks": ids.iter().map(task).collect::<Vec<_>>()}).to_string()
    };
    let file = std::env::temp_dir().join(format!("{}.tasks", node.name));
    let tell = |ids: &[&String]| {
        let new = file.with_extension("new");
        fs::write(&new, document(ids)).unwrap();
        fs::rename(&new, &file).unwrap();
    };
    tell(&[&ids[0]]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../xtask/lab/aws/ecs.py");
    let _ecs = node.spawn(&format!("python3 {script} --tasks {}", file.display()));
    node.wait_for_server(51678, &["tcp"]);
    let first = Task::new();
    let Some(container) = TaskContainer::new(&first.task, &ids[0], &ids[0].repeat(2)) else {
        eprintln!("skipped: no cgroup filesystem of version 2 is mounted");
        return;
    };
    let agent = Agent::watch(&node, "--identity ecs,processes");
    let ask = |task: &Task, name: &str, id: &str| {
        // It is entered soon after it is known.
        let line = until(name, || {
            task.ask(name);
            agent.lines().into_iter().find(|line| text(line, "qname") == format!("{name}."))
        });
        assert_eq!(text(&line, "interface"), format!("eth0@{id}"));
        assert_eq!((text(&line, "client"), text(&line, "vantage")), (TASK, "client"));
        assert_eq!(text(&line["client_workload"], "name"), "cart", "{line:#}");
        assert_eq!(text(&line["client_workload"], "instance"), id, "{line:#}");
    };
    ask(&first, "first.a.test", &ids[0]);
    // It ends, and with it its namespace: nothing of ours keeps it.
    tell(&[&ids[1]]);
    run(&format!("ip netns del {}", first.task.name));
    drop(container);
    first.wait_until_gone();
    let second = Task::new();
    let _container = TaskContainer::new(&second.task, &ids[1], &ids[1].repeat(2));
    ask(&second, "second.a.test", &ids[1]);
    let ended = agent.stop();
    ended.expect_exact();
    assert!(!ended.stderr.contains("is not seen"), "{}", ended.stderr);
    expect_nothing(&second.task, &["eth0", "lo"]);
    let without = "setpriv --bounding-set=-sys_admin";
    let line = format!("{without} {} watch --identity ecs,processes --for 1s", crate::agent::NSLOOKOUT);
    let told = String::from_utf8_lossy(&node.try_run(&line).stderr).into_owned();
    assert!(told.contains("awsvpc") && told.contains("CAP_SYS_ADMIN"), "{told}");
    let _ = fs::remove_file(file);
}
