//! What helps in more than one finding: the exact lines (facts.md section 3.1).

use super::{DnsChange, Measure, Quantity, Remedy, RemedyPlace};

/// A remedy with its lines.
pub(super) fn remedy(what: &str, place: RemedyPlace, lines: &[&str]) -> Remedy {
    let lines = lines.iter().map(|line| (*line).to_owned()).collect();
    Remedy { what: what.to_owned(), place, lines, dns: None }
}

/// An option for the pod's resolver.
pub(super) fn dns_option(what: &str, name: &'static str, value: Option<&str>) -> Remedy {
    let inline = value.map(|value| format!("  options: [{{name: {name}, value: \"{value}\"}}]"));
    let lines = match &inline {
        Some(inline) => vec!["dnsConfig:", inline],
        None => vec!["dnsConfig:", "  options:"],
    };
    let mut remedy = remedy(what, RemedyPlace::PodSpec, &lines);
    if value.is_none() {
        remedy.lines.push(format!("  - name: {name}"));
    }
    remedy.dns = Some(DnsChange::Option { name, value: value.map(str::to_owned) });
    remedy
}

/// Another policy; `lines` for a pod of which nothing is known.
pub(super) fn dns_policy(what: &str, policy: &'static str, host_network: bool, lines: &[&str]) -> Remedy {
    let dns = Some(DnsChange::Policy { policy, host_network });
    Remedy { dns, ..remedy(what, RemedyPlace::PodSpec, lines) }
}

/// Another search list; `lines` for a pod of which nothing is known.
pub(super) fn dns_search(
    what: &str,
    lines: &[&str],
    nameservers: Vec<String>,
    searches: Vec<String>,
    ndots: Option<String>,
) -> Remedy {
    let dns = Some(DnsChange::Search { nameservers, searches, ndots });
    Remedy { dns, ..remedy(what, RemedyPlace::PodSpec, lines) }
}

/// A name off the wire as it may stand in a line that people paste: as it is where it holds letters, digits, `-`, `_` and
/// `.` alone and no option begins so, else in single quotes of the shell (POSIX.1-2017, Shell Command Language, section
/// 2.2.2). A configuration file refuses those, which is better than to obey them.
pub(super) fn pasted(name: &impl ToString) -> String {
    let name = name.to_string();
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    if name.bytes().all(plain) && !name.starts_with('-') {
        return name;
    }
    format!("'{}'", name.replace('\'', r"'\''"))
}

/// How many, as evidence.
pub(super) fn count(name: &'static str, count: impl TryInto<u64>) -> Measure {
    Measure { name, value: Quantity::Count(count.try_into().unwrap_or(u64::MAX)) }
}

/// A text, as evidence.
pub(super) fn text(name: &'static str, text: impl ToString) -> Measure {
    Measure { name, value: Quantity::Text(text.to_string()) }
}

/// A stub resolver that knows TCP: musl 1.2.5 also has room for what comes over it (musl 51d4669f, a4ecaf89).
pub(super) fn newer_image() -> Vec<Remedy> {
    vec![
        remedy(
            "Build on an image with musl 1.2.5 or newer; Alpine 3.18 (musl 1.2.4) takes answers up to 768 bytes only",
            RemedyPlace::Dockerfile,
            &["FROM alpine:3.20"],
        ),
        remedy("Or on an image with glibc", RemedyPlace::Dockerfile, &["FROM debian:12-slim"]),
    ]
}

/// TCP to port 53 must get through (RFC 7766 section 5).
pub(super) fn allow_tcp() -> Vec<Remedy> {
    vec![
        remedy(
            "Allow TCP to port 53 in the NetworkPolicy that allows UDP",
            RemedyPlace::Firewall,
            &["ports:", "- protocol: UDP", "  port: 53", "- protocol: TCP", "  port: 53"],
        ),
        remedy(
            "Let the Service of the resolver carry TCP too",
            RemedyPlace::Server,
            &["- name: dns-tcp", "  port: 53", "  protocol: TCP", "  targetPort: 53"],
        ),
        remedy(
            "Allow TCP/53 beside UDP/53 in the security group or firewall between client and resolver",
            RemedyPlace::Firewall,
            &[],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_pasted_is_obeyed() {
        assert_eq!(pasted(&"api_1.shop-2.example."), "api_1.shop-2.example.");
        assert_eq!(pasted(&"$(touch${IFS}pwned).example."), "'$(touch${IFS}pwned).example.'");
        assert_eq!(pasted(&"a'`b`.example."), r"'a'\''`b`.example.'");
        assert_eq!(pasted(&"-f.example."), "'-f.example.'");
        assert_eq!(pasted(&"x;reboot.example."), "'x;reboot.example.'");
    }
}
