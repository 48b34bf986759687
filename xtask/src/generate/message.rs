//! Composes DNS messages (RFC 1035 section 4), with compressed names.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The response code of a name that does not exist.
pub const NXDOMAIN: u8 = 3;
/// The response code of a server that failed.
pub const SERVFAIL: u8 = 2;
/// The response code of an answer, also of an empty one.
pub const NOERROR: u8 = 0;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qtype {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
}

impl Qtype {
    fn code(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
        }
    }
}

/// A query, and the part of a response that repeats it.
#[derive(Clone, Debug)]
pub struct Query {
    /// The ID that pairs query and response.
    pub id: u16,
    /// Absolute, without the final dot.
    pub qname: String,
    /// The type asked for.
    pub qtype: Qtype,
    /// The UDP payload size of the OPT record; `None` without EDNS.
    pub edns: Option<u16>,
}

/// The data of one record of the answer.
#[derive(Clone, Debug)]
pub enum Record {
    /// An alias for the name given.
    Cname(String),
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
}

/// What a response says beyond the query that it repeats.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// The response code.
    pub rcode: u8,
    /// The chain of aliases first, then the addresses of its end; each owned by the alias before it.
    pub records: Vec<Record>,
    /// The zone whose SOA record stands in the authority section of a negative response.
    pub soa: Option<String>,
}

impl Query {
    /// The query as it goes over UDP.
    pub fn encode(&self) -> Vec<u8> {
        let mut composer = Composer::new(self.id, 0x0100, [0, 0, u16::from(self.edns.is_some())]);
        composer.question(self);
        composer.opt(self.edns);
        composer.bytes
    }
}

impl Response {
    /// The response to `query`, whole.
    pub fn encode(&self, query: &Query) -> Vec<u8> {
        self.compose(query, self.records.len(), false)
    }

    /// The response to `query`, cut at a whole record to at most `limit` bytes and marked with TC (RFC 1035 section 4.2.1).
    pub fn encode_truncated(&self, query: &Query, limit: usize) -> Vec<u8> {
        // Records of addresses are 16 or 28 bytes long: dropping one after the other ends soon enough.
        (0..self.records.len())
            .rev()
            .map(|kept| self.compose(query, kept, true))
            .find(|bytes| bytes.len() <= limit)
            .unwrap_or_else(|| self.compose(query, 0, true))
    }

    fn compose(&self, query: &Query, kept: usize, truncated: bool) -> Vec<u8> {
        // QR, RD and RA set.
        let flags = 0x8180 | u16::from(self.rcode) | if truncated { 0x0200 } else { 0 };
        let counts = [kept as u16, u16::from(self.soa.is_some()), u16::from(query.edns.is_some())];
        let mut composer = Composer::new(query.id, flags, counts);
        composer.question(query);
        let mut owner = query.qname.as_str();
        for record in &self.records[..kept] {
            composer.record(owner, record);
            if let Record::Cname(target) = record {
                owner = target;
            }
        }
        if let Some(zone) = &self.soa {
            composer.soa(zone);
        }
        composer.opt(query.edns.map(|_| 1232));
        composer.bytes
    }
}

/// A message that is being written, and where in it each name began.
struct Composer {
    bytes: Vec<u8>,
    names: Vec<(String, u16)>,
}

impl Composer {
    /// Writes the header; `counts` are those of the answer, authority and additional sections.
    fn new(id: u16, flags: u16, counts: [u16; 3]) -> Self {
        let mut composer = Self { bytes: Vec::with_capacity(256), names: Vec::new() };
        for word in [id, flags, 1].into_iter().chain(counts) {
            composer.u16(word);
        }
        composer
    }

