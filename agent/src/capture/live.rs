//! The live source: one capture in the namespace that the agent runs in, and one more in each that was entered.
//!
//! Each capture has programs, ring and counters (or a packet socket) of its own. Frames of several are put into the order
//! of their time; a capture whose namespace is gone is read to its end and let go, and what it counted stays counted.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::thread::CapabilitySet;

use super::counters::CaptureCounters;
use super::ebpf::EbpfSource;
use super::frame::{Frame, LinkType, Place, Timestamp};
use super::interfaces::{Interfaces, Selection};
use super::netns::{Abode, Netns, NetnsError, NetnsId, NetnsRef, Numbers, Trace};
use super::packet_socket::PacketSocketSource;
use super::privileges;
use super::{CaptureError, CaptureMethod, Drained, LiveConfig};

/// Room between kernel and agent for one entered namespace: 2,000 packets of the usual size. One workload asks less than
/// all of a node.
const RING_INSIDE: u32 = 512 * 1024;
/// How often it is looked whether the namespaces are still there.
const LOOK: Duration = Duration::from_secs(1);
/// Frames that wait for those of other captures, at most.
const MOST_HELD: usize = 65_536;
/// How losses at interfaces that are gone are told.
pub(super) const GONE: &str = "interfaces gone since";

/// Frames from one namespace.
enum Capture {
    /// By the kernel half.
    Ebpf(Box<EbpfSource>),
    /// By a packet socket.
    Packet(Box<PacketSocketSource>),
}

impl Capture {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Ebpf(source) => source.fd(),
            Self::Packet(source) => source.fd(),
        }
    }

    fn now(&self) -> Timestamp {
        match self {
            Self::Ebpf(source) => source.now(),
            Self::Packet(source) => source.now(),
        }
    }

    fn drain(&mut self, most: usize, deliver: &mut dyn FnMut(&Frame<'_>)) -> Drained {
        match self {
            Self::Ebpf(source) => source.drain(most, deliver),
            Self::Packet(source) => source.drain(most, deliver),
        }
    }

    fn counters(&mut self) -> CaptureCounters {
        match self {
            Self::Ebpf(source) => source.counters(),
            Self::Packet(source) => source.counters(),
        }
    }

    fn first_round(&self) -> Option<(Duration, Option<String>)> {
        match self {
            Self::Ebpf(source) => source.first_round(),
            Self::Packet(_) => Some((Duration::ZERO, None)),
        }
    }

    /// Lets no more frames in, without waiting for that; true once it is so.
    fn try_detach(&mut self) -> bool {
        match self {
            Self::Ebpf(source) => source.try_detach(),
            Self::Packet(source) => {
                source.detach();
                true
            }
        }
    }

    fn detach(&mut self) {
        match self {
            Self::Ebpf(source) => source.detach(),
            Self::Packet(source) => source.detach(),
        }
    }

    /// Gives up privileges that its threads need no more; gives those that are kept.
    fn shed(&self) -> CapabilitySet {
        match self {
            Self::Ebpf(source) => source.shed(),
            // Once open, the socket needs none.
            Self::Packet(_) => CapabilitySet::empty(),
        }
    }

    fn abode(&self) -> &Abode {
        match self {
            Self::Ebpf(source) => source.abode(),
            Self::Packet(source) => source.abode(),
        }
    }
}

/// The capture in a namespace that was entered.
struct Entered {
    netns: NetnsRef,
    id: NetnsId,
    trace: Trace,
    capture: Capture,
    /// It is to be let go, once what it holds was read.
    leaving: bool,
}

impl Entered {
    fn label(&self) -> &str {
        self.capture.abode().label()
    }
}

/// How to capture in another namespace.
#[derive(Clone)]
struct Way {
    config: LiveConfig,
    own: Option<NetnsId>,
    numbers: Numbers,
    /// Privileges were given up elsewhere, so each new capture gives up its own.
    shed: Arc<AtomicBool>,
    /// Of the own capture, so that all frames have one clock.
    clock_offset_ns: u64,
}

