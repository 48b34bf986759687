//! The fallback source: AF_PACKET with a kernel filter, where eBPF is not allowed.
//!
//! One socket for all interfaces, or for the one that was asked for by name; those not watched are left out here, and
//! what the kernel drops of theirs counts with the rest. The filter is attached before the socket is
//! bound, so that no packet passes without it. Everything `unsafe` of this room's socket calls is in this file.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::counters::{CaptureCounters, DropReason, Method, WatchedInterface};
use super::ethtool::{Allowances, uplinks};
use super::frame::{Direction, Frame, Ifindex, InterfaceKind, LinkType, Place, Timestamp};
use super::interfaces::{Interfaces, Watched};
use super::netns::Abode;
use super::vantage::Vantage;
use super::{CaptureError, Drained, LiveConfig, vpc};
use crate::maps::Set;

/// The largest frame: a GSO packet of 64 KiB and its link header.
const LARGEST_FRAME: usize = 65_536 + 64;
/// Ports that the kernel filter compares with; with more, all UDP and TCP is looked at here.
const MOST_FILTERED_PORTS: usize = 48;

/// linux/if_packet.h: `tp_vlan_tci` is valid.
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;

/// Frames from a packet socket.
pub struct PacketSocketSource {
    socket: OwnedFd,
    interfaces: Interfaces,
    /// By the kernel's number, with the number for those outside.
    kinds: HashMap<u32, (Ifindex, InterfaceKind)>,
    /// Whose interfaces these are.
    abode: Abode,
    /// The one interface that was asked for by its name: the socket listens to it alone.
    only: bool,
    buffer: Vec<u8>,
    received: u64,
    dropped: u64,
    allowances: Allowances,
    vpc_resolvers: vpc::Resolvers,
    detached: bool,
}

impl PacketSocketSource {
    /// Opens the socket, filter first.
    pub fn open(config: &LiveConfig, interfaces: Interfaces) -> Result<Self, CaptureError> {
        Self::open_in(config, interfaces, Abode::default())
    }

    /// As [`PacketSocketSource::open`], in a namespace that the calling thread has entered.
    pub(super) fn open_inside(config: &LiveConfig, abode: Abode) -> Result<Self, CaptureError> {
        Self::open_in(config, Interfaces::find_inside()?, abode)
    }

    fn open_in(config: &LiveConfig, interfaces: Interfaces, abode: Abode) -> Result<Self, CaptureError> {
        let socket = open_socket(&config.ports, config.ring_bytes).map_err(CaptureError::PacketSocket)?;
        let only = !abode.is_entered() && config.selection.is_one_name();
        let mut source = Self {
            socket,
            kinds: HashMap::new(),
            interfaces,
            only,
            buffer: vec![0; LARGEST_FRAME],
            received: 0,
            dropped: 0,
            allowances: Allowances::here(),
            vpc_resolvers: vpc::Resolvers::of(&config.vpc_resolvers, abode.is_entered()),
            abode,
            detached: false,
        };
        let watched: Vec<Watched> = source.interfaces.watched().cloned().collect();
        if !only {
            bind(&source.socket, 0).map_err(CaptureError::PacketSocket)?;
        }
        source.enter(watched).map_err(CaptureError::PacketSocket)?;
        Ok(source)
    }

    /// Readable when frames wait.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Counts packets to this VPC resolver as link-local too, from now on.
    pub fn add_vpc_resolver(&mut self, address: IpAddr) {
        self.vpc_resolvers.tell(address);
    }

