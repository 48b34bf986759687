use super::super::PcapFileSource;
use super::super::window::{Order, Stop, Window};
use super::Pcapng;
use crate::capture::Drained;
use crate::capture::frame::{CgroupId, Direction, Ifindex, InterfaceKind, Place};
use crate::capture::recorded::Recorded;

const BOTH: [Order; 2] = [Order::Little, Order::Big];

fn u16_of(order: Order, number: u16) -> [u8; 2] {
    if order == Order::Little { number.to_le_bytes() } else { number.to_be_bytes() }
}

fn u32_of(order: Order, number: u32) -> [u8; 4] {
    if order == Order::Little { number.to_le_bytes() } else { number.to_be_bytes() }
}

fn numbers(order: Order, numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| u32_of(order, *number)).collect()
}

/// A block that is padded as it must be.
fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
    let padding = body.len().next_multiple_of(4) - body.len();
    let total = (12 + body.len() + padding) as u32;
    let head = numbers(order, &[kind, total]);
    [&head, body, &vec![0; padding], &u32_of(order, total)[..]].concat()
}

fn option(order: Order, code: u16, value: &[u8]) -> Vec<u8> {
    let padding = value.len().next_multiple_of(4) - value.len();
    [&u16_of(order, code)[..], &u16_of(order, value.len() as u16), value, &vec![0; padding]].concat()
}

fn section(order: Order) -> Vec<u8> {
    let version = [u16_of(order, 1), u16_of(order, 0)].concat();
    block(order, 0x0a0d_0d0a, &[&u32_of(order, 0x1a2b_3c4d)[..], &version, &[0xff; 8]].concat())
}

fn interface(order: Order, link_type: u16, snaplen: u32, options: &[Vec<u8>]) -> Vec<u8> {
    let head = [u16_of(order, link_type), [0; 2]].concat();
    block(order, 1, &[&head, &u32_of(order, snaplen)[..], &options.concat()].concat())
}

fn enhanced(order: Order, id: u32, stamp: u64, packet: &[u8], options: &[Vec<u8>]) -> Vec<u8> {
    let length = packet.len() as u32;
    let head = numbers(order, &[id, (stamp >> 32) as u32, stamp as u32, length, length + 9]);
    let padding = vec![0; packet.len().next_multiple_of(4) - packet.len()];
    block(order, 6, &[&head, packet, &padding, &options.concat()].concat())
}

/// What is read of `bytes`: a line for each packet, and what was told at the end.
fn read(bytes: &[u8]) -> Vec<String> {
    let mut source = match PcapFileSource::read(Box::new(std::io::Cursor::new(bytes.to_vec()))) {
        Ok(source) => source,
        Err(flaw) => return vec![flaw.to_string()],
    };
    let mut lines = Vec::new();
    let drained = source.drain(usize::MAX, &mut |frame| {
        let (link_type, length) = (frame.link_type, frame.original_length);
        let packet = String::from_utf8_lossy(frame.bytes);
        lines.push(format!("{} {link_type:?} {packet} of {length}", frame.time.as_nanos()));
    });
    assert_eq!(drained, Drained::Ended);
    lines.extend(source.trouble());
    lines
}

#[track_caller]
fn check(blocks: &[Vec<u8>], expected: &[&str]) {
    assert_eq!(read(&blocks.concat()), expected);
}

#[test]
fn packets_of_every_kind_are_read_in_both_orders() {
    for order in BOTH {
        let obsolete = [
            u16_of(order, 0).to_vec(),
            vec![0xff; 2],
            numbers(order, &[0, 7, 3, 60]),
            b"old".to_vec(),
            vec![0],
        ];
        check(
            &[
                section(order),
                interface(order, 1, 5, &[option(order, 2, b"eth0"), option(order, 0, &[])]),
                enhanced(order, 0, 5, b"packet", &[option(order, 1, b"a comment"), option(order, 0, &[])]),
                block(order, 3, &[&u32_of(order, 9)[..], b"simple, cut"].concat()),
                block(order, 2, &obsolete.concat()),
            ],
            &[
                "5000 Ethernet packet of 15",
                "5000 Ethernet simpl of 9",
                "7000 Ethernet old of 60",
                "1 packet without a time: that of the packet before was taken, so times tell nothing here",
            ],
        );
    }
}

#[test]
fn what_is_no_packet_is_passed_over() {
    let order = Order::Little;
    check(
        &[
            section(order),
            block(order, 4, b"names"),
            interface(order, 101, 0, &[]),
            block(order, 5, b"statistics"),
            block(order, 0x0000_0bad, &[0; 8]),
            block(order, 0x7777_7777, &vec![7; 3_000_000]),
            enhanced(order, 0, 1, b"packet", &[]),
        ],
        &["1000 RawIp packet of 15"],
    );
}

