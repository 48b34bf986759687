//! What is found: who suffers what, how bad it is, how sure, and which line to change.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use super::Confidence;
use crate::capture::frame::{Ifindex, Timestamp};
use crate::correlate::ClientId;
use crate::identity::who::Behind;
use crate::packet::Transport;

/// The name of a rule, and of its page in docs/findings/.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FindingId {
    /// TC, and the client never came back over TCP.
    TruncatedNoTcp,
    /// NODATA for a candidate of the search list ended the lookup.
    SearchStopped,
    /// A and AAAA of one name disagree in a way that musl takes for failure.
    PairConflict,
    /// A network interface nears or exceeds 1024 link-local packets a second.
    LinkLocalRate,
    /// Most queries go to names of the search list that do not exist.
    SearchAmplification,
    /// One of A and AAAA is lost on its way to a Service address.
    ConntrackRace,
    /// TCP to port 53 does not get through.
    TcpBlocked,
    /// A response over UDP is larger than the client said it can take.
    OversizeUdp,
    /// The stub resolver is musl before 1.2.4.
    OldMusl,
    /// Queries without a response.
    Unanswered,
    /// Many SERVFAIL.
    ServFail,
    /// REFUSED.
    Refused,
    /// Responses in fragments.
    Fragmented,
    /// Responses from an address that was not asked.
    WrongSource,
    /// A short name of another namespace is not found with `ndots:1` on musl.
    ShortNameBroken,
    /// Servers that are asked at once answer differently.
    ServersDisagree,
    /// resolv.conf has more than its reader takes.
    ResolvConfLimits,
    /// Responses after the client has given up.
    LateReply,
    /// The same question again and again, before its answer has expired.
    QueryStorm,
    /// One ID and port for two open questions, or a fixed port with few IDs.
    IdReuse,
    /// NODATA without an SOA, or a name that exists by one type and not by another.
    LameNodata,
    /// An answer behind many CNAMEs.
    DeepCname,
    /// Internal names at a public resolver.
    PublicLeak,
    /// AAAA is asked for and never there.
    UnusedAaaa,
}

impl FindingId {
    /// Every rule, in the order of a report.
    pub const ALL: [Self; 24] = [
        Self::TruncatedNoTcp,
        Self::SearchStopped,
        Self::PairConflict,
        Self::LinkLocalRate,
        Self::SearchAmplification,
        Self::ConntrackRace,
        Self::TcpBlocked,
        Self::OversizeUdp,
        Self::OldMusl,
        Self::Unanswered,
        Self::ServFail,
        Self::Refused,
        Self::Fragmented,
        Self::WrongSource,
        Self::ShortNameBroken,
        Self::ServersDisagree,
        Self::ResolvConfLimits,
        Self::LateReply,
        Self::QueryStorm,
        Self::IdReuse,
        Self::LameNodata,
        Self::DeepCname,
        Self::PublicLeak,
        Self::UnusedAaaa,
    ];

    /// As it is typed and printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TruncatedNoTcp => "truncated-no-tcp",
            Self::SearchStopped => "search-stopped",
            Self::PairConflict => "pair-conflict",
            Self::LinkLocalRate => "linklocal-rate",
            Self::SearchAmplification => "search-amplification",
            Self::ConntrackRace => "conntrack-race",
            Self::TcpBlocked => "tcp-blocked",
            Self::OversizeUdp => "oversize-udp",
            Self::OldMusl => "old-musl",
            Self::Unanswered => "unanswered",
            Self::ServFail => "servfail",
            Self::Refused => "refused",
            Self::Fragmented => "fragmented",
            Self::WrongSource => "wrong-source",
            Self::ShortNameBroken => "short-name-broken",
            Self::ServersDisagree => "servers-disagree",
            Self::ResolvConfLimits => "resolv-conf-limits",
            Self::LateReply => "late-reply",
            Self::QueryStorm => "query-storm",
            Self::IdReuse => "id-reuse",
            Self::LameNodata => "lame-nodata",
            Self::DeepCname => "deep-cname",
            Self::PublicLeak => "public-leak",
            Self::UnusedAaaa => "unused-aaaa",
        }
    }
}

impl FromStr for FindingId {
    type Err = UnknownFinding;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|id| id.as_str() == text).ok_or_else(|| UnknownFinding(text.to_owned()))
    }
}

/// No rule has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFinding(pub String);

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// A defect that harms nobody yet.
    Low,
    /// It will harm, or harms a little.
    Warning,
    /// Lookups fail, or wait for seconds.
    High,
}

impl Severity {
    /// Every severity, the mildest first.
    pub const ALL: [Self; 4] = [Self::Info, Self::Low, Self::Warning, Self::High];

    /// As it stands in lines, labels and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Warning => "warning",
            Self::High => "high",
        }
    }
}

/// Whom a finding is about. At least one is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    /// A client.
    pub client: Option<ClientId>,
    /// A server.
    pub server: Option<IpAddr>,
    /// An interface, where the finding is about that and not about who stands behind it.
    pub interface: Option<Ifindex>,
}

impl Subject {
    /// A client, whatever server it asks.
    pub fn client(client: ClientId) -> Self {
        Self { client: Some(client), ..Self::default() }
    }

    /// A server, whoever asks it.
    pub fn server(server: IpAddr) -> Self {
        Self { server: Some(server), ..Self::default() }
    }

    /// A client at one server.
    pub fn client_of(client: ClientId, server: IpAddr) -> Self {
        Self { client: Some(client), server: Some(server), interface: None }
    }

    /// Is `other` a part of this: the same, but of one client or at one server alone?
    pub fn covers(&self, other: &Self) -> bool {
        let fits = self.client.is_none_or(|client| other.client == Some(client))
            && self.server.is_none_or(|server| other.server == Some(server))
            && self.interface == other.interface;
        fits && self != other && (self.client.is_some() || self.server.is_some())
    }

