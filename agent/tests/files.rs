//! Whatever a capture file holds, it is read to an end, without a panic, and without memory that it merely claims to
//! need.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Cursor;
use std::path::Path;
use std::sync::LazyLock;

use nslookout::capture::Drained;
use nslookout::capture::file::{FILE_LAG, Flaw, PcapFileSource};
use nslookout::capture::frame::Timestamp;
use nslookout::engine::{Engine, EngineConfig};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// Notes the largest piece of memory that a thread asked for, and the most that it held at once.
struct Watched;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
    /// What was asked for and not given back; below zero where another thread had asked for it.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: everything is left to the system's allocator; what is noted beside it allocates nothing.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(layout.size())));
        let held = HELD.try_with(|held| {
            held.set(held.get() + layout.size() as isize);
            held.get()
        });
        if let Ok(held) = held {
            let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held)));
        }
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ = HELD.try_with(|held| held.set(held.get() - layout.size() as isize));
        // SAFETY: the caller keeps the contract of `dealloc`; the memory is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// A window of 512 KiB is the most; growing it copies, and a file of 64 KiB can be unpacked to much.
const MOST: usize = 1 << 20;

/// The window, what it was grown from, and what is said of interfaces and losses. What zstd holds is not counted: C asks
/// for it.
const MOST_HELD: isize = 4 << 20;

/// Reads to the end; the frames of it, or what is wrong with its beginning.
fn read(bytes: Vec<u8>) -> Result<u64, Flaw> {
    LARGEST.set(0);
    let bytes = Cursor::new(bytes);
    PEAK.set(HELD.get());
    let before = HELD.get();
    let frames = read_from(bytes);
    let peak = PEAK.get() - before;
    assert!(peak <= MOST_HELD, "{peak} bytes held");
    frames
}

fn read_from(bytes: Cursor<Vec<u8>>) -> Result<u64, Flaw> {
    let mut source = PcapFileSource::read(Box::new(bytes))?;
    let mut frames = 0;
    while source.drain(64, &mut |frame| {
        assert!(frame.bytes.len() <= 262_144);
        frames += 1;
    }) != Drained::Ended
    {}
    for line in source.trouble() {
        assert!(!line.is_empty());
    }
    let _ = source.recorded().counters();
    Ok(frames)
}

/// The same, through all rooms, as `watch` does.
fn play(bytes: Vec<u8>) {
    let Ok(mut source) = PcapFileSource::read(Box::new(Cursor::new(bytes))) else { return };
    let mut engine =
        Engine::new(EngineConfig { ports: [53].into_iter().collect(), ..EngineConfig::default() });
    source.drain(usize::MAX, &mut |frame| {
        engine.tick(engine.latest().max(frame.time).before(FILE_LAG), &mut |_| {});
        engine.frame(frame, &mut |_| {});
    });
    engine.finish(engine.latest(), &mut |_| {});
}

/// The captures of `tests/data`.
static CAPTURES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut paths: Vec<_> = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| {
        let name = path.to_str().unwrap();
        [".pcap", ".pcapng", ".gz", ".zst"].iter().any(|end| name.ends_with(end))
    });
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
});

/// What may happen to a file.
#[derive(Clone, Debug)]
enum Damage {
    /// It ends here.
    Cut(Index),
    /// A byte is another.
    Byte(Index, u8),
    /// A number that may be a length, a time or a kind is another.
    Number(Index, u32),
    /// A part is missing.
    Hole(Index, Index),
    /// A part stands there twice.
    Twice(Index, Index),
    /// Another capture follows.
    Another(Index),
}

impl Damage {
    fn to(&self, bytes: &mut Vec<u8>) {
        let between = |one: &Index, other: &Index, length: usize| {
            let (one, other) = (one.index(length + 1), other.index(length + 1));
            one.min(other)..one.max(other)
        };
        match self {
            Self::Cut(at) => bytes.truncate(at.index(bytes.len() + 1)),
            Self::Byte(at, byte) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Self::Number(at, number) if bytes.len() >= 4 => {
                let at = at.index(bytes.len() / 4) * 4;
                bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
            }
            Self::Hole(one, other) => drop(bytes.drain(between(one, other, bytes.len()))),
            Self::Twice(one, other) => {
                let part = bytes[between(one, other, bytes.len())].to_vec();
                bytes.extend(part);
            }
            Self::Another(which) => bytes.extend(which.get(&CAPTURES)),
            Self::Byte(..) | Self::Number(..) => {}
        }
    }
}

fn damages() -> impl Strategy<Value = Damage> {
    let index = any::<Index>;
    let number = prop_oneof![
        any::<u32>(),
        0..64_u32,
        Just(u32::MAX),
        Just(u32::MAX - 3),
        Just(i32::MAX as u32),
        Just(262_144),
        Just(0x0a0d_0d0a),
    ];
    prop_oneof![
        index().prop_map(Damage::Cut),
        (index(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        (index(), number).prop_map(|(at, number)| Damage::Number(at, number)),
        (index(), index()).prop_map(|(one, other)| Damage::Hole(one, other)),
        (index(), index()).prop_map(|(one, other)| Damage::Twice(one, other)),
        index().prop_map(Damage::Another),
    ]
}

/// A capture with something done to it.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    (any::<Index>(), vec(damages(), 0..4)).prop_map(|(which, damages)| {
        let mut bytes = which.get(&CAPTURES).clone();
        for damage in damages {
            damage.to(&mut bytes);
        }
        bytes
    })
}