#[test]
fn a_section_begins_anew() {
    let [little, big] = BOTH;
    check(
        &[
            section(little),
            interface(little, 101, 0, &[]),
            enhanced(little, 0, 1, b"one", &[]),
            section(big),
            interface(big, 1, 0, &[]),
            enhanced(big, 0, 2, b"two", &[]),
            section(big),
            enhanced(big, 0, 3, b"nowhere", &[]),
        ],
        &[
            "1000 RawIp one of 12",
            "2000 Ethernet two of 12",
            "1 packet skipped: the file does not describe their interface",
        ],
    );
}

#[test]
fn an_interface_that_is_not_read_hides_no_other() {
    let order = Order::Big;
    let named = |name: &str| option(order, 2, name.as_bytes());
    let huge =
        block(order, 6, &[numbers(order, &[1, 0, 0, 2_000_000, 2_000_000]), vec![0; 2_000_000]].concat());
    check(
        &[
            section(order),
            interface(order, 276, 0, &[named("any")]),
            interface(order, 105, 0, &[named("wlan0")]),
            enhanced(order, 1, 1, b"radio", &[]),
            huge,
            enhanced(order, 0, 2, b"packet", &[]),
        ],
        &[
            "2000 LinuxSll2 packet of 15",
            "2 packets of wlan0 skipped: link type IEEE 802.11 (105) is not read here; record with `tcpdump -i any`, \
             or choose another type (`tcpdump -L` lists, `-y` takes one)",
        ],
    );
}

/// Reads a stamp by `if_tsresol` and `if_tsoffset`.
#[track_caller]
fn check_time(resolution: u8, offset: i64, stamp: u64, expected: u64) {
    for order in BOTH {
        let offset = if order == Order::Little { offset.to_le_bytes() } else { offset.to_be_bytes() };
        let options = [option(order, 9, &[resolution]), option(order, 14, &offset)];
        let blocks = [section(order), interface(order, 1, 0, &options), enhanced(order, 0, stamp, b"p", &[])];
        check(&blocks, &[&format!("{expected} Ethernet p of 10")]);
    }
}

#[test]
fn every_unit_of_time_becomes_nanoseconds() {
    check_time(6, 0, 1_700_000_000_000_001, 1_700_000_000_000_001_000);
    check_time(9, 0, 1_700_000_000_000_000_001, 1_700_000_000_000_000_001);
    check_time(0, 0, 1_700_000_000, 1_700_000_000_000_000_000);
    check_time(3, 0, 1_700_000_000_001, 1_700_000_000_001_000_000);
    check_time(12, 0, 1_700_000_000_123, 1_700_000_000);
    check_time(19, 0, u64::MAX, 1_844_674_407);
    // Halves of seconds, and what NTP counts.
    check_time(0x81, 0, 3, 1_500_000_000);
    check_time(0x80 | 32, 0, 1_700_000_000 << 32 | 1 << 31, 1_700_000_000_500_000_000);
    check_time(0xbf, 0, u64::MAX, 1_999_999_999);
    check_time(6, 3600, 1, 3_600_000_001_000);
    check_time(6, -1, 1_500_000, 500_000_000);
}

#[test]
fn times_out_of_range_are_the_nearest_that_are_in_it() {
    check_time(6, -2, 1_500_000, 0);
    check_time(6, i64::MIN, u64::MAX, 0);
    check_time(6, i64::MAX, 0, u64::MAX);
    check_time(0, 0, u64::MAX, u64::MAX);
    check_time(0x80, i64::MAX, u64::MAX, u64::MAX);
}

#[test]
fn broken_blocks_are_told_with_their_place() {
    let order = Order::Little;
    let begin = [section(order), interface(order, 1, 0, &[]), enhanced(order, 0, 1, b"p", &[])].concat();
    let offset = begin.len();
    assert_eq!(offset, 84);
    let check = |last: Vec<u8>, expected: &str| {
        let lines = read(&[&begin[..], &last, &enhanced(order, 0, 2, b"never", &[])].concat());
        assert_eq!(lines[0], "1000 Ethernet p of 10");
        assert_eq!(lines[1..], [format!("broken at byte 84: {expected} (after 1 whole record)")]);
    };
    let least = |total: u32, least: u32| {
        format!("a block of {total} bytes; its kind has {least} at least, and whole words")
    };
    check(numbers(order, &[6, 0, 0, 0]), &least(0, 32));
    check(numbers(order, &[6, 31, 0, 0]), &least(31, 32));
    check(numbers(order, &[77, 8, 0, 0]), &least(8, 12));
    check(numbers(order, &[77, 13, 0, 0]), &least(13, 12));
    check(numbers(order, &[77, 12, 16]), "a block of 12 bytes, but 16 by the length at its end");
    check(
        numbers(order, &[6, 0xffff_fffc, 0, 0, 0, 0xffff_ffff, 0]),
        "a packet claims 4294967295 bytes, the most is 262144",
    );
    check(numbers(order, &[6, 32, 0, 0, 0, 4, 4, 32]), "a packet of 4 bytes does not fit into a block of 32");
    check(numbers(order, &[1, 0xffff_fffc]), "a block of 4294967292 bytes, more than 524288");
    check(
        interface(order, 1, 0, &[option(order, 9, &[20])]),
        "an interface with a unit of time that no clock has",
    );
    check(numbers(order, &[0x0a0d_0d0a, 28, 1, 1]), "a section has no byte-order magic");
    check(numbers(order, &[0x0a0d_0d0a, 28, 0x1a2b_3c4d, 7]), "pcapng version 7.0 is not read here, 1.0 is");
}

