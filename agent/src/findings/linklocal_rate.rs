//! `linklocal-rate`: a network interface nears or exceeds 1024 packets a second to link-local services (facts.md section
//! 3.4).
//!
//! Three signs, the strongest first: the driver's own counter grows; more than the limit within one second, and responses
//! of the VPC resolver missing; 0.7 of the limit in three of five seconds. One busy second that was answered in full is
//! none: the provider's window is not published, and nothing was lost.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use hashlink::LinkedHashMap;

use super::evidence::{percent, ratio, share};
use super::example::of_sent;
use super::remedies::{count, remedy, text};
use super::thresholds::LinkLocalLimit;
use super::{
    Confidence, Context, Desk, Details, Detector, FindingId, Outlook, Remedy, RemedyPlace, Severity,
    Sighting, Subject,
};
use crate::capture::frame::Timestamp;
use crate::correlate::linklocal::{Egress, LinkLocalSecond, MAX_QUERIES, Spender};

/// Interfaces that are followed at most; the one that was silent for longest gives way.
const MAX_EGRESSES: usize = 64;
/// Responses are known to be missing 6 s after the last send, and glibc sends again after 5 s.
const PATIENCE: Duration = Duration::from_secs(12);

/// The rule.
#[derive(Default)]
pub(super) struct LinkLocalRate {
    past: LinkedHashMap<Egress, Past>,
}

/// The last seconds of one interface.
#[derive(Default)]
struct Past {
    /// Ends and windows of those within [`LinkLocalLimit::of`] seconds.
    recent: VecDeque<(Timestamp, [u64; 10])>,
    /// The latest that was over the limit.
    over: Option<LinkLocalSecond>,
}

/// Why it is believed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// The driver dropped so many.
    Driver(u64),
    /// More than the limit within a second, and so many queries without a response, of so many.
    Missing(u64, u64),
    /// In so many of the last seconds.
    Sustained(usize),
}

impl Detector for LinkLocalRate {
    fn id(&self) -> FindingId {
        FindingId::LinkLocalRate
    }

    fn linklocal(&mut self, second: &LinkLocalSecond, desk: &mut Desk<'_>) {
        let limit = desk.context.thresholds.linklocal;
        if self.past.to_back(&second.egress).is_none() && self.past.len() >= MAX_EGRESSES {
            self.past.pop_front();
        }
        let past = self.past.entry(second.egress).or_insert_with(Past::default);
        past.add(second, Duration::from_secs(limit.of));
        if second.peak >= limit.packets {
            past.over = Some(second.clone());
        }
        let hot = past.hot((limit.packets as f64 * limit.warning).ceil() as u64);
        let dropped = second.allowance_exceeded.unwrap_or(0);
        if dropped > 0 {
            raise(second, Sign::Driver(dropped), desk);
        } else if hot >= limit.seconds {
            let busiest =
                past.recent.iter().flat_map(|(_, windows)| windows).max().map_or(second.peak, |peak| *peak);
            raise(&LinkLocalSecond { peak: busiest, ..second.clone() }, Sign::Sustained(hot), desk);
        }
    }

    fn second(&mut self, desk: &mut Desk<'_>) {
        let limit = desk.context.thresholds.linklocal;
        for (_, past) in &mut self.past {
            let Some(over) = &past.over else { continue };
            if desk.context.now.since(over.end) > PATIENCE {
                past.over = None;
            } else if let Some(sign) = missing(over, limit, desk) {
                raise(over, sign, desk);
                past.over = None;
            }
        }
    }

    fn blind(&self, outlook: &Outlook<'_>) -> Option<String> {
        let asked = outlook.ground.cache.linklocal_peak > 0;
        (asked && self.past.is_empty()).then(|| {
            "queries to link-local resolvers were seen, but none leaving by an uplink, where the limit counts".to_owned()
        })
    }
}

impl Past {
    fn add(&mut self, second: &LinkLocalSecond, span: Duration) {
        self.recent.push_back((second.end, second.windows));
        while self.recent.front().is_some_and(|(end, _)| second.end.since(*end) >= span) {
            self.recent.pop_front();
        }
    }

    /// In how many of the last seconds so many packets were sent. Seconds may begin at any tenth, all at the same: one
    /// packet counts for one second.
    fn hot(&self, packets: u64) -> usize {
        let begin_at = |tenth: usize| {
            self.recent
                .iter()
                .filter(|(_, windows)| windows.get(tenth).is_some_and(|sum| *sum >= packets))
                .count()
        };
        (0..10).map(begin_at).max().unwrap_or(0)
    }
}

