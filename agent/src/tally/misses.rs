//! Who or what was not known when it was needed.

use std::net::IpAddr;

use crate::capture::counters::CaptureCounters;
use crate::capture::frame::{Ifindex, InterfaceKind, Timestamp};
use crate::correlate::{ClientId, Parties};
use crate::identity::who::Who;
use crate::maps::{Map, Set};

/// Clients that are kept at most; further ones are counted once for each time that they come anew.
const MAX_CLIENTS: usize = 16_384;
/// An ENI's id is missed only after this time: asking goes on behind the capture.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// What was not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// Who stands behind a pod's interface, when its first query came.
    Pod,
    /// How the resolver of a known client is configured.
    ResolvConf,
    /// The ENI of an uplink on EC2.
    Eni,
}

impl Miss {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Pod, Self::ResolvConf, Self::Eni];

    /// As it stands in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::ResolvConf => "resolv_conf",
            Self::Eni => "eni",
        }
    }
}

/// How often something was not known: once for each client, or interface, until it is.
#[derive(Clone, Debug, Default)]
pub struct Misses {
    counts: [u64; Miss::ALL.len()],
    unnamed: Set<ClientId>,
    unread: Set<ClientId>,
    /// Uplinks without an ENI, since when, and whether that was counted.
    uplinks: Map<Ifindex, (Timestamp, bool)>,
}

impl Misses {
    /// How often.
    pub fn count(&self, miss: Miss) -> u64 {
        self.counts[miss as usize]
    }

    /// A client asked.
    pub(super) fn asked(&mut self, parties: &Parties, who: &Who) {
        let client = parties.client_id();
        // Of the node's own processes nobody promises a name.
        if client.interface.is_none() {
            return;
        }
        let known = who.client_of(parties);
        let unread = known.is_some_and(|known| known.instance.resolver.is_none());
        let [pod, resolv_conf, _] = &mut self.counts;
        note(&mut self.unnamed, client, known.is_none(), pod);
        note(&mut self.unread, client, unread, resolv_conf);
    }

    /// The source's counters tell which uplinks there are.
    pub(super) fn counters(&mut self, now: Timestamp, counters: &CaptureCounters, who: &Who) {
        let is_aws = !counters.vpc_resolvers.is_empty() || who.has_eni();
        let uplinks = counters.interfaces.iter().filter(|interface| interface.kind == InterfaceKind::Uplink);
        for ifindex in uplinks.map(|interface| interface.ifindex).filter(|_| is_aws) {
            if who.eni(ifindex).is_some() {
                self.uplinks.remove(&ifindex);
                continue;
            }
            if self.uplinks.len() >= MAX_CLIENTS && !self.uplinks.contains_key(&ifindex) {
                continue;
            }
            let (since, counted) = self.uplinks.entry(ifindex).or_insert((now, false));
            if !*counted && now.since(*since) >= PATIENCE {
                *counted = true;
                self.counts[Miss::Eni as usize] += 1;
            }
        }
    }

    /// Forgets clients with these addresses, which have not asked for long.
    pub(super) fn forget(&mut self, is_over: impl Fn(IpAddr) -> bool) {
        self.unnamed.retain(|client| !is_over(client.address));
        self.unread.retain(|client| !is_over(client.address));
    }
}

/// Counts a client once until it is no miss any more.
fn note(missed: &mut Set<ClientId>, client: ClientId, is_miss: bool, count: &mut u64) {
    if !is_miss {
        if !missed.is_empty() {
            missed.remove(&client);
        }
    } else if !missed.contains(&client) {
        *count += 1;
        if missed.len() < MAX_CLIENTS {
            missed.insert(client);
        }
    }
}