impl Way {
    /// Enters and begins to capture; takes tens of milliseconds.
    fn open(&self, netns: &NetnsRef, label: &str) -> Result<Entered, NetnsError> {
        let file = Netns::open(netns)?;
        if Some(file.id) == self.own {
            return Err(NetnsError::Own(netns.clone()));
        }
        let abode = Abode::entered(label, &self.numbers);
        let begin = || {
            let Self { config, clock_offset_ns, .. } = self;
            let opened = if config.capture == CaptureMethod::Packet {
                PacketSocketSource::open_inside(config, abode).map(|source| Capture::Packet(Box::new(source)))
            } else {
                EbpfSource::open_inside(config, abode, *clock_offset_ns)
                    .map(|source| Capture::Ebpf(Box::new(source)))
            };
            let failed = |error| NetnsError::Capture { netns: netns.clone(), source: Box::new(error) };
            opened.map_err(failed)
        };
        let capture = file.within(netns, begin)?;
        if self.shed.load(Ordering::Acquire) {
            capture.shed();
        }
        let Netns { id, trace, .. } = file;
        Ok(Entered { netns: netns.clone(), id, trace, capture, leaving: false })
    }
}

/// Asks for namespaces to be entered and left while the source is in use elsewhere.
#[derive(Clone)]
pub struct Gate {
    requests: Sender<Request>,
}

impl Gate {
    /// Enters a namespace and begins to capture in it; its interfaces are called `INTERFACE@LABEL`. The answer comes when
    /// the source is next drained, some 100 ms later: the label, with a number behind it where another has the same. It
    /// need not be waited for. Nothing comes where the capture has ended.
    pub fn enter(&self, netns: NetnsRef, label: String) -> Receiver<Result<String, NetnsError>> {
        let (reply, answer) = channel();
        // A source that has ended answers nothing.
        let _ = self.requests.send(Request::Enter { netns, label, reply });
        answer
    }

    /// Leaves the namespace of that label; what was captured there is still delivered, and counted.
    pub fn leave(&self, label: String) {
        let _ = self.requests.send(Request::Leave(label));
    }
}

enum Request {
    Enter {
        netns: NetnsRef,
        label: String,
        reply: Sender<Result<String, NetnsError>>,
    },
    Leave(String),
    /// The source ends.
    End,
}

/// What the thread behind a [`Gate`] tells the source.
enum Arrival {
    Entered { opened: Result<Box<Entered>, NetnsError>, reply: Sender<Result<String, NetnsError>> },
    Leave(String),
}

/// The source's side of the gate.
struct Porter {
    requests: Sender<Request>,
    arrivals: Option<Receiver<Arrival>>,
    thread: Option<JoinHandle<()>>,
}

