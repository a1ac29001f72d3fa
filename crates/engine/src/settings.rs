//! What the caller decides: inputs as readers, statements about origins, the profile, and how many threads.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};
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

/// Reads a profile strictly: an unknown key is an error, as is a suppression without reason or expiry.
///
/// # Errors
/// [`EngineError::Profile`] in the reader's words, with the line where it has one.
pub fn read_profile(text: &str) -> Result<Profile, EngineError> {
    let profile: Profile =
        serde_saphyr::from_str(text).map_err(|error| EngineError::Profile(error.to_string()))?;
    let wrong = |what: String| Err(EngineError::Profile(what));
    if profile.api_version != "truename/v1" || profile.kind != "Profile" {
        return wrong("begin with `apiVersion: truename/v1` and `kind: Profile`".to_owned());
    }
    if let Err(error) = truename_analysis::catalogue::Catalogue::new(&profile) {
        return wrong(error.to_string());
    }
    for cidr in profile.pod_cidrs.iter().chain(&profile.service_cidrs) {
        let (address, bits) = cidr.split_once('/').unwrap_or((cidr, ""));
        if address.parse::<std::net::IpAddr>().is_err() || bits.parse::<u8>().is_err() {
            return wrong(format!("`{cidr}` is no range of addresses; write 10.244.0.0/16"));
        }
    }
    if let Some(domain) = &profile.cluster_domain
        && !truename_model::Name::parse(domain).is_ok_and(|name| !name.is_root())
    {
        return wrong(format!("clusterDomain `{domain}` is no domain name; write cluster.local"));
    }
    for suppression in &profile.suppressions {
        if suppression.reason.trim().is_empty() {
            return wrong(format!("the suppression of {} needs a reason", suppression.rule));
        }
        if suppression.expires_at().is_none() {
            return wrong(format!(
                "the suppression of {} expires at `{}`; write RFC 3339",
                suppression.rule, suppression.expires
            ));
        }
    }
    Ok(profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_with_a_slip_is_refused() {
        let head = "apiVersion: truename/v1\nkind: Profile\n";
        assert!(read_profile(&format!("{head}internalZones: [corp.example]\n")).is_ok());
        for (bad, why) in [
            ("kind: Profile\n".to_owned(), "begin with"),
            (format!("{head}internalZone: []\n"), "internalZone"),
            (
                format!("{head}suppressions:\n- rule: R01\n  reason: ' '\n  expires: 2027-01-01T00:00:00Z\n"),
                "needs a reason",
            ),
            (format!("{head}suppressions:\n- rule: R01\n  reason: known\n  expires: soon\n"), "RFC 3339"),
        ] {
            let error = read_profile(&bad).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
