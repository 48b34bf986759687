//! Of what a process of the node asks, its cgroup is known.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aya::EbpfLoader;
use aya::programs::SchedClassifier;
use nslookout::capture::frame::{CgroupId, Frame};
use nslookout::capture::{Drained, Source};

use crate::agent::{Agent, By, NSLOOKOUT};
use crate::fixture::{Namespace, Process, run, until};
use crate::needs_root;

/// A cgroup of the cgroup2 hierarchy, gone with its guard.
struct Cgroup(PathBuf);

impl Cgroup {
    /// `None` where there is no such hierarchy, or none that may be written to.
    fn new(role: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
        let path = Path::new(mount.split(' ').nth(4)?).join(format!("nsltest-{}-{role}", std::process::id()));
        fs::create_dir(&path).ok()?;
        Some(Self(path))
    }

    /// The inode number of its directory.
    fn id(&self) -> CgroupId {
        CgroupId(fs::metadata(&self.0).unwrap().ino())
    }

    /// Asks for `name` from in here. `ip netns exec` hides /sys, so the process joins before.
    fn ask(&self, namespace: &Namespace, name: &str) {
        let script = std::env::temp_dir().join(format!("{}.{name}.sh", namespace.name));
        let procs = self.0.join("cgroup.procs");
        let lines = format!(
            "echo $$ > {} && exec ip netns exec {} dig +tries=1 @127.0.0.1 {name}\n",
            procs.display(),
            namespace.name
        );
        fs::write(&script, lines).unwrap();
        run(&format!("sh {}", script.display()));
        fs::remove_file(script).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Processes that were killed stay in it for a moment.
        until("the end of the processes in a cgroup", || fs::remove_dir(&self.0).ok());
    }
}

/// What a recording says of the cgroup of each query, by the first label of its name.
fn recorded(path: &Path) -> BTreeMap<String, Option<CgroupId>> {
    let mut found = BTreeMap::new();
    let mut file = Source::file(path).unwrap();
    let mut take = |frame: &Frame<'_>| {
        // Ethernet, IPv4, UDP, DNS header, the length of the first label; of queries the QR bit is clear.
        let (flags, label) = (frame.bytes[44], &frame.bytes[54..]);
        if flags & 0x80 == 0 {
            let name = String::from_utf8(label[1..=usize::from(label[0])].to_vec()).unwrap();
            found.insert(name, frame.place.and_then(|place| place.cgroup));
        }
    };
    while file.drain(100, &mut take) != Drained::Ended {}
    found
}

#[test]
fn what_processes_of_the_node_ask_carries_their_cgroups() {
    needs_root!();
    let (Some(one), Some(other)) = (Cgroup::new("one"), Cgroup::new("other")) else {
        eprintln!("skipped: there is no cgroup2 hierarchy to make a cgroup in");
        return;
    };
    for by in [By::Tcx, By::Clsact, By::Packet] {
        let node = Namespace::new("node");
        let _server = node.dnsmasq(53, "");
        let path = std::env::temp_dir().join(format!("{}.pcapng", node.name));
        let agent = Agent::start(&node, &format!("-i lo -w {} {}", path.display(), by.options()));
        one.ask(&node, "one.a.test");
        other.ask(&node, "other.a.test");
        agent.stop().expect_exact();
        let expected = match by {
            By::Packet => [None, None],
            By::Tcx | By::Clsact => [Some(one.id()), Some(other.id())],
        };
        let found = recorded(&path);
        fs::remove_file(&path).unwrap();
        assert_eq!([found["one"], found["other"]], expected, "{by:?}");
    }
}

/// A kernel without CONFIG_SOCK_CGROUP_DATA knows no such helper, as no kernel knows number 9999.
#[test]
fn programs_load_where_the_kernel_tells_no_cgroup() {
    needs_root!();
    let object = concat!(env!("OUT_DIR"), "/nslookout.bpf.o");
    let mut object = fs::read(object).unwrap();
    let (call, unknown) = ([0x85, 0, 0, 0, 79, 0, 0, 0], [0x85, 0, 0, 0, 0x0f, 0x27, 0, 0]);
    let places: Vec<usize> =
        (0..object.len() - 8).step_by(8).filter(|at| object[*at..*at + 8] == call).collect();
    assert!(!places.is_empty(), "no call of bpf_skb_cgroup_id in the object");
    for at in places {
        object[at..at + 8].copy_from_slice(&unknown);
    }
    let load = |cgroups: u32| {
        let mut ebpf =
            EbpfLoader::new().override_global("NSL_CGROUPS", &cgroups, true).load(&object).unwrap();
        for name in ["nsl_ingress", "nsl_egress", "nsl_ingress_ip", "nsl_egress_ip"] {
            let program: &mut SchedClassifier = ebpf.program_mut(name).unwrap().try_into().unwrap();
            program.load()?;
        }
        Ok::<(), aya::programs::ProgramError>(())
    };
    assert!(load(1).is_err(), "the unknown helper was not met");
    load(0).unwrap();
}

/// What containerd gives a container on a node with cgroup v2 alone, and no CAP_SYS_ADMIN to leave it.
#[test]
fn units_are_named_from_a_cgroup_namespace_below_them() {
    needs_root!();
    let (Some(unit), Some(outer)) = (Cgroup::new("unit.service"), Cgroup::new("agent")) else {
        eprintln!("skipped: there is no cgroup2 hierarchy to make a cgroup in");
        return;
    };
    let inner = Cgroup(outer.0.join("inner"));
    fs::create_dir(&inner.0).unwrap();
    let node = Namespace::new("node");
    let _server = node.dnsmasq(53, "");
    let folder = std::env::temp_dir();
    let lines = folder.join(format!("{}.json", node.name));
    let script = folder.join(format!("{}.sh", node.name));
    // With a process 1 of its own, which stands for the node's: that of a machine may be closed even to root.
    let text = format!(
        "(echo 0 > {unit}/cgroup.procs && exec nsenter --net=/run/netns/{name} sleep 100) &\n\
         echo 0 > {inner}/cgroup.procs\n\
         nsenter --net=/run/netns/{name} unshare --cgroup --mount sh -c 'umount {mount}; mount -t cgroup2 none /mnt && \
         exec setpriv --bounding-set=-sys_admin {NSLOOKOUT} watch -i lo -o json --identity processes' > {lines}\n",
        unit = unit.0.display(),
        inner = inner.0.display(),
        mount = unit.0.parent().unwrap().display(),
        name = node.name,
        lines = lines.display(),
    );
    fs::write(&script, text).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--mount", "--fork", "--kill-child", "--mount-proc", "sh"]);
    let _agent = Process(command.arg(&script).stdin(Stdio::null()).spawn().unwrap());
    let expected = format!("\"name\":\"{}\"", unit.0.file_name().unwrap().to_string_lossy());
    until("a query by the name of its unit", || {
        unit.ask(&node, "unit.a.test");
        fs::read_to_string(&lines).is_ok_and(|text| text.contains(&expected)).then_some(())
    });
    fs::remove_file(&lines).unwrap();
    fs::remove_file(&script).unwrap();
}