    fn u16(&mut self, value: u16) {
        self.bytes.extend(value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.bytes.extend(value.to_be_bytes());
    }

    /// Writes `name`, ended by a pointer as soon as the rest of it stands in the message already.
    fn name(&mut self, name: &str) {
        let mut rest = name;
        while !rest.is_empty() {
            if let Some((_, offset)) = self.names.iter().find(|(known, _)| known == rest) {
                let pointer = 0xc000 | *offset;
                self.u16(pointer);
                return;
            }
            // A pointer has 14 bits (RFC 1035 section 4.1.4).
            if self.bytes.len() < 0x4000 {
                self.names.push((rest.to_owned(), self.bytes.len() as u16));
            }
            let (label, tail) = rest.split_once('.').unwrap_or((rest, ""));
            self.bytes.push(label.len() as u8);
            self.bytes.extend(label.as_bytes());
            rest = tail;
        }
        self.bytes.push(0);
    }

    fn question(&mut self, query: &Query) {
        self.name(&query.qname);
        self.u16(query.qtype.code());
        self.u16(1);
    }

    fn record(&mut self, owner: &str, record: &Record) {
        let code = match record {
            Record::Cname(_) => 5,
            Record::A(_) => 1,
            Record::Aaaa(_) => 28,
        };
        self.record_with(owner, code, 30, |composer| match record {
            Record::Cname(target) => composer.name(target),
            Record::A(address) => composer.bytes.extend(address.octets()),
            Record::Aaaa(address) => composer.bytes.extend(address.octets()),
        });
    }

    fn soa(&mut self, zone: &str) {
        self.record_with(zone, 6, 30, |composer| {
            composer.name(&format!("ns.dns.{zone}"));
            composer.name(&format!("hostmaster.{zone}"));
            for value in [1_704_067_200, 7_200, 1_800, 86_400, 30] {
                composer.u32(value);
            }
        });
    }

    /// Writes a record of class IN whose data `data` writes, and its length after that.
    fn record_with(&mut self, owner: &str, code: u16, ttl: u32, data: impl FnOnce(&mut Self)) {
        self.name(owner);
        self.u16(code);
        self.u16(1);
        self.u32(ttl);
        let length_at = self.bytes.len();
        self.u16(0);
        data(self);
        let length = (self.bytes.len() - length_at - 2) as u16;
        self.bytes[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    }

    /// Writes the OPT record (RFC 6891 section 6.1.2) where there is one.
    fn opt(&mut self, payload_size: Option<u16>) {
        let Some(size) = payload_size else { return };
        self.bytes.push(0);
        self.u16(41);
        self.u16(size);
        self.u32(0);
        self.u16(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query() -> Query {
        Query { id: 0x1234, qname: "www.example.com".into(), qtype: Qtype::A, edns: None }
    }

    #[test]
    fn query_is_as_on_the_wire() {
        let expected =
            b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03com\x00\x00\x01\x00\x01";
        assert_eq!(query().encode(), expected);
    }

    #[test]
    fn names_are_compressed_along_a_chain() {
        let records = vec![Record::Cname("cdn.example.com".into()), Record::A(Ipv4Addr::new(192, 0, 2, 1))];
        let bytes = Response { records, ..Response::default() }.encode(&query());
        // The alias is one label and a pointer to example.com, at offset 16; the address is owned by the alias, at 45.
        let answer = b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x1e\x00\x06\x03cdn\xc0\x10\xc0\x2d\x00\x01\x00\x01\x00\x00\x00\x1e\x00\x04\xc0\x00\x02\x01";
        assert_eq!(&bytes[33..], answer);
    }

    #[test]
    fn truncation_keeps_whole_records_within_the_limit() {
        let records = vec![Record::A(Ipv4Addr::LOCALHOST); 60];
        let response = Response { records, ..Response::default() };
        let bytes = response.encode_truncated(&query(), 512);
        assert!(bytes.len() <= 512 && bytes.len() > 480, "{} bytes", bytes.len());
        assert_eq!(bytes[2] & 0x02, 0x02);
        assert_eq!(usize::from(bytes[7]), (bytes.len() - 33) / 16);
    }
}
