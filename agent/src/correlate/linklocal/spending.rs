//! Who sends the packets to link-local services, and what for.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hashlink::LinkedHashMap;

use crate::capture::frame::{Ifindex, Timestamp};
use crate::correlate::Sent;
use crate::correlate::fallback::Segment;
use crate::dns::Name;
use crate::maps::Map;

/// How far back is looked.
const SPAN: Duration = Duration::from_secs(10);
/// Queries that are kept at most: two seconds of the limit.
pub const MAX_QUERIES: usize = 2048;
/// Pods of which packets are kept at most; the one that was silent for longest gives way.
const MAX_PODS: usize = 1024;
/// Spenders and names that are told.
const TOLD: usize = 5;
/// Queries that are told as an example.
const EXAMPLE: usize = 8;
/// Segments that are remembered, to know their copies by.
const MAX_SEGMENTS: usize = 64;
/// A copy comes within this time: forwarding within a node takes far less.
const COPY: Duration = Duration::from_millis(5);

/// Who spent how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spender {
    /// The pod's interface; `None` for the node itself and in a file that does not say.
    pub interface: Option<Ifindex>,
    /// Its address, where a query of its was seen. Neither interface nor address: what the node itself sent to other
    /// services than DNS, such as the agent's own requests for metadata.
    pub address: Option<IpAddr>,
    /// Packets, as the kernel counted them at the pod's interface; else queries.
    pub packets: u64,
}

/// What was spent within the last 10 s, or on the last 2048 queries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spent {
    /// The five who sent most.
    pub spenders: Vec<Spender>,
    /// The five names that were asked for most often, and how often.
    pub names: Vec<(Name, u64)>,
    /// Queries that this was counted on.
    pub queries: u64,
    /// Those of them with a name and type that was among the others before.
    pub repeated: u64,
    /// The service that most of them went to.
    pub server: Option<IpAddr>,
    /// The latest of them.
    pub example: Vec<Sent>,
}

/// Packets of one pod by second.
type Seconds = [(u64, u64); 16];

/// Who sends packets to other services than DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// What leaves the node, whoever sent it.
    Uplink,
    /// What comes from a pod.
    Pod,
}

/// The packets and queries of the last seconds.
#[derive(Debug, Default)]
pub(super) struct Spending {
    queries: VecDeque<Sent>,
    pods: LinkedHashMap<Ifindex, Seconds>,
    /// Packets to other services than DNS: what left the node, and what came from pods.
    uplinks_beside_dns: Seconds,
    pods_beside_dns: Seconds,
    segments: VecDeque<(Timestamp, Mark)>,
}

/// What stays the same of a segment on its way through a NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    server: SocketAddr,
    to_server: bool,
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    data: usize,
}

impl Spending {
    /// Notes a query, seen at its client.
    pub(super) fn query(&mut self, sent: &Sent) {
        if self.queries.len() >= MAX_QUERIES {
            self.queries.pop_front();
        }
        self.queries.push_back(sent.clone());
    }

    /// Notes packets of a pod.
    pub(super) fn pod(&mut self, interface: Ifindex, time: Timestamp, packets: u64) {
        if packets == 0 {
            return;
        }
        if self.pods.to_back(&interface).is_none() {
            if self.pods.len() >= MAX_PODS {
                self.pods.pop_front();
            }
            self.pods.insert(interface, Seconds::default());
        }
        if let Some(seconds) = self.pods.get_mut(&interface) {
            add(seconds, time, packets);
        }
    }

    /// Notes packets to another service than DNS.
    pub(super) fn beside_dns(&mut self, sender: Sender, time: Timestamp, packets: u64) {
        let seconds = match sender {
            Sender::Uplink => &mut self.uplinks_beside_dns,
            Sender::Pod => &mut self.pods_beside_dns,
        };
        add(seconds, time, packets);
    }

    /// In a file, or on another interface of the same uplink: was this segment seen a moment ago?
    pub(super) fn is_copy(&mut self, segment: &Segment<'_>) -> bool {
        let Segment { time, flow, to_server, header, data, .. } = *segment;
        let server = if to_server { flow.destination } else { flow.source };
        let (sequence, acknowledgement, flags) = (header.sequence, header.acknowledgement, header.flags);
        let mark = Mark { server, to_server, sequence, acknowledgement, flags, data };
        let is_copy = self.segments.iter().any(|(at, other)| *other == mark && time.since(*at) <= COPY);
        if self.segments.len() >= MAX_SEGMENTS {
            self.segments.pop_front();
        }
        self.segments.push_back((time, mark));
        is_copy
    }

