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
pub(crate) fn record(owner: Vec<u8>, record_type: u16, class: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
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
                        .answers()
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
        (16, [text.clone(), text.clone()].concat(), format!("\"{SHOWN}\" \"{SHOWN}\"")),
        (33, [vec![0, 1, 0, 2, 0, 53], evil_name.clone()].concat(), format!("1 2 53 {SHOWN}.")),
        (13, [text.clone(), text].concat(), format!("\"{SHOWN}\" \"{SHOWN}\"")),
        (
            65,
            [vec![0, 1], evil_name, vec![0, 1, 0, 3, 2, 0x1b, 0x07]].concat(),
            format!("1 {SHOWN}. alpn=\\027\\007"),
        ),
        (257, [vec![0, 5], b"issue".to_vec(), EVIL.to_vec()].concat(), format!("0 issue \"{SHOWN}\"")),
        (999, EVIL.to_vec(), "\\# 9 1b5d303b78079bff0a".into()),
    ];
    for (record_type, data, expected) in data {
        let answer = record(pointer(), record_type, 1, 60, &data);
        let wire = message(7, 0x8180, [1, 1, 0, 0], &[question(dotted("a.test"), record_type), answer]);
        let text = response(&wire).answers().next().unwrap().data();
        assert!(text.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{record_type}: {text:?}");
        assert_eq!(text, expected, "{record_type}");
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
            12..24 => "the question section ends early",
            24 => "fewer records than the header says",
            _ => "a record ends early",
        };
        check(&whole[..length], length, expected);
    }
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
    check(&whole[..23], whole.len(), "the question section ends early");
}

/// What is wrong with a message that holds `parts`.
fn defect(flags: u16, counts: [u16; 4], parts: &[Vec<u8>]) -> Option<DecodeError> {
    let wire = message(7, flags, counts, parts);
    match parse(&wire, wire.len()) {
        Ok(message) => message.defect(),
        Err(error) => {
            // What can be read in spite of it says the same.
            if let Ok(message) = parse_despite_records(&wire) {
                assert_eq!(message.defect(), Some(error));
            }
            Some(error)
        }
    }
}

/// A response to `a.test` with one answer.
fn answered(record_type: u16, data: &[u8]) -> Option<DecodeError> {
    let parts = [question(dotted("a.test"), record_type), record(pointer(), record_type, 1, 60, data)];
    defect(0x8180, [1, 1, 0, 0], &parts)
}

/// Points at an offset.
fn pointer_to(offset: u16) -> Vec<u8> {
    (0xc000 | offset).to_be_bytes().to_vec()
}

#[test]
fn names_in_questions_are_checked() {
    use DecodeError::*;
    let label = |length: usize| vec![b'x'; length];
    let of_octets = |last: usize| name(&[&label(63), &label(63), &label(63), &label(last)]);
    let cases: [(&str, Vec<u8>, Option<DecodeError>); 14] = [
        ("the root", vec![0], None),
        ("a label of 63", name(&[&label(63)]), None),
        ("255 octets", of_octets(61), None),
        ("256 octets", of_octets(62), Some(NameTooLong)),
        ("127 labels of one octet", name(&[&b"x"[..]; 127]), None),
        ("128 labels of one octet", name(&[&b"x"[..]; 128]), Some(NameTooLong)),
        ("a label of 64", [vec![64], label(64), vec![0]].concat(), Some(LabelType)),
        ("a label of type 10", [vec![0x80], label(3), vec![0]].concat(), Some(LabelType)),
        ("dots, zeros and other octets", name(&[b"a.b", b"\0\0", "\u{e9}".as_bytes(), &[0xff; 63]]), None),
        ("itself", pointer_to(12), Some(NamePointer)),
        ("itself behind a label", [vec![1, b'a'], pointer_to(12)].concat(), Some(NamePointer)),
        ("forward", pointer_to(14), Some(NamePointer)),
        ("over the end", pointer_to(0x3fff), Some(NamePointer)),
        ("into the header", pointer_to(4), Some(NamePointer)),
    ];
    for (what, qname, expected) in cases {
        assert_eq!(defect(0, [1, 0, 0, 0], &[question(qname, 1)]), expected, "{what}");
    }
    assert_eq!(defect(0, [1, 0, 0, 0], &[vec![0xc0]]), Some(QuestionCut), "half a pointer");
}

