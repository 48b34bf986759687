//! The whole engine under very many clients, names and servers, with all that can go wrong: memory that is bounded.
//!
//! `cargo test --release -p nslookout --test many_of_all -- --ignored --nocapture` prints the figures for a million.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nslookout::capture::frame::{Direction, Frame, Ifindex, InterfaceKind, LinkType, Place, Timestamp};
use nslookout::engine::{Engine, EngineConfig, InsightConfig};

/// Counts the bytes that are in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
/// One test at a time, since all count in one place.
static TURN: Mutex<()> = Mutex::new(());

// SAFETY: every call goes to the system's allocator as it came; only numbers are added.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the rooms behind matching may keep, in bytes.
const MOST: usize = 128 << 20;

/// When it begins, in nanoseconds since the epoch.
const BEGIN: u64 = 1_700_000_000_000_000_000;

/// What a client meets; the clients take turns.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// An address.
    Answer,
    /// NXDOMAIN, with an SOA.
    Denied,
    /// SERVFAIL.
    Failed,
    /// REFUSED.
    Refused,
    /// Nothing, though it asks again.
    Silence,
    /// NODATA, without an SOA.
    NoData,
    /// A truncated response, then a connection that does not come about.
    Truncated,
    /// A response from somewhere else.
    Foreign,
    /// A large one, with eight aliases.
    Large,
    /// The same ID and port for another question meanwhile.
    SameId,
}

const FATES: [Fate; 10] = [
    Fate::Answer,
    Fate::Denied,
    Fate::Failed,
    Fate::Refused,
    Fate::Silence,
    Fate::NoData,
    Fate::Truncated,
    Fate::Foreign,
    Fate::Large,
    Fate::SameId,
];

fn dotted(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// A record of the IN class with a TTL of a minute.
fn record(owner: &[u8], record_type: u16, data: &[u8]) -> Vec<u8> {
    let fixed = [record_type.to_be_bytes(), [0, 1], [0, 0], [0, 60], (data.len() as u16).to_be_bytes()];
    [owner, &fixed.concat(), data].concat()
}

/// A message with its question, and these records as answers or in the authority section.
fn message(
    id: u16,
    flags: u16,
    question: (&[u8], u16),
    answers: &[Vec<u8>],
    authority: &[Vec<u8>],
) -> Vec<u8> {
    let counts = [1, answers.len() as u16, authority.len() as u16, 0];
    let mut bytes: Vec<u8> = [id, flags].into_iter().chain(counts).flat_map(u16::to_be_bytes).collect();
    bytes.extend(question.0);
    bytes.extend(question.1.to_be_bytes());
    bytes.extend([0, 1]);
    [answers, authority].concat().iter().for_each(|record| bytes.extend(record));
    bytes
}

/// An IPv4 packet of this protocol, without checksums.
fn packet(protocol: u8, source: SocketAddrV4, destination: SocketAddrV4, behind_ports: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x45, 0];
    bytes.extend((24 + behind_ports.len() as u16).to_be_bytes());
    bytes.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    bytes.extend(source.ip().octets());
    bytes.extend(destination.ip().octets());
    bytes.extend([source.port().to_be_bytes(), destination.port().to_be_bytes()].concat());
    bytes.extend(behind_ports);
    bytes
}

fn udp(source: SocketAddrV4, destination: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len() as u16).to_be_bytes();
    packet(17, source, destination, &[&length, &[0, 0], payload].concat())
}

fn syn(source: SocketAddrV4, destination: SocketAddrV4) -> Vec<u8> {
    packet(6, source, destination, &[0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0])
}

/// What one of so many clients sends and gets, each with whether it goes to the server.
fn packets(number: u32, clients: u32, fate: Fate) -> Vec<(bool, Vec<u8>)> {
    let port = 20_000 + (number % 40_000) as u16;
    let client = SocketAddrV4::new(Ipv4Addr::from(0x0a00_0000 + number % clients), port);
    // A server more for every hundred clients.
    let server = SocketAddrV4::new(Ipv4Addr::from(0xac10_0000 + number / 100), 53);
    let name = dotted(&format!("host{number}.shop{number}.svc.cluster.local"));
    let mut packets = Vec::new();
    for (index, qtype) in [1_u16, 28].into_iter().enumerate() {
        let id = (number as u16).wrapping_mul(2).wrapping_add(index as u16);
        let asked = (name.as_slice(), qtype);
        let query = udp(client, server, &message(id, 0x0100, asked, &[], &[]));
        packets.push((true, query.clone()));
        let address = record(&[0xc0, 12], qtype, if qtype == 1 { &[192, 0, 2, 1] } else { &[0x20; 16] });
        let soa = record(&[0], 6, &[vec![0, 0], vec![0; 20]].concat());
        let answer = |flags: u16, answers: &[Vec<u8>], authority: &[Vec<u8>]| {
            udp(server, client, &message(id, flags, asked, answers, authority))
        };
        match fate {
            Fate::Answer => packets.push((false, answer(0x8180, &[address], &[]))),
            Fate::Denied => packets.push((false, answer(0x8183, &[], &[soa]))),
            Fate::Failed => packets.push((false, answer(0x8182, &[], &[]))),
            Fate::Refused => packets.push((false, answer(0x8185, &[], &[]))),
            Fate::Silence => packets.push((true, query)),
            Fate::NoData => packets.push((false, answer(0x8180, &[], &[]))),
            Fate::Truncated => {
                packets.push((false, answer(0x8380, &[], &[])));
                packets.push((true, syn(client, server)));
            }
            Fate::Foreign => {
                let elsewhere = SocketAddrV4::new(Ipv4Addr::from(0xac20_0000 + number), 53);
                packets.push((false, udp(elsewhere, client, &message(id, 0x8180, asked, &[address], &[]))));
            }
            Fate::Large => {
                let aliases: Vec<Vec<u8>> =
                    (0..8).map(|_| record(&[0xc0, 12], 5, &dotted(&"a".repeat(60)))).collect();
                packets.push((false, answer(0x8180, &[aliases, vec![address]].concat(), &[])));
            }
            Fate::SameId => {
                let other = dotted(&format!("other{number}.test"));
                packets.push((true, udp(client, server, &message(id, 0x0100, (&other, qtype), &[], &[]))));
            }
        }
    }
    packets
}

