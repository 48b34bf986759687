//! What a source says of itself: attached interfaces, packets, losses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::frame::{Ifindex, InterfaceKind, Timestamp};
use super::vantage::Vantage;

/// How an interface is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// eBPF by tcx (Linux 6.6).
    Tcx,
    /// eBPF by a clsact filter.
    Clsact,
    /// AF_PACKET with a kernel filter.
    PacketSocket,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 3] = [Self::Tcx, Self::Clsact, Self::PacketSocket];

    /// As it stands in labels and flags.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
            Self::PacketSocket => "packet_socket",
        }
    }
}

/// Why a packet that the kernel matched never came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DropReason {
    /// The ring had no room.
    RingFull,
    /// The kernel could not read the packet's bytes.
    ShortRead,
    /// The packet socket's queue was full.
    SocketFull,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::RingFull, Self::ShortRead, Self::SocketFull];

    /// As it stands in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::ShortRead => "short_read",
            Self::SocketFull => "socket_full",
        }
    }
}

/// An interface under watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedInterface {
    /// Its number.
    pub ifindex: Ifindex,
    /// Its name.
    pub name: String,
    /// What stands behind it.
    pub kind: InterfaceKind,
    /// How it is watched.
    pub method: Method,
    /// Hooks in use: 2, or 1 for `lo`.
    pub hooks: u32,
}

/// Packets between an interface and a link-local service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkLocalCount {
    /// The interface's name.
    pub interface: String,
    /// What stands behind it.
    pub kind: InterfaceKind,
    /// `dns`, `imds`, `ntp` or `other`.
    pub service: &'static str,
    /// Packets that left by the interface.
    pub egress: u64,
    /// Packets that came in by it.
    pub ingress: u64,
    /// Those of them that were counted since the last reading, in the order of their time.
    pub recent: Vec<RecentBucket>,
}

/// Packets that one interface and one link-local service exchanged within 100 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecentBucket {
    /// When the 100 ms began, by the clock of the frames.
    pub begin: Timestamp,
    /// Packets that left by the interface.
    pub egress: u64,
    /// Packets that came in by it.
    pub ingress: u64,
}

/// A limit that an interface's driver enforces, as ENA's driver counts it (`ethtool -S`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowanceCount {
    /// The interface's name.
    pub interface: String,
    /// The driver's word: `linklocal_allowance_exceeded`.
    pub counter: String,
    /// Packets that were dropped for it since the source started.
    pub packets: u64,
}

/// Runs of a kernel program, where the kernel's BPF statistics are on.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgramRuns {
    /// Name of the program.
    pub program: &'static str,
    /// Time spent in it, in seconds.
    pub seconds: f64,
    /// How often it ran.
    pub runs: u64,
}

/// Names of interfaces and reasons that are told apart in a sum; a machine has hundreds, a hostile file any number.
pub const MOST_NAMES: usize = 1_024;

/// A source's counters since it started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CaptureCounters {
    /// Packets matched in the kernel, by vantage.
    pub matched: BTreeMap<Vantage, u64>,
    /// Packets matched in the kernel that belong to the node or pass by (`Verdict::NodeOrUplink`).
    pub matched_node_or_uplink: u64,
    /// Of those, the ones that were lost.
    pub dropped_node_or_uplink: u64,
    /// Matched, and lost.
    pub drops: BTreeMap<(Vantage, DropReason), u64>,
    /// Interfaces where packets were matched and lost, by name, with those that are gone as `interfaces gone since`.
    pub lost_at: Vec<(String, DropReason, u64)>,
    /// Packets that ran through the hooks, of whatever kind.
    pub seen: u64,
    /// Second and later fragments whose first was not seen before them, and which were not delivered.
    pub later_fragments: u64,
    /// Interfaces under watch now.
    pub interfaces: Vec<WatchedInterface>,
    /// Attachments that failed, by reason.
    pub attach_errors: BTreeMap<String, u64>,
    /// Link-local services.
    pub linklocal: Vec<LinkLocalCount>,
    /// The source counts every packet to them, and tells when it was ([`LinkLocalCount::recent`]).
    pub linklocal_buckets: bool,
    /// VPC resolvers beside the well-known ones that are among them.
    pub vpc_resolvers: Vec<IpAddr>,
    /// What drivers dropped for a limit.
    pub allowances: Vec<AllowanceCount>,
    /// Kernel programs; empty where the kernel's BPF statistics are off.
    pub programs: Vec<ProgramRuns>,
}

impl CaptureCounters {
    /// Packets matched in the kernel.
    pub fn total_matched(&self) -> u64 {
        self.matched.values().fold(self.matched_node_or_uplink, |sum, count| sum.saturating_add(*count))
    }

