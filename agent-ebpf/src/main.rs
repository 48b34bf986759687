//! Selects likely DNS packets by port, stamps them and copies them out; everything else passes untouched.
//!
//! Input: every packet of the interfaces that the agent attached us to. Output: records in [`RING`], counters in
//! [`INTERFACES`] and [`LINKLOCAL_BUCKETS`]. Deliberately absent: DNS parsing, policy, any change to a packet.
//!
//! Written for the verifier of Linux 5.10: bounded loops, small stack, bounds checked right where they are used,
//! no helper newer than `bpf_ringbuf_*` (5.8).
#![expect(missing_docs, reason = "the macro of aya-ebpf makes functions without; ours have theirs")]
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

mod closer;

use core::ptr::{addr_of_mut, read_volatile};

use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, TC_ACT_UNSPEC};
use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_RING_SIZE};
use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_skb_cgroup_id, bpf_skb_load_bytes};
use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns};
use aya_ebpf::macros::{classifier, map};
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, PerCpuHashMap, RingBuf};
use aya_ebpf::programs::TcContext;
use closer::look_closer;
use nslookout_ebpf::{
    BUCKET_NS, BUCKETS, EGRESS, FLAG_EGRESS, FLAG_LOCAL_SOCKET, FLAG_MORE, FLAG_RAW_IP, FLAG_TO_SERVER,
    FLAG_VLAN, INGRESS, InterfaceState, LinkLocalBuckets, LinkLocalKey, MAX_RECORD_DATA,
    MAX_RECORDS_PER_PACKET, OPTION_POD, Record, RecordHeader, class_of,
};

/// Records for the agent. The agent sets the size before loading.
#[map]
static RING: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

/// Packets that ran through the hooks, by direction: all that an ordinary packet costs beside the look at its ports.
#[map]
static SEEN: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(1, 0);

/// One entry per watched interface, made by the agent; looked up for matching packets only.
#[map]
static INTERFACES: PerCpuHashMap<u32, InterfaceState> =
    PerCpuHashMap::with_max_entries(8192, BPF_F_NO_PREALLOC);

/// The server ports to select: one bit per port, so that a look costs the same for one port and for many.
#[map]
static PORTS: Array<u64> = Array::with_max_entries(65536 / 64, 0);

/// One bit per value of the last 16 bits of a link-local service's address: rules out nearly every packet at once.
#[map]
static LINKLOCAL_FILTER: Array<u64> = Array::with_max_entries(65536 / 64, 0);

/// Address (IPv4 as `::ffff:a.b.c.d`) to the number of its service.
#[map]
static LINKLOCAL_SERVICES: HashMap<[u8; 16], u32> = HashMap::with_max_entries(64, 0);

/// Packets to and from link-local services; the agent makes the entries.
#[map]
static LINKLOCAL_BUCKETS: HashMap<LinkLocalKey, LinkLocalBuckets> =
    HashMap::with_max_entries(32768, BPF_F_NO_PREALLOC);

/// Is the sender's cgroup asked for? The agent writes 0 before loading where the kernel has no `bpf_skb_cgroup_id`
/// (CONFIG_SOCK_CGROUP_DATA): the verifier then never comes to the call.
#[unsafe(no_mangle)]
static NSL_CGROUPS: u32 = 1;

const ETH_HEADER: usize = 14;
const ETH_P_IPV4: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;

const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;

/// The packet is none of ours, or ends too early to tell.
struct Pass;

/// Why a matched packet was not delivered.
enum Loss {
    RingFull,
    ShortRead,
}

/// Runs as a packet enters the interface.
#[classifier]
pub fn nsl_ingress(ctx: TcContext) -> i32 {
    run::<false>(&ctx, INGRESS)
}

/// Runs as a packet leaves the interface.
#[classifier]
pub fn nsl_egress(ctx: TcContext) -> i32 {
    run::<false>(&ctx, EGRESS)
}

/// As [`nsl_ingress`], where packets begin with their IP header.
#[classifier]
pub fn nsl_ingress_ip(ctx: TcContext) -> i32 {
    run::<true>(&ctx, INGRESS)
}

