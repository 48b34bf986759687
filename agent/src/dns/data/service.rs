//! The parameters of SVCB and HTTPS (RFC 9460).

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use data_encoding::BASE64;

use super::{Reader, escape};

/// The registered keys from 0 on (IANA, Service Parameter Keys).
const KEYS: [&str; 11] = [
    "mandatory",
    "alpn",
    "no-default-alpn",
    "port",
    "ipv4hint",
    "ech",
    "ipv6hint",
    "dohpath",
    "ohttp",
    "tls-supported-groups",
    "docpath",
];

/// `key=value` for each parameter up to the end (RFC 9460 section 2.1).
pub(super) fn write(reader: &mut Reader<'_>, out: &mut String) -> Option<()> {
    let mut space = "";
    while !reader.is_done() {
        let (key, length) = (reader.u16()?, reader.u16()?);
        let value = value(key, reader.take(length.into())?)?;
        let equals = if value.is_empty() { "" } else { "=" };
        write!(out, "{space}{}{equals}{value}", name(key)).ok()?;
        space = " ";
    }
    Some(())
}

fn name(key: u16) -> String {
    KEYS.get(usize::from(key)).map_or_else(|| format!("key{key}"), |name| (*name).to_owned())
}

/// Empty where the key stands alone; `None`: the value is none of this key's.
fn value(key: u16, data: &[u8]) -> Option<String> {
    match key {
        0 => list(data, |key: [u8; 2]| name(u16::from_be_bytes(key))),
        1 => protocols(data),
        2 | 8 => data.is_empty().then(String::new),
        3 => Some(u16::from_be_bytes(data.try_into().ok()?).to_string()),
        4 => list(data, |octets: [u8; 4]| Ipv4Addr::from(octets).to_string()),
        5 => (!data.is_empty()).then(|| BASE64.encode(data)),
        6 => list(data, |octets: [u8; 16]| Ipv6Addr::from(octets).to_string()),
        9 => list(data, |group: [u8; 2]| u16::from_be_bytes(group).to_string()),
        _ => {
            let mut text = String::new();
            escape(&mut text, data);
            Some(in_quotes_if_needed(text))
        }
    }
}

/// Entries of `N` octets each, at least one.
fn list<const N: usize>(data: &[u8], entry: impl Fn([u8; N]) -> String) -> Option<String> {
    let (entries, rest) = data.as_chunks::<N>();
    let texts: Vec<String> = entries.iter().map(|octets| entry(*octets)).collect();
    (rest.is_empty() && !texts.is_empty()).then(|| texts.join(","))
}

/// Strings, each behind its length and none of them empty (RFC 9460 section 7.1). A comma or backslash within one is
/// escaped as a part of the list, and then as a part of the text (RFC 9460 appendix A.1).
fn protocols(mut data: &[u8]) -> Option<String> {
    let mut text = String::new();
    while let Some((&length, behind)) = data.split_first() {
        let (protocol, rest) = behind.split_at_checked(length.into())?;
        if protocol.is_empty() {
            return None;
        }
        if !text.is_empty() {
            text.push(',');
        }
        for &octet in protocol {
            match octet {
                b',' => text.push_str("\\\\,"),
                b'\\' => text.push_str("\\\\\\\\"),
                _ => escape(&mut text, &[octet]),
            }
        }
        data = rest;
    }
    (!text.is_empty()).then(|| in_quotes_if_needed(text))
}

fn in_quotes_if_needed(text: String) -> String {
    if text.contains([' ', ';', '(', ')', '"']) { format!("\"{text}\"") } else { text }
}
