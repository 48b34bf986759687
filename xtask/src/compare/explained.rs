//! The differences for which tshark is wrong, or means something else, each with the reason; docs/compare.md tells the
//! same at more length.

use super::difference::Difference;

/// An expected difference.
#[derive(Clone, Copy)]
pub struct Explained {
    /// The name of the capture.
    pub file: &'static str,
    /// The field, as it is printed.
    pub field: &'static str,
    /// In these frames, and no others.
    pub frames: &'static [usize],
    /// Why tshark says something else.
    pub reason: &'static str,
}

const BY_ID_ALONE: &str =
    "tshark pairs by addresses, ports and ID; the question is part of it too (RFC 5452 section 9.1)";
const ONE_WAY: &str =
    "tshark pairs a response with an earlier query only; the records of two CPUs may be out of order";
const ROLES: &str = "what comes from port 53 with QR 0, or goes there with QR 1, is no part of a transaction";
const BEGINNING: &str =
    "tshark tells nothing of a message whose end it lacks; its beginning says whom it answers";
const ASTRAY: &str =
    "tshark takes the middle of a message for the beginning of one and then waits for what never comes";
const VARIANT: &str = "tshark looks ahead, takes the broken record for a variant of pcap with longer headers, and misreads the first";

const fn explained(
    file: &'static str,
    field: &'static str,
    frames: &'static [usize],
    reason: &'static str,
) -> Explained {
    Explained { file, field, frames, reason }
}

/// All of them.
pub const EXPLAINED: [Explained; 22] = [
    explained("answer-before-query.pcap", "answered", &[2, 6], ONE_WAY),
    explained("answered-from-elsewhere.pcap", "answered", &[1, 9], BY_ID_ALONE),
    explained("id-again-while-open.pcap", "answered", &[1, 4], BY_ID_ALONE),
    explained("id-again-while-open.pcap", "sends", &[1, 4], BY_ID_ALONE),
    explained("id-again-while-open.pcap", "transaction", &[2, 5], BY_ID_ALONE),
    explained("two-rcodes-one-socket.pcap", "answered", &[5, 13], BY_ID_ALONE),
    explained("two-rcodes-one-socket.pcap", "sends", &[5, 13], BY_ID_ALONE),
    explained("two-rcodes-one-socket.pcap", "transaction", &[6, 14], BY_ID_ALONE),
    explained("wrong-direction.pcap", "message", &[1, 2, 3, 4], ROLES),
    explained("wrong-direction.pcap", "transaction", &[2, 4], ROLES),
    explained("fragments-without-last.pcap", "message", &[2, 5], BEGINNING),
    explained("fragments-without-last.pcap", "answered", &[1, 4], BEGINNING),
    explained("tcp-fin-amid.pcap", "message", &[5, 11], BEGINNING),
    explained("tcp-fin-amid.pcap", "answered", &[4, 10], BEGINNING),
    explained("tcp-rst-amid.pcap", "message", &[5, 11], BEGINNING),
    explained("tcp-rst-amid.pcap", "answered", &[4, 10], BEGINNING),
    explained("tcp-hole.pcap", "message", &[5, 8, 16, 19], BEGINNING),
    explained("tcp-hole.pcap", "answered", &[4, 7, 15, 18], BEGINNING),
    explained("tcp-mid-message.pcap", "message", &[3, 9], ASTRAY),
    explained("tcp-mid-message.pcap", "answered", &[2, 8], ASTRAY),
    explained("broken.pcap", "message", &[1], VARIANT),
    explained("broken.pcap", "transaction", &[1], VARIANT),
];

/// What the list says about the differences of one file.
pub struct Verdict {
    /// Not in the list.
    pub unexplained: Vec<Difference>,
    /// In the list.
    pub explained: Vec<Difference>,
    /// Entries, with the frame, that match nothing any more.
    pub stale: Vec<(Explained, usize)>,
}

/// Parts the differences of the capture called `file`.
pub fn judge(file: &str, differences: Vec<Difference>) -> Verdict {
    let matches = |entry: &Explained, frame: usize, difference: &Difference| {
        entry.file == file && entry.field == difference.field && frame == difference.frame
    };
    let entries = || EXPLAINED.iter().filter(|entry| entry.file == file);
    let stale = entries()
        .flat_map(|entry| entry.frames.iter().map(|frame| (*entry, *frame)))
        .filter(|(entry, frame)| !differences.iter().any(|difference| matches(entry, *frame, difference)))
        .collect();
    let (explained, unexplained) = differences.into_iter().partition(|difference| {
        entries().any(|entry| entry.frames.iter().any(|frame| matches(entry, *frame, difference)))
    });
    Verdict { unexplained, explained, stale }
}

/// Entries about a capture that is not among `files`.
pub fn orphans(files: &[&str]) -> impl Iterator<Item = &'static Explained> {
    EXPLAINED.iter().filter(|entry| !files.contains(&entry.file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_list_names_is_explained_and_the_rest_of_it_is_stale() {
        let entry = &EXPLAINED[0];
        let difference =
            |frame, field| Difference { frame, field, tshark: "a".into(), nslookout: "b".into() };
        let found = || vec![difference(entry.frames[0], entry.field), difference(entry.frames[0], "flags")];
        let Verdict { unexplained, explained, stale } = judge(entry.file, found());
        assert_eq!((unexplained.len(), explained.len()), (1, 1));
        assert_eq!(stale.iter().map(|(_, frame)| *frame).collect::<Vec<_>>(), entry.frames[1..]);
        let Verdict { unexplained, explained, stale } = judge("another.pcap", found());
        assert_eq!((unexplained.len(), explained.len(), stale.len()), (2, 0, 0));
    }
}
