//! The first inputs of each target: the captures of the tests, taken apart as the targets expect them.
//!
//! A seed only saves time: what cannot be taken apart here is left out, and the fuzzer finds its way without it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::shell::workspace;

/// Larger seeds slow every mutation down and reach nothing else.
const MOST_BYTES: usize = 16 * 1024;

/// LINKTYPE_ETHERNET.
const ETHERNET: u32 = 1;

/// Writes the seeds of `target` into `corpus` and gives how many there are.
pub(super) fn write(target: &str, corpus: &Path) -> Result<usize> {
    fs::create_dir_all(corpus).with_context(|| format!("failed to create {}", corpus.display()))?;
    let mut seeds = Vec::new();
    if target == "tcp" {
        seeds = segments();
    } else {
        for path in captures(&workspace().join("agent/tests/data"))? {
            let bytes = fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
            match target {
                "pcap" => seeds.push(bytes),
                "packet" => seeds.extend(frames(&bytes)),
                _ => seeds.extend(messages(&bytes)),
            }
        }
    }
    seeds.retain(|seed| seed.len() <= MOST_BYTES);
    for (number, seed) in seeds.iter().enumerate() {
        let path = corpus.join(format!("seed-{number:04}"));
        fs::write(&path, seed).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(seeds.len())
}

/// Every file below `folder` but the texts, in order.
fn captures(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("failed to read {}", folder.display()))? {
        let path = entry?.path();
        let text = ["expected", "json", "md", "py", "sh", "toml", "txt"];
        if path.is_dir() {
            found.extend(captures(&path)?);
        } else if !path.extension().is_some_and(|extension| text.iter().any(|text| extension == *text)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The records of a classic pcap file of this machine's byte order; none of any other file.
fn records(file: &[u8]) -> (u32, Vec<&[u8]>) {
    let word =
        |at: usize| file.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    let mut found = Vec::new();
    if !matches!(word(0), Some(0xa1b2_c3d4 | 0xa1b2_3c4d)) {
        return (0, found);
    }
    let mut at = 24;
    while let Some(length) = word(at + 8)
        && let Some(bytes) = file.get(at + 16..at + 16 + length as usize)
    {
        found.push(bytes);
        at += 16 + bytes.len();
    }
    (word(20).unwrap_or(0), found)
}

/// For the target `packet`: each frame alone, and the first of the file together.
fn frames(file: &[u8]) -> Vec<Vec<u8>> {
    let (link_type, records) = records(file);
    let raw = u8::from(link_type != ETHERNET);
    let mut seeds: Vec<Vec<u8>> = records
        .iter()
        .map(|bytes| [&[raw], &(bytes.len() as u16).to_be_bytes()[..], bytes].concat())
        .collect();
    let together = seeds.iter().take(8).flatten().copied().collect();
    seeds.push(together);
    seeds
}

/// For the target `dns`: what UDP carried, as a whole message.
fn messages(file: &[u8]) -> Vec<Vec<u8>> {
    let (link_type, records) = records(file);
    let link = if link_type == ETHERNET { 14 } else { 0 };
    records.iter().filter_map(|bytes| Some([&[0, 0], udp_payload(bytes.get(link..)?)?].concat())).collect()
}

fn udp_payload(packet: &[u8]) -> Option<&[u8]> {
    let (protocol, header) = match packet.first()? {
        0x45 => (*packet.get(9)?, 20),
        0x60..=0x6f => (*packet.get(6)?, 40),
        _ => return None,
    };
    if protocol == 17 { packet.get(header + 8..) } else { None }
}

/// For the target `tcp`: the conversation in order, backwards, and byte by byte; the layout is that of its `Segment`.
fn segments() -> Vec<Vec<u8>> {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    let segment = |who: u8, flags: u8, begin: u16, length: u16| {
        let mut bytes = vec![who, flags, 1];
        bytes.extend(begin.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend([0, 0]);
        bytes
    };
    // No segment lies.
    let beginning = [vec![1], segment(0, SYN, 0, 0), segment(1, SYN | ACK, 0, 0)];
    let pieces = |step: u16, length: u16| -> Vec<Vec<u8>> {
        (0..length.div_ceil(step))
            .flat_map(|piece| [0, 1].map(|who| segment(who, ACK, piece * step, step)))
            .collect()
    };
    let forwards = |step, length| beginning.iter().cloned().chain(pieces(step, length)).flatten().collect();
    let backwards = |step, length| {
        beginning.iter().cloned().chain(pieces(step, length).into_iter().rev()).flatten().collect()
    };
    vec![forwards(1400, 9000), backwards(1400, 9000), forwards(29, 300), backwards(29, 300), forwards(1, 60)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_is_taken_apart() {
        let file = fs::read(workspace().join("agent/tests/data/answers.pcap")).unwrap();
        let (link_type, records) = records(&file);
        assert_eq!(link_type, ETHERNET);
        assert!(records.len() > 10, "{}", records.len());
        assert_eq!(frames(&file).len(), records.len() + 1);
        // Each holds a header with one question.
        let messages = messages(&file);
        assert!(
            !messages.is_empty() && messages.iter().all(|seed| seed[..2] == [0, 0] && seed[6..8] == [0, 1])
        );
    }
}