impl Porter {
    fn start(way: Way) -> std::io::Result<Self> {
        let (requests, orders) = channel();
        let (arrive, arrivals) = channel();
        let work = move || {
            // What cannot be given up does no harm, and what is missing is told when somebody asks to enter.
            let _ = privileges::keep(privileges::FOR_ENTERING);
            for request in orders {
                let arrival = match request {
                    Request::Enter { netns, label, reply } => {
                        Arrival::Entered { opened: way.open(&netns, &label).map(Box::new), reply }
                    }
                    Request::Leave(label) => Arrival::Leave(label),
                    Request::End => return,
                };
                if arrive.send(arrival).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("gate".into()).spawn(work)?;
        Ok(Self { requests, arrivals: Some(arrivals), thread: Some(thread) })
    }
}

/// Nobody enters any more, and what was entered in this moment is let go of.
impl Drop for Porter {
    fn drop(&mut self) {
        self.arrivals = None;
        let _ = self.requests.send(Request::End);
        if let Some(thread) = self.thread.take() {
            // A panic has been printed.
            let _ = thread.join();
        }
    }
}

/// A frame that waits for earlier ones of other captures.
struct Held {
    time: Timestamp,
    place: Option<Place>,
    link_type: LinkType,
    original_length: u32,
    vlan: Option<u16>,
    bytes: Vec<u8>,
}

impl Held {
    fn of(frame: &Frame<'_>) -> Self {
        let Frame { time, place, link_type, original_length, vlan, bytes } = *frame;
        Self { time, place, link_type, original_length, vlan, bytes: bytes.to_vec() }
    }

    fn frame(&self) -> Frame<'_> {
        let Self { time, place, link_type, original_length, vlan, ref bytes } = *self;
        Frame { time, place, link_type, original_length, vlan, bytes }
    }
}

/// Frames of this machine as they pass.
pub struct LiveSource {
    own: Capture,
    entered: Vec<Entered>,
    way: Way,
    porter: Option<Porter>,
    held: Vec<Held>,
    /// What those counted that were let go.
    gone: CaptureCounters,
    next_look: Instant,
    detached: bool,
}

impl LiveSource {
    /// Opens the capture that `config` asks for, and tells why it is not the one preferred; then enters its namespaces.
    pub(super) fn open(config: &LiveConfig) -> Result<(Self, Option<String>), CaptureError> {
        let (own, note) = open_own(config)?;
        let (capture, clock_offset_ns, vpc_resolvers) = match &own {
            Capture::Ebpf(source) => (CaptureMethod::Ebpf, source.clock_offset_ns(), source.vpc_resolvers()),
            Capture::Packet(source) => (CaptureMethod::Packet, 0, source.vpc_resolvers()),
        };
        let inside = LiveConfig { capture, vpc_resolvers, ring_bytes: RING_INSIDE, ..config.clone() };
        let way = Way {
            config: inside,
            own: NetnsId::own().ok(),
            numbers: Numbers::default(),
            shed: Arc::default(),
            clock_offset_ns,
        };
        let mut source = Self {
            own,
            entered: Vec::new(),
            way,
            porter: None,
            held: Vec::new(),
            gone: CaptureCounters::default(),
            next_look: Instant::now(),
            detached: false,
        };
        for netns in &config.netns {
            source.enter(netns, &netns.label()).map_err(CaptureError::Netns)?;
        }
        Ok((source, note))
    }

    /// Enters a namespace and begins to capture in it; gives its label, with a number behind it where another has the same.
    pub fn enter(&mut self, netns: &NetnsRef, label: &str) -> Result<String, NetnsError> {
        // Before anything is opened; what has become another one meanwhile is noticed by `admit`.
        if let Ok(id) = NetnsId::at(&netns.path()) {
            self.refuse_twice(netns, id)?;
        }
        let entered = self.way.open(netns, label)?;
        self.admit(entered)
    }

    fn admit(&mut self, entered: Entered) -> Result<String, NetnsError> {
        self.refuse_twice(&entered.netns, entered.id)?;
        let label = entered.label().to_owned();
        self.entered.push(entered);
        Ok(label)
    }

    fn refuse_twice(&self, netns: &NetnsRef, id: NetnsId) -> Result<(), NetnsError> {
        match self.entered.iter().find(|entered| entered.id == id && !entered.leaving) {
            Some(entered) => {
                Err(NetnsError::Twice { netns: netns.clone(), label: entered.label().to_owned() })
            }
            None => Ok(()),
        }
    }

    /// Leaves the namespace of that label; what was captured there can still be drained. False where there is none.
    pub fn leave(&mut self, label: &str) -> bool {
        match self.entered.iter_mut().find(|entered| entered.label() == label && !entered.leaving) {
            Some(entered) => {
                entered.leaving = true;
                true
            }
            None => false,
        }
    }

