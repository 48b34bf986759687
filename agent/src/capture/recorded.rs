//! What a recording says beside its packets, so that reading it gives what the live run gave.
//!
//! Input: counters and facts of a source. Output: the JSON that a recording holds, and the way back. Deliberately
//! absent: blocks and options of pcapng, which `export::capture_file` writes and `capture::file` reads. The form stands
//! in docs/recording.md; what a later version adds is passed over here.

mod replay;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::counters::{
    AllowanceCount, CaptureCounters, DropReason, LinkLocalCount, MOST_NAMES, Method, RecentBucket,
    WatchedInterface,
};
use super::frame::{CgroupId, Direction, Ifindex, InterfaceKind, Place, Timestamp};
use super::linklocal::SERVICES;
use super::vantage::Vantage;
use crate::identity::facts::{Fact, Instance};

pub(super) use replay::sender;
pub use replay::{InterfaceNames, Recorded};

/// Whose custom blocks these are: the number for documentation (RFC 5612), since this project has none of its own.
/// Others may use it too, so the content says whose it is.
pub const ENTERPRISE: u32 = 32_473;

/// The form written here.
const VERSION: u32 = 1;
/// No count is larger, so that sums of what a file claims stay within 64 bits.
const MOST: u64 = 1 << 56;
/// Buckets of one reading that are read; the kernel keeps 64.
const MOST_RECENT: usize = 256;
/// How all content of ours begins.
const BEGIN: &[u8] = b"{\"nslookout\":";

/// Something that a recording says.
#[derive(Clone, Debug)]
pub enum Note {
    /// Of an interface.
    Interface(InterfaceFact),
    /// What was counted.
    Counters(Box<Reading>),
    /// Who is who, and since when that was known, by the clock of the frames.
    Fact(Timestamp, Fact),
}

/// A reading of a source's counters.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// When counting from zero began: with the file that this stands in.
    pub begun: Timestamp,
    /// When this was read, by the clock of the frames.
    pub time: Timestamp,
    /// What was counted in between, without the interfaces, which have notes of their own, and without the kernel's BPF
    /// statistics, which tell of the agent and not of the packets.
    pub counters: CaptureCounters,
}

/// What is known of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceFact {
    /// Its number.
    pub ifindex: Ifindex,
    /// Its name; empty where the interface went before it could be asked for.
    pub name: String,
    /// What stands behind it.
    pub kind: InterfaceKind,
    /// How it is watched, and by how many hooks; `None` while only its packets are known.
    pub watched: Option<(Method, u32)>,
}

impl InterfaceFact {
    /// Of an interface under watch.
    pub fn of(watched: &WatchedInterface) -> Self {
        let WatchedInterface { ifindex, name, kind, method, hooks } = watched;
        Self { ifindex: *ifindex, name: name.clone(), kind: *kind, watched: Some((*method, *hooks)) }
    }

    /// As it stands in a recording.
    pub fn to_json(&self) -> String {
        encode(
            "interface",
            &WrittenInterface {
                ifindex: self.ifindex.0,
                name: self.name.clone(),
                interface_kind: self.kind.as_str().to_owned(),
                method: self.watched.map(|(method, _)| method.as_str().to_owned()),
                hooks: self.watched.map(|(_, hooks)| hooks),
            },
        )
    }
}

impl Reading {
    /// As it stands in a recording.
    pub fn to_json(&self) -> String {
        let counters = &self.counters;
        let drops = counters.drops.iter().filter(|(_, packets)| **packets > 0);
        let matched = counters.matched.iter();
        encode(
            "counters",
            &WrittenCounters {
                begun_ns: self.begun.as_nanos(),
                time_ns: self.time.as_nanos(),
                seen: counters.seen,
                matched: matched
                    .filter(|(_, packets)| **packets > 0)
                    .map(|(vantage, packets)| (vantage.as_str().into(), *packets))
                    .collect(),
                matched_node_or_uplink: counters.matched_node_or_uplink,
                dropped_node_or_uplink: counters.dropped_node_or_uplink,
                drops: drops.map(WrittenDrop::of).collect(),
                lost_at: counters.lost_at.iter().map(WrittenLoss::of).collect(),
                later_fragments: counters.later_fragments,
                linklocal: counters.linklocal.iter().map(WrittenLinkLocal::of).collect(),
                linklocal_buckets: counters.linklocal_buckets,
                vpc_resolvers: counters.vpc_resolvers.iter().map(IpAddr::to_string).collect(),
                allowances: counters.allowances.iter().map(WrittenAllowance::of).collect(),
                attach_errors: counters.attach_errors.clone(),
            },
        )
    }
}

