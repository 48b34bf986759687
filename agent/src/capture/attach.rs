//! Attaches the kernel half to interfaces, as they come and go, in a thread of its own.
//!
//! A tcx hook waits 8 ms for the kernel's grace period, so hundreds of interfaces take seconds; capture goes on
//! meanwhile, and an interface that appears goes first in the queue.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::maps::{HashMap as BpfHashMap, MapData, PerCpuHashMap, PerCpuValues};
use aya::programs::tc::{SchedClassifierLinkId, TcAttachOptions, TcError};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType};
use nslookout_ebpf::{BUCKETS, InterfaceState, LinkLocalBuckets, LinkLocalKey, OPTION_POD};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::thread::CapabilitySet;

use super::clsact::Clsact;
use super::counters::{Method, WatchedInterface};
use super::frame::{Direction, Ifindex, InterfaceKind, LinkType};
use super::interfaces::{Interfaces, Watched, name_of};
use super::linklocal::{SERVICES, Totals};
use super::netns::Abode;
use super::privileges;

/// What attacher and reader share.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Grows with each change of the table of interfaces.
    generation: AtomicU64,
    stop: AtomicBool,
    /// Privileges that are not needed any more are to be given up.
    shed: AtomicBool,
    wake: rustix::fd::OwnedFd,
    /// Locked for the time of one attachment.
    pub(super) ebpf: Mutex<Ebpf>,
    /// Whose interfaces these are; the table's own keys are the kernel's numbers in there.
    pub(super) abode: Abode,
}

/// The table of interfaces and the maps that go with it.
pub(super) struct State {
    pub(super) interfaces: BTreeMap<Ifindex, Entry>,
    /// Sums of interfaces that are gone.
    pub(super) retired: Vec<(InterfaceKind, InterfaceState)>,
    pub(super) counters: PerCpuHashMap<MapData, u32, InterfaceState>,
    pub(super) buckets: BpfHashMap<MapData, LinkLocalKey, LinkLocalBuckets>,
    pub(super) linklocal: Totals,
    pub(super) attach_errors: BTreeMap<String, u64>,
    /// The last error in full, for a person.
    pub(super) last_error: Option<String>,
    /// How long the first attachment of all took.
    first_round: Option<Duration>,
}

/// An interface in the table.
pub(super) struct Entry {
    pub(super) watched: WatchedInterface,
    pub(super) kind: InterfaceKind,
}

