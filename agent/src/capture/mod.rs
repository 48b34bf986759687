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
pub mod namespaces;
mod netlink;
pub mod packet_socket;
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
use thiserror::Error;

use counters::CaptureCounters;
use ebpf::EbpfSource;
use file::{PcapFileError, PcapFileSource};
use frame::{Frame, Ifindex, Timestamp};
use interfaces::{Interfaces, InterfacesError, Selection};
use packet_socket::PacketSocketSource;
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
    /// Which interfaces.
    pub selection: Selection,
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
    /// Of this machine, now.
    Kernel,
    /// Of the machine where a file was recorded; the kernel here knows others by these numbers.
    File(InterfaceNames),
}

impl Namer {
    /// The name of an interface; `None` once it is gone, or where a file does not tell.
    pub fn name_of(&self, ifindex: Ifindex) -> Option<String> {
        match self {
            Self::Kernel => interfaces::name_of(ifindex),
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

/// One of the three sources.
pub enum Source {
    /// The kernel half.
    Ebpf(Box<EbpfSource>),
    /// A packet socket.
    Packet(Box<PacketSocketSource>),
    /// A file.
    File(Box<PcapFileSource>),
}

impl Source {
    /// Opens the live source that `config` asks for, and tells why it is not the one preferred. Attaching goes on behind
    /// it: [`Source::first_round`].
    pub fn live(config: &LiveConfig) -> Result<(Self, Option<String>), CaptureError> {
        let interfaces = Interfaces::find(config.selection.clone())?;
        let mut refusal = None;
        if config.capture != CaptureMethod::Packet {
            match EbpfSource::open(config, interfaces) {
                Ok(source) => return Ok((Self::Ebpf(Box::new(source)), None)),
                Err(error) if config.capture == CaptureMethod::Ebpf => return Err(error),
                Err(error) => refusal = Some(error),
            }
        }
        let interfaces = Interfaces::find(config.selection.clone())?;
        match (PacketSocketSource::open(config, interfaces), refusal) {
            (Ok(source), refusal) => {
                let note = refusal.map(|error| format!("no eBPF here, so a packet socket is used: {error}"));
                Ok((Self::Packet(Box::new(source)), note))
            }
            // Neither works: the reason of the preferred one is the one to act on.
            (Err(_), Some(error)) | (Err(error), None) => Err(error),
        }
    }

    /// How long it took to attach to everything there at the start, and the last error; `None` while that goes on, and
    /// for a file.
    pub fn first_round(&self) -> Option<(Duration, Option<String>)> {
        match self {
            Self::Ebpf(source) => source.first_round(),
            Self::Packet(_) => Some((Duration::ZERO, None)),
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
        let own = match self {
            Self::Ebpf(source) => Some(source.fd()),
            Self::Packet(source) => Some(source.fd()),
            Self::File(source) => match source.fd() {
                Some(fd) => Some(fd),
                None => return,
            },
        };
        let mut fds: Vec<PollFd<'_>> =
            own.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        fds.push(PollFd::from_borrowed_fd(wake, PollFlags::IN));
        let longest = Timespec { tv_sec: longest.as_secs() as i64, tv_nsec: longest.subsec_nanos().into() };
        // An interrupted wait is only a look too early.
        let _ = poll(&mut fds, Some(&longest));
    }

    /// Delivers up to `most` frames.
    pub fn drain(&mut self, most: usize, deliver: &mut dyn FnMut(&Frame<'_>)) -> Drained {
        match self {
            Self::Ebpf(source) => source.drain(most, deliver),
            Self::Packet(source) => source.drain(most, deliver),
            Self::File(source) => source.drain(most, deliver),
        }
    }

    /// What was wrong with a file, one line each; all that stood before it was used.
    pub fn trouble(&self) -> Vec<String> {
        match self {
            Self::File(source) => source.trouble(),
            Self::Ebpf(_) | Self::Packet(_) => Vec::new(),
        }
    }

    /// The time now by the clock of the frames; `None` for a file, whose frames are its clock.
    pub fn now(&self) -> Option<Timestamp> {
        match self {
            Self::Ebpf(source) => Some(source.now()),
            Self::Packet(source) => Some(source.now()),
            Self::File(_) => None,
        }
    }

    /// The source's own counters, or those that a recording holds; `None` for another file.
    pub fn counters(&mut self) -> Option<CaptureCounters> {
        match self {
            Self::Ebpf(source) => Some(source.counters()),
            Self::Packet(source) => Some(source.counters()),
            Self::File(source) => source.recorded().counters(),
        }
    }

    /// What a recording counted until then, if draining came by a reading since the last call; `None` for another file
    /// and a live source.
    pub fn take_reading(&mut self) -> Option<(Timestamp, CaptureCounters)> {
        match self {
            Self::Ebpf(_) | Self::Packet(_) => None,
            Self::File(source) => source.take_reading(),
        }
    }

    /// What a recording told of who is who since the last call, with the time when that was learnt; nothing of another
    /// file and a live source.
    pub fn take_facts(&mut self) -> VecDeque<(Timestamp, Fact)> {
        match self {
            Self::Ebpf(_) | Self::Packet(_) => VecDeque::new(),
            Self::File(source) => source.take_facts(),
        }
    }

    /// Until when a recording was made, as far as it was read; `None` for another file and a live source.
    pub fn recorded_until(&self) -> Option<Timestamp> {
        match self {
            Self::Ebpf(_) | Self::Packet(_) => None,
            Self::File(source) => source.recorded().latest(),
        }
    }

    /// Counts packets to this VPC resolver as link-local too, from now on; a file's are those that it says.
    pub fn add_vpc_resolver(&mut self, address: IpAddr) {
        match self {
            Self::Ebpf(source) => source.add_vpc_resolver(address),
            Self::Packet(source) => source.add_vpc_resolver(address),
            Self::File(_) => {}
        }
    }

    /// Who knows the names of the interfaces: the kernel, or the file alone.
    pub fn namer(&self) -> Namer {
        match self {
            Self::Ebpf(_) | Self::Packet(_) => Namer::Kernel,
            Self::File(source) => Namer::File(source.recorded().names()),
        }
    }

    /// Lets go of the interfaces; what was captured before can still be drained.
    pub fn detach(&mut self) {
        match self {
            Self::Ebpf(source) => source.detach(),
            Self::Packet(source) => source.detach(),
            Self::File(_) => {}
        }
    }
}
