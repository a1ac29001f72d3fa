//! The JSON mode of CoreDNS ≥ 1.15 (`-log-format=json`). Enters: one object; leaves: the same fields as a text line has.
//!
//! Unknown keys are accepted: the list is the server's, and the record keeps the line.

use std::borrow::Cow;

use serde::Deserialize;

/// One line. Keys that only query lines have are optional.
#[derive(Debug, Deserialize)]
pub(super) struct JsonLine<'a> {
    #[serde(borrow, default)]
    pub(super) time: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) level: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) msg: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) plugin: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) client_ip: Option<Cow<'a, str>>,
    pub(super) client_port: Option<u16>,
    #[serde(borrow, default)]
    pub(super) qname: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) qtype: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) qclass: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) protocol: Option<Cow<'a, str>>,
    pub(super) id: Option<u16>,
    pub(super) opcode: Option<u8>,
    pub(super) request_size: Option<u32>,
    pub(super) dnssec_ok: Option<bool>,
    pub(super) bufsize: Option<u16>,
    #[serde(borrow, default)]
    pub(super) rcode: Option<Cow<'a, str>>,
    pub(super) response_size: Option<u32>,
    pub(super) duration_seconds: Option<f64>,
}

impl<'a> JsonLine<'a> {
    /// Reads an object; `None` if it is not of this form.
    pub(super) fn read(text: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// The duration in nanoseconds; negative and absurd values are not taken.
    pub(super) fn duration_ns(&self) -> Option<i64> {
        let secs = self.duration_seconds.filter(|secs| (0.0..1e9).contains(secs))?;
        Some((secs * 1e9).round() as i64)
    }
}
