//! The `dns` room beside hickory-proto, an implementation that is not ours: for messages that hickory builds both say
//! the same, and of changed ones both say whether they are legal. [`excused_as_legal`] and [`excused_as_illegal`] are the
//! list of where they differ, and why.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

use hickory_proto::op::{self, Edns, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{
    A, AAAA, CAA, CNAME, HINFO, HTTPS, MX, NAPTR, NS, NULL, OPENPGPKEY, PTR, SOA, SRV, SSHFP, SVCB, TLSA,
    TXT, opt, svcb,
};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable as _, BinEncodable, BinEncoder, NameEncoding};
use nslookout::dns::{self, DecodeError, Section};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Names of a few labels, so that many share their ends and are compressed.
fn names() -> impl Strategy<Value = Name> {
    let usual = select(vec!["a", "B", "www", "test", "Example", "_tcp", "xn--e1afmkfd"]);
    let label = prop_oneof![
        4 => usual.prop_map(|label| label.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 1..=63),
    ];
    vec(label, 0..6).prop_filter_map("255 octets at most", |labels| Name::from_labels(labels).ok())
}

fn strings() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=255)
}

fn service_parameters() -> impl Strategy<Value = (svcb::SvcParamKey, svcb::SvcParamValue)> {
    use svcb::{Alpn, IpHint, SvcParamKey as Key, SvcParamValue as Value, Unknown};
    prop_oneof![
        any::<u16>().prop_map(|port| (Key::Port, Value::Port(port))),
        Just((Key::Alpn, Value::Alpn(Alpn(vec!["h2".into(), "h3".into()])))),
        any::<[u8; 4]>().prop_map(|ip| (Key::Ipv4Hint, Value::Ipv4Hint(IpHint(vec![A(ip.into())])))),
        vec(any::<u8>(), 0..40).prop_map(|octets| (Key::Key(667), Value::Unknown(Unknown(octets)))),
    ]
}

/// Data of each type that hickory builds.
fn data() -> impl Strategy<Value = RData> {
    let addresses = prop_oneof![
        any::<[u8; 4]>().prop_map(|ip| RData::A(A(ip.into()))),
        any::<[u8; 16]>().prop_map(|ip| RData::AAAA(AAAA(ip.into()))),
    ];
    let of_names = prop_oneof![
        names().prop_map(|name| RData::CNAME(CNAME(name))),
        names().prop_map(|name| RData::NS(NS(name))),
        names().prop_map(|name| RData::PTR(PTR(name))),
        (any::<u16>(), names()).prop_map(|(preference, name)| RData::MX(MX::new(preference, name))),
        (any::<[u16; 3]>(), names()).prop_map(|([a, b, c], name)| RData::SRV(SRV::new(a, b, c, name))),
        (names(), names(), any::<u32>(), [0..i32::MAX, 0..i32::MAX, 0..i32::MAX], any::<u32>())
            .prop_map(|(m, r, serial, [a, b, c], last)| RData::SOA(SOA::new(m, r, serial, a, b, c, last))),
        (any::<[u16; 2]>(), vec(any::<u8>(), 0..20), names()).prop_map(
            |([order, preference], octets, name)| {
                let text: Box<[u8]> = octets.into();
                RData::NAPTR(NAPTR::new(order, preference, b"s".as_slice().into(), text.clone(), text, name))
            }
        ),
        (any::<u16>(), names(), vec(service_parameters(), 0..=1))
            .prop_map(|(priority, name, all)| RData::HTTPS(HTTPS(SVCB::new(priority, name, all)))),
    ];
    let of_octets =
        prop_oneof![
            vec(strings(), 1..4)
                .prop_map(|all| RData::TXT(TXT::from_bytes(all.iter().map(Vec::as_slice).collect()))),
            (strings(), strings())
                .prop_map(|(cpu, os)| RData::HINFO(HINFO::from_bytes(cpu.into(), os.into()))),
            vec(any::<u8>(), 1..60).prop_map(|octets| RData::NULL(NULL::with(octets))),
            vec(any::<u8>(), 1..60).prop_map(|octets| RData::OPENPGPKEY(OPENPGPKEY::new(octets))),
            vec(any::<u8>(), 1..60).prop_map(|octets| RData::Unknown {
                code: RecordType::Unknown(65_280),
                rdata: NULL::with(octets),
            }),
            (any::<[u8; 3]>(), vec(any::<u8>(), 1..40))
                .prop_map(|([a, b, c], octets)| RData::TLSA(TLSA::new(a.into(), b.into(), c.into(), octets))),
            (any::<[u8; 2]>(), vec(any::<u8>(), 1..40))
                .prop_map(|([a, b], octets)| RData::SSHFP(SSHFP::new(a.into(), b.into(), octets))),
            any::<bool>().prop_map(|critical| RData::CAA(CAA::new_issue(critical, None, Vec::new()))),
        ];
    prop_oneof![2 => addresses, 3 => of_names, 2 => of_octets]
}