    /// Forgets everything.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// What was spent until `end`; `by_kernel`: the kernel counted the packets of pods.
    pub(super) fn spent(&self, end: Timestamp, by_kernel: bool) -> Spent {
        let from = end.before(SPAN);
        let mut by_client: Map<(Option<Ifindex>, IpAddr), u64> = Map::default();
        let mut by_name: Map<&Name, u64> = Map::default();
        let mut by_question: Map<_, u64> = Map::default();
        let mut by_server: Map<IpAddr, u64> = Map::default();
        let recent = || self.queries.iter().filter(|sent| sent.time >= from);
        for sent in recent() {
            let client = sent.parties.client_id();
            *by_client.entry((client.interface, client.address)).or_default() += 1;
            *by_server.entry(sent.parties.server.ip()).or_default() += 1;
            if let Some(question) = &sent.question {
                *by_name.entry(&question.qname).or_default() += 1;
                *by_question.entry((&question.qname, question.qtype)).or_default() += 1;
            }
        }
        let queries = by_server.values().sum();
        let named: u64 = by_question.values().sum();
        Spent {
            spenders: self.spenders(&by_client, end, by_kernel),
            names: most(by_name.into_iter().map(|(name, count)| (name.clone(), count)), Name::to_string),
            queries,
            repeated: named - by_question.len() as u64,
            server: by_server
                .into_iter()
                .max_by_key(|(server, count)| (*count, *server))
                .map(|(server, _)| server),
            example: self.queries.iter().skip(self.queries.len().saturating_sub(EXAMPLE)).cloned().collect(),
        }
    }

    fn spenders(
        &self,
        by_client: &Map<(Option<Ifindex>, IpAddr), u64>,
        end: Timestamp,
        by_kernel: bool,
    ) -> Vec<Spender> {
        let of_pods = self.pods.iter().filter(|_| by_kernel).filter_map(|(interface, sums)| {
            let packets = recent(sums, end);
            let address = by_client.keys().find(|(other, _)| *other == Some(*interface)).map(|(_, ip)| *ip);
            (packets > 0).then_some(Spender { interface: Some(*interface), address, packets })
        });
        // Packets of pods are counted already; those of the node's own processes are known by their queries alone.
        let of_queries = by_client
            .iter()
            .filter(|((interface, _), _)| !by_kernel || interface.is_none())
            .map(|((interface, address), packets)| Spender {
                interface: *interface,
                address: Some(*address),
                packets: *packets,
            });
        // What left beside DNS and came from no pod.
        let rest = recent(&self.uplinks_beside_dns, end).saturating_sub(recent(&self.pods_beside_dns, end));
        let of_node =
            (by_kernel && rest > 0).then_some(Spender { interface: None, address: None, packets: rest });
        let mut all: Vec<Spender> = of_pods.chain(of_queries).chain(of_node).collect();
        all.sort_by_key(|spender| (std::cmp::Reverse(spender.packets), spender.interface, spender.address));
        all.truncate(TOLD);
        all
    }
}

/// Adds packets to their second; what stood in its place is older than is looked at.
fn add(seconds: &mut Seconds, time: Timestamp, packets: u64) {
    let second = time.as_nanos() / 1_000_000_000;
    if packets > 0
        && let Some((at, sum)) = seconds.get_mut(second as usize % 16)
    {
        if *at != second {
            (*at, *sum) = (second, 0);
        }
        *sum = sum.saturating_add(packets);
    }
}

/// The packets of the seconds before `end`, as far as is looked back.
fn recent(seconds: &Seconds, end: Timestamp) -> u64 {
    let end = end.as_nanos() / 1_000_000_000;
    let recent = seconds.iter().filter(|(at, _)| *at < end && at + SPAN.as_secs() >= end);
    recent.map(|(_, packets)| packets).sum()
}

/// The most frequent; of equals those that stand first by `order`.
fn most<T>(counts: impl Iterator<Item = (T, u64)>, order: impl Fn(&T) -> String) -> Vec<(T, u64)> {
    let mut counts: Vec<(T, u64)> = counts.collect();
    let most = counts.len().min(TOLD);
    if counts.len() > TOLD {
        counts.select_nth_unstable_by_key(TOLD - 1, |(_, count)| std::cmp::Reverse(*count));
    }
    counts.truncate(most);
    counts.sort_by_cached_key(|(what, count)| (std::cmp::Reverse(*count), order(what)));
    counts
}
