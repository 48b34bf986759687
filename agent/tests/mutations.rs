//! Captures with a few bits flipped: nothing panics, nothing hangs, memory does not grow.
//!
//! Every capture of `tests/data`, many times, the same flips for the same number. `NSLOOKOUT_MUTATIONS=1000` says how
//! many inputs are made of each capture; `cargo xtask torture` takes that many.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nslookout::capture::file::{FILE_LAG, PcapFileSource};
use nslookout::engine::{Engine, EngineConfig};
use nslookout::export::json::InterfaceNames;
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

/// Reads a capture to its end and writes every line; `None` where it is no capture, else how many frames it has.
fn read(bytes: &[u8]) -> Option<u64> {
    let mut source = PcapFileSource::read(Box::new(Cursor::new(bytes.to_vec()))).ok()?;
    let mut engine =
        Engine::new(EngineConfig { ports: [53].into_iter().collect(), ..EngineConfig::default() });
    let lines = Lines::new(Style::new(None, true, false), false);
    let names = InterfaceNames::new();
    let mut frames = 0;
    source.drain(usize::MAX, &mut |frame| {
        frames += 1;
        let mut emit = |report: nslookout::engine::Report<'_>| {
            let line = lines.line(&report, &names).unwrap_or_default();
            assert!(line.chars().all(|one| matches!(one, ' '..='~' | '…')), "not printable: {line:?}");
        };
        engine.frame(frame, &mut emit);
        engine.tick(engine.latest().before(FILE_LAG), &mut emit);
    });
    engine.finish(engine.latest() + Duration::from_secs(60), &mut |_| {});
    assert_eq!(engine.inflight(), 0);
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

/// Reads the mutations of one capture on a thread of its own; panics with the number of the one that breaks or hangs.
/// Gives the frames that were read and the longest time that one input took.
fn torture(path: &Path, capture: &[u8], mutations: u64) -> (u64, Duration) {
    let (sender, receiver) = mpsc::channel();
    let capture = capture.to_vec();
    let worker = thread::spawn(move || {
        for number in 1..=mutations {
            let start = Instant::now();
            let frames = read(&mutated(&capture, number)).unwrap_or(0);
            sender.send((frames, start.elapsed())).unwrap();
        }
    });
    let (mut frames, mut slowest) = (0, Duration::ZERO);
    for number in 1..=mutations {
        match receiver.recv_timeout(LIMIT) {
            Ok((more, took)) => (frames, slowest) = (frames + more, slowest.max(took)),
            Err(error) => panic!("mutation {number} of {}: {error}", path.display()),
        }
    }
    worker.join().unwrap();
    (frames, slowest)
}

#[test]
fn no_mutated_capture_breaks_anything() {
    let mutations = std::env::var("NSLOOKOUT_MUTATIONS").map_or(FEW, |number| number.parse().unwrap());
    let captures: Vec<(PathBuf, Vec<u8>)> = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data"))
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .filter(|(_, bytes)| read(bytes).is_some())
        .collect();
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
