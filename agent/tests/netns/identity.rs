//! Who lives where: real processes in namespaces, cgroups and roots of their own, harmless and hostile.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nslookout::capture::frame::Ifindex;
use nslookout::identity::facts::{Fact, Instance, Libc, LibcKind, Source, Whose};
use nslookout::identity::{Identity, IdentityConfig, Sources};

use crate::fixture::{CLIENT, CLIENT_6, Namespace, Node, Process, plug, run, until};
use crate::needs_root;

/// What a test learns of the processes, by a source of its own in the node's namespace.
struct Names {
    identity: Identity,
    facts: Vec<Fact>,
}

impl Names {
    fn start(node: &Namespace) -> Self {
        let config = IdentityConfig {
            sources: Sources::These(vec![Source::Processes]),
            node_name: None,
            kubeconfig: None,
        };
        Self { identity: node.enter(|| Identity::start(&config)).unwrap(), facts: Vec::new() }
    }

    fn learn(&mut self) {
        self.facts.extend(self.identity.take());
    }

    /// The last that was said of an instance that is still here.
    fn now(&mut self, id: &str) -> Option<(Whose, Arc<Instance>)> {
        self.learn();
        self.facts.iter().rev().find_map(|fact| match fact {
            Fact::Here { whose, instance } if instance.id.0 == id => {
                Some(Some((whose.clone(), Arc::clone(instance))))
            }
            Fact::Gone(gone) if gone.0 == id => Some(None),
            _ => None,
        })?
    }

    fn wait(
        &mut self,
        what: &str,
        id: &str,
        condition: impl Fn(&Whose, &Instance) -> bool,
    ) -> (Whose, Arc<Instance>) {
        until(&format!("{what} of {id}"), || {
            self.now(id).filter(|(whose, instance)| condition(whose, instance))
        })
    }

    fn silence(&mut self) -> Option<String> {
        self.learn();
        self.facts.iter().rev().find_map(|fact| match fact {
            Fact::Silent { source: Source::Processes, why } => Some(Some(why.clone())),
            Fact::Speaks(Source::Processes) => Some(None),
            _ => None,
        })?
    }
}

/// A root directory and a cgroup of Docker's name, each removed with its guard.
struct Container {
    id: String,
    root: PathBuf,
    cgroup: Option<PathBuf>,
    process: Option<Process>,
}

/// A program that waits, with a C library of its own.
#[derive(Clone, Copy)]
enum Program {
    Musl,
    Glibc,
    Static,
}

