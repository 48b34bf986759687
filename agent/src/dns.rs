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
    /// It came in fragments; its bytes do not tell ([`Message::set_fragmented`]).
    pub fragmented: bool,
}

impl Response {
    /// NODATA: NOERROR without a record of the type asked (RFC 2308 section 2.2), inferred. A referral looks alike.
    pub fn is_nodata(&self) -> bool {
        let Some(question) = &self.question else { return false };
        self.rcode == Rcode::NOERROR
            && self.header.opcode() == 0
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

    /// The first question, if there is one.
    pub fn question(&self) -> Option<&Question> {
        match self {
            Self::Query(query) => query.question.as_ref(),
            Self::Response(response) => response.question.as_ref(),
        }
    }

    /// The OPT record, if there is one.
    pub fn edns(&self) -> Option<Edns> {
        match self {
            Self::Query(query) => query.edns,
            Self::Response(response) => response.edns,
        }
    }

    /// Notes of a response whether it came in fragments; of a query nobody asks.
    pub fn set_fragmented(&mut self, fragmented: bool) {
        if let Self::Response(response) = self {
            response.fragmented = fragmented;
        }
    }

    /// Length of the message in bytes.
    pub fn length(&self) -> usize {
        match self {
            Self::Query(query) => query.length,
            Self::Response(response) => response.length,
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
    read(bytes, length, length > bytes.len())
}

/// Reads header and question of a message with an illegal record, and the records before it: that is enough to tell
/// which query it is or answers.
///
/// # Errors
///
/// [`DecodeError`], where not even these can be read.
pub fn parse_despite_records(bytes: &[u8]) -> Result<Message, DecodeError> {
    read(bytes, bytes.len(), true)
}

/// `partial`: records that cannot be read are left out.
fn read(bytes: &[u8], length: usize, partial: bool) -> Result<Message, DecodeError> {
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
        fragmented: false,
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
pub(crate) mod tests;
