//! Turns one payload into one message, or says why not.
//!
//! Input: the bytes of a UDP payload, or of one TCP message without its length prefix. Output: [`Message`] or
//! [`DecodeError`]. hickory-proto is known to this room only. Deliberately absent: interfaces, time, matching.

use std::fmt::{self, Write as _};
use std::hash::{Hash, Hasher};

use hickory_proto::op;
use hickory_proto::rr::{self, RData};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};
use thiserror::Error;

/// Length of the DNS header in bytes (RFC 1035 section 4.1.1).
pub const HEADER_LENGTH: usize = 12;

/// Why a payload is no message. Data, not failure: it is counted by kind and the next one is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum DecodeError {
    /// Fewer than the 12 bytes of a header.
    #[error("shorter than a DNS header")]
    ShortHeader,
    /// A question that ends early or holds an illegal name.
    #[error("illegal question section")]
    Question,
    /// A record that ends early, holds an illegal name or data that its type does not allow.
    #[error("illegal resource record")]
    Record,
}

/// A name as it stood on the wire, case kept. Names compare without regard to case (RFC 4343).
#[derive(Clone, PartialEq, Eq)]
pub struct Name(rr::Name);

impl Name {
    /// The labels from the leftmost on, without the root's; any octet may stand in them.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.iter()
    }
}

/// Label by label in lower case: hickory's own feeds the hasher octet by octet.
impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for label in self.labels() {
            let mut folded = [0; 64];
            let folded = &mut folded[..label.len()];
            folded.copy_from_slice(label);
            folded.make_ascii_lowercase();
            state.write(folded);
        }
    }
}

/// The presentation form with the final dot. Whatever is not a printable ASCII character is escaped as `\DDD`, and
/// `.`, `\` and `"` inside a label as `\X` (RFC 1035 section 5.1): no octet of the wire reaches a terminal as it is.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(64);
        for label in self.labels() {
            for &octet in label {
                match octet {
                    b'.' | b'\\' | b'"' => write!(text, "\\{}", char::from(octet))?,
                    0x21..=0x7e => text.push(char::from(octet)),
                    _ => write!(text, "\\{octet:03}")?,
                }
            }
            text.push('.');
        }
        f.pad(if text.is_empty() { "." } else { &text })
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A record or question type by its number, known or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordType(pub u16);

impl RecordType {
    /// IPv4 address (RFC 1035).
    pub const A: Self = Self(1);
    /// Name server.
    pub const NS: Self = Self(2);
    /// Alias.
    pub const CNAME: Self = Self(5);
    /// Start of authority.
    pub const SOA: Self = Self(6);
    /// Reverse name.
    pub const PTR: Self = Self(12);
    /// Mail exchange.
    pub const MX: Self = Self(15);
    /// Text.
    pub const TXT: Self = Self(16);
    /// IPv6 address (RFC 3596).
    pub const AAAA: Self = Self(28);
    /// Service.
    pub const SRV: Self = Self(33);
    /// EDNS (RFC 6891).
    pub const OPT: Self = Self(41);
    /// Service binding (RFC 9460).
    pub const SVCB: Self = Self(64);
    /// Service binding for HTTP (RFC 9460).
    pub const HTTPS: Self = Self(65);
    /// Any type (RFC 1035 section 3.2.3).
    pub const ANY: Self = Self(255);
}

/// The mnemonic, or `TYPE123` (RFC 3597 section 5).
impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match rr::RecordType::from(self.0) {
            rr::RecordType::Unknown(_) | rr::RecordType::ZERO => f.pad(&format!("TYPE{}", self.0)),
            known => f.pad(&known.to_string()),
        }
    }
}

/// A response code, extended by EDNS where the response says so (RFC 6891 section 6.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rcode(pub u16);

impl Rcode {
    /// No error.
    pub const NOERROR: Self = Self(0);
    /// The server could not read the query.
    pub const FORMERR: Self = Self(1);
    /// The server failed.
    pub const SERVFAIL: Self = Self(2);
    /// The name does not exist.
    pub const NXDOMAIN: Self = Self(3);
    /// Not implemented.
    pub const NOTIMP: Self = Self(4);
    /// Refused by policy.
    pub const REFUSED: Self = Self(5);
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 12] = [
            "NOERROR",
            "FORMERR",
            "SERVFAIL",
            "NXDOMAIN",
            "NOTIMP",
            "REFUSED",
            "YXDOMAIN",
            "YXRRSET",
            "NXRRSET",
            "NOTAUTH",
            "NOTZONE",
            "DSOTYPENI",
        ];
        match (NAMES.get(usize::from(self.0)), self.0) {
            (Some(name), _) => f.pad(name),
            (None, 16) => f.pad("BADVERS"),
            (None, 23) => f.pad("BADCOOKIE"),
            (None, number) => f.pad(&format!("RCODE{number}")),
        }
    }
}

/// The first entry of the question section, as sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// QNAME.
    pub qname: Name,
    /// QTYPE.
    pub qtype: RecordType,
    /// QCLASS; 1 is IN.
    pub qclass: u16,
}