/// Were responses of the resolver missing when the limit was exceeded?
fn missing(over: &LinkLocalSecond, limit: LinkLocalLimit, desk: &mut Desk<'_>) -> Option<Sign> {
    let server = over.spent.as_ref()?.server?;
    let now = desk.context.now;
    let window = desk.context.ground.servers.window(server, now, PATIENCE);
    let enough = window.unanswered >= limit.missing
        && ratio(window.unanswered, window.transactions) >= limit.missing_share;
    // A server that answers nobody is down; what exceeds a limit is only a part.
    if !enough || window.replies() == 0 {
        return None;
    }
    let lost = desk.lost_at(None, now.before(PATIENCE), now);
    if window.unanswered < limit.missing.saturating_add(lost) {
        desk.hold_back(FindingId::LinkLocalRate, subject(over), window.unanswered, lost);
        return None;
    }
    Some(Sign::Missing(window.unanswered, window.transactions))
}

fn subject(second: &LinkLocalSecond) -> Subject {
    match second.egress {
        Egress::Interface(interface) => Subject::interface(interface),
        Egress::File => Subject::server(resolver(second)),
    }
}

/// The service that most packets went to; the VPC resolver's own address where no query was seen.
fn resolver(second: &LinkLocalSecond) -> IpAddr {
    let server = second.spent.as_ref().and_then(|spent| spent.server);
    server.unwrap_or(IpAddr::from([169, 254, 169, 253]))
}

fn raise(second: &LinkLocalSecond, sign: Sign, desk: &mut Desk<'_>) {
    let limit = desk.context.thresholds.linklocal;
    let severity = match sign {
        Sign::Driver(_) | Sign::Missing(..) => Severity::High,
        Sign::Sustained(_) if second.peak >= limit.packets => Severity::High,
        Sign::Sustained(_) => Severity::Warning,
    };
    let confidence = match sign {
        Sign::Driver(_) | Sign::Missing(..) => Confidence::High,
        // The kernel saw every packet; a capture may hold some twice, and not all.
        Sign::Sustained(_) if second.by_kernel => Confidence::High,
        Sign::Sustained(_) => Confidence::Medium,
    };
    let begin = second.end.before(Duration::from_secs(1));
    let sighting = Sighting {
        id: FindingId::LinkLocalRate,
        subject: subject(second),
        severity,
        confidence,
        seen: (begin, second.end),
        count: 1,
    };
    let context = desk.context;
    desk.raise(sighting, || details(second, sign, &context));
}

fn details(second: &LinkLocalSecond, sign: Sign, context: &Context<'_>) -> Details {
    let limit = context.thresholds.linklocal.packets;
    let whose = match second.egress {
        Egress::Interface(_) => "This network interface",
        Egress::File => "The machine of this capture",
    };
    let Spending { spenders, names, queries, repeated } = Spending::of(second);
    let cache = context.ground.cache;
    let mut because = vec![match sign {
        Sign::Driver(dropped) => {
            format!(
                "the driver's counter linklocal_allowance_exceeded grew by {dropped}: packets were dropped"
            )
        }
        Sign::Missing(unanswered, of) => {
            format!("{unanswered} of {of} queries to {} had no response then", resolver(second))
        }
        Sign::Sustained(seconds) => {
            let LinkLocalLimit { warning, of, .. } = context.thresholds.linklocal;
            format!("{seconds} of the last {of} s were above {warning} of the limit")
        }
    }];
    because.push(if second.by_kernel {
        "the kernel counted every packet at this interface, in buckets of 100 ms".to_owned()
    } else {
        "counted on captured DNS packets alone: other link-local traffic comes on top".to_owned()
    });
    if second.allowance_exceeded == Some(0) {
        because.push("but the driver's counter linklocal_allowance_exceeded did not grow".to_owned());
    }
    let mut numbers = vec![count("peak_packets_per_second", second.peak), count("limit", limit)];
    numbers.extend(second.services.iter().map(|(service, packets)| count(service.as_str(), *packets)));
    numbers.push(count("received", second.received));
    numbers.extend(second.allowance_exceeded.map(|dropped| count("linklocal_allowance_exceeded", dropped)));
    numbers.extend([
        text("spenders", spenders),
        text("names", names),
        share("repeated_share", repeated, queries),
        share("cache_hit_share", cache.hits, cache.queries),
        count("peak_queries_per_second", cache.linklocal_peak),
        count("peak_left_with_cache", cache.linklocal_peak_left),
        count("lookup_queries", context.ground.what_if.queries),
        count("lookup_queries_with_ndots_2", context.ground.what_if.ndots_2),
    ]);
    let spent = second.spent.as_ref();
    Details {
        summary: format!(
            "{whose} sent {} packets within one second to the link-local services of AWS; {limit} are allowed{}",
            second.peak,
            match sign {
                Sign::Driver(_) | Sign::Missing(..) => ", the rest is dropped unseen",
                Sign::Sustained(_) => ": beyond that they may be dropped unseen",
            }
        ),
        because,
        numbers,
        example: spent.iter().flat_map(|spent| &spent.example).map(of_sent).collect(),
        remedies: remedies(resolver(second), &cache_line(context)),
    }
}

