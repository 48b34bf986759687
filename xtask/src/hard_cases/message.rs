//! Composes DNS messages byte by byte, wrong ones too: nothing is checked and nothing is compressed by itself.

/// Record types that the cases use.
pub mod types {
    /// IPv4 address.
    pub const A: u16 = 1;
    /// Name server.
    pub const NS: u16 = 2;
    /// Alias.
    pub const CNAME: u16 = 5;
    /// Start of authority.
    pub const SOA: u16 = 6;
    /// Text.
    pub const TXT: u16 = 16;
    /// IPv6 address.
    pub const AAAA: u16 = 28;
    /// EDNS (RFC 6891).
    pub const OPT: u16 = 41;
    /// Service binding (RFC 9460).
    pub const SVCB: u16 = 64;
    /// Service binding for HTTP (RFC 9460).
    pub const HTTPS: u16 = 65;
    /// For private use (RFC 6895 section 3.1): any data is legal.
    pub const PRIVATE: u16 = 65_280;
}

/// RD: what a stub resolver sends.
pub const QUERY: u16 = 0x0100;
/// QR, RD and RA: what a recursive resolver answers with.
pub const RESPONSE: u16 = 0x8180;
/// A pointer to the first question's name.
pub const QNAME: &[u8] = &[0xc0, 0x0c];

/// The sections of records by their place in the header.
#[derive(Clone, Copy)]
pub enum Section {
    /// ANCOUNT.
    Answer = 1,
    /// NSCOUNT.
    Authority = 2,
    /// ARCOUNT.
    Additional = 3,
}

/// A message that is being written.
#[derive(Clone)]
pub struct Message {
    id: u16,
    flags: u16,
    counts: [u16; 4],
    body: Vec<u8>,
}

impl Message {
    /// A header alone.
    pub fn bare(id: u16, flags: u16) -> Self {
        Self { id, flags, counts: [0; 4], body: Vec::new() }
    }

    /// A query of class IN.
    pub fn query(id: u16, qname: &str, qtype: u16) -> Self {
        Self::bare(id, QUERY).question(&name(qname), qtype)
    }

    /// An answer without records.
    pub fn response(id: u16, qname: &str, qtype: u16) -> Self {
        Self::bare(id, RESPONSE).question(&name(qname), qtype)
    }

    /// One question more, of class IN.
    pub fn question(mut self, qname: &[u8], qtype: u16) -> Self {
        self.body.extend(qname);
        self.body.extend(qtype.to_be_bytes());
        self.body.extend(1_u16.to_be_bytes());
        self.counts[0] += 1;
        self
    }

    /// One record more, of class IN with a TTL of 60 s.
    pub fn record(self, section: Section, owner: &[u8], record_type: u16, rdata: &[u8]) -> Self {
        self.any_record(section, owner, record_type, 1, 60, rdata)
    }

    /// A record in the answer section that the question's name owns.
    pub fn answer(self, record_type: u16, rdata: &[u8]) -> Self {
        self.record(Section::Answer, QNAME, record_type, rdata)
    }

    /// The address 203.0.113.1 or 2001:db8::1 in the answer section.
    pub fn address(self, record_type: u16) -> Self {
        match record_type {
            types::AAAA => self.answer(types::AAAA, b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"),
            _ => self.answer(types::A, &[203, 0, 113, 1]),
        }
    }

    /// An OPT record (RFC 6891 section 6.1.2); `ttl` is extended rcode, version and flags, `options` as on the wire.
    pub fn opt(self, size: u16, ttl: u32, options: &[u8]) -> Self {
        self.any_record(Section::Additional, &[0], types::OPT, size, ttl, options)
    }

    fn any_record(
        mut self,
        section: Section,
        owner: &[u8],
        record_type: u16,
        class: u16,
        ttl: u32,
        rdata: &[u8],
    ) -> Self {
        self.body.extend(owner);
        self.body.extend(record_type.to_be_bytes());
        self.body.extend(class.to_be_bytes());
        self.body.extend(ttl.to_be_bytes());
        self.body.extend((rdata.len() as u16).to_be_bytes());
        self.body.extend(rdata);
        self.counts[section as usize] += 1;
        self
    }

    /// A record of a private type in the answer section that makes the message `total` bytes long.
    pub fn filled(self, total: usize) -> Self {
        // The owner takes 2 bytes, the fixed fields 10.
        let rdata = total.saturating_sub(12 + self.body.len() + 12);
        self.answer(types::PRIVATE, &pattern(rdata))
    }

    /// Bytes as they are, counted nowhere.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.body.extend(bytes);
        self
    }

    /// Another word of flags.
    pub fn flags(mut self, flags: u16) -> Self {
        self.flags = flags;
        self
    }

    /// Other counts than those of what was written.
    pub fn counts(mut self, counts: [u16; 4]) -> Self {
        self.counts = counts;
        self
    }

    /// As it goes over UDP.
    pub fn bytes(&self) -> Vec<u8> {
        let words = [self.id, self.flags].into_iter().chain(self.counts);
        words.flat_map(u16::to_be_bytes).chain(self.body.iter().copied()).collect()
    }

    /// As it goes over TCP: behind its length (RFC 1035 section 4.2.2).
    pub fn prefixed(&self) -> Vec<u8> {
        let bytes = self.bytes();
        (bytes.len() as u16).to_be_bytes().into_iter().chain(bytes).collect()
    }
}

/// A name of plain labels as on the wire; the final dot may be there.
pub fn name(text: &str) -> Vec<u8> {
    let parts: Vec<&[u8]> = text.split('.').filter(|label| !label.is_empty()).map(str::as_bytes).collect();
    labels(&parts)
}

/// A name of any labels as on the wire.
pub fn labels(labels: &[&[u8]]) -> Vec<u8> {
    let mut wire: Vec<u8> = labels.iter().flat_map(|label| [&[label.len() as u8], *label].concat()).collect();
    wire.push(0);
    wire
}

/// An EDNS option (RFC 6891 section 6.1.2).
pub fn option(code: u16, data: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), data].concat()
}

/// `length` bytes that differ from place to place, so that a piece in the wrong place is noticed.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}