    /// The labels of the namespaces that are watched beside the own.
    pub fn entered(&self) -> impl Iterator<Item = &str> {
        self.entered.iter().filter(|entered| !entered.leaving).map(Entered::label)
    }

    /// Lets others enter and leave while this source runs; to be called before [`LiveSource::shed`], after which no new
    /// thread has the privileges for it.
    ///
    /// # Errors
    ///
    /// No thread could be started.
    pub fn gate(&mut self) -> std::io::Result<Gate> {
        let porter = match self.porter.take() {
            Some(porter) => porter,
            None => Porter::start(self.way.clone())?,
        };
        let requests = porter.requests.clone();
        self.porter = Some(porter);
        Ok(Gate { requests })
    }

    /// Gives up the privileges of this thread and of the captures' but `kept` and what following interfaces and counting
    /// need; gives all that are kept. To be called by the thread that drains, once everything is attached.
    ///
    /// # Errors
    ///
    /// The kernel's; more may have been kept.
    pub(super) fn shed(&mut self, kept: CapabilitySet) -> std::io::Result<CapabilitySet> {
        self.way.shed.store(true, Ordering::Release);
        let captures = std::iter::once(&self.own).chain(self.entered.iter().map(|entered| &entered.capture));
        let mut all = captures.map(Capture::shed).fold(kept, CapabilitySet::union);
        if self.porter.is_some() {
            all |= privileges::FOR_ENTERING;
        }
        let has = privileges::effective();
        privileges::keep(kept | privileges::for_counters())?;
        Ok(privileges::remains(has, all))
    }

    pub(super) fn watches_any(&self) -> bool {
        self.way.config.selection == Selection::Any
    }

    /// The numbers and names of interfaces in other namespaces.
    pub(super) fn numbers(&self) -> Numbers {
        self.way.numbers.clone()
    }

