//! `cargo xtask generate FILE`: a capture of a busy cluster's DNS, the same bytes for the same seed.
//!
//! Clients behind one veth each ask A and AAAA in pairs. 60 % of the lookups walk the search list (three NXDOMAIN pairs
//! before the answer), 1 % get a truncated answer and come back over TCP, 1 % ask over TCP from the start, 0.5 % stay
//! unanswered; three in ten names stand behind a chain of aliases, four in ten have no IPv6 address, a tenth of the
//! clients has IPv6 alone, four in ten announce EDNS. What the file holds is counted while it is made, printed, and
//! written to `FILE.json`, so that a test can compare what the agent found.
//!
//! Two hostile mixtures beside it: a flood of queries that nobody answers, and a new name in every query.

mod message;
pub mod packet;
pub mod pcap;
pub mod random;
mod traffic;
mod truth;
mod world;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use message::{Qtype, Query};
use pcap::PcapWriter;
use random::Random;
use traffic::Traffic;
pub use truth::Truth;
use world::World;

/// 2024-01-01T00:00:00Z: a capture must not depend on the day it was made.
pub const EPOCH_NS: u64 = 1_704_067_200_000_000_000;

/// Longer after the last query than anybody waits for an answer.
const QUIET_END_NS: u64 = 40_000_000_000;

/// When the flood begins: others are under way by then.
const FLOOD_AFTER_NS: u64 = 1_000_000_000;

/// What to generate.
#[derive(Args, Clone, Debug)]
pub struct Plan {
    /// Packets to reach; the lookups under way then are finished, so a few more are written
    #[arg(long, default_value_t = 1_000_000)]
    pub packets: u64,
    /// The same seed gives the same bytes
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Pods that ask
    #[arg(long, default_value_t = 2_000)]
    pub clients: u32,
    /// Names that exist
    #[arg(long, default_value_t = 20_000)]
    pub names: u32,
    /// Packets per second, on average
    #[arg(long, default_value_t = 40_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: u64,
    /// Queries beside the others that nobody answers, one every 20 us from the first second on; no other goes astray then
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub never_answered: u64,
    /// Each lookup is one query for a name that was never asked before and does not exist
    #[arg(long)]
    pub random_names: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            packets: 1_000_000,
            seed: 1,
            clients: 2_000,
            names: 20_000,
            rate: 40_000,
            never_answered: 0,
            random_names: false,
        }
    }
}

/// Writes the capture to `path` and its truth to `path` with `.json` appended; prints the truth.
pub fn run(path: &Path, plan: &Plan) -> Result<()> {
    let truth = write_file(path, plan)?;
    let text = serde_json::to_string_pretty(&truth.to_json()).context("failed to write the truth as JSON")?;
    println!("{text}");
    Ok(())
}

/// Writes the capture and its truth, and gives the truth.
pub fn write_file(path: &Path, plan: &Plan) -> Result<Truth> {
    let file = File::create(path).with_context(|| format!("failed to create {}", path.display()))?;
    let truth = generate(BufWriter::with_capacity(1 << 20, file), plan)
        .with_context(|| format!("failed to write {}", path.display()))?;
    let truth_path = truth_path(path);
    let text = serde_json::to_string_pretty(&truth.to_json()).context("failed to write the truth as JSON")?;
    std::fs::write(&truth_path, text + "\n")
        .with_context(|| format!("failed to write {}", truth_path.display()))?;
    Ok(truth)
}

/// A query for the IPv4 address of `qname` as it goes over UDP, for those who send one themselves.
pub fn query_bytes(id: u16, qname: &str) -> Vec<u8> {
    Query { id, qname: qname.to_owned(), qtype: Qtype::A, edns: None }.encode()
}

/// Where the truth about the capture `path` stands.
pub fn truth_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

