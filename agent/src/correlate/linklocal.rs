//! Packets to link-local services, in sliding windows of one second (facts.md section 3.4).
//!
//! Input: the kernel's buckets of 100 ms ([`CaptureCounters`]), which hold every packet; where the source has none (a
//! packet socket, a file), the DNS messages and TCP segments themselves. Output: [`LinkLocalSecond`]. The limit counts
//! what leaves by one interface, so only uplinks are measured, and a file that does not say as one. Deliberately absent:
//! I/O, clocks, judgement.

mod gauge;
mod services;
mod spending;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::fallback::Segment;
use super::{Event, Outcome, Parties, Sent, Stray};
use crate::capture::counters::CaptureCounters;
use crate::capture::frame::{Direction, Ifindex, InterfaceKind, Place, Timestamp};
use crate::packet::Transport;
use gauge::Gauge;
use spending::{Sender, Spending};

pub use services::{LinkLocalService, Services};
pub use spending::{MAX_QUERIES, Spender, Spent};

/// Interfaces that are measured at most: an instance has 15 (EC2 guide, network interfaces per instance type).
const MAX_EGRESSES: usize = 64;
/// From this rate on it is told who spends it: half of 1024 (facts.md section 4).
const NOTEWORTHY: u64 = 512;
/// Messages are counted only where the kernel's buckets do not come for this long; they come once a second.
const PATIENCE: Duration = Duration::from_millis(1200);

/// Where packets were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Egress {
    /// An interface.
    Interface(Ifindex),
    /// A file that does not say.
    File,
}

/// What left by one interface within one second, and the busiest window that ended in it.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkLocalSecond {
    /// Where.
    pub egress: Egress,
    /// Its end.
    pub end: Timestamp,
    /// Packets of the busiest sliding window of one second (ten buckets of 100 ms) that ended in this second.
    pub peak: u64,
    /// Packets of each of the ten windows that ended in this second.
    pub windows: [u64; 10],
    /// Packets of the busiest window by service.
    pub services: Vec<(LinkLocalService, u64)>,
    /// Packets that came in within the busiest window.
    pub received: u64,
    /// What the driver counted as dropped since the last reading (`linklocal_allowance_exceeded`), where it counts.
    pub allowance_exceeded: Option<u64>,
    /// Every packet was counted by the kernel; else DNS messages and TCP segments as they were captured.
    pub by_kernel: bool,
    /// Who sent what; only where the peak is half the limit or the driver dropped something.
    pub spent: Option<Spent>,
}

/// The rates of all interfaces.
#[derive(Debug, Default)]
pub struct Rates {
    services: Services,
    egresses: BTreeMap<Egress, Gauge>,
    spending: Spending,
    /// Until when the kernel's buckets are known, where there are any.
    read: Option<Timestamp>,
    /// The driver's counters as they were read last, of as many interfaces.
    allowances: BTreeMap<Ifindex, u64>,
    /// When a second of some interface is over.
    due: Option<Timestamp>,
    /// The query that was opened last: its repetition within the same event is the same packet.
    opened: Option<(Timestamp, Parties, u16)>,
}

impl Rates {
    /// The addresses of VPC resolvers beside the well-known ones.
    pub fn configure(&mut self, vpc_resolvers: &[IpAddr]) {
        self.services.add(vpc_resolvers);
    }

