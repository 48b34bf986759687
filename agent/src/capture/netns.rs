//! Network namespaces of others: which one is meant, the way into it, and what its interfaces are called out here.
//!
//! Where the host's side sees nothing (the ENI of an ECS task in `awsvpc` mode is moved into the task; Cilium redirects past
//! the host's hooks) the capture goes in: a thread enters, opens sockets and attaches programs there, and ends. Numbers of
//! interfaces are unique in one namespace only, so those of others get numbers of their own here: see [`Numbers`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fstat, fstatfs, open, stat};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use thiserror::Error;

use super::CaptureError;
use super::check::missing_capabilities;
use super::frame::Ifindex;
use super::recorded::readable;

/// linux/magic.h: the file system of the files that stand for namespaces.
const NSFS_MAGIC: u64 = 0x6e73_6673;
/// The namespace of the thread that asks.
const OWN: &str = "/proc/thread-self/ns/net";

/// How somebody names a network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetnsRef {
    /// By a process in it: that of `/proc/PID/ns/net`.
    Pid(u32),
    /// By a file that stands for it, as `/run/netns/NAME` or `/proc/PID/ns/net`.
    Path(PathBuf),
}

impl NetnsRef {
    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Pid(pid) => PathBuf::from(format!("/proc/{pid}/ns/net")),
            Self::Path(path) => path.clone(),
        }
    }

    /// The process that it is named by; `None` for another path, or where that names a thread.
    fn process(&self) -> Option<Pid> {
        let pid = match self {
            Self::Pid(pid) => *pid,
            Self::Path(path) => {
                let (pid, rest) = path.to_str()?.strip_prefix("/proc/")?.split_once('/')?;
                (rest == "ns/net").then(|| pid.parse().ok())??
            }
        };
        Pid::from_raw(pid.try_into().ok()?)
    }

    /// What it is called where nobody gave it a name: the number of the process, or the last part of the path.
    pub fn label(&self) -> String {
        let name = match self {
            Self::Pid(pid) => return pid.to_string(),
            Self::Path(path) => match path.strip_prefix("/proc").ok().and_then(|path| path.iter().next()) {
                Some(process) => process,
                None => path.file_name().unwrap_or(OsStr::new("netns")),
            },
        };
        readable(name.as_encoded_bytes())
    }
}

impl FromStr for NetnsRef {
    type Err = String;

    /// Reads a number as a process and anything with a slash as a path.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return Ok(Self::Path(PathBuf::from(text)));
        }
        match text.parse() {
            Ok(pid) if pid > 0 => Ok(Self::Pid(pid)),
            _ => Err(format!(
                "`{text}` is neither the number of a process nor a path; of `ip netns` write /run/netns/{text}"
            )),
        }
    }
}

impl fmt::Display for NetnsRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(pid) => write!(f, "the network namespace of process {pid}"),
            Self::Path(path) => {
                write!(f, "the network namespace {}", readable(path.as_os_str().as_encoded_bytes()))
            }
        }
    }
}

/// Why a network namespace was not entered.
#[derive(Debug, Error)]
pub enum NetnsError {
    /// No process has that number.
    #[error("there is no process {0}, whose network namespace was asked for")]
    NoProcess(u32),
    /// Nothing is there.
    #[error("there is no {}; `ip netns` has its namespaces in /run/netns", readable(.0.as_os_str().as_encoded_bytes()))]
    NoPath(PathBuf),
    /// Something else is there.
    #[error("{} is no network namespace", readable(.0.as_os_str().as_encoded_bytes()))]
    NotNetwork(PathBuf),
    /// The kernel forbids it.
    #[error("no permission to enter {netns}: {needs}; run as root, or grant it")]
    Permission {
        /// Which one.
        netns: NetnsRef,
        /// What is missing.
        needs: String,
    },
    /// The capture is there anyway.
    #[error("{0} is the one that nslookout runs in, whose interfaces -i chooses")]
    Own(NetnsRef),
    /// It was entered before.
    #[error("{netns} was entered already, as `{label}`")]
    Twice {
        /// Which one.
        netns: NetnsRef,
        /// What it is called.
        label: String,
    },
    /// Something around it failed.
    #[error("failed to enter {netns}")]
    System {
        /// Which one.
        netns: NetnsRef,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It was entered, and the capture in it did not begin.
    #[error("failed to capture in {netns}")]
    Capture {
        /// Which one.
        netns: NetnsRef,
        /// Why.
        #[source]
        source: Box<CaptureError>,
    },
    /// A file has no interfaces.
    #[error("a file is read, so {0} cannot be entered")]
    File(NetnsRef),
}

/// Which namespace it is, however it is named: device and inode number of its file (namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NetnsId {
    device: u64,
    inode: u64,
}