impl Container {
    /// Prepares one; `number` tells the containers of a test apart.
    fn new(node: &Node, number: u8, program: Program) -> Self {
        let id = format!("{:0>58}{number:0>6}", hex(&node.node.name));
        let root = std::env::temp_dir().join(format!("{}-root-{number}", node.node.name));
        for directory in ["etc", "proc", "lib", "dev"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        program.install(&root);
        let cgroup = cgroup2().map(|mount| mount.join("docker").join(&id));
        if let Some(cgroup) = &cgroup {
            fs::create_dir_all(cgroup).unwrap();
        }
        Self { id, root, cgroup, process: None }
    }

    fn with(self, path: &str, text: &str) -> Self {
        fs::write(self.root.join(path), text).unwrap();
        self
    }

    /// Runs `line` inside, in mount and process namespaces of its own.
    fn run(self, pod: &Namespace, line: &str) -> Self {
        self.run_after("", pod, line)
    }

    /// The same, after `prepare` was run in its mount namespace, outside of its root, cgroup and network namespace.
    fn run_after(mut self, prepare: &str, pod: &Namespace, line: &str) -> Self {
        let root = self.root.display();
        let procs = self.cgroup.as_ref().map(|cgroup| format!("echo 0 > {}/cgroup.procs;", cgroup.display()));
        // Whoever starts it stays outside of its network namespace and cgroup, as a runtime does.
        let script = format!(
            "{prepare} {} exec ip netns exec {} chroot {root} {line}",
            procs.unwrap_or_default(),
            pod.name
        );
        let mut command = std::process::Command::new("unshare");
        command.args(["--pid", "--mount", "--fork", "--kill-child", &format!("--mount-proc={root}/proc")]);
        command.args(["sh", "-c", &script]).stdin(Stdio::null());
        self.process = Some(Process(command.spawn().unwrap()));
        self
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.process = None;
        if let Some(cgroup) = &self.cgroup {
            until("the end of the container's processes", || fs::remove_dir(cgroup).ok());
        }
        let _ = fs::remove_dir_all(&self.root);
    }
}

impl Program {
    /// Puts `/app` and its library below a root.
    fn install(self, root: &Path) {
        let source = root.join("app.c");
        let code = "#include <unistd.h>\n#include <signal.h>\nint main(void) { signal(SIGCHLD, SIG_IGN); \
                    for (;;) pause(); }\n";
        fs::write(&source, code).unwrap();
        let compiler = match self {
            Self::Musl => "musl-gcc",
            Self::Glibc => "gcc",
            Self::Static => "gcc -static",
        };
        run(&format!("{compiler} -o {} {}", root.join("app").display(), source.display()));
        let libraries = match self {
            Self::Musl => vec!["/lib/ld-musl-x86_64.so.1"],
            Self::Glibc => vec!["/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"],
            Self::Static => Vec::new(),
        };
        for library in libraries {
            let there = root.join(library.trim_start_matches('/'));
            fs::create_dir_all(there.parent().unwrap()).unwrap();
            fs::copy(library, there).unwrap();
        }
    }
}

/// As many digits as fit of a name.
fn hex(name: &str) -> String {
    let digits: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    digits.chars().rev().take(50).collect()
}

pub(crate) fn cgroup2() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = fields.find(|fields| fields.get(2) == Some(&"cgroup2"))?;
    Some(PathBuf::from(mount[1]))
}

fn ifindex(node: &Namespace, link: &str) -> Ifindex {
    Ifindex(node.run(&format!("cat /sys/class/net/{link}/ifindex")).trim().parse().unwrap())
}

fn resolv_conf(instance: &Instance) -> Option<&str> {
    instance.resolver.as_ref().map(|resolver| resolver.resolv_conf.as_str())
}

fn libc(instance: &Instance) -> Option<&Libc> {
    instance.containers.first()?.libc.as_ref()
}

macro_rules! needs_cgroups {
    () => {
        if cgroup2().is_none() {
            eprintln!("skipped: no cgroup filesystem of version 2 is mounted");
            return;
        }
    };
}

#[test]
fn containers_are_told_with_their_interfaces_and_files() {
    needs_root!();
    needs_cgroups!();
    let node = Node::new();
    let musl = Container::new(&node, 1, Program::Musl)
        .with("etc/resolv.conf", "search a.example\nnameserver 10.99.2.2\noptions ndots:5\n")
        .with("etc/alpine-release", "3.17.3\n")
        .run(&node.client, "/app");
    let glibc = Container::new(&node, 2, Program::Glibc)
        .with("etc/resolv.conf", "nameserver 10.99.1.2\n")
        .with("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n")
        .run(&node.server, "/app");
    let mut names = Names::start(&node.node);
    let complete = |_: &Whose, instance: &Instance| libc(instance).is_some() && instance.resolver.is_some();
    let (whose, instance) = names.wait("all", &musl.id, complete);
    assert_eq!(whose.interfaces, [ifindex(&node.node, "cali1")]);
    let addresses = [CLIENT, CLIENT_6].map(|address| address.parse::<IpAddr>().unwrap());
    assert_eq!(whose.addresses, addresses);
    assert_eq!(
        (instance.workload.namespace.as_str(), instance.workload.kind.as_str()),
        ("docker", "container")
    );
    assert!(resolv_conf(&instance).unwrap().contains("options ndots:5"), "{instance:?}");
    let found = libc(&instance).unwrap();
    assert_eq!((found.kind, found.release.as_deref()), (LibcKind::Musl, Some("Alpine 3.17.3")));
    assert!(found.version.as_ref().is_some_and(|version| version.starts_with("1.2.")), "{found:?}");

    let (whose, instance) = names.wait("all", &glibc.id, complete);
    assert_eq!(whose.interfaces, [ifindex(&node.node, "eni1")]);
    let found = libc(&instance).unwrap();
    assert_eq!((found.kind, found.release.as_deref()), (LibcKind::Glibc, Some("Debian 12")));
    assert!(found.version.as_ref().is_some_and(|version| version.starts_with("2.")), "{found:?}");

    // What it says is followed.
    fs::write(musl.root.join("etc/resolv.conf"), "nameserver 10.0.0.10\n").unwrap();
    names.wait("the new resolv.conf", &musl.id, |_, instance| {
        resolv_conf(instance) == Some("nameserver 10.0.0.10\n")
    });
    let id = glibc.id.clone();
    drop(glibc);
    until("the end of the other", || names.now(&id).is_none().then_some(()));
    assert_eq!(names.silence(), None);
}

