use super::*;
use crate::capture::frame::InterfaceKind;
use crate::packet::FragmentKey;

const UDP: u8 = 17;
const TCP: u8 = 6;

/// A UDP datagram from port 53 to port 4096 with `length` bytes of payload, each of which tells its place.
fn datagram(length: usize) -> Vec<u8> {
    let mut bytes = vec![0, 53, 0x10, 0];
    bytes.extend_from_slice(&((length + 8) as u16).to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend((0..length).map(|place| (place / 8) as u8));
    bytes
}

fn key(source: &str, destination: &str, identification: u32, protocol: u8) -> FragmentKey {
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    FragmentKey { source, destination, identification, protocol }
}

fn key_4() -> FragmentKey {
    key("192.0.2.53", "192.0.2.1", 7, UDP)
}

fn key_6() -> FragmentKey {
    key("2001:db8::53", "2001:db8::1", 7, UDP)
}

/// Bytes `from` to `to` of `whole`; the last ones where `to` is its end.
fn part(key: FragmentKey, whole: &[u8], from: usize, to: usize) -> Fragment<'_> {
    let more = to < whole.len();
    Fragment { key, hop_limit: 60, offset: from, more, missing: 0, bytes: &whole[from..to] }
}

/// A reassembly and what it said.
struct Rig {
    reassembly: Reassembly,
    said: Vec<String>,
}

impl Rig {
    fn new() -> Self {
        Self::with(FragmentLimits::default())
    }

    fn with(limits: FragmentLimits) -> Self {
        Self { reassembly: Reassembly::new(limits), said: Vec::new() }
    }

    fn take(&mut self, millis: u64, fragment: &Fragment<'_>) {
        self.take_at(millis, None, fragment);
    }

    fn take_at(&mut self, millis: u64, place: Option<Place>, fragment: &Fragment<'_>) {
        let dns = |payload: &Payload<'_>| match (payload.flow.source.port(), payload.flow.destination.port())
        {
            (_, 53) => Some(true),
            (53, _) => Some(false),
            _ => None,
        };
        let said = &mut self.said;
        let Taken { earlier, fate } =
            self.reassembly.take(at(millis), place.as_ref(), fragment, &dns, &mut |datagram| {
                said.push(told(&datagram, "beginning"));
            });
        let word = match fate {
            Fate::Foreign => "foreign".to_owned(),
            Fate::Undecided => "undecided".to_owned(),
            Fate::Held { .. } => "held".to_owned(),
            Fate::Duplicate { .. } => "duplicate".to_owned(),
            Fate::Dropped { .. } => "dropped".to_owned(),
            Fate::Unreadable(error) => error.to_string(),
            Fate::Complete(datagram) => told(&datagram, "complete"),
        };
        let Earlier { parts, duplicates } = earlier;
        said.push(if parts + duplicates > 0 {
            format!("{word} and {parts}+{duplicates} before")
        } else {
            word
        });
    }

    fn tick(&mut self, millis: u64) {
        let said = &mut self.said;
        self.reassembly.tick(at(millis), &mut |datagram| said.push(told(&datagram, "beginning")));
    }

    fn finish(&mut self) {
        let said = &mut self.said;
        self.reassembly.finish(&mut |datagram| said.push(told(&datagram, "beginning")));
    }

    /// What was said since the last look, and what was given up since the beginning.
    #[track_caller]
    fn expect(&mut self, said: &[&str], given_up: &str) {
        assert_eq!(self.said, said);
        self.said.clear();
        let counts = self.reassembly.counts();
        let mut list: Vec<String> = GiveUp::ALL
            .iter()
            .filter(|reason| counts.given_up(**reason) > 0)
            .map(|reason| format!("{} {}", reason.as_str(), counts.given_up(*reason)))
            .collect();
        if counts.unascribed > 0 {
            list.push(format!("unascribed {}", counts.unascribed));
        }
        assert_eq!(list.join(", "), given_up);
    }

