//! Tells a Corefile from other texts with braces. Enters: a head; leaves: yes or no.
//!
//! Deliberately absent: parsing (see the cluster crate); this only looks at keys and at the first words inside blocks.

/// Plugins that no other program's configuration knows.
const OWN: &str = " acl any auto autopath azure bind bufsize cache cancel chaos clouddns debug dns64 dnssec dnstap \
    dynupdate erratic errors etcd file forward geoip grpc health hosts k8s_external kubernetes loadbalance local log \
    loop metadata minimal multisocket nomad nsid pprof prometheus proxyproto quic ready reload rewrite route53 \
    secondary siit template trace whoami ";

/// Plugins that other programs' configurations know too: they count where the key is a zone's beyond doubt.
const SHARED: &str = " header https https3 import root sign tls transfer tsig view ";

/// Lines looked at.
const LINES: usize = 200;

/// Server blocks: `KEY… {`, plugins, `}`; or one key without braces and its plugins below it.
pub(super) fn is_corefile(head: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(head) else { return false };
    let mut lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty() && !line.starts_with("import "));
    let Some(first) = lines.next() else { return false };
    let (keys, braces) = first.strip_suffix('{').map_or((first, false), |keys| (keys.trim_end(), true));
    let mut doubt = false;
    for key in keys.split([' ', '\t', ',']).filter(|key| !key.is_empty()) {
        match key_kind(key) {
            Key::Other => return false,
            Key::Word => doubt = true,
            Key::Zone => {}
        }
    }
    !keys.is_empty() && holds_plugins(lines, braces, doubt)
}

/// True if the first words of the block are plugins: one at least; all of them where the key leaves doubt.
fn holds_plugins<'a>(lines: impl Iterator<Item = &'a str>, braces: bool, doubt: bool) -> bool {
    let mut depth = usize::from(braces);
    let mut known = 0usize;
    for line in lines.take(LINES) {
        if depth == usize::from(braces) && !line.starts_with(['{', '}']) {
            let word = line.split_whitespace().next().unwrap_or_default();
            let named = |list: &str| list.contains(&format!(" {word} "));
            if named(OWN) || (!doubt && named(SHARED)) {
                known += 1;
            } else if (doubt && !named(SHARED)) || (!braces && known == 0) {
                return false;
            }
        }
        if line.ends_with('{') {
            depth += 1;
        } else if line.starts_with('}') {
            depth = depth.saturating_sub(1);
        }
        if depth == 0 && braces {
            break;
        }
    }
    known > 0
}

enum Key {
    /// A zone with a dot, a port, a transport, a network; a snippet; a variable.
    Zone,
    /// A bare word: the zone `org`, or anything.
    Word,
    /// No key of a server block.
    Other,
}

fn key_kind(key: &str) -> Key {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:/[]{}$%()*".contains(c);
    if !key.chars().all(plain) {
        Key::Other
    } else if key.starts_with('(') || key.starts_with("{$") || key.contains(['.', ':', '/']) {
        Key::Zone
    } else {
        Key::Word
    }
}