    /// The time now, by the clock of the frames.
    pub fn now(&self) -> Timestamp {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Timestamp::from_nanos(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    /// Delivers up to `most` frames.
    pub fn drain(&mut self, most: usize, deliver: &mut dyn FnMut(&Frame<'_>)) -> Drained {
        if !self.detached
            && let Ok(changes) = self.interfaces.changes()
        {
            // Those that are gone stay in the table: frames of theirs may still wait.
            // One that went again before it could be bound to has nothing to tell.
            let _ = self.enter(changes.appeared);
        }
        for _ in 0..most {
            let Ok(Some(received)) = receive(&self.socket, &mut self.buffer) else { return Drained::Empty };
            let Some((ifindex, kind)) = self.kinds.get(&received.ifindex) else { continue };
            // On `lo` every packet passes twice; the first time is enough.
            if *kind == InterfaceKind::Loopback && received.direction == Direction::Ingress {
                continue;
            }
            deliver(&Frame {
                time: received.time.unwrap_or_else(|| self.now()),
                place: Some(Place {
                    ifindex: *ifindex,
                    kind: *kind,
                    direction: received.direction,
                    local_socket: None,
                    cgroup: None,
                }),
                link_type: received.link_type,
                original_length: received.original_length,
                vlan: received.vlan,
                bytes: &self.buffer[..received.length],
            });
        }
        Drained::More
    }

    /// The kernel's statistics and the interfaces.
    pub fn counters(&mut self) -> CaptureCounters {
        if let Ok((received, dropped)) = statistics(&self.socket) {
            self.received += received;
            self.dropped += dropped;
        }
        let interfaces = self.interfaces.watched().map(|watched| WatchedInterface {
            ifindex: self.abode.number(watched.link.ifindex.0),
            name: self.abode.name(watched.link.ifindex.0, &watched.link.name),
            kind: watched.kind,
            method: Method::PacketSocket,
            hooks: 1,
        });
        let interfaces: Vec<WatchedInterface> = interfaces.collect();
        CaptureCounters {
            seen: self.received,
            vpc_resolvers: self.vpc_resolvers.all(),
            allowances: self.allowances.read(&self.abode, uplinks(&interfaces)),
            // The kernel does not say whose packet it dropped.
            drops: BTreeMap::from([((Vantage::Unknown, DropReason::SocketFull), self.dropped)]),
            interfaces,
            ..CaptureCounters::default()
        }
    }

    /// Whose interfaces these are.
    pub(super) fn abode(&self) -> &Abode {
        &self.abode
    }

    /// The addresses that count as the VPC's resolver beside the well-known ones.
    pub(super) fn vpc_resolvers(&self) -> Vec<IpAddr> {
        self.vpc_resolvers.all()
    }

    /// Lets no more frames in; those that wait can still be drained.
    pub fn detach(&mut self) {
        self.detached = true;
        let none = [libc::sock_filter { code: RET, jt: 0, jf: 0, k: 0 }];
        // A socket that could not be closed to new frames is closed with the source anyway.
        let _ = set_filter(&self.socket, &none);
    }

    fn enter(&mut self, watched: Vec<Watched>) -> io::Result<()> {
        for watched in watched {
            let ifindex = watched.link.ifindex.0;
            self.abode.name(ifindex, &watched.link.name);
            self.kinds.insert(ifindex, (self.abode.number(ifindex), watched.kind));
            if self.only {
                bind(&self.socket, ifindex)?;
            }
        }
        Ok(())
    }
}

fn open_socket(ports: &Set<u16>, queue_bytes: u32) -> io::Result<OwnedFd> {
    // SAFETY: a plain system call. Protocol 0 receives nothing until the socket is bound.
    let fd = unsafe {
        libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    set_filter(&socket, &filter(ports))?;
    let size = queue_bytes.min(i32::MAX as u32) as i32;
    // Beyond net.core.rmem_max only with CAP_NET_ADMIN; without it, as much as is allowed.
    if set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &size).is_err() {
        set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, &size)?;
    }
    set_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1i32)?;
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1i32)?;
    Ok(socket)
}

/// Lets the frames of one interface in, or those of all: 0.
fn bind(socket: &OwnedFd, ifindex: u32) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = ifindex as i32;
    // SAFETY: `address` is a sockaddr_ll of the length given.
    let status = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn set_option<T>(socket: &OwnedFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    // SAFETY: `value` is readable for its size; the kernel checks name and size.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const *value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn set_filter(socket: &OwnedFd, program: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// Packets and drops since the last call (packet(7), PACKET_STATISTICS).
fn statistics(socket: &OwnedFd) -> io::Result<(u64, u64)> {
    let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `statistics`.
    let status = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut length,
        )
    };
    if status < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((statistics.tp_packets.into(), statistics.tp_drops.into()))
}

/// A frame in the buffer.
struct Received {
    length: usize,
    original_length: u32,
    ifindex: u32,
    direction: Direction,
    link_type: LinkType,
    vlan: Option<u16>,
    time: Option<Timestamp>,
}

/// Room for both control messages, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; 256]);

fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<Received>> {
    // SAFETY: all-zero bytes are valid values of both.
    let (mut address, mut message): (libc::sockaddr_ll, libc::msghdr) = unsafe { (zeroed(), zeroed()) };
    let mut control = MaybeUninit::<Control>::uninit();
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    message.msg_name = (&raw mut address).cast();
    message.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of::<Control>() as _;
    // SAFETY: every pointer in `message` is valid for the length beside it, and lives until the call returns.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    if length < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
    }
    let outgoing = address.sll_pkttype == libc::PACKET_OUTGOING;
    let mut received = Received {
        length: length as usize,
        original_length: length as u32,
        ifindex: address.sll_ifindex as u32,
        direction: if outgoing { Direction::Egress } else { Direction::Ingress },
        link_type: match address.sll_hatype {
            libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => LinkType::Ethernet,
            _ => LinkType::RawIp,
        },
        vlan: None,
        time: None,
    };
    // SAFETY: recvmsg filled `message` and its control buffer; the macros walk it within msg_controllen, and each
    // message's data has the type that its level and type name.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            let data = libc::CMSG_DATA(header);
            match ((*header).cmsg_level, (*header).cmsg_type) {
                (libc::SOL_PACKET, libc::PACKET_AUXDATA) => {
                    let auxiliary = data.cast::<libc::tpacket_auxdata>().read_unaligned();
                    received.original_length = auxiliary.tp_len;
                    if auxiliary.tp_status & TP_STATUS_VLAN_VALID != 0 {
                        received.vlan = Some(auxiliary.tp_vlan_tci & 0x0fff);
                    }
                }
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    let time = data.cast::<libc::timespec>().read_unaligned();
                    let nanos = time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
                    received.time = Some(Timestamp::from_nanos(nanos));
                }
                _ => {}
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok(Some(received))
}