fn records() -> impl Strategy<Value = Record> {
    let class = prop_oneof![9 => Just(DNSClass::IN), 1 => Just(DNSClass::NONE)];
    (names(), class, 0..i32::MAX as u32, data()).prop_map(|(name, class, ttl, data)| {
        let mut record = Record::from_rdata(name, ttl, data);
        record.dns_class = class;
        record
    })
}

fn extensions() -> impl Strategy<Value = Edns> {
    let option = prop_oneof![
        vec(any::<u8>(), 0..20).prop_map(|octets| opt::EdnsOption::Unknown(65_001, octets)),
        vec(any::<u8>(), 0..20).prop_map(|octets| opt::EdnsOption::Unknown(10, octets)),
        any::<[u8; 4]>().prop_map(|ip| opt::EdnsOption::Subnet(opt::ClientSubnet::new(ip.into(), 32, 0))),
    ];
    (512..=u16::MAX, any::<bool>(), any::<u8>(), vec(option, 0..4)).prop_map(
        |(size, dnssec, high, options)| {
            let mut edns = Edns::new();
            edns.set_max_payload(size).set_version(0).set_dnssec_ok(dnssec).set_rcode_high(high);
            options.into_iter().for_each(|option| edns.options_mut().insert(option));
            edns
        },
    )
}

fn messages() -> impl Strategy<Value = op::Message> {
    let opcode = prop_oneof![
        6 => Just(OpCode::Query),
        1 => Just(OpCode::Notify),
        1 => Just(OpCode::Update),
        1 => Just(OpCode::Status),
    ];
    let question = (names(), any::<u16>()).prop_map(|(name, qtype)| Query::query(name, qtype.into()));
    let header = (any::<u16>(), any::<bool>(), opcode, 0..16_u16, any::<[bool; 6]>());
    let sections = (vec(question, 0..3), vec(records(), 0..6), vec(records(), 0..4), vec(records(), 0..4));
    (header, sections, proptest::option::of(extensions())).prop_map(|(header, sections, edns)| {
        let (id, response, opcode, rcode, [aa, tc, rd, ra, ad, cd]) = header;
        let kind = if response { MessageType::Response } else { MessageType::Query };
        let mut message = op::Message::new(id, kind, opcode);
        let metadata = &mut message.metadata;
        metadata.response_code = ResponseCode::from(0, rcode as u8);
        (metadata.authoritative, metadata.truncation, metadata.recursion_desired) = (aa, tc, rd);
        (metadata.recursion_available, metadata.authentic_data, metadata.checking_disabled) = (ra, ad, cd);
        (message.queries, message.answers, message.authorities, message.additionals) = sections;
        message.edns = edns;
        message
    })
}

/// On the wire, with compression or without.
fn bytes_of(message: &op::Message, compressed: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    if !compressed {
        encoder.set_name_encoding(NameEncoding::Uncompressed);
    }
    message.emit(&mut encoder).unwrap();
    bytes
}

/// hickory's name as ours is written: its own escapes octets in octal.
fn name_text(name: &Name) -> String {
    let mut text = String::new();
    for label in name {
        for &octet in label {
            match octet {
                b'.' | b'\\' | b'"' => text.extend(['\\', char::from(octet)]),
                b'!'..=b'~' => text.push(char::from(octet)),
                _ => text.push_str(&format!("\\{octet:03}")),
            }
        }
        text.push('.');
    }
    if text.is_empty() { ".".into() } else { text }
}