    #[track_caller]
    fn expect_empty(&self) {
        assert_eq!(self.reassembly.held(), (0, 0));
        assert_eq!(self.reassembly.settled(at(1_000_000)), at(1_000_000));
    }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}

/// Its time, and its bytes if they are those of [`datagram`].
fn told(given: &Datagram, kind: &str) -> String {
    let millis = given.time.as_nanos() / 1_000_000;
    let payload = match given.payload() {
        Ok(payload) => payload,
        Err(error) => return format!("{kind} {millis} {error}"),
    };
    assert!(payload.fragmented);
    let whole = payload.bytes.len() + payload.missing;
    let right = datagram(whole)[8..].starts_with(payload.bytes);
    let missing = if payload.missing > 0 { format!(" of {whole}") } else { String::new() };
    format!("{kind} {millis} {}{missing}{}", payload.bytes.len(), if right { "" } else { " WRONG" })
}

#[test]
fn any_order_gives_the_same_bytes() {
    for key in [key_4(), key_6()] {
        let whole = datagram(3000);
        let parts =
            [part(key, &whole, 0, 1480), part(key, &whole, 1480, 2960), part(key, &whole, 2960, 3008)];
        let check = |order: [usize; 3], expected: &[&str]| {
            let mut rig = Rig::new();
            for (millis, index) in order.into_iter().enumerate() {
                rig.take(millis as u64, &parts[index]);
            }
            rig.expect(expected, "");
            rig.expect_empty();
        };
        check([0, 1, 2], &["held", "held", "complete 2 3000"]);
        check([0, 2, 1], &["held", "held", "complete 2 3000"]);
        check([1, 0, 2], &["undecided", "held and 1+0 before", "complete 2 3000"]);
        check([2, 0, 1], &["undecided", "held and 1+0 before", "complete 2 3000"]);
        check([1, 2, 0], &["undecided", "undecided", "complete 2 3000 and 2+0 before"]);
        check([2, 1, 0], &["undecided", "undecided", "complete 2 3000 and 2+0 before"]);
    }
}

#[test]
fn the_same_fragment_counts_once() {
    let whole = datagram(2000);
    let (first, last) = (part(key_4(), &whole, 0, 1480), part(key_4(), &whole, 1480, 2008));
    let mut rig = Rig::new();
    for fragment in [&last, &last, &first, &first, &last] {
        rig.take(0, fragment);
    }
    rig.expect(&["undecided", "undecided", "complete 0 2000 and 1+1 before", "duplicate", "duplicate"], "");
    rig.take(1, &part(key_4(), &whole, 0, 1480));
    rig.expect(&["duplicate"], "");
    let mut rig = Rig::new();
    for fragment in [&first, &first, &last] {
        rig.take(0, fragment);
    }
    rig.expect(&["held", "duplicate", "complete 0 2000"], "");
}

#[test]
fn a_place_has_fragments_of_its_own() {
    let place = |ifindex, direction| {
        Some(Place {
            ifindex: Ifindex(ifindex),
            kind: InterfaceKind::Pod,
            direction,
            local_socket: None,
            cgroup: None,
        })
    };
    let whole = datagram(2000);
    let (first, last) = (part(key_4(), &whole, 0, 1480), part(key_4(), &whole, 1480, 2008));
    let places = [place(1, Direction::Ingress), place(1, Direction::Egress), place(2, Direction::Egress)];
    let mut rig = Rig::new();
    for fragment in [first, last] {
        for place in places {
            rig.take_at(0, place, &fragment);
        }
    }
    let all = ["held", "held", "held", "complete 0 2000", "complete 0 2000", "complete 0 2000"];
    rig.expect(&all, "");
}