/// As [`nsl_egress`], where packets begin with their IP header.
#[classifier]
pub fn nsl_egress_ip(ctx: TcContext) -> i32 {
    run::<true>(&ctx, EGRESS)
}

#[inline(always)]
fn run<const RAW_IP: bool>(ctx: &TcContext, direction: usize) -> i32 {
    let _ = try_capture::<RAW_IP>(ctx, direction);
    // To tcx this is TCX_NEXT: either way the next program on the hook decides.
    TC_ACT_UNSPEC
}

/// Does nothing: what a hook costs by itself, for `cargo xtask bench`.
#[classifier]
pub fn nsl_empty(_ctx: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// Where the transport header was found.
struct Transport {
    offset: usize,
    protocol: u8,
}

#[inline(always)]
fn try_capture<const RAW_IP: bool>(ctx: &TcContext, direction: usize) -> Result<(), Pass> {
    // SAFETY: a per-CPU value, and hooks of one CPU do not interrupt each other (softirqs are off while they run).
    unsafe { (*SEEN.get_ptr_mut(0).ok_or(Pass)?)[direction] += 1 };
    let (ifindex, ethertype) = interface_and_ethertype(ctx);
    if !RAW_IP && let Some((transport, ports)) = plain(ctx, ifindex, direction, ethertype) {
        let to_server = select(ctx, &transport, ports)?;
        return capture::<RAW_IP>(ctx, ifindex, direction, to_server).map(drop);
    }
    look_closer::<RAW_IP>(ctx.skb.skb, direction)
}

#[inline(always)]
fn interface_and_ethertype(ctx: &TcContext) -> (u32, u16) {
    // SAFETY: the kernel passes a valid __sk_buff. The protocol is the ethertype in network byte order.
    unsafe { ((*ctx.skb.skb).ifindex, u16::from_be((*ctx.skb.skb).protocol as u16)) }
}

/// Does the packet go to a server? [`Pass`]: neither of its ports is one's.
#[inline(always)]
fn select(ctx: &TcContext, transport: &Transport, ports: &[u8; 4]) -> Result<bool, Pass> {
    let from_server = has_bit(&PORTS, u16::from_be_bytes([ports[0], ports[1]]));
    let to_server = has_bit(&PORTS, u16::from_be_bytes([ports[2], ports[3]]));
    match (from_server, to_server) {
        (false, false) => Err(Pass),
        (false, true) => Ok(true),
        (true, false) => Ok(false),
        // Both ports are a server's: an old resolver asks from port 53. The QR bit tells, where UDP shows it.
        (true, true) if transport.protocol == IPPROTO_UDP => {
            let flags: u8 = ctx.load(transport.offset + 8 + 2).map_err(|_| Pass)?;
            Ok(flags & 0x80 == 0)
        }
        (true, true) => Ok(true),
    }
}

/// What became of a selected packet.
struct Delivered {
    /// All of it went into the ring.
    whole: bool,
    /// [`RecordHeader::flags`], but for those of single records.
    flags: u16,
}

/// Delivers a selected packet.
#[inline(always)]
fn capture<const RAW_IP: bool>(
    ctx: &TcContext,
    ifindex: u32,
    direction: usize,
    to_server: bool,
) -> Result<Delivered, Pass> {
    let state = INTERFACES.get_ptr_mut(ifindex).ok_or(Pass)?;
    // SAFETY: as in try_capture, this CPU's own value.
    let options = unsafe { (*state).options };
    let mut flags = 0;
    let mut cgroup = 0;
    if direction == EGRESS {
        flags |= FLAG_EGRESS;
        // Behind a pod's interface no process of the node sits, so nobody asks there.
        // SAFETY: the helper takes the program's own context. 0: no socket holds the packet.
        if options & OPTION_POD == 0 && unsafe { bpf_get_socket_cookie(ctx.skb.skb.cast()) } != 0 {
            flags |= FLAG_LOCAL_SOCKET;
            cgroup = cgroup_of(ctx);
        }
    }
    if to_server {
        flags |= FLAG_TO_SERVER;
    }
    if RAW_IP {
        flags |= FLAG_RAW_IP;
    }
    // The upper half is always 0, which the verifier cannot know: to it all flags are one now, and it follows what comes
    // once, not once for each of them.
    flags ^= (options >> 16) as u16;
    cgroup ^= u64::from(options >> 16);
    Ok(Delivered { whole: deliver(ctx, state, ifindex, flags, cgroup), flags })
}

/// The cgroup of the socket that holds the packet.
#[inline(always)]
fn cgroup_of(ctx: &TcContext) -> u64 {
    // SAFETY: a reference. It is read as it is when the program is loaded, not as it was when it was compiled.
    if unsafe { read_volatile(&raw const NSL_CGROUPS) } == 0 {
        return 0;
    }
    // SAFETY: the helper takes the program's own context.
    unsafe { bpf_skb_cgroup_id(ctx.skb.skb) }
}

/// The ordinary packet, read where it lies: Ethernet, IPv4 without options or IPv6 without extension headers, UDP or TCP.
/// Nearly every packet is one, and a look at memory costs a tenth of a call to the kernel. The ports are left where they
/// lie. `None`: look closer.
#[inline(always)]
fn plain(ctx: &TcContext, ifindex: u32, direction: usize, ethertype: u16) -> Option<(Transport, &[u8; 4])> {
    match ethertype {
        ETH_P_IPV4 => {
            let header: &[u8; 24] = at(ctx, ETH_HEADER)?;
            // The offset of a fragment, and MF.
            let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
            if header[0] != 0x45 || fragment != 0 || !is_transport(header[9]) {
                return None;
            }
            count_linklocal(ifindex, direction, [header[14], header[15]], || mapped(header, 12));
            count_linklocal(ifindex, direction, [header[18], header[19]], || mapped(header, 16));
            let transport = Transport { offset: ETH_HEADER + 20, protocol: header[9] };
            Some((transport, header.last_chunk()?))
        }
        ETH_P_IPV6 => {
            let header: &[u8; 44] = at(ctx, ETH_HEADER)?;
            if !is_transport(header[6]) {
                return None;
            }
            count_linklocal(ifindex, direction, [header[22], header[23]], || address(header, 8));
            count_linklocal(ifindex, direction, [header[38], header[39]], || address(header, 24));
            let transport = Transport { offset: ETH_HEADER + 40, protocol: header[6] };
            Some((transport, header.last_chunk()?))
        }
        _ => None,
    }
}

/// Bytes of the packet at a constant offset, where they lie; `None` if they are not all in the linear part.
#[inline(always)]
fn at<const N: usize>(ctx: &TcContext, offset: usize) -> Option<&[u8; N]> {
    let start = ctx.data() + offset;
    if start + N > ctx.data_end() {
        return None;
    }
    // SAFETY: just compared with the end of the packet, as the verifier demands; bytes need no alignment.
    Some(unsafe { &*(start as *const [u8; N]) })
}

#[inline(always)]
fn is_transport(protocol: u8) -> bool {
    protocol == IPPROTO_UDP || protocol == IPPROTO_TCP
}

/// The IPv4 address at `start` as `::ffff:a.b.c.d`.
#[inline(always)]
fn mapped<const N: usize>(header: &[u8; N], start: usize) -> [u8; 16] {
    let mut address = [0; 16];
    address[10] = 0xff;
    address[11] = 0xff;
    address[12] = header[start];
    address[13] = header[start + 1];
    address[14] = header[start + 2];
    address[15] = header[start + 3];
    address
}

#[inline(always)]
fn address<const N: usize>(header: &[u8; N], start: usize) -> [u8; 16] {
    let mut address = [0; 16];
    let mut index = 0;
    while index < 16 {
        address[index] = header[start + index];
        index += 1;
    }
    address
}

/// Counts the packet if this end of it is a link-local service; `last` are the last two bytes of its address.
#[inline(always)]
fn count_linklocal(ifindex: u32, direction: usize, last: [u8; 2], address: impl FnOnce() -> [u8; 16]) {
    if has_bit(&LINKLOCAL_FILTER, u16::from_be_bytes(last)) {
        add_linklocal(ifindex, direction as u32, &address());
    }
}

#[inline(never)]
fn add_linklocal(ifindex: u32, direction: u32, end: &[u8; 16]) -> u32 {
    // SAFETY: the agent may replace an entry while it is read: what is read then is the number of a service all the same.
    let Some(service) = (unsafe { LINKLOCAL_SERVICES.get(end) }) else { return 0 };
    let Some(buckets) = LINKLOCAL_BUCKETS.get_ptr_mut(LinkLocalKey { ifindex, service: *service }) else {
        return 0;
    };
    // SAFETY: the helper only reads a clock.
    let slot = unsafe { bpf_ktime_get_ns() } / BUCKET_NS;
    let index = (slot % BUCKETS as u64) as usize;
    // SAFETY: `index` is below BUCKETS, and the entry lives as long as the program runs (RCU). Two CPUs that open a
    // new bucket in the same instant may lose a packet or two of it; adding is atomic.
    unsafe {
        let bucket = addr_of_mut!((*buckets).buckets[index]);
        if (*bucket).slot != slot {
            (*bucket).slot = slot;
            (*bucket).packets = [0, 0];
        }
        let counter = addr_of_mut!((*bucket).packets[(direction & 1) as usize]);
        atomic_add_one(counter);
    }
    1
}

/// Adds 1 to a number that other CPUs add to as well.
///
/// Rust's atomics have no `fetch_add` on this target; the instruction itself is as old as eBPF.
///
/// # Safety
///
/// `counter` points into a map value.
#[inline(always)]
unsafe fn atomic_add_one(counter: *mut u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's promise; the instruction touches these eight bytes only.
    unsafe {
        core::arch::asm!("lock *(u64 *)({counter} + 0) += {one}", counter = in(reg) counter, one = in(reg) 1u64);
    }
    #[cfg(not(target_arch = "bpf"))]
    let _ = counter;
}

/// `value` - 1, where 0 becomes the largest number, by an instruction that the compiler cannot fold into its neighbours.
#[inline(always)]
fn less_one(value: u64) -> u64 {
    let mut less = value;
    #[cfg(target_arch = "bpf")]
    // SAFETY: the instruction touches its register only.
    unsafe {
        core::arch::asm!("{less} += -1", less = inout(reg) less, options(pure, nomem, nostack));
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        less = less.wrapping_sub(1);
    }
    less
}

#[inline(always)]
fn has_bit(bits: &Array<u64>, value: u16) -> bool {
    match bits.get(u32::from(value >> 6)) {
        Some(word) => word >> (value & 63) & 1 != 0,
        None => false,
    }
}

/// Copies the packet into the ring, in as many records as it takes; tells whether all of it went in.
#[inline(always)]
fn deliver(ctx: &TcContext, state: *mut InterfaceState, ifindex: u32, flags: u16, cgroup: u64) -> bool {
    let packet_length = ctx.len();
    // SAFETY: this CPU's own value (see try_capture). The helpers read a clock and a number.
    let (sequence, timestamp_ns, cpu) = unsafe {
        (*state).matched[class_of(flags)] += 1;
        (*state).sequence = (*state).sequence.wrapping_add(1);
        ((*state).sequence, bpf_ktime_get_ns(), bpf_get_smp_processor_id())
    };
    let mut header = RecordHeader {
        timestamp_ns,
        cgroup,
        ifindex,
        packet_length,
        offset: 0,
        captured: 0,
        sequence,
        cpu,
        flags,
        vlan_tci: 0,
        vlan_protocol: 0,
        padding: 0,
    };
    // SAFETY: the kernel passes a valid __sk_buff.
    unsafe {
        if (*ctx.skb.skb).vlan_present != 0 {
            header.flags |= FLAG_VLAN;
            header.vlan_tci = (*ctx.skb.skb).vlan_tci as u16;
            header.vlan_protocol = u16::from_be((*ctx.skb.skb).vlan_proto as u16);
        }
    }
    let copied = copy_parts(ctx, state, &mut header);
    // SAFETY: as above; a class is below CLASSES. The flags are read anew for the reason told in `copy_into`.
    unsafe {
        let class = class_of(read_volatile(&raw const header.flags));
        match copied {
            Err(Loss::RingFull) => (*state).ring_full[class] += 1,
            Err(Loss::ShortRead) => (*state).short_read[class] += 1,
            Ok(()) if length(ctx) > MAX_RECORDS_PER_PACKET * MAX_RECORD_DATA as u32 => (*state).cut += 1,
            Ok(()) => {}
        }
    }
    copied.is_ok()
}

/// The packet's length, read anew at each call: what one comparison told the verifier of it is then not carried on.
#[inline(always)]
fn length(ctx: &TcContext) -> u32 {
    // SAFETY: the kernel passes a valid __sk_buff.
    unsafe { read_volatile(&raw const (*ctx.skb.skb).len) }
}

/// Copies all parts: full ones, then the last, which alone may be of a smaller class. The verifier follows the classes
/// once, not once for each number of full parts before, since it is told nothing of the offset.
#[inline(always)]
fn copy_parts(ctx: &TcContext, state: *mut InterfaceState, header: &mut RecordHeader) -> Result<(), Loss> {
    const FULL: u32 = MAX_RECORD_DATA as u32;
    for part in 1..MAX_RECORDS_PER_PACKET {
        if length(ctx) <= part * FULL {
            break;
        }
        header.captured = FULL;
        header.flags |= FLAG_MORE;
        copy_into::<MAX_RECORD_DATA>(ctx, header)?;
        // SAFETY: this CPU's own value. The upper half is always 0, which the verifier cannot know.
        let nothing = unsafe { read_volatile(&raw const (*state).options) } >> 16;
        header.offset = (part * FULL) ^ nothing;
    }
    header.flags &= !FLAG_MORE;
    let rest = length(ctx) - header.offset;
    header.captured = if rest > FULL { FULL } else { rest };
    copy_part(ctx, header)
}

/// Copies one part into a record of the smallest class that holds it.
#[inline(always)]
fn copy_part(ctx: &TcContext, header: &RecordHeader) -> Result<(), Loss> {
    match header.captured {
        0..=128 => copy_into::<128>(ctx, header),
        129..=256 => copy_into::<256>(ctx, header),
        257..=512 => copy_into::<512>(ctx, header),
        513..=1536 => copy_into::<1536>(ctx, header),
        _ => copy_into::<MAX_RECORD_DATA>(ctx, header),
    }
}

#[inline(always)]
fn copy_into<const N: usize>(ctx: &TcContext, header: &RecordHeader) -> Result<(), Loss> {
    let Some(mut entry) = RING.reserve::<Record<N>>(0) else { return Err(Loss::RingFull) };
    let record = entry.as_mut_ptr();
    // SAFETY: `record` is a reservation of the record's size, and `length` was checked against it.
    let status = unsafe {
        addr_of_mut!((*record).header).write(*header);
        // Read anew and checked right here: the verifier of 5.10 forgets the bounds of a number that was spilled to the
        // stack, and learns no lower bound from a comparison with 0. Less one, one comparison gives both bounds.
        let last = less_one(u64::from(read_volatile(&raw const header.captured)));
        if last >= N as u64 {
            -1
        } else {
            let data = addr_of_mut!((*record).data).cast();
            bpf_skb_load_bytes(ctx.skb.skb.cast(), header.offset, data, (last + 1) as u32)
        }
    };
    if status < 0 {
        entry.discard(u64::from(BPF_RB_NO_WAKEUP));
        return Err(Loss::ShortRead);
    }
    entry.submit(wake_up(header.sequence));
    Ok(())
}

/// The agent polls by itself every 50 ms; it is woken only when a quarter of the ring is waiting, which every 16th
/// packet of an interface looks at: the look touches a cache line that the agent writes.
#[inline(always)]
fn wake_up(sequence: u32) -> u64 {
    let quarter_full =
        || RING.query(u64::from(BPF_RB_AVAIL_DATA)) * 4 > RING.query(u64::from(BPF_RB_RING_SIZE));
    let flag =
        if sequence.is_multiple_of(16) && quarter_full() { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
    u64::from(flag)
}

/// The kernel lends some helpers to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// On the host this is looked at by clippy only.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
