//! Captures with a few bits flipped: nothing panics, nothing hangs, memory does not grow.
//!
//! Every capture of `tests/data`, many times, the same flips for the same number. `NSLOOKOUT_MUTATIONS=1000` says how
//! many inputs are made of each capture; `cargo xtask torture` takes that many.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

use std::collections::BTreeSet;
use std::io::Cursor;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use nslookout::capture::Namer;
use nslookout::capture::counters::{
    AllowanceCount, CaptureCounters, DropReason, LinkLocalCount, Method, RecentBucket, WatchedInterface,
};
use nslookout::capture::file::{FILE_LAG, PcapFileSource};
use nslookout::capture::frame::{Direction, Frame, Ifindex, InterfaceKind, Place, Timestamp};
use nslookout::capture::vantage::Vantage;
use nslookout::engine::{Engine, EngineConfig, InsightConfig, Report};
use nslookout::export::capture_file::{Encapsulation, RecordConfig, Recording, Rotation};
use nslookout::export::findings::text::FindingLines;
use nslookout::export::lookups::LookupLines;
use nslookout::export::names::Names;
use nslookout::export::report::Diagnosis;
use nslookout::export::summary::{Judged, SourceReport, summary};
use nslookout::export::text::{Lines, Style};

/// Inputs made of each capture where nobody asks for more.
const FEW: u64 = 100;

/// Bits that are flipped at most.
const MOST_FLIPS: u64 = 16;

/// One input takes milliseconds; a machine may be a hundred times slower.
const LIMIT: Duration = Duration::from_secs(10);

/// What the allocator may keep of many inputs, in KiB.
const MOST_GROWTH_KIB: u64 = 16 * 1024;

/// SplitMix64: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// The capture with `number`'s bits flipped.
fn mutated(capture: &[u8], number: u64) -> Vec<u8> {
    let mut random = Random(number << 32 | capture.len() as u64);
    let mut bytes = capture.to_vec();
    for _ in 0..=random.below(MOST_FLIPS) {
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << random.below(8);
    }
    bytes
}

/// A recording that nobody reads, of what `source` reads; it begins anew again and again.
fn recording(source: &PcapFileSource) -> Recording {
    let config = RecordConfig {
        path: "/dev/null".into(),
        rotation: Rotation { bytes: Some(1_000), files: Some(1), ..Rotation::default() },
        encapsulation: source.link_type().map_or(Encapsulation::Cooked, Encapsulation::keeping),
        ports: [53].into_iter().collect(),
        begun: None,
        zone: TimeZone::UTC,
        input: None,
    };
    Recording::create(config, Namer::File(source.recorded().names())).unwrap()
}

fn assert_printable(text: &str) {
    assert!(text.chars().all(|one| matches!(one, ' '..='~' | '…' | '·')), "not printable: {text:?}");
}

/// Reads a capture to its end, records it, and writes every line; `None` where it is no capture, else how many frames it has.
fn read(bytes: &[u8]) -> Option<u64> {
    let mut source = PcapFileSource::read(Box::new(Cursor::new(bytes.to_vec()))).ok()?;
    let mut engine = Engine::new(EngineConfig {
        ports: [53].into_iter().collect(),
        insight: Some(InsightConfig::default()),
        ..EngineConfig::default()
    });
    let lines = Lines::new(Style::new(None, true, false), false);
    let lookups = LookupLines { zone: TimeZone::UTC, name_width: 40, shorten: true, verbose: true };
    let findings = FindingLines { zone: TimeZone::UTC, colour: false, verbose: true };
    let names = Names::default();
    let mut recording = recording(&source);
    let mut frames = 0;
    source.drain(usize::MAX, &mut |frame| {
        frames += 1;
        recording.frame(frame).unwrap();
        let mut emit = |report: Report<'_>| {
            let line = match &report {
                Report::Lookup(lookup) => lookups.line(lookup, &names),
                Report::Finding(change) => findings.line(change, &names),
                _ => lines.line(&report, &names).unwrap_or_default(),
            };
            line.lines().for_each(assert_printable);
        };
        engine.frame(frame, &mut emit);
        engine.tick(engine.latest().before(FILE_LAG), &mut emit);
    });
    engine.finish(engine.latest() + Duration::from_secs(60), &mut |_| {});
    assert_eq!(engine.inflight(), 0);
    let (counters, trouble) = (source.recorded().counters(), source.trouble());
    let report = SourceReport { name: "file", counters: counters.as_ref(), trouble: &trouble };
    let insight = engine.insight().unwrap();
    let judged = Judged { insight, names: &names };
    summary(engine.tally(), Some(&judged), &report, &TimeZone::UTC).lines().for_each(assert_printable);
    let diagnosis =
        Diagnosis { source: &report, engine: &engine, insight, names: &names, file: None, enough: None };
    diagnosis.text(&TimeZone::UTC, false).lines().for_each(assert_printable);
    if let Some(counters) = &counters {
        let time = source.recorded().latest().unwrap_or_default();
        let _ = recording.counters(time, counters).unwrap();
    }
    recording.finish().unwrap();
    Some(frames)
}

