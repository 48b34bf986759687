//! Plain counts of what the rooms said; export turns them into series, the summary into lines.
//!
//! Input: events and packet results. Output: the public fields. Memory is bounded by [`TallyLimits`].

mod labels;
mod lookups;
mod misses;
mod series;
mod turnover;

use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::capture::frame::Timestamp;
use crate::correlate::{ClientId, Event, OrphanReason, Outcome, Parties, Sent, Stray, Transaction, Vantage};
use crate::dns::{Message, Name, Rcode, RecordType, Response};
use crate::identity::who::{HOST, NamespaceId, Who};
use crate::maps::Map;
use crate::packet::Transport;
use crate::packet::fragments::FragmentCounts;
use crate::packet::tcp::StreamCounts;

pub use labels::{BufferSize, MalformedKind, PacketResult, Resolver};
use labels::{listed, listed_rcode};
pub use lookups::LookupCounts;
pub use misses::{Miss, Misses};
pub use series::{Amount, Buckets, DURATION_BOUNDS, Durations, SIZE_BOUNDS, Series, Sizes, Subject};

/// The bounds of counting.
#[derive(Clone, Debug)]
pub struct TallyLimits {
    /// Series of one metric at most; later subjects are counted as [`Subject::Other`].
    pub max_series: usize,
    /// Addresses of the cluster's DNS service.
    pub cluster_dns: Vec<IpAddr>,
    /// How long the series of a workload stay after its last instance, and those of an address after its last packet, if
    /// they were read; `None`: for good.
    pub series_grace: Option<Duration>,
    /// Somebody was asked who is who, so that who is not known is a miss.
    pub identity: bool,
}

impl Default for TallyLimits {
    fn default() -> Self {
        Self { max_series: 10_000, cluster_dns: Vec::new(), series_grace: None, identity: false }
    }
}

/// What was seen at the clients (metrics.md A).
#[derive(Clone, Debug, Default)]
pub struct ClientSide {
    /// Queries, each once however often it was sent.
    pub queries: Series<(Transport, RecordType, Resolver)>,
    /// Responses in time.
    pub responses: Series<(Transport, Rcode)>,
    /// NODATA.
    pub nodata: Series<RecordType>,
    /// Queries without a response.
    pub unanswered: Series<(Transport, Resolver)>,
    /// Responses after the time-out.
    pub late: Series<()>,
    /// Queries sent again.
    pub retransmits: Series<()>,
    /// Responses with TC.
    pub truncated: Series<()>,
    /// Responses over UDP larger than the client said it takes.
    pub oversize: Series<()>,
    /// Time from the first send to the response, by the client's namespace.
    pub durations: Map<(NamespaceId, Transport), Durations>,
    /// Size of the responses.
    pub sizes: Map<Transport, Sizes>,
    /// Queries by the payload size that they offer.
    pub edns: Map<BufferSize, u64>,
}

/// What was seen at the pods that answer (metrics.md C).
#[derive(Clone, Debug, Default)]
pub struct ServerSide {
    /// Queries.
    pub queries: Series<Transport>,
    /// Responses.
    pub responses: Series<(Transport, Rcode)>,
    /// Time from query to response.
    pub durations: Series<(), Durations>,
}

/// Servers whose latencies are kept apart in the summary, at most.
const MAX_SUMMARY_SERVERS: usize = 256;
/// Names and clients whose unanswered queries are kept apart in the summary, at most.
const MAX_SUMMARY_SUBJECTS: usize = 4096;

/// One server in the summary.
#[derive(Clone, Debug)]
pub struct ServerSummary {
    /// Transactions.
    pub queries: u64,
    /// Those without a response.
    pub unanswered: u64,
    /// Latencies in microseconds.
    pub latencies: Histogram<u64>,
}