    /// Packets matched and lost.
    pub fn total_drops(&self) -> u64 {
        self.drops.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Forgets what [`LinkLocalCount::recent`] tells, which was taken.
    pub fn forget_recent(&mut self) {
        self.linklocal.iter_mut().for_each(|count| count.recent.clear());
    }

    /// What was counted after `earlier`, a reading of the same source. Interfaces are as they are now.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut rest = self.clone();
        less(&mut rest.matched, &earlier.matched);
        less(&mut rest.drops, &earlier.drops);
        less(&mut rest.attach_errors, &earlier.attach_errors);
        for (count, before) in [
            (&mut rest.matched_node_or_uplink, earlier.matched_node_or_uplink),
            (&mut rest.dropped_node_or_uplink, earlier.dropped_node_or_uplink),
            (&mut rest.seen, earlier.seen),
            (&mut rest.later_fragments, earlier.later_fragments),
        ] {
            *count = count.saturating_sub(before);
        }
        for (name, reason, count) in &mut rest.lost_at {
            let same = |(other, why, _): &&(String, DropReason, u64)| other == name && why == reason;
            let before = earlier.lost_at.iter().find(same).map_or(0, |(.., before)| *before);
            *count = count.saturating_sub(before);
        }
        rest.lost_at.retain(|(.., count)| *count > 0);
        for sum in &mut rest.linklocal {
            let same =
                |other: &&LinkLocalCount| other.interface == sum.interface && other.service == sum.service;
            if let Some(before) = earlier.linklocal.iter().find(same) {
                sum.egress = sum.egress.saturating_sub(before.egress);
                sum.ingress = sum.ingress.saturating_sub(before.ingress);
            }
        }
        rest.linklocal.retain(|sum| sum.egress > 0 || sum.ingress > 0);
        for sum in &mut rest.allowances {
            let before = earlier.allowances.iter().find(|other| other.is_of_same(sum));
            sum.packets = sum.packets.saturating_sub(before.map_or(0, |before| before.packets));
        }
        rest
    }

    /// These and `later` ones that were counted from zero; interfaces are those of the later.
    pub fn plus(&self, later: &Self) -> Self {
        let mut sum = self.clone();
        sum.add(later);
        sum
    }

    /// Adds those of another place that was watched at the same time, with its interfaces.
    pub fn join(&mut self, other: &Self) {
        let interfaces = std::mem::take(&mut self.interfaces);
        let programs = std::mem::take(&mut self.programs);
        self.add(other);
        self.interfaces = interfaces;
        self.interfaces.extend(other.interfaces.iter().cloned());
        self.programs = programs;
        for more in &other.programs {
            match self.programs.iter_mut().find(|sum| sum.program == more.program) {
                Some(sum) => {
                    sum.seconds += more.seconds;
                    sum.runs = sum.runs.saturating_add(more.runs);
                }
                None => self.programs.push(more.clone()),
            }
        }
    }

    /// Adds `later` ones that were counted from zero; interfaces are those of the later. Of names that are new at most
    /// [`MOST_NAMES`] are kept.
    pub fn add(&mut self, later: &Self) {
        more(&mut self.matched, &later.matched);
        more(&mut self.drops, &later.drops);
        for (count, more) in [
            (&mut self.matched_node_or_uplink, later.matched_node_or_uplink),
            (&mut self.dropped_node_or_uplink, later.dropped_node_or_uplink),
            (&mut self.seen, later.seen),
            (&mut self.later_fragments, later.later_fragments),
        ] {
            *count = count.saturating_add(more);
        }
        for (reason, more) in &later.attach_errors {
            let full = self.attach_errors.len() >= MOST_NAMES;
            match self.attach_errors.get_mut(reason) {
                Some(count) => *count = count.saturating_add(*more),
                None if full => {}
                None => drop(self.attach_errors.insert(reason.clone(), *more)),
            }
        }
        for (name, reason, more) in &later.lost_at {
            let full = self.lost_at.len() >= MOST_NAMES;
            match self.lost_at.iter_mut().find(|(other, why, _)| other == name && why == reason) {
                Some((.., count)) => *count = count.saturating_add(*more),
                None if full => {}
                None => self.lost_at.push((name.clone(), *reason, *more)),
            }
        }
        for more in &later.linklocal {
            let same = |other: &&mut LinkLocalCount| {
                other.interface == more.interface && other.service == more.service
            };
            let full = self.linklocal.len() >= MOST_NAMES;
            match self.linklocal.iter_mut().find(same) {
                Some(count) => {
                    count.egress = count.egress.saturating_add(more.egress);
                    count.ingress = count.ingress.saturating_add(more.ingress);
                    count.recent.clone_from(&more.recent);
                }
                None if full => {}
                None => self.linklocal.push(more.clone()),
            }
        }
        for more in &later.allowances {
            let full = self.allowances.len() >= MOST_NAMES;
            match self.allowances.iter_mut().find(|sum| sum.is_of_same(more)) {
                Some(sum) => sum.packets = sum.packets.saturating_add(more.packets),
                None if full => {}
                None => self.allowances.push(more.clone()),
            }
        }
        self.linklocal_buckets |= later.linklocal_buckets;
        if !later.vpc_resolvers.is_empty() {
            self.vpc_resolvers.clone_from(&later.vpc_resolvers);
        }
        self.interfaces.clone_from(&later.interfaces);
        self.programs.clone_from(&later.programs);
    }
}

impl AllowanceCount {
    fn is_of_same(&self, other: &Self) -> bool {
        self.interface == other.interface && self.counter == other.counter
    }
}

fn more<K: Ord + Clone>(counts: &mut BTreeMap<K, u64>, before: &BTreeMap<K, u64>) {
    for (key, count) in before {
        let sum = counts.entry(key.clone()).or_default();
        *sum = sum.saturating_add(*count);
    }
}

/// Takes away what was counted before; an interface that went may have taken its counts along.
fn less<K: Ord>(counts: &mut BTreeMap<K, u64>, earlier: &BTreeMap<K, u64>) {
    for (key, count) in counts {
        *count = count.saturating_sub(earlier.get(key).copied().unwrap_or(0));
    }
}