/// What both must say of a message: header, question, EDNS and the records of each section.
fn told_by_hickory(message: &op::Message) -> String {
    let question = message.queries.first().map(|question| {
        let qtype = u16::from(question.query_type());
        format!("{} {qtype} {}", name_text(question.name()), u16::from(question.query_class()))
    });
    let edns = message.edns.as_ref().map(|edns| {
        let codes: Vec<u16> = edns.options().as_ref().iter().map(|(code, _)| (*code).into()).collect();
        (edns.max_payload(), edns.version(), edns.flags().dnssec_ok, codes)
    });
    let of = |records: &[Record]| {
        let told = |record: &Record| {
            let class = u16::from(record.dns_class);
            format!("{} {} {class} {}", name_text(&record.name), u16::from(record.record_type()), record.ttl)
        };
        records.iter().map(told).collect::<Vec<_>>()
    };
    let metadata = &message.metadata;
    let response = (metadata.message_type == MessageType::Response).then(|| {
        let rcode = u16::from(metadata.response_code);
        (rcode, of(&message.answers), of(&message.authorities), of(&message.additionals))
    });
    let opcode = u8::from(metadata.op_code);
    format!("{} {opcode} {question:?} {edns:?} {response:?}", metadata.id)
}

fn told_by_us(message: &dns::Message) -> String {
    let question =
        message.question().map(|asked| format!("{} {} {}", asked.qname, asked.qtype.0, asked.qclass));
    let edns = message.edns().map(|edns| {
        let codes: Vec<u16> = message.options().iter().map(|option| option.code).collect();
        (edns.udp_payload_size, edns.version, edns.dnssec_ok, codes)
    });
    let response = match message {
        dns::Message::Query(_) => None,
        dns::Message::Response(response) => {
            let of = |section| {
                let records = response.section(section).filter(|record| record.record_type.0 != 41);
                let told = |record: dns::Answer<'_>| {
                    format!("{} {} {} {}", record.name, record.record_type.0, record.class, record.ttl)
                };
                records.map(told).collect::<Vec<_>>()
            };
            let [answers, authorities, additionals] =
                [Section::Answer, Section::Authority, Section::Additional].map(of);
            Some((response.rcode.0, answers, authorities, additionals))
        }
    };
    let header = message.header();
    format!("{} {} {question:?} {edns:?} {response:?}", header.id, header.opcode())
}

/// NODATA as RFC 2308 section 2.2 has it, from hickory's message.
fn is_nodata(message: &op::Message) -> bool {
    let Some(question) = message.queries.first() else { return false };
    let metadata = &message.metadata;
    metadata.response_code == ResponseCode::NoError
        && metadata.op_code == OpCode::Query
        && !metadata.truncation
        && question.query_type() != RecordType::ANY
        && message.answers.iter().all(|record| record.record_type() != question.query_type())
}

/// Data that both write alike: hickory leaves out quotes and escapes, and ends lists with a comma.
fn writes_alike(data: &RData) -> bool {
    let is_plain =
        |text: &str| text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b" ._-:".contains(&octet));
    matches!(data, RData::A(_) | RData::AAAA(_) | RData::TLSA(_) | RData::SSHFP(_))
        || matches!(
            data,
            RData::CNAME(_) | RData::NS(_) | RData::PTR(_) | RData::MX(_) | RData::SRV(_) | RData::SOA(_)
        ) && is_plain(&data.to_string())
        || matches!(data, RData::OPENPGPKEY(_))
}

/// Types whose data the walk looks into; those of others are only printed.
const CHECKED: [u16; 10] = [1, 2, 5, 6, 12, 15, 16, 28, 33, 39];

/// Where we call a message legal that hickory does not read, and why; `None`: nowhere else.
fn excused_as_legal(response: &dns::Response) -> Option<&'static str> {
    let sections = [Section::Answer, Section::Authority, Section::Additional];
    let mut records = sections.into_iter().flat_map(|section| response.section(section));
    let rare =
        records.any(|record| !CHECKED.contains(&record.record_type.0) || !matches!(record.class, 1 | 254));
    if response.header.truncated() && response.partial {
        Some("TC: some servers cut wherever 512 bytes are full")
    } else if response.header.opcode() == 6 {
        Some("DSO has no sections (RFC 8490 section 5.4)")
    } else if rare {
        // The data of a rare type, options of EDNS, SIG and TSIG outside the additional section, types that stand in
        // questions only: none of it hides where the next record begins.
        Some("what is not needed to match and count is not judged")
    } else {
        None
    }
}