/// What the exit summary tells: every transaction once, at the vantage nearest to its client.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The times of the first and the last packet.
    pub span: Option<(Timestamp, Timestamp)>,
    /// Answered transactions.
    pub answered: u64,
    /// Unanswered transactions.
    pub unanswered: u64,
    /// Transactions whose response may have been in a part of a TCP stream that was not seen.
    pub unseen: u64,
    /// Transactions that still waited when the capture ended.
    pub waiting: u64,
    /// Transactions given up for want of room.
    pub given_up: u64,
    /// Responses by code; NODATA apart from the other NOERROR.
    pub rcodes: Map<Rcode, u64>,
    /// NODATA.
    pub nodata: u64,
    /// TC=1.
    pub truncated: u64,
    /// Responses after the time-out.
    pub late: u64,
    /// Responses to a query that had its response already.
    pub duplicates: u64,
    /// Queries sent again.
    pub retransmits: u64,
    /// By server.
    pub servers: Map<SocketAddr, ServerSummary>,
    /// Those servers for which there was no room in `servers`, together.
    pub other_servers: Option<ServerSummary>,
    /// More clients or names had unanswered queries than are kept apart: who had most is not known.
    pub crowded: bool,
    /// Unanswered queries by client.
    pub unanswered_clients: Map<IpAddr, u64>,
    /// Unanswered queries by name.
    pub unanswered_names: Map<Name, u64>,
    /// Responses without a query.
    pub orphans: u64,
    /// Those of them that came before any query could have been seen.
    pub mid_flight: u64,
}

impl Summary {
    /// All transactions.
    pub fn queries(&self) -> u64 {
        self.answered + self.unanswered + self.unseen + self.waiting + self.given_up
    }
}

/// All counts.
#[derive(Clone, Debug)]
pub struct Tally {
    limits: TallyLimits,
    /// Packets by vantage and result.
    pub packets: Map<(Vantage, PacketResult), u64>,
    /// Of those counted as the client's, the packets whose place alone did not say so (`Verdict::NodeOrUplink`).
    pub node_packets: u64,
    /// The others of which place alone did not say whose they are: passing traffic.
    pub passing_packets: u64,
    /// Packets that were delivered but are no DNS by port.
    pub filtered: u64,
    /// What was not read of TCP streams.
    pub streams: StreamCounts,
    /// Datagrams that were not put together, and fragments that nobody can ascribe: those are in no other count.
    pub fragments: FragmentCounts,
    /// How often the clock of the frames was set back.
    pub clock_steps: u64,
    /// Queries and responses.
    pub messages: (u64, u64),
    /// Queries whose response may have been in a part of a TCP stream that was not seen.
    pub unseen: u64,
    /// Illegal packets and messages by what was wrong first.
    pub malformed: Map<MalformedKind, u64>,
    /// Open queries that gave way.
    pub evictions: u64,
    /// Responses without a waiting query.
    pub orphans: Map<OrphanReason, u64>,
    /// Who or what was not known.
    pub misses: Misses,
    /// When series were looked through last.
    swept: Timestamp,
    /// At the clients.
    pub client: ClientSide,
    /// At the servers.
    pub server: ServerSide,
    /// For the exit summary.
    pub summary: Summary,
}

impl Tally {
    /// Nothing counted yet.
    pub fn new(limits: TallyLimits) -> Self {
        Self {
            limits,
            packets: Map::default(),
            node_packets: 0,
            passing_packets: 0,
            filtered: 0,
            streams: StreamCounts::default(),
            fragments: FragmentCounts::default(),
            clock_steps: 0,
            messages: (0, 0),
            unseen: 0,
            malformed: Map::default(),
            evictions: 0,
            orphans: Map::default(),
            misses: Misses::default(),
            swept: Timestamp::default(),
            client: ClientSide::default(),
            server: ServerSide::default(),
            summary: Summary::default(),
        }
    }

    /// All packets that have a result.
    pub fn captured(&self) -> u64 {
        self.packets.values().sum()
    }

    /// The time of a packet.
    pub(crate) fn span(&mut self, time: Timestamp) {
        let (first, last) = self.summary.span.get_or_insert((time, time));
        *first = (*first).min(time);
        *last = (*last).max(time);
    }

    /// The result of a packet; `certain`: its place alone told the vantage.
    pub(crate) fn packet(&mut self, vantage: Vantage, result: PacketResult, certain: bool) {
        *self.packets.entry((vantage, result)).or_default() += 1;
        match vantage {
            Vantage::Client if !certain => self.node_packets += 1,
            _ if !certain => self.passing_packets += 1,
            _ => {}
        }
    }