#[test]
fn a_pod_that_comes_later_is_named_soon_and_forgotten() {
    needs_root!();
    needs_cgroups!();
    let node = Node::new();
    let mut names = Names::start(&node.node);
    let container =
        Container::new(&node, 1, Program::Static).with("etc/resolv.conf", "nameserver 10.0.0.1\n");
    let pod = Namespace::new("later");
    plug(&node.node, "cali7", &pod, 7);
    let start = Instant::now();
    let container = container.run(&pod, "/app");
    let link = ifindex(&node.node, "cali7");
    names.wait("the interface", &container.id, |whose, _| whose.interfaces == [link]);
    eprintln!("named {:?} after its runtime was started", start.elapsed());
    let (_, instance) = names.wait("its library", &container.id, |_, instance| libc(instance).is_some());
    assert_eq!(libc(&instance).unwrap().kind, LibcKind::Static);
    let id = container.id.clone();
    drop(container);
    until("its end", || names.now(&id).is_none().then_some(()));
}

/// Files that lead elsewhere, never end or are none at all: each says nothing but of its own container.
#[test]
fn hostile_files_harm_nobody() {
    needs_root!();
    needs_cgroups!();
    let node = Node::new();
    let secret = fs::read_to_string("/etc/shadow").unwrap_or_default();
    let make = |number: u8, prepare: &dyn Fn(&Path)| {
        let container = Container::new(&node, number, Program::Static).with("etc/hostname", "its-own\n");
        prepare(&container.root.join("etc/resolv.conf"));
        container.run(&node.client, "/app")
    };
    let link = |target: &'static str| move |path: &Path| std::os::unix::fs::symlink(target, path).unwrap();
    let command = |line: &'static str| move |path: &Path| drop(run(&format!("{line} {}", path.display())));
    let long = |path: &Path| {
        let text = format!("search \u{1b}[31m{}\nnameserver 10.0.0.9\x07\n", "x".repeat(1 << 20));
        fs::write(path, text).unwrap();
    };
    let sparse = |path: &Path| {
        fs::write(path, "nameserver 10.0.0.8\n").unwrap();
        run(&format!("truncate -s 1T {}", path.display()));
    };
    let device = |path: &Path| drop(run(&format!("mknod {} c 1 5", path.display())));
    /// What it is, how it is made, and what may be read of it.
    type Hostile<'a> = (&'a str, Box<dyn Fn(&Path)>, Option<&'a str>);
    let hostile: [Hostile<'_>; 10] = [
        ("its own process 1's root", Box::new(link("/proc/1/root/etc/hostname")), None),
        ("the node's file by its own /proc", Box::new(link("/proc/1/root/etc/shadow")), None),
        ("far above", Box::new(link("../../../../../../etc/hostname")), Some("its-own\n")),
        ("a file of the kernel", Box::new(link("/proc/kmsg")), None),
        ("a link to itself", Box::new(link("resolv.conf")), None),
        ("a pipe", Box::new(command("mkfifo")), None),
        ("a directory", Box::new(command("mkdir")), None),
        ("a device", Box::new(device), None),
        ("a line of a megabyte", Box::new(long), Some("search ?[31mxxx")),
        ("a terabyte", Box::new(sparse), Some("nameserver 10.0.0.8\n")),
    ];
    let containers: Vec<(&str, Container, Option<&str>)> = (1..)
        .zip(&hostile)
        .map(|(number, (what, prepare, expected))| (*what, make(number, prepare), *expected))
        .collect();
    let honest = Container::new(&node, 99, Program::Static)
        .with("etc/resolv.conf", "nameserver 10.0.0.7\n")
        .run(&node.server, "/app");
    let mut names = Names::start(&node.node);
    names.wait("the honest one's", &honest.id, |_, one| resolv_conf(one) == Some("nameserver 10.0.0.7\n"));
    for (what, container, expected) in &containers {
        let (_, instance) = names.wait(what, &container.id, |_, one| libc(one).is_some());
        let text = resolv_conf(&instance);
        match expected {
            Some(beginning) => {
                let text = text.unwrap_or_else(|| panic!("{what}: nothing was read"));
                assert!(text.starts_with(beginning), "{what}: {text:.80}");
                assert!(text.len() <= 64 * 1024 && !text.contains(['\u{1b}', '\u{7}']), "{what}");
            }
            None => assert_eq!(text, None, "{what}"),
        }
    }
    names.learn();
    let all = format!("{:?}", names.facts);
    let lines = secret.lines().filter(|line| line.len() > 10);
    lines.for_each(|line| assert!(!all.contains(line), "a line of the node's /etc/shadow was told"));
}

