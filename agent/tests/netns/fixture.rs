//! Namespaces, links, servers and clients, each gone with its guard.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The longest wait for anything that should happen soon.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until `condition` gives something; fails with `what` after [`SOON`].
pub(crate) fn until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    until_within(SOON, what, condition)
}

/// The same, for what may take so long.
pub(crate) fn until_within<T>(longest: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + longest;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(PAUSE);
    }
}

/// A process that ends with its guard.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    /// Sends a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already needs neither.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A network namespace that is removed with its guard.
pub(crate) struct Namespace {
    pub(crate) name: String,
}

impl Namespace {
    /// A fresh one; `role` ends its name.
    pub(crate) fn new(role: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let namespace = Self { name: format!("nsltest-{}-{number}-{role}", std::process::id()) };
        run(&format!("ip netns add {}", namespace.name));
        namespace.run("ip link set lo up");
        // Addresses are to be usable at once.
        namespace.run("sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0");
        namespace
    }

    /// `line` as a command inside.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).args(line.split_whitespace());
        command.stdin(Stdio::null());
        command
    }

    /// Runs `line` inside and gives its standard output; it must succeed.
    pub(crate) fn run(&self, line: &str) -> String {
        run(&format!("ip netns exec {} {line}", self.name))
    }

    /// Runs `line` inside; it may fail.
    pub(crate) fn try_run(&self, line: &str) -> Output {
        try_run(&format!("ip netns exec {} {line}", self.name))
    }

    /// Runs a python program inside; it must succeed.
    pub(crate) fn python(&self, program: &str) {
        let mut python = self.spawn_python(program);
        assert!(python.0.wait().unwrap().success(), "python3 failed:\n{program}");
    }

    /// Starts a python program inside, for 60 s at most.
    pub(crate) fn spawn_python(&self, program: &str) -> Process {
        let mut child = self.command("timeout 60 python3 -").stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(program.as_bytes()).unwrap();
        Process(child)
    }

    /// Starts `line` inside; its output is thrown away.
    pub(crate) fn spawn(&self, line: &str) -> Process {
        let mut command = self.command(line);
        Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Runs `action` in a thread that lives in here; `Err` if it panicked.
    pub(crate) fn enter<T: Send>(&self, action: impl FnOnce() -> T + Send) -> thread::Result<T> {
        let namespace = std::fs::File::open(format!("/run/netns/{}", self.name)).unwrap();
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                action()
            });
            inside.join()
        })
    }

    /// Starts dnsmasq on `port` and waits until it listens.
    pub(crate) fn dnsmasq(&self, port: u16, options: &str) -> Process {
        let server = self.spawn(&format!(
            "dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root --pid-file= --no-resolv --no-hosts \
             --bind-dynamic --port={port} --local=/test/ --address=/a.test/10.1.2.3 --address=/a.test/fd00::123 \
             {options}"
        ));
        self.wait_for_server(port, &["udp", "tcp"]);
        server
    }

    /// Starts unbound on port 53 with a configuration of `lines` for its server clause.
    pub(crate) fn unbound(&self, lines: &str) -> Unbound {
        let config = std::env::temp_dir().join(format!("{}.conf", self.name));
        let text = format!(
            "server:\n use-syslog: no\n do-daemonize: no\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n \
             directory: \"/\"\n interface: 0.0.0.0\n interface: ::0\n access-control: 0.0.0.0/0 allow\n \
             access-control: ::/0 allow\n{lines}\nremote-control:\n control-enable: no\n"
        );
        std::fs::write(&config, text).unwrap();
        let server = Unbound { _process: self.spawn(&format!("unbound -d -c {}", config.display())), config };
        self.wait_for_server(53, &["udp", "tcp"]);
        server
    }

    /// Waits until somebody listens on `port` by all of `transports`.
    pub(crate) fn wait_for_server(&self, port: u16, transports: &[&str]) {
        until(&format!("a server on port {port} in {}", self.name), || {
            let sockets = self.run(&format!("ss -Hlntu sport = :{port}"));
            transports.iter().all(|transport| sockets.contains(transport)).then_some(())
        });
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Whoever is still inside was started by the test, and would keep the namespace alive.
        let inside = try_run(&format!("ip netns pids {}", self.name));
        for pid in String::from_utf8_lossy(&inside.stdout).split_whitespace() {
            try_run(&format!("kill -KILL {pid}"));
        }
        try_run(&format!("ip netns del {}", self.name));
    }
}

