//! JSON objects printed over several lines, one object after the other (stern's `ppextjson`, `journalctl -o json-pretty`,
//! what `jq` prints). Enters: lines; leaves: whole objects. Deliberately absent: what an object says.

/// Longest object, octets.
const LONGEST: usize = 256 << 10;

/// An object that has begun.
#[derive(Debug, Default)]
pub(super) struct Pretty {
    text: Vec<u8>,
    lines: u64,
    // The line that holds the message: it is what a finding cites.
    told: Option<u64>,
}

/// What a line did.
pub(super) enum Fed {
    /// The object goes on.
    Held,
    /// The object has ended: its text, and the record that holds its message.
    Whole(Vec<u8>, u64),
    /// The line does not belong to the object, which is given up: so many lines of it.
    Broken(u64),
}

impl Pretty {
    /// True if the line begins an object or one has begun.
    pub(super) fn wants(&self, line: &[u8]) -> bool {
        self.lines > 0 || line == b"{"
    }

    /// Takes a line that is wanted.
    pub(super) fn feed(&mut self, ordinal: u64, line: &[u8]) -> Fed {
        let inside = matches!(line.first(), Some(b' ' | b'\t' | b'}')) || self.lines == 0;
        if !inside || self.text.len() + line.len() > LONGEST {
            return Fed::Broken(std::mem::take(self).lines);
        }
        self.text.extend_from_slice(line);
        self.text.push(b'\n');
        self.lines += 1;
        let member = line.trim_ascii_start();
        if self.told.is_none()
            && [&b"\"log\""[..], b"\"message\"", b"\"MESSAGE\""].iter().any(|key| member.starts_with(key))
        {
            self.told = Some(ordinal);
        }
        if line.first() == Some(&b'}') {
            let whole = std::mem::take(self);
            return Fed::Whole(whole.text, whole.told.unwrap_or(ordinal));
        }
        Fed::Held
    }

    /// Lines held.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }
}
