//! Messages behind their lengths (RFC 1035 section 4.2.2).

use super::Context;
use super::pieces::Segment;

/// Bytes before a message that give its length (RFC 1035 section 4.2.2).
pub(super) const PREFIX: usize = 2;
/// Of a message whose end is lost at least its header must be known (RFC 1035 section 4.1.1).
pub(super) const HEADER: usize = 12;

/// The message at the beginning of `bytes`, without its prefix, and what stands behind it.
pub(super) fn split_message(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (prefix, behind) = bytes.split_first_chunk::<PREFIX>()?;
    behind.split_at_checked(usize::from(u16::from_be_bytes(*prefix)))
}

/// The length that the prefix at the beginning of `bytes` gives.
pub(super) fn announced(bytes: &[u8]) -> Option<usize> {
    bytes.first_chunk::<PREFIX>().map(|prefix| usize::from(u16::from_be_bytes(*prefix)))
}

/// What a segment may be while the stream is lost.
pub(super) enum Looks {
    /// Nothing but whole messages.
    Whole,
    /// As that, and the beginning of one more.
    Begins,
    /// Anything.
    Unknown,
}

/// Judges a segment by itself: where nothing tells where messages begin, each of its messages must be one.
pub(super) fn looks(segment: Segment<'_>, context: &Context<'_>) -> Looks {
    if segment.missing > 0 {
        return Looks::Unknown;
    }
    let mut rest = segment.bytes;
    while let Some((message, behind)) = split_message(rest) {
        if !context.plausible(message, message.len()) {
            return Looks::Unknown;
        }
        rest = behind;
    }
    match (announced(rest), rest.get(PREFIX..)) {
        _ if rest.is_empty() => Looks::Whole,
        (Some(length), Some(message)) if message.len() >= HEADER && context.plausible(message, length) => {
            Looks::Begins
        }
        _ => Looks::Unknown,
    }
}
