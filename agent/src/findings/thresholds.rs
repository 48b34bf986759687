//! Every number that a rule compares with, in one place, with its source.

use std::time::Duration;

/// How often something must happen to be an incident (facts.md section 3.0).
#[derive(Clone, Copy, Debug)]
pub struct Repetition {
    /// Times for the same client and name: 2.
    pub of_one_name: usize,
    /// Times for the same client: 3.
    pub of_one_client: usize,
    /// Within this time: 60 s.
    pub within: Duration,
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
    /// Queries without a response that show that the limit took effect: 5, and one in a hundred.
    pub missing: u64,
}

/// When repetition is a storm (facts.md section 3.8, P9).
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    /// Repetitions of one question by one client a second: 10, for [`Storm::span`].
    pub per_second: u64,
    /// How long that must last: 10 s.
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
}

/// What is configurable of the rules.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// A finding closes after this time without evidence: 5 minutes.
    pub close_after: Duration,
    /// How often something must happen.
    pub repetition: Repetition,
    /// Link-local packets.
    pub linklocal: LinkLocalLimit,
    /// The same question again and again.
    pub storm: Storm,
    /// AAAA in vain.
    pub useless_aaaa: UselessAaaa,
    /// SERVFAIL.
    pub servfail: Burst,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            close_after: Duration::from_secs(300),
            repetition: Repetition { of_one_name: 2, of_one_client: 3, within: Duration::from_secs(60) },
            linklocal: LinkLocalLimit { packets: 1024, warning: 0.7, seconds: 3, of: 5, missing: 5 },
            storm: Storm {
                per_second: 10,
                span: Duration::from_secs(10),
                share: 0.5,
                within: Duration::from_secs(60),
                at_least: 120,
            },
            useless_aaaa: UselessAaaa { within: Duration::from_secs(600), share: 0.99, at_least: 100 },
            servfail: Burst { at_least: 5, within: Duration::from_secs(10), share: 0.2 },
        }
    }
}
