//! The OPT record and what it carries (RFC 6891), and records that old readers do not know.

use super::capture::{Capture, both};
use super::message::{Message, RESPONSE, Section, name, option, types};
use super::{Case, Truth, small};

pub(super) const CASES: [Case; 5] = [
    small("edns-options", options),
    small("edns-extended-rcodes", extended_rcodes),
    small("edns-headers", headers),
    small("edns-twice", twice),
    small("service-binding", service_binding),
];

const SUBNET: u16 = 8;
const COOKIE: u16 = 10;
const KEEPALIVE: u16 = 11;
const EXTENDED_ERROR: u16 = 15;
/// For experiments (RFC 6891 section 9).
const UNKNOWN: u16 = 65_001;

/// Cookies (RFC 7873), client subnet (RFC 7871), extended errors (RFC 8914), unknown ones, one, several and the same twice.
fn options(capture: &mut Capture) -> Truth {
    let cookie = option(COOKIE, &[1, 2, 3, 4, 5, 6, 7, 8]);
    let cookies = option(COOKIE, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
    let subnet4 = option(SUBNET, &[0, 1, 24, 0, 203, 0, 113]);
    let subnet6 = option(SUBNET, &[0, 2, 56, 0, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0]);
    let error = option(EXTENDED_ERROR, b"\0\x16no reachable authority");
    let bare_error = option(EXTENDED_ERROR, &[0, 3]);
    let sets = [
        (cookie.clone(), cookies.clone()),
        (subnet4.clone(), subnet4.clone()),
        (subnet6.clone(), subnet6),
        (Vec::new(), error.clone()),
        (Vec::new(), [bare_error.clone(), error].concat()),
        (option(UNKNOWN, b"\xff\0."), option(UNKNOWN, b"")),
        (
            [cookie, subnet4, option(KEEPALIVE, b"")].concat(),
            [cookies, option(UNKNOWN, b"x"), bare_error].concat(),
        ),
    ];
    for (client, server) in both(40_000) {
        for (id, (asked, told)) in (1..).zip(&sets) {
            let query = Message::query(id, "www.example.com", types::A).opt(1_232, 0, asked);
            capture.udp(&client, &server, &query.bytes());
            let response = Message::response(id, "www.example.com", types::A).opt(1_232, 0, told);
            capture.udp(&server, &client, &response.flags(RESPONSE | 2).bytes());
        }
    }
    Truth::all_answered(14)
}

/// BADVERS is 16, BADCOOKIE 23; 3841 has bits in both parts.
fn extended_rcodes(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        for (id, rcode) in [(1, 16_u16), (2, 23), (3, 3_841), (4, 3)] {
            // Version 1 is what BADVERS answers.
            let version = if rcode == 16 { 0x0001_0000 } else { 0 };
            let query = Message::query(id, "www.example.com", types::A).opt(1_232, version, b"");
            capture.udp(&client, &server, &query.bytes());
            let response = Message::response(id, "www.example.com", types::A);
            let response =
                response.opt(1_232, u32::from(rcode >> 4) << 24, b"").flags(RESPONSE | rcode & 0xf);
            capture.udp(&server, &client, &response.bytes());
        }
    }
    Truth::all_answered(8)
}

/// Sizes of 0, 511, 512 and 65,535; DO; an OPT record between other additional records.
fn headers(capture: &mut Capture) -> Truth {
    const DO: u32 = 0x8000;
    let sizes = [(0, 0), (511, 0), (512, DO), (65_535, DO), (4_096, 0xffff)];
    for (client, server) in both(40_000) {
        for (id, (size, ttl)) in (1..).zip(sizes) {
            let query = Message::query(id, "www.example.com", types::A).opt(size, ttl, b"");
            capture.udp(&client, &server, &query.bytes());
            let glue = |message: Message, host| {
                message.record(Section::Additional, &name("ns.example.com"), types::A, &[203, 0, 113, host])
            };
            let response = Message::response(id, "www.example.com", types::A).address(types::A);
            let response = glue(glue(response, 2).opt(1_232, ttl, b""), 3);
            capture.udp(&server, &client, &response.bytes());
        }
    }
    Truth::all_answered(10)
}

/// Two OPT records are FORMERR (RFC 6891 section 6.1.1): the message is still one, and the first record counts.
fn twice(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        let query = Message::query(1, "www.example.com", types::A).opt(1_232, 0, b"").opt(4_096, 0x8000, b"");
        capture.udp(&client, &server, &query.bytes());
        let response = Message::response(1, "www.example.com", types::A).opt(1_232, 0, b"");
        capture.udp(&server, &client, &response.flags(RESPONSE | 1).bytes());
    }
    Truth::all_answered(2)
}

/// HTTPS and SVCB (RFC 9460): alias form, parameters of all kinds, an unknown one.
fn service_binding(capture: &mut Capture) -> Truth {
    let alias = [&[0, 0][..], &name("svc.example.com")].concat();
    let parameters: [(u16, &[u8]); 7] = [
        (0, &[0, 1]),
        (1, b"\x02h3\x02h2"),
        (2, b""),
        (3, &[0x01, 0xbb]),
        (4, &[203, 0, 113, 1]),
        (6, b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"),
        (65_280, b"any\0thing"),
    ];
    let service = [
        1_u16.to_be_bytes().to_vec(),
        vec![0],
        parameters.iter().flat_map(|(key, value)| option(*key, value)).collect(),
    ]
    .concat();
    for (client, server) in both(40_000) {
        for (id, qtype, rdata) in
            [(1, types::HTTPS, &alias), (2, types::HTTPS, &service), (3, types::SVCB, &service)]
        {
            capture.udp(&client, &server, &Message::query(id, "www.example.com", qtype).bytes());
            let response = Message::response(id, "www.example.com", qtype).answer(qtype, rdata);
            capture.udp(&server, &client, &response.bytes());
        }
    }
    Truth::all_answered(6)
}
