//! The records that cross the boundary between the kernel half and the agent, and nothing else.
//!
//! Both halves are compiled against this file. Every type is `#[repr(C)]` with fixed-width integers and spelled-out
//! padding, in the byte order of the machine, so that its bytes mean the same on both sides.
#![no_std]

/// Bytes of packet that one record holds at most; a longer packet takes several records.
pub const MAX_RECORD_DATA: usize = 4096;

/// Records of one packet at most: 17 of 4,096 bytes hold the largest IP packet, a GSO segment or a datagram on `lo`,
/// with its link header.
pub const MAX_RECORDS_PER_PACKET: u32 = 17;

/// Later fragments follow the first of their packet within this time, in nanoseconds, or are not ascribed to it: the
/// number that they share is used again. User space waits as long.
pub const FRAGMENT_PATIENCE_NS: u64 = 1_000_000_000;

/// Seen as it enters the interface: at the host end of a veth, what the pod sends.
pub const INGRESS: usize = 0;
/// Seen as it leaves the interface.
pub const EGRESS: usize = 1;

/// [`RecordHeader::flags`]: leaves the interface.
pub const FLAG_EGRESS: u16 = 1 << 0;
/// [`RecordHeader::flags`]: the destination port is the server's, so the packet goes to the server.
pub const FLAG_TO_SERVER: u16 = 1 << 1;
/// [`RecordHeader::flags`]: a socket of this machine still holds the packet, so a local process sent it.
pub const FLAG_LOCAL_SOCKET: u16 = 1 << 2;
/// [`RecordHeader::flags`]: the packet begins with its IP header, without a link layer.
pub const FLAG_RAW_IP: u16 = 1 << 3;
/// [`RecordHeader::flags`]: `vlan_tci` and `vlan_protocol` hold a tag that is not in the packet's bytes.
pub const FLAG_VLAN: u16 = 1 << 4;

/// [`RecordHeader::flags`]: the packet goes on in the next record of the same CPU and sequence.
pub const FLAG_MORE: u16 = 1 << 5;

/// Kinds of packet that are counted apart, so that each can be given its vantage: the low three flag bits.
pub const CLASSES: usize = 8;

/// The class of a packet, an index below [`CLASSES`].
pub const fn class_of(flags: u16) -> usize {
    (flags & (FLAG_EGRESS | FLAG_TO_SERVER | FLAG_LOCAL_SOCKET)) as usize
}

/// [`InterfaceState::options`]: a pod stands behind this interface, so no local socket needs to be looked for.
pub const OPTION_POD: u32 = 1 << 0;

/// What stands before the copied bytes in each record of the ring.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RecordHeader {
    /// CLOCK_MONOTONIC in nanoseconds, from `bpf_ktime_get_ns`.
    pub timestamp_ns: u64,
    /// The sender's cgroup, where [`FLAG_LOCAL_SOCKET`] is set: its number in the cgroup2 hierarchy (`bpf_skb_cgroup_id`,
    /// Linux 4.18), which is the inode number of its directory. 0: not known.
    pub cgroup: u64,
    /// The interface whose hook saw the packet.
    pub ifindex: u32,
    /// Length of the whole packet in bytes, as the hook saw it (`__sk_buff.len`).
    pub packet_length: u32,
    /// Where in the packet this record's first byte stands.
    pub offset: u32,
    /// Bytes of packet in this record.
    pub captured: u32,
    /// Counts the packets of one interface and CPU; the records of one packet share it.
    pub sequence: u32,
    /// The CPU that ran the program.
    pub cpu: u32,
    /// `FLAG_…`.
    pub flags: u16,
    /// The tag that the kernel took out of the packet (`__sk_buff.vlan_tci`), if [`FLAG_VLAN`] is set.
    pub vlan_tci: u16,
    /// Its ethertype in host byte order (`__sk_buff.vlan_proto`).
    pub vlan_protocol: u16,
    /// Always 0.
    pub padding: u16,
}

/// A record as it lies in the ring: `N` is the size class, [`RecordHeader::captured`] the bytes in use.
#[repr(C)]
pub struct Record<const N: usize> {
    /// What was seen, where and when.
    pub header: RecordHeader,
    /// The packet's bytes; what lies beyond `captured` is not initialised.
    pub data: [u8; N],
}

/// Options and counters of one interface on one CPU. The agent adds them up and never writes after attaching.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct InterfaceState {
    /// `OPTION_…` in the lower half, the same on every CPU; the upper half is 0.
    pub options: u32,
    /// The last value of [`RecordHeader::sequence`].
    pub sequence: u32,
    /// Packets selected for delivery, by class.
    pub matched: [u64; CLASSES],
    /// Matched, but lost because the ring had no room, by class.
    pub ring_full: [u64; CLASSES],
    /// Matched, but lost because the kernel could not read the packet's bytes, by class.
    pub short_read: [u64; CLASSES],
    /// Delivered without its end: over 68 KiB.
    pub cut: u64,
    /// Second and later fragments whose first was not seen before them, by direction: nobody knows whose they are.
    pub later_fragments: [u64; 2],
}

/// Length of one bucket in nanoseconds: 100 ms.
pub const BUCKET_NS: u64 = 100_000_000;
/// Buckets that are kept: 6.4 s, of which the agent reads all that ended since its last look.
pub const BUCKETS: usize = 64;

/// Packets between one interface and one link-local service within one tenth of a second.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkLocalBucket {
    /// CLOCK_MONOTONIC / [`BUCKET_NS`]: which tenth of a second the counts belong to.
    pub slot: u64,
    /// Packets, by direction.
    pub packets: [u64; 2],
}

/// The last [`BUCKETS`] tenths of a second; bucket `slot % BUCKETS` holds `slot`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LinkLocalBuckets {
    /// The buckets.
    pub buckets: [LinkLocalBucket; BUCKETS],
}

/// Key of a [`LinkLocalBuckets`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkLocalKey {
    /// The interface.
    pub ifindex: u32,
    /// A number that the agent gave the service in the map of addresses.
    pub service: u32,
}

const _: () = assert!(size_of::<RecordHeader>() == 48);
const _: () = assert!(size_of::<InterfaceState>() == 8 + 3 * 64 + 8 + 16);
const _: () = assert!(size_of::<LinkLocalBuckets>() == 1536);
const _: () = assert!(size_of::<LinkLocalKey>() == 8);

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `#[repr(C)]`, `Copy`, integers only, no implicit padding (sizes asserted above).
    unsafe impl aya::Pod for super::InterfaceState {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::LinkLocalBuckets {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::LinkLocalKey {}
}
