//! Any bytes as frames: nothing panics, and no payload is larger than what it was cut from.
//!
//! The input is a list of frames: a byte for the link type, two bytes of length, and the frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nslookout::capture::frame::{LinkType, Timestamp};
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

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    while let Some(([kind, high, low], behind)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(behind.len());
        let (bytes, next) = behind.split_at(length);
        rest = next;
        read(LINK_TYPES[usize::from(*kind) % LINK_TYPES.len()], bytes);
    }
});

fn read(link_type: LinkType, bytes: &[u8]) {
    let parsed = match packet::parse(&frame(link_type, Timestamp::default(), bytes)) {
        Ok(Packet::Payload(payload)) => Ok(payload),
        Ok(Packet::Fragment(fragment)) => {
            assert!(fragment.bytes.len() <= bytes.len());
            packet::parse_fragmented(&fragment.key, fragment.hop_limit, fragment.bytes, fragment.missing)
        }
        Err(error) => Err(error),
    };
    match parsed {
        Ok(payload) => assert!(payload.bytes.len() <= bytes.len()),
        Err(error) => assert_printable(&error.to_string()),
    }
}
