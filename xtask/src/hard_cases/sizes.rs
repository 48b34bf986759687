//! Lengths at which readers stumble: where a byte overflows, around 512, and up to the largest datagram.

use super::capture::{Capture, both, fragments};
use super::message::{Message, option, pattern, types};
use super::{Case, Truth, large, small};
use crate::generate::packet;

pub(super) const CASES: [Case; 3] = [
    small("payload-lengths", payload_lengths),
    small("answers-513-to-4096", answers),
    large("answer-65507", largest),
];

/// EDNS padding (RFC 7830).
const PADDING: u16 = 12;

/// Queries and answers of 256 to 263 and of 512 to 519 bytes.
fn payload_lengths(capture: &mut Capture) -> Truth {
    let lengths = (256..264).chain(512..520);
    for ((client, server), lengths) in both(40_000).into_iter().zip([lengths.clone(), lengths]) {
        for length in lengths {
            let query = Message::query(length as u16, "www.example.com", types::A);
            // The OPT record takes 11 bytes, the head of the option 4.
            let padding = option(PADDING, &vec![0; length - query.bytes().len() - 15]);
            capture.udp(&client, &server, &query.opt(1232, 0, &padding).bytes());
            let response = Message::response(length as u16, "www.example.com", types::A).filled(length);
            capture.udp(&server, &client, &response.bytes());
        }
    }
    Truth::all_answered(32)
}

/// Whole in one frame, as on `lo`.
fn answers(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        for length in [513, 1_025, 4_096] {
            let query = Message::query(length, "www.example.com", types::TXT).opt(4_096, 0, b"");
            capture.udp(&client, &server, &query.bytes());
            let response = Message::response(length, "www.example.com", types::TXT).filled(length.into());
            capture.udp(&server, &client, &response.bytes());
        }
    }
    Truth::all_answered(6)
}

/// The largest payload that IPv4 can carry (65,535 - 20 - 8), whole and in fragments.
fn largest(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        let query = |id| Message::query(id, "www.example.com", types::TXT).opt(65_535, 0, b"").bytes();
        let response = |id| {
            let message = Message::response(id, "www.example.com", types::TXT);
            let text = [&[255][..], &pattern(255)].concat().repeat(64);
            (0..3).fold(message, |message, _| message.answer(types::TXT, &text)).filled(65_507).bytes()
        };
        capture.udp(&client, &server, &query(1));
        capture.udp(&server, &client, &response(1));
        capture.udp(&client, &server, &query(2));
        for fragment in fragments(&packet::udp(&server, &client, &response(2)), 0x1111, 1_448) {
            capture.frame(fragment);
        }
    }
    Truth::all_answered(4)
}
