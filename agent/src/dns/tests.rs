//! Messages built octet by octet, legal and not.

use super::*;

/// A name on the wire, from its labels.
pub(crate) fn name(labels: &[&[u8]]) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in labels {
        wire.push(label.len() as u8);
        wire.extend_from_slice(label);
    }
    wire.push(0);
    wire
}

/// `a.test` on the wire.
pub(crate) fn dotted(text: &str) -> Vec<u8> {
    name(&text.split_terminator('.').map(str::as_bytes).collect::<Vec<_>>())
}

/// A header and whatever stands behind it.
pub(crate) fn message(id: u16, flags: u16, counts: [u16; 4], parts: &[Vec<u8>]) -> Vec<u8> {
    let mut wire = Vec::new();
    for word in [id, flags].into_iter().chain(counts) {
        wire.extend_from_slice(&word.to_be_bytes());
    }
    parts.iter().for_each(|part| wire.extend_from_slice(part));
    wire
}

/// An entry of the question section, class IN.
pub(crate) fn question(qname: Vec<u8>, qtype: u16) -> Vec<u8> {
    [qname, qtype.to_be_bytes().to_vec(), vec![0, 1]].concat()
}

/// A resource record.
fn record(owner: Vec<u8>, record_type: u16, class: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let length = data.len() as u16;
    [
        owner,
        record_type.to_be_bytes().to_vec(),
        class.to_be_bytes().to_vec(),
        ttl.to_be_bytes().to_vec(),
        length.to_be_bytes().to_vec(),
        data.to_vec(),
    ]
    .concat()
}

/// Points at the name of the first question.
fn pointer() -> Vec<u8> {
    vec![0xc0, 12]
}

fn opt(size: u16, ttl: u32) -> Vec<u8> {
    record(vec![0], 41, size, ttl, &[])
}

fn response(wire: &[u8]) -> Response {
    match parse(wire, wire.len()) {
        Ok(Message::Response(response)) => response,
        other => panic!("{other:?}"),
    }
}

fn query(wire: &[u8]) -> Query {
    match parse(wire, wire.len()) {
        Ok(Message::Query(query)) => query,
        other => panic!("{other:?}"),
    }
}

/// What is said of a message in one line.
fn check(wire: &[u8], length: usize, expected: &str) {
    let text = match parse(wire, length) {
        Err(error) => error.to_string(),
        Ok(message) => {
            let (kind, question, edns, rest) = match &message {
                Message::Query(query) => ("query", &query.question, query.edns, String::new()),
                Message::Response(response) => {
                    let answers: Vec<String> = response
                        .answers
                        .iter()
                        .map(|answer| format!(" {} {}", answer.record_type, answer.data()))
                        .collect();
                    let kind = if response.is_nodata() { "nodata" } else { "response" };
                    let partial = if response.partial { " partial" } else { "" };
                    let rest = format!(" {}{}{partial}", response.rcode, answers.concat());
                    (kind, &response.question, response.edns, rest)
                }
            };
            let question = question
                .as_ref()
                .map_or("-".into(), |question| format!("{} {}", question.qtype, question.qname));
            let edns = edns.map_or(String::new(), |edns| {
                format!(" edns {} v{} do {}", edns.udp_payload_size, edns.version, edns.dnssec_ok)
            });
            format!("{kind} {question}{edns}{rest}")
        }
    };
    assert_eq!(text, expected, "{wire:02x?}");
}

#[test]
fn queries_are_read() {
    let a = question(dotted("a.test"), 1);
    check(&message(7, 0x0100, [1, 0, 0, 0], std::slice::from_ref(&a)), 24, "query A a.test.");
    let wire = message(7, 0x0100, [1, 0, 0, 1], &[a.clone(), opt(1232, 0x8000)]);
    check(&wire, wire.len(), "query A a.test. edns 1232 v0 do true");
    let wire = message(7, 0x0100, [1, 0, 0, 0], &[question(vec![0], 2)]);
    check(&wire, wire.len(), "query NS .");
    let wire = message(7, 0x0100, [2, 0, 0, 0], &[a, question(dotted("b.test"), 28)]);
    check(&wire, wire.len(), "query A a.test.");
    check(&message(7, 0x0100, [0, 0, 0, 0], &[]), 12, "query -");
    let wire = message(7, 0x0100, [1, 0, 0, 0], &[question(dotted("a.test"), 12345)]);
    check(&wire, wire.len(), "query TYPE12345 a.test.");
}

