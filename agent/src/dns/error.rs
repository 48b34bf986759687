//! The kinds of illegal messages.

use thiserror::Error;

/// Why a payload is no legal message. Data, not failure: it is counted by kind and the next one is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Error)]
pub enum DecodeError {
    /// Fewer than the 12 bytes of a header (RFC 1035 section 4.1.1).
    #[error("shorter than a DNS header")]
    ShortHeader,
    /// The message ends within the question section.
    #[error("the question section ends early")]
    QuestionCut,
    /// The message ends within a record, and TC does not say so.
    #[error("a record ends early")]
    RecordCut,
    /// The message ends behind a record, but the header promises more, and TC does not say why.
    #[error("fewer records than the header says")]
    CountMismatch,
    /// The two highest bits of a label's length are 01 or 10, which are reserved (RFC 1035 section 4.1.4, RFC 6891
    /// section 5).
    #[error("a name has a label of a reserved type")]
    LabelType,
    /// A compression pointer forward, to itself, in a loop, or to what is no earlier name (RFC 1035 section 4.1.4).
    #[error("a compression pointer does not lead to an earlier name")]
    NamePointer,
    /// A name of more than 255 octets (RFC 1035 section 2.3.4).
    #[error("a name is longer than 255 octets")]
    NameTooLong,
    /// The data of a record are shorter or longer than its type allows.
    #[error("the data of a record do not fit its type")]
    Rdata,
    /// A second OPT record (RFC 6891 section 6.1.1).
    #[error("more than one OPT record")]
    OptDuplicate,
    /// An OPT record outside the additional section (RFC 6891 section 6.1.1).
    #[error("an OPT record outside the additional section")]
    OptMisplaced,
    /// An OPT record with another owner than the root, or with options that do not fill it (RFC 6891 section 6.1.2).
    #[error("an illegal OPT record")]
    OptMalformed,
    /// Bytes behind the last record. The message before them is whole, so it is accepted.
    #[error("bytes behind the last record")]
    TrailingBytes,
}

impl DecodeError {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::ShortHeader,
        Self::QuestionCut,
        Self::RecordCut,
        Self::CountMismatch,
        Self::LabelType,
        Self::NamePointer,
        Self::NameTooLong,
        Self::Rdata,
        Self::OptDuplicate,
        Self::OptMisplaced,
        Self::OptMalformed,
        Self::TrailingBytes,
    ];

    /// As it stands in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ShortHeader => "short_header",
            Self::QuestionCut => "question_cut",
            Self::RecordCut => "record_cut",
            Self::CountMismatch => "count_mismatch",
            Self::LabelType => "label_type",
            Self::NamePointer => "name_pointer",
            Self::NameTooLong => "name_too_long",
            Self::Rdata => "rdata",
            Self::OptDuplicate => "opt_duplicate",
            Self::OptMisplaced => "opt_misplaced",
            Self::OptMalformed => "opt_malformed",
            Self::TrailingBytes => "trailing_bytes",
        }
    }
}
