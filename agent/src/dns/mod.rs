//! Turns one payload into one message, or says why not.
//!
//! Input: the bytes of a UDP payload, or of one TCP message without its length prefix. Output: [`Message`] or
//! [`DecodeError`]. One walk checks the whole message and keeps what matching and counting need; a response keeps its
//! bytes too, and its records are read again when they are printed. Deliberately absent: interfaces, time, matching.

mod data;
mod edns;
mod error;
mod name;
mod types;
mod wire;

use std::ops::Range;
use std::time::Duration;

pub use edns::{Edns, EdnsOption, OptionValue, ZoneVersion};
pub use error::DecodeError;
pub use name::{Name, NameError};
pub use types::{Rcode, RecordType, class_name, opcode_name};
use wire::Walk;

/// Length of the DNS header in bytes (RFC 1035 section 4.1.1).
pub const HEADER_LENGTH: usize = 12;

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

    /// UPDATE (RFC 2136): the sections are zone, prerequisite and update, and records may be without data.
    const fn is_update(&self) -> bool {
        self.opcode() == 5
    }

    /// DNS stateful operations (RFC 8490): what stands behind the header is no section.
    const fn is_stateful(&self) -> bool {
        self.opcode() == 6
    }

    /// QR: this is a response.
    pub const fn is_response(&self) -> bool {
        self.flags & 0x8000 != 0
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

/// A section of resource records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Answers; the prerequisites of an UPDATE.
    Answer,
    /// Name servers and the SOA; the changes of an UPDATE.
    Authority,
    /// What may be useful besides; OPT and TSIG.
    Additional,
}

/// A resource record, still as it stands in its message.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// The owner.
    pub name: Name,
    /// TYPE.
    pub record_type: RecordType,
    /// CLASS; 1 is IN.
    pub class: u16,
    /// TTL in seconds.
    pub ttl: u32,
    message: &'a [u8],
    data: Range<usize>,
}

impl Answer<'_> {
    /// The data in presentation form: printable ASCII, escaped as RFC 1035 section 5.1 has it.
    pub fn data(&self) -> String {
        data::presentation(self.message, self.record_type, self.class, self.data.clone())
    }
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
    /// It came in fragments; its bytes do not tell ([`Message::set_fragmented`]).
    pub fragmented: bool,
    /// The first illegal thing in a message that was read all the same.
    pub defect: Option<DecodeError>,
    /// The data of the OPT record; most have none.
    options: Box<[u8]>,
}

impl Query {
    /// The largest UDP response in bytes that this client takes: 512 without EDNS (RFC 1035 section 4.2.1), and at
    /// least that with it (RFC 6891 section 6.2.3).
    pub fn udp_limit(&self) -> usize {
        self.edns.map_or(512, |edns| usize::from(edns.udp_payload_size).max(512))
    }

