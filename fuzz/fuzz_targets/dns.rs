//! Any bytes as a DNS message: nothing panics, and everything that is printed of it is printable.
//!
//! The input is two bytes that say how much longer the message is than what was seen of it, and then the message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nslookout::dns::{self, Message};
use nslookout_fuzz::assert_printable;

fuzz_target!(|data: &[u8]| {
    let Some((more, bytes)) = data.split_first_chunk::<2>() else { return };
    let length = bytes.len() + usize::from(u16::from_be_bytes(*more));
    for parsed in [dns::parse(bytes, length), dns::parse_despite_records(bytes)] {
        match parsed {
            Ok(message) => show(&message),
            Err(error) => assert_printable(&error.to_string()),
        }
    }
});

fn show(message: &Message) {
    if let Some(question) = message.question() {
        assert_printable(&format!("{} {} {}", question.qname, question.qtype, question.qclass));
    }
    let Message::Response(response) = message else { return };
    for answer in &response.answers {
        assert_printable(&format!("{} {} {}", answer.name, answer.record_type, answer.data()));
    }
    assert_printable(&response.rcode.to_string());
    // A message of 64 KiB cannot hold more records than this: each has an owner of a byte and ten bytes of numbers.
    assert!(response.answers.len() <= 0x1_0000 / 11);
    let _ = response.is_nodata();
}
