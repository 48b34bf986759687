//! Delivers frames with link type, place and time seen, and counts the lost ones.
//!
//! Three sources of one [`Frame`]: the kernel half ([`ebpf`]), a packet socket where eBPF is not allowed
//! ([`packet_socket`]), a capture file ([`file`]). Deliberately absent: what is inside a frame.

pub mod addresses;
mod attach;
pub mod check;
pub mod clsact;
pub mod counters;
pub mod ebpf;
pub mod ethtool;
pub mod file;
pub mod frame;
pub mod interfaces;
pub(crate) mod linklocal;
pub mod live;
pub mod namespaces;
mod netlink;
pub mod netns;
pub mod packet_socket;
pub mod privileges;
pub mod recorded;
pub mod vantage;
pub mod vpc;

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::CapabilitySet;
use thiserror::Error;

use counters::CaptureCounters;
use file::{PcapFileError, PcapFileSource};
use frame::{Frame, Ifindex, Timestamp};
use interfaces::{InterfacesError, Selection};
pub use live::{Gate, LiveSource};
use netns::{NetnsError, NetnsRef, Numbers};
use recorded::InterfaceNames;

use crate::identity::facts::Fact;
use crate::maps::Set;

/// Which live source to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureMethod {
    /// eBPF, or the packet socket where that fails, with a line that says so and why.
    Auto,
    /// eBPF or nothing.
    Ebpf,
    /// The packet socket.
    Packet,
}

/// How to hang the programs on their hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMethod {
    /// tcx where the kernel has it, else clsact.
    Auto,
    /// tcx or nothing.
    Tcx,
    /// A clsact filter.
    Clsact,
}

/// What a live source is told.
#[derive(Clone, Debug)]
pub struct LiveConfig {
    /// Which interfaces of the own network namespace.
    pub selection: Selection,
    /// Network namespaces to enter, of which all interfaces that are up are watched.
    pub netns: Vec<NetnsRef>,
    /// Which source.
    pub capture: CaptureMethod,
    /// Which hooks.
    pub attach: AttachMethod,
    /// The server ports.
    pub ports: Set<u16>,
    /// VPC resolvers beside the well-known ones, whose packets count as link-local.
    pub vpc_resolvers: Vec<IpAddr>,
    /// Size of the ring (or of the socket's queue) in bytes; the kernel wants a power of two of pages for a ring.
    pub ring_bytes: u32,
}

/// Why a live capture did not begin.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The interfaces could not be found.
    #[error(transparent)]
    Interfaces(#[from] InterfacesError),
    /// The kernel refused maps or programs.
    #[error("{}", load_message(.0))]
    Load(Box<aya::EbpfError>),
    /// Something around the programs failed.
    #[error("failed to prepare the eBPF capture")]
    Attach(#[source] io::Error),
    /// A network namespace could not be entered.
    #[error(transparent)]
    Netns(NetnsError),
    /// The packet socket could not be opened.
    #[error("{}", socket_message(.0))]
    PacketSocket(io::Error),
    /// The kernel lacks what was asked for.
    #[error("the kernel is too old: {needs}, this is {is}")]
    KernelTooOld {
        /// What needs which release.
        needs: &'static str,
        /// The release that runs.
        is: String,
    },
}

/// What to do about a refusal of the kernel.
fn load_message(error: &aya::EbpfError) -> String {
    let missing = check::missing_capabilities(&["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"]);
    let advice = "root has them; --capture packet needs CAP_NET_RAW only";
    // To a process without CAP_PERFMON the verifier forbids what it allows others, and says so at length.
    if !missing.is_empty() {
        return format!("no permission to load eBPF programs: {missing}; {advice}");
    }
    if check::is_permission(error) {
        return format!(
            "no permission to load eBPF programs: a security module or sysctl forbids it; {advice}"
        );
    }
    // Each level of aya's error repeats those below it; of the verifier's log the last lines tell.
    let text = error.to_string();
    let end: Vec<&str> = text.lines().rev().take(6).collect();
    let end: Vec<&str> = end.into_iter().rev().collect();
    format!("the kernel refused the eBPF programs: {}", end.join("\n"))
}

fn socket_message(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "no permission to open a packet socket: CAP_NET_RAW is missing; run as root or grant it".into()
        }
        _ => format!("failed to open a packet socket: {error}"),
    }
}