/// A filesystem in each of six containers takes questions and never answers.
#[test]
fn a_filesystem_that_never_answers_holds_up_nobody() {
    needs_root!();
    needs_cgroups!();
    if !Path::new("/dev/fuse").exists() {
        eprintln!("skipped: no /dev/fuse");
        return;
    }
    let node = Node::new();
    let hang = |number: u8| {
        let container = Container::new(&node, number, Program::Static);
        let root = container.root.display();
        // Whoever holds /dev/fuse open and reads nothing never answers.
        let program = format!(
            "import ctypes, os, time\n\
             fuse = os.open('/dev/fuse', os.O_RDWR)\n\
             libc = ctypes.CDLL(None)\n\
             options = b'fd=%d,rootmode=40000,user_id=0,group_id=0' % fuse\n\
             assert libc.mount(b'fuse', b'{root}/etc', b'fuse', 0, options) == 0\n\
             open('{root}/mounted', 'w').close()\n\
             time.sleep(50)\n"
        );
        let container = container.with("mount.py", &program);
        let prepare = format!(
            "python3 {root}/mount.py & until [ -e {root}/mounted ]; do sleep 0.01; done;",
            root = container.root.display()
        );
        container.run_after(&prepare, &node.client, "/app")
    };
    let hanging: Vec<Container> = (1..=6).map(hang).collect();
    let mut names = Names::start(&node.node);
    let link = ifindex(&node.node, "cali1");
    for container in &hanging {
        names.wait("the name", &container.id, |_, _| true);
    }
    until("a line about those that hang", || names.silence().filter(|why| why.contains("did not answer")));
    // Whoever comes now is named all the same.
    let honest = Container::new(&node, 99, Program::Static)
        .with("etc/resolv.conf", "nameserver 10.0.0.7\n")
        .run(&node.server, "/app");
    let eni = ifindex(&node.node, "eni1");
    names.wait("the interface", &honest.id, |whose, _| whose.interfaces == [eni]);
    assert!(
        hanging.iter().any(|one| names.now(&one.id).is_some_and(|(whose, _)| whose.interfaces == [link]))
    );
    // They end, and what waited for them comes back.
    drop(hanging);
    names.wait("the resolv.conf", &honest.id, |_, one| resolv_conf(one) == Some("nameserver 10.0.0.7\n"));
    until("the end of the silence", || names.silence().is_none().then_some(()));
}