#[test]
fn every_cut_is_told_and_all_before_it_is_used() {
    let order = Order::Little;
    let blocks = [section(order), interface(order, 1, 0, &[]), enhanced(order, 0, 1, b"p", &[])];
    let whole = blocks.concat();
    let (first, second) = (blocks[0].len(), blocks[0].len() + blocks[1].len());
    for kept in 4..whole.len() {
        let lines = read(&whole[..kept]);
        let expected: &[&str] = match kept {
            kept if kept < first => &[": the header of the capture is cut off"],
            kept if kept == first || kept == second => &[],
            _ => &["the last record is cut off (after 0 whole records)"],
        };
        assert_eq!(lines, expected, "{kept}");
    }
}

#[test]
fn what_stands_beside_the_packets_is_read() {
    for order in BOTH {
        let ours = |text: &str| [&u32_of(order, 32_473), text.as_bytes()].concat();
        let fact = |ifindex: u32| {
            ours(&format!(
                r#"{{"nslookout":1,"kind":"interface","ifindex":{ifindex},"name":"eth0","interface_kind":"pod"}}"#
            ))
        };
        let flags = |flags: u32| option(order, 2, &u32_of(order, flags));
        let counters = ours(r#"{"nslookout":1,"kind":"counters","begun_ns":1,"time_ns":9,"seen":5}"#);
        let another = [&u32_of(order, 9)[..], &counters[4..]].concat();
        let bytes = [
            section(order),
            interface(
                order,
                1,
                0,
                &[
                    option(order, 1, b"a comment"),
                    option(order, 2988, &[0; 4]),
                    option(order, 2988, &fact(7)),
                ],
            ),
            interface(order, 1, 0, &[option(order, 3, b"without a fact")]),
            block(order, 0x0000_0bad, &counters),
            enhanced(order, 0, 1, b"in", &[flags(1), option(order, 1, b"local_socket=no")]),
            enhanced(order, 0, 1, b"out", &[flags(0xf2), option(order, 1, b"local_socket=yes cgroup=9")]),
            enhanced(order, 0, 1, b"unknown", &[]),
            enhanced(order, 1, 1, b"elsewhere", &[flags(1)]),
            block(order, 0x4000_0bad, &fact(8)),
            block(order, 0x0000_0bad, &another),
        ]
        .concat();
        let mut window = Window::new(Box::new(std::io::Cursor::new(bytes)));
        let mut recorded = Recorded::default();
        let mut pcapng = Pcapng::open(&mut window).unwrap();
        let place = |direction, local_socket, cgroup: Option<u64>| {
            let cgroup = cgroup.map(CgroupId);
            let (ifindex, kind) = (Ifindex(7), InterfaceKind::Pod);
            Some(Place { ifindex, kind, direction, local_socket: Some(local_socket), cgroup })
        };
        let expected =
            [place(Direction::Ingress, false, None), place(Direction::Egress, true, Some(9)), None, None];
        let mut readings = Vec::new();
        let mut next = |recorded: &mut Recorded| loop {
            match pcapng.next(&mut window, recorded) {
                Err(Stop::Reading) => readings.extend(recorded.take_reading()),
                other => return other.map(|frame| frame.place),
            }
        };
        for expected in expected {
            assert_eq!(next(&mut recorded).unwrap(), expected);
        }
        assert_eq!(recorded.names().get(Ifindex(8)), None);
        assert!(matches!(next(&mut recorded), Err(Stop::End)));
        // Each reading is told when it is met, and once.
        assert_eq!(readings.iter().map(|(_, counters)| counters.seen).collect::<Vec<_>>(), [5]);
        assert_eq!(recorded.take_reading(), None);
        assert_eq!(recorded.names().get(Ifindex(8)).as_deref(), Some("eth0"));
        assert_eq!(recorded.counters().map(|counters| counters.seen), Some(5));
    }
}
