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
}

/// `conntrack-race` (facts.md section 3.6).
#[derive(Clone, Copy, Debug)]
pub struct Race {
    /// A and AAAA leave one port within this time: 1 ms.
    pub pair: Duration,
    /// musl sends again what is not answered: 2.4 to 2.6 s after.
    pub musl: (Duration, Duration),
    /// glibc begins again with the first query: 4.9 to 5.2 s after; the second follows its response.
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

/// What is configurable of the rules.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// A finding closes after this time without evidence: 5 minutes.
    pub close_after: Duration,
    /// How often something must happen.
    pub repetition: Repetition,
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
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            close_after: Duration::from_secs(300),
            repetition: Repetition { of_one_name: 2, of_one_client: 3, within: Duration::from_secs(60) },
            truncated: Truncation { udp_limit: 512, comes_back: Duration::from_secs(2) },
            tcp: Blocking { silence: Duration::from_secs(3) },
            race: Race {
                pair: Duration::from_millis(1),
                musl: (Duration::from_millis(2400), Duration::from_millis(2600)),
                glibc: (Duration::from_millis(4900), Duration::from_millis(5200)),
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
        }
    }
}