/// CPU time of this process's threads that look at processes, with what an earlier one of them used in the same test run.
fn cpu_of_source() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
    let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    let ticks = stats.filter(|stat| stat.contains("(names-")).map(|stat| {
        // utime and stime, the 14th and 15th field, of 10 ms each.
        let fields = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().skip(11).take(2);
        fields.map(|field| field.parse::<u64>().unwrap()).sum::<u64>()
    });
    Duration::from_millis(10 * ticks.sum::<u64>())
}

/// A container that begins and ends processes without pause costs a bounded share of a processor, and nobody their name.
#[test]
fn endless_churn_is_bounded() {
    needs_root!();
    needs_cgroups!();
    let node = Node::new();
    // Hundreds that live at once, each for a moment.
    let program = "import os, time\n\
                   deadline = time.time() + 25\n\
                   while time.time() < deadline:\n\
                   \x20   for _ in range(50):\n\
                   \x20       if os.fork() == 0:\n\
                   \x20           time.sleep(0.2)\n\
                   \x20           os._exit(0)\n\
                   \x20   try:\n\
                   \x20       while os.waitpid(-1, os.WNOHANG)[0]: pass\n\
                   \x20   except ChildProcessError: pass\n";
    let mut names = Names::start(&node.node);
    let _churn = node.client.spawn_python(program);
    let (start, before) = (Instant::now(), cpu_of_source());
    let container = Container::new(&node, 1, Program::Static)
        .with("etc/resolv.conf", "nameserver 10.0.0.7\n")
        .run(&node.server, "/app");
    names.wait("all", &container.id, |_, one| resolv_conf(one).is_some());
    eprintln!("named {:?} after its runtime was started, beside the churn", start.elapsed());
    while start.elapsed() < Duration::from_secs(10) {
        names.identity.look_again();
        names.learn();
        std::thread::sleep(Duration::from_millis(50));
    }
    let share = cpu_of_source().saturating_sub(before).as_secs_f64() / start.elapsed().as_secs_f64();
    eprintln!("beside the churn the source used {:.1} % of a processor", 100.0 * share);
    // Other tests of this process have threads of the same names.
    assert!(share < 0.5, "{share}");
}

/// Namespaces of many pods, each with one process in a cgroup of its own; all removed with their guard.
struct Pods {
    names: Vec<String>,
    processes: Vec<Process>,
    cgroups: Vec<PathBuf>,
    /// All have the same root.
    root: PathBuf,
}

