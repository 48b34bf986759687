//! Messages that are not as they say.

use super::capture::{Capture, both};
use super::message::{Message, QUERY, RESPONSE, name, pattern, types};
use super::{Case, Truth, small};
use crate::generate::packet::{self, Endpoint};

pub(super) const CASES: [Case; 4] = [
    small("illegal-records", illegal_records),
    small("counts-and-lengths", counts_and_lengths),
    small("not-a-message", not_a_message),
    small("every-cut", every_cut),
];

fn lookup(capture: &mut Capture, (client, server): &(Endpoint, Endpoint), qtype: u16, response: &[u8]) {
    let id = u16::from_be_bytes([response[0], response[1]]);
    capture.udp(client, server, &Message::query(id, "www.example.com", qtype).bytes());
    capture.udp(server, client, response);
}

/// Addresses of 3, 5 and 0 bytes, text longer than its record, data that end inside a name.
fn illegal_records(capture: &mut Capture) -> Truth {
    let records: [(u16, &[u8]); 7] = [
        (types::A, &[203, 0, 113]),
        (types::A, &[203, 0, 113, 1, 2]),
        (types::A, &[]),
        (types::AAAA, &[0x20; 15]),
        (types::TXT, b"\xfftoo short"),
        (types::CNAME, b"\x0aexa"),
        (types::SOA, b"\x02ns\0\x02hm\0\0\0"),
    ];
    for ends in both(40_000) {
        for (id, (qtype, rdata)) in (1..).zip(records) {
            let response = Message::response(id, "www.example.com", qtype).answer(qtype, rdata);
            lookup(capture, &ends, qtype, &response.bytes());
        }
    }
    Truth::all_answered(14)
}

/// Counts higher than what follows, lower than it, bytes behind the end, a record length beyond it.
fn counts_and_lengths(capture: &mut Capture) -> Truth {
    let answer = |id| Message::response(id, "www.example.com", types::A).address(types::A);
    for ends in both(40_000) {
        lookup(capture, &ends, types::A, &answer(1).counts([1, 2, 0, 0]).bytes());
        lookup(capture, &ends, types::A, &answer(2).counts([1, 65_535, 65_535, 65_535]).bytes());
        lookup(capture, &ends, types::A, &answer(3).counts([1, 0, 0, 0]).bytes());
        lookup(capture, &ends, types::A, &answer(4).raw(b"behind the end").bytes());
        lookup(capture, &ends, types::A, &answer(5).raw(&[0; 40]).bytes());
        let mut beyond = answer(6).bytes();
        let length_at = beyond.len() - 5;
        beyond[length_at] = 200;
        lookup(capture, &ends, types::A, &beyond);
        // More questions than there are: the first of them can be read.
        let (client, server) = &ends;
        let query = Message::query(7, "www.example.com", types::A).counts([0, 1, 0, 0]);
        capture.udp(client, server, &query.bytes());
    }
    Truth { messages: 26, answered: 12, waiting: 2, ..Truth::default() }
}

/// Nothing, 1 byte, 11 bytes, a question that is missing, and noise; a header alone is a message.
fn not_a_message(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        let header = Message::bare(1, QUERY).bytes();
        for payload in [&b""[..], b"\0", &header[..11]] {
            capture.udp(&client, &server, payload);
        }
        capture.udp(&client, &server, &Message::bare(2, QUERY).counts([1, 0, 0, 0]).bytes());
        capture.udp(&client, &server, &Message::bare(3, QUERY).counts([1, 0, 0, 0]).raw(b"\x03ww").bytes());
        let no_type = Message::bare(4, QUERY).counts([1, 0, 0, 0]).raw(&name("www.example.com")).bytes();
        capture.udp(&client, &server, &no_type);
        capture.udp(&server, &client, &[0xff; 40]);
        capture.udp(&client, &server, &pattern(60)[20..]);
        capture.udp(&client, &server, &Message::bare(5, QUERY).bytes());
        capture.udp(&server, &client, &Message::bare(5, RESPONSE | 1).bytes());
    }
    Truth::all_answered(2)
}

/// An answer cut behind each of its bytes by whoever sent it: the lengths of UDP and IP are those of what is there.
fn every_cut(capture: &mut Capture) -> Truth {
    let mut truth = Truth::default();
    for (client, server) in both(40_000) {
        let whole = Message::response(9, "w.example", types::A).address(types::A).opt(1_232, 0, b"").bytes();
        // The question ends at 12 + 11 + 4.
        let question_end = 27;
        for length in 0..=whole.len() {
            let from = Endpoint { port: 41_000 + length as u16, ..client };
            capture.udp(&from, &server, &Message::query(9, "w.example", types::A).bytes());
            capture.frame(packet::udp(&server, &from, &whole[..length]));
            truth.messages += 1;
            if length >= question_end {
                truth.messages += 1;
                truth.answered += 1;
            } else {
                truth.waiting += 1;
            }
        }
    }
    truth
}