// Classic BPF, as in linux/filter.h. Loads from SKF_NET_OFF on count from the IP header, whatever link layer there is.
const LD_B_ABS: u16 = 0x30;
const LD_H_ABS: u16 = 0x28;
const LD_W_ABS: u16 = 0x20;
const LD_H_IND: u16 = 0x48;
const LDX_MSH: u16 = 0xb1;
const LDX_IMM: u16 = 0x01;
const JEQ: u16 = 0x15;
const JSET: u16 = 0x45;
const RET: u16 = 0x06;
const NETWORK: u32 = -0x10_0000_i32 as u32;
const PROTOCOL: u32 = -0x1000_i32 as u32;
const PACKET_TYPE: u32 = PROTOCOL + 4;
const IFINDEX: u32 = PROTOCOL + 8;

/// Where a jump goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Next,
    Protocol,
    Ipv4,
    Ipv6,
    Ports,
    Ipv4Transport,
    Ipv6Transport,
    Accept,
    Reject,
}

/// A program whose jumps are still names.
#[derive(Default)]
struct Assembler {
    lines: Vec<(u16, u32, To, To)>,
    labels: Vec<(To, usize)>,
}

impl Assembler {
    fn label(&mut self, label: To) {
        self.labels.push((label, self.lines.len()));
    }

    fn line(&mut self, code: u16, k: u32) {
        self.lines.push((code, k, To::Next, To::Next));
    }

    fn jump(&mut self, code: u16, k: u32, then: To, otherwise: To) {
        self.lines.push((code, k, then, otherwise));
    }

    /// Jumps are relative and forward; the program is short enough for their eight bits.
    fn finish(self) -> Vec<libc::sock_filter> {
        let Self { lines, labels } = self;
        let distance = |from: usize, to: To| {
            let target = labels.iter().find(|(label, _)| *label == to).map_or(from + 1, |(_, place)| *place);
            (target - from - 1) as u8
        };
        let encode = |(place, &(code, k, then, otherwise)): (usize, &(u16, u32, To, To))| libc::sock_filter {
            code,
            jt: distance(place, then),
            jf: distance(place, otherwise),
            k,
        };
        lines.iter().enumerate().map(encode).collect()
    }
}

/// Accepts UDP and TCP to and from `ports`, and what only user space can judge: tags in the bytes, IPv6 extension
/// headers, and fragments, of which the first tells whose the others are.
fn filter(ports: &Set<u16>) -> Vec<libc::sock_filter> {
    let mut program = Assembler::default();
    // On `lo`, which is number 1 everywhere, every packet passes twice; once is enough.
    program.line(LD_W_ABS, IFINDEX);
    program.jump(JEQ, 1, To::Next, To::Protocol);
    program.line(LD_W_ABS, PACKET_TYPE);
    program.jump(JEQ, libc::PACKET_OUTGOING.into(), To::Next, To::Reject);
    program.label(To::Protocol);
    program.line(LD_W_ABS, PROTOCOL);
    program.jump(JEQ, 0x0800, To::Ipv4, To::Next);
    program.jump(JEQ, 0x86dd, To::Ipv6, To::Next);
    program.jump(JEQ, 0x8100, To::Accept, To::Next);
    program.jump(JEQ, 0x88a8, To::Accept, To::Reject);

    program.label(To::Ipv4);
    program.line(LD_B_ABS, NETWORK + 9);
    program.jump(JEQ, 17, To::Ipv4Transport, To::Next);
    program.jump(JEQ, 6, To::Ipv4Transport, To::Reject);
    program.label(To::Ipv4Transport);
    program.line(LD_H_ABS, NETWORK + 6);
    // The offset of a fragment, and MF.
    program.jump(JSET, 0x3fff, To::Accept, To::Next);
    program.line(LDX_MSH, NETWORK);
    program.jump(JEQ, 0, To::Ports, To::Ports);

    program.label(To::Ipv6);
    program.line(LD_B_ABS, NETWORK + 6);
    for extension in [0, 43, 44, 51, 60, 135] {
        program.jump(JEQ, extension, To::Accept, To::Next);
    }
    program.jump(JEQ, 17, To::Ipv6Transport, To::Next);
    program.jump(JEQ, 6, To::Ipv6Transport, To::Reject);
    program.label(To::Ipv6Transport);
    program.line(LDX_IMM, 40);

    program.label(To::Ports);
    if ports.len() > MOST_FILTERED_PORTS {
        program.jump(JEQ, 0, To::Accept, To::Accept);
    } else {
        for side in [0, 2] {
            program.line(LD_H_IND, NETWORK + side);
            for port in ports {
                program.jump(JEQ, u32::from(*port), To::Accept, To::Next);
            }
        }
    }
    program.label(To::Reject);
    program.line(RET, 0);
    program.label(To::Accept);
    program.line(RET, LARGEST_FRAME as u32);
    program.finish()
}