    pub(crate) fn clock_set_back(&mut self) {
        self.clock_steps += 1;
    }

    pub(crate) fn filtered(&mut self) {
        self.filtered += 1;
    }

    pub(crate) fn malformed(&mut self, kind: MalformedKind) {
        *self.malformed.entry(kind).or_default() += 1;
    }

    pub(crate) fn message(&mut self, message: &Message) {
        match message {
            Message::Query(_) => self.messages.0 += 1,
            Message::Response(_) => self.messages.1 += 1,
        }
    }

    /// Counts what the correlator said at `now`; `who` tells whom it is about.
    pub(crate) fn event(&mut self, now: Timestamp, event: &Event, who: &Who) {
        let most = self.limits.max_series;
        match event {
            Event::Opened(sent) => self.opened(now, sent, who),
            Event::Retransmitted(Sent { parties, echo, .. }) => {
                if parties.vantage == Vantage::Client {
                    *self.client.retransmits.at(most, now, client(parties, who).0, ()) += 1;
                }
                self.summary.retransmits += u64::from(!echo);
            }
            Event::Closed(transaction) => self.closed(now, transaction, who),
            Event::Late { stray, .. } => {
                if stray.parties.vantage == Vantage::Client {
                    *self.client.late.at(most, now, client(&stray.parties, who).0, ()) += 1;
                }
                self.summary.late += u64::from(!stray.echo);
            }
            Event::Orphan { stray, reason } => self.orphan(stray, *reason),
            Event::Evicted { echo } => {
                self.evictions += 1;
                self.summary.given_up += u64::from(!echo);
            }
            Event::Copy => {}
        }
    }

    fn opened(&mut self, now: Timestamp, sent: &Sent, who: &Who) {
        let Sent { parties, question, edns, .. } = sent;
        let most = self.limits.max_series;
        match parties.vantage {
            Vantage::Client => {
                let qtype = question.as_ref().map_or(RecordType(0), |question| question.qtype);
                let labels = (parties.transport, listed(qtype), self.resolver(parties, who));
                *self.client.queries.at(most, now, client(parties, who).0, labels) += 1;
                *self.client.edns.entry(BufferSize::of(*edns)).or_default() += 1;
                if self.limits.identity {
                    self.misses.asked(parties, who);
                }
            }
            Vantage::Server => {
                *self.server.queries.at(most, now, server(parties, who), parties.transport) += 1;
            }
            Vantage::Uplink | Vantage::Unknown => {}
        }
    }

    fn resolver(&self, parties: &Parties, who: &Who) -> Resolver {
        let server = parties.server.ip();
        Resolver::of(server, &self.limits.cluster_dns, who.role(server))
    }

    fn closed(&mut self, now: Timestamp, transaction: &Transaction, who: &Who) {
        let Transaction { parties, outcome, .. } = transaction;
        self.unseen += u64::from(matches!(outcome, Outcome::Unseen { .. }));
        let most = self.limits.max_series;
        match (parties.vantage, outcome) {
            (Vantage::Client, Outcome::Answered { response, latency }) => {
                self.client_response(now, transaction, response, *latency, who);
            }
            (Vantage::Client, Outcome::Unanswered { .. }) => {
                let labels = (parties.transport, self.resolver(parties, who));
                *self.client.unanswered.at(most, now, client(parties, who).0, labels) += 1;
            }
            (Vantage::Server, Outcome::Answered { response, latency }) => {
                let server = server(parties, who);
                let labels = (parties.transport, listed_rcode(response.rcode));
                *self.server.responses.at(most, now, server, labels) += 1;
                let durations = self.server.durations.at(most, now, server, ());
                durations.observe(&DURATION_BOUNDS, latency.as_secs_f64());
            }
            _ => {}
        }
        if !transaction.echo {
            self.summarise(transaction);
        }
    }

