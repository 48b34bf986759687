//! The one output type of this room: a frame with its time and place.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time: nanoseconds since the Unix epoch, by the clock of the source that saw the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From nanoseconds since the Unix epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this point; zero where `earlier` is the later one.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This point moved back; never below the epoch.
    pub const fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(by.as_nanos() as u64))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by.as_nanos() as u64))
    }
}

/// The kernel's number of an interface; in a network namespace that was entered, one of our own
/// ([`Numbers`](super::netns::Numbers)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ifindex(pub u32);

/// The kernel's number of a cgroup of version 2: the inode of its directory (`bpf_skb_cgroup_id`, Linux 4.18).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CgroupId(pub u64);

impl fmt::Display for Ifindex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// As the interface sees it: the host end of a veth sees a pod's query as ingress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The packet enters the machine (or comes out of the pod) here.
    Ingress,
    /// The packet leaves by this interface.
    Egress,
}

/// What stands behind an interface; it decides the [vantage](super::vantage::judge).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterfaceKind {
    /// The host side of a pod or container: veth, cali…, eni…, or a bridge of such.
    Pod,
    /// A way out of the node: default-route interface, ENI, tunnel.
    Uplink,
    /// `lo`.
    Loopback,
    /// In a network namespace that was entered: its own way out, behind which no pod stands.
    Inside,
}

impl InterfaceKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Pod, Self::Uplink, Self::Loopback, Self::Inside];

    /// As it stands in recordings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Uplink => "uplink",
            Self::Loopback => "loopback",
            Self::Inside => "inside",
        }
    }

    /// A way out of a machine or of a workload, which may be an ENI: what leaves by it counts against its limits.
    pub const fn is_way_out(self) -> bool {
        matches!(self, Self::Uplink | Self::Inside)
    }
}

/// Where a live frame was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The interface.
    pub ifindex: Ifindex,
    /// What stands behind it.
    pub kind: InterfaceKind,
    /// Which way the frame went.
    pub direction: Direction,
    /// Did a process of this machine send it? `None` where the source cannot tell.
    pub local_socket: Option<bool>,
    /// The cgroup of that process, more exactly of its socket; `None` where the source cannot tell.
    pub cgroup: Option<CgroupId>,
}

impl Place {
    /// Does all that is seen here belong to one workload: behind a pod's interface, or inside a namespace that was entered?
    pub fn is_of_workload(&self) -> bool {
        self.kind == InterfaceKind::Pod || self.ifindex.is_entered()
    }
}

/// How a frame's bytes begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkType {
    /// An Ethernet header (DLT_EN10MB).
    Ethernet,
    /// An IPv4 or IPv6 header (DLT_RAW).
    RawIp,
    /// Four bytes with an address family, in either byte order (DLT_NULL, DLT_LOOP).
    Loopback,
    /// `tcpdump -i any` of old: 16 bytes, the ethertype at their end (DLT_LINUX_SLL).
    LinuxSll,
    /// `tcpdump -i any` since libpcap 1.10: 20 bytes, the ethertype at their beginning (DLT_LINUX_SLL2).
    LinuxSll2,
    /// PPP with or without its address and control (DLT_PPP, DLT_PPP_SERIAL).
    Ppp,
    /// PPPoE without its Ethernet header (DLT_PPP_ETHER).
    PppEther,
}

/// One packet as a source delivered it.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// When the source saw it.
    pub time: Timestamp,
    /// Where; `None` for a file that does not say.
    pub place: Option<Place>,
    /// How `bytes` begin.
    pub link_type: LinkType,
    /// Length of the packet on the wire, in bytes; more than `bytes` where the source cut it.
    pub original_length: u32,
    /// The VLAN id of a tag that the kernel took out of `bytes`.
    pub vlan: Option<u16>,
    /// The packet.
    pub bytes: &'a [u8],
}
