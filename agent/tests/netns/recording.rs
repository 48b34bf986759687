//! What is recorded live is read back to the same lines, the same counts and the same losses.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::agent::{Agent, By, Ended, NSLOOKOUT};
use crate::fixture::{Namespace, Node, Process, Questions, SERVER, SERVER_6, plug, run, until};
use crate::needs_root;

/// A file of a recording, which goes with its guard.
struct Recording(PathBuf);

impl Recording {
    fn new(node: &Node, name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("{}-{name}", node.node.name)))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// Reads it back far from the namespace where it was made: nothing of it can be asked of the kernel.
    fn replay(&self, options: &str) -> (Vec<Value>, String) {
        let output = Command::new(NSLOOKOUT)
            .args(["-r", self.path(), "-o", "json"])
            .args(options.split_whitespace())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        let lines = String::from_utf8(output.stdout).unwrap();
        (lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), told)
    }

    /// Lines and summary are those of the live run, the name of the source aside.
    fn expect_same(&self, live: &Ended, options: &str) {
        let (json, told) = self.replay(options);
        assert_eq!(json, live.json, "live:\n{}\nreplayed:\n{told}", live.stderr);
        assert_eq!(summary_of(&told), summary_of(&live.stderr));
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn summary_of(told: &str) -> Vec<&str> {
    let begin = told.find("--- ").unwrap_or_else(|| panic!("no summary: {told}"));
    told[begin..]
        .trim_end()
        .lines()
        .map(|line| if line.starts_with("---") { line.split(", ").next().unwrap() } else { line })
        .collect()
}

/// Two pods and an uplink, all kinds of lookups: of pods and of the node itself, over both transports and families,
/// without an answer, and one that still waits at the end.
fn check_replay(by: By, links: &str) {
    let node = Node::new();
    let outside = Namespace::new("outside");
    plug(&node.node, "up0", &outside, 3);
    node.node.run("ip route add default via 10.99.3.2");
    let _servers = [node.server.dnsmasq(53, ""), outside.dnsmasq(53, "")];
    let recording = Recording::new(&node, "live.pcapng");
    let write = format!("{} {links} --timeout 1500ms --print -w {}", by.options(), recording.path());
    let agent = Agent::watch(&node.node, &write);
    for question in ["a.test", "a.test AAAA", "missing.test", "+tcp a.test"] {
        for server in [SERVER, SERVER_6, "10.99.3.2"] {
            node.dig(&format!("@{server} {question}"));
            node.node.run(&format!("dig +tries=1 +timeout=5 @{server} {question}"));
        }
    }
    // Nobody has that address.
    node.client.try_run("dig +tries=1 +timeout=1 @10.99.2.77 nobody.test");
    agent.wait_for_name("nobody.test");
    let _dig = node.client.spawn("dig +tries=1 +timeout=9 @10.99.2.77 waits.test");
    until("the last query to be captured", || {
        let (messages, _) = recording.replay("--messages");
        messages.iter().any(|message| message["qname"] == "waits.test.").then_some(())
    });
    let ended = agent.stop();
    ended.expect_nothing_lost();
    assert!(ended.json.len() >= 14, "{:#?}", ended.json);
    for outcome in ["answered", "unanswered", "waiting"] {
        assert!(ended.json.iter().any(|line| line["outcome"] == outcome), "{outcome}: {:#?}", ended.json);
    }
    recording.expect_same(&ended, "--timeout 1500ms");
    if links.is_empty() {
        for interface in ["cali1", "up0"] {
            assert!(
                ended.json.iter().any(|line| line["interface"] == interface),
                "{interface}: {:#?}",
                ended.json
            );
        }
    }

    // What a conversion makes of it is as good.
    let copy = Recording::new(&node, "copy.pcapng");
    run(&format!("{NSLOOKOUT} -r {} -w {}", recording.path(), copy.path()));
    copy.expect_same(&ended, "--timeout 1500ms");
    expect_readable(&recording, &ended, links);
}

/// tcpdump reads each packet, with the link type that was promised.
fn expect_readable(recording: &Recording, ended: &Ended, links: &str) {
    let output = Command::new("tcpdump").args(["-nr", recording.path()]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let link_type = if links == "-i cali1" { "link-type EN10MB" } else { "link-type LINUX_SLL2" };
    assert!(told.contains(link_type), "{told}");
    let packets = String::from_utf8_lossy(&output.stdout).lines().count() as u64;
    assert_eq!(packets, ended.packets("captured"), "{}", ended.stderr);
    // It shows what we say beside the packets as lines of their own.
    let arguments = ["-n", "-Y", "ip or ipv6", "-r", recording.path()];
    let Ok(tshark) = Command::new("tshark").args(arguments).output() else {
        return println!("skipped: no tshark");
    };
    assert!(tshark.status.success(), "{}", String::from_utf8_lossy(&tshark.stderr));
    assert_eq!(String::from_utf8_lossy(&tshark.stdout).lines().count() as u64, packets);
}

#[test]
fn a_recording_by_ebpf_replays() {
    needs_root!();
    check_replay(By::Tcx, "");
}

#[test]
fn a_recording_of_one_interface_replays() {
    needs_root!();
    check_replay(By::Tcx, "-i cali1");
}

#[test]
fn a_recording_by_a_packet_socket_replays() {
    needs_root!();
    check_replay(By::Packet, "");
}

/// What was lost live is said to be lost by the recording too.
fn check_losses(by: By) {
    let node = Node::new();
    let _server = node.server.dnsmasq(53, "");
    let questions = Questions::new(&node, 8_000);
    let recording = Recording::new(&node, "losses.pcapng");
    let agent =
        Agent::watch(&node.node, &format!("{} --ring 1 --print -w {}", by.options(), recording.path()));
    agent.signal(Signal::STOP);
    node.client.run(&format!("dnsperf -s {SERVER} -d {} -t 10 -n 1", questions.path.display()));
    agent.signal(Signal::CONT);
    let ended = agent.stop();
    assert!(ended.packets("dropped by kernel") > 0 && ended.packets("captured") > 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("\nlost "), "{}", ended.stderr);
    recording.expect_same(&ended, "");
}

#[test]
fn losses_of_the_ring_are_recorded() {
    needs_root!();
    check_losses(By::Tcx);
}

#[test]
fn losses_of_the_socket_are_recorded() {
    needs_root!();
    check_losses(By::Packet);
}

/// The same bytes that tcpdump records beside us.
#[test]
fn tcpdump_records_the_same() {
    needs_root!();
    let node = Node::new();
    let _server = node.server.dnsmasq(53, "");
    let [ours, theirs] = ["ours.pcap", "theirs.pcap"].map(|name| Recording::new(&node, name));
    let line = format!("tcpdump -i cali1 -U -w {} port 53", theirs.path());
    let mut command = node.node.command(&line);
    let mut tcpdump = Process(command.stderr(Stdio::piped()).spawn().unwrap());
    // It says that it listens.
    let mut told = std::io::BufReader::new(tcpdump.0.stderr.take().unwrap());
    std::io::BufRead::read_line(&mut told, &mut String::new()).unwrap();
    let agent = Agent::watch(&node.node, &format!("-i cali1 -w {}", ours.path()));
    for question in ["a.test", "a.test AAAA", "missing.test", "+tcp a.test"] {
        for server in [SERVER, SERVER_6] {
            node.dig(&format!("@{server} {question}"));
        }
    }
    let bytes = |recording: &Recording| {
        let output = Command::new("tcpdump").args(["-nt", "-xx", "-r", recording.path()]).output().unwrap();
        let mut packets: Vec<String> = String::from_utf8(output.stdout)
            .unwrap()
            .split("\nIP")
            .map(|p| p.trim_start_matches("IP").trim().to_owned())
            .collect();
        packets.sort_unstable();
        packets
    };
    // Six lookups over UDP are two packets each, two over TCP at least eight.
    until("both to have it all", || {
        let (ours, theirs) = (bytes(&ours), bytes(&theirs));
        (ours.len() == theirs.len() && ours.len() >= 28).then_some(())
    });
    agent.stop().expect_exact();
    drop(tcpdump);
    assert_eq!(bytes(&ours), bytes(&theirs));
}

/// `nslookout -w - | tcpdump -nr -`, while it goes on.
#[test]
fn a_pipe_tells_packets_as_they_come() {
    needs_root!();
    let node = Node::new();
    let _server = node.server.dnsmasq(53, "");
    let mut command = node.node.command("sh -c");
    let pipe = format!("{NSLOOKOUT} -w - | tcpdump -lnr -");
    let mut shell = Process(command.arg(pipe).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut lines = std::io::BufReader::new(shell.0.stdout.take().unwrap());
    // Whenever it is ready: the first packet that is printed is one of a lookup.
    let node_ref = &node;
    let line = std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut line = String::new();
            std::io::BufRead::read_line(&mut lines, &mut line).unwrap();
            line
        });
        until("a line of tcpdump", || {
            node_ref.ask("a.test");
            reader.is_finished().then_some(())
        });
        reader.join().unwrap()
    });
    assert!(line.contains("A? a.test"), "{line}");
}

/// -G and -W end it by the clock, also where nothing comes.
#[test]
fn time_ends_a_silent_recording() {
    needs_root!();
    let node = Node::new();
    let recording = Recording::new(&node, "%s.pcapng");
    let ended = Agent::watch(&node.node, &format!("-G 1 -W 2 -w {}", recording.path())).wait();
    ended.expect_exact();
    let prefix = format!("{}-", node.node.name);
    let mut files = 0;
    for entry in std::fs::read_dir(std::env::temp_dir()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with(&prefix) && name.ends_with(".pcapng") {
            files += 1;
            let read = Recording(path);
            assert!(read.replay("").1.contains("no DNS packet"), "{name}");
        }
    }
    assert_eq!(files, 2);
}