    fn client_response(
        &mut self,
        now: Timestamp,
        transaction: &Transaction,
        response: &Response,
        latency: Duration,
        who: &Who,
    ) {
        let most = self.limits.max_series;
        let transport = transaction.parties.transport;
        let (subject, namespace) = client(&transaction.parties, who);
        let side = &mut self.client;
        *side.responses.at(most, now, subject, (transport, listed_rcode(response.rcode))) += 1;
        if response.is_nodata() {
            let qtype = response.question.as_ref().map_or(RecordType(0), |question| question.qtype);
            *side.nodata.at(most, now, subject, listed(qtype)) += 1;
        }
        if response.header.truncated() {
            *side.truncated.at(most, now, subject, ()) += 1;
        }
        if transport == Transport::Udp && response.length > transaction.query.udp_limit() {
            *side.oversize.at(most, now, subject, ()) += 1;
        }
        let durations = side.durations.entry((namespace, transport)).or_default();
        durations.observe(&DURATION_BOUNDS, latency.as_secs_f64());
        side.sizes.entry(transport).or_default().observe(&SIZE_BOUNDS, response.length as f64);
    }

    fn orphan(&mut self, stray: &Stray, reason: OrphanReason) {
        *self.orphans.entry(reason).or_default() += 1;
        if stray.echo {
            return;
        }
        if reason == OrphanReason::Duplicate {
            self.summary.duplicates += 1;
        } else {
            self.summary.orphans += 1;
            // Its query may have been sent up to a time-out before the first packet.
            let begin = self.summary.span.map_or(stray.time, |(first, _)| first);
            self.summary.mid_flight += u64::from(stray.time.since(begin) < Duration::from_secs(6));
        }
    }

    fn summarise(&mut self, transaction: &Transaction) {
        let Transaction { parties, query, outcome, .. } = transaction;
        let summary = &mut self.summary;
        let server = match summary.servers.len() {
            MAX_SUMMARY_SERVERS.. if !summary.servers.contains_key(&parties.server) => {
                summary.other_servers.get_or_insert_with(ServerSummary::new)
            }
            _ => summary.servers.entry(parties.server).or_insert_with(ServerSummary::new),
        };
        server.queries += 1;
        match outcome {
            Outcome::Answered { response, latency } => {
                summary.answered += 1;
                if response.is_nodata() {
                    summary.nodata += 1;
                } else {
                    *summary.rcodes.entry(response.rcode).or_default() += 1;
                }
                summary.truncated += u64::from(response.header.truncated());
                server.latencies.saturating_record(latency.as_micros() as u64);
            }
            Outcome::Unanswered { .. } => {
                summary.unanswered += 1;
                server.unanswered += 1;
                summary.crowded |= !add_bounded(&mut summary.unanswered_clients, parties.client.ip());
                if let Some(question) = &query.question {
                    summary.crowded |= !add_bounded(&mut summary.unanswered_names, question.qname.clone());
                }
            }
            Outcome::Unseen { .. } => summary.unseen += 1,
            Outcome::Waiting { .. } => summary.waiting += 1,
        }
    }
}

/// Whom a client's counts belong to, and its namespace.
fn client(parties: &Parties, who: &Who) -> (Subject, NamespaceId) {
    match who.client_of(parties) {
        Some(known) => (Subject::Workload(known.workload), known.namespace),
        None => (Subject::Address(parties.client_id()), HOST),
    }
}

/// Whom a server's counts belong to.
fn server(parties: &Parties, who: &Who) -> Subject {
    match who.server_of(parties) {
        Some(known) => Subject::Workload(known.workload),
        None => Subject::Address(ClientId::at(parties.place.as_ref(), parties.server.ip())),
    }
}

impl ServerSummary {
    fn new() -> Self {
        #[expect(
            clippy::unwrap_used,
            reason = "the library accepts these constants: 1 µs to 60 s, two digits"
        )]
        let latencies = Histogram::new_with_bounds(1, 60_000_000, 2).unwrap();
        Self { queries: 0, unanswered: 0, latencies }
    }
}