/// The fixed part of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The client's number for the transaction.
    pub id: u16,
    /// The second word of the header: QR, opcode, AA, TC, RD, RA, Z, AD, CD, rcode.
    pub flags: u16,
    /// Entries in question, answer, authority and additional section, as the header says.
    pub counts: [u16; 4],
}

impl Header {
    /// 0 is QUERY.
    pub const fn opcode(&self) -> u8 {
        (self.flags >> 11 & 0x0f) as u8
    }

    /// AA: the server speaks for the zone.
    pub const fn authoritative(&self) -> bool {
        self.flags & 0x0400 != 0
    }

    /// TC: the answer did not fit.
    pub const fn truncated(&self) -> bool {
        self.flags & 0x0200 != 0
    }

    /// RD: the client asks for recursion.
    pub const fn recursion_desired(&self) -> bool {
        self.flags & 0x0100 != 0
    }

    /// RA: the server offers recursion.
    pub const fn recursion_available(&self) -> bool {
        self.flags & 0x0080 != 0
    }

    /// AD (RFC 4035).
    pub const fn authentic_data(&self) -> bool {
        self.flags & 0x0020 != 0
    }

    /// CD (RFC 4035).
    pub const fn checking_disabled(&self) -> bool {
        self.flags & 0x0010 != 0
    }
}

/// What the OPT record said (RFC 6891 section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// The largest UDP payload that the sender takes, in bytes.
    pub udp_payload_size: u16,
    /// EDNS version; 0 is the only one.
    pub version: u8,
    /// DO: DNSSEC records wanted.
    pub dnssec_ok: bool,
}

/// A resource record of the answer section.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Owner.
    pub name: Name,
    /// TYPE.
    pub record_type: RecordType,
    /// TTL in seconds.
    pub ttl: u32,
    data: RData,
}

impl Answer {
    /// The data in presentation form; control characters and non-ASCII octets are escaped as in names.
    pub fn data(&self) -> String {
        let name = |name: &rr::Name| Name(name.clone());
        match &self.data {
            // hickory escapes names in octal, RFC 1035 section 5.1 in decimal.
            RData::CNAME(target) => name(target).to_string(),
            RData::NS(target) => name(target).to_string(),
            RData::PTR(target) => name(target).to_string(),
            RData::MX(mx) => format!("{} {}", mx.preference, name(&mx.exchange)),
            RData::SRV(srv) => format!("{} {} {} {}", srv.priority, srv.weight, srv.port, name(&srv.target)),
            RData::SOA(soa) => format!(
                "{} {} {} {} {} {} {}",
                name(&soa.mname),
                name(&soa.rname),
                soa.serial,
                soa.refresh,
                soa.retry,
                soa.expire,
                soa.minimum
            ),
            RData::TXT(txt) => escape(txt.txt_data.iter().flatten()),
            other => escape(other.to_string().as_bytes()),
        }
    }
}

/// Whatever is not a printable ASCII character or a space, as `\DDD`.
fn escape<'a>(octets: impl IntoIterator<Item = &'a u8>) -> String {
    let mut escaped = String::with_capacity(64);
    for &octet in octets {
        match octet {
            b' '..=b'~' => escaped.push(char::from(octet)),
            _ => escaped.push_str(&format!("\\{octet:03}")),
        }
    }
    escaped
}

/// A question on its way to a server.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// The fixed part.
    pub header: Header,
    /// The first question, if there is one.
    pub question: Option<Question>,
    /// The OPT record, if there is one.
    pub edns: Option<Edns>,
    /// Length of the message in bytes.
    pub length: usize,
}

impl Query {
    /// The largest UDP response in bytes that this client takes: 512 without EDNS (RFC 1035 section 4.2.1), and at
    /// least that with it (RFC 6891 section 6.2.3).
    pub fn udp_limit(&self) -> usize {
        self.edns.map_or(512, |edns| usize::from(edns.udp_payload_size).max(512))
    }
}

/// What a server sent back.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The fixed part.
    pub header: Header,
    /// The first question, if it was repeated.
    pub question: Option<Question>,
    /// The response code with its extension.
    pub rcode: Rcode,
    /// The answer section.
    pub answers: Vec<Answer>,
    /// An SOA stands in the authority section: who says no, and for how long (RFC 2308).
    pub authority_soa: bool,
    /// The OPT record, if there is one.
    pub edns: Option<Edns>,
    /// Length of the message in bytes; that of the whole where only its beginning was seen.
    pub length: usize,
    /// Only the beginning of the message was seen: the sections may lack records.
    pub partial: bool,
}

impl Response {
    /// NODATA: NOERROR without a record of the type asked (RFC 2308 section 2.2), inferred. A referral looks alike.
    pub fn is_nodata(&self) -> bool {
        let Some(question) = &self.question else { return false };
        self.rcode == Rcode::NOERROR
            && !self.header.truncated()
            && !self.partial
            && question.qtype != RecordType::ANY
            && !self.answers.iter().any(|answer| answer.record_type == question.qtype)
    }
}

