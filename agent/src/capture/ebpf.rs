//! The live source: loads the kernel half, lets the attacher hang it on the interfaces, reads the ring.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use aya::maps::{Array, HashMap as BpfHashMap, MapData, PerCpuArray, PerCpuHashMap, RingBuf};
use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported};
use aya::{EbpfLoader, VerifierLogLevel};
use nslookout_ebpf::{
    CLASSES, FLAG_EGRESS, FLAG_LOCAL_SOCKET, FLAG_MORE, FLAG_RAW_IP, FLAG_TO_SERVER, FLAG_VLAN,
    InterfaceState, RecordHeader,
};

use rustix::thread::CapabilitySet;

use super::attach::{self, Attacher, PROGRAMS, Shared};
use super::clsact::Clsact;
use super::counters::{CaptureCounters, DropReason, Method, ProgramRuns};
use super::ethtool::{Allowances, uplinks};
use super::frame::{CgroupId, Direction, Frame, Ifindex, InterfaceKind, LinkType, Place, Timestamp};
use super::interfaces::Interfaces;
use super::live::GONE;
use super::netns::Abode;
use super::privileges;
use super::vantage::Vantage;
use super::vantage::{Verdict, judge};
use super::{AttachMethod, CaptureError, Drained, LiveConfig, linklocal, vpc};
use crate::maps::{Map, Set};

/// The kernel half, as build.rs made it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/nslookout.bpf.o"));

/// Fragmented packets that are remembered in a namespace that was entered.
const FRAGMENTS_INSIDE: u32 = 512;

/// Frames from the ring.
pub struct EbpfSource {
    ring: RingBuf<MapData>,
    shared: Arc<Shared>,
    attacher: Option<JoinHandle<()>>,
    kinds: Kinds,
    parts: Parts,
    programs: Vec<ProgramRuns>,
    seen: PerCpuArray<MapData, [u64; 2]>,
    allowances: Allowances,
    vpc_resolvers: vpc::Resolvers,
    linklocal: LinkLocalMaps,
    /// It attaches by clsact filters.
    clsact: bool,
    /// It attaches to interfaces that come later.
    follows: bool,
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC at the start; a later step of the wall clock does not reach the frames.
    clock_offset_ns: u64,
}

/// What stands behind each interface; those that are gone stay, since records of theirs may still wait.
struct Kinds {
    /// By the kernel's number, with the number for those outside.
    kinds: Map<u32, (Ifindex, InterfaceKind)>,
    generation: u64,
}

impl Kinds {
    fn of(&mut self, ifindex: u32, shared: &Shared) -> (Ifindex, InterfaceKind) {
        let generation = shared.generation();
        if generation != self.generation {
            self.generation = generation;
            let state = shared.state();
            let known = state.interfaces.iter();
            self.kinds.extend(known.map(|(ifindex, entry)| (ifindex.0, (entry.watched.ifindex, entry.kind))));
        }
        // Unknown is only what came and went between two readings: pods do.
        let unknown = || (shared.abode.number(ifindex), InterfaceKind::Pod);
        self.kinds.get(&ifindex).copied().unwrap_or_else(unknown)
    }
}

/// Packets of several records that are not complete yet, one per CPU: its records follow one another.
#[derive(Default)]
struct Parts {
    by_cpu: HashMap<u32, Part>,
}

struct Part {
    first: RecordHeader,
    bytes: Vec<u8>,
}

impl Parts {
    /// Takes one record; gives the whole packet if this was its last. What never becomes whole was counted by the
    /// kernel half as lost, and is dropped here.
    fn take(&mut self, header: &RecordHeader, data: &[u8]) -> Option<Part> {
        if header.offset == 0 {
            self.by_cpu.insert(header.cpu, Part { first: *header, bytes: data.to_vec() });
            return None;
        }
        let part = self.by_cpu.get_mut(&header.cpu)?;
        let follows = part.first.sequence == header.sequence
            && part.first.ifindex == header.ifindex
            && part.bytes.len() == header.offset as usize;
        if !follows {
            self.by_cpu.remove(&header.cpu);
            return None;
        }
        part.bytes.extend_from_slice(data);
        if header.flags & FLAG_MORE == 0 { self.by_cpu.remove(&header.cpu) } else { None }
    }
}

