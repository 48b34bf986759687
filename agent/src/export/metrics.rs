//! Every metric's name, help and labels, and nothing else: values come from [`Tally`] and [`CaptureCounters`].
//!
//! The contract is docs/metrics.md. OpenMetrics is what prometheus-client writes; the classic text format is rendered
//! from it.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::capture::counters::CaptureCounters;
use crate::capture::frame::InterfaceKind;
use crate::correlate::{OrphanReason, Vantage};
use crate::dns::{Rcode, RecordType};
use crate::identity::who::{HOST, Who};
use crate::live::{Live, PacketCounts, Shared};
use crate::maps::Map;
use crate::packet::{Transport, fragments, tcp};
use crate::tally::{
    Amount, Buckets, DURATION_BOUNDS, MalformedKind, Miss, PacketResult, SIZE_BOUNDS, Series, Subject,
};

/// What stands before every name.
const PREFIX: &str = "nslookout";
/// What the agent says of its own build.
#[derive(Clone, Debug)]
pub struct Build {
    /// The crate's version.
    pub version: String,
    /// The commit it was built from.
    pub revision: String,
    /// `uname -r`.
    pub kernel: String,
}

/// All metrics, ready to be written.
pub struct Metrics(Registry);

impl Metrics {
    /// Of a running capture.
    pub fn new(shared: Shared, build: Build) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(All { shared, build }));
        Self(registry)
    }

    /// OpenMetrics 1.0.
    pub fn open_metrics(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.0)?;
        Ok(text)
    }

    /// The classic text format 0.0.4.
    pub fn classic(&self) -> Result<String, fmt::Error> {
        self.open_metrics().map(|text| to_classic(&text))
    }
}

/// Rewrites OpenMetrics as text 0.0.4: no `# UNIT`, no `# EOF`, and a counter's HELP and TYPE bear the name of its
/// samples.
fn to_classic(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    // HELP comes before TYPE, so it waits until the type is known.
    let mut help: Option<(&str, &str)> = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take() {
                text.push_str(&format!("# HELP {name}{suffix} {help}\n"));
            }
            text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

type Labels = Vec<(&'static str, String)>;

/// Names and help are given once, here; the values of one metric are an iterator of labels and numbers.
struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn counter<V>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, V)>,
    ) -> fmt::Result
    where
        V: prometheus_client::encoding::EncodeCounterValue,
    {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            if labels.is_empty() {
                metric.encode_counter::<NoLabelSet, _, f64>(&value, None)?;
            } else {
                metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)?;
            }
        }
        Ok(())
    }

    fn gauge<V>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, V)>,
    ) -> fmt::Result
    where
        V: prometheus_client::encoding::EncodeGaugeValue,
    {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            if labels.is_empty() {
                metric.encode_gauge(&value)?;
            } else {
                metric.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }

    /// `unit` is added to the name.
    fn histogram<'v, const N: usize>(
        &mut self,
        name: &str,
        unit: Unit,
        help: &str,
        bounds: &[f64],
        values: impl IntoIterator<Item = (Labels, &'v Buckets<N>)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, Some(&unit), MetricType::Histogram)?;
        for (labels, buckets) in values {
            let bounded = bounds.iter().copied().chain([f64::INFINITY]);
            let counts: Vec<(f64, u64)> = bounded.zip(buckets.counts).collect();
            let all = buckets.counts.iter().sum();
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(buckets.sum, all, &counts, None)?;
        }
        Ok(())
    }
}

struct All {
    shared: Shared,
    build: Build,
}

impl fmt::Debug for All {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("All")
    }
}

impl Collector for All {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut live = self.shared.lock();
        let mut writer = Writer(encoder);
        client_side(&mut writer, &live)?;
        server_side(&mut writer, &live)?;
        uplinks(&mut writer, &live)?;
        agent(&mut writer, &live, &self.build)?;
        // Under the same lock: nothing was counted in between.
        live.engine.scraped();
        Ok(())
    }
}