/// A fact that was learnt at `time`, as it stands in a recording.
pub fn fact_to_json(time: Timestamp, fact: &Fact) -> String {
    encode("fact", &WrittenFact { time_ns: time.as_nanos(), fact })
}

fn encode(kind: &str, content: &impl Serialize) -> String {
    #[derive(Serialize)]
    struct Written<'a, T> {
        nslookout: u32,
        kind: &'a str,
        #[serde(flatten)]
        content: &'a T,
    }
    // Plain numbers and strings always have a form in JSON.
    serde_json::to_string(&Written { nslookout: VERSION, kind, content }).unwrap_or_default()
}

/// Reads the content of a custom block or option of [`ENTERPRISE`]. `Ok(None)`: not ours, or of a later version.
///
/// # Errors
///
/// Ours, and broken; with the reason for a person. Never panics, whatever the bytes are.
pub fn decode(bytes: &[u8]) -> Result<Option<Note>, String> {
    if !bytes.starts_with(BEGIN) {
        return Ok(None);
    }
    let Envelope { nslookout, kind } = parse(bytes)?;
    if nslookout != VERSION {
        return Ok(None);
    }
    match kind.as_deref() {
        Some("interface") => Ok(parse::<WrittenInterface>(bytes)?.read().map(Note::Interface)),
        Some("fact") => Ok(parse::<ReadFact>(bytes)?.read()?),
        Some("counters") => Ok(Some(Note::Counters(Box::new(parse::<WrittenCounters>(bytes)?.read())))),
        _ => Ok(None),
    }
}

/// What all notes say.
#[derive(Deserialize)]
struct Envelope {
    nslookout: u32,
    kind: Option<String>,
}

/// Reads what `T` asks for and keeps nothing else. Blocks are padded, so more may stand behind it.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    T::deserialize(&mut serde_json::Deserializer::from_slice(bytes)).map_err(|error| error.to_string())
}

/// The comment of a packet: what is known of it beside its bytes, as `key=value` words.
///
/// `vantage`: where place and direction alone make it certain.
pub fn write_comment(out: &mut Vec<u8>, place: &Place, vantage: Option<Vantage>) {
    let words = [
        ("vantage=", vantage.map(Vantage::as_str)),
        (" kind=", Some(place.kind.as_str())),
        (
            " direction=",
            Some(match place.direction {
                Direction::Ingress => "ingress",
                Direction::Egress => "egress",
            }),
        ),
        (" local_socket=", place.local_socket.map(|local| if local { "yes" } else { "no" })),
    ];
    let begin = out.len();
    for (key, value) in words.iter().filter_map(|(key, value)| Some((key, (*value)?))) {
        let key = if out.len() == begin { key.trim_start() } else { key };
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    if let Some(CgroupId(cgroup)) = place.cgroup {
        out.extend_from_slice(CGROUP);
        out.extend_from_slice(cgroup.to_string().as_bytes());
    }
}

/// Adds to the comment of a packet whose interface it was seen at. Blanks would end a word.
pub fn write_whose(out: &mut Vec<u8>, instance: &Instance) {
    let words = [
        ("namespace=", &instance.workload.namespace),
        ("workload=", &instance.workload.name),
        ("instance=", &instance.name),
    ];
    for (key, value) in words {
        if !out.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(key.as_bytes());
        out.extend(value.bytes().map(|octet| if octet == b' ' { b'_' } else { octet }));
    }
}

/// How the word of a packet's comment begins that tells the sender's cgroup. Never the first word.
const CGROUP: &[u8] = b" cgroup=";

/// Did a process of the machine send it, and in which cgroup is it? As [`write_comment`] wrote it.
pub fn sender_of(comment: &[u8]) -> (Option<bool>, Option<CgroupId>) {
    let (mut local_socket, mut cgroup) = (None, None);
    for word in comment.split(|byte| *byte == b' ') {
        match word {
            b"local_socket=yes" => local_socket = Some(true),
            b"local_socket=no" => local_socket = Some(false),
            _ => {
                let number = word.strip_prefix(CGROUP.trim_ascii_start());
                let number = number.and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
                cgroup = number.map(CgroupId).or(cgroup);
            }
        }
    }
    (local_socket, cgroup)
}

#[derive(Serialize, Deserialize)]
struct WrittenInterface {
    ifindex: u32,
    name: String,
    interface_kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hooks: Option<u32>,
}

impl WrittenInterface {
    /// `None`: of a kind that a later version knows.
    fn read(self) -> Option<InterfaceFact> {
        let method = self.method.and_then(|method| named(&Method::ALL, Method::as_str, &method));
        Some(InterfaceFact {
            ifindex: Ifindex(self.ifindex),
            kind: named(&InterfaceKind::ALL, InterfaceKind::as_str, &self.interface_kind)?,
            name: readable(self.name.as_bytes()),
            watched: method.zip(self.hooks),
        })
    }
}

#[derive(Serialize)]
struct WrittenFact<'a> {
    time_ns: u64,
    fact: &'a Fact,
}