#[test]
fn types_bear_their_mnemonic_or_number() {
    let names = [
        (1, "A"),
        (28, "AAAA"),
        (64, "SVCB"),
        (65, "HTTPS"),
        (255, "ANY"),
        (0, "TYPE0"),
        (999, "TYPE999"),
        (65535, "TYPE65535"),
    ];
    for (number, name) in names {
        assert_eq!(RecordType(number).to_string(), name);
    }
}

#[test]
fn the_udp_limit_is_that_of_edns_and_never_below_512() {
    for (size, limit) in
        [(None, 512), (Some(0), 512), (Some(511), 512), (Some(1232), 1232), (Some(65535), 65535)]
    {
        let a = question(dotted("a.test"), 1);
        let wire = match size {
            None => message(7, 0x0100, [1, 0, 0, 0], &[a]),
            Some(size) => message(7, 0x0100, [1, 0, 0, 1], &[a, opt(size, 0)]),
        };
        assert_eq!(query(&wire).udp_limit(), limit, "{size:?}");
    }
}

#[test]
fn the_response_code_is_extended_by_edns() {
    let names = [
        (0, "NOERROR"),
        (2, "SERVFAIL"),
        (3, "NXDOMAIN"),
        (5, "REFUSED"),
        (11, "DSOTYPENI"),
        (12, "RCODE12"),
    ];
    for (code, name) in names {
        let wire = message(7, 0x8180 | code, [1, 0, 0, 0], &[question(dotted("a.test"), 255)]);
        check(&wire, wire.len(), &format!("response ANY a.test. {name}"));
    }
    let a = question(dotted("a.test"), 1);
    for (low, high, name) in [(0, 1, "BADVERS"), (7, 1, "BADCOOKIE"), (1, 0xff, "RCODE4081")] {
        let wire = message(7, 0x8180 | low, [1, 0, 0, 1], &[a.clone(), opt(1232, high << 24 | 1 << 16)]);
        check(&wire, wire.len(), &format!("response A a.test. edns 1232 v1 do false {name}"));
    }
}

#[test]
#[expect(clippy::type_complexity, reason = "a table of cases")]
fn the_end_of_the_chain_tells_nodata() {
    let ask = |qtype| question(dotted("a.test"), qtype);
    let cname = record(pointer(), 5, 1, 60, &dotted("b.test"));
    let a = record(dotted("b.test"), 1, 1, 60, &[192, 0, 2, 1]);
    let soa = record(dotted("test"), 6, 1, 60, &[dotted("ns.test"), dotted("h.test"), vec![0; 20]].concat());
    let ns = record(dotted("test"), 2, 1, 60, &dotted("ns.test"));
    let cases: [(u16, u16, [u16; 4], &[Vec<u8>], &str); 9] = [
        (
            0x8180,
            1,
            [1, 2, 0, 0],
            &[cname.clone(), a.clone()],
            "response A a.test. NOERROR CNAME b.test. A 192.0.2.1",
        ),
        // The order of a chain's records is not guaranteed.
        (
            0x8180,
            1,
            [1, 2, 0, 0],
            &[a.clone(), cname.clone()],
            "response A a.test. NOERROR A 192.0.2.1 CNAME b.test.",
        ),
        (
            0x8180,
            28,
            [1, 1, 1, 0],
            &[cname.clone(), soa.clone()],
            "nodata AAAA a.test. NOERROR CNAME b.test.",
        ),
        (0x8180, 28, [1, 0, 1, 0], std::slice::from_ref(&soa), "nodata AAAA a.test. NOERROR"),
        (0x8180, 28, [1, 0, 0, 0], &[], "nodata AAAA a.test. NOERROR"),
        // A referral looks alike.
        (0x8100, 28, [1, 0, 1, 0], std::slice::from_ref(&ns), "nodata AAAA a.test. NOERROR"),
        (
            0x8180,
            5,
            [1, 1, 0, 0],
            std::slice::from_ref(&cname),
            "response CNAME a.test. NOERROR CNAME b.test.",
        ),
        (0x8183, 28, [1, 0, 1, 0], std::slice::from_ref(&soa), "response AAAA a.test. NXDOMAIN"),
        (0x8380, 28, [1, 0, 0, 0], &[], "response AAAA a.test. NOERROR"),
    ];
    for (flags, qtype, counts, records, expected) in cases {
        let wire = message(7, flags, counts, &[vec![ask(qtype)], records.to_vec()].concat());
        check(&wire, wire.len(), expected);
    }
    let soa = response(&message(7, 0x8180, [1, 0, 1, 0], &[ask(28), soa]));
    let ns = response(&message(7, 0x8180, [1, 0, 1, 0], &[ask(28), ns]));
    assert!(soa.authority_soa && !ns.authority_soa);
    check(&message(7, 0x8185, [0; 4], &[]), 12, "response - REFUSED");
}

