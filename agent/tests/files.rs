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

/// Notes the largest piece of memory that a thread asked for.
struct Watched;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is left to the system's allocator; what is noted beside it allocates nothing.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(layout.size())));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`; the memory is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// A window of 512 KiB is the most; growing it copies, and a file of 64 KiB can be unpacked to much.
const MOST: usize = 1 << 20;

/// Reads to the end; the frames of it, or what is wrong with its beginning.
fn read(bytes: Vec<u8>) -> Result<u64, Flaw> {
    LARGEST.set(0);
    let mut source = PcapFileSource::read(Box::new(Cursor::new(bytes)))?;
    let mut frames = 0;
    while source.drain(64, &mut |frame| {
        assert!(frame.bytes.len() <= 262_144);
        frames += 1;
    }) != Drained::Ended
    {}
    for line in source.trouble() {
        assert!(!line.is_empty());
    }
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
