//! Frames in the order of their time: datagrams, fragments, tags, and TCP connections whose segments go astray.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::generate::EPOCH_NS;
use crate::generate::packet::{self, ACK, Endpoint, FIN, PSH, SYN, Segment, fold, sum};

const ETHERNET: usize = 14;

/// What is written to one file.
#[derive(Default)]
pub struct Capture {
    /// Time in nanoseconds since 1970, and the frame.
    pub frames: Vec<(u64, Vec<u8>)>,
    now_us: u64,
}

impl Capture {
    /// Lets time pass.
    pub fn wait_ms(&mut self, milliseconds: u64) {
        self.now_us += milliseconds * 1_000;
    }

    /// A frame as it is, 1 ms after the one before.
    pub fn frame(&mut self, frame: Vec<u8>) {
        self.now_us += 1_000;
        self.frames.push((EPOCH_NS + self.now_us * 1_000, frame));
    }

    /// A datagram.
    pub fn udp(&mut self, from: &Endpoint, to: &Endpoint, payload: &[u8]) {
        self.frame(packet::udp(from, to, payload));
    }
}

/// A client of each family that uses `port`, and its server on port 53.
pub fn both(port: u16) -> [(Endpoint, Endpoint); 2] {
    [(client4(1, port), server4(53)), (client6(1, port), server6(53))]
}

/// 192.0.2.`host`.
pub fn client4(host: u8, port: u16) -> Endpoint {
    end(IpAddr::V4(Ipv4Addr::new(192, 0, 2, host)), port)
}

/// 2001:db8::`host`.
pub fn client6(host: u8, port: u16) -> Endpoint {
    end(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host.into())), port)
}

/// 198.51.100.53.
pub fn server4(port: u16) -> Endpoint {
    end(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 53)), port)
}

/// 2001:db8:53::53.
pub fn server6(port: u16) -> Endpoint {
    end(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x53, 0, 0, 0, 0, 0x53)), port)
}

/// The same end with another host number and port.
pub fn other(end: &Endpoint, host: u8, port: u16) -> Endpoint {
    let address = match end.address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, host))
        }
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets[15] = host;
            IpAddr::V6(octets.into())
        }
    };
    Endpoint { address, port, ..*end }
}

fn end(address: IpAddr, port: u16) -> Endpoint {
    let last = match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    };
    Endpoint { mac: [2, 0, 0, 0, 0, last], address, port, ttl: 64 }
}

/// `frame` with VLAN tags (IEEE 802.1Q) of these ethertypes and ids, the outermost first.
pub fn tagged(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let mut tagged = frame[..12].to_vec();
    for (ethertype, id) in tags {
        tagged.extend(ethertype.to_be_bytes());
        tagged.extend(id.to_be_bytes());
    }
    tagged.extend(&frame[12..]);
    tagged
}

/// The payload of IP in `frame`, which has neither tags nor options.
fn ip_payload(frame: &[u8]) -> &[u8] {
    let header = if frame[ETHERNET] >> 4 == 4 { 20 } else { 40 };
    &frame[ETHERNET + header..]
}

/// `frame` in fragments of `size` bytes of payload, which is a multiple of 8.
pub fn fragments(frame: &[u8], identification: u32, size: usize) -> Vec<Vec<u8>> {
    let length = ip_payload(frame).len();
    (0..length)
        .step_by(size)
        .map(|from| fragment(frame, identification, from, size.min(length - from)))
        .collect()
}

/// The fragment of `frame` that holds `length` bytes of payload from `from` on.
pub fn fragment(frame: &[u8], identification: u32, from: usize, length: usize) -> Vec<u8> {
    let payload = ip_payload(frame);
    let piece = &payload[from..from + length];
    let more = u16::from(from + length < payload.len());
    if frame[ETHERNET] >> 4 == 4 {
        fragment4(frame, identification as u16, from, more, piece)
    } else {
        fragment6(frame, identification, from, more, piece)
    }
}

/// RFC 791 section 3.1: the offset counts 8 bytes, MF is bit 13.
fn fragment4(frame: &[u8], identification: u16, from: usize, more: u16, piece: &[u8]) -> Vec<u8> {
    let mut made = frame[..ETHERNET + 20].to_vec();
    let header = &mut made[ETHERNET..];
    header[2..4].copy_from_slice(&(20 + piece.len() as u16).to_be_bytes());
    header[4..6].copy_from_slice(&identification.to_be_bytes());
    header[6..8].copy_from_slice(&(more << 13 | (from / 8) as u16).to_be_bytes());
    header[10..12].copy_from_slice(&[0, 0]);
    let checksum = !fold(sum(header));
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    made.extend(piece);
    made
}

/// RFC 8200 section 4.5: a header of its own, with the offset in the upper 13 bits.
fn fragment6(frame: &[u8], identification: u32, from: usize, more: u16, piece: &[u8]) -> Vec<u8> {
    const FRAGMENT: u8 = 44;
    let mut made = frame[..ETHERNET + 40].to_vec();
    let next = made[ETHERNET + 6];
    made[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&(8 + piece.len() as u16).to_be_bytes());
    made[ETHERNET + 6] = FRAGMENT;
    made.extend([next, 0]);
    made.extend((from as u16 | more).to_be_bytes());
    made.extend(identification.to_be_bytes());
    made.extend(piece);
    made
}

