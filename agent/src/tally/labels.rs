//! The closed sets that counts are told apart by (metrics.md rule 4).

use std::net::IpAddr;

use crate::dns::{DecodeError, Edns, Rcode, RecordType};
use crate::identity::facts::ServerRole;

/// What became of one captured packet; each packet has exactly one result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PacketResult {
    /// It held a message.
    Message,
    /// A TCP segment without payload.
    TcpControl,
    /// A TCP segment with parts of messages only, none of which it completed.
    TcpPartial,
    /// A fragment of a larger datagram to or from a server, whatever that held.
    Fragment,
    /// An illegal header, question or record.
    Malformed,
    /// A message that goes the wrong way.
    NotDns,
    /// A second sighting: of a message in a file that does not say where, of a fragment, of all bytes of a segment.
    Duplicate,
    /// A message whose end was not captured.
    Snap,
}

impl PacketResult {
    /// Every result.
    pub const ALL: [Self; 8] = [
        Self::Message,
        Self::TcpControl,
        Self::TcpPartial,
        Self::Fragment,
        Self::Malformed,
        Self::NotDns,
        Self::Duplicate,
        Self::Snap,
    ];

    /// As it stands in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::TcpControl => "tcp_control",
            Self::TcpPartial => "tcp_partial",
            Self::Fragment => "fragment",
            Self::Malformed => "malformed",
            Self::NotDns => "not_dns",
            Self::Duplicate => "duplicate",
            Self::Snap => "snap",
        }
    }
}

/// What was wrong with a packet or message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MalformedKind {
    /// An illegal header below DNS.
    Packet,
    /// An illegal message.
    Message(DecodeError),
}

impl MalformedKind {
    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::Packet].into_iter().chain(DecodeError::ALL.map(Self::Message))
    }

    /// As it stands in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Packet => "packet",
            Self::Message(error) => error.as_str(),
        }
    }
}

/// Which kind of server was asked (metrics.md rule 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resolver {
    /// NodeLocal DNSCache.
    NodeLocal,
    /// The cluster's DNS service.
    Cluster,
    /// The resolver of the VPC.
    Vpc,
    /// A public address.
    External,
    /// Anything else.
    Other,
}

impl Resolver {
    /// As it stands in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NodeLocal => "nodelocal",
            Self::Cluster => "cluster",
            Self::Vpc => "vpc",
            Self::External => "external",
            Self::Other => "other",
        }
    }

    /// As it was told, else by the constants of facts.md section 4; `cluster` holds what the user said to be the addresses
    /// of the cluster's DNS service, `role` is what the platform says.
    pub(super) fn of(server: IpAddr, cluster: &[IpAddr], role: Option<ServerRole>) -> Self {
        if cluster.contains(&server) {
            return Self::Cluster;
        }
        match role {
            Some(ServerRole::NodeLocal) => return Self::NodeLocal,
            Some(ServerRole::Cluster) => return Self::Cluster,
            Some(ServerRole::Vpc) => return Self::Vpc,
            None => {}
        }
        match server {
            IpAddr::V4(ip) => match ip.octets() {
                [169, 254, 20, 10] => Self::NodeLocal,
                [169, 254, 169, 253] => Self::Vpc,
                [100, 64..=127, ..] => Self::Other,
                _ if ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() => {
                    Self::Other
                }
                _ => Self::External,
            },
            // fd00:ec2::253
            IpAddr::V6(ip) if ip.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253] => Self::Vpc,
            IpAddr::V6(ip) if ip.segments()[0] & 0xe000 == 0x2000 => Self::External,
            IpAddr::V6(_) => Self::Other,
        }
    }
}

/// The EDNS payload sizes that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BufferSize {
    /// No EDNS.
    None,
    /// Just that of plain DNS.
    B512,
    /// That of the flag day 2020.
    B1232,
    /// The old default.
    B4096,
    /// Any other.
    Other,
}

impl BufferSize {
    /// As it stands in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::B512 => "512",
            Self::B1232 => "1232",
            Self::B4096 => "4096",
            Self::Other => "other",
        }
    }

    pub(super) fn of(edns: Option<Edns>) -> Self {
        match edns.map(|edns| edns.udp_payload_size) {
            None => Self::None,
            Some(512) => Self::B512,
            Some(1232) => Self::B1232,
            Some(4096) => Self::B4096,
            Some(_) => Self::Other,
        }
    }
}

/// The types that have a label of their own; all others are type 0.
pub(super) fn listed(qtype: RecordType) -> RecordType {
    const LISTED: [RecordType; 12] = [
        RecordType::A,
        RecordType::AAAA,
        RecordType::PTR,
        RecordType::SRV,
        RecordType::TXT,
        RecordType::CNAME,
        RecordType::MX,
        RecordType::NS,
        RecordType::SOA,
        RecordType::HTTPS,
        RecordType::SVCB,
        RecordType::ANY,
    ];
    if LISTED.contains(&qtype) { qtype } else { RecordType(0) }
}

/// The codes that have a label of their own; all others are `u16::MAX`.
pub(super) fn listed_rcode(rcode: Rcode) -> Rcode {
    if rcode <= Rcode::REFUSED { rcode } else { Rcode(u16::MAX) }
}
