//! Names that are legal on the wire and awkward in text, names at their limits, and compression good and bad
//! (RFC 1035 sections 2.3.4 and 4.1.4).

use super::capture::{Capture, both};
use super::message::{Message, QNAME, QUERY, RESPONSE, Section, labels, name, types};
use super::{Case, Truth, small};

pub(super) const CASES: [Case; 5] = [
    small("name-octets", octets),
    small("name-limits", limits),
    small("name-too-long", too_long),
    small("compression", compression),
    small("compression-loops", loops),
];

/// Asks for each name and repeats it in the answer, which has one address.
fn lookups(capture: &mut Capture, names: &[Vec<u8>]) -> Truth {
    for (client, server) in both(40_000) {
        for (id, name) in (1..).zip(names) {
            capture.udp(&client, &server, &Message::bare(id, QUERY).question(name, types::A).bytes());
            let response = Message::bare(id, RESPONSE).question(name, types::A).address(types::A);
            capture.udp(&server, &client, &response.bytes());
        }
    }
    Truth::all_answered(2 * names.len() as u64)
}

/// Dots, zero bytes, spaces, quotes, backslashes, digits behind them, UTF-8 and what is no text at all.
fn octets(capture: &mut Capture) -> Truth {
    let names: [&[&[u8]]; 12] = [
        &[b"a.b", b"example"],
        &[b"a", b"b", b"example"],
        &[b"nul\0inside", b"example"],
        &[b"\0"],
        &[b" ", b"\t\r\n", b"example"],
        &[b"\"quoted\"", b"example"],
        &[b"back\\slash", b"\\046", b"example"],
        &[b"\\.", b"..", b"example"],
        &["münchen".as_bytes(), b"example"],
        &[b"\xff\xfe\x80\x7f\x1b[2J", b"example"],
        &[b"_dns", b"*", b"example"],
        &[b"@$;()", b"example"],
    ];
    lookups(capture, &names.map(labels))
}

/// The root, 63 octets in a label, 127 labels, 255 octets in all.
fn limits(capture: &mut Capture) -> Truth {
    let long = [b'l'; 63];
    let names: [Vec<u8>; 5] = [
        labels(&[]),
        labels(&[&long, b"example"]),
        labels(&[b"x".as_slice(); 127]),
        // 3 * 64 + 62 + 1 = 255.
        labels(&[&long, &long, &long, &long[..61]]),
        labels(&[&long, &long, &long, &long[..60]]),
    ];
    lookups(capture, &names)
}

/// 256 octets, 128 labels, and the two kinds of label that are no longer used: no legal question.
fn too_long(capture: &mut Capture) -> Truth {
    let long = [b'l'; 63];
    let names: [Vec<u8>; 4] = [
        labels(&[&long, &long, &long, &long[..62]]),
        labels(&[b"x".as_slice(); 128]),
        b"\x41\x01extended\0".to_vec(),
        b"\x80reserved\0".to_vec(),
    ];
    lookups(capture, &names);
    Truth::default()
}

/// Everything that may be compressed is, also within data; pointers to pointers, and a pointer in a question.
fn compression(capture: &mut Capture) -> Truth {
    // The question stands at 12: www 12, example 16, com 24, root 28.
    let (example, com) = ([0xc0, 16], [0xc0, 24]);
    for (client, server) in both(40_000) {
        capture.udp(&client, &server, &Message::query(1, "www.example.com", types::A).bytes());
        // The first record's data begin at 45: a CNAME cdn.example.com there.
        let chain = Message::response(1, "www.example.com", types::A)
            .answer(types::CNAME, &[b"\x03cdn", &example[..]].concat())
            .record(Section::Answer, &[0xc0, 45], types::CNAME, &[b"\x04edge\x03net", &com[..]].concat())
            .record(Section::Answer, &[0xc0, 63], types::A, &[203, 0, 113, 1])
            .record(Section::Authority, &example, types::NS, &[b"\x02ns", &example[..]].concat())
            .record(Section::Authority, &[0xc0, 45], types::NS, &[0xc0, 45]);
        capture.udp(&server, &client, &chain.bytes());
        capture.udp(&client, &server, &Message::query(2, "www.example.com", types::A).bytes());
        let soa = [b"\x02ns", &example[..], b"\x0ahostmaster", &example[..], &[0; 20]].concat();
        let negative = Message::response(2, "www.example.com", types::A)
            .record(Section::Authority, &example, types::SOA, &soa)
            .flags(RESPONSE | 3);
        capture.udp(&server, &client, &negative.bytes());
        // The second question's name ends in the first one's.
        let two = |flags| {
            Message::bare(3, flags)
                .question(&name("www.example.com"), types::A)
                .question(&[b"\x03ftp", &example[..]].concat(), types::A)
        };
        capture.udp(&client, &server, &two(QUERY).bytes());
        capture.udp(&server, &client, &two(RESPONSE).answer(types::A, &[203, 0, 113, 1]).bytes());
    }
    Truth::all_answered(6)
}

/// Pointers to themselves, to each other, forward, into the header, behind the end: in questions, where they make the
/// message unreadable, and in records, where they do not hide which query it answers. The one into the header leads to a
/// zero byte, and still to no name: none stands there.
fn loops(capture: &mut Capture) -> Truth {
    let questions: [&[u8]; 6] =
        [&[0xc0, 12], &[0xc0, 14], &[3, b'w', b'w', b'w', 0xc0, 12], &[0xc0, 0], &[0xff, 0xff], &[0xc0]];
    // The first record stands at 33.
    let owners: [&[u8]; 6] =
        [&[0xc0, 33], &[0xc0, 35], &[1, b'x', 0xc0, 33], &[0xc0, 60], &[0xff, 0xff], &[0xc0, 12, 0xc0, 12]];
    for (client, server) in both(40_000) {
        for (id, question) in (1..).zip(questions) {
            capture.udp(&client, &server, &Message::bare(id, QUERY).question(question, types::A).bytes());
            capture.udp(&server, &client, &Message::bare(id, RESPONSE).question(question, types::A).bytes());
        }
        for (id, owner) in (21..).zip(owners) {
            capture.udp(&client, &server, &Message::query(id, "www.example.com", types::A).bytes());
            let response = Message::response(id, "www.example.com", types::A);
            capture.udp(
                &server,
                &client,
                &response.record(Section::Answer, owner, types::A, &[203, 0, 113, 1]).bytes(),
            );
        }
        // In the data: 33 + 12 is where they begin.
        capture.udp(&client, &server, &Message::query(31, "www.example.com", types::CNAME).bytes());
        let response =
            Message::response(31, "www.example.com", types::CNAME).answer(types::CNAME, &[0xc0, 45]);
        capture.udp(&server, &client, &response.bytes());
        capture.udp(&client, &server, &Message::query(32, "www.example.com", types::CNAME).bytes());
        let response = Message::response(32, "www.example.com", types::CNAME).answer(types::CNAME, QNAME);
        capture.udp(&server, &client, &response.bytes());
    }
    Truth::all_answered(16)
}
