//! Names, types and response codes in one form, whatever a reader prints.

/// The octets of a name as on the wire without pointers, from nslookout's presentation form (`\DDD`, `\X`).
pub fn qname_octets(text: &str) -> Vec<Vec<u8>> {
    let mut labels = Vec::new();
    let mut label = Vec::new();
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        match octet {
            b'.' => labels.push(std::mem::take(&mut label)),
            b'\\' => match octets.next() {
                Some(digit @ b'0'..=b'9') => {
                    let rest = [octets.next(), octets.next()];
                    let digits = rest.into_iter().flatten().map(|digit| u16::from(digit.wrapping_sub(b'0')));
                    label.push(digits.fold(u16::from(digit - b'0'), |sum, digit| sum * 10 + digit) as u8);
                }
                other => label.extend(other),
            },
            octet => label.push(octet),
        }
    }
    // The root is a dot alone; any other name ends with one.
    labels.retain(|label| !label.is_empty());
    labels
}

/// The labels of the name at `at` in `message`, and where the next field begins; `None` where it is illegal: labels of
/// another kind, a pointer that does not lead backwards to where names stand, which is behind the header, more than 255
/// octets (RFC 1035 sections 2.3.4 and 4.1.4).
pub fn wire_name(message: &[u8], mut at: usize) -> Option<(Vec<Vec<u8>>, usize)> {
    const HEADER: usize = 12;
    let (mut labels, mut octets, mut end) = (Vec::new(), 1, None);
    // Each pointer must lead before the place where reading went on last, so this ends.
    let mut before = at;
    loop {
        let length = *message.get(at)?;
        match length {
            0 => return Some((labels, end.unwrap_or(at + 1))),
            1..=63 => {
                let label = message.get(at + 1..at + 1 + usize::from(length))?;
                octets += 1 + label.len();
                labels.push(label.to_vec());
                at += 1 + label.len();
            }
            0xc0.. => {
                end = end.or(Some(at + 2));
                let target = usize::from(length & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
                if !(HEADER..before).contains(&target) {
                    return None;
                }
                (at, before) = (target, target);
            }
            _ => return None,
        }
        if octets > 255 {
            return None;
        }
    }
}

/// Labels for a person: what is no letter, digit or `-_` as `\xHH`.
pub fn show_octets(labels: &[Vec<u8>]) -> String {
    let mut text = String::new();
    for label in labels {
        for &octet in label {
            match octet {
                b'-' | b'_' => text.push(char::from(octet)),
                octet if octet.is_ascii_alphanumeric() => text.push(char::from(octet)),
                octet => text.push_str(&format!("\\x{octet:02x}")),
            }
        }
        text.push('.');
    }
    if text.is_empty() { ".".into() } else { text }
}

/// The number of a type that nslookout names; the mnemonic itself where it is not known here.
pub fn type_number(mnemonic: &str) -> String {
    // https://www.iana.org/assignments/dns-parameters, those that resolvers are asked for.
    const TYPES: [(&str, u16); 45] = [
        ("A", 1),
        ("NS", 2),
        ("CNAME", 5),
        ("SOA", 6),
        ("NULL", 10),
        ("PTR", 12),
        ("HINFO", 13),
        ("MX", 15),
        ("TXT", 16),
        ("RP", 17),
        ("AFSDB", 18),
        ("SIG", 24),
        ("KEY", 25),
        ("AAAA", 28),
        ("LOC", 29),
        ("SRV", 33),
        ("NAPTR", 35),
        ("KX", 36),
        ("CERT", 37),
        ("DNAME", 39),
        ("OPT", 41),
        ("APL", 42),
        ("DS", 43),
        ("SSHFP", 44),
        ("IPSECKEY", 45),
        ("RRSIG", 46),
        ("NSEC", 47),
        ("DNSKEY", 48),
        ("DHCID", 49),
        ("NSEC3", 50),
        ("NSEC3PARAM", 51),
        ("TLSA", 52),
        ("SMIMEA", 53),
        ("HIP", 55),
        ("CDS", 59),
        ("CDNSKEY", 60),
        ("OPENPGPKEY", 61),
        ("CSYNC", 62),
        ("ZONEMD", 63),
        ("SVCB", 64),
        ("HTTPS", 65),
        ("TSIG", 250),
        ("IXFR", 251),
        ("AXFR", 252),
        ("ANY", 255),
    ];
    match TYPES.iter().find(|(name, _)| *name == mnemonic) {
        Some((_, number)) => number.to_string(),
        None if mnemonic == "CAA" => "257".into(),
        None => mnemonic.strip_prefix("TYPE").unwrap_or(mnemonic).to_owned(),
    }
}

/// The number of a response code that nslookout names.
pub fn rcode_number(mnemonic: &str) -> String {
    const RCODES: [&str; 12] = [
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
    match RCODES.iter().position(|name| *name == mnemonic) {
        Some(number) => number.to_string(),
        None => match mnemonic {
            "BADVERS" => "16".into(),
            "BADCOOKIE" => "23".into(),
            other => other.strip_prefix("RCODE").unwrap_or(other).to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name behind a header, and how far it goes.
    fn read(wire: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
        let message = [&[0; 12], wire].concat();
        wire_name(&message, 12).map(|(labels, end)| (labels, end - 12))
    }

    #[test]
    fn both_forms_of_a_name_give_the_same_octets() {
        let check = |text: &str, wire: &[u8]| {
            assert_eq!(read(wire), Some((qname_octets(text), wire.len())), "{text}");
        };
        check(".", b"\0");
        check("www.example.", b"\x03www\x07example\0");
        check(r"a\.b\\\000\255.c.", b"\x06a.b\\\0\xff\x01c\0");
        check(r#"\032\"\127."#, b"\x03 \"\x7f\0");
    }

    #[test]
    fn illegal_names_are_none() {
        let wires: [&[u8]; 8] =
            [b"\xc0\x0c", b"\x01a\xc0\x0c", b"\x01a\xc0\x0e", b"\xc0\0", b"\x41a\0", b"\x03ab", b"", b"\xc0"];
        for wire in wires {
            assert_eq!(read(wire), None, "{wire:?}");
        }
        let backwards = [&[0; 12][..], b"\x03www\0\x01a\xc0\x0c"].concat();
        assert_eq!(wire_name(&backwards, 17), Some((vec![b"a".to_vec(), b"www".to_vec()], 21)));
    }
}