/// A. What clients asked and got.
fn client_side(writer: &mut Writer<'_>, live: &Live) -> fmt::Result {
    let (side, who) = (&live.engine.tally().client, live.engine.who());
    let queries = rows(&side.queries, who, |(transport, qtype, resolver)| {
        vec![
            ("transport", transport.as_str().to_owned()),
            ("qtype", qtype_label(*qtype)),
            ("resolver", resolver.as_str().to_owned()),
        ]
    });
    writer.counter("queries", "DNS queries, each once however often it was sent", queries)?;
    let responses = rows(&side.responses, who, |(transport, rcode)| {
        vec![("transport", transport.as_str().to_owned()), ("rcode", rcode_label(*rcode))]
    });
    writer.counter("responses", "DNS responses that came in time", responses)?;
    let nodata = rows(&side.nodata, who, |qtype| vec![("qtype", qtype_label(*qtype))]);
    writer.counter("nodata_responses", "Responses NOERROR without a record of the type asked", nodata)?;
    let unanswered = rows(&side.unanswered, who, |(transport, resolver)| {
        vec![("transport", transport.as_str().to_owned()), ("resolver", resolver.as_str().to_owned())]
    });
    writer.counter("unanswered_queries", "DNS queries without a response within the time-out", unanswered)?;
    let none = |(): &()| Vec::new();
    writer.counter(
        "late_responses",
        "Responses that came after the time-out",
        rows(&side.late, who, none),
    )?;
    writer.counter(
        "query_retransmits",
        "DNS queries that were sent again",
        rows(&side.retransmits, who, none),
    )?;
    let mut by_name = BTreeMap::new();
    for ((namespace, transport), buckets) in &side.durations {
        // A namespace that is gone had its name until all of it was read.
        let name = who.namespace(*namespace).or(who.namespace(HOST)).unwrap_or_default();
        by_name.entry((name, *transport)).or_insert_with(Buckets::default).add(buckets);
    }
    let labels = |name: &str, transport| vec![("namespace", name.to_owned()), transport_label(transport)];
    let durations = by_name.iter().map(|((name, transport), buckets)| (labels(name, *transport), buckets));
    writer.histogram(
        "query_duration",
        Unit::Seconds,
        "Time from the first send of a query to its response",
        &DURATION_BOUNDS,
        durations,
    )?;
    let truncated = rows(&side.truncated, who, none);
    writer.counter("truncated_responses", "Responses with the TC bit: the answer did not fit", truncated)?;
    let sizes = sorted(&side.sizes).map(|(transport, buckets)| (vec![transport_label(*transport)], buckets));
    writer.histogram("response_size", Unit::Bytes, "Size of DNS responses", &SIZE_BOUNDS, sizes)?;
    let oversize = rows(&side.oversize, who, none);
    writer.counter("oversize_responses", "UDP responses larger than the client said it takes", oversize)?;
    let edns = sorted(&side.edns).map(|(size, count)| (vec![("bufsize", size.as_str().to_owned())], *count));
    writer.counter("edns_queries", "DNS queries by the UDP payload size that they offer", edns)
}

/// C. What servers on this node were asked and said.
fn server_side(writer: &mut Writer<'_>, live: &Live) -> fmt::Result {
    let (side, who) = (&live.engine.tally().server, live.engine.who());
    let queries = rows(&side.queries, who, |transport| vec![transport_label(*transport)]);
    writer.counter("server_queries", "DNS queries that reached a server on this node", queries)?;
    let none = |(): &()| Vec::new();
    let responses = rows(&side.responses, who, |(transport, rcode)| {
        vec![transport_label(*transport), ("rcode", rcode_label(*rcode))]
    });
    writer.counter("server_responses", "DNS responses by a server on this node", responses)?;
    let durations = rows(&side.durations, who, none);
    let durations = durations.iter().map(|(labels, buckets)| (labels.clone(), buckets));
    writer.histogram(
        "server_query_duration",
        Unit::Seconds,
        "Time that a server on this node took to answer, at its own interface",
        &DURATION_BOUNDS,
        durations,
    )
}