impl NetnsId {
    /// Of the thread that asks.
    pub(super) fn own() -> io::Result<Self> {
        Self::at(Path::new(OWN))
    }

    /// What a path leads to now.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let file = stat(path)?;
        Ok(Self { device: file.st_dev, inode: file.st_ino })
    }
}

/// How to tell that a namespace is gone. Whoever captures in it keeps it alive, so nothing but its name can tell that
/// everybody else has left. Asking takes no privilege: by then none may be left.
pub(super) enum Trace {
    /// The process that it was entered by; its file in /proc is closed to those without CAP_SYS_PTRACE.
    Process(OwnedFd),
    /// Its path, and what that led to.
    Path(PathBuf, NetnsId),
}

impl Trace {
    /// Does the name still lead there?
    pub(super) fn is_there(&self) -> bool {
        match self {
            // A descriptor of a process is readable once that has ended (pidfd_open(2)).
            Self::Process(process) => {
                let mut fds = [PollFd::new(process, PollFlags::IN)];
                !poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ended| ended > 0)
            }
            Self::Path(path, id) => match NetnsId::at(path) {
                Ok(now) => now == *id,
                // Of what we may not ask about any more, nothing is known.
                Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
            },
        }
    }
}

/// A network namespace, open. It lives at least as long as this does.
pub(super) struct Netns {
    file: OwnedFd,
    pub(super) id: NetnsId,
    pub(super) trace: Trace,
}

impl Netns {
    /// Opens what `netns` names.
    pub(super) fn open(netns: &NetnsRef) -> Result<Self, NetnsError> {
        let path = netns.path();
        // First the process: should its number go to another one meanwhile, this one has ended.
        let process = netns.process().and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        // A pipe by that name must not keep us waiting.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = open(&path, flags, Mode::empty()).map_err(|error| refusal(netns, error.into()))?;
        let system =
            |error: rustix::io::Errno| NetnsError::System { netns: netns.clone(), source: error.into() };
        if fstatfs(&file).map_err(system)?.f_type as u64 != NSFS_MAGIC {
            return Err(NetnsError::NotNetwork(path));
        }
        let status = fstat(&file).map_err(system)?;
        let id = NetnsId { device: status.st_dev, inode: status.st_ino };
        let trace = process.map_or(Trace::Path(path, id), Trace::Process);
        Ok(Self { file, id, trace })
    }

    /// Runs `work` in a thread that has entered, and ends. Threads that `work` starts stay in there; sockets that it opens
    /// belong there, from wherever they are used.
    pub(super) fn within<T: Send>(
        &self,
        netns: &NetnsRef,
        work: impl FnOnce() -> Result<T, NetnsError> + Send,
    ) -> Result<T, NetnsError> {
        let system = |source| NetnsError::System { netns: netns.clone(), source };
        std::thread::scope(|scope| {
            let inside = || {
                move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
                    .map_err(|error| refusal(netns, error.into()))?;
                work()
            };
            let thread = std::thread::Builder::new().name("enter".into()).spawn_scoped(scope, inside);
            let panicked = || system(io::Error::other("the thread that entered panicked"));
            thread.map_err(system)?.join().unwrap_or_else(|_| Err(panicked()))
        })
    }
}

/// What the kernel's refusal to open or enter means (open(2), setns(2)).
fn refusal(netns: &NetnsRef, error: io::Error) -> NetnsError {
    match (error.raw_os_error(), netns) {
        (Some(libc::ENOENT | libc::ESRCH), NetnsRef::Pid(pid)) => NetnsError::NoProcess(*pid),
        (Some(libc::ENOENT | libc::ESRCH | libc::ENOTDIR), NetnsRef::Path(path)) => {
            NetnsError::NoPath(path.clone())
        }
        // A namespace, but of another kind.
        (Some(libc::EINVAL), _) => NetnsError::NotNetwork(netns.path()),
        (Some(libc::EPERM | libc::EACCES), _) => {
            // Only what stands in /proc is guarded as another's process is.
            let in_proc = netns.path().starts_with("/proc");
            let wanted: &[&str] =
                if in_proc { &["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"] } else { &["CAP_SYS_ADMIN"] };
            let missing = missing_capabilities(wanted);
            let needs = if missing.is_empty() {
                "CAP_SYS_ADMIN is needed in the user namespace that owns it too (setns(2))".to_owned()
            } else {
                missing
            };
            NetnsError::Permission { netns: netns.clone(), needs }
        }
        _ => NetnsError::System { netns: netns.clone(), source: error },
    }
}