/// Writes the capture to `output`, frames in the order of their time; only what is under way is kept in memory.
fn generate(output: impl Write, plan: &Plan) -> io::Result<Truth> {
    let mut random = Random::new(plan.seed);
    let world = World::new(plan.clients, plan.names, &mut random);
    let mut waits = Random::new(random.bits());
    let mut traffic = Traffic::new(world, random);
    let mut writer = PcapWriter::new(output)?;
    let mut now = EPOCH_NS;
    traffic.never_answered(now + FLOOD_AFTER_NS, plan.never_answered);
    while traffic.made() < plan.packets + plan.never_answered {
        let before = traffic.made();
        if plan.random_names {
            traffic.random_name(now);
        } else {
            traffic.lookup(now);
        }
        // A lookup of more packets is followed by a longer pause, so the rate comes out whatever the mixture is.
        let pause = (traffic.made() - before) * 1_000_000_000 / plan.rate.max(1);
        now += waits.exponential(pause);
        while let Some(due) = traffic.take_before(now) {
            writer.write(due.time_ns, &due.frame)?;
        }
    }
    // One more lookup after a long silence: a reader's clock, which is the frames', passes every time-out.
    traffic.last_lookup(traffic.truth().last_ns + QUIET_END_NS);
    while let Some(due) = traffic.take_before(u64::MAX) {
        writer.write(due.time_ns, &due.frame)?;
    }
    writer.finish()?;
    Ok(traffic.truth().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(seed: u64) -> (Vec<u8>, Truth) {
        let mut bytes = Vec::new();
        let plan = Plan { packets: 30_000, seed, clients: 100, names: 500, ..Plan::default() };
        let truth = generate(&mut bytes, &plan).unwrap();
        (bytes, truth)
    }

    /// Times in microseconds and lengths of the frames of a capture.
    fn frames(bytes: &[u8]) -> Vec<(u64, usize)> {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let mut found = Vec::new();
        let mut at = 24;
        while at < bytes.len() {
            let length = word(at + 8) as usize;
            found.push((u64::from(word(at)) * 1_000_000 + u64::from(word(at + 4)), length));
            at += 16 + length;
        }
        found
    }

    #[test]
    fn same_seed_gives_same_bytes() {
        assert_eq!(small(5), small(5));
        assert_ne!(small(5).0, small(6).0);
    }

    #[test]
    fn frames_are_in_order_counted_and_at_the_rate() {
        let (bytes, truth) = small(1);
        let frames = frames(&bytes);
        assert_eq!(frames.len() as u64, truth.packets);
        assert!(frames.is_sorted_by_key(|frame| frame.0));
        let second = frames.iter().filter(|frame| frame.0 < EPOCH_NS / 1_000 + 500_000).count();
        assert!((17_000..23_000).contains(&second), "{second} packets in the first half second");
        assert!(frames.iter().all(|frame| frame.1 <= 1_514));
    }

    #[test]
    fn shares_are_as_documented() {
        let (_, truth) = small(1);
        let percent = |part: u64| part as f64 * 100.0 / truth.lookups as f64;
        assert!((55.0..65.0).contains(&percent(truth.search_lookups)), "{truth:?}");
        assert!((0.5..1.5).contains(&percent(truth.truncated)), "{truth:?}");
        assert!((0.1..1.0).contains(&percent(truth.transactions() - truth.answered())), "{truth:?}");
        assert_eq!(truth.answered(), truth.noerror + truth.nxdomain + truth.servfail);
        assert_eq!(truth.a + truth.aaaa, truth.transactions());
        assert!(truth.ipv6_packets > 0 && truth.tcp_connections > truth.truncated);
    }
    #[test]
    fn a_flood_is_counted_and_hides_no_other_loss() {
        let plan = Plan { packets: 60_000, never_answered: 5_000, ..Plan::default() };
        let truth = generate(&mut Vec::new(), &plan).unwrap();
        assert_eq!(truth.never_answered, 5_000);
        assert_eq!(truth.transactions() - truth.answered(), 5_000);
        assert_eq!(truth.retransmits, 0);
        assert!(truth.packets >= 65_000);
    }

    #[test]
    fn every_random_name_is_denied() {
        let plan = Plan { packets: 20_000, random_names: true, ..Plan::default() };
        let truth = generate(&mut Vec::new(), &plan).unwrap();
        assert_eq!((truth.random_names, truth.nxdomain), (10_000, 10_000));
    }
}
