//! What the caller decides: inputs as readers, statements about origins, the profile, and how many threads.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use truename_model::profile::Suppression;
use truename_model::{Nanos, Profile};

use crate::error::EngineError;
use crate::origins::Override;

/// Opens an input; called more than once, each time from the start.
pub type Open = Box<dyn Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync>;

/// An input.
pub struct Input {
    /// Path as given, as custody records it.
    pub label: String,
    /// Octets, as far as the caller knows.
    pub size: u64,
    /// Opens it.
    pub open: Open,
}

/// What does not depend on the inputs.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Who operates the program, for custody.
    pub operator: String,
    /// Tool and version, for custody.
    pub tool: String,
    /// Keep packets that are not DNS.
    pub keep_all: bool,
    /// Copy original files into the case.
    pub copy_originals: bool,
    /// Statements about origins, later ones win.
    pub overrides: Vec<Override>,
    /// Ports taken for DNS in packets whatever they hold; on others a packet that reads as a DNS message is DNS.
    pub dns_ports: Vec<u16>,
    /// The profile.
    pub profile: Profile,
    /// 1 or 2; the result is the same.
    pub threads: u8,
    /// Study only what the log held when it had so many entries; `None`: everything.
    pub at_size: Option<u64>,
}

/// The part of the settings that the outcome depends on, as a conclusion's note keeps it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    overrides: Vec<Override>,
    dns_ports: Vec<u16>,
    profile: Profile,
}

/// Longest note: a log entry has at most 65,535 octets, and escapes may double it.
const NOTE_MAX: usize = 30_000;

impl Settings {
    /// What a later command needs to reach the same outcome, for the conclusion's entry in the log.
    ///
    /// # Errors
    /// [`EngineError::Profile`] if the profile is too long for an entry.
    pub fn to_note(&self) -> Result<String, EngineError> {
        let note = Note {
            overrides: self.overrides.clone(),
            dns_ports: self.dns_ports.clone(),
            profile: self.profile.clone(),
        };
        let text = serde_json::to_string(&note).map_err(|error| EngineError::Profile(error.to_string()))?;
        if text.len() > NOTE_MAX {
            return Err(EngineError::Profile(format!(
                "{} octets with the origins; {NOTE_MAX} fit in a log entry",
                text.len()
            )));
        }
        Ok(text)
    }

    /// Settings of an earlier conclusion; an empty note gives the defaults.
    ///
    /// # Errors
    /// [`EngineError::Profile`] if the note is not one of ours.
    pub fn from_note(text: &str) -> Result<Self, EngineError> {
        let defaults = Self { dns_ports: vec![53], threads: 2, ..Self::default() };
        if text.is_empty() {
            return Ok(defaults);
        }
        let note: Note = serde_json::from_str(text)
            .map_err(|error| EngineError::Profile(format!("in the case: {error}")))?;
        Ok(Self { overrides: note.overrides, dns_ports: note.dns_ports, profile: note.profile, ..defaults })
    }
}

/// The caller's clock, for custody entries only.
pub type Now<'a> = &'a dyn Fn() -> Nanos;

/// Reads a profile strictly: an unknown or empty key is an error, as is a range, digest, name or time that is none.
///
/// # Errors
/// [`EngineError::Profile`] in words, with the line where it has one and what to write instead.
pub fn read_profile(text: &str) -> Result<Profile, EngineError> {
    let profile: Profile =
        serde_saphyr::from_str(text).map_err(|error| EngineError::Profile(error.to_string()))?;
    let wrong = |what: String| Err(EngineError::Profile(what));
    if profile.api_version != "truename/v1" || profile.kind != "Profile" {
        return wrong("begin with `apiVersion: truename/v1` and `kind: Profile`".to_owned());
    }
    if let Some(what) = nothing_stated(text).or_else(|| slip(&profile, text)) {
        return wrong(what);
    }
    match truename_analysis::catalogue::Catalogue::new(&profile) {
        Ok(_) => Ok(profile),
        Err(error) => wrong(error.to_string()),
    }
}

/// A key with nothing behind it: it looks like a statement and states nothing.
fn nothing_stated(text: &str) -> Option<String> {
    let stated: BTreeMap<String, serde_json::Value> = serde_saphyr::from_str(text).ok()?;
    let is_empty = |value: &serde_json::Value| match value {
        serde_json::Value::Null => true,
        serde_json::Value::Array(items) => items.is_empty() || items.iter().any(|item| item == ""),
        serde_json::Value::Object(members) => members.is_empty(),
        serde_json::Value::String(text) => text.is_empty(),
        _ => false,
    };
    let (key, _) = stated.iter().find(|(_, value)| is_empty(value))?;
    Some(format!("{}{key} is empty or holds an empty item; leave it out or fill it", line_of(text, key)))
}