/// The two kinds of DNS message.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// QR is 0.
    Query(Query),
    /// QR is 1.
    Response(Response),
}

impl Message {
    /// The fixed part.
    pub fn header(&self) -> &Header {
        match self {
            Self::Query(query) => &query.header,
            Self::Response(response) => &response.header,
        }
    }
}

/// Reads a message.
///
/// `bytes` is the message, or its beginning: then `length` is larger, the sections hold what could be read, and only
/// header and question must be there. `length` is that of the whole message in bytes.
///
/// # Errors
///
/// [`DecodeError`]; never panics, whatever the bytes are.
pub fn parse(bytes: &[u8], length: usize) -> Result<Message, DecodeError> {
    let partial = length > bytes.len();
    let mut decoder = BinDecoder::new(bytes);
    let counts = op::Header::read(&mut decoder).map_err(|_| DecodeError::ShortHeader)?.counts;
    let header = Header {
        id: u16::from_be_bytes([bytes[0], bytes[1]]),
        flags: u16::from_be_bytes([bytes[2], bytes[3]]),
        counts: [counts.queries, counts.answers, counts.authorities, counts.additionals],
    };
    let mut question = None;
    for _ in 0..counts.queries {
        let query = op::Query::read(&mut decoder).map_err(|_| DecodeError::Question)?;
        question.get_or_insert_with(|| Question {
            qtype: RecordType(query.query_type().into()),
            qclass: query.query_class().into(),
            qname: Name(query.name().clone()),
        });
    }
    let sections = match read_sections(&mut decoder, &header) {
        Ok(sections) => sections,
        Err((sections, _)) if partial => sections,
        Err((_, error)) => return Err(error),
    };
    let edns = sections.opt.as_ref().map(|(edns, _)| *edns);
    if header.flags & 0x8000 == 0 {
        return Ok(Message::Query(Query { header, question, edns, length }));
    }
    let high = sections.opt.map_or(0, |(_, rcode_high)| u16::from(rcode_high));
    Ok(Message::Response(Response {
        header,
        question,
        rcode: Rcode(high << 4 | header.flags & 0x0f),
        answers: sections.answers,
        authority_soa: sections.authority_soa,
        edns,
        length,
        partial,
    }))
}

/// What is kept of the three sections of records.
#[derive(Default)]
struct Sections {
    answers: Vec<Answer>,
    authority_soa: bool,
    /// With the high bits of the rcode.
    opt: Option<(Edns, u8)>,
}

/// Reads the records; with an error comes what stood before it.
fn read_sections(decoder: &mut BinDecoder<'_>, header: &Header) -> Result<Sections, (Sections, DecodeError)> {
    let mut sections = Sections::default();
    let [_, answers, authorities, additionals] = header.counts;
    for section in
        [(Section::Answer, answers), (Section::Authority, authorities), (Section::Additional, additionals)]
    {
        for _ in 0..section.1 {
            let Ok(record) = rr::Record::read(decoder) else { return Err((sections, DecodeError::Record)) };
            sections.keep(section.0, record);
        }
    }
    Ok(sections)
}

/// The sections that hold records.
#[derive(Clone, Copy)]
enum Section {
    Answer,
    Authority,
    Additional,
}

impl Sections {
    fn keep(&mut self, section: Section, record: rr::Record) {
        let record_type = RecordType(record.record_type().into());
        match section {
            Section::Answer => {
                let rr::Record { name, ttl, data, .. } = record;
                self.answers.push(Answer { name: Name(name), record_type, ttl, data });
            }
            Section::Authority => self.authority_soa |= record_type == RecordType::SOA,
            // OPT keeps its numbers in the fields of an ordinary record: CLASS is the payload size, TTL holds the
            // high bits of the rcode, the version and the flags (RFC 6891 section 6.1.3).
            Section::Additional if record_type == RecordType::OPT && self.opt.is_none() => {
                let [rcode_high, version, flags, _] = record.ttl.to_be_bytes();
                let udp_payload_size = record.dns_class.into();
                self.opt =
                    Some((Edns { udp_payload_size, version, dnssec_ok: flags & 0x80 != 0 }, rcode_high));
            }
            Section::Additional => {}
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
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
        let soa =
            record(dotted("test"), 6, 1, 60, &[dotted("ns.test"), dotted("h.test"), vec![0; 20]].concat());
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
        let of =
            |text: &str| query(&message(7, 0, [1, 0, 0, 0], &[question(dotted(text), 1)])).question.unwrap();
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
        let whole =
            message(7, 0x8180, [1, 1, 0, 0], &[a.clone(), record(pointer(), 1, 1, 60, &[192, 0, 2, 1])]);
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
                record(vec![1, b'x', 0xc0 | (target >> 8) as u8, target as u8], 1, 1, 60, &[1, 2, 3, 4])
                    [..16]
                    .to_vec(),
            );
        }
        let wire = message(7, 0x8180, [1, 2000, 0, 0], &[part]);
        assert!(parse(&wire, wire.len()).is_err());
    }
}
