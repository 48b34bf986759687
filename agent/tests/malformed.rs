//! Illegal messages as the user sees them: counted by kind, shown by `-v`, and no harm to what stands around them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

use jiff::tz::TimeZone;
use nslookout::capture::frame::{Frame, LinkType, Timestamp};
use nslookout::engine::{Engine, EngineConfig};
use nslookout::export::names::Names;
use nslookout::export::summary::{SourceReport, summary};
use nslookout::export::text::{Lines, Style};

/// `a.test`, type A.
const QUESTION: &[u8] = b"\x01a\x04test\0\0\x01\0\x01";
/// An answer to it.
const ANSWER: &[u8] = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01";

fn message(id: u16, flags: u16, counts: [u16; 4], parts: &[&[u8]]) -> Vec<u8> {
    let words = [id, flags].into_iter().chain(counts).flat_map(u16::to_be_bytes);
    words.chain(parts.concat()).collect()
}

/// A bare IPv4 packet between a client's port 4000 and a server's 53.
fn packet(to_server: bool, payload: &[u8]) -> Vec<u8> {
    let length = (28 + payload.len()) as u16;
    let (client, server) = ([10, 0, 0, 1], [10, 0, 0, 53]);
    let mut bytes = [&[0x45, 0][..], &length.to_be_bytes(), &[0, 0, 0, 0, 64, 17, 0, 0]].concat();
    let ports: [u16; 2] = if to_server { [4000, 53] } else { [53, 4000] };
    bytes.extend(if to_server { [client, server] } else { [server, client] }.concat());
    bytes.extend(ports.into_iter().chain([length - 20, 0]).flat_map(u16::to_be_bytes));
    bytes.extend(payload);
    bytes
}

/// The lines of `-v` and the summary, for queries and responses a millisecond apart.
fn seen(messages: &[(bool, Vec<u8>)]) -> (Vec<String>, String) {
    let config = EngineConfig { ports: [53].into_iter().collect(), ..EngineConfig::default() };
    let style = Style { verbose: true, colour: false, name_width: 8, zone: TimeZone::UTC };
    let (mut engine, lines) = (Engine::new(config), Lines::new(style, false));
    let mut told = Vec::new();
    let mut tell = |report: nslookout::engine::Report<'_>| {
        told.extend(lines.line(&report, &Names::default()));
    };
    for (millis, (to_server, payload)) in (0..).zip(messages) {
        let bytes = packet(*to_server, payload);
        let frame = Frame {
            time: Timestamp::from_nanos(millis * 1_000_000),
            place: None,
            link_type: LinkType::RawIp,
            original_length: bytes.len() as u32,
            vlan: None,
            bytes: &bytes,
        };
        engine.frame(&frame, &mut tell);
    }
    engine.finish(engine.latest(), &mut tell);
    let source = SourceReport { name: "test", counters: None, trouble: &[] };
    let summary = summary(engine.tally(), None, &source, &TimeZone::UTC);
    (told, summary)
}

#[test]
fn an_illegal_message_is_told_counted_and_matched() {
    let query = |id| (true, message(id, 0x0100, [1, 0, 0, 0], &[QUESTION]));
    let answer = |id, counts, parts: &[&[u8]]| (false, message(id, 0x8180, counts, parts));
    let (lines, summary) = seen(&[
        query(1),
        query(2),
        answer(1, [1, 1, 0, 0], &[QUESTION, &ANSWER[..14]]),
        answer(2, [1, 1, 0, 0], &[QUESTION, ANSWER]),
        query(3),
        answer(3, [1, 1, 0, 0], &[QUESTION, ANSWER, b"\0"]),
        answer(4, [1, 0, 0, 0], &[b"\xc0\x0c\0\x01\0\x01"]),
        query(5),
        answer(5, [1, 1, 0, 0], &[QUESTION, &ANSWER[..12]]),
        (true, vec![0; 11]),
    ]);
    let bad =
        |time: &str, what: &str| format!("00:00:00.{time}  10.0.0.53:53 > 10.0.0.1:4000 MALFORMED {what}");
    let good = |time: &str, ms: &str, answer: &str, rest: &str| {
        format!("00:00:00.{time}  10.0.0.1        A     a.test   10.0.0.53       {answer:<9} {ms:>6}  {rest}")
    };
    let expected = [
        bad("002", "a record ends early, id 1 A a.test."),
        good("002", "2.0", "ok", "id 1 24B rd > 38B rd,ra 1/0/0 partial"),
        good("003", "2.0", "ok", "192.0.2.1  id 2 24B rd > 40B rd,ra 1/0/0"),
        bad("005", "bytes behind the last record, id 3 A a.test."),
        good("005", "1.0", "ok", "192.0.2.1  id 3 24B rd > 41B rd,ra 1/0/0"),
        bad("006", "a compression pointer does not lead to an earlier name"),
        bad("008", "a record ends early, id 5 A a.test."),
        good("008", "1.0", "ok", "id 5 24B rd > 36B rd,ra 1/0/0 partial"),
        "00:00:00.009  10.0.0.1:4000 > 10.0.0.53:53 MALFORMED shorter than a DNS header".into(),
    ];
    assert_eq!(lines, expected, "{}", lines.join("\n"));
    let kinds = "record_cut 2, short_header 1, name_pointer 1, trailing_bytes 1";
    let counted = format!("malformed packets (-v shows them): 5 ({kinds})\n");
    assert!(summary.contains(&counted), "{summary}");
    assert!(summary.contains(" 4 queries  4 answered  0 no answer\n"), "{summary}");
}

#[test]
fn what_is_no_plain_query_says_so() {
    let chaos = b"\x07version\x04bind\0\0\x10\0\x03";
    let text = b"\xc0\x0c\0\x10\0\x03\0\0\0\0\0\x04\x03a\"b";
    // NSID without data; the error "network error" with a text.
    let options = |data: &[u8]| {
        let length = (data.len() as u16).to_be_bytes();
        [b"\0\0\x29\x04\xd0\0\0\0\0", &length[..], data].concat()
    };
    let (lines, summary) = seen(&[
        (true, message(1, 0x0000, [1, 0, 0, 1], &[chaos, &options(b"\0\x03\0\0")])),
        (false, message(1, 0x8400, [1, 1, 0, 1], &[chaos, text, &options(b"\0\x0f\0\x04\0\x17hi")])),
        (true, message(2, 0x2400, [1, 0, 0, 0], &[QUESTION])),
        (false, message(2, 0xa400, [1, 0, 0, 0], &[QUESTION])),
    ]);
    let expected = [
        "00:00:00.001  10.0.0.1        TXT   version.bind 10.0.0.53       ok           1.0  \"a\\\"b\"  id 1 45B edns \
         1232 nsid - class CH > 65B edns 1232 ede 23 (Network Error) \"hi\" aa 1/0/1",
        "00:00:00.003  10.0.0.1        A     a.test   10.0.0.53       ok           1.0  id 2 24B NOTIFY aa > 24B \
         NOTIFY aa 0/0/0",
    ];
    assert_eq!(lines, expected, "{}", lines.join("\n"));
    assert!(!summary.contains("malformed"), "{summary}");
}