    pub(super) fn first_round(&self) -> Option<(Duration, Option<String>)> {
        let captures = std::iter::once(&self.own).chain(self.entered.iter().map(|entered| &entered.capture));
        captures.map(Capture::first_round).try_fold((Duration::ZERO, None), |(longest, told), round| {
            let (took, error) = round?;
            Some((longest.max(took), told.or(error)))
        })
    }

    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.own.fd()).chain(self.entered.iter().map(|entered| entered.capture.fd()))
    }

    pub(super) fn now(&self) -> Timestamp {
        self.own.now()
    }

    pub(super) fn drain(&mut self, most: usize, deliver: &mut dyn FnMut(&Frame<'_>)) -> Drained {
        self.receive();
        if self.entered.is_empty() && self.held.is_empty() {
            return self.own.drain(most, deliver);
        }
        self.look();
        self.drain_in_order(most, deliver)
    }

    /// Delivers the frames of all captures in the order of their time, up to which every capture was read.
    fn drain_in_order(&mut self, most: usize, deliver: &mut dyn FnMut(&Frame<'_>)) -> Drained {
        // What comes from now on may come in any order: it waits for the next call.
        let mut until = if self.detached { Timestamp::from_nanos(u64::MAX) } else { self.own.now() };
        let Self { own, entered, held, .. } = self;
        let mut left = Drained::Empty;
        let mut read = |capture: &mut Capture| {
            let mut last = None;
            let drained = capture.drain(most, &mut |frame| {
                last = last.max(Some(frame.time));
                held.push(Held::of(frame));
            });
            if drained == Drained::More {
                left = Drained::More;
                until = last.map_or(until, |last| until.min(last));
            }
            drained
        };
        read(own);
        let mut ended = Vec::new();
        for (index, entered) in entered.iter_mut().enumerate() {
            // Only what was let go before it was read is empty for good.
            let closed = entered.leaving && entered.capture.try_detach();
            if read(&mut entered.capture) != Drained::More && closed {
                ended.push(index);
            }
        }
        held.sort_by_key(|held| held.time);
        let ready = held.partition_point(|held| held.time <= until).max(held.len().saturating_sub(MOST_HELD));
        for held in held.drain(..ready) {
            deliver(&held.frame());
        }
        for index in ended.into_iter().rev() {
            self.let_go(index);
        }
        left
    }

    /// Takes what came by the gate.
    fn receive(&mut self) {
        while let Some(arrival) =
            self.porter.as_ref().and_then(|porter| porter.arrivals.as_ref()?.try_recv().ok())
        {
            match arrival {
                Arrival::Entered { opened, reply } => {
                    let result = opened.and_then(|entered| self.admit(*entered));
                    if result.is_err() {
                        *self.gone.attach_errors.entry("netns".into()).or_default() += 1;
                    }
                    // Whoever asked need not wait for it.
                    let _ = reply.send(result);
                }
                Arrival::Leave(label) => {
                    self.leave(&label);
                }
            }
        }
    }

    /// Notes which namespaces are gone, now and then.
    fn look(&mut self) {
        if Instant::now() < self.next_look {
            return;
        }
        self.next_look = Instant::now() + LOOK;
        for entered in self.entered.iter_mut().filter(|entered| !entered.leaving) {
            entered.leaving = !entered.trace.is_there();
        }
    }

    /// Closes a capture that was read to its end; what it counted stays.
    fn let_go(&mut self, index: usize) {
        let mut entered = self.entered.remove(index);
        entered.capture.detach();
        let mut last = entered.capture.counters();
        last.interfaces.clear();
        last.programs.clear();
        last.linklocal.clear();
        last.allowances.clear();
        for (name, ..) in &mut last.lost_at {
            GONE.clone_into(name);
        }
        self.gone.add(&last);
    }

    /// Counts packets to this VPC resolver as link-local too, from now on.
    pub(super) fn add_vpc_resolver(&mut self, address: IpAddr) {
        let entered = self.entered.iter_mut().map(|entered| &mut entered.capture);
        for capture in std::iter::once(&mut self.own).chain(entered) {
            match capture {
                Capture::Ebpf(source) => source.add_vpc_resolver(address),
                Capture::Packet(source) => source.add_vpc_resolver(address),
            }
        }
    }

    pub(super) fn counters(&mut self) -> CaptureCounters {
        let mut sum = self.own.counters();
        if self.gone != CaptureCounters::default() {
            sum.join(&self.gone);
        }
        for entered in &mut self.entered {
            sum.join(&entered.capture.counters());
        }
        sum
    }

    /// Lets go of all interfaces; what was captured before can still be drained.
    pub(super) fn detach(&mut self) {
        self.porter = None;
        self.detached = true;
        // All at once, then one after the other.
        for entered in &mut self.entered {
            entered.capture.try_detach();
        }
        self.own.detach();
        for entered in &mut self.entered {
            entered.capture.detach();
        }
    }
}

/// The capture in the own namespace, and why it is not the one preferred.
fn open_own(config: &LiveConfig) -> Result<(Capture, Option<String>), CaptureError> {
    let interfaces = Interfaces::find(config.selection.clone())?;
    let mut refusal = None;
    if config.capture != CaptureMethod::Packet {
        match EbpfSource::open(config, interfaces) {
            Ok(source) => return Ok((Capture::Ebpf(Box::new(source)), None)),
            Err(error) if config.capture == CaptureMethod::Ebpf => return Err(error),
            Err(error) => refusal = Some(error),
        }
    }
    let interfaces = Interfaces::find(config.selection.clone())?;
    match (PacketSocketSource::open(config, interfaces), refusal) {
        (Ok(source), refusal) => {
            let note = refusal.map(|error| format!("no eBPF here, so a packet socket is used: {error}"));
            Ok((Capture::Packet(Box::new(source)), note))
        }
        // Neither works: the reason of the preferred one is the one to act on.
        (Err(_), Some(error)) | (Err(error), None) => Err(error),
    }
}
