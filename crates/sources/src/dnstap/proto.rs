//! The protobuf of dnstap (`dnstap.proto`), walked by hand. Enters: a frame's payload; leaves: borrowed fields.
//!
//! Unknown fields are stepped over; a field given twice counts as its last value, as protobuf says.

/// A `Dnstap` frame with its `Message`; absent fields are `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tap<'a> {
    /// `identity`.
    pub identity: Option<&'a [u8]>,
    /// `version`.
    pub version: Option<&'a [u8]>,
    /// `extra`.
    pub extra: Option<&'a [u8]>,
    /// `type`; 1 is MESSAGE.
    pub kind: u64,
    /// `message`, if one is there.
    pub message: Option<TapMessage<'a>>,
}

/// dnstap's `Message`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapMessage<'a> {
    /// `type`, 1–14 today; odd is a query, even a response.
    pub kind: u64,
    /// `socket_protocol`.
    pub protocol: u64,
    /// `query_address`, 4 or 16 octets.
    pub query_address: Option<&'a [u8]>,
    /// `response_address`.
    pub response_address: Option<&'a [u8]>,
    /// `query_port`.
    pub query_port: u64,
    /// `response_port`.
    pub response_port: u64,
    /// `query_time_sec`.
    pub query_sec: Option<u64>,
    /// `query_time_nsec`.
    pub query_nsec: u32,
    /// `query_message`.
    pub query: Option<&'a [u8]>,
    /// `response_time_sec`.
    pub response_sec: Option<u64>,
    /// `response_time_nsec`.
    pub response_nsec: u32,
    /// `response_message`.
    pub response: Option<&'a [u8]>,
}

/// The value of one field.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
    Fixed64,
}

/// Walks the fields of a message; the error is the octet offset at which it stops being protobuf.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    fn varint(&mut self) -> Option<u64> {
        // Nearly all are one octet.
        let octet = *self.bytes.get(self.at)?;
        if octet < 0x80 {
            self.at += 1;
            return Some(u64::from(octet));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in 0..10u32 {
            let octet = *self.bytes.get(self.at)?;
            self.at += 1;
            value |= u64::from(octet & 0x7f).checked_shl(shift * 7)?;
            if octet < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len)?;
        let value = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(value)
    }

    /// The next field: `Ok(None)` at the end.
    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, usize> {
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let start = self.at;
        self.field().map(Some).ok_or(start)
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Fixed64
            }
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(len)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        let number = key >> 3;
        (number != 0).then_some((number, value))
    }
}

/// Reads a frame's payload.
///
/// # Errors
/// The octet offset of the field that cannot be read.
pub fn read(payload: &[u8]) -> Result<Tap<'_>, usize> {
    let mut tap = Tap::default();
    let mut walk = Walk { bytes: payload, at: 0 };
    while let Some((number, value)) = walk.next()? {
        match (number, value) {
            (1, Value::Bytes(bytes)) => tap.identity = Some(bytes),
            (2, Value::Bytes(bytes)) => tap.version = Some(bytes),
            (3, Value::Bytes(bytes)) => tap.extra = Some(bytes),
            (14, Value::Bytes(bytes)) => {
                let start = walk.at - bytes.len();
                tap.message = Some(message(bytes).map_err(|at| start + at)?);
            }
            (15, Value::Varint(kind)) => tap.kind = kind,
            _ => {}
        }
    }
    Ok(tap)
}

fn message(bytes: &[u8]) -> Result<TapMessage<'_>, usize> {
    let mut message = TapMessage::default();
    let mut walk = Walk { bytes, at: 0 };
    while let Some((number, value)) = walk.next()? {
        match (number, value) {
            (1, Value::Varint(kind)) => message.kind = kind,
            (3, Value::Varint(protocol)) => message.protocol = protocol,
            (4, Value::Bytes(bytes)) => message.query_address = Some(bytes),
            (5, Value::Bytes(bytes)) => message.response_address = Some(bytes),
            (6, Value::Varint(port)) => message.query_port = port,
            (7, Value::Varint(port)) => message.response_port = port,
            (8, Value::Varint(secs)) => message.query_sec = Some(secs),
            (9, Value::Fixed32(nanos)) => message.query_nsec = nanos,
            (10, Value::Bytes(bytes)) => message.query = Some(bytes),
            (12, Value::Varint(secs)) => message.response_sec = Some(secs),
            (13, Value::Fixed32(nanos)) => message.response_nsec = nanos,
            (14, Value::Bytes(bytes)) => message.response = Some(bytes),
            _ => {}
        }
    }
    Ok(message)
}
