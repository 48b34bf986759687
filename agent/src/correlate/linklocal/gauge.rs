//! The packets of one interface in buckets of 100 ms, and the windows of one second over them.

use super::LinkLocalService;
use crate::capture::frame::Timestamp;
use crate::capture::linklocal::BUCKET;

/// Buckets of a window.
const WINDOW: u64 = 10;
/// Buckets that are kept: twice as many as the kernel keeps, since a reading may bring them all.
const KEPT: u64 = 128;
/// Services that are told apart.
const SERVICES: usize = LinkLocalService::ALL.len();

/// What was counted within 100 ms.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// Which tenth of a second since the epoch.
    slot: u64,
    sent: [u64; SERVICES],
    received: u64,
}

/// One second, judged.
#[derive(Clone, Debug)]
pub(super) struct Second {
    /// Its end.
    pub(super) end: Timestamp,
    /// Packets of the busiest window that ended in it.
    pub(super) peak: u64,
    /// Packets of each window that ended in it.
    pub(super) windows: [u64; WINDOW as usize],
    /// Those by service.
    pub(super) services: Vec<(LinkLocalService, u64)>,
    /// Packets that came in within that window.
    pub(super) received: u64,
    /// What the driver dropped since it was asked before.
    pub(super) exceeded: Option<u64>,
}

/// The packets of one interface.
#[derive(Debug)]
pub(super) struct Gauge {
    buckets: Vec<Bucket>,
    /// The latest slot with a packet; 0 before the first.
    latest: u64,
    /// The next second to judge, in seconds since the epoch; 0 before the first.
    next: u64,
    /// What the driver's counter grew by since the last second that was judged; `None` where it does not count.
    exceeded: Option<u64>,
}

impl Default for Gauge {
    fn default() -> Self {
        let buckets = vec![Bucket::default(); KEPT as usize];
        Self { buckets, latest: 0, next: 0, exceeded: None }
    }
}

impl Gauge {
    /// Adds packets to a service, or from one: `None`.
    pub(super) fn add(&mut self, time: Timestamp, service: Option<LinkLocalService>, packets: u64) {
        let slot = slot_of(time);
        let bucket = &mut self.buckets[(slot % KEPT) as usize];
        if packets == 0 || slot < bucket.slot {
            return;
        }
        if slot > bucket.slot {
            *bucket = Bucket { slot, ..Bucket::default() };
        }
        let sum = match service {
            Some(service) => &mut bucket.sent[service as usize],
            None => &mut bucket.received,
        };
        *sum = sum.saturating_add(packets);
        self.latest = self.latest.max(slot);
        // After silence nothing is left of what was before.
        let oldest = slot.saturating_sub(KEPT) / WINDOW;
        self.next = if self.next == 0 { slot / WINDOW } else { self.next.max(oldest) };
    }

    /// Notes what the driver dropped since it was asked before.
    pub(super) fn exceeded(&mut self, packets: u64) {
        self.exceeded = Some(self.exceeded.unwrap_or(0).saturating_add(packets));
    }

    /// Forgets the packets, but not which seconds were judged.
    pub(super) fn empty(&mut self) {
        self.buckets.fill(Bucket::default());
        self.latest = 0;
    }

    /// Tells the seconds that ended before `known`, those of them with a packet; and the driver's counter, if it grew.
    pub(super) fn judge(&mut self, known: Timestamp, emit: &mut dyn FnMut(Second)) {
        let over = slot_of(known) / WINDOW;
        let mut told = false;
        // A window reaches into the second after its last packet.
        while self.next < over && self.next * WINDOW < self.latest + WINDOW && self.latest > 0 {
            if let Some(second) = self.second(self.next) {
                emit(second);
                told = true;
                self.exceeded = self.exceeded.map(|_| 0);
            }
            self.next += 1;
        }
        self.next = self.next.max(over);
        if !told && self.exceeded.is_some_and(|dropped| dropped > 0) {
            let exceeded = self.exceeded.replace(0);
            let end = known;
            let windows = [0; WINDOW as usize];
            emit(Second { end, peak: 0, windows, services: Vec::new(), received: 0, exceeded });
        }
    }

    /// The busiest window that ended in a second; `None` where nothing was sent in it.
    fn second(&self, number: u64) -> Option<Second> {
        let mut windows = [0; WINDOW as usize];
        for (end, sum) in (number * WINDOW..).zip(&mut windows) {
            *sum = self.window(end).sent.iter().sum();
        }
        let (peak, end) = windows.into_iter().zip(number * WINDOW..).max()?;
        let window = self.window(end);
        let services = LinkLocalService::ALL.into_iter().zip(window.sent).filter(|(_, sent)| *sent > 0);
        (peak > 0).then(|| Second {
            end: end_of(number),
            peak,
            windows,
            services: services.collect(),
            received: window.received,
            exceeded: self.exceeded,
        })
    }

    /// The sum of the ten buckets up to `end`.
    fn window(&self, end: u64) -> Bucket {
        let mut sum = Bucket { slot: end, ..Bucket::default() };
        for slot in end.saturating_sub(WINDOW - 1)..=end {
            let bucket = self.buckets[(slot % KEPT) as usize];
            if bucket.slot == slot {
                for (sum, sent) in sum.sent.iter_mut().zip(bucket.sent) {
                    *sum = sum.saturating_add(sent);
                }
                sum.received = sum.received.saturating_add(bucket.received);
            }
        }
        sum
    }

    /// When the next second that is worth judging is over; `None` where nothing waits.
    pub(super) fn next_end(&self) -> Option<Timestamp> {
        let waits = self.latest > 0 && self.next * WINDOW < self.latest + WINDOW;
        waits.then(|| end_of(self.next))
    }

    /// The end of the last second that a packet reaches into.
    pub(super) fn latest_end(&self) -> Option<Timestamp> {
        let second = self.latest.div_ceil(WINDOW);
        (self.latest > 0).then(|| end_of(second))
    }
}

/// When the second that holds this time is over.
pub(super) fn end_of_second(time: Timestamp) -> Timestamp {
    end_of(slot_of(time) / WINDOW)
}

/// When a second since the epoch is over.
fn end_of(second: u64) -> Timestamp {
    Timestamp::from_nanos((second + 1).saturating_mul(1_000_000_000))
}

fn slot_of(time: Timestamp) -> u64 {
    time.as_nanos() / BUCKET.as_nanos() as u64
}
