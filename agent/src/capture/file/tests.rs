use std::io::{self, Read, Write as _};

use super::*;

/// As much as asked for, but at most `most` bytes at once; then `error`, or the end.
struct Trickle {
    bytes: io::Cursor<Vec<u8>>,
    most: usize,
    error: Option<io::ErrorKind>,
}

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.most);
        match (self.bytes.read(&mut buffer[..most])?, self.error.take()) {
            (0, Some(error)) => Err(error.into()),
            (read, error) => {
                self.error = error;
                Ok(read)
            }
        }
    }
}

fn trickle(bytes: &[u8], most: usize) -> Box<Trickle> {
    Box::new(Trickle { bytes: io::Cursor::new(bytes.to_vec()), most, error: None })
}

/// What is read: a line for each packet, and what was told at the end.
fn read(input: Box<dyn Read + Send>) -> Vec<String> {
    let mut source = match PcapFileSource::read(input) {
        Ok(source) => source,
        Err(flaw) => return vec![flaw.to_string()],
    };
    let mut lines = Vec::new();
    source.drain(usize::MAX, &mut |frame| {
        let (time, link_type, length) = (frame.time.as_nanos(), frame.link_type, frame.original_length);
        lines.push(format!("{time} {link_type:?} {} of {length}", frame.bytes.len()));
    });
    assert_eq!(source.drain(1, &mut |_| panic!("a frame behind the end")), Drained::Ended);
    lines.extend(source.trouble());
    lines
}

#[track_caller]
fn check(bytes: &[u8], expected: &[&str]) {
    for most in [1, 7, usize::MAX] {
        assert_eq!(read(trickle(bytes, most)), expected, "{most} bytes at once");
    }
}

fn numbers(big: bool, numbers: &[u32]) -> Vec<u8> {
    let bytes = |number: &u32| if big { number.to_be_bytes() } else { number.to_le_bytes() };
    numbers.iter().flat_map(bytes).collect()
}

/// A header, and two records: of 3 bytes, and of 65,535.
fn pcap(big: bool, magic: u32, link_type: u32) -> Vec<u8> {
    let version = if big { 0x0002_0004 } else { 0x0004_0002 };
    let mut bytes = numbers(big, &[magic, version, 0, 0, 262_144, link_type]);
    for (length, seconds) in [(3, 1), (65_535, u32::MAX)] {
        bytes.extend(numbers(big, &[seconds, 7, length, 70_000]));
        bytes.extend(vec![0; if magic == 0xa1b2_cd34 { 8 } else { 0 }]);
        bytes.extend(vec![1; length as usize]);
    }
    bytes
}

#[test]
fn every_magic_is_read_in_both_orders() {
    for big in [false, true] {
        for magic in [0xa1b2_c3d4, 0xa1b2_cd34] {
            check(
                &pcap(big, magic, 1),
                &["1000007000 Ethernet 3 of 70000", "4294967295000007000 Ethernet 65535 of 70000"],
            );
        }
        check(
            &pcap(big, 0xa1b2_3c4d, 1),
            &["1000000007 Ethernet 3 of 70000", "4294967295000000007 Ethernet 65535 of 70000"],
        );
    }
}

#[test]
fn link_types_have_several_numbers() {
    for (number, name) in [
        (0, "Loopback"),
        (1, "Ethernet"),
        (0x2400_0001, "Ethernet"),
        (9, "Ppp"),
        (12, "RawIp"),
        (14, "RawIp"),
        (50, "Ppp"),
        (51, "PppEther"),
        (101, "RawIp"),
        (108, "Loopback"),
        (113, "LinuxSll"),
        (228, "RawIp"),
        (229, "RawIp"),
        (276, "LinuxSll2"),
    ] {
        let lines = read(trickle(&pcap(false, 0xa1b2_c3d4, number), usize::MAX));
        assert_eq!(lines[0], format!("1000007000 {name} 3 of 70000"));
    }
    for (number, expected) in
        [(105, ": link type IEEE 802.11 (105) is not read"), (999, ": link type 999 is")]
    {
        let lines = read(trickle(&pcap(true, 0xa1b2_c3d4, number), usize::MAX));
        assert!(lines[0].starts_with(expected), "{}", lines[0]);
    }
}