impl Shared {
    pub(super) fn new(
        ebpf: Ebpf,
        counters: PerCpuHashMap<MapData, u32, InterfaceState>,
        buckets: BpfHashMap<MapData, LinkLocalKey, LinkLocalBuckets>,
        abode: Abode,
    ) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            state: Mutex::new(State {
                interfaces: BTreeMap::new(),
                retired: Vec::new(),
                counters,
                buckets,
                linklocal: Totals::default(),
                attach_errors: BTreeMap::new(),
                last_error: None,
                first_round: None,
            }),
            generation: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            shed: AtomicBool::new(false),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            ebpf: Mutex::new(ebpf),
            abode,
        }))
    }

    /// A panic elsewhere must not keep the counters from being told: they are plain numbers.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// How long it took to attach to everything there at the start; `None` while that goes on.
    pub(super) fn first_round(&self) -> Option<Duration> {
        self.state().first_round
    }

    /// Tells the attacher to detach everything and end.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
    }

    /// Tells the attacher to give up the privileges that it needs no more, once all there at the start is attached.
    pub(super) fn shed(&self) {
        self.shed.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        // Eight bytes always fit into an eventfd that nobody else writes to.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

/// How a program hangs on its hook.
enum Attachment {
    Tcx { links: Vec<(&'static str, SchedClassifierLinkId)> },
    Clsact,
}

/// Owns the hooks.
pub(super) struct Attacher {
    pub(super) shared: Arc<Shared>,
    pub(super) interfaces: Interfaces,
    /// Present with that method.
    pub(super) clsact: Option<Clsact>,
    attachments: HashMap<Ifindex, Attachment>,
    /// Privileges were given up.
    shed: bool,
}

/// The program of each direction, for packets with and without a link layer.
pub(super) const PROGRAMS: [(&str, Direction, LinkType); 4] = [
    ("nsl_ingress", Direction::Ingress, LinkType::Ethernet),
    ("nsl_egress", Direction::Egress, LinkType::Ethernet),
    ("nsl_ingress_ip", Direction::Ingress, LinkType::RawIp),
    ("nsl_egress_ip", Direction::Egress, LinkType::RawIp),
];

impl Attacher {
    pub(super) fn new(shared: Arc<Shared>, interfaces: Interfaces, clsact: Option<Clsact>) -> Self {
        Self { shared, interfaces, clsact, attachments: HashMap::new(), shed: false }
    }

    /// Attaches, follows, and at the end detaches everything.
    pub(super) fn run(mut self) {
        let start = Instant::now();
        let mut queue: VecDeque<Watched> = self.interfaces.watched().cloned().collect();
        while !self.shared.stop.load(Ordering::Acquire) {
            self.follow(&mut queue);
            if let Some(watched) = queue.pop_front() {
                self.attach(&watched);
                continue;
            }
            let mut state = self.shared.state();
            if state.first_round.is_none() {
                state.first_round = Some(start.elapsed());
            }
            drop(state);
            self.shed();
            self.wait();
        }
        self.detach_all();
    }

    /// Gives up what is not needed any more, where that is wanted.
    fn shed(&mut self) {
        if self.shed || !self.shared.shed.load(Ordering::Acquire) {
            return;
        }
        self.shed = true;
        if let Err(error) = privileges::keep(privileges_of(self.clsact.is_some(), self.interfaces.follow())) {
            self.note_error("privileges", format!("failed to give up privileges: {error}"));
        }
    }

    /// Sleeps until a link changes or the end is asked for.
    fn wait(&self) {
        let mut fds =
            [PollFd::new(&self.interfaces, PollFlags::IN), PollFd::new(&self.shared.wake, PollFlags::IN)];
        // An interrupted wait is only a look too early.
        let _ = poll(&mut fds, Some(&Timespec { tv_sec: 60, tv_nsec: 0 }));
        // It has done its work by waking us.
        let _ = rustix::io::read(&self.shared.wake, &mut [0; 8]);
    }

    /// New interfaces go first; those that are gone leave their sums behind.
    fn follow(&mut self, queue: &mut VecDeque<Watched>) {
        match self.interfaces.changes() {
            Ok(changes) => {
                for ifindex in changes.vanished {
                    queue.retain(|watched| watched.link.ifindex != ifindex);
                    self.retire(ifindex);
                }
                for (ifindex, name) in changes.renamed {
                    if let Some(entry) = self.shared.state().interfaces.get_mut(&ifindex) {
                        entry.watched.name = self.shared.abode.name(ifindex.0, &name);
                    }
                }
                for watched in changes.appeared {
                    queue.push_front(watched);
                }
            }
            Err(error) => self.note_error("netlink", format!("{error}")),
        }
    }

    fn attach(&mut self, watched: &Watched) {
        let ifindex = watched.link.ifindex;
        let mut watched = watched.clone();
        // CNIs make an interface and rename it at once: by now it may have its second name.
        match name_of(ifindex) {
            Some(name) => watched.link.name = name,
            None => return self.interfaces.forget(ifindex),
        }
        let watched = &watched;
        let result = self.prepare(watched).and_then(|()| match self.clsact {
            Some(_) => self.attach_clsact(watched),
            None => self.attach_tcx(watched),
        });
        match result {
            Ok(attachment) => {
                self.attachments.insert(ifindex, attachment);
            }
            // It went, or was renamed, between the notice and now: its next notice counts.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {
                self.interfaces.forget(ifindex);
                self.retire(ifindex);
            }
            Err(error) => {
                let reason = error.kind().to_string();
                // Its next notice, if there is one, is another try.
                self.interfaces.forget(ifindex);
                self.retire(ifindex);
                let name = self.shared.abode.name(ifindex.0, &watched.link.name);
                self.note_error(&reason, format!("failed to attach to {name}: {error}"));
            }
        }
    }

    /// Makes the map entries of an interface, without which the program passes its packets by, and enters it into the
    /// table before its first packet comes.
    fn prepare(&mut self, watched: &Watched) -> io::Result<()> {
        let options = if watched.kind == InterfaceKind::Pod { OPTION_POD } else { 0 };
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        let values =
            PerCpuValues::try_from(vec![InterfaceState { options, ..InterfaceState::default() }; cpus])?;
        let mut state = self.shared.state();
        state.counters.insert(watched.link.ifindex.0, values, 0).map_err(io::Error::other)?;
        if has_buckets(watched) {
            let empty = LinkLocalBuckets { buckets: [nslookout_ebpf::LinkLocalBucket::default(); BUCKETS] };
            for service in 0..SERVICES.len() as u32 {
                let key = LinkLocalKey { ifindex: watched.link.ifindex.0, service };
                state.buckets.insert(key, empty, 0).map_err(io::Error::other)?;
            }
        }
        let entry = Entry {
            watched: WatchedInterface {
                ifindex: self.shared.abode.number(watched.link.ifindex.0),
                name: self.shared.abode.name(watched.link.ifindex.0, &watched.link.name),
                kind: watched.kind,
                method: if self.clsact.is_some() { Method::Clsact } else { Method::Tcx },
                hooks: hooks_of(watched).count() as u32,
            },
            kind: watched.kind,
        };
        state.interfaces.insert(watched.link.ifindex, entry);
        self.shared.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    fn attach_tcx(&mut self, watched: &Watched) -> io::Result<Attachment> {
        let mut links = Vec::new();
        for (name, direction) in hooks_of(watched) {
            let mut ebpf = self.shared.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
            let hook = match direction {
                Direction::Ingress => TcAttachType::Ingress,
                Direction::Egress => TcAttachType::Egress,
            };
            // At the head: what another program drops or redirects is seen all the same.
            let options = TcAttachOptions::TcxOrder(LinkOrder::first());
            let attached = program(&mut ebpf, name)?.attach_with_options(&watched.link.name, hook, options);
            match attached {
                Ok(link) => links.push((name, link)),
                Err(error) => {
                    drop(ebpf);
                    self.detach(Attachment::Tcx { links });
                    return Err(os_error(error));
                }
            }
        }
        Ok(Attachment::Tcx { links })
    }

    fn attach_clsact(&mut self, watched: &Watched) -> io::Result<Attachment> {
        let Some(clsact) = &mut self.clsact else { return Err(io::ErrorKind::Unsupported.into()) };
        let mut ebpf = self.shared.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, direction) in hooks_of(watched) {
            let fd = program(&mut ebpf, name)?.fd().map_err(io::Error::other)?;
            clsact.attach(watched.link.ifindex, direction, fd.as_fd())?;
        }
        Ok(Attachment::Clsact)
    }

    /// Forgets an interface that is gone and keeps its sums.
    fn retire(&mut self, ifindex: Ifindex) {
        if let Some(attachment) = self.attachments.remove(&ifindex) {
            self.detach(attachment);
        }
        if let Some(clsact) = &mut self.clsact {
            clsact.release(ifindex);
        }
        let mut state = self.shared.state();
        state.read_linklocal();
        state.forget_linklocal(ifindex);
        if let Some(entry) = state.interfaces.remove(&ifindex)
            && let Ok(values) = state.counters.get(&ifindex.0, 0)
        {
            let sum = sum_of(&values);
            match state.retired.iter_mut().find(|(kind, _)| *kind == entry.kind) {
                Some((_, retired)) => add(retired, &sum),
                None => state.retired.push((entry.kind, sum)),
            }
        }
        // Absent entries are what is wanted.
        let _ = state.counters.remove(&ifindex.0);
        for service in 0..SERVICES.len() as u32 {
            let _ = state.buckets.remove(&LinkLocalKey { ifindex: ifindex.0, service });
        }
        drop(state);
        self.shared.generation.fetch_add(1, Ordering::Release);
    }

    fn detach(&self, attachment: Attachment) {
        let Attachment::Tcx { links } = attachment else { return };
        let mut ebpf = self.shared.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, link) in links {
            if let Ok(program) = program(&mut ebpf, name) {
                // The kernel has detached the links of an interface that is gone by itself.
                let _ = program.detach(link);
            }
        }
    }

    fn detach_all(&mut self) {
        for (_, attachment) in std::mem::take(&mut self.attachments) {
            self.detach(attachment);
        }
        self.clsact = None;
    }

    fn note_error(&self, reason: &str, text: String) {
        let mut state = self.shared.state();
        *state.attach_errors.entry(reason.to_owned()).or_default() += 1;
        state.last_error = Some(text);
    }
}

/// Also when the thread panics, the hooks go.
impl Drop for Attacher {
    fn drop(&mut self) {
        self.detach_all();
        let mut state = self.shared.state();
        // Whoever still waits for the first round need not wait any longer.
        state.first_round.get_or_insert_default();
    }
}

/// Are packets to link-local services counted there? `lo` has none, and of a veth inside a namespace the host's end is
/// counted, or the way out of the host.
fn has_buckets(watched: &Watched) -> bool {
    match watched.kind {
        InterfaceKind::Loopback => false,
        InterfaceKind::Inside => !watched.link.pair,
        InterfaceKind::Pod | InterfaceKind::Uplink => true,
    }
}

/// What the attacher needs once everything there at the start is attached. A tcx link goes with its descriptor; a clsact
/// filter is taken away by rtnetlink.
pub(super) fn privileges_of(clsact: bool, follows: bool) -> CapabilitySet {
    match (clsact, follows) {
        (_, true) => CapabilitySet::NET_ADMIN | privileges::for_counters(),
        (true, false) => CapabilitySet::NET_ADMIN,
        (false, false) => CapabilitySet::empty(),
    }
}

/// The hooks of an interface: on `lo` egress alone, where every packet passes once.
fn hooks_of(watched: &Watched) -> impl Iterator<Item = (&'static str, Direction)> {
    let link_type = watched.link.link_type;
    let loopback = watched.kind == InterfaceKind::Loopback;
    PROGRAMS
        .into_iter()
        .filter(move |(_, direction, begins)| {
            Some(*begins) == link_type && !(loopback && *direction == Direction::Ingress)
        })
        .map(|(name, direction, _)| (name, direction))
}

pub(super) fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> io::Result<&'a mut SchedClassifier> {
    let program =
        ebpf.program_mut(name).ok_or_else(|| io::Error::other(format!("no program {name} in the object")))?;
    program.try_into().map_err(io::Error::other)
}

/// The kernel's number inside aya's error, so that "gone" can be told from "failed".
fn os_error(error: ProgramError) -> io::Error {
    match error {
        ProgramError::SyscallError(error) => error.io_error,
        ProgramError::TcError(TcError::IoError(error)) => error,
        other => io::Error::other(other),
    }
}

pub(super) fn sum_of(values: &PerCpuValues<InterfaceState>) -> InterfaceState {
    let mut sum = InterfaceState::default();
    for value in values.iter() {
        add(&mut sum, value);
    }
    sum
}

pub(super) fn add(sum: &mut InterfaceState, value: &InterfaceState) {
    let add_all = |sum: &mut [u64], values: &[u64]| {
        for (sum, value) in sum.iter_mut().zip(values) {
            *sum += value;
        }
    };
    add_all(&mut sum.matched, &value.matched);
    add_all(&mut sum.ring_full, &value.ring_full);
    add_all(&mut sum.short_read, &value.short_read);
    add_all(&mut sum.later_fragments, &value.later_fragments);
    sum.cut += value.cut;
}