#[test]
fn no_octet_of_a_name_reaches_a_terminal_as_it_is() {
    let cases: [(&[&[u8]], &str); 7] = [
        (&[b"a.b", b"test"], "a\\.b.test."),
        (&[b"a\0b"], "a\\000b."),
        (&[b"\x1b[31m\x07 \x7f"], "\\027[31m\\007\\032\\127."),
        (&["é".as_bytes()], "\\195\\169."),
        (&[b"\"\\"], "\\\"\\\\."),
        (&[b"\x9b2J", b"\xff"], "\\1552J.\\255."),
        (&[b"_dns", b"UPPER", b"xn--e1afmkfd"], "_dns.UPPER.xn--e1afmkfd."),
    ];
    for (labels, expected) in cases {
        let wire = message(7, 0, [1, 0, 0, 0], &[question(name(labels), 1)]);
        assert_eq!(query(&wire).question.unwrap().qname.to_string(), expected);
    }
}

#[test]
fn no_octet_of_an_answer_reaches_a_terminal_as_it_is() {
    const EVIL: &[u8] = b"\x1b]0;x\x07\x9b\xff\n";
    const SHOWN: &str = "\\027]0;x\\007\\155\\255\\010";
    let evil_name = name(&[EVIL]);
    let text = [vec![EVIL.len() as u8], EVIL.to_vec()].concat();
    let data: [(u16, Vec<u8>, String); 11] = [
        (2, evil_name.clone(), format!("{SHOWN}.")),
        (5, evil_name.clone(), format!("{SHOWN}.")),
        (6, [evil_name.clone(), vec![0], vec![0; 20]].concat(), format!("{SHOWN}. . 0 0 0 0 0")),
        (12, evil_name.clone(), format!("{SHOWN}.")),
        (15, [vec![0, 10], evil_name.clone()].concat(), format!("10 {SHOWN}.")),
        (16, [text.clone(), text.clone()].concat(), format!("{SHOWN}{SHOWN}")),
        (33, [vec![0, 1, 0, 2, 0, 53], evil_name.clone()].concat(), format!("1 2 53 {SHOWN}.")),
        // The form of the others is hickory's.
        (13, [text.clone(), text].concat(), String::new()),
        (65, [vec![0, 1], evil_name, vec![0, 1, 0, 3, 2, 0x1b, 0x07]].concat(), String::new()),
        (257, [vec![0, 5], b"issue".to_vec(), EVIL.to_vec()].concat(), String::new()),
        (999, EVIL.to_vec(), String::new()),
    ];
    for (record_type, data, expected) in data {
        let answer = record(pointer(), record_type, 1, 60, &data);
        let wire = message(7, 0x8180, [1, 1, 0, 0], &[question(dotted("a.test"), record_type), answer]);
        let text = response(&wire).answers[0].data();
        assert!(text.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{record_type}: {text:?}");
        assert!(expected.is_empty() || text == expected, "{record_type}: {text}");
    }
}

#[test]
fn names_compare_without_regard_to_case_and_hash_alike() {
    let of = |text: &str| query(&message(7, 0, [1, 0, 0, 0], &[question(dotted(text), 1)])).question.unwrap();
    let hasher = std::hash::RandomState::new();
    let hash = |question: &Question| std::hash::BuildHasher::hash_one(&hasher, question);
    let (lower, mixed) = (of("www.example.test"), of("wWw.ExAmPlE.tEsT"));
    assert_eq!(lower, mixed);
    assert_eq!(hash(&lower), hash(&mixed));
    assert_eq!(mixed.qname.to_string(), "wWw.ExAmPlE.tEsT.");
    assert_ne!(lower, of("www.example.tess"));
    assert_ne!(lower, of("example.test"));
}

#[test]
fn what_is_no_message_says_why() {
    let a = question(dotted("a.test"), 1);
    let whole = message(7, 0x8180, [1, 1, 0, 0], &[a.clone(), record(pointer(), 1, 1, 60, &[192, 0, 2, 1])]);
    for length in 0..whole.len() {
        let expected = match length {
            0..12 => "shorter than a DNS header",
            12..24 => "illegal question section",
            _ => "illegal resource record",
        };
        check(&whole[..length], length, expected);
    }
    let label_of_64 = [vec![64], vec![b'x'; 64], vec![0, 0, 1, 0, 1]].concat();
    check(&message(7, 0, [1, 0, 0, 0], &[label_of_64]), 82, "illegal question section");
    let name_of_257 = question(name(&[&[b'x'; 63][..]; 4]), 1);
    let wire = message(7, 0, [1, 0, 0, 0], &[name_of_257]);
    check(&wire, wire.len(), "illegal question section");
    let short_address = record(pointer(), 1, 1, 60, &[192, 0, 2]);
    let wire = message(7, 0x8180, [1, 1, 0, 0], &[a, short_address]);
    check(&wire, wire.len(), "illegal resource record");
}

#[test]
fn of_a_message_cut_off_the_beginning_is_read() {
    let a = record(pointer(), 1, 1, 60, &[192, 0, 2, 1]);
    let whole = message(7, 0x8180, [1, 2, 0, 0], &[question(dotted("a.test"), 1), a.clone(), a]);
    let one = "response A a.test. NOERROR A 192.0.2.1 partial";
    check(&whole[..40], whole.len(), one);
    check(&whole[..41], whole.len(), one);
    check(&whole[..39], whole.len(), "response A a.test. NOERROR partial");
    check(&whole[..24], whole.len(), "response A a.test. NOERROR partial");
    check(&whole[..23], whole.len(), "illegal question section");
}

#[test]
fn compression_leads_backwards_only() {
    let ask = |qname: &[u8]| question(qname.to_vec(), 1);
    let cases: [(&str, Vec<u8>); 5] = [
        ("itself", ask(&[0xc0, 12])),
        ("forward", ask(&[0xc0, 20])),
        ("over the end", ask(&[0xff, 0xff])),
        ("a loop of two", [ask(&[1, b'a', 0xc0, 14]), vec![0xc0, 12]].concat()),
        ("half a pointer", vec![0xc0]),
    ];
    for (what, part) in cases {
        let wire = message(7, 0, [1, 0, 0, 0], &[part]);
        assert_eq!(parse(&wire, wire.len()), Err(DecodeError::Question), "{what}");
    }
    // A chain of pointers, each to the one before: 255 octets in all is the end of it.
    let mut part = ask(&dotted("a.test"));
    for step in 0..2000_u16 {
        let target = if step == 0 { 12 } else { 24 + (step - 1) * 16 };
        part.extend(
            record(vec![1, b'x', 0xc0 | (target >> 8) as u8, target as u8], 1, 1, 60, &[1, 2, 3, 4])[..16]
                .to_vec(),
        );
    }
    let wire = message(7, 0x8180, [1, 2000, 0, 0], &[part]);
    assert!(parse(&wire, wire.len()).is_err());
}