#[test]
fn records_that_are_too_long_end_the_reading() {
    let whole = pcap(false, 0xa1b2_c3d4, 1);
    let first = &whole[..24 + 16 + 3];
    let told = |length: u32| {
        format!(
            "broken at byte 43: the record claims {length} bytes, a packet has 262144 at most (after 1 whole record)"
        )
    };
    for length in [262_145, u32::MAX] {
        let bytes = [first, &numbers(false, &[2, 0, length, 60]), &[0; 500]].concat();
        check(&bytes, &["1000007000 Ethernet 3 of 70000", &told(length)]);
    }
    let largest = [first, &numbers(false, &[2, 0, 262_144, 60]), &vec![0; 262_144]].concat();
    check(&largest, &["1000007000 Ethernet 3 of 70000", "2000000000 Ethernet 262144 of 60"]);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

#[test]
fn packed_files_are_unpacked_whole() {
    let whole = pcap(false, 0xa1b2_c3d4, 1);
    let expected = ["1000007000 Ethernet 3 of 70000", "4294967295000007000 Ethernet 65535 of 70000"];
    let (one, two) = whole.split_at(30);
    check(&gzip(&whole), &expected);
    check(&[gzip(one), gzip(two)].concat(), &expected);
    check(&zstd(&whole), &expected);
    check(&[zstd(one), zstd(two)].concat(), &expected);
    check(&zstd(&gzip(&whole)), &expected);
    // A frame to be passed over, as pzstd writes in front.
    check(&[&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4], &zstd(&whole)[..]].concat(), &expected);
}

#[test]
fn packed_files_that_are_cut_off_or_broken_are_used_so_far() {
    let mut whole = pcap(false, 0xa1b2_c3d4, 1);
    // Bytes that cannot be packed, so that the cut is in the last record.
    let mut state = 1_u32;
    for byte in &mut whole[59..] {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
    for (name, packed) in [("gzip", gzip(&whole)), ("zstd", zstd(&whole))] {
        let cut = |kept: usize| read(trickle(&packed[..kept], usize::MAX));
        let told = |records: &str| format!("the {name} data are cut off (after {records})");
        assert_eq!(cut(packed.len() / 2)[1..], [told("1 whole record")]);
        // gzip ends with a checksum: all packets are there without it.
        if name == "gzip" {
            assert_eq!(cut(packed.len() - 1)[2..], [told("2 whole records")]);
        }
        let lines = read(trickle(&[&packed[..], b"no packed data"].concat(), usize::MAX));
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[2].starts_with(&format!("the {name} data are broken: ")), "{lines:?}");
        assert_eq!(read(trickle(&packed[..6], usize::MAX)), [format!(": the {name} data are cut off")]);
    }
    check(
        &gzip(b"hello, this is no capture"),
        &[" is gzip, but what is packed in it is no capture, but text; \
        tcpdump writes captures with -w FILE"],
    );
}

/// A window of 128 MiB, as `zstd --long` asks for it.
#[test]
fn a_window_of_zstd_has_a_bound() {
    let whole = pcap(false, 0xa1b2_c3d4, 1);
    let packed = |window: u32| {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window).unwrap();
        encoder.write_all(&whole).unwrap();
        encoder.finish().unwrap()
    };
    assert_eq!(read(trickle(&packed(23), usize::MAX)).len(), 2);
    let told = read(trickle(&packed(24), usize::MAX));
    assert!(told.len() == 1 && told[0].contains("zstd -dc --long=31 FILE | nslookout -r -"), "{told:?}");
}

/// A disk that fails, or a network file system that goes away.
#[test]
fn what_was_read_before_an_error_is_used() {
    let bytes = io::Cursor::new(pcap(false, 0xa1b2_c3d4, 1)[..100].to_vec());
    let failing = Trickle { bytes, most: usize::MAX, error: Some(io::ErrorKind::StaleNetworkFileHandle) };
    let lines = read(Box::new(failing));
    assert_eq!(lines[0], "1000007000 Ethernet 3 of 70000");
    assert_eq!(lines[1..], ["failed to read: stale network file handle (after 1 whole record)"]);
}

/// What is in a pipe is handed out although its writer goes on, and nobody waits for the rest of a record.
#[test]
fn a_pipe_is_not_waited_for() {
    let directory = std::env::temp_dir().join(format!("nslookout-pipe-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let whole = pcap(false, 0xa1b2_c3d4, 1);
    for (name, packed) in [("plain", whole.clone()), ("packed", zstd(&whole[..43]))] {
        let path = directory.join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        let writer = std::thread::spawn({
            let path = path.clone();
            move || {
                let mut writer = std::fs::File::options().write(true).open(path).unwrap();
                writer.write_all(&packed[..packed.len().min(50)]).unwrap();
                writer
            }
        });
        let mut source = PcapFileSource::open(&path).unwrap();
        let writer = writer.join().unwrap();
        let mut count = 0;
        while count == 0 {
            source.drain(100, &mut |_| count += 1);
        }
        assert_eq!(count, 1);
        if name == "plain" {
            assert!(source.fd().is_some());
            assert_eq!(source.drain(100, &mut |_| {}), Drained::Empty);
        }
        drop(writer);
        while source.drain(100, &mut |_| count += 1) != Drained::Ended {}
        assert_eq!(
            (count, source.trouble().len()),
            (1, usize::from(name == "plain")),
            "{:?}",
            source.trouble()
        );
    }
    std::fs::remove_dir_all(&directory).unwrap();
}
