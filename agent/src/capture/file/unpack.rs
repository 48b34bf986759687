//! Unpacks gzip and zstd while it is read; what a file is, its first bytes tell, never its name.

use std::io::{self, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

/// Bytes, from wherever they come.
pub(super) type Input = Box<dyn Read + Send>;

/// Packed in packed is met; more is a trap.
const MOST_LAYERS: usize = 3;
/// Packed bytes that are read at once.
const AT_ONCE: usize = 64 * 1024;

/// The largest window of zstd that is held, as a power of two: 8 MiB, which every decoder should have (RFC 8878 section
/// 3.1.1.1.2) and `zstd -19` needs. A larger one is a trap, or was asked for by `--long` or `--ultra`.
const LARGEST_WINDOW: u32 = 23;

/// What is inside.
pub(super) struct Unpacked {
    /// The first bytes; four, or all that there are.
    pub(super) first: Vec<u8>,
    /// All of it, the first bytes too.
    pub(super) input: Input,
    /// How it was packed, the innermost.
    pub(super) packing: Option<&'static str>,
}

/// Looks at the first bytes of `input` and unpacks what they announce.
///
/// # Errors
///
/// With the packing it was met in: reading fails, or what is packed is broken from the beginning.
pub(super) fn unpack(input: Input) -> Result<Unpacked, (Option<&'static str>, io::Error)> {
    let mut unpacked = look(input, None)?;
    for _ in 0..MOST_LAYERS {
        let Unpacked { first, input, packing } = unpacked;
        let packed = BufReader::with_capacity(AT_ONCE, input);
        unpacked = match first[..] {
            [0x1f, 0x8b, 8, ..] => look(Box::new(MultiGzDecoder::new(packed)), Some("gzip"))?,
            // A frame, or one to be passed over, as pzstd writes in front (RFC 8878 section 3.1).
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(packed).map_err(|error| (packing, error))?;
                decoder.window_log_max(LARGEST_WINDOW).map_err(|error| (packing, error))?;
                look(Box::new(decoder), Some("zstd"))?
            }
            _ => return Ok(Unpacked { first, input: packed.into_inner(), packing }),
        };
    }
    Ok(unpacked)
}

/// Reads the first bytes and puts them back.
fn look(
    mut input: Input,
    packing: Option<&'static str>,
) -> Result<Unpacked, (Option<&'static str>, io::Error)> {
    let mut first = Vec::new();
    input.by_ref().take(4).read_to_end(&mut first).map_err(|error| (packing, error))?;
    Ok(Unpacked { input: Box::new(Cursor::new(first.clone()).chain(input)), first, packing })
}
