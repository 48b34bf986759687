//! Any bytes as frames: nothing panics, no payload is larger than what it was cut from, and what waits for fragments
//! stays within its bounds.
//!
//! The input is a list of frames: a byte for the link type, two bytes of length, and the frame.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use nslookout::capture::frame::{LinkType, Timestamp};
use nslookout::packet::fragments::{Datagram, Fate, FragmentLimits, Reassembly};
use nslookout::packet::{self, Packet};
use nslookout_fuzz::{assert_printable, frame};

const LINK_TYPES: [LinkType; 7] = [
    LinkType::Ethernet,
    LinkType::RawIp,
    LinkType::Loopback,
    LinkType::LinuxSll,
    LinkType::LinuxSll2,
    LinkType::Ppp,
    LinkType::PppEther,
];

/// Bounds that a short input reaches.
const LIMITS: FragmentLimits =
    FragmentLimits { max_datagrams: 4, max_bytes: 16 << 10, patience: Duration::from_secs(1) };

/// Between two frames.
const PAUSE: Duration = Duration::from_millis(100);

fuzz_target!(|data: &[u8]| {
    let mut reassembly = Reassembly::new(LIMITS);
    let mut now = Timestamp::from_nanos(1_700_000_000_000_000_000);
    let mut rest = data;
    while let Some(([kind, high, low], behind)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(behind.len());
        let (bytes, next) = behind.split_at(length);
        rest = next;
        now = now + PAUSE;
        read(&mut reassembly, LINK_TYPES[usize::from(*kind) % LINK_TYPES.len()], now, bytes);
        reassembly.tick(now.before(PAUSE), &mut given_up);
        let (datagrams, held) = reassembly.held();
        assert!(
            datagrams <= LIMITS.max_datagrams && held <= LIMITS.max_bytes,
            "{datagrams} with {held} bytes"
        );
    }
    reassembly.finish(&mut given_up);
    assert_eq!(reassembly.held(), (0, 0));
});

fn read(reassembly: &mut Reassembly, link_type: LinkType, time: Timestamp, bytes: &[u8]) {
    match packet::parse(&frame(link_type, time, bytes)) {
        Ok(Packet::Payload(payload)) => assert!(payload.bytes.len() <= bytes.len()),
        Ok(Packet::Fragment(fragment)) => {
            assert!(fragment.bytes.len() <= bytes.len());
            let taken = reassembly.take(time, None, &fragment, &|_| Some(true), &mut given_up);
            if let Fate::Complete(datagram) = taken.fate {
                show(&datagram);
            }
        }
        Err(error) => assert_printable(&error.to_string()),
    }
}

fn given_up(datagram: Datagram) {
    show(&datagram);
}

/// A datagram is no larger than IP allows, and can be read or says why not.
fn show(datagram: &Datagram) {
    assert!(datagram.bytes.len() <= usize::from(u16::MAX));
    match datagram.payload() {
        Ok(payload) => assert!(payload.bytes.len() <= datagram.bytes.len()),
        Err(error) => assert_printable(&error.to_string()),
    }
}
