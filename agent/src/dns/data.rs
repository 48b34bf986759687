//! Record data in presentation form, as a zone file has it.
//!
//! Each type is a row of fields. hickory-proto is not used for this: it knows no DNSSEC type without a library for
//! cryptography, has no LOC, leaves out the quotes of strings and their escapes, and ends lists with a comma.

mod location;
mod service;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use data_encoding::{BASE32HEX_NOPAD, BASE64, HEXLOWER};

use super::name::Name;
use super::types::RecordType;

/// A part of a record's data.
#[derive(Clone, Copy)]
enum Field {
    U8,
    U16,
    U32,
    /// A time in seconds since 1970, as YYYYMMDDHHmmSS (RFC 4034 section 3.2).
    Time,
    /// A type's number.
    Type,
    /// A name, compressed or not.
    Name,
    V4,
    V6,
    /// A string behind its length, in quotes.
    Text,
    /// Such strings up to the end.
    Texts,
    /// A string behind its length that consists of letters and digits.
    Tag,
    /// All that is left as one string, in quotes.
    Rest,
    /// All that is left.
    Hex,
    /// All that is left.
    Base64,
    /// Octets behind their length; `-` is none (RFC 5155 section 3.3).
    Salt,
    /// Octets behind their length (RFC 5155 section 3.3).
    Base32,
    /// Types in windows of bits (RFC 4034 section 4.1.2).
    Types,
    /// All that is left, each octet by two digits (RFC 7043 section 3.2).
    Eui,
    /// See [`location`].
    Location,
    /// See [`service`].
    ServiceParameters,
}

/// The fields of a type; `None`: its data are opaque (RFC 3597 section 5).
fn fields(record_type: RecordType) -> Option<&'static [Field]> {
    use Field::*;
    Some(match record_type.0 {
        1 => &[V4],
        28 => &[V6],
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, NSAP-PTR, DNAME
        2..=5 | 7..=9 | 12 | 23 | 39 => &[Name],
        6 => &[Name, Name, U32, U32, U32, U32, U32],
        13 => &[Text, Text],
        // MINFO, RP, TALINK
        14 | 17 | 58 => &[Name, Name],
        // MX, AFSDB, RT, KX, LP
        15 | 18 | 21 | 36 | 107 => &[U16, Name],
        // TXT, NINFO, SPF, AVC, RESINFO, WALLET
        16 | 56 | 99 | 258 | 261 | 262 => &[Texts],
        19 => &[Text],
        20 => &[Texts],
        // SIG, RRSIG
        24 | 46 => &[Type, U8, U8, U32, Time, Time, U16, Name, Base64],
        // KEY, DNSKEY, RKEY, CDNSKEY
        25 | 48 | 57 | 60 => &[U16, U8, U8, Base64],
        26 => &[U16, Name, Name],
        27 => &[Text, Text, Text],
        29 => &[Location],
        33 => &[U16, U16, U16, Name],
        35 => &[U16, U16, Text, Text, Text, Name],
        37 => &[U16, U16, U8, Base64],
        // DS, CDS, TA, DLV
        43 | 59 | 32768 | 32769 => &[U16, U8, U8, Hex],
        44 => &[U8, U8, Hex],
        47 => &[Name, Types],
        // DHCID, OPENPGPKEY
        49 | 61 => &[Base64],
        50 => &[U8, U8, U16, Salt, Base32, Types],
        51 => &[U8, U8, U16, Salt],
        // TLSA, SMIMEA
        52 | 53 => &[U8, U8, U8, Hex],
        62 => &[U32, U16, Types],
        63 => &[U32, U8, U8, Hex],
        // SVCB, HTTPS
        64 | 65 => &[U16, Name, ServiceParameters],
        66 => &[Type, U8, U16, Name],
        105 => &[U16, V4],
        // EUI48, EUI64
        108 | 109 => &[Eui],
        256 => &[U16, U16, Rest],
        257 => &[U8, Tag, Rest],
        _ => return None,
    })
}

/// Classes whose data have the known format: CH has addresses of its own.
fn is_common(record_type: RecordType, class: u16) -> bool {
    class != 3 || !matches!(record_type, RecordType::A | RecordType::AAAA)
}

/// The data of a record that stand at `range` of the message `bytes`, in printable ASCII only; as `\# 3 c00002` (RFC
/// 3597 section 5) where the type is not known or the data do not fit it.
pub(super) fn presentation(bytes: &[u8], record_type: RecordType, class: u16, range: Range<usize>) -> String {
    let data = bytes.get(range.clone()).unwrap_or_default();
    let known = fields(record_type).filter(|_| is_common(record_type, class));
    known.and_then(|fields| write_fields(bytes, range, fields)).unwrap_or_else(|| {
        let space = if data.is_empty() { "" } else { " " };
        format!("\\# {}{space}{}", data.len(), hex(data))
    })
}

