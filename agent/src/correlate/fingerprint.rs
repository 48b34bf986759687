//! Which stub resolver a client has, by its habits on the wire (facts.md section 1.3).

use super::lookups::Lookup;
use super::{Sent, Transaction};

/// A stub resolver, as far as the wire tells them apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stub {
    /// musl before 1.2.4: UDP only.
    MuslBefore124,
    /// musl 1.2.4 or newer: falls back to TCP.
    Musl124OrNewer,
    /// musl, of which version the wire does not say.
    Musl,
    /// glibc.
    Glibc,
    /// Go's own resolver.
    Go,
    /// c-ares.
    CAres,
    /// nslookup of BusyBox.
    BusyboxNslookup,
    /// Not known, or several at one address.
    #[default]
    Unknown,
}

impl Stub {
    /// As it stands in lines and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MuslBefore124 => "musl-before-1.2.4",
            Self::Musl124OrNewer => "musl-1.2.4-or-newer",
            Self::Musl => "musl",
            Self::Glibc => "glibc",
            Self::Go => "go",
            Self::CAres => "c-ares",
            Self::BusyboxNslookup => "busybox-nslookup",
            Self::Unknown => "unknown",
        }
    }

    /// musl of any version.
    pub const fn is_musl(self) -> bool {
        matches!(self, Self::MuslBefore124 | Self::Musl124OrNewer | Self::Musl)
    }
}

/// How sure a statement is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Confidence {
    /// One sign, or an event that may have another cause.
    #[default]
    Low,
    /// Several signs that agree.
    Medium,
    /// Hardly anything else makes these signs.
    High,
}

impl Confidence {
    /// As it stands in lines and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// What a client's stub resolver seems to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// Which.
    pub stub: Stub,
    /// How sure.
    pub confidence: Confidence,
    /// The strongest sign, in words.
    pub because: &'static str,
}

/// The habits of one client. Of fixed size.
#[derive(Clone, Debug, Default)]
pub struct Habits {}

impl Habits {
    /// A query was sent for the first time.
    pub fn sent(&mut self, _sent: &Sent) {}

    /// A query was sent again.
    pub fn again(&mut self, _sent: &Sent) {}

    /// A transaction ended.
    pub fn closed(&mut self, _transaction: &Transaction) {}

    /// A lookup ended.
    pub fn looked_up(&mut self, _lookup: &Lookup) {}

    /// What they say.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::default()
    }
}