/// The first value that is not what its key asks for.
fn slip(profile: &Profile, text: &str) -> Option<String> {
    let ranges = profile.pod_cidrs.iter().chain(&profile.service_cidrs);
    if let Some((cidr, problem)) = ranges.filter_map(|cidr| Some((cidr, range_problem(cidr)?))).next() {
        return Some(format!("{}`{cidr}` {problem}", line_of(text, cidr)));
    }
    if let Some(domain) = &profile.cluster_domain
        && !truename_model::Name::parse(domain).is_ok_and(|name| !name.is_root())
    {
        let line = line_of(text, "clusterDomain");
        return Some(format!("{line}clusterDomain `{domain}` is no domain name; write cluster.local"));
    }
    // SHA-512 as CoreDNS prints it; versions before 1.7 print MD5.
    let is_digest =
        |hash: &&String| matches!(hash.len(), 128 | 32) && hash.bytes().all(|b| b.is_ascii_hexdigit());
    if let Some(hash) = profile.corefile_hashes.iter().find(|hash| !is_digest(hash)) {
        return Some(format!(
            "{}`{hash}` is no digest; write the 128 hexadecimal digits that CoreDNS prints as `Running configuration SHA512 = …`",
            line_of(text, hash)
        ));
    }
    profile.suppressions.iter().find_map(|suppression| suppression_problem(suppression, text))
}

/// Why a text is no range of addresses, with what to write.
fn range_problem(cidr: &str) -> Option<String> {
    let Some((ip, bits)) =
        cidr.split_once('/').and_then(|(ip, bits)| Some((ip.parse::<IpAddr>().ok()?, bits)))
    else {
        return Some("is no range of addresses; write 10.244.0.0/16".to_owned());
    };
    let (most, value) = match ip {
        IpAddr::V4(ip) => (32, u128::from(ip.to_bits()) << 96),
        IpAddr::V6(ip) => (128, ip.to_bits()),
    };
    let Some(bits) = bits.parse::<u32>().ok().filter(|bits| *bits <= most) else {
        return Some(format!("has a prefix of no such length; write 0 to {most} behind the slash"));
    };
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    if value & mask == value {
        return None;
    }
    let base = match ip {
        IpAddr::V4(_) => IpAddr::from((((value & mask) >> 96) as u32).to_be_bytes()),
        IpAddr::V6(_) => IpAddr::from((value & mask).to_be_bytes()),
    };
    Some(format!("is an address in a range, not a range; write {base}/{bits}"))
}

fn suppression_problem(suppression: &Suppression, text: &str) -> Option<String> {
    let Suppression { rule, reason, expires, .. } = suppression;
    if reason.trim().is_empty() {
        return Some(format!("{}the suppression of {rule} needs a reason", line_of(text, rule)));
    }
    suppression.expires_at().is_none().then(|| {
        let line = line_of(text, expires);
        format!(
            "{line}the suppression of {rule} expires at `{expires}`; write RFC 3339, as 2027-01-31T00:00:00Z"
        )
    })
}

/// `line 7: ` for the first line with the text in it; nothing where it is written otherwise.
fn line_of(text: &str, part: &str) -> String {
    let found = text.lines().position(|line| !part.is_empty() && line.contains(part));
    found.map_or_else(String::new, |index| format!("line {}: ", index + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_with_a_slip_is_refused() {
        let head = "apiVersion: truename/v1\nkind: Profile\n";
        assert!(read_profile(&format!("{head}internalZones: [corp.example]\n")).is_ok());
        let hash = "5B9c".repeat(32);
        let right = format!(
            "{head}podCidrs: [0.0.0.0/0, 10.1.2.3/32, '::/0', fd00::9/128]\ncorefileHashes: ['{hash}']\n"
        );
        assert!(read_profile(&right).is_ok(), "{:?}", read_profile(&right));
        for (bad, why) in [
            ("kind: Profile\n".to_owned(), "begin with"),
            (format!("{head}internalZone: []\n"), "internalZone"),
            (
                format!("{head}suppressions:\n- rule: R01\n  reason: ' '\n  expires: 2027-01-01T00:00:00Z\n"),
                "needs a reason",
            ),
            (
                format!("{head}suppressions:\n- rule: R01\n  reason: known\n  expires: soon\n"),
                "line 6: the suppression",
            ),
            (
                format!("{head}podCidrs: [10.0.0.0/99]\n"),
                "line 3: `10.0.0.0/99` has a prefix of no such length",
            ),
            (format!("{head}podCidrs:\n- 10.0.0.0/8\n- fd00::/129\n"), "line 5: `fd00::/129` has a prefix"),
            (format!("{head}serviceCidrs: [10.96.0.9/12]\n"), "write 10.96.0.0/12"),
            (format!("{head}serviceCidrs: [fd00::9/112]\n"), "write fd00::/112"),
            (format!("{head}podCidrs: [10.0.0.0]\n"), "is no range of addresses"),
            (format!("{head}corefileHashes: [zz]\n"), "line 3: `zz` is no digest"),
            (format!("{head}corefileHashes: []\n"), "line 3: corefileHashes is empty"),
            (format!("{head}infrastructure:\n"), "infrastructure"),
            (format!("{head}approvedRequesters: ['']\n"), "holds an empty item"),
            (format!("{head}clusterDomain: a..b\n"), "line 3: clusterDomain"),
        ] {
            let error = read_profile(&bad).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
