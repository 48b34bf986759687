//! Packets to link-local services, in sliding windows of one second (facts.md section 3.4).

use std::net::IpAddr;

use super::ClientId;
use crate::capture::frame::{Ifindex, Timestamp};

/// The services that share the limit of one network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LinkLocalService {
    /// The VPC resolver.
    Dns,
    /// The instance metadata service.
    Imds,
    /// The time service.
    Ntp,
    /// Windows licensing.
    Other,
}

/// Where packets were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Egress {
    /// An interface.
    Interface(Ifindex),
    /// A file that does not say.
    File,
}

/// What left by one interface within one second, and the busiest window that ended in it.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkLocalSecond {
    /// Where.
    pub egress: Egress,
    /// Its end.
    pub end: Timestamp,
    /// Packets of the busiest sliding window of one second (ten buckets of 100 ms) that ended in this second.
    pub peak: u64,
    /// Packets of that window by service.
    pub services: Vec<(LinkLocalService, u64)>,
    /// Packets that came in.
    pub received: u64,
    /// What the driver counted as dropped in this second (`linklocal_allowance_exceeded`), where it counts.
    pub allowance_exceeded: Option<u64>,
    /// Who sent most of them, and how many in the last 10 s; counted at pod interfaces, or by address in a file.
    pub spenders: Vec<(ClientId, u64)>,
}

/// The rates of all interfaces.
#[derive(Debug, Default)]
pub struct Rates {}

impl Rates {
    /// The addresses of VPC resolvers beside the well-known ones.
    pub fn configure(&mut self, _vpc_resolvers: &[IpAddr]) {}

    /// Judges the seconds that have passed; everything before `watermark` was seen.
    pub fn tick(&mut self, _watermark: Timestamp, _emit: &mut dyn FnMut(LinkLocalSecond)) {}
}