#[derive(Deserialize)]
struct ReadFact {
    time_ns: u64,
    fact: serde_json::Value,
}

impl ReadFact {
    /// The kinds of facts that are known here.
    const KINDS: [&str; 6] = ["here", "gone", "server", "eni", "silent", "speaks"];

    /// `Ok(None)`: a kind that a later version knows.
    fn read(self) -> Result<Option<Note>, String> {
        let kind = self.fact.as_object().and_then(|fact| fact.keys().next());
        if kind.is_some_and(|kind| !Self::KINDS.contains(&kind.as_str())) {
            return Ok(None);
        }
        let fact = Fact::deserialize(self.fact).map_err(|error| error.to_string())?;
        Ok(Some(Note::Fact(Timestamp::from_nanos(self.time_ns), fact.bounded())))
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct WrittenCounters {
    begun_ns: u64,
    time_ns: u64,
    seen: u64,
    matched: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "is_zero")]
    matched_node_or_uplink: u64,
    #[serde(skip_serializing_if = "is_zero")]
    dropped_node_or_uplink: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    drops: Vec<WrittenDrop>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lost_at: Vec<WrittenLoss>,
    #[serde(skip_serializing_if = "is_zero")]
    later_fragments: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    linklocal: Vec<WrittenLinkLocal>,
    #[serde(skip_serializing_if = "is_false")]
    linklocal_buckets: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vpc_resolvers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowances: Vec<WrittenAllowance>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attach_errors: BTreeMap<String, u64>,
}

/// Serde hands out references.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Serde hands out references.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
fn is_false(condition: &bool) -> bool {
    !*condition
}

#[derive(Serialize, Deserialize)]
struct WrittenDrop {
    vantage: String,
    reason: String,
    packets: u64,
}

#[derive(Serialize, Deserialize)]
struct WrittenLoss {
    interface: String,
    reason: String,
    packets: u64,
}

#[derive(Serialize, Deserialize)]
struct WrittenLinkLocal {
    interface: String,
    interface_kind: String,
    service: String,
    egress: u64,
    ingress: u64,
    /// Begin of 100 ms in nanoseconds, egress, ingress: what was counted since the reading before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recent: Vec<[u64; 3]>,
}

#[derive(Serialize, Deserialize)]
struct WrittenAllowance {
    interface: String,
    counter: String,
    packets: u64,
}

impl WrittenAllowance {
    fn of(count: &AllowanceCount) -> Self {
        let AllowanceCount { interface, counter, packets } = count.clone();
        Self { interface, counter, packets }
    }