    /// Takes what the correlator said.
    #[inline]
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::Opened(sent) | Event::Retransmitted(sent) => {
                if let Some(service) = self.services.at(sent.parties.server.ip()) {
                    self.sent(sent, service);
                }
            }
            Event::Closed(transaction) => {
                if matches!(transaction.outcome, Outcome::Answered { .. }) {
                    self.received(&transaction.parties, transaction.ended());
                }
            }
            Event::Late { stray, .. } | Event::Orphan { stray, .. } => {
                let Stray { parties, time, .. } = stray;
                self.received(parties, *time);
            }
            Event::Copy | Event::Evicted { .. } => {}
        }
    }

    /// Takes a TCP segment: each is a packet, with data or without.
    pub fn segment(&mut self, segment: &Segment<'_>) {
        let Segment { time, place, flow, to_server, .. } = *segment;
        let server = if to_server { flow.destination } else { flow.source };
        let Some(service) = self.services.at(server.ip()) else { return };
        if let Some(egress) = egress_of(place, to_server)
            && !self.spending.is_copy(segment)
        {
            self.count(egress, time, to_server.then_some(service));
        }
    }

    /// Takes the source's counters as they were at `time`.
    pub fn counters(&mut self, time: Timestamp, counters: &CaptureCounters) {
        self.services.find(&counters.vpc_resolvers);
        if counters.linklocal_buckets && self.read.is_none() {
            // What messages told of the present second, the buckets tell too.
            self.egresses.values_mut().for_each(Gauge::empty);
        }
        if counters.linklocal_buckets {
            self.read = Some(time);
        }
        let number_of = |name: &str| {
            let found = counters.interfaces.iter().find(|interface| interface.name == name);
            found.map(|interface| (interface.ifindex, interface.kind))
        };
        for count in &counters.linklocal {
            let service = LinkLocalService::ALL.into_iter().find(|service| service.as_str() == count.service);
            let (Some(service), Some((ifindex, kind))) = (service, number_of(&count.interface)) else {
                continue;
            };
            for bucket in &count.recent {
                match kind {
                    InterfaceKind::Uplink | InterfaceKind::Inside => {
                        if service != LinkLocalService::Dns {
                            self.spending.beside_dns(Sender::Uplink, bucket.begin, bucket.egress);
                        }
                        let gauge = self.gauge(Egress::Interface(ifindex));
                        gauge.add(bucket.begin, Some(service), bucket.egress);
                        gauge.add(bucket.begin, None, bucket.ingress);
                        self.look_at(bucket.begin);
                    }
                    // What a pod sends comes in at its host's end.
                    InterfaceKind::Pod => {
                        if service != LinkLocalService::Dns {
                            self.spending.beside_dns(Sender::Pod, bucket.begin, bucket.ingress);
                        }
                        self.spending.pod(ifindex, bucket.begin, bucket.ingress);
                    }
                    InterfaceKind::Loopback => {}
                }
            }
        }
        for allowance in &counters.allowances {
            if allowance.counter == LIMIT_COUNTER
                && let Some((ifindex, kind)) = number_of(&allowance.interface)
                && kind.is_way_out()
            {
                self.exceeded(ifindex, allowance.packets, time);
            }
        }
    }

    /// Judges the seconds that have passed; everything before `watermark` was seen.
    #[inline]
    pub fn tick(&mut self, watermark: Timestamp, emit: &mut dyn FnMut(LinkLocalSecond)) {
        let known = self.read.unwrap_or(watermark.before(PATIENCE));
        if self.due.is_some_and(|due| due <= known) {
            self.judge(known, emit);
        }
    }

    /// Judges what was counted, at the end of the capture, and forgets it; not the services, nor what the driver's counters
    /// said last.
    pub fn finish(&mut self, emit: &mut dyn FnMut(LinkLocalSecond)) {
        if let Some(latest) = self.egresses.values().filter_map(Gauge::latest_end).max() {
            self.judge(latest, emit);
        }
        self.egresses.clear();
        self.spending.forget();
        self.due = None;
        self.read = None;
        self.opened = None;
    }

    fn judge(&mut self, known: Timestamp, emit: &mut dyn FnMut(LinkLocalSecond)) {
        let Self { egresses, spending, read, .. } = self;
        self.due = None;
        for (egress, gauge) in egresses {
            gauge.judge(known, &mut |second| {
                let gauge::Second { end, peak, windows, services, received, exceeded } = second;
                let told = peak >= NOTEWORTHY || exceeded.is_some_and(|dropped| dropped > 0);
                emit(LinkLocalSecond {
                    egress: *egress,
                    end,
                    peak,
                    windows,
                    services,
                    received,
                    allowance_exceeded: exceeded,
                    by_kernel: read.is_some(),
                    spent: told.then(|| spending.spent(end, read.is_some())),
                });
            });
            self.due = [self.due, gauge.next_end()].into_iter().flatten().min();
        }
    }

    /// Takes a reading of the driver's counter.
    fn exceeded(&mut self, interface: Ifindex, counter: u64, time: Timestamp) {
        let full = self.allowances.len() >= MAX_EGRESSES;
        let before = match self.allowances.get_mut(&interface) {
            Some(known) => std::mem::replace(known, counter),
            None if full => return,
            None => self.allowances.insert(interface, counter).unwrap_or(0),
        };
        let packets = counter.saturating_sub(before);
        self.gauge(Egress::Interface(interface)).exceeded(packets);
        if packets > 0 {
            self.look_at(time.before(Duration::from_secs(1)));
        }
    }

    /// A query that left, at the client or by an uplink.
    fn sent(&mut self, sent: &Sent, service: LinkLocalService) {
        let opened = (sent.time, sent.parties, sent.header.id);
        if self.opened.replace(opened) == Some(opened) {
            return;
        }
        if sent.parties.at_client() && !sent.echo {
            self.spending.query(sent);
        }
        if sent.parties.transport == Transport::Udp
            && let Some(egress) = egress_of(sent.parties.place.as_ref(), true)
        {
            self.count(egress, sent.time, Some(service));
        }
    }

    /// A response that came in, or may have.
    #[inline]
    fn received(&mut self, parties: &Parties, time: Timestamp) {
        if parties.transport == Transport::Udp
            && self.services.at(parties.server.ip()).is_some()
            && let Some(egress) = egress_of(parties.place.as_ref(), false)
        {
            self.count(egress, time, None);
        }
    }

    /// Counts a packet, unless the kernel has; `None`: one that came in.
    fn count(&mut self, egress: Egress, time: Timestamp, service: Option<LinkLocalService>) {
        if self.read.is_none() {
            self.gauge(egress).add(time, service, 1);
            self.look_at(time);
        }
    }

    /// A second that holds this time will have to be judged.
    fn look_at(&mut self, time: Timestamp) {
        let end = gauge::end_of_second(time);
        self.due = Some(self.due.map_or(end, |due| due.min(end)));
    }

    fn gauge(&mut self, egress: Egress) -> &mut Gauge {
        if self.egresses.len() >= MAX_EGRESSES && !self.egresses.contains_key(&egress) {
            // An interface that is gone.
            let idle = self.egresses.iter().min_by_key(|(_, gauge)| gauge.latest_end());
            if let Some(idle) = idle.map(|(egress, _)| *egress) {
                self.egresses.remove(&idle);
            }
        }
        self.egresses.entry(egress).or_default()
    }
}

/// The ENA driver's counter of packets that it dropped for the limit (facts.md section 4).
pub const LIMIT_COUNTER: &str = "linklocal_allowance_exceeded";

/// Where a packet on its way to or from a service counts; `None`: it has yet to leave, or has come already.
fn egress_of(place: Option<&Place>, to_server: bool) -> Option<Egress> {
    let Some(place) = place else { return Some(Egress::File) };
    let outward = (place.direction == Direction::Egress) == to_server;
    (place.kind.is_way_out() && outward).then_some(Egress::Interface(place.ifindex))
}

#[cfg(test)]
mod tests;
