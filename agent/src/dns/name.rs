//! Names on the wire, compressed or not.

use std::fmt::{self, Write as _};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use thiserror::Error;

use super::{DecodeError, HEADER_LENGTH};
use crate::maps::mix;

/// Octets of a name at most, with the length octets and the root's (RFC 1035 section 2.3.4).
const MAX_LENGTH: usize = 255;
/// Pointers that are followed for one name at most, one for each of its labels: a message of 64 KB that is all pointers
/// would cost tens of millions of steps otherwise.
const MAX_POINTERS: usize = 128;

/// A name as it stood on the wire, case kept. Names compare without regard to case (RFC 4343).
///
/// Held in wire form without compression: each label behind its length, the root's at the end. A length is at most 63,
/// which is no letter, so that case can be folded over all octets alike. Clones share the octets: one name is kept by the
/// query that waits, by its lookup and as evidence.
#[derive(Clone)]
pub struct Name(Arc<[u8]>);

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Two dots in a row, or one at the beginning.
    #[error("it has an empty label")]
    EmptyLabel,
    /// A label of more than 63 octets (RFC 1035 section 2.3.4).
    #[error("it has a label of more than 63 octets")]
    LabelTooLong,
    /// More than 255 octets on the wire (RFC 1035 section 2.3.4).
    #[error("it is longer than 255 octets")]
    TooLong,
}

impl Name {
    /// The root: no labels (RFC 1034 section 3.1).
    pub fn root() -> Self {
        Self([0].into())
    }

    /// Reads the name that begins at `start`; gives the position behind it too.
    pub(super) fn read(bytes: &[u8], start: usize) -> Result<(Self, usize), DecodeError> {
        let Extent { end, length } = extent(bytes, start)?;
        if end - start == length {
            return Ok((Self(bytes[start..end].into()), end));
        }
        let mut wire = Vec::with_capacity(length);
        walk(bytes, start, |label| wire.extend_from_slice(label))?;
        wire.push(0);
        Ok((Self(wire.into()), end))
    }

    /// Reads a name as people write it, with or without the final dot; no escapes. Octets beyond ASCII are kept as they
    /// are.
    ///
    /// # Errors
    ///
    /// [`NameError`].
    pub fn from_text(text: &str) -> Result<Self, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut wire = Vec::with_capacity(text.len() + 2);
        if !text.is_empty() {
            for label in text.split('.') {
                match u8::try_from(label.len()) {
                    Ok(0) => return Err(NameError::EmptyLabel),
                    Ok(length @ 1..=63) => wire.push(length),
                    _ => return Err(NameError::LabelTooLong),
                }
                wire.extend_from_slice(label.as_bytes());
            }
        }
        wire.push(0);
        if wire.len() > MAX_LENGTH { Err(NameError::TooLong) } else { Ok(Self(wire.into())) }
    }

    /// How many labels it has, the root's not counted; a relative name of `n` dots has `n + 1`.
    pub fn label_count(&self) -> usize {
        self.labels().count()
    }

    /// The name without its first `labels` labels; the root where it has no more.
    pub fn parent(&self, labels: usize) -> Self {
        Self(self.0.get(self.offset(labels)..).unwrap_or(&[0]).into())
    }

    /// The first `labels` labels as a name; itself where it has no more.
    pub fn first_labels(&self, labels: usize) -> Self {
        let kept = self.0.get(..self.offset(labels)).unwrap_or_default();
        Self(kept.iter().copied().chain([0]).collect())
    }

    /// This name below `suffix`; `None` where that is longer than a name may be.
    pub fn below(&self, suffix: &Self) -> Option<Self> {
        let labels = self.0.len().saturating_sub(1);
        let whole: Arc<[u8]> = self.0.iter().take(labels).chain(&*suffix.0).copied().collect();
        (whole.len() <= MAX_LENGTH).then_some(Self(whole))
    }

    /// Is it `ancestor`, or below it?
    pub fn is_below(&self, ancestor: &Self) -> bool {
        let Some(more) = self.0.len().checked_sub(ancestor.0.len()) else { return false };
        let ends_alike = self.0.get(more..).is_some_and(|tail| tail.eq_ignore_ascii_case(&ancestor.0));
        // What looks like its first length may be an octet of a label.
        ends_alike && self.is_border(more)
    }

    /// Does a label begin at this octet, or the root?
    fn is_border(&self, octet: usize) -> bool {
        let mut at = 0;
        for label in self.labels() {
            if at >= octet {
                break;
            }
            at += label.len() + 1;
        }
        at == octet
    }

    /// Is what follows the first `labels` labels this name?
    pub fn is_followed_by(&self, labels: usize, suffix: &Self) -> bool {
        let tail = self.0.get(self.offset(labels)..).unwrap_or(&[0]);
        tail.len() == suffix.0.len() && tail.eq_ignore_ascii_case(&suffix.0)
    }

    /// Adds the first label to a hash, whatever its case; the root has none.
    pub fn mix_first_label(&self, hash: u64) -> u64 {
        let label = self.labels().next().unwrap_or_default();
        let (words, rest) = label.as_chunks::<8>();
        let last = rest.iter().fold(0, |word, octet| word << 8 | u64::from(*octet));
        let words = words.iter().map(|word| u64::from_le_bytes(*word));
        words.chain([last]).fold(mix(hash, label.len() as u64), |hash, word| mix(hash, fold(word)))
    }

    /// How many labels both begin with.
    pub fn common_labels(&self, other: &Self) -> usize {
        self.labels().zip(other.labels()).take_while(|(mine, its)| mine.eq_ignore_ascii_case(its)).count()
    }

    /// Where the label behind the first `labels` begins; at the root's where there are no more.
    fn offset(&self, labels: usize) -> usize {
        self.labels().take(labels).map(|label| label.len() + 1).sum()
    }

    /// Octets on the wire without compression, 1 to 255.
    pub(super) fn wire_length(&self) -> usize {
        self.0.len()
    }

    /// The labels from the leftmost on, without the root's; any octet may stand in them.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (&length, behind) = rest.split_first()?;
            let (label, next) = behind.split_at_checked(usize::from(length))?;
            rest = next;
            (!label.is_empty()).then_some(label)
        })
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Name {}