/// Knows the names of interfaces.
#[derive(Clone, Debug)]
pub enum Namer {
    /// Of this machine, now; those in other namespaces have numbers of their own.
    Kernel(Numbers),
    /// Of the machine where a file was recorded; the kernel here knows others by these numbers.
    File(InterfaceNames),
}

impl Namer {
    /// The name of an interface; `None` once it is gone, or where a file does not tell.
    pub fn name_of(&self, ifindex: Ifindex) -> Option<String> {
        match self {
            Self::Kernel(numbers) if ifindex.is_entered() => numbers.name_of(ifindex),
            Self::Kernel(_) => interfaces::name_of(ifindex),
            Self::File(names) => names.get(ifindex),
        }
    }
}

/// What [`Source::drain`] left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Nothing waits now.
    Empty,
    /// There may be more.
    More,
    /// There will never be more.
    Ended,
}

/// A source of frames.
pub enum Source {
    /// This machine: the kernel half, or a packet socket.
    Live(Box<LiveSource>),
    /// A file.
    File(Box<PcapFileSource>),
}

impl Source {
    /// Opens the live source that `config` asks for, and tells why it is not the one preferred. Attaching goes on behind
    /// it: [`Source::first_round`].
    pub fn live(config: &LiveConfig) -> Result<(Self, Option<String>), CaptureError> {
        LiveSource::open(config).map(|(source, note)| (Self::Live(Box::new(source)), note))
    }

    /// Enters a network namespace and captures there too, as [`LiveSource::enter`] tells.
    pub fn enter(&mut self, netns: &NetnsRef, label: &str) -> Result<String, NetnsError> {
        match self {
            Self::Live(source) => source.enter(netns, label),
            Self::File(_) => Err(NetnsError::File(netns.clone())),
        }
    }

    /// Leaves the namespace of that label, as [`LiveSource::leave`] tells.
    pub fn leave(&mut self, label: &str) -> bool {
        match self {
            Self::Live(source) => source.leave(label),
            Self::File(_) => false,
        }
    }

    /// Are all pods, uplinks and `lo` of this machine watched, rather than what somebody named?
    pub fn watches_any(&self) -> bool {
        matches!(self, Self::Live(source) if source.watches_any())
    }

    /// Lets others enter and leave namespaces while this source runs; `None` for a file, which has none.
    ///
    /// # Errors
    ///
    /// No thread could be started.
    pub fn gate(&mut self) -> io::Result<Option<Gate>> {
        match self {
            Self::Live(source) => source.gate().map(Some),
            Self::File(_) => Ok(None),
        }
    }

    /// Gives up all privileges of the calling thread and of the captures' own but `kept` and those that are still needed,
    /// and gives these; `None` for a file. To be called once everything is attached, by the thread that drains.
    ///
    /// # Errors
    ///
    /// The kernel's; more may have been kept.
    pub fn shed(&mut self, kept: CapabilitySet) -> io::Result<Option<CapabilitySet>> {
        match self {
            Self::Live(source) => source.shed(kept).map(Some),
            Self::File(_) => Ok(None),
        }
    }

    /// How long it took to attach to everything there at the start, and the last error; `None` while that goes on, and
    /// for a file.
    pub fn first_round(&self) -> Option<(Duration, Option<String>)> {
        match self {
            Self::Live(source) => source.first_round(),
            Self::File(_) => None,
        }
    }

