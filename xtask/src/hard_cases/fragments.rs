//! Datagrams in pieces, VLAN tags around them.

use super::capture::{Capture, both, fragment, fragments, other, tagged};
use super::message::{Message, types};
use super::{Case, Truth, small};
use crate::generate::packet::{self, Endpoint};

pub(super) const CASES: [Case; 9] = [
    small("fragments-in-order", in_order),
    small("fragments-reversed", reversed),
    small("fragments-interleaved", interleaved),
    small("fragments-twice", twice),
    small("fragments-overlapping", overlapping),
    small("fragments-without-last", without_last),
    small("fragments-without-first", without_first),
    small("fragments-foreign", foreign),
    small("vlan", vlan),
];

/// Bytes of payload in a fragment.
const SIZE: usize = 160;

/// A query in one frame.
fn ask(capture: &mut Capture, client: &Endpoint, server: &Endpoint, id: u16) {
    capture.udp(client, server, &Message::query(id, "big.example.com", types::A).opt(4_096, 0, b"").bytes());
}

/// The frame of its answer, with an address that stands behind the first fragment.
fn answer(client: &Endpoint, server: &Endpoint, id: u16) -> Vec<u8> {
    let response = Message::response(id, "big.example.com", types::A).filled(384).address(types::A);
    packet::udp(server, client, &response.bytes())
}

fn one_answer_each(capture: &mut Capture, pieces: impl Fn(&[u8]) -> Vec<Vec<u8>>) -> Truth {
    for (client, server) in both(40_000) {
        ask(capture, &client, &server, 1);
        for piece in pieces(&answer(&client, &server, 1)) {
            capture.frame(piece);
        }
    }
    Truth::all_answered(2)
}

fn in_order(capture: &mut Capture) -> Truth {
    one_answer_each(capture, |frame| fragments(frame, 77, SIZE))
}

fn reversed(capture: &mut Capture) -> Truth {
    one_answer_each(capture, |frame| fragments(frame, 77, SIZE).into_iter().rev().collect())
}

/// Two answers to one client at once, and one with the same identification to another client.
fn interleaved(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        let second = other(&client, 2, 40_000);
        ask(capture, &client, &server, 1);
        ask(capture, &client, &server, 2);
        ask(capture, &second, &server, 3);
        let answers = [
            fragments(&answer(&client, &server, 1), 77, SIZE),
            fragments(&answer(&client, &server, 2), 78, SIZE),
            fragments(&answer(&second, &server, 3), 77, SIZE),
        ];
        for at in 0..answers[0].len() {
            for pieces in &answers {
                capture.frame(pieces[at].clone());
            }
        }
    }
    Truth::all_answered(6)
}

/// Each fragment comes twice, except the last one, which ends it.
fn twice(capture: &mut Capture) -> Truth {
    one_answer_each(capture, |frame| {
        let pieces = fragments(frame, 77, SIZE);
        let last = pieces.len() - 1;
        let repeated = pieces[..last].iter().flat_map(|piece| [piece.clone(), piece.clone()]);
        repeated.chain([pieces[last].clone()]).collect()
    })
}

/// Fragments that share bytes: hosts drop such a datagram (RFC 5722 section 4; Linux does so with IPv4 too), and then
/// the server sends it again.
fn overlapping(capture: &mut Capture) -> Truth {
    one_answer_each(capture, |frame| {
        let length = 396 + 8 + 16 - 20;
        let mut pieces = vec![
            fragment(frame, 77, 0, 160),
            fragment(frame, 77, 144, 160),
            fragment(frame, 77, 304, length - 304),
        ];
        pieces.extend(fragments(frame, 78, SIZE));
        pieces
    })
}

/// The rest never comes: what the first fragment says is known, and that it is not all.
fn without_last(capture: &mut Capture) -> Truth {
    let truth = one_answer_each(capture, |frame| {
        let mut pieces = fragments(frame, 77, SIZE);
        pieces.pop();
        pieces
    });
    quiet_end(capture);
    truth
}

/// Without ports nobody knows what it was; the query stays without an answer.
fn without_first(capture: &mut Capture) -> Truth {
    one_answer_each(capture, |frame| fragments(frame, 77, SIZE).split_off(1));
    quiet_end(capture);
    Truth { messages: 2, unanswered: 2, ..Truth::default() }
}

/// Later fragments of other traffic pass between those of an answer: with another identification and between others.
fn foreign(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        ask(capture, &client, &server, 1);
        let stranger = other(&client, 9, 40_000);
        let web = fragments(&packet::udp(&other(&server, 80, 443), &stranger, &[0xee; 400]), 77, SIZE);
        let pieces = fragments(&answer(&client, &server, 1), 77, SIZE);
        // The same hosts as the answer, another identification; no port is 53.
        let bulk = fragments(&packet::udp(&other(&server, 53, 9_000), &client, &[0xdd; 400]), 78, SIZE);
        for ((piece, web), bulk) in pieces.iter().zip(&web).zip(&bulk).rev() {
            capture.frame(web.clone());
            capture.frame(bulk.clone());
            capture.frame(piece.clone());
        }
    }
    Truth::all_answered(2)
}

/// 40 s of silence, then a packet that is no DNS: the clock of a file is its frames'.
fn quiet_end(capture: &mut Capture) {
    capture.wait_ms(40_000);
    let [(client, server), _] = both(40_000);
    capture.udp(&client, &other(&server, 80, 443), b"not DNS");
}

/// One tag, two tags of both kinds (IEEE 802.1ad), and a tagged answer in fragments.
fn vlan(capture: &mut Capture) -> Truth {
    let tags: [&[(u16, u16)]; 3] =
        [&[(0x8100, 5)], &[(0x88a8, 100), (0x8100, 5)], &[(0x8100, 100), (0x8100, 5)]];
    for (client, server) in both(40_000) {
        for (id, tags) in (1..).zip(tags) {
            let query = Message::query(id, "big.example.com", types::A).bytes();
            capture.frame(tagged(&packet::udp(&client, &server, &query), tags));
            let response = Message::response(id, "big.example.com", types::A).address(types::A).bytes();
            capture.frame(tagged(&packet::udp(&server, &client, &response), tags));
        }
        let query = Message::query(9, "big.example.com", types::A).bytes();
        capture.frame(tagged(&packet::udp(&client, &server, &query), tags[0]));
        for piece in fragments(&answer(&client, &server, 9), 77, SIZE) {
            capture.frame(tagged(&piece, tags[0]));
        }
    }
    Truth::all_answered(8)
}
