//! The agent as its user sees it: started, read, stopped.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use aya::programs::{SchedClassifier, TcAttachType};
use rustix::process::Signal;
use serde_json::Value;

use crate::fixture::{Namespace, Process, until};

/// The program under test.
pub(crate) const NSLOOKOUT: &str = env!("CARGO_BIN_EXE_nslookout");

/// Lines that a thread collects from a pipe.
struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Lines {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                shared.lock().unwrap().push(line);
            }
        });
        Self { lines, reader: Some(reader) }
    }

    fn now(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// All of them, once the other end is closed.
    fn finish(mut self) -> Vec<String> {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.now()
    }
}

/// A running agent.
pub(crate) struct Agent {
    process: Process,
    stdout: Lines,
    stderr: Lines,
}

/// What an agent left.
pub(crate) struct Ended {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Its transactions.
    pub(crate) json: Vec<Value>,
    /// Standard error, the summary included.
    pub(crate) stderr: String,
}

impl Agent {
    /// `nslookout watch -o json ARGUMENTS` in `node`, once it listens.
    pub(crate) fn watch(node: &Namespace, arguments: &str) -> Self {
        Self::start(node, &format!("watch -o json {arguments}"))
    }

    /// `nslookout ARGUMENTS` in `node`, once it listens.
    pub(crate) fn start(node: &Namespace, arguments: &str) -> Self {
        let mut agent = Self::spawn(node, arguments);
        until(&format!("nslookout {arguments}: listening"), || {
            let ended = agent.process.0.try_wait().unwrap();
            assert!(ended.is_none(), "nslookout {arguments}: {ended:?}: {:?}", agent.stderr.now());
            agent.stderr.now().iter().any(|line| line.starts_with("listening on")).then_some(())
        });
        agent
    }

    /// `nslookout ARGUMENTS` in `node`, from its first moment on.
    pub(crate) fn spawn(node: &Namespace, arguments: &str) -> Self {
        let mut command = node.command(&format!("{NSLOOKOUT} {arguments}"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = Lines::of(child.stdout.take().unwrap());
        let stderr = Lines::of(child.stderr.take().unwrap());
        Self { process: Process(child), stdout, stderr }
    }

    /// Its lines so far.
    pub(crate) fn lines(&self) -> Vec<Value> {
        parse(&self.stdout.now())
    }

    /// Standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.now().join("\n")
    }

    /// Waits for `count` lines, at least.
    pub(crate) fn wait_for_lines(&self, count: usize) -> Vec<Value> {
        until(&format!("{count} lines of the agent"), || {
            let lines = self.lines();
            (lines.len() >= count).then_some(lines)
        })
    }

    /// Waits for a line about `name`.
    pub(crate) fn wait_for_name(&self, name: &str) -> Value {
        until(&format!("a line about {name}"), || {
            self.lines().into_iter().find(|line| line["qname"] == format!("{name}."))
        })
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Asks it to end by SIGTERM.
    pub(crate) fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Ended {
        let status = until("the end of the agent", || self.process.0.try_wait().unwrap());
        let json = parse(&self.stdout.finish());
        Ended { status, json, stderr: self.stderr.finish().join("\n") }
    }
}

impl Ended {
    /// The number before ` packets WHAT` in the summary.
    pub(crate) fn packets(&self, what: &str) -> u64 {
        let line = self.stderr.lines().find_map(|line| line.strip_suffix(&format!(" packets {what}")));
        line.unwrap_or_else(|| panic!("no `packets {what}` in:\n{}", self.stderr)).parse().unwrap()
    }

    /// It ended in order, and nothing is in doubt.
    pub(crate) fn expect_exact(&self) {
        self.expect_nothing_lost();
        assert!(self.stderr.ends_with("nothing lost: every number above is exact"), "{}", self.stderr);
    }

    /// It ended in order and no packet was lost; some may have been read in part.
    pub(crate) fn expect_nothing_lost(&self) {
        assert_eq!(self.status.code(), Some(0), "{}", self.stderr);
        assert_eq!(self.packets("dropped by kernel"), 0, "{}", self.stderr);
        assert!(!self.stderr.contains("\nlost "), "{}", self.stderr);
    }

    /// The number of the summary's note `WHAT: N`, whatever follows it; zero where there is none.
    pub(crate) fn note(&self, what: &str) -> u64 {
        let notes = self.stderr.lines().filter_map(|line| line.split_once(": "));
        let found = notes.filter(|(note, _)| note.contains(what));
        found.map(|(_, rest)| rest.split(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

fn parse(lines: &[String]) -> Vec<Value> {
    lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// How the agent captures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// eBPF by tcx.
    Tcx,
    /// eBPF by a clsact filter.
    Clsact,
    /// A packet socket.
    Packet,
}

impl By {
    /// The options that force it.
    pub(crate) fn options(self) -> &'static str {
        match self {
            Self::Tcx => "--capture ebpf --attach tcx",
            Self::Clsact => "--capture ebpf --attach clsact",
            Self::Packet => "--capture packet",
        }
    }
}

/// The names of the tcx programs on a hook of `link`, in the order they run.
pub(crate) fn tcx(node: &Namespace, link: &str, hook: TcAttachType) -> Vec<String> {
    let query = || match SchedClassifier::query_tcx(link, hook) {
        Ok((_, programs)) => programs.iter().map(|info| info.name_as_str().unwrap().to_owned()).collect(),
        Err(error) => panic!("failed to ask for the tcx programs of {link}: {error}"),
    };
    node.enter(query).unwrap()
}

/// The filters of a hook (`ingress`, `egress`) as tc shows them.
pub(crate) fn filters(node: &Namespace, link: &str, hook: &str) -> String {
    let output = node.try_run(&format!("tc -s filter show dev {link} {hook}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Is there a clsact qdisc on `link`?
pub(crate) fn has_clsact(node: &Namespace, link: &str) -> bool {
    node.run(&format!("tc qdisc show dev {link}")).contains("clsact")
}

/// Nothing of ours is on any hook of `links`, and no qdisc.
pub(crate) fn expect_nothing(node: &Namespace, links: &[&str]) {
    for link in links {
        for hook in [TcAttachType::Ingress, TcAttachType::Egress] {
            assert_eq!(tcx(node, link, hook), Vec::<String>::new(), "{link}");
        }
        for hook in ["ingress", "egress"] {
            assert_eq!(filters(node, link, hook), "", "{link} {hook}");
        }
        assert!(!has_clsact(node, link), "a qdisc is left on {link}");
    }
}
