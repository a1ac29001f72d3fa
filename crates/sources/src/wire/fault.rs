//! What can be wrong with a message: the fixed phrases that stand in `Body::malformed`.

/// A fault of a message, in the order of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Fewer than 12 octets.
    ShortHeader,
    /// The bytes end inside a question or record.
    Truncated,
    /// The capture, not the sender, cut the message.
    CutByCapture,
    /// Label type 01 or 10 (RFC 1035 §4.1.4, RFC 6891 §5).
    BadLabelType,
    /// A compression pointer that leads forward.
    ForwardPointer,
    /// A compression pointer that leads back to itself.
    PointerLoop,
    /// A compression pointer into the first 12 octets.
    PointerIntoHeader,
    /// More pointers than any encoder makes.
    TooManyPointers,
    /// A name of more than 255 octets.
    NameTooLong,
    /// Record data that its type cannot have.
    BadRdata,
    /// More than one question (RFC 9619).
    SeveralQuestions,
    /// A second OPT record (RFC 6891 §6.1.1).
    SecondOpt,
    /// An OPT record whose owner is not the root, or outside the additional section.
    MisplacedOpt,
    /// EDNS options that do not fill the OPT record.
    BadOption,
    /// Octets after the last record.
    TrailingBytes,
}

impl Fault {
    /// The stable phrase.
    #[must_use]
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::ShortHeader => "short header",
            Self::Truncated => "truncated record",
            Self::CutByCapture => "cut by the capture",
            Self::BadLabelType => "bad label type",
            Self::ForwardPointer => "forward pointer",
            Self::PointerLoop => "pointer loop",
            Self::PointerIntoHeader => "pointer into the header",
            Self::TooManyPointers => "too many pointers",
            Self::NameTooLong => "name too long",
            Self::BadRdata => "bad record data",
            Self::SeveralQuestions => "several questions",
            Self::SecondOpt => "second OPT record",
            Self::MisplacedOpt => "misplaced OPT record",
            Self::BadOption => "bad EDNS option",
            Self::TrailingBytes => "trailing bytes",
        }
    }
}
