//! Inputs that broke something once, as the fuzzer left them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

use nslookout::dns::{self, Message};

/// An OPT record may stand in the answer section, where nobody expects one: printing it panicked.
#[test]
fn an_opt_record_among_the_answers_is_printed() {
    let message = b"\x76\x8b\x85\x80\x00\x01\x01\x00\x00\x00\x69\x67\x04\x74\x65\x73\x74\x00\x00\x10\
        \x00\x01\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x0c\x00\x0a\x00\x00\x01\x00\x00\
        \x00\x00\x00\x00\x03\x00\x01\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00\x00\x00\x00\
        \x65\x78\x61\x6d\x70\x04\x74\x65\x6c\x65\x73\x74\x00\x00\x01\x00\x01\xc0\x0c\x00\
        \x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\xd2\x02\x51";
    let Message::Response(response) = dns::parse_despite_records(message).unwrap() else { panic!("a query") };
    let lines: Vec<String> =
        response.answers().map(|answer| format!("{} {}", answer.record_type, answer.data())).collect();
    assert!(
        lines.iter().flat_map(|line| line.bytes()).all(|octet| (b' '..=b'~').contains(&octet)),
        "{lines:?}"
    );
}
