//! Datagrams of any size, cut anywhere, in any order: what is put together is what was sent, or nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::net::IpAddr;
use std::time::Duration;

use nslookout::capture::frame::Timestamp;
use nslookout::packet::fragments::{Datagram, Fate, FragmentLimits, Reassembly};
use nslookout::packet::{Fragment, FragmentKey, Payload};
use proptest::prelude::*;
use proptest::sample::Index;

/// A UDP datagram from port 53 and the borders of its fragments, in units of 8 bytes.
#[derive(Clone, Debug)]
struct Sent {
    key: FragmentKey,
    bytes: Vec<u8>,
    borders: Vec<usize>,
}

impl Sent {
    fn fragments(&self) -> Vec<Fragment<'_>> {
        let ends = self.borders.iter().map(|border| border * 8).chain([self.bytes.len()]);
        let mut start = 0;
        let of = |end: usize| {
            let (offset, more) = (start, end < self.bytes.len());
            start = end;
            Fragment {
                key: self.key,
                hop_limit: 9,
                offset,
                more,
                missing: 0,
                bytes: &self.bytes[offset..end],
            }
        };
        ends.map(of).collect()
    }
}

fn key(six: bool, identification: u32) -> FragmentKey {
    let [source, destination]: [IpAddr; 2] =
        if six { ["2001:db8::53", "2001:db8::1"] } else { ["192.0.2.53", "192.0.2.1"] }
            .map(|address| address.parse().unwrap());
    FragmentKey { source, destination, identification, protocol: 17 }
}

/// Any size that UDP has, up to 40 fragments, at least two.
fn sent(identification: u32) -> impl Strategy<Value = Sent> {
    let length = prop_oneof![1 => 8..200usize, 3 => 200..9_000usize, 1 => 9_000..=65_507usize];
    let of = move |(six, length, seed, cuts): (bool, usize, u8, Vec<Index>)| {
        let mut bytes = vec![0, 53, 0x10, 0];
        bytes.extend_from_slice(&((length + 8) as u16).to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend((0..length).map(|place| seed.wrapping_add((place / 5) as u8)));
        let units = bytes.len().div_ceil(8) - 1;
        let mut borders: Vec<usize> = cuts.iter().map(|cut| cut.index(units) + 1).collect();
        borders.sort_unstable();
        borders.dedup();
        Sent { key: key(six, identification), bytes, borders }
    };
    (any::<bool>(), length, any::<u8>(), prop::collection::vec(any::<Index>(), 1..40)).prop_map(of)
}

/// What a reassembly gave.
#[derive(Default)]
struct Given {
    complete: Vec<Datagram>,
    beginnings: Vec<Datagram>,
    /// Fates of single fragments: parts, duplicates, those thrown away, and those that were not judged at once.
    parts: usize,
    duplicates: usize,
    dropped: usize,
    undecided: usize,
}

/// Gives fragments a microsecond apart, in this order, then lets their time run out.
fn run<'a>(reassembly: &mut Reassembly, fragments: impl IntoIterator<Item = Fragment<'a>>) -> Given {
    let dns = |payload: &Payload<'_>| (payload.flow.source.port() == 53).then_some(false);
    let mut given = Given::default();
    let mut time = Timestamp::from_nanos(1_000_000_000);
    for fragment in fragments {
        time = time + Duration::from_micros(1);
        let beginnings = &mut given.beginnings;
        let taken = reassembly.take(time, None, &fragment, &dns, &mut |datagram| beginnings.push(datagram));
        given.parts += taken.earlier.parts as usize;
        given.duplicates += taken.earlier.duplicates as usize;
        match taken.fate {
            Fate::Complete(datagram) => {
                given.parts += 1;
                given.complete.push(datagram);
            }
            Fate::Held { .. } => given.parts += 1,
            Fate::Duplicate { .. } => given.duplicates += 1,
            Fate::Dropped { .. } => given.dropped += 1,
            Fate::Undecided => given.undecided += 1,
            Fate::Foreign | Fate::Unreadable(_) => {}
        }
    }
    reassembly.tick(time + Duration::from_secs(3), &mut |datagram| given.beginnings.push(datagram));
    given
}

/// Each of `order` points at the next of what is left of `items`.
fn shuffled<T: Clone>(items: &[T], order: &[Index]) -> Vec<T> {
    let mut left = items.to_vec();
    let mut shuffled = Vec::new();
    for number in 0..items.len() {
        shuffled.push(left.swap_remove(order[number % order.len()].index(left.len())));
    }
    shuffled
}

fn datagrams() -> impl Strategy<Value = Vec<Sent>> {
    (1..4usize).prop_flat_map(|count| (0..count as u32).map(sent).collect::<Vec<_>>())
}

