//! A Corefile as CoreDNS understands it: server blocks with keys, directives and typed plugins.
//!
//! Enters: text, [`Env`], version; leaves: [`Corefile`], and every fault at which that version refuses to start.
//! Deliberately absent: which plugin answers a question (see `produce`).

use std::collections::BTreeSet;

use truename_model::Name;

use super::diagnostic::{CorefileError, ErrorKind};
use super::hash::hash_blocks;
use super::kubernetes::{K8sExternal, KubernetesOptions};
use super::lexer::Token;
use super::order::{self, Version};
use super::parser::{Block, Env, parse_blocks};
use super::registry::{Plugin, read_plugins};
use super::zone::{Key, Transport};

/// A use of a directive in file order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// Name.
    pub name: String,
    /// Place of the first token.
    pub line: u32,
    /// Column of the first token.
    pub col: u32,
    /// All tokens, the name first, braces included.
    pub tokens: Vec<Token>,
}

impl Directive {
    /// Words on the directive's line, up to an opening brace.
    pub fn args(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().skip(1).map(|token| &*token.text).take_while(|text| *text != "{")
    }

    /// The directive as one line of text with single spaces.
    #[must_use]
    pub fn text(&self) -> String {
        self.tokens.iter().map(|token| &*token.text).collect::<Vec<_>>().join(" ")
    }
}

/// A server block.
#[derive(Clone, Debug)]
pub struct ServerBlock {
    /// Keys in file order; a key that CoreDNS refuses has no zones.
    pub keys: Vec<Key>,
    /// Line of the first key.
    pub line: u32,
    /// Uses of directives in file order.
    pub directives: Vec<Directive>,
    /// Typed plugins, those of one name in file order; names sorted.
    pub plugins: Vec<Plugin>,
}

impl ServerBlock {
    /// Zones of all keys.
    #[must_use]
    pub fn zones(&self) -> Vec<Name> {
        self.keys.iter().flat_map(|key| key.zones.iter().cloned()).collect()
    }

    /// True if the block uses the directive.
    #[must_use]
    pub fn has(&self, directive: &str) -> bool {
        self.directives.iter().any(|one| one.name == directive)
    }

    /// The `kubernetes` plugin of the block.
    #[must_use]
    pub fn kubernetes(&self) -> Option<&KubernetesOptions> {
        self.plugins.iter().find_map(|plugin| match plugin {
            Plugin::Kubernetes(options) => Some(options),
            _ => None,
        })
    }

    /// The `k8s_external` plugin of the block.
    #[must_use]
    pub fn k8s_external(&self) -> Option<&K8sExternal> {
        self.plugins.iter().find_map(|plugin| match plugin {
            Plugin::K8sExternal(options) => Some(options),
            _ => None,
        })
    }

    /// Directives in the order in which a query passes them in a version; unknown ones are left out.
    #[must_use]
    pub fn chain(&self, version: Version) -> Vec<&Directive> {
        let mut chain: Vec<_> = self
            .directives
            .iter()
            .filter_map(|directive| Some((order::position(&directive.name, version)?, directive)))
            .collect();
        chain.sort_by_key(|(position, _)| *position);
        chain.into_iter().map(|(_, directive)| directive).collect()
    }
}

/// A parsed Corefile.
#[derive(Clone, Debug)]
pub struct Corefile {
    /// Server blocks in file order.
    pub servers: Vec<ServerBlock>,
    /// The running hash (SHA-512, 128 hex digits); exact only if nothing below is missing.
    pub running_hash: String,
    /// Environment variables that the text uses and nobody gave.
    pub unknown_variables: BTreeSet<String>,
    /// Imports of files that nobody could give.
    pub unresolved_imports: Vec<Token>,
    /// Imports that were followed, with the number of tokens that each gave.
    pub imports: Vec<(Token, usize)>,
    /// Faults at which CoreDNS of the given version refuses to start, in order of place; those of kind `Bound` say
    /// what Truename left unread instead.
    pub invalid: Vec<CorefileError>,
}

impl Corefile {
    /// True if values and hash do not depend on anything that is missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unknown_variables.is_empty() && self.unresolved_imports.is_empty()
    }

    /// True if CoreDNS of the given version would start with it, as far as a text can tell.
    #[must_use]
    pub fn would_start(&self) -> bool {
        self.invalid.iter().all(|error| error.kind != ErrorKind::Invalid)
    }
}

/// Parses a Corefile by the rules of the newest known version.
///
/// # Errors
/// Faults of kind `Syntax`, `Import` or `Bound`: there is no configuration. Faults of plugins are in
/// [`Corefile::invalid`] instead.
pub fn parse(text: &str, env: &Env<'_>) -> Result<Corefile, Vec<CorefileError>> {
    parse_for(text, env, Version::NEWEST)
}