impl EbpfSource {
    /// Loads the programs and begins to attach.
    pub fn open(config: &LiveConfig, interfaces: Interfaces) -> Result<Self, CaptureError> {
        // A later step of the wall clock does not reach the frames.
        let clock_offset_ns = clock_ns(rustix::time::ClockId::Realtime)
            .saturating_sub(clock_ns(rustix::time::ClockId::Monotonic));
        Self::open_in(config, interfaces, Abode::default(), clock_offset_ns)
    }

    /// As [`EbpfSource::open`], in a namespace that the calling thread has entered; `outside` gives the clock of the frames.
    pub(super) fn open_inside(
        config: &LiveConfig,
        abode: Abode,
        clock_offset_ns: u64,
    ) -> Result<Self, CaptureError> {
        Self::open_in(config, Interfaces::find_inside()?, abode, clock_offset_ns)
    }

    fn open_in(
        config: &LiveConfig,
        interfaces: Interfaces,
        abode: Abode,
        clock_offset_ns: u64,
    ) -> Result<Self, CaptureError> {
        let method = choose_method(config.attach)?;
        let mut ebpf = load(config, &abode)?;
        fill_ports(&mut ebpf, &config.ports)?;
        // Those of the host serve its workloads too; their own files are another room's.
        let vpc_resolvers = vpc::Resolvers::of(&config.vpc_resolvers, abode.is_entered());
        let linklocal = LinkLocalMaps::fill(&mut ebpf, &vpc_resolvers.all())?;
        let ring = RingBuf::try_from(take_map(&mut ebpf, "RING")?).map_err(map_error)?;
        let counters = PerCpuHashMap::try_from(take_map(&mut ebpf, "INTERFACES")?).map_err(map_error)?;
        let buckets = BpfHashMap::try_from(take_map(&mut ebpf, "LINKLOCAL_BUCKETS")?).map_err(map_error)?;
        let seen = PerCpuArray::try_from(take_map(&mut ebpf, "SEEN")?).map_err(map_error)?;

        // Whatever the method of this run: what a killed run left is removed now.
        let clsact = Clsact::start(interfaces.all()).map_err(CaptureError::Attach)?;
        let clsact = (method == Method::Clsact).then_some(clsact);
        let follows = interfaces.follow();
        let shared = Shared::new(ebpf, counters, buckets, abode).map_err(CaptureError::Attach)?;
        let attacher = Attacher::new(Arc::clone(&shared), interfaces, clsact);
        let attacher = std::thread::Builder::new()
            .name("attach".into())
            .spawn(move || attacher.run())
            .map_err(CaptureError::Attach)?;
        Ok(Self {
            ring,
            shared,
            attacher: Some(attacher),
            kinds: Kinds { kinds: Map::default(), generation: 0 },
            parts: Parts::default(),
            programs: Vec::new(),
            seen,
            allowances: Allowances::here(),
            vpc_resolvers,
            linklocal,
            clsact: method == Method::Clsact,
            follows,
            clock_offset_ns,
        })
    }

    /// Loads the programs and lets them go again: would [`EbpfSource::open`] be allowed to? Attaches to nothing.
    pub fn probe(config: &LiveConfig) -> Result<(), CaptureError> {
        choose_method(config.attach)?;
        load(config, &Abode::default()).map(drop)
    }

    /// How long it took to attach to everything there at the start, and the last error; `None` while that goes on.
    pub fn first_round(&self) -> Option<(Duration, Option<String>)> {
        self.shared.first_round().map(|took| (took, self.shared.state().last_error.clone()))
    }

    /// CLOCK_REALTIME minus CLOCK_MONOTONIC, as the frames' clock has it.
    pub(super) fn clock_offset_ns(&self) -> u64 {
        self.clock_offset_ns
    }

    /// Lets the attacher give up privileges; gives what it and the reader of the counters keep.
    pub(super) fn shed(&self) -> CapabilitySet {
        self.shared.shed();
        attach::privileges_of(self.clsact, self.follows) | privileges::for_counters()
    }

    /// Whose interfaces these are.
    pub(super) fn abode(&self) -> &Abode {
        &self.shared.abode
    }

    /// The addresses that count as the VPC's resolver beside the well-known ones.
    pub(super) fn vpc_resolvers(&self) -> Vec<IpAddr> {
        self.vpc_resolvers.all()
    }

    /// Readable when a quarter of the ring waits.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }

    /// Counts packets to this VPC resolver as link-local too, from now on. One that the kernel's map does not take is not
    /// counted, nor listed among those that are.
    pub fn add_vpc_resolver(&mut self, address: IpAddr) {
        let before = self.vpc_resolvers.all();
        let is_new = !before.contains(&address);
        if is_new && (before.len() >= linklocal::MOST_RESOLVERS || self.linklocal.add(address, 0).is_err()) {
            return;
        }
        self.vpc_resolvers.tell(address);
        let now = self.vpc_resolvers.all();
        for guess in before.iter().filter(|known| !now.contains(known)) {
            self.linklocal.remove(*guess);
        }
    }

    /// The time now, by the clock of the frames.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_nanos(clock_ns(rustix::time::ClockId::Monotonic) + self.clock_offset_ns)
    }

    /// Delivers what waits in the ring, `most` frames at most.
    pub fn drain(&mut self, most: usize, deliver: &mut dyn FnMut(&Frame<'_>)) -> Drained {
        let Self { ring, shared, kinds, parts, clock_offset_ns, .. } = self;
        for _ in 0..most {
            let Some(item) = ring.next() else { return Drained::Empty };
            let Some((header, data)) = split(&item) else { continue };
            if header.offset == 0 && header.flags & FLAG_MORE == 0 {
                let at = kinds.of(header.ifindex, shared);
                deliver(&frame_of(&header, at, *clock_offset_ns, data));
            } else if let Some(whole) = parts.take(&header, data) {
                let at = kinds.of(header.ifindex, shared);
                deliver(&frame_of(&whole.first, at, *clock_offset_ns, &whole.bytes));
            }
        }
        Drained::More
    }

    /// The counters of kernel and attacher.
    pub fn counters(&mut self) -> CaptureCounters {
        self.read_program_runs();
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        state.read_linklocal();
        let mut counters = CaptureCounters {
            attach_errors: state.attach_errors.clone(),
            linklocal: state.take_linklocal(self.clock_offset_ns),
            linklocal_buckets: true,
            vpc_resolvers: self.vpc_resolvers.all(),
            programs: self.programs.clone(),
            seen: self.seen.get(&0, 0).map_or(0, |cpus| cpus.iter().flatten().sum()),
            ..CaptureCounters::default()
        };
        for (kind, sum) in &state.retired {
            add_classes(&mut counters, *kind, sum);
            add_losses(&mut counters, GONE, sum);
        }
        for (ifindex, entry) in &state.interfaces {
            counters.interfaces.push(entry.watched.clone());
            if let Ok(values) = state.counters.get(&ifindex.0, 0) {
                let sum = attach::sum_of(&values);
                add_classes(&mut counters, entry.kind, &sum);
                add_losses(&mut counters, &entry.watched.name, &sum);
            }
        }
        drop(state);
        counters.allowances = self.allowances.read(&self.shared.abode, uplinks(&counters.interfaces));
        counters
    }

    /// Leaves the last reading where the attacher is busy: an attachment takes 8 ms, and the reader must not wait.
    fn read_program_runs(&mut self) {
        let Ok(mut ebpf) = self.shared.ebpf.try_lock() else { return };
        let runs = PROGRAMS.iter().filter_map(|(name, ..)| {
            let info = attach::program(&mut ebpf, name).ok()?.info().ok()?;
            let runs = info.run_count();
            (runs > 0).then(|| ProgramRuns { program: name, seconds: info.run_time().as_secs_f64(), runs })
        });
        self.programs = runs.collect();
    }

    /// Asks the attacher to detach everything; true once it has.
    pub(super) fn try_detach(&mut self) -> bool {
        self.shared.stop();
        self.attacher.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Detaches everything; what waits in the ring can still be drained.
    pub fn detach(&mut self) {
        self.shared.stop();
        if let Some(attacher) = self.attacher.take() {
            // A panic of the attacher has been printed, and its hooks are gone by its destructor.
            let _ = attacher.join();
        }
    }
}

impl Drop for EbpfSource {
    fn drop(&mut self) {
        self.detach();
    }
}

/// Gives maps and programs to the kernel.
fn load(config: &LiveConfig, abode: &Abode) -> Result<aya::Ebpf, CaptureError> {
    // The ring buffer came with Linux 5.8.
    if !kernel_at_least(5, 8) {
        return Err(CaptureError::KernelTooOld { needs: "eBPF capture needs Linux 5.8", is: kernel() });
    }
    raise_limits();
    let mut loader = EbpfLoader::new();
    loader.verifier_log_level(VerifierLogLevel::STATS).map_max_entries("RING", config.ring_bytes);
    if abode.is_entered() {
        // A workload's own fragments, not those of all of the node: the kernel gives a megabyte for those at once.
        loader.map_max_entries("FRAGMENTS", FRAGMENTS_INSIDE);
    }
    // Where the kernel does not say, loading will.
    let cgroups = is_helper_supported(ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_skb_cgroup_id);
    let cgroups = u32::from(cgroups.unwrap_or(true));
    loader.override_global("NSL_CGROUPS", &cgroups, true);
    let mut ebpf = loader.load(OBJECT).map_err(|error| CaptureError::Load(Box::new(error)))?;
    for (name, ..) in PROGRAMS {
        let program = attach::program(&mut ebpf, name).map_err(CaptureError::Attach)?;
        program.load().map_err(|error| CaptureError::Load(Box::new(error.into())))?;
    }
    Ok(ebpf)
}

/// Splits a record of the ring; `None` only if kernel half and agent were not built together.
fn split(record: &[u8]) -> Option<(RecordHeader, &[u8])> {
    let (header, data) = record.split_at_checked(size_of::<RecordHeader>())?;
    // SAFETY: the bytes are a RecordHeader written by the kernel half; it is plain integers, and read unaligned.
    let header = unsafe { header.as_ptr().cast::<RecordHeader>().read_unaligned() };
    Some((header, data.get(..header.captured as usize)?))
}

fn frame_of<'a>(
    header: &RecordHeader,
    at: (Ifindex, InterfaceKind),
    clock_offset_ns: u64,
    bytes: &'a [u8],
) -> Frame<'a> {
    Frame {
        time: Timestamp::from_nanos(header.timestamp_ns + clock_offset_ns),
        place: Some(place_of(at, header.flags, header.cgroup)),
        link_type: if header.flags & FLAG_RAW_IP != 0 { LinkType::RawIp } else { LinkType::Ethernet },
        original_length: header.packet_length,
        vlan: (header.flags & FLAG_VLAN != 0).then_some(header.vlan_tci & 0x0fff),
        bytes,
    }
}