/// In lower case, eight octets at a time; the last eight overlap those before them.
impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (words, rest) = self.0.as_chunks::<8>();
        for word in words {
            state.write_u64(fold(u64::from_le_bytes(*word)));
        }
        if !rest.is_empty() {
            let last = self.0.last_chunk::<8>().copied();
            let of_short = || std::array::from_fn(|index| rest.get(index).copied().unwrap_or(0));
            state.write_u64(fold(u64::from_le_bytes(last.unwrap_or_else(of_short))));
        }
    }
}

/// Sets bit 0x20 of each octet from `A` to `Z`.
///
/// The seven low bits of an octet are added to what carries into its highest bit from `A`, or from behind `Z`, on.
const fn fold(octets: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let low = octets & (0x7f * EACH);
    let from_a = low + (0x80 - b'A' as u64) * EACH;
    let behind_z = low + (0x7f - b'Z' as u64) * EACH;
    let capital = (from_a ^ behind_z) & !octets & (0x80 * EACH);
    octets | capital >> 2
}

/// The presentation form with the final dot. Whatever is not a printable ASCII character is escaped as `\DDD`, and
/// `.`, `\` and `"` inside a label as `\X` (RFC 1035 section 5.1): no octet of the wire reaches a terminal as it is.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(64);
        for label in self.labels() {
            for &octet in label {
                match octet {
                    b'.' | b'\\' | b'"' => text.extend(['\\', char::from(octet)]),
                    0x21..=0x7e => text.push(char::from(octet)),
                    _ => write!(text, "\\{octet:03}")?,
                }
            }
            text.push('.');
        }
        f.pad(if text.is_empty() { "." } else { &text })
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// How much room a name takes.
pub(super) struct Extent {
    /// Behind it, in the message.
    pub(super) end: usize,
    /// Octets without compression, 1 to 255.
    pub(super) length: usize,
}

/// Checks the name that begins at `start`.
#[inline]
pub(super) fn extent(bytes: &[u8], start: usize) -> Result<Extent, DecodeError> {
    walk(bytes, start, |_| {})
}

/// Gives each label of the name that begins at `start`, with its length octet but without the root's.
///
/// A pointer leads to "a prior occurrence" of a name (RFC 1035 section 4.1.4): behind the header, and what is read
/// there lies wholly before the labels that led there. So every name comes to an end.
#[inline]
fn walk<'a>(bytes: &'a [u8], start: usize, mut each: impl FnMut(&'a [u8])) -> Result<Extent, DecodeError> {
    let mut at = start;
    // Where the labels that are read now began, and what they must end before.
    let (mut part, mut readable) = (start, bytes);
    let mut end = None;
    let mut length = 1;
    let mut pointers = 0;
    loop {
        let early = if end.is_none() { DecodeError::RecordCut } else { DecodeError::NamePointer };
        let first = *readable.get(at).ok_or(early)?;
        match first {
            0 => return Ok(Extent { end: end.unwrap_or(at + 1), length }),
            1..=63 => {
                let next = at + 1 + usize::from(first);
                each(readable.get(at..next).ok_or(early)?);
                length += next - at;
                if length > MAX_LENGTH {
                    return Err(DecodeError::NameTooLong);
                }
                at = next;
            }
            64..=191 => return Err(DecodeError::LabelType),
            192..=255 => {
                let second = *readable.get(at + 1).ok_or(early)?;
                let target = usize::from(u16::from_be_bytes([first & 0x3f, second]));
                pointers += 1;
                if !(HEADER_LENGTH..part).contains(&target) || pointers > MAX_POINTERS {
                    return Err(DecodeError::NamePointer);
                }
                end.get_or_insert(at + 2);
                readable = &bytes[..part];
                (part, at) = (target, target);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn capitals_and_nothing_else_are_folded() {
        for octet in 0..=u8::MAX {
            // Its neighbours have no part in it.
            let octets = [octet, b'Z', 0xff, octet, b'@', 0, octet, octet];
            let folded = octets.map(|octet| octet.to_ascii_lowercase());
            assert_eq!(fold(u64::from_le_bytes(octets)), u64::from_le_bytes(folded), "{octet}");
        }
    }
}