    fn read(self) -> AllowanceCount {
        AllowanceCount {
            interface: readable(self.interface.as_bytes()),
            counter: readable(self.counter.as_bytes()),
            packets: self.packets.min(MOST),
        }
    }
}

impl WrittenDrop {
    fn of(((vantage, reason), packets): (&(Vantage, DropReason), &u64)) -> Self {
        Self { vantage: vantage.as_str().into(), reason: reason.as_str().into(), packets: *packets }
    }
}

impl WrittenLoss {
    fn of((interface, reason, packets): &(String, DropReason, u64)) -> Self {
        Self { interface: interface.clone(), reason: reason.as_str().into(), packets: *packets }
    }
}

impl WrittenCounters {
    fn read(self) -> Reading {
        // A loss for a reason that a later version knows is still a loss.
        let reason =
            |name: &str| named(&DropReason::ALL, DropReason::as_str, name).unwrap_or(DropReason::RingFull);
        let vantage = |name: &str| named(&Vantage::ALL, Vantage::as_str, name).unwrap_or(Vantage::Unknown);
        let mut counters = CaptureCounters {
            seen: self.seen.min(MOST),
            matched_node_or_uplink: self.matched_node_or_uplink.min(MOST),
            dropped_node_or_uplink: self.dropped_node_or_uplink.min(MOST),
            later_fragments: self.later_fragments.min(MOST),
            ..CaptureCounters::default()
        };
        for (name, packets) in self.matched {
            let sum = counters.matched.entry(vantage(&name)).or_default();
            *sum = sum.saturating_add(packets).min(MOST);
        }
        for drop in self.drops {
            let sum = counters.drops.entry((vantage(&drop.vantage), reason(&drop.reason))).or_default();
            *sum = sum.saturating_add(drop.packets).min(MOST);
        }
        for (name, count) in self.attach_errors.into_iter().take(MOST_NAMES) {
            let sum = counters.attach_errors.entry(readable(name.as_bytes())).or_default();
            *sum = sum.saturating_add(count).min(MOST);
        }
        let lost = self.lost_at.into_iter().take(MOST_NAMES);
        counters.lost_at = lost
            .map(|loss| (readable(loss.interface.as_bytes()), reason(&loss.reason), loss.packets.min(MOST)))
            .collect();
        counters.linklocal =
            self.linklocal.into_iter().take(MOST_NAMES).filter_map(WrittenLinkLocal::read).collect();
        counters.linklocal_buckets = self.linklocal_buckets;
        let resolvers = self.vpc_resolvers.iter().take(MOST_NAMES);
        counters.vpc_resolvers = resolvers.filter_map(|address| address.parse().ok()).collect();
        let allowances = self.allowances.into_iter().take(MOST_NAMES);
        counters.allowances = allowances.map(WrittenAllowance::read).collect();
        let [begun, time] = [self.begun_ns, self.time_ns].map(Timestamp::from_nanos);
        Reading { begun, time, counters }
    }
}

impl WrittenLinkLocal {
    fn of(sum: &LinkLocalCount) -> Self {
        let LinkLocalCount { interface, kind, service, egress, ingress, recent } = sum;
        let bucket = |bucket: &RecentBucket| [bucket.begin.as_nanos(), bucket.egress, bucket.ingress];
        Self {
            interface: interface.clone(),
            interface_kind: kind.as_str().into(),
            service: (*service).into(),
            egress: *egress,
            ingress: *ingress,
            recent: recent.iter().map(bucket).collect(),
        }
    }

    /// `None`: of a service or a kind that a later version knows.
    fn read(self) -> Option<LinkLocalCount> {
        let bucket = |[begin, egress, ingress]: [u64; 3]| RecentBucket {
            begin: Timestamp::from_nanos(begin),
            egress: egress.min(MOST),
            ingress: ingress.min(MOST),
        };
        Some(LinkLocalCount {
            kind: named(&InterfaceKind::ALL, InterfaceKind::as_str, &self.interface_kind)?,
            service: SERVICES.into_iter().find(|service| *service == self.service)?,
            interface: readable(self.interface.as_bytes()),
            egress: self.egress.min(MOST),
            ingress: self.ingress.min(MOST),
            recent: self.recent.into_iter().take(MOST_RECENT).map(bucket).collect(),
        })
    }
}