fn place_of((ifindex, kind): (Ifindex, InterfaceKind), flags: u16, cgroup: u64) -> Place {
    let egress = flags & FLAG_EGRESS != 0;
    Place {
        ifindex,
        kind,
        direction: if egress { Direction::Egress } else { Direction::Ingress },
        // On the way in no socket holds the packet yet.
        local_socket: egress.then_some(flags & FLAG_LOCAL_SOCKET != 0),
        cgroup: (cgroup != 0).then_some(CgroupId(cgroup)),
    }
}

/// Gives each of the kernel's classes its vantage.
fn add_classes(counters: &mut CaptureCounters, kind: InterfaceKind, sum: &InterfaceState) {
    for class in 0..CLASSES {
        let flags = class as u16;
        let verdict = judge(Some(&place_of((Ifindex(0), kind), flags, 0)), flags & FLAG_TO_SERVER != 0);
        let vantage = match verdict {
            Verdict::Certain(vantage) => {
                *counters.matched.entry(vantage).or_default() += sum.matched[class];
                vantage
            }
            Verdict::NodeOrUplink => {
                counters.matched_node_or_uplink += sum.matched[class];
                counters.dropped_node_or_uplink += sum.ring_full[class] + sum.short_read[class];
                Vantage::Uplink
            }
        };
        *counters.drops.entry((vantage, DropReason::RingFull)).or_default() += sum.ring_full[class];
        *counters.drops.entry((vantage, DropReason::ShortRead)).or_default() += sum.short_read[class];
    }
    counters.later_fragments += sum.later_fragments.iter().sum::<u64>();
}

fn add_losses(counters: &mut CaptureCounters, interface: &str, sum: &InterfaceState) {
    for (reason, lost) in [(DropReason::RingFull, sum.ring_full), (DropReason::ShortRead, sum.short_read)] {
        let lost = lost.iter().sum();
        if lost > 0 {
            counters.lost_at.push((interface.to_owned(), reason, lost));
        }
    }
}

