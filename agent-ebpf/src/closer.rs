//! The way of every packet that is not plain: VLAN tags, IPv4 options, IPv6 extension headers, fragments.
//!
//! A function of its own, so that ordinary packets carry nothing of it.

use core::ptr::read_volatile;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use aya_ebpf::macros::map;
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::TcContext;
use nslookout_ebpf::{FLAG_TO_SERVER, FRAGMENT_PATIENCE_NS};

use crate::{
    Delivered, ETH_HEADER, ETH_P_IPV4, ETH_P_IPV6, INTERFACES, LINKLOCAL_FILTER, Pass, Transport,
    add_linklocal, capture, has_bit, interface_and_ethertype, is_transport, select,
};

const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_8021AD: u16 = 0x88a8;

const IPPROTO_HOPOPTS: u8 = 0;
const IPPROTO_ROUTING: u8 = 43;
const IPPROTO_FRAGMENT: u8 = 44;
const IPPROTO_AH: u8 = 51;
const IPPROTO_DSTOPTS: u8 = 60;
const IPPROTO_MH: u8 = 135;

/// IPv6 extension headers that are followed at most.
const MAX_EXTENSION_HEADERS: usize = 8;
/// VLAN tags in the packet's bytes that are followed at most (QinQ has two).
const MAX_VLAN_TAGS: usize = 2;

/// MF, as IPv4 has it.
const MORE_FRAGMENTS: u32 = 0x2000;
/// The bits of a fragment's offset, as IPv4 has them.
const FRAGMENT_OFFSET: u32 = 0x1fff;

/// What the first fragments of the last second said. Only fragments come here; the least recently used gives way.
#[map]
static FRAGMENTS: LruHashMap<FragmentKey, FragmentOwner> = LruHashMap::with_max_entries(8192, 0);

/// What the fragments of one packet share where they are seen.
#[repr(C)]
#[derive(Clone, Copy)]
struct FragmentKey {
    /// Source and destination as they stand in the header: 8 bytes of IPv4, 32 of IPv6.
    addresses: [u32; 8],
    identification: u32,
    ifindex: u32,
    /// Of IPv6 it is 0: there the first fragment's alone counts.
    protocol: u8,
    direction: u8,
    padding: [u8; 2],
}

/// What the first fragment said of all.
#[repr(C)]
#[derive(Clone, Copy)]
struct FragmentOwner {
    /// When it was seen, in nanoseconds.
    timestamp_ns: u64,
    /// It was delivered, so the others are to be.
    wanted: u32,
    /// As FLAG_TO_SERVER says.
    to_server: u32,
}

/// What was found below the transport header.
struct Found {
    transport: Transport,
    /// Offset of the fragment in units of 8 bytes, and [`MORE_FRAGMENTS`]. It is made of the packet's own bits without a
    /// branch: of what is not known to it, the verifier follows one case instead of each.
    fragment: u32,
    six: bool,
    identification: u32,
    /// Where the source address stands; the destination follows.
    addresses: usize,
}

/// Walks link, VLAN and IP headers; counts link-local packets on the way.
#[inline(always)]
fn find_transport<const RAW_IP: bool>(
    ctx: &TcContext,
    ifindex: u32,
    direction: usize,
    mut ethertype: u16,
) -> Result<Found, Pass> {
    let mut offset = if RAW_IP { 0 } else { ETH_HEADER };
    for _ in 0..MAX_VLAN_TAGS {
        if ethertype != ETH_P_8021Q && ethertype != ETH_P_8021AD {
            break;
        }
        let tag: [u8; 4] = ctx.load(offset).map_err(|_| Pass)?;
        ethertype = u16::from_be_bytes([tag[2], tag[3]]);
        offset += 4;
    }
    // One for all ends that are looked up: the stack is small.
    let mut end = [0; 16];
    match ethertype {
        ETH_P_IPV4 => find_in_ipv4(ctx, (ifindex, direction), offset, &mut end),
        ETH_P_IPV6 => find_in_ipv6(ctx, (ifindex, direction), offset, &mut end),
        _ => Err(Pass),
    }
}

/// As [`crate::count_linklocal`]; the last `length` bytes of `end` are read from `offset` of the packet.
#[inline(always)]
fn count_end(
    ctx: &TcContext,
    place: (u32, usize),
    last: [u8; 2],
    end: &mut [u8; 16],
    offset: usize,
    length: usize,
) {
    if has_bit(&LINKLOCAL_FILTER, u16::from_be_bytes(last)) {
        let (ifindex, direction) = place;
        // SAFETY: the helper writes the last `length` of the 16 bytes.
        unsafe {
            let to = end.as_mut_ptr().add(16 - length).cast();
            bpf_skb_load_bytes(ctx.skb.skb.cast(), offset as u32, to, length as u32);
        }
        add_linklocal(ifindex, direction as u32, end);
    }
}