/// C. What the node's uplinks carry to the link-local services.
fn uplinks(writer: &mut Writer<'_>, live: &Live) -> fmt::Result {
    let counts: Vec<_> = live
        .counters
        .iter()
        .flat_map(|counters| &counters.linklocal)
        .filter(|count| count.kind.is_way_out())
        .collect();
    let interfaces = || live.counters.iter().flat_map(|counters| &counters.interfaces);
    let eni = |name: &str| {
        let interface = interfaces().find(|interface| interface.name == name)?;
        live.engine.who().eni(interface.ifindex).map(|eni| eni.id.clone())
    };
    let labels = |interface: &str, service: &str| {
        vec![
            ("interface", interface.to_owned()),
            ("eni", eni(interface).unwrap_or_default()),
            ("linklocal_service", service.to_owned()),
        ]
    };
    writer.counter(
        "interface_linklocal_packets",
        "Packets that left by an uplink to a link-local service: what the limit of the network interface counts",
        counts.iter().map(|count| (labels(&count.interface, count.service), count.egress)),
    )?;
    writer.counter(
        "interface_linklocal_received_packets",
        "Packets that came in by an uplink from a link-local service",
        counts.iter().map(|count| (labels(&count.interface, count.service), count.ingress)),
    )
}

/// F. The agent itself.
fn agent(writer: &mut Writer<'_>, live: &Live, build: &Build) -> fmt::Result {
    let tally = live.engine.tally();
    let none = CaptureCounters::default();
    let counters = live.counters.as_ref().unwrap_or(&none);
    let captured = captured(live, counters);
    let seen = [(vec![], counters.seen)];
    writer.counter("hook_packets", "Packets of whatever kind that ran through the hooks", seen)?;
    writer.counter(
        "capture_packets",
        "Packets matched in the kernel",
        captured.into_iter().map(|(vantage, count)| (vec![vantage_label(vantage)], count)),
    )?;
    writer.counter(
        "capture_drops",
        "Packets matched in the kernel and lost before the agent read them",
        counters.drops.iter().map(|((vantage, reason), count)| {
            (vec![vantage_label(*vantage), ("reason", reason.as_str().to_owned())], *count)
        }),
    )?;
    let mut events = Vec::new();
    let packets = ledger(live);
    for vantage in Vantage::ALL.into_iter().filter(|vantage| *vantage != Vantage::Unknown) {
        for result in PacketResult::ALL {
            let count = packets.results.get(&(vantage, result)).copied().unwrap_or(0);
            events.push((vec![vantage_label(vantage), ("result", result.as_str().to_owned())], count));
        }
    }
    writer.counter("events", "Captured packets by what became of them, each once", events)?;
    let kind = |kind: &str| vec![("kind", kind.to_owned())];
    let messages = [(kind("query"), tally.messages.0), (kind("response"), tally.messages.1)];
    writer.counter("messages", "DNS messages read, at whatever interface", messages)?;
    let malformed = MalformedKind::all()
        .map(|malformed| (kind(malformed.as_str()), tally.malformed.get(&malformed).copied().unwrap_or(0)));
    writer.counter(
        "malformed_messages",
        "Packets and DNS messages that are illegal, by what was wrong first",
        malformed,
    )?;
    writer.gauge(
        "inflight_queries",
        "DNS queries that wait for their response",
        [(vec![], live.engine.inflight())],
    )?;
    let unseen = [(vec![], tally.unseen)];
    let help = "Queries whose response may have been in a part of a TCP stream that was not seen";
    writer.counter("unseen_responses", help, unseen)?;
    let evictions = [(vec![], tally.evictions)];
    writer.counter("inflight_evictions", "Waiting queries that were given up for want of room", evictions)?;
    let orphans = [(OrphanReason::NoQuery, "no_query"), (OrphanReason::Duplicate, "duplicate")].map(
        |(reason, label)| {
            (vec![("reason", label.to_owned())], tally.orphans.get(&reason).copied().unwrap_or(0))
        },
    );
    writer.counter("orphan_responses", "Responses without a waiting query", orphans)?;
    let given_up = tcp::GiveUp::ALL
        .map(|reason| (vec![("reason", reason.as_str().to_owned())], tally.streams.given_up(reason)));
    writer.counter(
        "tcp_given_up",
        "TCP streams given up in the middle of a message or between two",
        given_up,
    )?;
    let skipped = [(vec![], tally.streams.skipped_bytes)];
    let beginnings = [(vec![], tally.streams.beginnings)];
    let help = "DNS messages over TCP of which only the beginning was captured";
    writer.counter("tcp_beginnings", help, beginnings)?;
    writer.counter("tcp_skipped_bytes", "Bytes of TCP streams whose beginning was not seen", skipped)?;
    writer.counter(
        "fragments_given_up",
        "Datagrams of these ports that were not put together from their fragments",
        fragments::GiveUp::ALL
            .map(|reason| (vec![("reason", reason.as_str().to_owned())], tally.fragments.given_up(reason))),
    )?;
    let later = [(vec![], counters.later_fragments + tally.fragments.unascribed)];
    let help = "Fragments whose first was not seen before them, so that nobody knows their ports";
    writer.counter("later_fragments", help, later)?;
    attachments(writer, counters)?;
    let misses = Miss::ALL.map(|miss| (kind(miss.as_str()), tally.misses.count(miss)));
    let help = "Clients and interfaces of which something was not known, each once until it is";
    writer.counter("identity_misses", help, misses)?;
    series(writer, live)?;
    let programs = || counters.programs.iter().map(|runs| (vec![("program", runs.program.to_owned())], runs));
    writer.counter(
        "ebpf_run_seconds",
        "Time spent in the kernel half, while the kernel's BPF statistics are on",
        programs().map(|(labels, runs)| (labels, runs.seconds)),
    )?;
    writer.counter(
        "ebpf_runs",
        "Runs of the kernel half, while the kernel's BPF statistics are on",
        programs().map(|(labels, runs)| (labels, runs.runs)),
    )?;
    let build = vec![
        ("version", build.version.clone()),
        ("revision", build.revision.clone()),
        ("kernel", build.kernel.clone()),
    ];
    writer.gauge("build_info", "The agent's version, revision and kernel; always 1", [(build, 1u32)])
}

