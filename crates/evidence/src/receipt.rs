//! The receipt: one line that pins what a log held at a moment.
//!
//! Enters: a checkpoint and a key; leaves: a line, and back. Deliberately absent: a signature (the line is what the
//! operator noted down; it needs no more trust than its own place of keeping).

use crate::note::{Checkpoint, Vkey, base64, unbase64};

const TITLE: &str = "truename-receipt-v1";

/// Origin, size, root and key of a log at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Origin, size, root.
    pub checkpoint: Checkpoint,
    /// The key that signs the log.
    pub vkey: Vkey,
}

impl std::fmt::Display for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Checkpoint { origin, size, root } = &self.checkpoint;
        write!(f, "{TITLE} {origin} {size} {} {}", base64(root), self.vkey)
    }
}

impl Receipt {
    /// Parses the line; blanks around it are allowed.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut parts = line.split_whitespace();
        if parts.next()? != TITLE {
            return None;
        }
        let (origin, size, root, vkey) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let root = unbase64(root)?.try_into().ok()?;
        let checkpoint = Checkpoint { origin: origin.to_owned(), size: size.parse().ok()?, root };
        let vkey = Vkey::parse(vkey).filter(|vkey| vkey.name() == origin)?;
        parts.next().is_none().then_some(Self { checkpoint, vkey })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_survives_its_line() {
        let vkey =
            Vkey::parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k").unwrap();
        let checkpoint = Checkpoint { origin: "example.com/foo".into(), size: 42, root: [7; 32] };
        let receipt = Receipt { checkpoint, vkey };
        assert_eq!(Receipt::parse(&format!(" {receipt}\n")), Some(receipt.clone()));
        let line = receipt.to_string();
        for bad in [line.replace("foo 42", "foo x"), line.replace("foo 42", "bar 42"), format!("{line} x")] {
            assert_eq!(Receipt::parse(&bad), None, "{bad}");
        }
    }
}