#[test]
fn what_tells_datagrams_apart() {
    let whole = datagram(2000);
    let keys = [
        key_4(),
        key("192.0.2.53", "192.0.2.1", 8, UDP),
        key("192.0.2.53", "192.0.2.2", 7, UDP),
        key("192.0.2.54", "192.0.2.1", 7, UDP),
        key_6(),
    ];
    let mut rig = Rig::new();
    keys.iter().for_each(|key| rig.take(0, &part(*key, &whole, 0, 1480)));
    keys.iter().rev().for_each(|key| rig.take(1, &part(*key, &whole, 1480, 2008)));
    rig.expect(&[["held"; 5], ["complete 1 2000"; 5]].concat(), "");
    // Another protocol is another datagram of IPv4; in IPv6 the first fragment's counts alone.
    let other = |key: FragmentKey| FragmentKey { protocol: 60, ..key };
    rig.take(2, &part(key_4(), &datagram(2001), 0, 1480));
    rig.take(2, &part(other(key_4()), &datagram(2001), 1480, 2009));
    rig.take(2, &part(key_6(), &datagram(2001), 0, 1480));
    rig.take(2, &part(other(key_6()), &datagram(2001), 1480, 2009));
    rig.expect(&["held", "undecided", "held", "complete 2 2001"], "");
}

/// Fragments of other bytes than those seen, or of other borders, spoil the whole.
#[test]
fn an_overlap_discards_all_of_it() {
    let whole = datagram(3000);
    let mut other = whole.clone();
    other[1500] ^= 1;
    let range = |from, to| part(key_4(), &whole, from, to);
    let check = |fragments: &[Fragment<'_>], expected: &[&str]| {
        let mut rig = Rig::new();
        fragments.iter().for_each(|fragment| rig.take(0, fragment));
        rig.take(1, &range(2960, 3008));
        rig.take(500, &range(0, 1480));
        rig.tick(1_000);
        rig.expect(&[expected, &["dropped", "dropped"]].concat(), "overlap 1");
        rig.expect_empty();
    };
    check(&[range(0, 1480), range(1472, 2960)], &["held", "dropped"]);
    check(&[range(0, 1480), range(0, 1488)], &["held", "dropped"]);
    check(&[range(0, 1480), range(0, 1472)], &["held", "dropped"]);
    check(&[range(0, 1480), range(8, 1472)], &["held", "dropped"]);
    check(
        &[range(0, 1480), range(1480, 2960), part(key_4(), &other, 1480, 2960)],
        &["held", "held", "dropped"],
    );
    // Whose it is, is known later.
    check(
        &[range(1480, 2960), range(1472, 2968), range(0, 1480)],
        &["undecided", "undecided", "dropped and 2+0 before"],
    );
}

#[test]
fn lengths_that_no_sender_writes_discard_all_of_it() {
    let whole = datagram(3000);
    let range = |from, to| part(key_4(), &whole, from, to);
    let check = |fragments: &[Fragment<'_>], expected: &[&str]| {
        let mut rig = Rig::new();
        fragments.iter().for_each(|fragment| rig.take(0, fragment));
        rig.take(1, &range(1480, 2960));
        rig.expect(&[expected, &["dropped"]].concat(), "inconsistent 1");
        rig.expect_empty();
    };
    let first = range(0, 1480);
    // No multiple of 8, though others follow; nothing; a last one before others; two last ones; more behind the last.
    check(&[range(0, 1479)], &["dropped"]);
    check(&[first, range(1480, 1480)], &["held", "dropped"]);
    let last = |from, to| Fragment { more: false, ..range(from, to) };
    check(&[first, range(2000, 2008), last(1480, 1990)], &["held", "held", "dropped"]);
    check(&[first, last(2960, 3000), last(2960, 3008)], &["held", "held", "dropped"]);
    check(&[first, range(1480, 2960), last(1480, 2960)], &["held", "held", "dropped"]);
    check(&[first, last(2960, 3000), range(3000, 3008)], &["held", "held", "dropped"]);
}