/// What begins like a capture, or like one that is packed, and goes on in any way.
fn announced() -> impl Strategy<Value = Vec<u8>> {
    let magics: [&[u8]; 8] = [
        b"",
        b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\x04\0\x01\0\0\0",
        b"\xa1\xb2\x3c\x4d\0\x02\0\x04\0\0\0\0\0\0\0\0\0\x04\0\0\0\0\0\x65",
        b"\x34\xcd\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\x04\0\x01\0\0\0",
        b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x1c\0\0\0",
        b"\x0a\x0d\x0d\x0a\0\0\0\x1c\x1a\x2b\x3c\x4d\0\x01\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\x1c",
        b"\x1f\x8b\x08\0\0\0\0\0\0\x03",
        b"\x28\xb5\x2f\xfd",
    ];
    (proptest::sample::select(magics.to_vec()), vec(any::<u8>(), 0..300))
        .prop_map(|(magic, rest)| [magic, &rest].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_are_read_to_their_end(bytes in announced()) {
        let _ = read(bytes.clone());
        prop_assert!(LARGEST.get() <= MOST, "{} bytes at once", LARGEST.get());
        play(bytes);
    }

    #[test]
    fn damaged_captures_are_read_to_their_end(bytes in damaged()) {
        let _ = read(bytes.clone());
        prop_assert!(LARGEST.get() <= MOST, "{} bytes at once", LARGEST.get());
        play(bytes);
    }

    /// What stands before a cut is read as if there were none.
    #[test]
    fn a_cut_takes_nothing_from_what_is_before_it(which in any::<Index>(), at in any::<Index>()) {
        let whole = which.get(&CAPTURES);
        let kept = whole[..at.index(whole.len() + 1)].to_vec();
        if let (Some(all), Some(before)) = (packets(whole.clone()), packets(kept)) {
            prop_assert!(all.starts_with(&before));
        }
    }
}

/// Times and bytes of all packets; `None`: not even the header is there.
fn packets(bytes: Vec<u8>) -> Option<Vec<(Timestamp, Vec<u8>)>> {
    let mut source = PcapFileSource::read(Box::new(Cursor::new(bytes))).ok()?;
    let mut packets = Vec::new();
    source.drain(usize::MAX, &mut |frame| packets.push((frame.time, frame.bytes.to_vec())));
    Some(packets)
}

/// A few bytes that unpack to 64 MiB: of a record that claims to be so long, and of records without end.
#[test]
fn what_unpacks_to_much_is_not_held() {
    let header: Vec<u8> =
        [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1].iter().flat_map(|n| n.to_le_bytes()).collect();
    let bomb = |rest: Vec<u8>| zstd::encode_all(&[&header[..], &rest].concat()[..], 1).unwrap();
    assert_eq!(read(bomb(vec![0xff; 64 << 20])).unwrap(), 0);
    assert!(LARGEST.get() <= MOST, "{} bytes at once", LARGEST.get());
    // Zeros are records without bytes.
    assert_eq!(read(bomb(vec![0; 64 << 20])).unwrap(), 4 << 20);
    assert!(LARGEST.get() <= MOST, "{} bytes at once", LARGEST.get());
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
    let total = (12 + body.len() + padding.len()) as u32;
    [&kind.to_le_bytes()[..], &total.to_le_bytes(), body, &padding, &total.to_le_bytes()].concat()
}

fn section() -> Vec<u8> {
    block(0x0a0d_0d0a, &[&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat())
}

/// An interface with options; its link type is not read, so its name may be wanted.
fn interface(options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = [&[105, 0, 0, 0][..], &[0; 4]].concat();
    for (code, value) in options {
        body.extend([code.to_le_bytes(), (value.len() as u16).to_le_bytes()].as_flattened());
        body.extend_from_slice(value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    block(1, &body)
}

/// A note as a recording holds it, of documentation's number 32473.
fn note(json: &str) -> Vec<u8> {
    block(0xbad, &[&32_473_u32.to_le_bytes()[..], json.as_bytes()].concat())
}

/// What many interfaces and notes say is not kept as it comes.
#[test]
fn long_names_are_not_held() {
    let long = "x".repeat(65_000);
    let mut bytes = section();
    for _ in 0..1_000 {
        bytes.extend(interface(&[(2, long.as_bytes()), (3, long.as_bytes()), (1, long.as_bytes())]));
    }
    assert_eq!(read(bytes).unwrap(), 0);

    let longer = "y".repeat(400_000);
    let mut bytes = section();
    for number in 0..200 {
        bytes.extend(note(&format!(
            r#"{{"nslookout":1,"kind":"interface","ifindex":{number},"name":"{longer}","interface_kind":"pod"}}"#
        )));
    }
    assert_eq!(read(bytes).unwrap(), 0);
}

/// Each file of a recording counts from zero, and their sums are kept.
#[test]
fn lists_of_many_readings_are_not_held() {
    let mut bytes = section();
    for begun in 1..200 {
        let name = |number: u64| format!("{begun}-{number}-{}", "z".repeat(300));
        let losses: Vec<_> = (0..100)
            .map(|number| format!(r#"{{"interface":"{}","reason":"ring_full","packets":1}}"#, name(number)))
            .collect();
        let errors: Vec<_> = (0..100).map(|number| format!(r#""{}":1"#, name(number))).collect();
        let (losses, errors) = (losses.join(","), errors.join(","));
        bytes.extend(note(&format!(
            r#"{{"nslookout":1,"kind":"counters","begun_ns":{begun},"lost_at":[{losses}],"attach_errors":{{{errors}}}}}"#
        )));
    }
    assert_eq!(read(bytes).unwrap(), 0);
}