/// Packets by vantage. A packet on an uplink that turned out to be the node's own moves from uplink to client.
fn captured(live: &Live, counters: &CaptureCounters) -> BTreeMap<Vantage, u64> {
    let packets = ledger(live);
    let mut captured = counters.matched.clone();
    if counters.matched.is_empty() {
        // A packet socket's kernel counts no vantages: what was read and what was lost is what was matched.
        for ((vantage, _), count) in &packets.results {
            *captured.entry(*vantage).or_default() += count;
        }
        for ((vantage, _), count) in &counters.drops {
            *captured.entry(*vantage).or_default() += count;
        }
        return captured;
    }
    // Whose the others are is known once they are read, so what still waits in the ring is not among them.
    *captured.entry(Vantage::Client).or_default() += packets.node;
    *captured.entry(Vantage::Uplink).or_default() += packets.passing + counters.dropped_node_or_uplink;
    captured
}

/// The packets that go with the source's counters.
fn ledger(live: &Live) -> PacketCounts {
    live.packets.clone().unwrap_or_else(|| PacketCounts::of(live.engine.tally()))
}

fn attachments(writer: &mut Writer<'_>, counters: &CaptureCounters) -> fmt::Result {
    let mut attached: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for interface in &counters.interfaces {
        *attached.entry((interface.kind.as_str(), interface.method.as_str())).or_default() += 1;
    }
    // Without any of a kind there is a 0, so that an alert has something to compare.
    for kind in [InterfaceKind::Pod, InterfaceKind::Uplink, InterfaceKind::Loopback] {
        if counters.interfaces.iter().all(|interface| interface.kind != kind) {
            attached.insert((kind.as_str(), "none"), 0);
        }
    }
    writer.gauge(
        "attached_interfaces",
        "Interfaces under watch",
        attached.into_iter().map(|((kind, method), count)| {
            (vec![("kind", kind.to_owned()), ("method", method.to_owned())], count)
        }),
    )?;
    writer.counter(
        "attach_errors",
        "Interfaces that could not be watched",
        counters.attach_errors.iter().map(|(reason, count)| (vec![("reason", reason.clone())], *count)),
    )
}