/// Every file below `folder`, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The resident set of this process, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Reads the mutations of one capture, on a thread for each processor; panics with the numbers that may be the one that
/// breaks or hangs. Gives the frames that were read and the longest time that one input took.
fn torture(path: &Path, capture: &[u8], mutations: u64) -> (u64, Duration) {
    let (sender, receiver) = mpsc::channel();
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let threads: Vec<_> = (1..=workers as u64)
        .map(|first| {
            let (sender, capture) = (sender.clone(), capture.to_vec());
            thread::spawn(move || {
                for number in (first..=mutations).step_by(workers) {
                    let start = Instant::now();
                    let frames = read(&mutated(&capture, number)).unwrap_or(0);
                    sender.send((number, frames, start.elapsed())).unwrap();
                }
            })
        })
        .collect();
    drop(sender);
    let mut waited_for: BTreeSet<u64> = (1..=mutations).collect();
    let (mut frames, mut slowest) = (0, Duration::ZERO);
    while !waited_for.is_empty() {
        match receiver.recv_timeout(LIMIT) {
            Ok((number, more, took)) => {
                waited_for.remove(&number);
                (frames, slowest) = (frames + more, slowest.max(took));
            }
            Err(error) => {
                let suspects: Vec<&u64> = waited_for.iter().take(workers).collect();
                panic!("one of the mutations {suspects:?} of {}: {error}", path.display());
            }
        }
    }
    threads.into_iter().for_each(|worker| worker.join().unwrap());
    (frames, slowest)
}

/// A capture with all that a recording says beside its packets.
fn with_notes(capture: &[u8]) -> Vec<u8> {
    let path = std::env::temp_dir().join(format!("nslookout-notes-{}.pcapng", std::process::id()));
    let mut source = PcapFileSource::read(Box::new(Cursor::new(capture.to_vec()))).unwrap();
    let ports = [53].into_iter().collect();
    let config = RecordConfig {
        path: path.clone(),
        rotation: Rotation::default(),
        encapsulation: Encapsulation::Cooked,
        ports,
        begun: None,
        zone: TimeZone::UTC,
        input: None,
    };
    let mut recording = Recording::create(config, Namer::Kernel(Default::default())).unwrap();
    let (ifindex, kind) = (Ifindex(7), InterfaceKind::Pod);
    let counters = CaptureCounters {
        seen: 1_000,
        lost_at: vec![("cali1".into(), DropReason::RingFull, 4)],
        drops: [((Vantage::Client, DropReason::RingFull), 4)].into(),
        attach_errors: [("netlink".into(), 1)].into(),
        linklocal: vec![LinkLocalCount {
            interface: "cali1".into(),
            kind,
            service: "dns",
            egress: 8,
            ingress: 9,
            recent: vec![RecentBucket {
                begin: Timestamp::from_nanos(1_700_000_000_000_000_000),
                egress: 8,
                ingress: 9,
            }],
        }],
        linklocal_buckets: true,
        vpc_resolvers: vec!["10.0.0.2".parse().unwrap()],
        allowances: vec![AllowanceCount {
            interface: "ens5".into(),
            counter: "linklocal_allowance_exceeded".into(),
            packets: 3,
        }],
        interfaces: vec![WatchedInterface {
            ifindex,
            name: "cali1".into(),
            kind,
            method: Method::Tcx,
            hooks: 2,
        }],
        ..CaptureCounters::default()
    };
    source.drain(usize::MAX, &mut |frame| {
        let place =
            Place { ifindex, kind, direction: Direction::Ingress, local_socket: Some(false), cgroup: None };
        recording.frame(&Frame { place: Some(place), ..*frame }).unwrap();
        let _ = recording.counters(frame.time, &counters).unwrap();
    });
    recording.finish().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(bytes.windows(9).any(|window| window == b"attach_er"));
    bytes
}

#[test]
fn no_mutated_capture_breaks_anything() {
    let mutations = std::env::var("NSLOOKOUT_MUTATIONS").map_or(FEW, |number| number.parse().unwrap());
    let mut captures: Vec<(PathBuf, Vec<u8>)> =
        files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data"))
            .into_iter()
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .filter(|(_, bytes)| read(bytes).is_some())
            .collect();
    let (_, answers) = captures.iter().find(|(path, _)| path.ends_with("answers.pcap")).unwrap();
    let noted = with_notes(answers);
    captures.push(("answers.pcap as a recording".into(), noted));
    assert!(captures.len() >= 15, "{}", captures.len());
    let start = Instant::now();
    let (mut frames, mut slowest) = (0, Duration::ZERO);
    // The first round fills what the process keeps: caches, the allocator's free lists.
    for (path, capture) in &captures {
        torture(path, capture, mutations.div_ceil(10));
    }
    let before = resident_kib();
    for (path, capture) in &captures {
        let (more, took) = torture(path, capture, mutations);
        (frames, slowest) = (frames + more, slowest.max(took));
    }
    let grown = resident_kib().saturating_sub(before);
    println!(
        "mutations: {mutations} of each of {} captures, {frames} frames in {:.1} s, the slowest {:.1} ms, memory {grown} KiB more",
        captures.len(),
        start.elapsed().as_secs_f64(),
        slowest.as_secs_f64() * 1e3
    );
    assert!(grown < MOST_GROWTH_KIB, "memory grew by {grown} KiB");
}
