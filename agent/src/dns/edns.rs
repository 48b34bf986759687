//! The OPT record and its options.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::data::{hex, quoted};
use super::name::Name;

/// What the OPT record said (RFC 6891 section 6.1), its options apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// The largest UDP payload that the sender takes, in bytes.
    pub udp_payload_size: u16,
    /// EDNS version; 0 is the only one.
    pub version: u8,
    /// DO: DNSSEC records wanted.
    pub dnssec_ok: bool,
}

/// An option as it stood on the wire (RFC 6891 section 6.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdnsOption<'a> {
    /// OPTION-CODE.
    pub code: u16,
    /// OPTION-DATA.
    pub data: &'a [u8],
}

/// The options of an OPT record's data, in their order.
pub(super) fn options(data: &[u8]) -> Options<'_> {
    Options(data)
}

/// See [`options`].
pub(super) struct Options<'a>(&'a [u8]);

impl Options<'_> {
    /// At the end: nothing is left that is no option.
    pub(super) fn is_whole(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = EdnsOption<'a>;

    fn next(&mut self) -> Option<EdnsOption<'a>> {
        let (&[c0, c1, l0, l1], behind) = self.0.split_first_chunk::<4>()?;
        let (data, rest) = behind.split_at_checked(u16::from_be_bytes([l0, l1]).into())?;
        self.0 = rest;
        Some(EdnsOption { code: u16::from_be_bytes([c0, c1]), data })
    }
}

/// What an option says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionValue<'a> {
    /// NSID (RFC 5001): the server's name for itself, any octets; empty in a query.
    Nsid(&'a [u8]),
    /// Client subnet (RFC 7871).
    Subnet {
        /// The first bits of the client's address; the others are 0.
        address: IpAddr,
        /// How many bits the query holds.
        source: u8,
        /// For how many the answer is good.
        scope: u8,
    },
    /// Cookie (RFC 7873); a query may hold the client's part alone.
    Cookie {
        /// 8 octets.
        client: &'a [u8],
        /// None, or 8 to 32 octets.
        server: &'a [u8],
    },
    /// TCP keepalive (RFC 7828): the idle time-out in units of 100 ms; none in a query.
    Keepalive(Option<u16>),
    /// Padding (RFC 7830): its length in octets.
    Padding(usize),
    /// Chain query (RFC 7901): the closest trust point that the client has.
    Chain(Name),
    /// Extended error (RFC 8914).
    ExtendedError {
        /// INFO-CODE.
        code: u16,
        /// EXTRA-TEXT, which should be UTF-8.
        text: &'a [u8],
    },
    /// Report channel (RFC 9567): the domain of the agent that takes error reports.
    ReportChannel(Name),
    /// Zone version (RFC 9660); none in a query.
    ZoneVersion(Option<ZoneVersion<'a>>),
    /// An option that is not known, or one whose data do not fit its code.
    Other(&'a [u8]),
}

/// The version of a zone (RFC 9660 section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneVersion<'a> {
    /// Labels of QNAME that make the zone's name.
    pub labels: u8,
    /// TYPE; 0 is the SOA's serial.
    pub kind: u8,
    /// VERSION.
    pub version: &'a [u8],
}

impl<'a> EdnsOption<'a> {
    /// The registered name of the code (IANA, DNS EDNS0 Option Codes).
    pub fn name(&self) -> Option<&'static str> {
        Some(match self.code {
            1 => "LLQ",
            2 => "UL",
            3 => "NSID",
            5 => "DAU",
            6 => "DHU",
            7 => "N3U",
            8 => "ECS",
            9 => "EXPIRE",
            10 => "COOKIE",
            11 => "KEEPALIVE",
            12 => "PADDING",
            13 => "CHAIN",
            14 => "KEY-TAG",
            15 => "EDE",
            16 => "CLIENT-TAG",
            17 => "SERVER-TAG",
            18 => "REPORT-CHANNEL",
            19 => "ZONEVERSION",
            _ => return None,
        })
    }

    /// What the option says.
    pub fn value(&self) -> OptionValue<'a> {
        self.known().unwrap_or(OptionValue::Other(self.data))
    }

    fn known(&self) -> Option<OptionValue<'a>> {
        let data = self.data;
        Some(match self.code {
            3 => OptionValue::Nsid(data),
            8 => subnet(data)?,
            10 if matches!(data.len(), 8 | 16..=40) => {
                let (client, server) = data.split_at(8);
                OptionValue::Cookie { client, server }
            }
            11 if data.is_empty() => OptionValue::Keepalive(None),
            11 => OptionValue::Keepalive(Some(u16::from_be_bytes(data.try_into().ok()?))),
            12 => OptionValue::Padding(data.len()),
            13 => OptionValue::Chain(whole_name(data)?),
            15 => {
                let (code, text) = data.split_first_chunk::<2>()?;
                OptionValue::ExtendedError { code: u16::from_be_bytes(*code), text }
            }
            18 => OptionValue::ReportChannel(whole_name(data)?),
            19 if data.is_empty() => OptionValue::ZoneVersion(None),
            19 => {
                let (&[labels, kind], version) = data.split_first_chunk::<2>()?;
                OptionValue::ZoneVersion(Some(ZoneVersion { labels, kind, version }))
            }
            _ => return None,
        })
    }
}