/// The first number that an interface of another namespace gets. The kernel's are positive and signed
/// (`net_device.ifindex` is an int), so none of them is as large.
const FIRST: u32 = 1 << 31;
/// Names of interfaces in namespaces that are gone that are still known: findings name them for minutes.
const MOST_GONE: usize = 4096;

/// Numbers and names of the interfaces in other namespaces.
///
/// The kernel numbers interfaces from 1 in each namespace, so every `lo` is 1. Here each interface of an entered namespace
/// gets the next number from 2^31 on, when it is first seen, and keeps it while the namespace is watched; no number is
/// given twice in a run. Its name is `INTERFACE@LABEL`.
#[derive(Clone, Debug, Default)]
pub struct Numbers(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    given: u32,
    names: BTreeMap<Ifindex, String>,
    labels: BTreeSet<String>,
    /// Of namespaces that are gone, the longest ago first.
    gone: VecDeque<Ifindex>,
}

impl Table {
    /// A label that no other namespace has.
    fn take_label(&mut self, wanted: &str) -> String {
        let others = (2..).map(|number: u32| format!("{wanted}~{number}"));
        let mut labels = std::iter::once(wanted.to_owned()).chain(others);
        let label = labels.find(|label| !self.labels.contains(label)).unwrap_or_default();
        self.labels.insert(label.clone());
        label
    }
}

impl Numbers {
    /// What the interface is called; `None` where it never had a name, or lost it long ago.
    pub fn name_of(&self, ifindex: Ifindex) -> Option<String> {
        self.table().names.get(&ifindex).cloned()
    }

    /// The label of the namespace that the interface is in; `None` as for its name.
    pub fn label_of(&self, ifindex: Ifindex) -> Option<String> {
        self.table().names.get(&ifindex)?.split_once('@').map(|(_, label)| label.to_owned())
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ifindex {
    /// Is it a number of our own, of an interface in a namespace that was entered?
    pub const fn is_entered(self) -> bool {
        self.0 >= FIRST
    }
}

/// The namespace that a source captures in, as it is told to those outside.
#[derive(Clone, Debug, Default)]
pub(super) struct Abode {
    /// `None`: the one that the agent runs in, where numbers and names are the kernel's.
    entered: Option<Arc<Inside>>,
}

#[derive(Debug)]
struct Inside {
    label: String,
    numbers: Numbers,
    /// The kernel's number to ours.
    given: Mutex<BTreeMap<u32, Ifindex>>,
}

impl Abode {
    /// An entered namespace.
    pub(super) fn entered(label: &str, numbers: &Numbers) -> Self {
        let given = Mutex::new(BTreeMap::new());
        // Somebody else may have chosen it.
        let label = numbers.table().take_label(&readable(label.as_bytes()));
        Self { entered: Some(Arc::new(Inside { label, numbers: numbers.clone(), given })) }
    }

    /// What it is called; empty for the own one.
    pub(super) fn label(&self) -> &str {
        self.entered.as_ref().map_or("", |inside| &inside.label)
    }

    /// Was it entered?
    pub(super) fn is_entered(&self) -> bool {
        self.entered.is_some()
    }

    /// The number of an interface for those outside.
    pub(super) fn number(&self, ifindex: u32) -> Ifindex {
        let Some(inside) = &self.entered else { return Ifindex(ifindex) };
        let mut given = inside.given.lock().unwrap_or_else(PoisonError::into_inner);
        *given.entry(ifindex).or_insert_with(|| {
            let mut table = inside.numbers.table();
            // After 2^31 interfaces the last number stands for all.
            let number = Ifindex(FIRST.saturating_add(table.given));
            table.given += u32::from(table.given < u32::MAX - FIRST);
            number
        })
    }

    /// The name of an interface for those outside, who can ask for it by its number from now on.
    pub(super) fn name(&self, ifindex: u32, name: &str) -> String {
        let Some(inside) = &self.entered else { return name.to_owned() };
        let full = format!("{name}@{}", inside.label);
        let number = self.number(ifindex);
        inside.numbers.table().names.insert(number, full.clone());
        full
    }

    /// The name of an interface in there, from that for those outside.
    pub(super) fn inner<'a>(&self, name: &'a str) -> &'a str {
        let own = |inside: &Arc<Inside>| name.strip_suffix(&inside.label)?.strip_suffix('@');
        self.entered.as_ref().and_then(own).unwrap_or(name)
    }
}