#[test]
fn the_largest_packet_bounds_a_datagram() {
    let check = |key: FragmentKey, length: usize, expected: &str, given_up: &str| {
        let bytes = [0; 1024];
        let whole = datagram(1000);
        let mut rig = Rig::new();
        rig.take(0, &part(key, &whole, 0, 800));
        let offset = 65_000;
        let last = Fragment { offset, more: false, bytes: &bytes[..length], ..part(key, &whole, 0, 800) };
        rig.take(0, &last);
        rig.expect(&["held", expected], given_up);
    };
    // IPv4 counts its header of 20 bytes, IPv6 does not.
    check(key_4(), 515, "held", "");
    check(key_4(), 516, "dropped", "inconsistent 1");
    check(key_6(), 535, "held", "");
    check(key_6(), 536, "dropped", "inconsistent 1");
}

#[test]
fn a_cut_fragment_leaves_its_datagram_incomplete_from_there() {
    let whole = datagram(3000);
    let cut = |from: usize, to: usize, held: usize| {
        let fragment = part(key_4(), &whole, from, to);
        Fragment { missing: fragment.bytes.len() - held, bytes: &fragment.bytes[..held], ..fragment }
    };
    let check = |fragments: [Fragment<'_>; 3], expected: &str| {
        let mut rig = Rig::new();
        (0..).zip(&fragments).for_each(|(millis, fragment)| rig.take(millis, fragment));
        let again = fragments[0];
        rig.take(3, &again);
        rig.expect(&["held", "held", expected, "duplicate"], "incomplete 1");
        rig.expect_empty();
    };
    check([cut(0, 1480, 100), cut(1480, 2960, 100), cut(2960, 3008, 40)], "complete 2 92 of 3000");
    check([cut(0, 1480, 1480), cut(1480, 2960, 100), cut(2960, 3008, 48)], "complete 2 1572 of 3000");
    check([cut(0, 1480, 1480), cut(2960, 3008, 10), cut(1480, 2960, 1480)], "complete 2 2962 of 3000");
}

#[test]
fn a_number_is_used_again() {
    let (whole, next) = (datagram(2000), datagram(2500));
    let mut rig = Rig::new();
    rig.take(0, &part(key_4(), &whole, 0, 1480));
    rig.take(0, &part(key_4(), &whole, 1480, 2008));
    rig.take(1, &part(key_4(), &next, 0, 1480));
    rig.take(1, &part(key_4(), &next, 1480, 2508));
    rig.expect(&["held", "complete 0 2000", "held", "complete 1 2500"], "");
    // Foreign before, ours now, and the other way round.
    let mut foreign = datagram(2000);
    foreign[1] = 54;
    rig.take(2, &part(key_6(), &foreign, 0, 1480));
    rig.take(2, &part(key_6(), &whole, 0, 1480));
    rig.take(2, &part(key_6(), &whole, 1480, 2008));
    rig.take(3, &part(key_6(), &foreign, 0, 1480));
    rig.take(3, &part(key_6(), &foreign, 1480, 2008));
    rig.expect(&["foreign", "held", "complete 2 2000", "foreign", "foreign"], "");
    // What was not complete in time is another datagram, even where no watermark came by in between.
    rig.take(10, &part(key_4(), &next, 0, 1488));
    rig.take(1_011, &part(key_4(), &whole, 0, 1480));
    rig.take(1_011, &part(key_4(), &whole, 1480, 2008));
    rig.expect(&["held", "beginning 10 1480 of 2500", "held", "complete 1011 2000"], "incomplete 1");
    rig.expect_empty();
}

#[test]
fn foreign_datagrams_are_not_held() {
    let mut whole = datagram(3000);
    whole[1] = 54;
    let parts = [0, 1480, 2960].map(|from| part(key_4(), &whole, from, (from + 1480).min(3008)));
    let mut rig = Rig::new();
    parts.iter().for_each(|fragment| rig.take(0, fragment));
    rig.expect(&["foreign"; 3], "");
    rig.expect_empty();
    let mut rig = Rig::new();
    parts.iter().rev().for_each(|fragment| rig.take(0, fragment));
    rig.expect(&["undecided", "undecided", "foreign and 2+0 before"], "");
    rig.expect_empty();
    let ping = part(FragmentKey { protocol: 1, ..key_4() }, &whole, 0, 1480);
    rig.take(0, &ping);
    rig.expect(&["foreign"], "");
}