/// FAMILY, SOURCE and SCOPE PREFIX-LENGTH, and as many octets of the address as SOURCE needs (RFC 7871 section 6).
fn subnet(data: &[u8]) -> Option<OptionValue<'_>> {
    let (&[f0, f1, source, scope], octets) = data.split_first_chunk::<4>()?;
    if octets.len() != usize::from(source).div_ceil(8) {
        return None;
    }
    let mut address = [0; 16];
    address.get_mut(..octets.len())?.copy_from_slice(octets);
    let address = match u16::from_be_bytes([f0, f1]) {
        1 if source <= 32 => {
            let [a, b, c, d, ..] = address;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        2 => IpAddr::V6(Ipv6Addr::from(address)),
        _ => return None,
    };
    Some(OptionValue::Subnet { address, source, scope })
}

/// A name without compression that fills the data. The name is read where a message's first stands, so that a pointer
/// leads nowhere.
fn whole_name(data: &[u8]) -> Option<Name> {
    let (name, end) = Name::read(data, 0).ok()?;
    (end == data.len()).then_some(name)
}

/// As it stands in a line of text: `ede 22 (No Reachable Authority) "text"`, `ecs 192.0.2.0/24`, `cookie`.
impl fmt::Display for EdnsOption<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value();
        match (&value, self.name()) {
            (OptionValue::Cookie { .. }, _) => return f.write_str("cookie"),
            (_, Some(name)) => f.write_str(&name.to_ascii_lowercase())?,
            (_, None) => write!(f, "option {}", self.code)?,
        }
        let text = value.to_string();
        if text.is_empty() { Ok(()) } else { write!(f, " {text}") }
    }
}

/// The value alone, in full; empty where there is none.
impl fmt::Display for OptionValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nsid([]) | Self::Keepalive(None) | Self::ZoneVersion(None) => Ok(()),
            // Most servers write text, which the standard leaves open.
            Self::Nsid(data) => f.write_str(&quoted(data)),
            Self::Subnet { address, source, scope: 0 } => write!(f, "{address}/{source}"),
            Self::Subnet { address, source, scope } => write!(f, "{address}/{source}/{scope}"),
            Self::Cookie { client, server: [] } => f.write_str(&hex(client)),
            Self::Cookie { client, server } => write!(f, "{} {}", hex(client), hex(server)),
            Self::Keepalive(Some(tenths)) => write!(f, "{}.{} s", tenths / 10, tenths % 10),
            Self::Padding(length) => write!(f, "{length}"),
            Self::Chain(name) | Self::ReportChannel(name) => write!(f, "{name}"),
            Self::ExtendedError { code, text } => {
                match extended_error(*code) {
                    Some(name) => write!(f, "{code} ({name})")?,
                    None => write!(f, "{code}")?,
                }
                if text.is_empty() { Ok(()) } else { write!(f, " {}", quoted(text)) }
            }
            Self::ZoneVersion(Some(ZoneVersion { labels, kind, version })) => match (kind, version) {
                (0, [a, b, c, d]) => write!(f, "{labels} SOA {}", u32::from_be_bytes([*a, *b, *c, *d])),
                _ => write!(f, "{labels} {kind} {}", hex(version)),
            },
            Self::Other(data) => f.write_str(&hex(data)),
        }
    }
}

/// The name of an INFO-CODE (IANA, Extended DNS Error Codes).
fn extended_error(code: u16) -> Option<&'static str> {
    const NAMES: [&str; 31] = [
        "Other Error",
        "Unsupported DNSKEY Algorithm",
        "Unsupported DS Digest Type",
        "Stale Answer",
        "Forged Answer",
        "DNSSEC Indeterminate",
        "DNSSEC Bogus",
        "Signature Expired",
        "Signature Not Yet Valid",
        "DNSKEY Missing",
        "RRSIGs Missing",
        "No Zone Key Bit Set",
        "NSEC Missing",
        "Cached Error",
        "Not Ready",
        "Blocked",
        "Censored",
        "Filtered",
        "Prohibited",
        "Stale NXDOMAIN Answer",
        "Not Authoritative",
        "Not Supported",
        "No Reachable Authority",
        "Network Error",
        "Invalid Data",
        "Signature Expired before Valid",
        "Too Early",
        "Unsupported NSEC3 Iterations Value",
        "Unable to conform to policy",
        "Synthesized",
        "Invalid Query Type",
    ];
    NAMES.get(usize::from(code)).copied()
}