/// Bytes of a name that are kept; the kernel's names of interfaces have 15 at most (IFNAMSIZ, if.h).
const MOST_OF_NAME: usize = 256;

/// A name out of a file as it may be kept and shown: what is not printable ASCII becomes `\\DDD`, since a terminal obeys
/// control characters, and it is cut before the character that would make it longer than 256 bytes. What was made
/// readable once stays as it is.
pub(in crate::capture) fn readable(name: &[u8]) -> String {
    let mut kept = String::new();
    for byte in name {
        let length = kept.len();
        match byte {
            b' '..=b'~' => kept.push(char::from(*byte)),
            _ => kept.push_str(&format!("\\{byte:03}")),
        }
        if kept.len() > MOST_OF_NAME {
            kept.truncate(length);
            break;
        }
    }
    kept
}

/// The one of `all` that is called so.
fn named<T: Copy>(all: &[T], name_of: impl Fn(T) -> &'static str, name: &str) -> Option<T> {
    all.iter().copied().find(|one| name_of(*one) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters() -> CaptureCounters {
        CaptureCounters {
            matched: BTreeMap::from([(Vantage::Client, 7), (Vantage::Uplink, 2)]),
            matched_node_or_uplink: 3,
            dropped_node_or_uplink: 1,
            drops: BTreeMap::from([((Vantage::Client, DropReason::RingFull), 4)]),
            lost_at: vec![("cali1".into(), DropReason::RingFull, 4)],
            seen: 90,
            later_fragments: 5,
            linklocal: vec![LinkLocalCount {
                interface: "ens5".into(),
                kind: InterfaceKind::Uplink,
                service: SERVICES[0],
                egress: 8,
                ingress: 9,
                recent: vec![RecentBucket {
                    begin: Timestamp::from_nanos(1_700_000_000_100_000_000),
                    egress: 3,
                    ingress: 2,
                }],
            }],
            linklocal_buckets: true,
            vpc_resolvers: vec!["10.0.0.2".parse().unwrap()],
            allowances: vec![AllowanceCount {
                interface: "ens5".into(),
                counter: "linklocal_allowance_exceeded".into(),
                packets: 12,
            }],
            attach_errors: BTreeMap::from([("netlink".into(), 1)]),
            ..CaptureCounters::default()
        }
    }

    #[test]
    fn counters_come_back() {
        let [begun, time] = [1_700_000_000_123_456_789, 1_700_000_001_000_000_000].map(Timestamp::from_nanos);
        let reading = Reading { begun, time, counters: counters() };
        let written = reading.to_json();
        // As a block pads it.
        let Ok(Some(Note::Counters(read))) = decode(format!("{written}   ").as_bytes()) else {
            unreachable!("{written}")
        };
        assert_eq!(format!("{read:?}"), format!("{reading:?}"));
    }

    #[test]
    fn facts_come_back() {
        for (kind, watched) in InterfaceKind::ALL.into_iter().zip([None, Some((Method::Tcx, 2)), None]) {
            let fact = InterfaceFact { ifindex: Ifindex(4), name: "a\"b".into(), kind, watched };
            let Ok(Some(Note::Interface(read))) = decode(fact.to_json().as_bytes()) else {
                unreachable!("{}", fact.to_json())
            };
            assert_eq!(read, fact);
        }
    }

    #[test]
    fn who_is_who_comes_back() {
        let text = r#"{"here":{"whose":{"interfaces":[7],"cgroups":[99],"addresses":["10.1.0.5"]},"instance":{
            "id":"uid","workload":{"namespace":"shop","kind":"Deployment","name":"cart"},"name":"cart-7d9f",
            "containers":[{"name":"app","image":"cart:1","id":null,"libc":{"kind":"musl","version":"1.2.3",
            "release":null}}],"resolver":{"resolv_conf":"search a\n","source":"pod_spec"},"dns":{"policy":"ClusterFirst",
            "nameservers":[],"searches":[],"options":["ndots:2"],"host_network":false}}}}"#;
        let facts = [
            text,
            r#"{"gone":"uid"}"#,
            r#"{"server":{"address":"10.96.0.10","role":"cluster"}}"#,
            r#"{"eni":{"interface":2,"id":"eni-1","mac":"02:00","addresses":[],"vpc_blocks":[]}}"#,
            r#"{"silent":{"source":"kubernetes","why":"no route"}}"#,
            r#"{"speaks":"imds"}"#,
        ];
        for text in facts {
            let fact: Fact = serde_json::from_str(text).unwrap();
            let time = Timestamp::from_nanos(1_700_000_000_000_000_001);
            let written = fact_to_json(time, &fact);
            let Ok(Some(Note::Fact(at, read))) = decode(written.as_bytes()) else {
                unreachable!("{written}")
            };
            assert_eq!((at, read), (time, fact));
        }
    }

    #[test]
    fn what_a_later_version_says_is_passed_over() {
        for unknown in [
            r#"{"nslookout":2,"kind":"counters","time_ns":"x"}"#,
            r#"{"nslookout":1,"kind":"host","resolv_conf":[]}"#,
            r#"{"nslookout":1,"kind":"fact","time_ns":1,"fact":{"weather":"rain"}}"#,
            r#"{"nslookout":1,"kind":"interface","ifindex":1,"name":"x","interface_kind":"tunnel"}"#,
            r#"{"nslookout":1}"#,
            "another's",
            "",
        ] {
            assert!(matches!(decode(unknown.as_bytes()), Ok(None)), "{unknown}");
        }
        let more = r#"{"nslookout":1,"kind":"counters","time_ns":5,"more":{},"seen":3,
            "drops":[{"vantage":"sky","reason":"rain","packets":2,"more":1}]}"#
            .replace('\n', "");
        let Ok(Some(Note::Counters(read))) = decode(more.as_bytes()) else { unreachable!("{more}") };
        let read = read.counters;
        assert_eq!((read.seen, read.total_drops()), (3, 2));
    }

    #[test]
    fn what_is_broken_is_told() {
        for broken in [
            r#"{"nslookout":1,"kind":"counters","seen":-1}"#,
            r#"{"nslookout":1,"kind":"fact","time_ns":1,"fact":{"gone":5}}"#,
            r#"{"nslookout":1,"kind""#,
            r#"{"nslookout":"#,
        ] {
            assert!(decode(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn only_what_was_counted_since() {
        let mut now = counters();
        now.seen += 10;
        *now.drops.entry((Vantage::Client, DropReason::RingFull)).or_default() += 2;
        now.lost_at[0].2 += 2;
        now.linklocal[0].egress += 1;
        let rest = now.since(&counters());
        assert_eq!((rest.seen, rest.total_drops(), rest.total_matched()), (10, 2, 0));
        assert_eq!(rest.lost_at, [("cali1".to_owned(), DropReason::RingFull, 2)]);
        assert_eq!((rest.linklocal[0].egress, rest.linklocal[0].ingress), (1, 0));
        assert!(counters().since(&counters()).lost_at.is_empty());
        assert_eq!(format!("{:?}", counters().plus(&rest)), format!("{now:?}"));
        assert_eq!(
            format!("{:?}", counters().plus(&CaptureCounters::default())),
            format!("{:?}", counters())
        );
    }

    #[test]
    fn what_a_file_claims_does_no_harm() {
        let claims = r#"{"nslookout":1,"kind":"counters","matched":{"client":18446744073709551615,"x":18446744073709551615,
            "y":18446744073709551615,"server":18446744073709551615},"attach_errors":{"e":18446744073709551615},
            "lost_at":[{"interface":"\u001b[2J","reason":"x","packets":18446744073709551615}],
            "linklocal":[{"interface":"e","interface_kind":"uplink","service":"dns","egress":18446744073709551615,
            "ingress":18446744073709551615}]}"#
            .replace('\n', "");
        let Ok(Some(Note::Counters(read))) = decode(claims.as_bytes()) else { unreachable!("{claims}") };
        let read = read.counters;
        assert_eq!(read.total_matched(), 3 * MOST);
        assert_eq!(read.lost_at, [(r"\027[2J".to_owned(), DropReason::RingFull, MOST)]);
        assert_eq!((read.linklocal[0].egress, read.linklocal[0].ingress), (MOST, MOST));
        assert_eq!(read.attach_errors["e"], MOST);
        // As large as 64 bits allow, from wherever they come.
        let mut most = read.clone();
        (most.linklocal[0].egress, most.linklocal[0].ingress) = (u64::MAX, u64::MAX);
        assert_eq!(most.since(&CaptureCounters::default()), most);
        assert_eq!(most.plus(&most).linklocal, most.linklocal);
    }

    #[test]
    fn lists_and_names_of_a_file_are_cut() {
        let loss = |number: usize| format!(r#"{{"interface":"e{number}","reason":"x","packets":1}}"#);
        let lists = |from: usize| {
            let numbers = from..from + 2 * MOST_NAMES;
            let losses: Vec<_> = numbers.clone().map(loss).collect();
            let errors: Vec<_> = numbers.map(|number| format!(r#""e{number}":1"#)).collect();
            let (losses, errors) = (losses.join(","), errors.join(","));
            format!(
                r#"{{"nslookout":1,"kind":"counters","lost_at":[{losses}],"attach_errors":{{{errors}}}}}"#
            )
        };
        let read = |text: &str| match decode(text.as_bytes()) {
            Ok(Some(Note::Counters(reading))) => reading.counters,
            other => unreachable!("{other:?}"),
        };
        let sum = read(&lists(0)).plus(&read(&lists(5_000)));
        assert_eq!((sum.lost_at.len(), sum.attach_errors.len()), (MOST_NAMES, MOST_NAMES));
    }

    #[test]
    fn names_are_readable() {
        for (name, expected) in [
            ("eth0", "eth0"),
            ("a\x1b[2Jb\n", r"a\027[2Jb\010"),
            (r"a\027", r"a\027"),
            ("\u{202e}", r"\226\128\174"),
        ] {
            assert_eq!(readable(name.as_bytes()), expected);
        }
        assert_eq!(readable(&[b'x'; 1_000]), "x".repeat(256));
        let cut = readable(&[&b"x"[..], &[7; 1_000]].concat());
        assert_eq!((cut.len(), readable(cut.as_bytes())), (253, cut.clone()));
    }

    #[test]
    fn a_comment_that_claims_no_number_tells_no_cgroup() {
        for claimed in ["cgroup=", "cgroup=-1", "cgroup=x", "cgroup=18446744073709551616", "cgroup=\u{661}"] {
            assert_eq!(sender_of(format!("kind=pod {claimed}").as_bytes()), (None, None), "{claimed}");
        }
    }

    #[test]
    fn comments_tell_what_the_bytes_do_not() {
        for (vantage, local_socket, cgroup, expected) in [
            (None, None, None, "kind=pod direction=egress"),
            (
                Some(Vantage::Client),
                Some(true),
                None,
                "vantage=client kind=pod direction=egress local_socket=yes",
            ),
            (
                None,
                Some(true),
                Some(u64::MAX),
                "kind=pod direction=egress local_socket=yes cgroup=18446744073709551615",
            ),
            (None, Some(false), None, "kind=pod direction=egress local_socket=no"),
        ] {
            let mut comment = Vec::new();
            let (kind, direction) = (InterfaceKind::Pod, Direction::Egress);
            let cgroup = cgroup.map(CgroupId);
            write_comment(
                &mut comment,
                &Place { ifindex: Ifindex(1), kind, direction, local_socket, cgroup },
                vantage,
            );
            assert_eq!(String::from_utf8_lossy(&comment), expected);
            assert_eq!(sender_of(&comment), (local_socket, cgroup));
        }
    }
}
