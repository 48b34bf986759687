//! Every number that a rule compares with, in one place, with its source.

mod table;

use std::time::Duration;

pub use table::{TABLE, Threshold};

use super::incidents::Unit;
use crate::correlate::fallback::Patience;

/// How often something must happen to be an incident (facts.md section 3.0).
#[derive(Clone, Copy, Debug)]
pub struct Repetition {
    /// Times for the same client and name: 2.
    pub of_one_name: usize,
    /// Times for the same client: 3.
    pub of_one_client: usize,
    /// Within this time: 60 s.
    pub within: Duration,
    /// Messages for one name within this time belong to one lookup: 0.9 s. A and AAAA may be answered as far apart, and
    /// with `timeout:1` of resolv.conf(5) the next try comes after 1 s.
    pub same_lookup: Duration,
    /// What is not answered is asked anew by the same lookup: 4.5 to 5.5 s after (facts.md section 3.0, Go).
    pub anew: (Duration, Duration),
}

impl Repetition {
    /// How messages of a lookup are known; those with EDNS may come from Go, which asks anew.
    pub(super) fn unit(&self, edns: bool) -> Unit {
        if edns { Unit::Anew(self.same_lookup, self.anew) } else { Unit::Message(self.same_lookup) }
    }
}

/// `search-amplification` (facts.md section 3.5).
#[derive(Clone, Copy, Debug)]
pub struct Amplification {
    /// What is summed: 60 s.
    pub within: Duration,
    /// Lookups of one client: 50.
    pub lookups: u64,
    /// Share of its queries that are wasted: 0.5.
    pub waste: f64,
    /// Different names among them: 6, for health checks ask for a few.
    pub names: usize,
    /// Lookups of one client that asks a cache on its own node: 600, since there a query costs next to nothing.
    pub lookups_at_cache: u64,
    /// Transactions of a server by which its overload is judged: 100.
    pub overload_at_least: u64,
    /// The share of them that failed: 0.05. One in 20 is no accident.
    pub overload_share: f64,
}

/// When link-local packets near their limit (facts.md section 3.4).
#[derive(Clone, Copy, Debug)]
pub struct LinkLocalLimit {
    /// Packets a second by one interface: 1024 (AWS VPC guide, AmazonDNS-concepts#vpc-dns-limits).
    pub packets: u64,
    /// The share of it that is a warning: 0.7.
    pub warning: f64,
    /// In so many seconds: 3.
    pub seconds: usize,
    /// Of so many: 5.
    pub of: u64,
    /// Queries without a response that show that the limit took effect: 5.
    pub missing: u64,
    /// And this share of all: 0.01.
    pub missing_share: f64,
}

/// When repetition is a storm (facts.md section 3.8, P9).
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    /// Repetitions of one question by one client a second: 10, for [`Storm::span`].
    pub per_second: u64,
    /// How long that must last: 2 s.
    pub span: Duration,
    /// Or the share of a client's queries that are repetitions for one name: 0.5.
    pub share: f64,
    /// Within this time: 60 s.
    pub within: Duration,
    /// With so many repetitions at least: 120, two a second.
    pub at_least: u64,
}

/// When AAAA is asked in vain (facts.md section 3.8, P10).
#[derive(Clone, Copy, Debug)]
pub struct UselessAaaa {
    /// Within this time: 10 minutes.
    pub within: Duration,
    /// The share of AAAA responses without an address: 0.99.
    pub share: f64,
    /// Of so many at least: 100.
    pub at_least: u64,
    /// The share of a client's queries that are AAAA: 0.4, about half.
    pub of_queries: f64,
}

/// When failures are a burst (facts.md section 3.7, P3).
#[derive(Clone, Copy, Debug)]
pub struct Burst {
    /// So many: 5.
    pub at_least: usize,
    /// Within this time: 10 s.
    pub within: Duration,
    /// And this share of a server's responses: 0.2.
    pub share: f64,
    /// In so many lookups: 2, since musl alone sends a query again at once (facts.md section 1.1).
    pub lookups: usize,
}

/// Whom silence is about (facts.md section 3.7, P2).
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    /// A server of whose queries a larger share has a response is alive: 0.5. One that was answering until a moment ago
    /// still has responses in its window.
    pub others: f64,
}

/// `truncated-no-tcp` and what else rests on truncated responses (facts.md section 3.1).
#[derive(Clone, Copy, Debug)]
pub struct Truncation {
    /// Clients that take more over UDP are none that this is about: 512 bytes (RFC 1035 section 4.2.1).
    pub udp_limit: u16,
    /// A client that comes back over TCP does so within this time: 2 s.
    pub comes_back: Duration,
}

/// `tcp-blocked` (facts.md section 3.1 variant d).
#[derive(Clone, Copy, Debug)]
pub struct Blocking {
    /// A SYN is not answered: 3 s, by which time Linux has sent it three times.
    pub silence: Duration,
    /// Queries for one name, or SYNs of a client that asks over TCP alone, so close together are one lookup's: 100 ms.
    /// Who is refused tries again within milliseconds.
    pub same_lookup: Duration,
}

