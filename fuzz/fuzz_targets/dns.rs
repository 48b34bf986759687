//! Any bytes as a DNS message: nothing panics, and everything that is printed of it is printable.
//!
//! The input is two bytes that say how much longer the message is than what was seen of it, and then the message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nslookout::dns::{self, Message, Section, class_name};
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
    for option in message.options() {
        assert_printable(option.name().unwrap_or_default());
    }
    if let Some(defect) = message.defect() {
        assert_printable(&defect.to_string());
    }
    let Message::Response(response) = message else { return };
    for (number, section) in
        [Section::Answer, Section::Authority, Section::Additional].into_iter().enumerate()
    {
        let mut records = 0;
        for record in response.section(section) {
            let class = class_name(record.class);
            assert_printable(&format!("{} {class} {} {}", record.name, record.record_type, record.data()));
            records += 1;
        }
        assert!(records <= response.header.counts[1 + number]);
    }
    assert_printable(&response.rcode.to_string());
    let _ = response.is_nodata();
}