    /// The options of the OPT record, in their order.
    pub fn options(&self) -> impl Iterator<Item = EdnsOption<'_>> {
        edns::options(&self.options)
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
    /// An SOA stands in the authority section: who says no, and for how long (RFC 2308).
    pub authority_soa: bool,
    /// How long a cache may keep it: the least TTL of the answer section; of a negative response what RFC 2308 section 5
    /// says, the lesser of the SOA's TTL and its MINIMUM field. `None` where no record tells.
    pub lifetime: Option<Duration>,
    /// The OPT record, if there is one.
    pub edns: Option<Edns>,
    /// Length of the message in bytes; that of the whole where only its beginning was seen.
    pub length: usize,
    /// The sections may lack records: only the beginning of the message was seen, or a record cannot be read.
    pub partial: bool,
    /// It came in fragments; its bytes do not tell ([`Message::set_fragmented`]).
    pub fragmented: bool,
    /// The first illegal thing in a message that was read all the same.
    pub defect: Option<DecodeError>,
    /// A record of the type asked stands in the answer section.
    answered: bool,
    /// CNAME records in the answer section, as many as could be read.
    pub aliases: u16,
    /// As it was seen.
    message: Box<[u8]>,
    /// Where the answer section begins.
    answers_at: usize,
    /// Records that can be read of each section.
    records: [u16; 3],
    /// Where the data of the OPT record stand.
    options: Range<usize>,
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
            && !self.answered
    }

    /// The records of the answer section, read one by one.
    pub fn answers(&self) -> impl Iterator<Item = Answer<'_>> {
        self.section(Section::Answer)
    }

    /// The records of a section, read one by one.
    pub fn section(&self, section: Section) -> impl Iterator<Item = Answer<'_>> {
        let before = self.records[..section as usize].iter().copied().map(usize::from).sum();
        let mut at = self.answers_at;
        let records = std::iter::from_fn(move || {
            let record = wire::record(&self.message, at).ok()?;
            let (name, _) = Name::read(&self.message, at).ok()?;
            at = record.data.end;
            Some(Answer {
                name,
                record_type: record.record_type,
                class: record.class,
                ttl: record.ttl,
                message: &self.message,
                data: record.data,
            })
        });
        records.skip(before).take(self.records[section as usize].into())
    }

    /// The options of the OPT record, in their order.
    pub fn options(&self) -> impl Iterator<Item = EdnsOption<'_>> {
        edns::options(self.message.get(self.options.clone()).unwrap_or_default())
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

    /// The options of the OPT record, in their order.
    pub fn options(&self) -> Vec<EdnsOption<'_>> {
        match self {
            Self::Query(query) => query.options().collect(),
            Self::Response(response) => response.options().collect(),
        }
    }

    /// Length of the message in bytes.
    pub fn length(&self) -> usize {
        match self {
            Self::Query(query) => query.length,
            Self::Response(response) => response.length,
        }
    }

    /// It came in fragments.
    pub fn fragmented(&self) -> bool {
        match self {
            Self::Query(query) => query.fragmented,
            Self::Response(response) => response.fragmented,
        }
    }

    /// Notes whether it came in fragments.
    pub fn set_fragmented(&mut self, fragmented: bool) {
        match self {
            Self::Query(query) => query.fragmented = fragmented,
            Self::Response(response) => response.fragmented = fragmented,
        }
    }

    /// The first illegal thing in a message that was read all the same.
    pub fn defect(&self) -> Option<DecodeError> {
        match self {
            Self::Query(query) => query.defect,
            Self::Response(response) => response.defect,
        }
    }
}

/// Reads a message. One with bytes behind its end is read all the same: see [`Message::defect`].
///
/// `bytes` is the message, or its beginning: then `length` is larger, the sections hold what could be read, and only
/// header and question must be there. `length` is that of the whole message in bytes.
///
/// # Errors
///
/// [`DecodeError`]; never panics, whatever the bytes are.
pub fn parse(bytes: &[u8], length: usize) -> Result<Message, DecodeError> {
    let walk = wire::walk(bytes)?;
    match walk.defect {
        // Of a message that was cut off nobody knows whether it was illegal.
        _ if length > bytes.len() => {
            Ok(message(Walk { defect: None, complete: false, ..walk }, bytes, length))
        }
        None | Some(DecodeError::TrailingBytes) => Ok(message(walk, bytes, length)),
        Some(error) => Err(error),
    }
}

/// Reads an illegal message as far as that goes; header and first question are enough to tell which query it is or
/// answers. [`Message::defect`] tells what is wrong.
///
/// # Errors
///
/// [`DecodeError`], where not even these can be read.
pub fn parse_despite_records(bytes: &[u8]) -> Result<Message, DecodeError> {
    wire::walk(bytes).map(|walk| message(walk, bytes, bytes.len()))
}

fn message(walk: Walk, bytes: &[u8], length: usize) -> Message {
    let Walk { header, question, opt, defect, .. } = walk;
    let (edns, rcode_high, options) = match opt {
        Some((edns, rcode_high, options)) => (Some(edns), rcode_high, options),
        None => (None, 0, 0..0),
    };
    if !header.is_response() {
        return Message::Query(Query {
            header,
            question,
            edns,
            length,
            fragmented: false,
            defect,
            options: bytes[options].into(),
        });
    }
    Message::Response(Response {
        header,
        question,
        rcode: Rcode(u16::from(rcode_high) << 4 | header.flags & 0x0f),
        authority_soa: walk.authority_soa,
        lifetime: walk.least_ttl.map(|seconds| Duration::from_secs(seconds.into())),
        edns,
        length,
        partial: !walk.complete,
        fragmented: false,
        defect,
        answered: walk.answered,
        aliases: walk.aliases,
        message: bytes.into(),
        answers_at: walk.answers_at,
        records: walk.records,
        options,
    })
}

#[cfg(test)]
pub(crate) mod tests;