fn order() -> impl Strategy<Value = Vec<Index>> {
    prop::collection::vec(any::<Index>(), 64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 200 } else { 2000 }))]

    #[test]
    fn each_datagram_is_put_together_once(all in datagrams(), order in order(), again in order()) {
        let mut fragments: Vec<Fragment<'_>> = all.iter().flat_map(Sent::fragments).collect();
        let parts = fragments.len();
        let doubled: Vec<Fragment<'_>> = again.iter().take(16).map(|index| fragments[index.index(parts)]).collect();
        fragments.extend(&doubled);
        let mut reassembly = Reassembly::new(FragmentLimits::default());
        let given = run(&mut reassembly, shuffled(&fragments, &order));
        prop_assert_eq!(given.complete.len(), all.len());
        for sent in &all {
            let found: Vec<_> = given.complete.iter().filter(|datagram| datagram.key == sent.key).collect();
            prop_assert_eq!(found.len(), 1);
            prop_assert_eq!(found[0].missing, 0);
            prop_assert_eq!(&found[0].bytes, &sent.bytes);
            let payload = found[0].payload().unwrap();
            prop_assert!(payload.fragmented && payload.bytes == &sent.bytes[8..]);
        }
        prop_assert_eq!((given.parts, given.duplicates, given.dropped), (parts, doubled.len(), 0));
        prop_assert!(given.beginnings.is_empty());
        prop_assert_eq!(reassembly.held(), (0, 0));
        prop_assert_eq!(reassembly.counts(), Default::default());
    }

    #[test]
    fn what_is_lost_leaves_the_beginning(sent in sent(1), order in order(), lost in any::<Index>()) {
        let mut fragments = sent.fragments();
        let lost = fragments.remove(lost.index(fragments.len()));
        let mut reassembly = Reassembly::new(FragmentLimits::default());
        let given = run(&mut reassembly, shuffled(&fragments, &order));
        prop_assert!(given.complete.is_empty());
        prop_assert_eq!(reassembly.held(), (0, 0));
        if lost.offset == 0 {
            prop_assert!(given.beginnings.is_empty());
            prop_assert_eq!(reassembly.counts().unascribed as usize, fragments.len());
        } else {
            prop_assert_eq!(given.beginnings.len(), 1);
            prop_assert_eq!(&given.beginnings[0].bytes, &sent.bytes[..lost.offset]);
            prop_assert_eq!(given.beginnings[0].payload().unwrap().missing, sent.bytes.len() - lost.offset);
        }
    }

    /// One fragment more, moved or changed: whatever is put together, each byte of it was sent at its place.
    #[test]
    fn a_forged_fragment_adds_nothing(
        sent in sent(1),
        order in order(),
        which in any::<Index>(),
        shift in -3..3isize,
        change in any::<Option<Index>>(),
        place in any::<Index>(),
    ) {
        let mut fragments = sent.fragments();
        let mut forged = fragments[which.index(fragments.len())];
        let mut bytes = forged.bytes.to_vec();
        if let Some(change) = change {
            let index = change.index(bytes.len());
            bytes[index] ^= 0x80;
        }
        forged.offset = forged.offset.saturating_add_signed(shift * 8);
        forged.bytes = &bytes;
        fragments.insert(place.index(fragments.len() + 1), forged);
        let fragments = shuffled(&fragments, &order);
        let given = run(&mut Reassembly::new(FragmentLimits::default()), fragments);
        for datagram in given.complete.iter().chain(&given.beginnings) {
            for (place, byte) in datagram.bytes.iter().enumerate() {
                let of_forged = place.checked_sub(forged.offset).and_then(|place| forged.bytes.get(place));
                prop_assert!(sent.bytes.get(place) == Some(byte) || of_forged == Some(byte), "byte {place}");
            }
        }
        // The same at another time is the same; anything else that came before the end spoils the whole.
        let same = shift == 0 && change.is_none();
        prop_assert!(!same || given.complete.len() == 1 && given.duplicates == 1);
        prop_assert!(given.complete.len() <= 1);
    }

    #[test]
    fn nothing_panics_and_the_bounds_hold(
        fragments in prop::collection::vec(
            (any::<bool>(), 0..40u32, 0..8192usize, any::<bool>(), 0..2000usize, 0..64usize, any::<u8>()),
            1..400,
        ),
    ) {
        let limits = FragmentLimits { max_datagrams: 16, max_bytes: 32 << 10, ..FragmentLimits::default() };
        let mut reassembly = Reassembly::new(limits);
        let bytes = [0, 53, 0, 53].repeat(500);
        let dns = |payload: &Payload<'_>| (payload.flow.source.port() == 53).then_some(false);
        let mut time = Timestamp::from_nanos(1_000_000_000);
        for (six, number, offset, more, length, missing, step) in fragments {
            time = time + Duration::from_millis(step.into());
            // Half of them begin a datagram.
            let offset = if offset < 4096 { 0 } else { (offset - 4096) * 8 };
            let key = key(six, number);
            let fragment = Fragment { key, hop_limit: 1, offset, more, missing, bytes: &bytes[..length] };
            reassembly.take(time, None, &fragment, &dns, &mut |datagram| assert!(datagram.missing > 0));
            let (datagrams, held) = reassembly.held();
            prop_assert!(datagrams <= limits.max_datagrams && held <= limits.max_bytes);
        }
        reassembly.finish(&mut |_| ());
        prop_assert_eq!(reassembly.held(), (0, 0));
    }
}