#[inline(always)]
fn find_in_ipv4(
    ctx: &TcContext,
    place: (u32, usize),
    offset: usize,
    end: &mut [u8; 16],
) -> Result<Found, Pass> {
    let header: [u8; 20] = ctx.load(offset).map_err(|_| Pass)?;
    (end[10], end[11]) = (0xff, 0xff);
    count_end(ctx, place, [header[14], header[15]], end, offset + 12, 4);
    count_end(ctx, place, [header[18], header[19]], end, offset + 16, 4);
    if !is_transport(header[9]) {
        return Err(Pass);
    }
    let transport = Transport { offset: offset + ((header[0] & 0x0f) as usize) * 4, protocol: header[9] };
    Ok(Found {
        transport,
        fragment: u32::from(u16::from_be_bytes([header[6], header[7]])) & (MORE_FRAGMENTS | FRAGMENT_OFFSET),
        six: false,
        identification: u32::from(u16::from_be_bytes([header[4], header[5]])),
        addresses: offset + 12,
    })
}

#[inline(always)]
fn find_in_ipv6(
    ctx: &TcContext,
    place: (u32, usize),
    start: usize,
    end: &mut [u8; 16],
) -> Result<Found, Pass> {
    let header: [u8; 40] = ctx.load(start).map_err(|_| Pass)?;
    count_end(ctx, place, [header[22], header[23]], end, start + 8, 16);
    count_end(ctx, place, [header[38], header[39]], end, start + 24, 16);
    let mut found = Found {
        transport: Transport { offset: start + 40, protocol: header[6] },
        fragment: 0,
        six: true,
        identification: 0,
        addresses: start + 8,
    };
    // One place for all of them, since each of its own would lie on the small stack. None is shorter than 8 bytes.
    let mut head = [0; 8];
    for _ in 0..MAX_EXTENSION_HEADERS {
        let Transport { offset, protocol } = &mut found.transport;
        let kind = *protocol;
        if !is_extension(kind) {
            break;
        }
        // SAFETY: the helper writes the 8 bytes of `head`.
        let failed =
            unsafe { bpf_skb_load_bytes(ctx.skb.skb.cast(), *offset as u32, head.as_mut_ptr().cast(), 8) };
        if failed != 0 {
            return Err(Pass);
        }
        *protocol = head[0];
        *offset += match kind {
            IPPROTO_FRAGMENT => 8,
            IPPROTO_AH => (head[1] as usize + 2) * 4,
            _ => (head[1] as usize + 1) * 8,
        };
        if kind == IPPROTO_FRAGMENT {
            // Without offset and MF, its lowest bit, it is a packet by itself (RFC 6946).
            let fragment = u32::from(u16::from_be_bytes([head[2], head[3]]));
            found.fragment = fragment >> 3 | (fragment & 1) << 13;
            found.identification = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
            if found.fragment & FRAGMENT_OFFSET != 0 {
                break;
            }
        }
    }
    Ok(found)
}

#[inline(always)]
fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        IPPROTO_HOPOPTS | IPPROTO_ROUTING | IPPROTO_FRAGMENT | IPPROTO_AH | IPPROTO_DSTOPTS | IPPROTO_MH
    )
}

/// Looks at the packet anew, from its beginning. Finding and capturing are functions of their own: each has its own part
/// of the small stack, and the verifier follows each once, since it is told nothing of what was found before.
#[inline(always)]
pub(crate) fn look_closer<const RAW_IP: bool>(skb: *mut __sk_buff, direction: usize) -> Result<(), Pass> {
    let mut found = Found {
        transport: Transport { offset: 0, protocol: 0 },
        fragment: 0,
        six: false,
        identification: 0,
        addresses: 0,
    };
    if find::<RAW_IP>(skb, direction as u32, &mut found) == 0 {
        return Err(Pass);
    }
    capture_found::<RAW_IP>(skb, direction as u32, &found);
    Ok(())
}

/// [`find_transport`]. 0: [`Pass`].
#[inline(never)]
fn find<const RAW_IP: bool>(skb: *mut __sk_buff, direction: u32, found: &mut Found) -> u32 {
    let ctx = TcContext::new(skb);
    let (ifindex, ethertype) = interface_and_ethertype(&ctx);
    match find_transport::<RAW_IP>(&ctx, ifindex, (direction & 1) as usize, ethertype) {
        Ok(there) => {
            *found = there;
            1
        }
        Err(Pass) => 0,
    }
}