/// Parses a Corefile by the rules of a version.
///
/// # Errors
/// As [`parse`].
pub fn parse_for(text: &str, env: &Env<'_>, version: Version) -> Result<Corefile, Vec<CorefileError>> {
    let blocks = parse_blocks(text, env).map_err(|error| vec![error])?;
    bounded(&blocks.blocks).map_err(|error| vec![error])?;
    let mut invalid = Vec::new();
    let servers: Vec<_> =
        blocks.blocks.iter().map(|block| server_block(block, version, &mut invalid)).collect();
    refuse_duplicates(&servers, &mut invalid);
    invalid.sort();
    Ok(Corefile {
        servers,
        running_hash: hash_blocks(&blocks.blocks),
        unknown_variables: blocks.unknown_variables,
        unresolved_imports: blocks.unresolved_imports,
        imports: blocks.imports,
        invalid,
    })
}

/// Most zones of a server block, and most pairs of a zone and a directive in it: every plugin without zones of its
/// own serves all of the block's.
const MAX_ZONES: usize = 4_096;
const MAX_PAIRS: usize = 1 << 20;

/// Refuses blocks whose typed form would not be bounded by their text.
fn bounded(blocks: &[Block]) -> Result<(), CorefileError> {
    let mut total = 0usize;
    for block in blocks {
        let mut zones = 0usize;
        for key in &block.keys {
            zones += Key::read(key).map_or(0, |key| key.zones.len());
            if zones > MAX_ZONES {
                let message = format!("a server block with more than {MAX_ZONES} zones is not read");
                return Err(CorefileError::at(key, ErrorKind::Bound, message, "split it"));
            }
        }
        total = total.saturating_add(zones.saturating_mul(block.order.len()));
        if let Some(key) = block.keys.first().filter(|_| total > MAX_PAIRS) {
            let message = format!("more than {MAX_PAIRS} pairs of a zone and a directive are not read");
            return Err(CorefileError::at(key, ErrorKind::Bound, message, "split the Corefile"));
        }
    }
    Ok(())
}

fn server_block(block: &Block, version: Version, invalid: &mut Vec<CorefileError>) -> ServerBlock {
    let keys: Vec<Key> = block
        .keys
        .iter()
        .map(|token| {
            Key::read(token).unwrap_or_else(|message| {
                let next_step = "write a zone, zone:port or a network";
                invalid.push(CorefileError::at(token, ErrorKind::Invalid, message, next_step));
                Key { token: token.clone(), zones: Vec::new(), port: 53, transport: Transport::Dns }
            })
        })
        .collect();
    let directives: Vec<Directive> = block
        .order
        .iter()
        .filter_map(|(name, range)| {
            let tokens = block.tokens.get(name)?.get(range.clone())?.to_vec();
            let first = tokens.first()?;
            Some(Directive { name: name.clone(), line: first.line, col: first.col, tokens })
        })
        .collect();
    let zones: Vec<Name> = keys.iter().flat_map(|key| key.zones.iter().cloned()).collect();
    let plugins = read_plugins(block, &zones, version, invalid);
    ServerBlock { line: keys.first().map_or(0, |key| key.token.line), keys, directives, plugins }
}

/// Two blocks without a view must not serve the same zone on the same port.
fn refuse_duplicates(servers: &[ServerBlock], invalid: &mut Vec<CorefileError>) {
    let mut seen = BTreeSet::new();
    for server in servers.iter().filter(|server| !server.has("view") && !server.has("bind")) {
        for key in &server.keys {
            for zone in &key.zones {
                if !seen.insert((zone.clone(), key.port, key.transport)) {
                    let message = format!("{zone} on port {} is served by another block already", key.port);
                    invalid.push(CorefileError::at(
                        &key.token,
                        ErrorKind::Invalid,
                        message,
                        "merge the blocks or change the port",
                    ));
                }
            }
        }
    }
}

/// The server block that takes a query for `name` on `port` over plain DNS: the longest zone wins
/// (`core/dnsserver/server.go`). Blocks with a `view` may decline; see [`servers_for`].
#[must_use]
pub fn server_for<'a>(corefile: &'a Corefile, name: &Name, port: u16) -> Option<&'a ServerBlock> {
    servers_for(corefile, name, port).into_iter().next()
}

/// The blocks that may take the query, in the order in which CoreDNS tries them: longer zones first. The list ends
/// with the first block that has no `view` and therefore never declines.
#[must_use]
pub fn servers_for<'a>(corefile: &'a Corefile, name: &Name, port: u16) -> Vec<&'a ServerBlock> {
    let mut found: Vec<(usize, &ServerBlock)> = Vec::new();
    for server in &corefile.servers {
        let keys = server.keys.iter().filter(|key| key.port == port && key.transport == Transport::Dns);
        let zones = keys.flat_map(|key| key.zones.iter()).filter(|zone| name.is_at_or_below(zone));
        found.extend(zones.map(|zone| zone.wire().len()).max().map(|length| (length, server)));
    }
    // Stable: blocks of one zone stay in file order.
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    let end = found.iter().position(|(_, server)| !server.has("view")).map_or(found.len(), |at| at + 1);
    found.into_iter().take(end).map(|(_, server)| server).collect()
}
