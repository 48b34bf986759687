//! One walk over a message: every name, length and count is checked, and only what matching and counting need is kept.

use std::ops::Range;

use super::edns::{Edns, options};
use super::name::{self, Extent, Name};
use super::{DecodeError, HEADER_LENGTH, Header, Question, RecordType};

/// Class IN (RFC 1035 section 3.2.4).
const CLASS_IN: u16 = 1;
/// Class NONE: an UPDATE's record that is to go (RFC 2136 section 2.5.4).
const CLASS_NONE: u16 = 254;
/// Where the first question begins, and where nearly every record's owner points.
const FIRST_QUESTION: [u8; 2] = [0xc0, HEADER_LENGTH as u8];

/// What is kept of a message.
pub(super) struct Walk {
    /// The fixed part.
    pub(super) header: Header,
    /// The first question.
    pub(super) question: Option<Question>,
    /// Where the answer section begins.
    pub(super) answers_at: usize,
    /// Records that could be read of the answer, authority and additional section.
    pub(super) records: [u16; 3],
    /// A record of the type asked stands in the answer section.
    pub(super) answered: bool,
    /// CNAME records in the answer section.
    pub(super) aliases: u16,
    /// An SOA stands in the authority section.
    pub(super) authority_soa: bool,
    /// The least TTL in seconds of the answer section; without answers, that for which the SOA lets the negative be kept.
    pub(super) least_ttl: Option<u32>,
    /// The first OPT record, the high bits of the rcode, and where its options stand.
    pub(super) opt: Option<(Edns, u8, Range<usize>)>,
    /// All that the header promises could be read.
    pub(super) complete: bool,
    /// The first illegal thing.
    pub(super) defect: Option<DecodeError>,
}

/// A record as it stands in the message.
pub(super) struct Record {
    /// The owner's octets without compression.
    owner_length: usize,
    /// TYPE.
    pub(super) record_type: RecordType,
    /// CLASS.
    pub(super) class: u16,
    /// TTL in seconds.
    pub(super) ttl: u32,
    /// RDATA.
    pub(super) data: Range<usize>,
}

/// Walks over a message or its beginning.
///
/// # Errors
///
/// [`DecodeError`], where not even header and first question can be read.
pub(super) fn walk(bytes: &[u8]) -> Result<Walk, DecodeError> {
    let header = header(bytes)?;
    let mut walk = Walk {
        header,
        question: None,
        answers_at: HEADER_LENGTH,
        records: [0; 3],
        answered: false,
        aliases: 0,
        authority_soa: false,
        least_ttl: None,
        opt: None,
        complete: true,
        defect: None,
    };
    if header.counts[0] > 0 {
        let (question, end) = question(bytes)?;
        walk.question = Some(question);
        walk.answers_at = end;
    }
    if let Err(error) = walk.rest(bytes) {
        walk.complete = false;
        // TC says that the end is missing; some servers cut wherever 512 bytes are full.
        let cut = matches!(error, DecodeError::RecordCut | DecodeError::CountMismatch);
        if !(cut && header.truncated()) {
            walk.defect = walk.defect.or(Some(error));
        }
    }
    Ok(walk)
}

fn header(bytes: &[u8]) -> Result<Header, DecodeError> {
    let fixed = bytes.first_chunk::<HEADER_LENGTH>().ok_or(DecodeError::ShortHeader)?;
    let word = |index: usize| u16::from_be_bytes([fixed[2 * index], fixed[2 * index + 1]]);
    Ok(Header { id: word(0), flags: word(1), counts: [word(2), word(3), word(4), word(5)] })
}

/// The first question, and the position behind it.
fn question(bytes: &[u8]) -> Result<(Question, usize), DecodeError> {
    let (qname, end) = Name::read(bytes, HEADER_LENGTH).map_err(in_question)?;
    let fixed = fixed::<4>(bytes, end).ok_or(DecodeError::QuestionCut)?;
    let [qtype, qclass] = [[fixed[0], fixed[1]], [fixed[2], fixed[3]]].map(u16::from_be_bytes);
    Ok((Question { qname, qtype: RecordType(qtype), qclass }, end + 4))
}

fn in_question(error: DecodeError) -> DecodeError {
    if error == DecodeError::RecordCut { DecodeError::QuestionCut } else { error }
}

impl Walk {
    /// The other questions and all records.
    fn rest(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let [questions, sections @ ..] = self.header.counts;
        let mut at = self.answers_at;
        for _ in 1..questions {
            at = name::extent(bytes, at).map_err(in_question)?.end + 4;
            if at > bytes.len() {
                return Err(DecodeError::QuestionCut);
            }
        }
        self.answers_at = at;
        for (section, count) in sections.into_iter().enumerate() {
            for _ in 0..count {
                if at == bytes.len() {
                    return Err(DecodeError::CountMismatch);
                }
                let record = self.record(bytes, at)?;
                at = record.data.end;
                self.keep(bytes, section, &record);
                self.records[section] += 1;
            }
        }
        if at < bytes.len() && !self.header.is_stateful() {
            self.note(DecodeError::TrailingBytes);
        }
        Ok(())
    }

    fn record(&self, bytes: &[u8], at: usize) -> Result<Record, DecodeError> {
        match &self.question {
            // That name has been checked.
            Some(question) if fixed::<2>(bytes, at) == Some(FIRST_QUESTION) => {
                record_behind(bytes, Extent { end: at + 2, length: question.qname.wire_length() })
            }
            _ => record(bytes, at),
        }
    }