/// Who and what, in words.
struct Spending {
    spenders: String,
    names: String,
    queries: u64,
    repeated: u64,
}

impl Spending {
    fn of(second: &LinkLocalSecond) -> Self {
        let Some(spent) = &second.spent else {
            return Self { spenders: "unknown".into(), names: "unknown".into(), queries: 0, repeated: 0 };
        };
        let spender = |spender: &Spender| {
            let who = match (spender.address, spender.interface) {
                (Some(address), _) => address.to_string(),
                (None, Some(interface)) => format!("interface {interface}"),
                (None, None) => "the node itself, beside DNS,".to_owned(),
            };
            match spender.packets {
                // No more are kept to be looked through.
                most if most >= MAX_QUERIES as u64 => format!("{who} {most} or more packets"),
                packets => format!("{who} {packets} packets"),
            }
        };
        let spenders: Vec<String> = spent.spenders.iter().map(spender).collect();
        let names: Vec<String> = spent.names.iter().map(|(name, count)| format!("{name} {count}")).collect();
        Self {
            spenders: spenders.join(", "),
            names: names.join(", "),
            queries: spent.queries,
            repeated: spent.repeated,
        }
    }
}

fn cache_line(context: &Context<'_>) -> String {
    let cache = context.ground.cache;
    let hits = percent(cache.hits, cache.queries);
    format!(
        "A cache on the node would have answered {hits} of the queries seen here: {} queries in the busiest second \
         would have been {}",
        cache.linklocal_peak, cache.linklocal_peak_left
    )
}

/// Where a cache helps, and what else does (facts.md section 3.4).
fn remedies(resolver: IpAddr, cache: &str) -> Vec<Remedy> {
    let forward = format!("    forward-addr: {resolver}");
    vec![
        remedy(
            &format!(
                "{cache}. It must forward all zones to the VPC resolver, or private zones break: unbound \
                 answers 10.in-addr.arpa and its like itself unless it is told not to (unbound.conf)"
            ),
            RemedyPlace::Node,
            &[
                "server:",
                "    interface: 172.17.0.1",
                "    access-control: 172.17.0.0/16 allow",
                "    unblock-lan-zones: yes",
                "    insecure-lan-zones: yes",
                "forward-zone:",
                "    name: \".\"",
                &forward,
            ],
        ),
        remedy(
            "On Kubernetes: NodeLocal DNSCache (kubernetes/kubernetes, cluster/addons/dns/nodelocaldns)",
            RemedyPlace::Node,
            &[],
        ),
        remedy(
            "Fewer queries for each name: external names then cost 2 queries, not 8 or 10",
            RemedyPlace::PodSpec,
            &["dnsConfig:", "  options:", "  - name: ndots", "    value: \"2\""],
        ),
        remedy(
            "Spread the CoreDNS pods over nodes: each interface has a limit of its own",
            RemedyPlace::PodSpec,
            &[
                "topologySpreadConstraints:",
                "- maxSkew: 1",
                "  topologyKey: kubernetes.io/hostname",
                "  whenUnsatisfiable: DoNotSchedule",
                "  labelSelector: {matchLabels: {k8s-app: kube-dns}}",
            ],
        ),
        remedy(
            "Keep connections open, cache names in the JVM or application, and ask instance metadata less often",
            RemedyPlace::Application,
            &[],
        ),
    ]
}

#[cfg(test)]
mod tests;
