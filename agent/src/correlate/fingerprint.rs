//! Which stub resolver a client has, by its habits on the wire (facts.md sections 1.3 and 8).
//!
//! [`habits`] counts signs as they come, [`verdict`] weighs them when somebody asks.

mod habits;
mod signs;
mod verdict;

pub use habits::Habits;

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
    /// Whatever it is, it is no musl: its IDs do not go by the clock.
    pub not_musl: bool,
}

#[cfg(test)]
mod tests;