/// Counts `key`; `false` where there was no room for it.
fn add_bounded<K: Eq + Hash>(counts: &mut Map<K, u64>, key: K) -> bool {
    let room = counts.len() < MAX_SUMMARY_SUBJECTS || counts.contains_key(&key);
    if room {
        *counts.entry(key).or_default() += 1;
    }
    room
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::facts::ServerRole;

    #[test]
    fn the_resolver_is_known_by_its_address() {
        let cases = [
            ("169.254.20.10", Resolver::NodeLocal),
            ("169.254.169.253", Resolver::Vpc),
            ("fd00:ec2::253", Resolver::Vpc),
            ("169.254.1.1", Resolver::Other),
            ("10.96.0.10", Resolver::Cluster),
            ("fd12::a", Resolver::Cluster),
            ("10.96.0.11", Resolver::Other),
            ("172.16.0.2", Resolver::Other),
            ("172.32.0.2", Resolver::External),
            ("192.168.1.1", Resolver::Other),
            ("127.0.0.53", Resolver::Other),
            ("0.0.0.0", Resolver::Other),
            ("100.64.0.1", Resolver::Other),
            ("100.127.255.255", Resolver::Other),
            ("100.128.0.1", Resolver::External),
            ("8.8.8.8", Resolver::External),
            ("2001:4860:4860::8888", Resolver::External),
            ("fd12::b", Resolver::Other),
            ("fe80::1", Resolver::Other),
            ("::1", Resolver::Other),
        ];
        let cluster = ["10.96.0.10".parse().unwrap(), "fd12::a".parse().unwrap()];
        for (address, expected) in cases {
            assert_eq!(Resolver::of(address.parse().unwrap(), &cluster, None), expected, "{address}");
        }
        // What the user says comes first.
        let vpc: IpAddr = "169.254.169.253".parse().unwrap();
        assert_eq!(Resolver::of(vpc, &[vpc], Some(ServerRole::NodeLocal)), Resolver::Cluster);
        // Then what the platform says.
        let roles = [
            (ServerRole::NodeLocal, Resolver::NodeLocal),
            (ServerRole::Cluster, Resolver::Cluster),
            (ServerRole::Vpc, Resolver::Vpc),
        ];
        for (role, expected) in roles {
            assert_eq!(Resolver::of("172.20.0.10".parse().unwrap(), &[], Some(role)), expected);
        }
    }

    #[test]
    fn series_are_bounded_and_the_rest_is_other() {
        const MOST: usize = 3;
        let now = Timestamp::from_nanos(1);
        let address =
            |last: u8| Subject::Address(ClientId { interface: None, address: [10, 0, 0, last].into() });
        let mut series: Series<Transport> = Series::default();
        for _ in 0..2 {
            for last in 1..=5 {
                *series.at(MOST, now, address(last), Transport::Udp) += 1;
            }
        }
        *series.at(MOST, now, address(1), Transport::Tcp) += 1;
        assert_eq!(series.overflow, 5);
        let rows: Vec<(String, Transport, u64)> = series
            .sorted()
            .into_iter()
            .map(|(subject, transport, count)| (subject.to_string(), transport, *count))
            .collect();
        let row = |subject: &str, transport, count| (subject.to_owned(), transport, count);
        assert_eq!(
            rows,
            [
                row("10.0.0.1", Transport::Udp, 2),
                row("10.0.0.2", Transport::Udp, 2),
                row("10.0.0.3", Transport::Udp, 2),
                row("~other", Transport::Udp, 4),
                row("~other", Transport::Tcp, 1),
            ]
        );
        // Nothing is lost: the sum is that of all increments.
        assert_eq!(rows.iter().map(|(_, _, count)| count).sum::<u64>(), 11);
    }

    #[test]
    fn a_value_on_a_bound_belongs_below_it() {
        let mut sizes = Sizes::default();
        for size in [0.0, 128.0, 129.0, 512.0, 513.0, 65535.0, 70000.0] {
            sizes.observe(&SIZE_BOUNDS, size);
        }
        assert_eq!(sizes.counts, [2, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(sizes.sum, 136_817.0);
    }

    #[test]
    fn rare_types_and_codes_share_a_label() {
        assert_eq!(listed(RecordType::HTTPS), RecordType::HTTPS);
        assert_eq!(listed(RecordType(43)), RecordType(0));
        assert_eq!(listed_rcode(Rcode::REFUSED), Rcode::REFUSED);
        assert_eq!(listed_rcode(Rcode(16)), Rcode(u16::MAX));
    }
}