/// Where we call a message illegal that hickory reads, and why; `None`: nowhere else.
fn excused_as_illegal(defect: DecodeError, theirs: &op::Message) -> Option<&'static str> {
    let mut records = [&theirs.answers, &theirs.authorities, &theirs.additionals].into_iter().flatten();
    match defect {
        _ if records.any(|record| u16::from(record.record_type()) == 39) => {
            Some("hickory does not look into DNAME")
        }
        DecodeError::NamePointer => {
            Some("a pointer into the header leads to no name; hickory reads the header's octets as one")
        }
        DecodeError::TrailingBytes => Some("hickory does not look behind the last record"),
        DecodeError::OptMalformed => Some("hickory leaves out options that do not fit"),
        _ => None,
    }
}

fn hickory(bytes: &[u8]) -> Result<op::Message, String> {
    op::Message::from_bytes(bytes).map_err(|error| error.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn both_say_the_same_of_a_legal_message(message in messages(), compressed in any::<bool>()) {
        let bytes = bytes_of(&message, compressed);
        let ours = dns::parse(&bytes, bytes.len()).unwrap();
        prop_assert_eq!(ours.defect(), None);
        let theirs = hickory(&bytes).unwrap();
        prop_assert_eq!(told_by_us(&ours), told_by_hickory(&theirs));
        let [questions, answers, authorities, additionals] = ours.header().counts.map(usize::from);
        prop_assert_eq!(questions, theirs.queries.len());
        prop_assert_eq!((answers, authorities), (theirs.answers.len(), theirs.authorities.len()));
        prop_assert_eq!(additionals, theirs.additionals.len() + usize::from(theirs.edns.is_some()));
        if let dns::Message::Response(response) = &ours {
            prop_assert!(!response.partial);
            prop_assert_eq!(response.is_nodata(), is_nodata(&theirs));
            let soa = theirs.authorities.iter().any(|record| record.record_type() == RecordType::SOA);
            prop_assert_eq!(response.authority_soa, soa);
            for (ours, theirs) in response.answers().zip(&theirs.answers) {
                let text = ours.data();
                prop_assert!(text.bytes().all(|octet| (b' '..=b'~').contains(&octet)));
                if writes_alike(&theirs.data) {
                    prop_assert_eq!(text, theirs.data.to_string());
                }
            }
        }
    }

    #[test]
    fn both_call_the_same_messages_illegal(
        message in messages(),
        changes in vec((any::<Index>(), any::<u8>()), 0..4),
        cut in proptest::option::of(any::<Index>()),
    ) {
        let mut bytes = bytes_of(&message, true);
        for (index, octet) in changes {
            let at = index.index(bytes.len());
            bytes[at] = octet;
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len() + 1)));
        if bytes.len() < 12 {
            prop_assert_eq!(dns::parse(&bytes, bytes.len()), Err(DecodeError::ShortHeader));
            return Ok(());
        }
        // A response keeps all sections.
        bytes[2] |= 0x80;
        let excuse = match (dns::parse(&bytes, bytes.len()), hickory(&bytes)) {
            (Ok(message), Ok(theirs)) if message.defect().is_none() => {
                // hickory does not tell sizes below 512.
                if message.edns().is_none_or(|edns| edns.udp_payload_size >= 512) {
                    prop_assert_eq!(told_by_us(&message), told_by_hickory(&theirs));
                }
                Some("")
            }
            (Ok(message), Ok(theirs)) => {
                message.defect().and_then(|defect| excused_as_illegal(defect, &theirs))
            }
            (Err(defect), Ok(theirs)) => excused_as_illegal(defect, &theirs),
            (Ok(dns::Message::Response(response)), Err(_)) if response.defect.is_none() => {
                excused_as_legal(&response)
            }
            (_, Err(_)) => Some(""),
        };
        let ours = dns::parse(&bytes, bytes.len());
        prop_assert!(excuse.is_some(), "{ours:?} {:?} {bytes:02x?}", hickory(&bytes).map(drop));
        // What can be read of an illegal message, and of the beginning of one.
        for read in [dns::parse_despite_records(&bytes), dns::parse(&bytes, bytes.len() + 1)] {
            if let Ok(dns::Message::Response(response)) = read {
                for section in [Section::Answer, Section::Authority, Section::Additional] {
                    let texts: Vec<String> = response.section(section).map(|record| record.data()).collect();
                    prop_assert!(texts.len() <= response.header.counts[1 + section as usize].into());
                }
                response.options().for_each(|option| drop(option.to_string()));
            }
        }
    }
}