/// How many series the bounded metrics have, and how often one found no room.
fn series(writer: &mut Writer<'_>, live: &Live) -> fmt::Result {
    let tally = live.engine.tally();
    let (client, server) = (&tally.client, &tally.server);
    let bounded = [
        ("queries", client.queries.len(), client.queries.overflow),
        ("responses", client.responses.len(), client.responses.overflow),
        ("nodata_responses", client.nodata.len(), client.nodata.overflow),
        ("unanswered_queries", client.unanswered.len(), client.unanswered.overflow),
        ("late_responses", client.late.len(), client.late.overflow),
        ("query_retransmits", client.retransmits.len(), client.retransmits.overflow),
        ("truncated_responses", client.truncated.len(), client.truncated.overflow),
        ("oversize_responses", client.oversize.len(), client.oversize.overflow),
        ("server_queries", server.queries.len(), server.queries.overflow),
        ("server_responses", server.responses.len(), server.responses.overflow),
        ("server_query_duration_seconds", server.durations.len(), server.durations.overflow),
    ];
    let labels = |metric: &str| vec![("metric", metric.to_owned())];
    writer.gauge(
        "series",
        "Series of a bounded metric",
        bounded.iter().map(|(metric, count, _)| (labels(metric), *count)),
    )?;
    writer.counter(
        "series_overflow",
        "Increments that went to workload ~other for want of room",
        bounded.iter().map(|(metric, _, overflow)| (labels(metric), *overflow)),
    )
}

/// Whom a series is about, by name, in the order of a page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Name<'a> {
    /// Namespace and name of a workload.
    Workload(&'a str, &'a str),
    Address(IpAddr),
    Other,
}

impl<'a> Name<'a> {
    fn of(subject: Subject, who: &'a Who) -> Self {
        match subject {
            Subject::Workload(id) => who
                .workload(id)
                .map_or(Self::Other, |workload| Self::Workload(&workload.namespace, &workload.name)),
            Subject::Address(client) => Self::Address(client.address),
            Subject::Other => Self::Other,
        }
    }

    fn labels(self, who: &Who) -> Labels {
        let (namespace, workload) = match self {
            Self::Workload(namespace, name) => (namespace, name.to_owned()),
            Self::Address(address) => (who.namespace(HOST).unwrap_or_default(), address.to_string()),
            Self::Other => (who.namespace(HOST).unwrap_or_default(), "~other".to_owned()),
        };
        vec![("namespace", namespace.to_owned()), ("workload", workload)]
    }
}

/// The series of one metric with `namespace` and `workload` before its own labels. Those whose labels are the same are one:
/// a Deployment and a StatefulSet of one name, or one address in two networks.
fn rows<L: Copy + Eq + Hash + Ord, V: Amount>(
    series: &Series<L, V>,
    who: &Who,
    own: impl Fn(&L) -> Labels,
) -> Vec<(Labels, V)> {
    let mut sums: BTreeMap<(Name<'_>, L), V> = BTreeMap::new();
    for (subject, labels, value) in series.sorted() {
        sums.entry((Name::of(subject, who), labels)).or_default().add(value);
    }
    let row = |((name, labels), value): ((Name<'_>, L), V)| {
        let mut all = name.labels(who);
        all.extend(own(&labels));
        (all, value)
    };
    sums.into_iter().map(row).collect()
}

fn sorted<K: Ord, V>(map: &Map<K, V>) -> impl Iterator<Item = (&K, &V)> {
    map.iter().collect::<BTreeMap<_, _>>().into_iter()
}

fn transport_label(transport: Transport) -> (&'static str, String) {
    ("transport", transport.as_str().to_owned())
}

fn vantage_label(vantage: Vantage) -> (&'static str, String) {
    ("vantage", vantage.as_str().to_owned())
}

/// Rare types are `other`: the tally keeps them as type 0.
fn qtype_label(qtype: RecordType) -> String {
    if qtype.0 == 0 { "other".to_owned() } else { qtype.to_string() }
}

/// Rare codes are `other`.
fn rcode_label(rcode: Rcode) -> String {
    if rcode <= Rcode::REFUSED { rcode.to_string() } else { "other".to_owned() }
}