    fn note(&mut self, defect: DecodeError) {
        self.defect = self.defect.or(Some(defect));
    }

    fn keep(&mut self, bytes: &[u8], section: usize, record: &Record) {
        if record.record_type == RecordType::OPT {
            return self.keep_opt(bytes, section, record);
        }
        if let Err(defect) = self.check_data(bytes, record) {
            self.note(defect);
        }
        match section {
            0 => {
                let asked = self.question.as_ref().map(|question| question.qtype);
                self.answered |= asked == Some(record.record_type);
                self.aliases += u16::from(record.record_type == RecordType::CNAME);
                self.least_ttl = Some(self.least_ttl.map_or(record.ttl, |least| least.min(record.ttl)));
            }
            1 if record.record_type == RecordType::SOA => {
                self.authority_soa = true;
                if !self.answered {
                    // MINIMUM stands at the end of the data (RFC 1035 section 3.3.13).
                    let minimum = bytes[record.data.clone()].last_chunk::<4>();
                    let negative = minimum.map_or(0, |minimum| u32::from_be_bytes(*minimum)).min(record.ttl);
                    self.least_ttl = Some(self.least_ttl.map_or(negative, |least| least.min(negative)));
                }
            }
            _ => {}
        }
    }

    /// OPT keeps its numbers in the fields of an ordinary record: CLASS is the payload size, TTL holds the high bits
    /// of the rcode, the version and the flags (RFC 6891 section 6.1.3).
    fn keep_opt(&mut self, bytes: &[u8], section: usize, record: &Record) {
        if section != 2 {
            return self.note(DecodeError::OptMisplaced);
        }
        if self.opt.is_some() {
            return self.note(DecodeError::OptDuplicate);
        }
        let mut options = options(&bytes[record.data.clone()]);
        options.by_ref().for_each(drop);
        if record.owner_length != 1 || !options.is_whole() {
            self.note(DecodeError::OptMalformed);
        }
        let [rcode_high, version, flags, _] = record.ttl.to_be_bytes();
        let edns = Edns { udp_payload_size: record.class, version, dnssec_ok: flags & 0x80 != 0 };
        self.opt = Some((edns, rcode_high, record.data.clone()));
    }

    /// Addresses have their length, and names are well formed and end where the data end. The data of other types are
    /// left to those who print them.
    fn check_data(&self, bytes: &[u8], record: &Record) -> Result<(), DecodeError> {
        let Range { start, end } = record.data;
        // What an UPDATE deletes or asks for has no data (RFC 2136 sections 2.4 and 2.5).
        if start == end && self.header.is_update() {
            return Ok(());
        }
        // These formats are those of the Internet; Chaosnet's addresses look otherwise.
        let internet = matches!(record.class, CLASS_IN | CLASS_NONE);
        // Cut at the data's end, so that a name cannot run on; pointers lead back, which stays readable.
        let bytes = &bytes[..end];
        let fits = match record.record_type {
            RecordType::A => !internet || end - start == 4,
            RecordType::AAAA => !internet || end - start == 16,
            RecordType::CNAME | RecordType::NS | RecordType::PTR | RecordType::DNAME => {
                name_end(bytes, start)? == end
            }
            RecordType::MX => name_end(bytes, start + 2)? == end,
            RecordType::SRV if internet => name_end(bytes, start + 6)? == end,
            RecordType::SOA => name_end(bytes, name_end(bytes, start)?)? + 20 == end,
            RecordType::TXT => strings_fill(&bytes[start..]),
            _ => true,
        };
        if fits { Ok(()) } else { Err(DecodeError::Rdata) }
    }
}

/// The position behind a name within data, which end with `bytes`.
fn name_end(bytes: &[u8], at: usize) -> Result<usize, DecodeError> {
    match name::extent(bytes, at) {
        Ok(name) => Ok(name.end),
        Err(DecodeError::RecordCut) => Err(DecodeError::Rdata),
        Err(error) => Err(error),
    }
}

/// One or more strings, each behind its length (RFC 1035 section 3.3.14).
fn strings_fill(mut data: &[u8]) -> bool {
    if data.is_empty() {
        return false;
    }
    while let Some((&length, behind)) = data.split_first() {
        let Some(rest) = behind.get(usize::from(length)..) else { return false };
        data = rest;
    }
    true
}

/// Reads the record that begins at `at`.
pub(super) fn record(bytes: &[u8], at: usize) -> Result<Record, DecodeError> {
    record_behind(bytes, name::extent(bytes, at)?)
}

fn record_behind(bytes: &[u8], owner: Extent) -> Result<Record, DecodeError> {
    let fixed = fixed::<10>(bytes, owner.end).ok_or(DecodeError::RecordCut)?;
    let [t0, t1, c0, c1, l0, l1, l2, l3, d0, d1] = fixed;
    let start = owner.end + fixed.len();
    let end = start + usize::from(u16::from_be_bytes([d0, d1]));
    if end > bytes.len() {
        return Err(DecodeError::RecordCut);
    }
    Ok(Record {
        owner_length: owner.length,
        record_type: RecordType(u16::from_be_bytes([t0, t1])),
        class: u16::from_be_bytes([c0, c1]),
        ttl: u32::from_be_bytes([l0, l1, l2, l3]),
        data: start..end,
    })
}

fn fixed<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}