/// `conntrack-race` (facts.md section 3.6).
#[derive(Clone, Copy, Debug)]
pub struct Race {
    /// A and AAAA leave one port within this time: 1 ms.
    pub pair: Duration,
    /// musl sends again what is not answered: 2.4 to 2.6 s after.
    pub musl: (Duration, Duration),
    /// glibc begins again with the first query: 4.9 to 5.1 s after; the second follows its response.
    pub glibc: (Duration, Duration),
    /// The other half is answered within this time: 1 s.
    pub at_once: Duration,
    /// The repeat is answered within this time, or twice that of the other half: 100 ms.
    pub prompt: Duration,
    /// A second answer that comes within this time shows that nothing was lost: 3 s, longer than musl's 2.5 s.
    pub second_answer: Duration,
    /// Times for one client: 3.
    pub events: u64,
}

/// `late-reply` (facts.md section 3.8 P12).
#[derive(Clone, Copy, Debug)]
pub struct Lateness {
    /// No stub resolver waits longer for an answer by default: 5 s (facts.md section 1.3).
    pub given_up: Duration,
    /// A query from another port so much later is a repeat: 0.9 s, as `timeout:1` of resolv.conf(5) has it.
    pub repeat: Duration,
    /// An answer so long after a repeat is for no copy in time: 1 s.
    pub after_repeat: Duration,
}

/// `id-reuse` by one port for hours (facts.md section 3.8 P13).
#[derive(Clone, Copy, Debug)]
pub struct FixedPort {
    /// The port is kept this long: 1 h.
    pub kept: Duration,
    /// Lookups from it: 200.
    pub queries: u32,
    /// Different IDs among them at most: 32; 200 random ones have 180 and more.
    pub ids: u32,
}

/// When A and AAAA disagree (facts.md section 3.3).
#[derive(Clone, Copy, Debug)]
pub struct PairConflictThresholds {
    /// Both are asked, and NXDOMAIN and the address come, within this time: 1 s. Later the name may have changed.
    pub within: Duration,
    /// Times for one name from which on it is certain: 3.
    pub sure: usize,
}

/// When a chain of aliases is long (facts.md section 3.8, P11).
#[derive(Clone, Copy, Debug)]
pub struct DeepCnameThresholds {
    /// CNAME records in one answer: 6.
    pub cnames: usize,
}

/// What is configurable of the rules.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// A finding closes after this time without evidence: 5 minutes.
    pub close_after: Duration,
    /// How often something must happen.
    pub repetition: Repetition,
    /// Queries wasted on the search list.
    pub amplification: Amplification,
    /// Link-local packets.
    pub linklocal: LinkLocalLimit,
    /// The same question again and again.
    pub storm: Storm,
    /// AAAA in vain.
    pub useless_aaaa: UselessAaaa,
    /// SERVFAIL.
    pub servfail: Burst,
    /// Queries without a response.
    pub unanswered: Silence,
    /// Truncated responses.
    pub truncated: Truncation,
    /// TCP that does not get through.
    pub tcp: Blocking,
    /// Lost halves of pairs.
    pub race: Race,
    /// Answers after the client gave up.
    pub late: Lateness,
    /// One port for hours.
    pub port: FixedPort,
    /// Of `pair-conflict`.
    pub pair_conflict: PairConflictThresholds,
    /// Of `deep-cname`.
    pub deep_cname: DeepCnameThresholds,
}

impl Thresholds {
    /// How long is waited before a rule is told that nothing came.
    pub fn patience(&self) -> Patience {
        Patience { comes_back: self.truncated.comes_back, silence: self.tcp.silence }
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            close_after: Duration::from_secs(300),
            repetition: Repetition {
                of_one_name: 2,
                of_one_client: 3,
                within: Duration::from_secs(60),
                same_lookup: Duration::from_millis(900),
                anew: (Duration::from_millis(4500), Duration::from_millis(5500)),
            },
            amplification: Amplification {
                within: Duration::from_secs(60),
                lookups: 50,
                waste: 0.5,
                names: 6,
                lookups_at_cache: 600,
                overload_at_least: 100,
                overload_share: 0.05,
            },
            linklocal: LinkLocalLimit {
                packets: 1024,
                warning: 0.7,
                seconds: 3,
                of: 5,
                missing: 5,
                missing_share: 0.01,
            },
            storm: Storm {
                per_second: 10,
                span: Duration::from_secs(2),
                share: 0.5,
                within: Duration::from_secs(60),
                at_least: 120,
            },
            useless_aaaa: UselessAaaa {
                within: Duration::from_secs(600),
                share: 0.99,
                at_least: 100,
                of_queries: 0.4,
            },
            servfail: Burst { at_least: 5, within: Duration::from_secs(10), share: 0.2, lookups: 2 },
            unanswered: Silence { others: 0.5 },
            truncated: Truncation { udp_limit: 512, comes_back: Duration::from_secs(2) },
            tcp: Blocking { silence: Duration::from_secs(3), same_lookup: Duration::from_millis(100) },
            race: Race {
                pair: Duration::from_millis(1),
                musl: (Duration::from_millis(2400), Duration::from_millis(2600)),
                glibc: (Duration::from_millis(4900), Duration::from_millis(5100)),
                at_once: Duration::from_secs(1),
                prompt: Duration::from_millis(100),
                second_answer: Duration::from_secs(3),
                events: 3,
            },
            late: Lateness {
                given_up: Duration::from_secs(5),
                repeat: Duration::from_millis(900),
                after_repeat: Duration::from_secs(1),
            },
            port: FixedPort { kept: Duration::from_secs(3600), queries: 200, ids: 32 },
            pair_conflict: PairConflictThresholds { within: Duration::from_secs(1), sure: 3 },
            deep_cname: DeepCnameThresholds { cnames: 6 },
        }
    }
}