impl Pods {
    fn new(node: &Namespace, count: usize) -> Self {
        let names: Vec<String> = (0..count).map(|number| format!("{}-{number}", node.name)).collect();
        let root = std::env::temp_dir().join(format!("{}-root", node.name));
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/resolv.conf"), "nameserver 10.0.0.7\n").unwrap();
        Program::Glibc.install(&root);
        let mut pods = Self { names, processes: Vec::new(), cgroups: Vec::new(), root };
        batch("", pods.names.iter().map(|name| format!("netns add {name}")));
        batch(
            &format!("-n {}", node.name),
            (0..).zip(&pods.names).flat_map(|(number, name)| {
                [
                    format!("link add veth{number} type veth peer name eth0 netns {name}"),
                    format!("link set veth{number} up"),
                ]
            }),
        );
        for (number, name) in (0..).zip(&pods.names) {
            run(&format!("ip -n {name} addr add 10.98.{number}.2/24 dev eth0"));
            let id = format!("{:0>58}{number:0>6}", hex(name));
            let cgroup = cgroup2().unwrap().join("docker").join(id);
            fs::create_dir_all(&cgroup).unwrap();
            let (procs, root) = (cgroup.join("cgroup.procs"), pods.root.display());
            let script =
                format!("echo 0 > {}; exec ip netns exec {name} chroot {root} /app", procs.display());
            let mut command = std::process::Command::new("sh");
            pods.processes.push(Process(command.args(["-c", &script]).stdin(Stdio::null()).spawn().unwrap()));
            pods.cgroups.push(cgroup);
        }
        for process in &pods.processes {
            let comm = format!("/proc/{}/comm", process.0.id());
            until("the pod's process", || (fs::read_to_string(&comm).unwrap() == "app\n").then_some(()));
        }
        pods
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        self.processes.clear();
        batch("", self.names.iter().map(|name| format!("netns del {name}")));
        for cgroup in &self.cgroups {
            let _ = fs::remove_dir(cgroup);
        }
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Runs many commands of `ip` in one process.
fn batch(options: &str, lines: impl Iterator<Item = String>) {
    use std::io::Write as _;
    let mut command = std::process::Command::new("ip");
    command.args(options.split_whitespace()).args(["-batch", "-"]).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let text: Vec<String> = lines.map(|line| line + "\n").collect();
    child.stdin.take().unwrap().write_all(text.concat().as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// As many pods as a large node has.
#[test]
fn two_hundred_and_fifty_pods() {
    needs_root!();
    needs_cgroups!();
    let count = 250;
    let node = Namespace::new("node");
    let _pods = Pods::new(&node, count);
    let (start, before) = (Instant::now(), cpu_of_source());
    let mut names = Names::start(&node);
    let mut named = std::collections::BTreeSet::new();
    let mut complete = std::collections::BTreeSet::new();
    let mut all_named = None;
    until("every name", || {
        for fact in names.identity.take() {
            if let Fact::Here { whose, instance } = fact
                && whose.interfaces.len() == 1
                && whose.addresses.len() == 1
                && instance.workload.kind == "container"
            {
                named.insert(instance.id.clone());
                if libc(&instance).is_some() {
                    complete.insert(instance.id.clone());
                }
            }
        }
        if named.len() >= count {
            all_named.get_or_insert_with(|| start.elapsed());
        }
        (complete.len() >= count).then_some(())
    });
    eprintln!(
        "{count} pods named in {:?}, all files read in {:?}, {:?} of CPU",
        all_named.unwrap(),
        start.elapsed(),
        cpu_of_source().saturating_sub(before)
    );
    // Young processes are looked at more often.
    let young = Instant::now();
    while young.elapsed() < Duration::from_secs(11) {
        names.learn();
        std::thread::sleep(Duration::from_millis(50));
    }
    let (start, before) = (Instant::now(), cpu_of_source());
    while start.elapsed() < Duration::from_secs(20) {
        names.learn();
        std::thread::sleep(Duration::from_millis(50));
    }
    let share = cpu_of_source().saturating_sub(before).as_secs_f64() / start.elapsed().as_secs_f64();
    eprintln!("idle the source used {:.2} % of a processor", 100.0 * share);
    assert!(share < 0.2, "{share}");
}

/// Without the capability names and addresses are told all the same, and one line says what is missing.
#[test]
fn without_ptrace_files_are_missing_and_nothing_else() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    needs_root!();
    needs_cgroups!();
    let node = Node::new();
    let container = Container::new(&node, 1, Program::Static)
        .with("etc/resolv.conf", "nameserver 10.0.0.7\n")
        .run(&node.client, "/app");
    let start = || {
        // Of this thread alone, and those that it starts.
        let mut ours = capabilities(None).unwrap();
        let missing = CapabilitySet::SYS_PTRACE | CapabilitySet::SYS_ADMIN;
        (ours.effective, ours.permitted) = (ours.effective - missing, ours.permitted - missing);
        set_capabilities(None, ours).unwrap();
        let config = IdentityConfig {
            sources: Sources::These(vec![Source::Processes]),
            node_name: None,
            kubeconfig: None,
        };
        Identity::start(&config)
    };
    let mut names = Names { identity: node.node.enter(start).unwrap(), facts: Vec::new() };
    let link = ifindex(&node.node, "cali1");
    let (whose, instance) = names.wait("the interface", &container.id, |whose, _| whose.interfaces == [link]);
    assert!(whose.addresses.contains(&CLIENT.parse().unwrap()), "{whose:?}");
    let why = until("a line about it", || names.silence());
    assert!(why.contains("CAP_SYS_PTRACE"), "{why}");
    assert_eq!((resolv_conf(&instance), libc(&instance)), (None, None));
}