    /// Opens a file; `-` is standard input.
    pub fn file(path: &std::path::Path) -> Result<Self, PcapFileError> {
        PcapFileSource::open(path).map(|source| Self::File(Box::new(source)))
    }

    /// As [`Source::file`]; a pipe ends once `stop` is set.
    pub fn file_until(path: &std::path::Path, stop: &Arc<AtomicBool>) -> Result<Self, PcapFileError> {
        PcapFileSource::open_until(path, stop).map(|source| Self::File(Box::new(source)))
    }

    /// Waits until something is to be read, `wake` is readable or the time is over.
    pub fn wait(&self, wake: BorrowedFd<'_>, longest: Duration) {
        let mut fds: Vec<PollFd<'_>> = Vec::new();
        match self {
            Self::Live(source) => {
                fds.extend(source.fds().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            }
            Self::File(source) => match source.fd() {
                Some(fd) => fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN)),
                None => return,
            },
        }
        fds.push(PollFd::from_borrowed_fd(wake, PollFlags::IN));
        let longest = Timespec { tv_sec: longest.as_secs() as i64, tv_nsec: longest.subsec_nanos().into() };
        // An interrupted wait is only a look too early.
        let _ = poll(&mut fds, Some(&longest));
    }

    /// Delivers up to `most` frames, of each namespace that is watched.
    pub fn drain(&mut self, most: usize, deliver: &mut dyn FnMut(&Frame<'_>)) -> Drained {
        match self {
            Self::Live(source) => source.drain(most, deliver),
            Self::File(source) => source.drain(most, deliver),
        }
    }

    /// What was wrong with a file, one line each; all that stood before it was used.
    pub fn trouble(&self) -> Vec<String> {
        match self {
            Self::File(source) => source.trouble(),
            Self::Live(_) => Vec::new(),
        }
    }

    /// The time now by the clock of the frames; `None` for a file, whose frames are its clock.
    pub fn now(&self) -> Option<Timestamp> {
        match self {
            Self::Live(source) => Some(source.now()),
            Self::File(_) => None,
        }
    }

    /// The source's own counters, or those that a recording holds; `None` for another file.
    pub fn counters(&mut self) -> Option<CaptureCounters> {
        match self {
            Self::Live(source) => Some(source.counters()),
            Self::File(source) => source.recorded().counters(),
        }
    }

    /// What a recording counted until then, if draining came by a reading since the last call; `None` for another file
    /// and a live source.
    pub fn take_reading(&mut self) -> Option<(Timestamp, CaptureCounters)> {
        match self {
            Self::Live(_) => None,
            Self::File(source) => source.take_reading(),
        }
    }

    /// What a recording told of who is who since the last call, with the time when that was learnt; nothing of another
    /// file and a live source.
    pub fn take_facts(&mut self) -> VecDeque<(Timestamp, Fact)> {
        match self {
            Self::Live(_) => VecDeque::new(),
            Self::File(source) => source.take_facts(),
        }
    }

    /// Until when a recording was made, as far as it was read; `None` for another file and a live source.
    pub fn recorded_until(&self) -> Option<Timestamp> {
        match self {
            Self::Live(_) => None,
            Self::File(source) => source.recorded().latest(),
        }
    }

    /// Counts packets to this VPC resolver as link-local too, from now on; a file's are those that it says.
    pub fn add_vpc_resolver(&mut self, address: IpAddr) {
        match self {
            Self::Live(source) => source.add_vpc_resolver(address),
            Self::File(_) => {}
        }
    }

    /// Who knows the names of the interfaces: the kernel, or the file alone.
    pub fn namer(&self) -> Namer {
        match self {
            Self::Live(source) => Namer::Kernel(source.numbers()),
            Self::File(source) => Namer::File(source.recorded().names()),
        }
    }

    /// Lets go of the interfaces; what was captured before can still be drained.
    pub fn detach(&mut self) {
        match self {
            Self::Live(source) => source.detach(),
            Self::File(_) => {}
        }
    }
}