#[test]
fn compression_is_followed_wherever_it_is_legal() {
    // The question takes 12..24; the CNAME's data stand at 36.
    let ask = question(dotted("a.test"), 1);
    let cname = |data: &[u8]| record(pointer(), 5, 1, 60, data);
    let owner = |owner: Vec<u8>| record(owner, 1, 1, 60, &[192, 0, 2, 1]);
    let with = |data: &[u8], second: Vec<u8>| {
        let wire = message(7, 0x8180, [1, 2, 0, 0], &[ask.clone(), cname(data), owner(second)]);
        match parse(&wire, wire.len()) {
            Ok(Message::Response(response)) => {
                let answers: Vec<_> = response.answers().collect();
                Ok(format!("{} {}", answers[0].data(), answers[1].name))
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        }
    };
    let b_test = [vec![1, b'b'], pointer_to(14)].concat();
    let told = |text: &str| Ok(text.to_owned());
    // Into the data of an earlier record, there by a pointer into the question.
    assert_eq!(with(&b_test, pointer_to(36)), told("b.test. b.test."));
    assert_eq!(with(&b_test, [vec![1, b'c'], pointer_to(36)].concat()), told("b.test. c.b.test."));
    // To a pointer; to the question's root; case is kept.
    assert_eq!(with(&b_test, pointer_to(38)), told("b.test. test."));
    assert_eq!(with(&[0], pointer_to(19)), told(". ."));
    assert_eq!(with(&[1, b'B', 0xc0, 14], pointer_to(36)), told("B.test. B.test."));
    assert_eq!(with(&pointer_to(36), pointer()), Err(DecodeError::NamePointer));
    assert_eq!(with(&[1, b'b', 0xc0, 36], pointer()), Err(DecodeError::NamePointer));
    // What is pointed at runs into the labels that point at it.
    assert_eq!(with(&[3, b'b', 0xc0, 36], pointer()), Err(DecodeError::Rdata));
    assert_eq!(with(&[2, 1, b'b', 1, b'c', 0xc0, 37], pointer()), Err(DecodeError::NamePointer));
}

/// A chain of pointers, each to the one before, from a server that points at the latest occurrence.
#[test]
fn chains_of_pointers_have_an_end() {
    let chain = |links: u16, label: &[u8]| {
        let mut wire = message(7, 0x8180, [1, links, 0, 0], &[question(dotted("a.test"), 1)]);
        let mut target = 12;
        for _ in 0..links {
            let at = wire.len() as u16;
            wire.extend(record([label, &pointer_to(target)].concat(), 1, 1, 60, &[1, 2, 3, 4]));
            target = at;
        }
        parse(&wire, wire.len()).map(drop)
    };
    assert_eq!(chain(123, b"\x01x"), Ok(()));
    assert_eq!(chain(124, b"\x01x"), Err(DecodeError::NameTooLong));
    assert_eq!(chain(128, b""), Ok(()));
    assert_eq!(chain(129, b""), Err(DecodeError::NamePointer));
}

#[test]
fn data_fit_their_type_where_that_is_cheap_to_see() {
    use DecodeError::*;
    let b = dotted("b.test");
    let cases: [(&str, u16, Vec<u8>, Option<DecodeError>); 22] = [
        ("A", 1, vec![0; 4], None),
        ("A of 3", 1, vec![0; 3], Some(Rdata)),
        ("A of 5", 1, vec![0; 5], Some(Rdata)),
        ("A of 0", 1, vec![], Some(Rdata)),
        ("AAAA", 28, vec![0; 16], None),
        ("AAAA of 4", 28, vec![0; 4], Some(Rdata)),
        ("CNAME", 5, b.clone(), None),
        ("CNAME cut", 5, b[..4].to_vec(), Some(Rdata)),
        ("CNAME and more", 5, [&b[..], &[0]].concat(), Some(Rdata)),
        ("CNAME forward", 5, pointer_to(80), Some(NamePointer)),
        ("DNAME", 39, b.clone(), None),
        ("NS of a reserved label", 2, vec![0x41, 0], Some(LabelType)),
        ("PTR", 12, vec![0], None),
        ("MX", 15, [&[0, 10], &b[..]].concat(), None),
        ("MX cut", 15, vec![0], Some(Rdata)),
        ("SRV", 33, [&[0; 6], &b[..]].concat(), None),
        ("SOA", 6, [&b[..], &b[..], &[0; 20]].concat(), None),
        ("SOA of 19", 6, [&b[..], &b[..], &[0; 19]].concat(), Some(Rdata)),
        ("TXT", 16, b"\x00\x02ab".to_vec(), None),
        ("TXT cut", 16, b"\x03ab".to_vec(), Some(Rdata)),
        // What is not looked into is shown as it is.
        ("HTTPS", 65, vec![0], None),
        ("NULL", 10, vec![], None),
    ];
    for (what, record_type, data, expected) in cases {
        assert_eq!(answered(record_type, &data), expected, "{what}");
    }
}

/// The classes of an UPDATE, and addresses of Chaosnet, have other data.
#[test]
fn data_depend_on_opcode_and_class() {
    let zone = question(dotted("test"), 6);
    let delete = |class| record(pointer(), 1, class, 0, &[]);
    let with = |flags, class| defect(flags, [1, 1, 1, 0], &[zone.clone(), delete(class), delete(class)]);
    for class in [254, 255] {
        assert_eq!(with(0x2800, class), None, "UPDATE {class}");
    }
    assert_eq!(with(0x8180, 1), Some(DecodeError::Rdata));
    let chaos = record(pointer(), 1, 3, 0, &[&dotted("ch"), &[0, 5][..]].concat());
    assert_eq!(defect(0x8180, [1, 1, 0, 0], &[question(dotted("a.test"), 1), chaos]), None);
}

#[test]
#[expect(clippy::type_complexity, reason = "a table of cases")]
fn one_opt_record_stands_in_the_additional_section() {
    use DecodeError::*;
    let ask = question(dotted("a.test"), 1);
    let options = |data: &[u8]| record(vec![0], 41, 1232, 0, data);
    let cases: [(&str, [u16; 4], Vec<Vec<u8>>, Option<DecodeError>); 9] = [
        ("one", [1, 0, 0, 1], vec![opt(1232, 0)], None),
        ("two", [1, 0, 0, 2], vec![opt(1232, 0), opt(512, 0)], Some(OptDuplicate)),
        ("an answer", [1, 1, 0, 0], vec![opt(1232, 0)], Some(OptMisplaced)),
        ("an authority", [1, 0, 1, 0], vec![opt(1232, 0)], Some(OptMisplaced)),
        ("of a name", [1, 0, 0, 1], vec![record(pointer(), 41, 1232, 0, &[])], Some(OptMalformed)),
        ("an option cut", [1, 0, 0, 1], vec![options(&[0, 10, 0, 8, 1])], Some(OptMalformed)),
        ("half an option", [1, 0, 0, 1], vec![options(&[0, 10, 0])], Some(OptMalformed)),
        ("an empty option", [1, 0, 0, 1], vec![options(&[0, 3, 0, 0])], None),
        ("an unknown version", [1, 0, 0, 1], vec![opt(1232, 5 << 16)], None),
    ];
    for (what, counts, records, expected) in cases {
        let parts = [vec![ask.clone()], records].concat();
        assert_eq!(defect(0x8180, counts, &parts), expected, "{what}");
    }
    // The first one counts, and what stands behind it is read.
    let wire = message(7, 0x8180, [1, 0, 0, 2], &[ask, opt(1232, 1 << 24), opt(512, 0)]);
    let Ok(Message::Response(response)) = parse_despite_records(&wire) else { panic!() };
    assert_eq!((response.edns.unwrap().udp_payload_size, response.rcode), (1232, Rcode(16)));
    assert!(!response.partial);
}

#[test]
#[expect(clippy::type_complexity, reason = "a table of cases")]
fn counts_and_length_agree() {
    use DecodeError::*;
    let ask = question(dotted("a.test"), 1);
    let a = record(pointer(), 1, 1, 60, &[192, 0, 2, 1]);
    let cases: [(&str, u16, [u16; 4], &[Vec<u8>], Option<DecodeError>); 11] = [
        ("a header alone", 0x8181, [0; 4], &[], None),
        ("no question but an answer", 0x8180, [0, 1, 0, 0], &[record(vec![0], 2, 1, 9, &[0])], None),
        ("two questions", 0x0100, [2, 0, 0, 0], &[ask.clone(), ask.clone()], None),
        ("a second question cut", 0x0100, [2, 0, 0, 0], &[ask.clone(), vec![1, b'a']], Some(QuestionCut)),
        ("a record too few", 0x8180, [1, 2, 0, 0], &[ask.clone(), a.clone()], Some(CountMismatch)),
        ("TC and a record too few", 0x8380, [1, 2, 0, 0], &[ask.clone(), a.clone()], None),
        ("TC and a record cut", 0x8380, [1, 1, 0, 0], &[ask.clone(), a[..13].to_vec()], None),
        ("a record cut", 0x8180, [1, 1, 0, 0], &[ask.clone(), a[..13].to_vec()], Some(RecordCut)),
        ("a record too many", 0x8180, [1, 0, 0, 0], &[ask.clone(), a.clone()], Some(TrailingBytes)),
        ("a zero behind", 0x0100, [1, 0, 0, 0], &[ask.clone(), vec![0]], Some(TrailingBytes)),
        // A DSO message has TLVs where others have sections (RFC 8490 section 5.4).
        ("a keepalive of DSO", 0x3000, [0; 4], &[vec![0, 1, 0, 8], vec![0; 8]], None),
    ];
    for (what, flags, counts, parts, expected) in cases {
        assert_eq!(defect(flags, counts, parts), expected, "{what}");
    }
}

/// An illegal message still tells which query it is or answers, and what could be read of it.
#[test]
#[expect(clippy::type_complexity, reason = "a table of cases")]
fn illegal_messages_are_read_as_far_as_that_goes() {
    let ask = question(dotted("a.test"), 1);
    let good = record(pointer(), 1, 1, 60, &[192, 0, 2, 1]);
    let bad = record(pointer(), 1, 1, 60, &[192, 0, 2]);
    let soa = record(pointer(), 6, 1, 60, &[vec![0, 0], vec![0; 20]].concat());
    let cases: [(&str, [u16; 4], &[Vec<u8>], &str); 4] = [
        // The length of the data still tells where the next record begins.
        ("data", [1, 2, 1, 0], &[ask.clone(), bad, good.clone(), soa], "\\# 3 c00002, 192.0.2.1 soa"),
        ("cut", [1, 2, 0, 0], &[ask.clone(), good.clone(), good[..11].to_vec()], "192.0.2.1 partial"),
        ("trailing", [1, 1, 0, 0], &[ask.clone(), good.clone(), vec![7]], "192.0.2.1"),
        ("question", [2, 1, 0, 0], &[ask.clone(), vec![0x40], good], " partial"),
    ];
    for (what, counts, parts, expected) in cases {
        let Ok(Message::Response(response)) = parse_despite_records(&message(7, 0x8180, counts, parts))
        else {
            panic!("{what}")
        };
        let answers: Vec<String> = response.answers().map(|answer| answer.data()).collect();
        let soa = if response.authority_soa { " soa" } else { "" };
        let partial = if response.partial { " partial" } else { "" };
        assert_eq!(format!("{}{soa}{partial}", answers.join(", ")), expected, "{what}");
        assert_eq!(response.question.map(|question| question.qname.to_string()), Some("a.test.".into()));
    }
    // Without the name there is nothing to go by.
    assert!(parse_despite_records(&message(7, 0, [1, 0, 0, 0], &[vec![0x40, 0]])).is_err());
}

#[test]
fn sections_are_read_one_by_one() {
    let ns = |name: &str| record(vec![0], 2, 1, 9, &dotted(name));
    let records = ["a", "b", "c", "d", "e", "f"].map(ns);
    let response =
        response(&message(7, 0x8180, [1, 1, 2, 3], &[vec![question(vec![0], 2)], records.to_vec()].concat()));
    let names = |section| response.section(section).map(|record| record.data()).collect::<Vec<_>>();
    assert_eq!(names(Section::Answer), ["a."]);
    assert_eq!(names(Section::Authority), ["b.", "c."]);
    assert_eq!(names(Section::Additional), ["d.", "e.", "f."]);
}

#[test]
fn opcodes_classes_and_codes_have_names() {
    let opcodes: Vec<_> = (0..8).map(opcode_name).collect();
    assert_eq!(opcodes, ["QUERY", "IQUERY", "STATUS", "OPCODE3", "NOTIFY", "UPDATE", "DSO", "OPCODE7"]);
    let classes: Vec<_> = [1, 2, 3, 4, 254, 255, 0x8001].into_iter().map(class_name).collect();
    assert_eq!(classes, ["IN", "CLASS2", "CH", "HS", "NONE", "ANY", "CLASS32769"]);
    let codes: Vec<_> = (15..25).map(|code| Rcode(code).to_string()).collect();
    let expected = "RCODE15 BADVERS BADKEY BADTIME BADMODE BADNAME BADALG BADTRUNC BADCOOKIE RCODE24";
    assert_eq!(codes.join(" "), expected);
    let types = [(29, "LOC"), (46, "RRSIG"), (54, "TYPE54"), (55, "HIP"), (66, "DSYNC"), (128, "NXNAME")];
    for (number, name) in types.into_iter().chain([(109, "EUI64"), (249, "TKEY"), (262, "WALLET")]) {
        assert_eq!(RecordType(number).to_string(), name);
    }
}

/// Octets from hexadecimal digits; whatever is between them is left out.
fn octets(digits: &str) -> Vec<u8> {
    let digits: Vec<u32> = digits.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

#[test]
fn options_are_told_in_lines_and_in_full() {
    let cases = [
        ("0003 0000", "nsid", ""),
        ("0003 0003 6e7322", r#"nsid "ns\"""#, r#""ns\"""#),
        ("0008 0007 0001 18 00 c00002", "ecs 192.0.2.0/24", "192.0.2.0/24"),
        ("0008 0007 0001 16 18 c00000", "ecs 192.0.0.0/22/24", "192.0.0.0/22/24"),
        ("0008 000b 0002 38 30 20010db8000100", "ecs 2001:db8:1::/56/48", "2001:db8:1::/56/48"),
        ("0008 0004 0001 00 00", "ecs 0.0.0.0/0", "0.0.0.0/0"),
        // An address of the wrong length, an unknown family.
        ("0008 0006 0001 18 00 c000", "ecs 00011800c000", "00011800c000"),
        ("0008 0004 0003 00 00", "ecs 00030000", "00030000"),
        ("0009 0004 00000e10", "expire 00000e10", "00000e10"),
        ("000a 0008 0102030405060708", "cookie", "0102030405060708"),
        ("000a 0010 0102030405060708 a1a2a3a4a5a6a7a8", "cookie", "0102030405060708 a1a2a3a4a5a6a7a8"),
        ("000a 0002 0102", "cookie 0102", "0102"),
        ("000b 0000", "keepalive", ""),
        ("000b 0002 00c9", "keepalive 20.1 s", "20.1 s"),
        ("000b 0001 00", "keepalive 00", "00"),
        ("000c 0003 000000", "padding 3", "3"),
        ("000d 0006 04 74657374 00", "chain test.", "test."),
        (
            "000f 0006 0016 74657874",
            r#"ede 22 (No Reachable Authority) "text""#,
            r#"22 (No Reachable Authority) "text""#,
        ),
        ("000f 0004 0003 1b9b", r#"ede 3 (Stale Answer) "\027\155""#, r#"3 (Stale Answer) "\027\155""#),
        ("000f 0002 001f", "ede 31", "31"),
        ("000f 0001 00", "ede 00", "00"),
        ("0012 0006 04 74657374 00", "report-channel test.", "test."),
        ("0012 0002 c00c", "report-channel c00c", "c00c"),
        ("0013 0006 02 00 00000007", "zoneversion 2 SOA 7", "2 SOA 7"),
        ("0013 0003 02 01 ff", "zoneversion 2 1 ff", "2 1 ff"),
        ("fde9 0002 beef", "option 65001 beef", "beef"),
    ];
    for (wire, line, full) in cases {
        let a = question(dotted("a.test"), 1);
        let opt = record(vec![0], 41, 1232, 0, &octets(wire));
        for flags in [0x0100, 0x8180] {
            let wire = message(7, flags, [1, 0, 0, 1], &[a.clone(), opt.clone()]);
            let message = parse(&wire, wire.len()).unwrap();
            let [option] = message.options()[..] else { panic!("{line}") };
            assert_eq!(option.to_string(), line);
            // The short form of a cookie is its name.
            let value = option.value();
            assert_eq!(if line == "cookie" { cookie(&value) } else { value.to_string() }, full);
        }
    }
}

fn cookie(value: &OptionValue<'_>) -> String {
    assert!(matches!(value, OptionValue::Cookie { .. }));
    value.to_string()
}

#[test]
fn options_keep_their_order() {
    let opt =
        record(vec![0], 41, 1232, 0, &octets("000f 0002 0001  000f 0002 0002  0003 0000  000f 0002 0003"));
    let response = response(&message(7, 0x8180, [1, 0, 0, 1], &[question(dotted("a.test"), 1), opt]));
    let told: Vec<String> = response.options().map(|option| option.to_string()).collect();
    let expected = [
        "ede 1 (Unsupported DNSKEY Algorithm)",
        "ede 2 (Unsupported DS Digest Type)",
        "nsid",
        "ede 3 (Stale Answer)",
    ];
    assert_eq!(told, expected);
}

/// The examples of the RFCs where they have some.
#[test]
fn data_are_written_as_in_a_zone_file() {
    let cases = [
        ("A", 1, "c0000201", "192.0.2.1"),
        ("AAAA", 28, "20010db8 00000000 00000000 00000001", "2001:db8::1"),
        ("SRV", 33, "0001 0002 1466 03666f6f00", "1 2 5222 foo."),
        ("compressed MX", 15, "000a 026d78 c00c", "10 mx.a.test."),
        ("TXT", 16, "03612262 00 025c20", r#""a\"b" "" "\\ ""#),
        ("HINFO", 13, "0152 00", r#""R" """#),
        ("NAPTR", 35, "0064 0032 0175 074532552b736970 00 00", r#"100 50 "u" "E2U+sip" "" ."#),
        ("CAA", 257, "00 056973737565 6361 2e 74657374", r#"0 issue "ca.test""#),
        ("URI", 256, "000a 0001 6674703a", r#"10 1 "ftp:""#),
        ("DS", 43, "ec45 05 01 2bb183af", "60485 5 1 2bb183af"),
        ("DNSKEY", 48, "0101 03 08 03010001", "257 3 8 AwEAAQ=="),
        (
            "RRSIG",
            46,
            "0001 05 03 00015180 3e7c9dd7 38bc5d7f 0a52 07 6578616d706c65 00 ff",
            "A 5 3 86400 20030322173103 20000229235959 2642 example. /w==",
        ),
        (
            "NSEC",
            47,
            "00 0006 400100000003 041b 0000000000000000000000000000000000000000000000000000 20",
            ". A MX RRSIG NSEC TYPE1234",
        ),
        ("NSEC without types", 47, "00", "."),
        ("NSEC3", 50, "01 01 000c 04 aabbccdd 05 0102030405 0002 4001", "1 1 12 aabbccdd 04106105 A MX"),
        ("NSEC3PARAM", 51, "01 00 0000 00", "1 0 0 -"),
        ("TLSA", 52, "03 01 01 abcd", "3 1 1 abcd"),
        ("SSHFP", 44, "04 02 abcd", "4 2 abcd"),
        ("CSYNC", 62, "00000042 0003 0001 40", "66 3 A"),
        ("EUI48", 108, "00005e0053 2a", "00-00-5e-00-53-2a"),
        // The example of RFC 1876 section 4.
        (
            "LOC",
            29,
            "00 33 16 13 89172dd0 70be15f0 00988d20",
            "42 21 54.000 N 71 6 18.000 W -24.00m 30m 10000m 10m",
        ),
        ("HTTPS alias", 65, "0000 03666f6f00", "0 foo."),
        (
            "HTTPS",
            65,
            "0001 00 0001 0006 026832 026833 0002 0000 0003 0002 01bb 0004 0004 c0000201 0006 0010 20010db8000000000000000000000001",
            "1 . alpn=h2,h3 no-default-alpn port=443 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1",
        ),
        // RFC 9460 appendix D.2.
        (
            "SVCB mandatory",
            64,
            "0010 00 0000 0004 0001 0004 0005 0001 fe",
            "16 . mandatory=alpn,ipv4hint ech=/g==",
        ),
        ("SVCB commas", 64, "0010 00 0001 000c 08 665c6f6f2c626172 02 6832", r"16 . alpn=f\\\\oo\\,bar,h2"),
        ("SVCB key667", 64, "0001 00 029b 0009 68656c6c6f d2 716f6f", r"1 . key667=hello\210qoo"),
        ("SVCB quotes", 64, "0001 00 029b 0003 612062", r#"1 . key667="a b""#),
        // RFC 3597: what is not known, and what does not fit.
        ("unknown", 65280, "0a000001", r"\# 4 0a000001"),
        ("unknown and empty", 65280, "", r"\# 0"),
        ("CAA cut", 257, "00 05 69", r"\# 3 000569"),
        ("SVCB cut", 64, "0001 00 0003 0002 01", r"\# 8 0001000003000201"),
        ("NSEC with an empty window", 47, "00 0000", r"\# 3 000000"),
    ];
    for (what, record_type, data, expected) in cases {
        let parts =
            [question(dotted("a.test"), record_type), record(pointer(), record_type, 1, 60, &octets(data))];
        let response = response(&message(7, 0x8180, [1, 1, 0, 0], &parts));
        let text = response.answers().next().unwrap().data();
        assert_eq!(text, expected, "{what}");
    }
}