fn choose_method(wish: AttachMethod) -> Result<Method, CaptureError> {
    // Links of tcx came with Linux 6.6: https://github.com/torvalds/linux/blob/v6.6/kernel/bpf/tcx.c
    let has_tcx = kernel_at_least(6, 6);
    match wish {
        AttachMethod::Clsact => Ok(Method::Clsact),
        AttachMethod::Auto if !has_tcx => Ok(Method::Clsact),
        AttachMethod::Tcx if !has_tcx => {
            Err(CaptureError::KernelTooOld { needs: "tcx needs Linux 6.6", is: kernel() })
        }
        AttachMethod::Auto | AttachMethod::Tcx => Ok(Method::Tcx),
    }
}

/// The release of the running kernel, as `uname -r` prints it.
pub fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Is the running kernel this release or a later one?
pub fn kernel_at_least(major: u32, minor: u32) -> bool {
    let release = kernel();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

/// Before 5.11 the kernel counts maps against this limit; where it may not be raised, loading will tell.
fn raise_limits() {
    let unlimited = rustix::process::Rlimit { current: None, maximum: None };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Memlock, unlimited);
    // Each tcx hook takes a descriptor.
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = rustix::process::Rlimit { current: files.maximum, maximum: files.maximum };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, most);
}

fn clock_ns(clock: rustix::time::ClockId) -> u64 {
    let time = rustix::time::clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn take_map(ebpf: &mut aya::Ebpf, name: &'static str) -> Result<aya::maps::Map, CaptureError> {
    ebpf.take_map(name)
        .ok_or_else(|| CaptureError::Attach(io::Error::other(format!("no map {name} in the object"))))
}

fn map_error(error: aya::maps::MapError) -> CaptureError {
    CaptureError::Attach(io::Error::other(error))
}

/// Sets one bit per port.
fn fill_ports(ebpf: &mut aya::Ebpf, ports: &Set<u16>) -> Result<(), CaptureError> {
    let map = take_map(ebpf, "PORTS")?;
    set_bits(map, ports.iter().copied())?;
    Ok(())
}

/// Where the kernel half looks up which addresses count as link-local.
struct LinkLocalMaps {
    /// A bit for the last sixteen of each address: most packets are told apart by it.
    filter: Array<MapData, u64>,
    services: BpfHashMap<MapData, [u8; 16], u32>,
}

impl LinkLocalMaps {
    /// The well-known addresses, and those of VPC resolvers, which count as such: the first service.
    fn fill(ebpf: &mut aya::Ebpf, vpc_resolvers: &[IpAddr]) -> Result<Self, CaptureError> {
        let resolvers = vpc_resolvers.iter().take(linklocal::MOST_RESOLVERS).map(|address| (*address, 0));
        let mut maps = Self {
            filter: Array::try_from(take_map(ebpf, "LINKLOCAL_FILTER")?).map_err(map_error)?,
            services: BpfHashMap::try_from(take_map(ebpf, "LINKLOCAL_SERVICES")?).map_err(map_error)?,
        };
        for (address, service) in linklocal::ADDRESSES.into_iter().chain(resolvers) {
            maps.add(address, service)?;
        }
        Ok(maps)
    }

    fn add(&mut self, address: IpAddr, service: u32) -> Result<(), CaptureError> {
        let octets = linklocal::octets(address);
        self.services.insert(octets, service, 0).map_err(map_error)?;
        let bit = u16::from_be_bytes([octets[14], octets[15]]);
        let word = u32::from(bit >> 6);
        let known = self.filter.get(&word, 0).map_err(map_error)?;
        self.filter.set(word, known | 1 << (bit & 63), 0).map_err(map_error)
    }

    /// Its bit stays: another address may have it.
    fn remove(&mut self, address: IpAddr) {
        // One that is not there any more is what was wanted.
        let _ = self.services.remove(&linklocal::octets(address));
    }
}

fn set_bits(map: aya::maps::Map, bits: impl Iterator<Item = u16>) -> Result<(), CaptureError> {
    let mut words: HashMap<u32, u64> = HashMap::new();
    for bit in bits {
        *words.entry(u32::from(bit >> 6)).or_default() |= 1 << (bit & 63);
    }
    let mut array: Array<_, u64> = Array::try_from(map).map_err(map_error)?;
    for (index, word) in words {
        array.set(index, word, 0).map_err(map_error)?;
    }
    Ok(())
}
