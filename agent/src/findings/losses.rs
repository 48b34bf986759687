//! Packets that were lost, by interface and time: what "nothing followed" must be held against.

use std::collections::VecDeque;

use crate::capture::counters::CaptureCounters;
use crate::capture::frame::{Ifindex, Timestamp};
use crate::maps::Map;

/// Readings that are kept at most: a little over two minutes.
const MAX_READINGS: usize = 128;

/// What was lost since the capture began, at one time.
#[derive(Debug, Default)]
struct Reading {
    time: Timestamp,
    /// Everywhere.
    total: u64,
    /// By interface, where that is known.
    at: Map<Ifindex, u64>,
}

/// The losses of the last two minutes.
#[derive(Debug, Default)]
pub struct Losses {
    readings: VecDeque<Reading>,
}

impl Losses {
    /// Takes the source's counters as they were at `time`.
    pub fn read(&mut self, time: Timestamp, counters: &CaptureCounters) {
        let mut at: Map<Ifindex, u64> = Map::default();
        for (name, _, packets) in &counters.lost_at {
            if let Some(interface) = counters.interfaces.iter().find(|interface| interface.name == *name) {
                *at.entry(interface.ifindex).or_default() += packets;
            }
        }
        self.readings.push_back(Reading { time, total: counters.total_drops(), at });
        if self.readings.len() > MAX_READINGS {
            self.readings.pop_front();
        }
    }

    /// The clock was set back: what is lost from now on is what comes on top of the last reading.
    pub fn clock_set_back(&mut self) {
        let last = self.readings.pop_back();
        self.readings.clear();
        self.readings.extend(last.map(|last| Reading { time: Timestamp::default(), ..last }));
    }

    /// Packets lost between the last reading before `from` and the first after `until`, or the latest; at `interface`,
    /// or anywhere where that is `None`. What was lost before the first reading that is kept is not counted, unless that
    /// is the first of all.
    pub fn between(&self, interface: Option<Ifindex>, from: Timestamp, until: Timestamp) -> u64 {
        let count = |reading: &Reading| match interface {
            // What was lost at an unknown place may have been lost here.
            Some(interface) => {
                let known: u64 = reading.at.values().sum();
                reading.at.get(&interface).copied().unwrap_or(0) + reading.total.saturating_sub(known)
            }
            None => reading.total,
        };
        let oldest = self.readings.front().filter(|_| self.readings.len() == MAX_READINGS);
        let before =
            self.readings.iter().rev().find(|reading| reading.time <= from).or(oldest).map_or(0, count);
        let after = self.readings.iter().find(|reading| reading.time >= until).or(self.readings.back());
        after.map_or(0, count).saturating_sub(before)
    }
}
