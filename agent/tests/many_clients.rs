//! What is kept of very many clients and names: memory that is bounded, whatever comes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hash::{Hash as _, Hasher as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nslookout::capture::frame::Timestamp;
use nslookout::correlate::clients::Clients;
use nslookout::correlate::{Event, Outcome, Parties, Sent, Transaction, Vantage};
use nslookout::dns::{self, Message, Query, Response};
use nslookout::packet::Transport;

/// Counts the bytes that are in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

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

/// A message about `name`, a query or the response `rcode`, without records.
fn message(id: u16, flags: u16, name: &str, qtype: u16) -> Message {
    let mut bytes: Vec<u8> = [id, flags, 1, 0, 0, 0].iter().flat_map(|word| word.to_be_bytes()).collect();
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend([qtype.to_be_bytes(), [0, 1]].concat());
    dns::parse(&bytes, bytes.len()).unwrap()
}

/// A query and its response, 1 ms later; none where `rcode` is none.
fn transaction(client: u32, at: Timestamp, name: &str, qtype: u16, rcode: Option<u16>) -> Vec<Event> {
    let Message::Query(query) = message(client as u16, 0x0100, name, qtype) else { panic!() };
    let parties = Parties {
        vantage: Vantage::Unknown,
        place: None,
        client: SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + client)), 4000),
        server: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 53)), 53),
        transport: Transport::Udp,
    };
    let Query { header, question, edns, .. } = query.clone();
    let mut hasher = std::hash::DefaultHasher::new();
    name.hash(&mut hasher);
    let (name_key, number) = (hasher.finish(), at.as_nanos());
    let opened =
        Event::Opened(Sent { parties, time: at, header, question, name_key, number, edns, echo: false });
    let Some(rcode) = rcode else { return vec![opened] };
    let Message::Response(response) = message(client as u16, 0x8180 | rcode, name, qtype) else { panic!() };
    let closed = |response: Response| {
        let outcome = Outcome::Answered { response, latency: Duration::from_millis(1) };
        Event::Closed(Transaction {
            parties,
            query,
            name_key,
            number,
            first_sent: at,
            sends: 1,
            echo: false,
            outcome,
        })
    };
    vec![opened, closed(response)]
}

/// Bytes in use, and time per event, after so many clients asked for as many names, 10 µs after one another.
fn play(clients: u32, rcode: Option<u16>) -> (usize, Duration) {
    let mut kept = Clients::default();
    let before = IN_USE.load(Ordering::Relaxed);
    let (mut spent, mut events, mut most) = (Duration::ZERO, 0, 0);
    for client in 0..clients {
        let at = Timestamp::from_nanos(1_000_000_000 + u64::from(client) * 10_000);
        let name = format!("host{client}.shop.svc.cluster.local");
        let told = [1, 28].map(|qtype| transaction(client, at, &name, qtype, rcode)).concat();
        let begun = Instant::now();
        told.iter().for_each(|event| kept.event(event, &mut drop));
        kept.tick(at, &mut drop);
        spent += begun.elapsed();
        events += told.len() as u32;
        if client % 1024 == 0 {
            most = most.max(IN_USE.load(Ordering::Relaxed).saturating_sub(before));
        }
    }
    (most, spent / events)
}

/// Whether nothing is answered, or everything denied, which is waited on for a second.
fn check(clients: u32) {
    for rcode in [None, Some(3)] {
        let (bytes, each) = play(clients, rcode);
        println!(
            "{clients} clients and names, rcode {rcode:?}: {} KiB at most, {each:?} an event",
            bytes >> 10
        );
        assert!(bytes < 64 << 20, "{bytes} bytes");
    }
}

#[test]
fn memory_is_bounded() {
    check(70_000);
}

#[test]
#[ignore = "takes a minute without optimisation"]
fn memory_is_bounded_for_a_million() {
    check(1_000_000);
}