#[test]
fn a_first_fragment_without_ports_is_given_up() {
    let whole = [0; 64];
    let key = FragmentKey { protocol: TCP, ..key_4() };
    let mut rig = Rig::new();
    rig.take(0, &part(key, &whole, 8, 16));
    rig.take(0, &part(key, &whole, 0, 8));
    rig.take(0, &part(key, &whole, 16, 64));
    let unreadable = "the frame ends inside its TCP header and 1+0 before";
    rig.expect(&["undecided", unreadable, "dropped"], "inconsistent 1");
    rig.expect_empty();
}

#[test]
fn a_datagram_shorter_than_it_says_is_no_datagram() {
    let whole = datagram(3000);
    let mut rig = Rig::new();
    rig.take(0, &part(key_4(), &whole, 0, 1480));
    rig.take(0, &Fragment { more: false, ..part(key_4(), &whole, 1480, 2960) });
    rig.expect(&["held", "complete 0 the UDP header contradicts itself"], "");
}

#[test]
fn what_does_not_come_is_not_waited_for() {
    let whole = datagram(3000);
    let mut rig = Rig::new();
    rig.take(100, &part(key_4(), &whole, 2960, 3008));
    rig.take(150, &part(key_4(), &whole, 0, 1480));
    rig.take(200, &part(key_6(), &whole, 1480, 2960));
    assert_eq!(rig.reassembly.settled(at(160)), at(100));
    rig.tick(1_100);
    rig.expect(&["undecided", "held and 1+0 before", "undecided"], "");
    rig.tick(1_101);
    rig.expect(&["beginning 150 1472 of 3000"], "incomplete 1");
    assert_eq!(rig.reassembly.settled(at(1_101)), at(200));
    rig.take(1_102, &part(key_4(), &whole, 1480, 2960));
    rig.tick(1_201);
    rig.expect(&["dropped"], "incomplete 1, unascribed 1");
    rig.expect_empty();
    // The end of the capture ends patience too.
    rig.take(3_000, &part(key_6(), &whole, 0, 1480));
    rig.take(3_000, &part(key_4(), &whole, 8, 16));
    rig.finish();
    rig.expect(&["held", "undecided", "beginning 3000 1472 of 3000"], "incomplete 2, unascribed 2");
    rig.expect_empty();
}

#[test]
fn the_least_recently_touched_gives_way() {
    let whole = datagram(3000);
    let first = |number| part(FragmentKey { identification: number, ..key_4() }, &whole, 0, 1480);
    let mut rig = Rig::with(FragmentLimits { max_datagrams: 2, ..FragmentLimits::default() });
    rig.take(0, &first(1));
    rig.take(1, &first(2));
    rig.take(2, &first(1));
    rig.take(3, &first(3));
    rig.expect(&["held", "held", "duplicate", "beginning 1 1472 of 3000", "held"], "evicted 1");
    rig.take(4, &part(first(2).key, &whole, 1480, 2960));
    rig.take(4, &part(first(1).key, &whole, 1480, 3008));
    rig.expect(&["dropped", "complete 4 3000"], "evicted 1");
    assert_eq!(rig.reassembly.held().0, 1);

    let mut rig = Rig::with(FragmentLimits { max_bytes: 4_000, ..FragmentLimits::default() });
    for number in 0..100 {
        rig.take(number.into(), &first(number));
        assert!(rig.reassembly.held().1 <= 4_000);
    }
    assert_eq!(rig.reassembly.held().0, 2);
    assert_eq!(rig.reassembly.counts().given_up(GiveUp::Evicted), 98);
    rig.finish();
    rig.expect_empty();
}