/// Delivers what was found, if it is wanted. The result means nothing: a function of eBPF gives a number.
#[inline(never)]
fn capture_found<const RAW_IP: bool>(skb: *mut __sk_buff, direction: u32, found: &Found) -> u32 {
    match try_capture_found::<RAW_IP>(&TcContext::new(skb), (direction & 1) as usize, found) {
        Ok(()) => 1,
        Err(Pass) => 0,
    }
}

#[inline(always)]
fn try_capture_found<const RAW_IP: bool>(
    ctx: &TcContext,
    direction: usize,
    found: &Found,
) -> Result<(), Pass> {
    let (ifindex, _) = interface_and_ethertype(ctx);
    let mut key = FragmentKey {
        addresses: [0; 8],
        identification: found.identification,
        ifindex,
        protocol: 0,
        direction: direction as u8,
        padding: [0; 2],
    };
    if found.fragment != 0 {
        fill_key(ctx, found, &mut key)?;
    }
    let selected = if found.fragment & FRAGMENT_OFFSET != 0 {
        select_by_first(&key, ifindex, direction)
    } else {
        select_by_ports(ctx, &found.transport)
    };
    let Ok(to_server) = selected else {
        // So that the later ones of a foreign packet are known for what they are.
        return if found.fragment == MORE_FRAGMENTS { remember(&key, 0, 0) } else { Err(Pass) };
    };
    // One place for all of them: each copy of what follows is as much work for the verifier as all the rest.
    let Delivered { whole, flags } = capture::<RAW_IP>(ctx, ifindex, direction, to_server)?;
    // SAFETY: a reference. It is read anew so that the verifier need not remember what it was.
    let fragment = unsafe { read_volatile(&raw const found.fragment) };
    // A first fragment that was lost leaves nothing behind, since nobody could read the others.
    if whole && fragment == MORE_FRAGMENTS {
        remember(&key, 1, u32::from(flags & FLAG_TO_SERVER))
    } else {
        Err(Pass)
    }
}

/// Reads what tells the packet from others straight to where it belongs: the stack is small.
#[inline(always)]
fn fill_key(ctx: &TcContext, found: &Found, key: &mut FragmentKey) -> Result<(), Pass> {
    let skb = ctx.skb.skb.cast();
    let addresses = found.addresses as u32;
    // SAFETY: each call writes as many bytes as it is told, into a field that has them.
    let failed = unsafe {
        if found.six {
            bpf_skb_load_bytes(skb, addresses, key.addresses.as_mut_ptr().cast(), 32)
        } else {
            bpf_skb_load_bytes(skb, addresses, key.addresses.as_mut_ptr().cast(), 8)
                | bpf_skb_load_bytes(skb, addresses - 3, (&raw mut key.protocol).cast(), 1)
        }
    };
    if failed == 0 { Ok(()) } else { Err(Pass) }
}

#[inline(always)]
fn select_by_ports(ctx: &TcContext, transport: &Transport) -> Result<bool, Pass> {
    if !is_transport(transport.protocol) {
        return Err(Pass);
    }
    let ports: [u8; 4] = ctx.load(transport.offset).map_err(|_| Pass)?;
    select(ctx, transport, &ports)
}

/// Leaves a note for the later fragments of the same packet.
#[inline(always)]
fn remember(key: &FragmentKey, wanted: u32, to_server: u32) -> Result<(), Pass> {
    // SAFETY: the helper only reads a clock.
    let timestamp_ns = unsafe { bpf_ktime_get_ns() };
    let owner = FragmentOwner { timestamp_ns, wanted, to_server };
    FRAGMENTS.insert(key, owner, 0).map_err(|_| Pass)
}

/// A later fragment goes where the first of its packet went.
#[inline(always)]
fn select_by_first(key: &FragmentKey, ifindex: u32, direction: usize) -> Result<bool, Pass> {
    // SAFETY: the helper only reads a clock.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: an entry that is written to in this moment belongs to another packet with the same number, of which user
    // space thinks as of any other fragment that does not fit.
    if let Some(owner) = unsafe { FRAGMENTS.get(key) }
        && now.saturating_sub(owner.timestamp_ns) <= FRAGMENT_PATIENCE_NS
    {
        return if owner.wanted != 0 { Ok(owner.to_server != 0) } else { Err(Pass) };
    }
    let state = INTERFACES.get_ptr_mut(ifindex).ok_or(Pass)?;
    // SAFETY: as in try_capture, this CPU's own value.
    unsafe { (*state).later_fragments[direction] += 1 };
    Err(Pass)
}