/// `None`: the data are shorter or longer than the fields, or one of them is illegal.
fn write_fields(bytes: &[u8], range: Range<usize>, fields: &[Field]) -> Option<String> {
    let mut reader = Reader { bytes: bytes.get(..range.end)?, at: range.start };
    let mut text = String::with_capacity(64);
    for field in fields {
        let before = text.len();
        if before > 0 {
            text.push(' ');
        }
        reader.write(*field, &mut text)?;
        // A list without an entry.
        if text.len() == before + 1 && text.ends_with(' ') {
            text.pop();
        }
    }
    reader.is_done().then_some(text)
}

/// Reads the data of a record, which end where `bytes` end: what stands before may be pointed at.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn is_done(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let array = self.bytes.get(self.at..)?.first_chunk()?;
        self.at += N;
        Some(*array)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at + length)?;
        self.at += length;
        Some(taken)
    }

    /// Octets behind their length.
    fn sized(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(length.into())
    }

    fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        self.at = self.bytes.len();
        rest
    }

    fn name(&mut self) -> Option<Name> {
        let (name, end) = Name::read(self.bytes, self.at).ok()?;
        self.at = end;
        Some(name)
    }

    fn write(&mut self, field: Field, out: &mut String) -> Option<()> {
        match field {
            Field::U8 => write!(out, "{}", self.u8()?),
            Field::U16 => write!(out, "{}", self.u16()?),
            Field::U32 => write!(out, "{}", self.u32()?),
            Field::Time => write!(out, "{}", time(self.u32()?)),
            Field::Type => write!(out, "{}", RecordType(self.u16()?)),
            Field::Name => write!(out, "{}", self.name()?),
            Field::V4 => write!(out, "{}", Ipv4Addr::from(self.array::<4>()?)),
            Field::V6 => write!(out, "{}", Ipv6Addr::from(self.array::<16>()?)),
            Field::Text => write!(out, "{}", quoted(self.sized()?)),
            Field::Texts => return self.write_texts(out),
            Field::Tag => write!(out, "{}", tag(self.sized()?)?),
            Field::Rest => write!(out, "{}", quoted(self.rest())),
            Field::Hex => write!(out, "{}", hex(self.rest())),
            Field::Base64 => write!(out, "{}", BASE64.encode(self.rest())),
            Field::Salt => match self.sized()? {
                [] => write!(out, "-"),
                salt => write!(out, "{}", hex(salt)),
            },
            Field::Base32 => write!(out, "{}", BASE32HEX_NOPAD.encode(self.sized()?)),
            Field::Types => return self.write_types(out),
            Field::Eui => write!(out, "{}", eui(self.rest())?),
            Field::Location => return location::write(self, out),
            Field::ServiceParameters => return service::write(self, out),
        }
        .ok()
    }

    fn write_texts(&mut self, out: &mut String) -> Option<()> {
        out.push_str(&quoted(self.sized()?));
        while !self.is_done() {
            out.push(' ');
            out.push_str(&quoted(self.sized()?));
        }
        Some(())
    }

    fn write_types(&mut self, out: &mut String) -> Option<()> {
        let mut space = "";
        while !self.is_done() {
            let [window, length] = self.array()?;
            if !(1..=32).contains(&length) {
                return None;
            }
            for (number, octet) in (0..).zip(self.take(length.into())?) {
                for bit in (0..8).filter(|bit| octet & 0x80 >> bit != 0) {
                    let record_type = RecordType(u16::from(window) << 8 | (number * 8 + bit));
                    write!(out, "{space}{record_type}").ok()?;
                    space = " ";
                }
            }
        }
        Some(())
    }
}

/// In lower case.
pub(super) fn hex(octets: &[u8]) -> String {
    HEXLOWER.encode(octets)
}

/// In quotes; `"` and `\` as `\X`, whatever is not printable ASCII as `\DDD` (RFC 1035 section 5.1).
pub(super) fn quoted(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len() + 2);
    text.push('"');
    escape(&mut text, octets);
    text.push('"');
    text
}

fn escape(text: &mut String, octets: &[u8]) {
    for &octet in octets {
        match octet {
            b'"' | b'\\' => text.extend(['\\', char::from(octet)]),
            b' '..=b'~' => text.push(char::from(octet)),
            _ => text.push_str(&format!("\\{octet:03}")),
        }
    }
}

/// Letters and digits, at least one (RFC 8659 section 4.1).
fn tag(octets: &[u8]) -> Option<&str> {
    let legal = !octets.is_empty() && octets.iter().all(u8::is_ascii_alphanumeric);
    std::str::from_utf8(octets).ok().filter(|_| legal)
}

fn eui(octets: &[u8]) -> Option<String> {
    let pairs: Vec<String> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    matches!(octets.len(), 6 | 8).then(|| pairs.join("-"))
}

/// YYYYMMDDHHmmSS in UTC; the numbers wrap in 2106 (RFC 4034 section 3.1.5), which is left to the reader.
fn time(seconds: u32) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // From 0000-03-01 on, so that the leap day is a year's last: 400 years have 146,097 days.
    let day_of_era = days + 719_468;
    let era = day_of_era / 146_097;
    let day = day_of_era % 146_097;
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{:04}{month:02}{day:02}{hour:02}{minute:02}{:02}", era * 400 + year, second % 60)
}