/// A running unbound and its configuration.
pub(crate) struct Unbound {
    _process: Process,
    config: PathBuf,
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.config);
    }
}

/// Runs `line`, for 40 s at most.
pub(crate) fn try_run(line: &str) -> Output {
    let mut command = Command::new("timeout");
    command.args(["-k", "1", "40"]).args(line.split_whitespace()).stdin(Stdio::null()).output().unwrap()
}

/// Runs `line`, which must succeed; gives its standard output.
pub(crate) fn run(line: &str) -> String {
    let output = try_run(line);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{line}`: {}\n{text}{error}", output.status);
    text
}

/// A node with the host ends of two pods' veths: `cali1` leads to the client, `eni1` to the server.
pub(crate) struct Node {
    /// The client's network namespace: 10.99.1.2, fd00:99:1::2.
    pub(crate) client: Namespace,
    /// The server's: 10.99.2.2, fd00:99:2::2.
    pub(crate) server: Namespace,
    /// The node's.
    pub(crate) node: Namespace,
}

/// The server's IPv4 address.
pub(crate) const SERVER: &str = "10.99.2.2";
/// The server's IPv6 address.
pub(crate) const SERVER_6: &str = "fd00:99:2::2";
/// The client's IPv4 address.
pub(crate) const CLIENT: &str = "10.99.1.2";
/// The client's IPv6 address.
pub(crate) const CLIENT_6: &str = "fd00:99:1::2";

impl Node {
    /// Both pods, without a server yet.
    pub(crate) fn new() -> Self {
        let node = Namespace::new("node");
        node.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        let client = Namespace::new("client");
        let server = Namespace::new("server");
        plug(&node, "cali1", &client, 1);
        plug(&node, "eni1", &server, 2);
        Self { client, server, node }
    }

    /// `dig` in the client's pod, with the answer's lines.
    pub(crate) fn dig(&self, line: &str) -> String {
        self.client.run(&format!("dig +tries=1 +timeout=5 {line}"))
    }

    /// Asks once over UDP and IPv4.
    pub(crate) fn ask(&self, name: &str) {
        self.dig(&format!("@{SERVER} {name}"));
    }
}

/// Joins `pod` to `node` by a veth whose host end is `name`; both get addresses of network `number`, the host end .1.
pub(crate) fn plug(node: &Namespace, name: &str, pod: &Namespace, number: u8) {
    node.run(&format!("ip link add {name} type veth peer name eth0 netns {}", pod.name));
    for (namespace, link, host) in [(node, name, 1), (pod, "eth0", 2)] {
        namespace.run(&format!("ip link set {link} up"));
        namespace.run(&format!("ip addr add 10.99.{number}.{host}/24 dev {link}"));
        namespace.run(&format!("ip addr add fd00:99:{number}::{host}/64 dev {link} nodad"));
    }
    pod.run(&format!("ip route add default via 10.99.{number}.1"));
    pod.run(&format!("ip route add default via fd00:99:{number}::1"));
}

/// The questions of a dnsperf run, in a file that goes with its guard.
pub(crate) struct Questions {
    pub(crate) path: PathBuf,
}

impl Questions {
    /// `count` different ones that dnsmasq answers.
    pub(crate) fn new(node: &Node, count: usize) -> Self {
        let path = std::env::temp_dir().join(format!("{}.questions", node.node.name));
        let lines: Vec<String> = (0..count).map(|number| format!("n{number}.a.test A\n")).collect();
        std::fs::write(&path, lines.concat()).unwrap();
        Self { path }
    }
}

impl Drop for Questions {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
