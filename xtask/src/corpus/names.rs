//! Names that depend on the set and on the scenario alone: made up, and the same at every recording.

use crate::generate::random::Random;

use super::scenario::Set;

/// A source of names for one scenario.
pub struct Names {
    set: Set,
    random: Random,
}

/// The words of a set: no word is in both, so that a detector cannot know the names of the other.
struct Words {
    services: &'static [&'static str],
    namespaces: &'static [&'static str],
    organisations: &'static [&'static str],
}

/// Of the tuned set.
const TUNED: Words = Words {
    services: &[
        "api", "login", "ledger", "payments", "search", "assets", "events", "mail", "orders", "stock",
    ],
    namespaces: &["shop", "tools", "billing", "web"],
    organisations: &["acme", "globex", "initech", "umbrella", "hooli", "stark"],
};

/// Of the other.
const HELD_OUT: Words = Words {
    services: &["queue", "vault", "metrics", "images", "maps", "quotes", "trace", "hooks", "feed", "audit"],
    namespaces: &["prod", "data", "infra", "edge"],
    organisations: &["wonka", "tyrell", "cyberdyne", "soylent", "aperture", "weyland"],
};

impl Names {
    /// For the scenario `name` of `set`.
    pub fn new(set: Set, name: &str) -> Self {
        // FNV-1a, which is the same everywhere, unlike the standard library's hashes.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let seed = match set {
            Set::Tuned => 20_260,
            Set::HeldOut => 771_133,
        };
        Self { set, random: Random::new(hash ^ seed) }
    }

    /// Of this source's set.
    fn words(&self) -> &'static Words {
        match self.set {
            Set::Tuned => &TUNED,
            Set::HeldOut => &HELD_OUT,
        }
    }

    /// One of them.
    fn pick(&mut self, words: &'static [&'static str]) -> &'static str {
        words[self.random.below(words.len() as u64) as usize]
    }

    /// A name of the world outside with three dots, without a dot at the end: `api-4f1.eu-west-1.acme.example`.
    pub fn external(&mut self) -> String {
        let words = self.words();
        let (service, organisation) = (self.pick(words.services), self.pick(words.organisations));
        let (number, region) = (self.random.below(4096), self.random.between(1, 3));
        format!("{service}-{number:03x}.eu-west-{region}.{organisation}.example")
    }

    /// `count` different names of the world outside.
    pub fn externals(&mut self, count: usize) -> Vec<String> {
        let mut names: Vec<String> = Vec::with_capacity(count);
        while names.len() < count {
            let name = self.external();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Names of one length, for rules that look at a fixed place of the packet; they end with a dot.
    pub fn absolute(&mut self, count: usize) -> Vec<String> {
        let organisation = self.pick(self.words().organisations);
        let first = self.random.between(100, 800);
        (0..count as u64).map(|n| format!("node-{}.{organisation}.example.", first + n)).collect()
    }

    /// A service and the namespace that it is in.
    pub fn service(&mut self) -> (String, String) {
        let words = self.words();
        let (service, namespace) = (self.pick(words.services), self.pick(words.namespaces));
        (format!("{service}-{}", self.random.below(90) + 10), namespace.to_owned())
    }

    /// A domain that a company puts into its nodes' search list: `corp.acme.example`.
    pub fn company(&mut self) -> String {
        let organisation = self.pick(self.words().organisations);
        match self.set {
            Set::Tuned => format!("corp.{organisation}.example"),
            Set::HeldOut => format!("{organisation}-hq.example"),
        }
    }

    /// An IPv4 address of the world outside.
    pub fn address(&mut self) -> String {
        let net = match self.set {
            Set::Tuned => "203.0.113",
            Set::HeldOut => "198.51.100",
        };
        format!("{net}.{}", self.random.between(1, 254))
    }

    /// An IPv6 address of the world outside.
    pub fn address6(&mut self) -> String {
        format!("2001:db8:{:x}::{:x}", self.random.between(1, 4095), self.random.between(1, 4095))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_each_time_and_differ_by_set() {
        let names = |set| Names::new(set, "truncated").externals(20);
        assert_eq!(names(Set::Tuned), names(Set::Tuned));
        assert!(names(Set::Tuned).iter().all(|name| !names(Set::HeldOut).contains(name)));
        assert_ne!(names(Set::Tuned), Names::new(Set::Tuned, "late").externals(20));
    }

    #[test]
    fn absolute_names_have_one_length() {
        let names = Names::new(Set::HeldOut, "conntrack").absolute(6);
        assert!(names.iter().all(|name| name.len() == names[0].len() && name.ends_with('.')), "{names:?}");
    }
}