/// An ICMP "port unreachable" from `from` to `to` that quotes the packet in `frame` (RFC 792, RFC 4443 section 3.1).
pub fn unreachable(from: &Endpoint, to: &Endpoint, frame: &[u8]) -> Vec<u8> {
    let quoted = &frame[ETHERNET..];
    // Made as a datagram, whose 8 bytes of header have the size of ICMP's; then the protocol is another one.
    let mut made = packet::udp(from, to, quoted);
    let is_ipv4 = made[ETHERNET] >> 4 == 4;
    let (protocol_at, protocol, kind, code) =
        if is_ipv4 { (ETHERNET + 9, 1, 3, 3) } else { (ETHERNET + 6, 58, 1, 4) };
    made[protocol_at] = protocol;
    let icmp = made.len() - ip_payload(&made).len();
    made[icmp..icmp + 8].copy_from_slice(&[kind, code, 0, 0, 0, 0, 0, 0]);
    if is_ipv4 {
        made[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&[0, 0]);
        let checksum = !fold(sum(&made[ETHERNET..ETHERNET + 20]));
        made[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&checksum.to_be_bytes());
    }
    let pseudo = if is_ipv4 {
        0
    } else {
        sum(&made[ETHERNET + 8..ETHERNET + 40]) + (made.len() - icmp) as u32 + u32::from(protocol)
    };
    let checksum = !fold(pseudo + sum(&made[icmp..]));
    made[icmp + 2..icmp + 4].copy_from_slice(&checksum.to_be_bytes());
    made
}

/// Who sends a segment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that opened the connection.
    Client,
    /// The other one.
    Server,
}

/// A TCP connection; what is sent next follows what was sent, and any segment may be put elsewhere.
pub struct Stream {
    client: Endpoint,
    server: Endpoint,
    /// Sequence numbers of the first bytes of data.
    first: [u32; 2],
    /// Bytes that each side has sent.
    sent: [u32; 2],
}

impl Stream {
    /// A connection whose client counts from `first`; nothing is written yet.
    pub fn new(client: Endpoint, server: Endpoint, first: u32) -> Self {
        Self { client, server, first: [first, 0x7000_0001], sent: [0, 0] }
    }

    /// A connection with its handshake.
    pub fn open(capture: &mut Capture, client: Endpoint, server: Endpoint, first: u32) -> Self {
        let stream = Self::new(client, server, first);
        stream.syn(capture, b"");
        stream.syn_ack(capture, 0);
        stream.segment(capture, Side::Client, 0, ACK, b"");
        stream
    }

    /// The first segment, with data where TCP Fast Open is used (RFC 7413).
    pub fn syn(&self, capture: &mut Capture, data: &[u8]) {
        let sequence = self.first[0].wrapping_sub(1);
        let segment = Segment { sequence, acknowledgement: 0, flags: SYN };
        capture.frame(packet::tcp(&self.client, &self.server, segment, data));
    }

    /// The answer to it, which acknowledges so many bytes of data.
    pub fn syn_ack(&self, capture: &mut Capture, bytes: u32) {
        let (sequence, acknowledgement) = (self.first[1].wrapping_sub(1), self.first[0].wrapping_add(bytes));
        let segment = Segment { sequence, acknowledgement, flags: SYN | ACK };
        capture.frame(packet::tcp(&self.server, &self.client, segment, b""));
    }

    /// A segment whose data begin `offset` bytes behind the first one.
    pub fn segment(&self, capture: &mut Capture, side: Side, offset: u32, flags: u8, data: &[u8]) {
        let (from, to, mine, theirs) = match side {
            Side::Client => (&self.client, &self.server, 0, 1),
            Side::Server => (&self.server, &self.client, 1, 0),
        };
        let sequence = self.first[mine].wrapping_add(offset);
        let acknowledgement = self.first[theirs].wrapping_add(self.sent[theirs]);
        capture.frame(packet::tcp(from, to, Segment { sequence, acknowledgement, flags }, data));
    }

    /// The next bytes of a side in one segment.
    pub fn send(&mut self, capture: &mut Capture, side: Side, data: &[u8]) {
        self.segment(capture, side, self.sent[side as usize], PSH | ACK, data);
        self.skip(side, data.len());
    }

    /// The next bytes of a side, cut behind each of `cuts`, which count from the first of them.
    pub fn send_cut(&mut self, capture: &mut Capture, side: Side, data: &[u8], cuts: &[usize]) {
        let mut from = 0;
        for &cut in cuts.iter().chain([&data.len()]) {
            self.send(capture, side, &data[from..cut]);
            from = cut;
        }
    }

    /// Bytes that the capture does not hold, or that are written by [`segment`](Self::segment).
    pub fn skip(&mut self, side: Side, bytes: usize) {
        self.sent[side as usize] += bytes as u32;
    }

    /// Both sides end.
    pub fn close(&mut self, capture: &mut Capture) {
        for side in [Side::Client, Side::Server] {
            self.segment(capture, side, self.sent[side as usize], FIN | ACK, b"");
            self.skip(side, 1);
        }
        self.segment(capture, Side::Client, self.sent[0], ACK, b"");
    }
}