/// What was measured of one run.
struct Measured {
    /// Bytes in use at most.
    bytes: usize,
    /// The same after the first half.
    half: usize,
    packets: u32,
    each: Duration,
}

/// Bytes in use that were not before.
fn grown(before: usize) -> usize {
    IN_USE.load(Ordering::Relaxed).saturating_sub(before)
}

fn engine(insight: Option<InsightConfig>) -> Engine {
    Engine::new(EngineConfig { ports: [53].into_iter().collect(), insight, ..EngineConfig::default() })
}

/// What one client sends and gets, from `begin` on, at the interface of its pod, of which there are a thousand.
fn feed(engine: &mut Engine, begin: Timestamp, number: u32, sent: &[(bool, Vec<u8>)]) {
    for (index, (to_server, bytes)) in sent.iter().enumerate() {
        let time = begin + Duration::from_micros(index as u64);
        let direction = if *to_server { Direction::Ingress } else { Direction::Egress };
        let ifindex = Ifindex(10 + number % 1000);
        let place = Place { ifindex, kind: InterfaceKind::Pod, direction, local_socket: None, cgroup: None };
        let original_length = bytes.len() as u32;
        let link_type = LinkType::RawIp;
        let frame = Frame { time, place: Some(place), link_type, original_length, vlan: None, bytes };
        engine.tick(time, &mut |_| {});
        engine.frame(&frame, &mut |_| {});
    }
}

/// So many lookups, each for another name, 50 µs after one another, by so many clients in turn.
fn play(lookups: u32, clients: u32, insight: Option<InsightConfig>, fates: &[Fate]) -> Measured {
    let before = IN_USE.load(Ordering::Relaxed);
    let mut engine = engine(insight);
    let mut measured = Measured { bytes: 0, half: 0, packets: 0, each: Duration::ZERO };
    let mut spent = Duration::ZERO;
    for number in 0..lookups {
        let begin = Timestamp::from_nanos(BEGIN + u64::from(number) * 50_000);
        let sent = packets(number, clients, fates[number as usize % fates.len()]);
        let begun = Instant::now();
        feed(&mut engine, begin, number % clients, &sent);
        spent += begun.elapsed();
        measured.packets += sent.len() as u32;
        if number % 1024 == 0 {
            measured.bytes = measured.bytes.max(grown(before));
        }
        if number == lookups / 2 {
            measured.half = measured.bytes;
        }
    }
    measured.each = spent / measured.packets;
    measured
}

/// What the rooms behind matching keep of so many lookups by so many clients, within [`MOST`].
fn check(lookups: u32, clients: u32, fates: &[Fate]) {
    let _turn = TURN.lock().unwrap();
    let without = play(lookups, clients, None, fates);
    let with = play(lookups, clients, Some(InsightConfig::default()), fates);
    let bytes = with.bytes.saturating_sub(without.bytes);
    println!(
        "{clients} clients, {fates:?}: {} packets: insight {} KiB of {} KiB, {} KiB after the first half; {:?} a packet, \
         {:?} without",
        with.packets,
        bytes >> 10,
        with.bytes >> 10,
        with.half >> 10,
        with.each,
        without.each,
    );
    assert!(bytes <= MOST, "{bytes} bytes of {fates:?}");
}

#[test]
fn a_clock_that_is_set_back_again_and_again_leaves_nothing() {
    let _turn = TURN.lock().unwrap();
    let before = IN_USE.load(Ordering::Relaxed);
    let mut engine = engine(Some(InsightConfig::default()));
    let mut after = Vec::new();
    for day in (0..30).rev() {
        for number in 0..300 {
            let begin = BEGIN + day * 86_400_000_000_000 + u64::from(number) * 10_000_000;
            let sent = packets(number, u32::MAX, FATES[number as usize % FATES.len()]);
            feed(&mut engine, Timestamp::from_nanos(begin), number, &sent);
        }
        after.push(grown(before));
    }
    assert_eq!(engine.tally().clock_steps, 29);
    let (tenth, last) = (after[10], after[29]);
    assert!(last <= tenth + tenth / 20, "{after:?}");
}

#[test]
fn memory_is_bounded() {
    check(20_000, 20_000, &FATES);
}

#[test]
#[ignore = "takes minutes without optimisation"]
fn memory_is_bounded_for_a_million() {
    // Each client once; as many as are kept, and as many as most rules keep, again and again.
    for clients in [1_000_000, 32_768, 4096] {
        check(1_000_000, clients, &FATES);
        for fate in FATES {
            check(1_000_000, clients, &[fate]);
        }
    }
}