    /// An interface.
    pub fn interface(interface: Ifindex) -> Self {
        Self { interface: Some(interface), ..Self::default() }
    }
}

/// What a person needs to believe a finding and to act on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Details {
    /// What is wrong, for whom, in one sentence.
    pub summary: String,
    /// Why it is believed, one sentence each.
    pub because: Vec<String>,
    /// The numbers that it rests on.
    pub numbers: Vec<Measure>,
    /// The packets of one example, in their order.
    pub example: Vec<Packet>,
    /// What to change, the best first.
    pub remedies: Vec<Remedy>,
}

/// A number with its meaning.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    /// What it is, in `snake_case`; the key in JSON.
    pub name: &'static str,
    /// The number.
    pub value: Quantity,
}

/// A value of evidence.
#[derive(Clone, Debug, PartialEq)]
pub enum Quantity {
    /// How many.
    Count(u64),
    /// A share of 1.
    Ratio(f64),
    /// A length of time.
    Time(Duration),
    /// A name, a type, a list.
    Text(String),
}

/// One packet of an example.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    /// When.
    pub time: Timestamp,
    /// From whom.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// By which protocol.
    pub transport: Transport,
    /// What it says: `A? api.example. id 4711, no EDNS`; what did not come is in brackets: `[nothing for 2 s]`.
    pub text: String,
}

/// What to change.
#[derive(Clone, Debug, PartialEq)]
pub struct Remedy {
    /// What it does, in one sentence.
    pub what: String,
    /// Where.
    pub place: RemedyPlace,
    /// The exact lines; none where it is no matter of lines.
    pub lines: Vec<String>,
    /// The same as a change of what a specification says of DNS, so that whoever knows that can write its own lines.
    pub dns: Option<DnsChange>,
}

/// A change of what a specification says of DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsChange {
    /// An option of resolv.conf(5).
    Option {
        /// `ndots`.
        name: &'static str,
        /// `2`.
        value: Option<String>,
    },
    /// `dnsPolicy` of a pod.
    Policy {
        /// The policy.
        policy: &'static str,
        /// It is for pods with hostNetwork, else for the others.
        host_network: bool,
    },
    /// Another search list, and on Kubernetes with it `dnsPolicy: None`.
    Search {
        /// Servers, where it has none of its own.
        nameservers: Vec<String>,
        /// The whole list.
        searches: Vec<String>,
        /// `ndots`, where it has to be said then.
        ndots: Option<String>,
    },
}

impl DnsChange {
    /// As resolv.conf(5) has it: `ndots:2`; `None`: it is no option.
    pub fn option(&self) -> Option<String> {
        match self {
            Self::Option { name, value: Some(value) } => Some(format!("{name}:{value}")),
            Self::Option { name, value: None } => Some((*name).to_owned()),
            Self::Policy { .. } | Self::Search { .. } => None,
        }
    }
}

/// Where lines are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RemedyPlace {
    /// The pod's specification.
    PodSpec,
    /// The image's Dockerfile.
    Dockerfile,
    /// CoreDNS' Corefile.
    Corefile,
    /// The client's resolv.conf.
    ResolvConf,
    /// Settings of the node: sysctl, kubelet, a local cache.
    Node,
    /// The server's zone or configuration.
    Server,
    /// Security group, NetworkPolicy, firewall.
    Firewall,
    /// The application.
    Application,
    /// The task definition of ECS.
    TaskDefinition,
    /// The command or file that runs a container.
    Container,
    /// The unit of systemd.
    Unit,
}

impl RemedyPlace {
    /// As it stands in JSON and above the lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PodSpec => "pod spec",
            Self::Dockerfile => "Dockerfile",
            Self::Corefile => "Corefile",
            Self::ResolvConf => "resolv.conf",
            Self::Node => "node",
            Self::Server => "server",
            Self::Firewall => "firewall",
            Self::Application => "application",
            Self::TaskDefinition => "task definition",
            Self::Container => "container",
            Self::Unit => "systemd unit",
        }
    }
}

/// Something that is wrong with somebody: one per rule and subject.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What.
    pub id: FindingId,
    /// Whom it is about.
    pub subject: Subject,
    /// Who stands behind its client: as it was known when it opened, or as soon as it was.
    pub behind: Behind,
    /// How bad: the worst that was seen since it opened.
    pub severity: Severity,
    /// How sure: the surest since it opened.
    pub confidence: Confidence,
    /// When its first evidence was seen.
    pub first_seen: Timestamp,
    /// When its last evidence was seen.
    pub last_seen: Timestamp,
    /// How many times.
    pub count: u64,
    /// What to believe and what to do, as it was at its worst and surest; rewritten once a second at most, so that
    /// numbers in it may lag behind `count`.
    pub details: Details,
    /// When it opened, changed or closed last.
    pub changed: Timestamp,
    /// When it closed; `None` while it is open.
    pub closed: Option<Timestamp>,
}

/// What happened to a finding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change<'a> {
    /// It is new.
    Opened(&'a Finding),
    /// It is worse, or surer, than it was.
    Changed(&'a Finding),
    /// No evidence came for long.
    Closed(&'a Finding),
}

impl Change<'_> {
    /// The finding as it is now.
    pub fn finding(&self) -> &Finding {
        match self {
            Self::Opened(finding) | Self::Changed(finding) | Self::Closed(finding) => finding,
        }
    }

    /// As it stands in lines and JSON.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Opened(_) => "opened",
            Self::Changed(_) => "changed",
            Self::Closed(_) => "closed",
        }
    }
}
