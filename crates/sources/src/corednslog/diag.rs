//! Lines of CoreDNS that are no queries: versions, hashes, reloads, losses, errors. Enters: a message; leaves: a diagnostic.

use truename_model::Diagnostic;

/// Longest text kept of a line that is not interpreted, octets; the record holds the rest.
const LONGEST_TEXT: usize = 1_024;

/// Reads a message without its level. `levelled` says that a `[LEVEL]` token stood before it.
///
/// `None`: nothing says that this is a line of CoreDNS.
pub(super) fn read(message: &[u8], levelled: bool) -> Option<Diagnostic> {
    let text = String::from_utf8_lossy(&message[..message.len().min(LONGEST_TEXT)]);
    let text = text.trim_end();
    if let Some(version) = text.strip_prefix("CoreDNS-") {
        let version = version.split(char::is_whitespace).next().unwrap_or_default();
        return Some(Diagnostic::Version(version.to_owned()));
    }
    if !levelled {
        return banner(text).then(|| Diagnostic::Other(text.to_owned()));
    }
    Some(levelled_line(text))
}

fn levelled_line(text: &str) -> Diagnostic {
    if let Some(known) = plugin_line(text) {
        return known;
    }
    // Caddy's own lines, which since 1.15 hold their level inside.
    let inner = ["[INFO] ", "[ERROR] ", "[WARNING] "]
        .iter()
        .find_map(|level| text.strip_prefix(level))
        .unwrap_or(text);
    match inner {
        "Reloading complete" => Diagnostic::Reload { succeeded: true },
        _ if inner.starts_with("Restart failed:")
            || inner.starts_with("Corefile changed but reload failed") =>
        {
            Diagnostic::Reload { succeeded: false }
        }
        _ => transfer(inner).unwrap_or_else(|| Diagnostic::Other(text.to_owned())),
    }
}

/// `plugin/NAME: TEXT`; the plugin of JSON lines is put in front by the caller.
fn plugin_line(text: &str) -> Option<Diagnostic> {
    let (plugin, rest) = match text.strip_prefix("plugin/") {
        Some(tail) => tail.split_once(": ")?,
        // CoreDNS before 1.2.6 wrote errors without their plugin.
        None => return query_error(text),
    };
    match plugin {
        "reload" => reload(rest),
        "dnstap" => dnstap(rest),
        "kubernetes" if rest.contains("unsynced Kubernetes API") => Some(Diagnostic::UnsyncedApi),
        "errors" => query_error(rest),
        "transfer" => transfer(rest),
        _ => None,
    }
}

fn reload(rest: &str) -> Option<Diagnostic> {
    if rest.starts_with("Corefile changed but reload failed") {
        return Some(Diagnostic::Reload { succeeded: false });
    }
    let (algorithm, digest) = rest.strip_prefix("Running configuration ")?.split_once(" = ")?;
    Some(Diagnostic::RunningConfiguration {
        algorithm: algorithm.to_owned(),
        digest: digest.trim().to_owned(),
    })
}

fn dnstap(rest: &str) -> Option<Diagnostic> {
    if rest.starts_with("No connection to dnstap endpoint") {
        return Some(Diagnostic::DnstapNoConnection);
    }
    let count = rest.strip_prefix("Dropped dnstap messages: ")?;
    count.trim().parse().ok().map(Diagnostic::DnstapDropped)
}

/// `RCODE NAME TYPE: MESSAGE` (plugin/errors). Consolidated errors name no query and stay text.
fn query_error(rest: &str) -> Option<Diagnostic> {
    let (rcode, rest) = rest.split_once(' ')?;
    let rcode = rcode.parse().ok()?;
    let end = crate::logformat::name_end(rest.as_bytes())?;
    let (name, rest) = rest.split_at_checked(end)?;
    let (rtype, message) = rest.strip_prefix(' ')?.split_once(": ")?;
    if rtype.is_empty() || !rtype.bytes().all(|octet| octet.is_ascii_alphanumeric()) {
        return None;
    }
    Some(Diagnostic::QueryError {
        rcode,
        name: name.to_owned(),
        rtype: rtype.to_owned(),
        message: message.to_owned(),
    })
}

fn transfer(rest: &str) -> Option<Diagnostic> {
    let (records, rest) = rest.strip_prefix("Outgoing transfer of ")?.split_once(" records of zone ")?;
    let zone = rest.split(char::is_whitespace).next().unwrap_or_default();
    Some(Diagnostic::OutgoingTransfer { records: records.parse().ok()?, zone: zone.to_owned() })
}

/// Lines that CoreDNS prints without a level: the zones it serves, its build, and (before 1.15) its processor limit.
fn banner(text: &str) -> bool {
    if text.starts_with("maxprocs: ") {
        return true;
    }
    if text.starts_with("linux/") || text.starts_with("windows/") || text.starts_with("darwin/") {
        return text.contains("go1.");
    }
    let Some((zone, port)) = text.rsplit_once(':') else { return false };
    let port = port.split_once(" on ").map_or(port, |(port, _)| port);
    zone.ends_with('.')
        && !zone.contains(' ')
        && !port.is_empty()
        && port.bytes().all(|octet| octet.is_ascii_digit())
}