/// Numbers of a namespace that is gone are not given again; the names are known for a while.
impl Drop for Inside {
    fn drop(&mut self) {
        let given = std::mem::take(self.given.get_mut().unwrap_or_else(PoisonError::into_inner));
        let mut table = self.numbers.table();
        table.labels.remove(&self.label);
        table.gone.extend(given.into_values());
        while table.gone.len() > MOST_GONE {
            if let Some(old) = table.gone.pop_front() {
                table.names.remove(&old);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_named_by_process_or_path() {
        assert_eq!("17".parse(), Ok(NetnsRef::Pid(17)));
        for path in ["/run/netns/a", "/proc/17/ns/net", "./17"] {
            assert_eq!(path.parse(), Ok(NetnsRef::Path(path.into())));
        }
        for bad in ["", "0", "-1", "blue", "4294967296"] {
            assert!(bad.parse::<NetnsRef>().is_err_and(|error| error.contains(&format!("`{bad}`"))), "{bad}");
        }
        for (named, label) in [
            ("17", "17"),
            ("/run/netns/blue", "blue"),
            ("/proc/17/ns/net", "17"),
            ("/run/netns/a\u{1b}[2J", r"a\027[2J"),
            ("/", "netns"),
        ] {
            assert_eq!(named.parse::<NetnsRef>().map(|netns| netns.label()).as_deref(), Ok(label));
        }
    }

    #[test]
    fn what_is_none_is_told() {
        for (named, told) in [
            ("2147483647", "there is no process 2147483647"),
            ("/run/netns/nsl-none", "there is no /run/netns/nsl-none"),
            ("/dev/null/x", "there is no /dev/null/x"),
            ("/dev/null", "/dev/null is no network namespace"),
            ("/proc", "/proc is no network namespace"),
        ] {
            let told_is = Netns::open(&named.parse().unwrap()).err().map(|error| error.to_string());
            assert!(told_is.as_ref().is_some_and(|is| is.starts_with(told)), "{named}: {told_is:?}");
        }
    }

    #[test]
    fn equal_numbers_of_two_namespaces_are_told_apart() {
        let numbers = Numbers::default();
        let [one, other] = ["one", "other"].map(|label| Abode::entered(label, &numbers));
        assert_eq!(one.name(1, "lo"), "lo@one");
        assert_eq!(other.name(1, "lo"), "lo@other");
        assert_ne!(one.number(1), other.number(1));
        assert_eq!(one.number(1), one.number(1));
        assert!(one.number(7).is_entered());
        assert_eq!(numbers.name_of(other.number(1)).as_deref(), Some("lo@other"));
        assert_eq!(one.inner("eth0@one"), "eth0");
        let namesake = Abode::entered("one", &numbers);
        assert_eq!((namesake.label(), namesake.inner("eth0@one~2")), ("one~2", "eth0"));
        let number = one.number(1);
        drop(one);
        assert_eq!(numbers.name_of(number).as_deref(), Some("lo@one"));
        let anew = Abode::entered("one", &numbers);
        assert_ne!(anew.number(1), number);
    }

    #[test]
    fn the_own_namespace_keeps_numbers_and_names() {
        let own = Abode::default();
        assert_eq!(
            (own.number(3), own.name(3, "eth0").as_str(), own.inner("a@b")),
            (Ifindex(3), "eth0", "a@b")
        );
        assert!(!own.number(3).is_entered());
    }

    /// However many come and go, what is kept of them is bounded.
    #[test]
    fn names_of_long_gone_interfaces_are_forgotten() {
        let numbers = Numbers::default();
        for _ in 0..2 * MOST_GONE {
            Abode::entered("x", &numbers).name(1, "lo");
        }
        assert_eq!(numbers.table().names.len(), MOST_GONE);
    }
}
