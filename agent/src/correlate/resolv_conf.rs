//! What a client's resolver is configured to do: resolv.conf(5), or the dnsConfig of a pod.

use std::net::IpAddr;

use crate::dns::Name;

/// Where a configuration is known from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SearchSource {
    /// The client's resolv.conf.
    ResolvConf,
    /// Its pod's specification.
    PodSpec,
    /// What was asked on the wire.
    Inferred,
    /// Nothing is known.
    #[default]
    Unknown,
}

impl SearchSource {
    /// As it stands in lines, labels and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ResolvConf => "resolv_conf",
            Self::PodSpec => "pod_spec",
            Self::Inferred => "inferred",
            Self::Unknown => "unknown",
        }
    }
}

/// The search list and what goes with it, as plain values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// Servers in their order.
    pub nameservers: Vec<IpAddr>,
    /// The search list in its order.
    pub search: Vec<Name>,
    /// Names with fewer dots go through the search list first; `None`: the resolver's default of 1.
    pub ndots: Option<u8>,
    /// Octets of the longest search line: musl ignores one of more than 254 as a whole.
    pub longest_search_line: usize,
}

/// What resolv.conf(5) takes at most for `ndots`; musl and glibc alike.
const MAX_NDOTS: u8 = 15;
/// Servers that are heeded (MAXNS of resolv.h; musl alike).
pub const MAX_NAMESERVERS: usize = 3;

impl ResolvConf {
    /// Reads the text of a resolv.conf(5); lines that nobody knows are passed over, as resolvers do. The last of
    /// several `search` and `domain` lines wins. Domains that are no names are left out, and so is the root, which means
    /// the name as it is.
    pub fn parse(text: &[u8]) -> Self {
        let mut read = Self::default();
        for line in text.split(|octet| *octet == b'\n') {
            read.line(line);
        }
        read
    }

    /// From the plain values of a pod's dnsConfig: its searches, and its options as `name:value`.
    pub fn from_pod_spec<'a>(
        nameservers: Vec<IpAddr>,
        searches: impl IntoIterator<Item = &'a str>,
        options: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut read = Self { nameservers, ..Self::default() };
        let searches: Vec<&str> = searches.into_iter().collect();
        // The kubelet writes them into one line.
        read.line(format!("search {}", searches.join(" ")).as_bytes());
        options.into_iter().for_each(|option| read.option(option));
        read
    }

    /// `ndots`, or the default of 1.
    pub fn ndots(&self) -> u8 {
        self.ndots.unwrap_or(1)
    }

    fn line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // glibc takes a comment at the beginning only; elsewhere ; and # end the words too.
        let comment = line.iter().position(|octet| matches!(octet, b';' | b'#')).unwrap_or(line.len());
        let Ok(text) = std::str::from_utf8(line.get(..comment).unwrap_or_default()) else { return };
        let mut words = text.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => self.nameservers.extend(words.next().and_then(address)),
            Some("search") => {
                self.search = words.filter_map(domain).collect();
                self.longest_search_line = self.longest_search_line.max(line.len());
            }
            Some("domain") => self.search = words.take(1).filter_map(domain).collect(),
            Some("options") => words.for_each(|option| self.option(option)),
            _ => {}
        }
    }

    fn option(&mut self, option: &str) {
        if let Some(ndots) = option.strip_prefix("ndots:") {
            // As atoi reads it: what is too large is cut to the cap, what is no number is 0.
            let digits = ndots.bytes().take_while(u8::is_ascii_digit);
            let value =
                digits.fold(0_u8, |value, digit| value.saturating_mul(10).saturating_add(digit - b'0'));
            self.ndots = Some(value.min(MAX_NDOTS));
        }
    }
}

/// An address, perhaps with the zone of a link-local one.
fn address(word: &str) -> Option<IpAddr> {
    word.split('%').next()?.parse().ok()
}

/// A domain of the search list; never the root.
fn domain(word: &str) -> Option<Name> {
    Name::from_text(word).ok().filter(|name| name.label_count() > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(search: &[Name]) -> Vec<String> {
        search.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn lines_are_read_as_resolvers_read_them() {
        let read = ResolvConf::parse(
            b"# made by kubelet\n\
              nameserver 10.96.0.10\r\n\
              nameserver fe80::1%eth0\n\
              nameserver nonsense\n\
              domain early.example\n\
              search a.example b.example. .  ; rest\n\
              options timeout:1 ndots:5 edns0\n\
              sortlist 10.0.0.0\n",
        );
        assert_eq!(read.nameservers, ["10.96.0.10".parse::<IpAddr>().unwrap(), "fe80::1".parse().unwrap()]);
        assert_eq!(names(&read.search), ["a.example.", "b.example."]);
        assert_eq!((read.ndots, read.ndots()), (Some(5), 5));
        assert_eq!(read.longest_search_line, 37);
    }

    #[test]
    fn the_last_of_search_and_domain_wins() {
        assert_eq!(names(&ResolvConf::parse(b"search a b\ndomain c d\n").search), ["c."]);
        assert_eq!(names(&ResolvConf::parse(b"domain c\nsearch a b").search), ["a.", "b."]);
        assert_eq!(names(&ResolvConf::parse(b"search a\nsearch\n").search), Vec::<String>::new());
    }

    #[test]
    fn ndots_is_capped_at_15() {
        let ndots = |text: &str| ResolvConf::parse(text.as_bytes()).ndots();
        assert_eq!(ndots(""), 1);
        assert_eq!(ndots("options ndots:99999"), 15);
        assert_eq!(ndots("options ndots:0"), 0);
        assert_eq!(ndots("options ndots:x ndots:3"), 3);
    }

    #[test]
    fn a_long_search_line_is_measured() {
        let line = format!("search {}", "long-domain.example ".repeat(20));
        let read = ResolvConf::parse(line.as_bytes());
        assert_eq!((read.search.len(), read.longest_search_line), (20, line.len()));
    }

    #[test]
    fn a_pod_specification_says_the_same() {
        let server: IpAddr = "10.96.0.10".parse().unwrap();
        let read = ResolvConf::from_pod_spec(vec![server], ["a.example", "b.example"], ["ndots:2", "edns0"]);
        let text = b"nameserver 10.96.0.10\nsearch a.example b.example\noptions ndots:2 edns0\n";
        assert_eq!(read, ResolvConf::parse(text));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in proptest::collection::vec(any::<u8>(), 0..600)) {
            let read = ResolvConf::parse(&text);
            prop_assert!(read.ndots() <= 15);
        }

        #[test]
        fn nor_do_lines_that_look_right(
            keyword in "(nameserver|search|domain|options)",
            rest in "[ -~\t]{0,300}",
        ) {
            let read = ResolvConf::parse(format!("{keyword} {rest}\n").as_bytes());
            prop_assert!(read.longest_search_line <= keyword.len() + 1 + rest.len());
        }
    }
}
