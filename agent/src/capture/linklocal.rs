//! Packets to link-local services: which addresses count, and the sums of the kernel's 100 ms buckets.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use nslookout_ebpf::{BUCKET_NS, BUCKETS, LinkLocalBuckets, LinkLocalKey};

use super::attach::State;
use super::counters::{LinkLocalCount, RecentBucket};
use super::frame::{Ifindex, Timestamp};

/// The services that share the limit of one network interface (facts.md sections 3.4 and 4); the index is the number
/// that the kernel half knows.
pub(super) const SERVICES: [&str; 4] = ["dns", "imds", "ntp", "other"];

/// The length of a bucket.
pub(crate) const BUCKET: Duration = Duration::from_nanos(BUCKET_NS);

/// The addresses of the services at AWS (facts.md section 4). NodeLocal DNSCache, ECS and EKS Pod Identity answer on
/// the node itself and do not count.
pub(crate) const ADDRESSES: [(IpAddr, u32); 8] = [
    (IpAddr::V4(Ipv4Addr::new(169, 254, 169, 253)), 0),
    (IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253)), 0),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 1),
    (IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), 1),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 169, 123)), 2),
    (IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x123)), 2),
    // Windows licensing.
    (IpAddr::V4(Ipv4Addr::new(169, 254, 169, 250)), 3),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 169, 251)), 3),
];

/// VPC resolvers that are counted beside these, at most: the kernel half's map has room for them.
pub(crate) const MOST_RESOLVERS: usize = 32;

/// An address as the kernel half's maps know it: IPv4 as `::ffff:a.b.c.d`.
pub(super) fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Sums over all buckets that were read.
#[derive(Default)]
pub(super) struct Totals {
    /// By interface and service: packets, and per slot what was counted of it already.
    sums: BTreeMap<(Ifindex, u32), Sum>,
}

#[derive(Default)]
struct Sum {
    packets: [u64; 2],
    /// By slot, what was counted since it was taken; as many as the kernel keeps.
    recent: BTreeMap<u64, [u64; 2]>,
    /// The latest slot that was read and its packets: it may still have grown.
    latest: (u64, [u64; 2]),
}

impl Sum {
    /// Adds what `buckets` hold beyond the last reading.
    fn add(&mut self, buckets: &LinkLocalBuckets) {
        let (latest, counted) = self.latest;
        for bucket in buckets.buckets.iter().filter(|bucket| bucket.slot >= latest && bucket.slot != 0) {
            let before = if bucket.slot == latest { counted } else { [0; 2] };
            let mut grown = [0; 2];
            for (direction, grown) in grown.iter_mut().enumerate() {
                *grown = bucket.packets[direction].saturating_sub(before[direction]);
                self.packets[direction] += *grown;
            }
            if grown != [0; 2] {
                let recent = self.recent.entry(bucket.slot).or_default();
                recent.iter_mut().zip(grown).for_each(|(sum, grown)| *sum += grown);
            }
            if bucket.slot >= self.latest.0 {
                self.latest = (bucket.slot, bucket.packets);
            }
        }
        while self.recent.len() > BUCKETS {
            self.recent.pop_first();
        }
    }

    /// Takes what was counted since the last time; the slots count from `clock_offset_ns` before the frames' clock does.
    fn take_recent(&mut self, clock_offset_ns: u64) -> Vec<RecentBucket> {
        let bucket = |(slot, packets): (u64, [u64; 2])| RecentBucket {
            begin: Timestamp::from_nanos(slot.saturating_mul(BUCKET_NS).saturating_add(clock_offset_ns)),
            egress: packets[nslookout_ebpf::EGRESS],
            ingress: packets[nslookout_ebpf::INGRESS],
        };
        std::mem::take(&mut self.recent).into_iter().map(bucket).collect()
    }
}

impl State {
    /// Reads all buckets; must be called more often than they turn over (6.4 s).
    pub(super) fn read_linklocal(&mut self) {
        let keys: Vec<LinkLocalKey> = self
            .interfaces
            .keys()
            .flat_map(|ifindex| {
                (0..SERVICES.len() as u32).map(|service| LinkLocalKey { ifindex: ifindex.0, service })
            })
            .collect();
        for key in keys {
            if let Ok(buckets) = self.buckets.get(&key, 0) {
                self.linklocal.sums.entry((Ifindex(key.ifindex), key.service)).or_default().add(&buckets);
            }
        }
    }

    /// Drops the sums of an interface that is gone; its number may come again.
    pub(super) fn forget_linklocal(&mut self, gone: Ifindex) {
        self.linklocal.sums.retain(|(ifindex, _), _| *ifindex != gone);
    }

    /// The sums of the interfaces that are there, without those that never saw such a packet, and takes what is new.
    pub(super) fn take_linklocal(&mut self, clock_offset_ns: u64) -> Vec<LinkLocalCount> {
        let interfaces = &self.interfaces;
        let count = |(&(ifindex, service), sum): (&(Ifindex, u32), &mut Sum)| {
            let entry = interfaces.get(&ifindex)?;
            (sum.packets != [0, 0]).then(|| LinkLocalCount {
                interface: entry.watched.name.clone(),
                kind: entry.kind,
                service: SERVICES[service as usize],
                egress: sum.packets[nslookout_ebpf::EGRESS],
                ingress: sum.packets[nslookout_ebpf::INGRESS],
                recent: sum.take_recent(clock_offset_ns),
            })
        };
        self.linklocal.sums.iter_mut().filter_map(count).collect()
    }
}

const _: () = assert!(BUCKET_NS == 100_000_000, "the documented length of a bucket");

#[cfg(test)]
mod tests {
    use nslookout_ebpf::LinkLocalBucket;

    use super::*;

    fn buckets(filled: &[(u64, [u64; 2])]) -> LinkLocalBuckets {
        let mut all = LinkLocalBuckets { buckets: [LinkLocalBucket::default(); BUCKETS] };
        for &(slot, packets) in filled {
            all.buckets[slot as usize % BUCKETS] = LinkLocalBucket { slot, packets };
        }
        all
    }

    #[test]
    fn a_bucket_that_grew_is_counted_once() {
        let mut sum = Sum::default();
        sum.add(&buckets(&[(100, [1, 2]), (101, [3, 4])]));
        assert_eq!(sum.packets, [4, 6]);
        sum.add(&buckets(&[(100, [1, 2]), (101, [3, 9]), (102, [1, 0])]));
        assert_eq!(sum.packets, [5, 11]);
    }

    #[test]
    fn a_bucket_that_turned_over_replaces_the_old_one() {
        let mut sum = Sum::default();
        sum.add(&buckets(&[(100, [1, 0])]));
        sum.add(&buckets(&[(100 + BUCKETS as u64, [7, 0])]));
        assert_eq!(sum.packets, [8, 0]);
    }
}
