//! What a configuration records: the `log`, `dnstap` and `errors` plugins.
//!
//! Enters: a stanza; leaves: rules that say which queries leave a trace and in which form.
//! Deliberately absent: reading such traces (the `sources` crate compiles the formats).

use truename_model::Name;

use super::diagnostic::CorefileError;
use super::order::Version;
use super::schema::Take::{Next, Nothing, Rest};
use super::schema::{Body, MANY, Schema, Stanza, invalid, option, option_since};
use super::value::{Kind, Pattern, duration};

/// The format of `log` without one.
pub const COMMON: &str = "{remote}:{port} - {>id} \"{type} {class} {name} {proto} {size} {>do} {>bufsize}\" \
                          {rcode} {>rflags} {rsize} {duration}";

/// How `log` is written.
pub const LOG: Schema = Schema::new(
    "log",
    (0, MANY),
    &[],
    Body::Options(&[option("class", Rest(1, MANY), &[Kind::OneOf(&["all", "success", "denial", "error"])])]),
);

/// Which responses a log rule writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogClass {
    /// Every response.
    All,
    /// Positive answers and delegations.
    Success,
    /// NXDOMAIN and NODATA.
    Denial,
    /// Everything else.
    Error,
}

/// A `log` stanza: one rule per name scope, the first that matches a query decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRule {
    /// Line of the directive.
    pub line: u32,
    /// Name scopes.
    pub names: Vec<Name>,
    /// Format with `{common}` and `{combined}` expanded.
    pub format: String,
    /// True if the stanza writes a format of its own.
    pub custom: bool,
    /// Classes, sorted; `[All]` unless set.
    pub classes: Vec<LogClass>,
}

impl LogRule {
    /// Reads a stanza.
    #[must_use]
    pub fn read(stanza: &Stanza) -> Self {
        let mut words: Vec<&str> = stanza.words().collect();
        let mut format = COMMON.to_owned();
        // A single word is always a name, even with a brace in it.
        let custom = words.len() > 1 && words.last().is_some_and(|word| word.contains('{'));
        if custom && let Some(word) = words.pop() {
            let combined = format!("{COMMON} \"{{>opcode}}\"");
            format = word.replace("{common}", COMMON).replace("{combined}", &combined);
        }
        let names = if words.is_empty() {
            vec![Name::root()]
        } else {
            words.iter().filter_map(|word| Name::parse(word).ok()).collect()
        };
        let mut classes: Vec<LogClass> = stanza
            .all("class")
            .flat_map(|entry| entry.words())
            .map(|word| match word {
                "success" => LogClass::Success,
                "denial" => LogClass::Denial,
                "error" => LogClass::Error,
                _ => LogClass::All,
            })
            .collect();
        classes.sort_unstable();
        classes.dedup();
        if classes.is_empty() || classes.contains(&LogClass::All) {
            classes = vec![LogClass::All];
        }
        Self { line: stanza.name.line, names, format, custom, classes }
    }

    /// True if the rule is for the name.
    #[must_use]
    pub fn covers(&self, name: &Name) -> bool {
        self.names.iter().any(|scope| name.is_at_or_below(scope))
    }

    /// True if every response is written.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.classes == [LogClass::All]
    }
}

/// How `dnstap` is written.
pub const DNSTAP: Schema = Schema::new(
    "dnstap",
    (1, MANY),
    &[],
    Body::Options(&[
        option_since(Version(1, 11, 0), "skipverify", Nothing, &[]),
        option_since(Version(1, 14, 4), "tls", Rest(2, MANY), &[]),
        option_since(Version(1, 9, 4), "identity", Next(1), &[]),
        option_since(Version(1, 9, 4), "version", Next(1), &[]),
        option_since(Version(1, 11, 1), "extra", Next(1), &[]),
    ]),
);

/// A `dnstap` stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnstapTap {
    /// Line of the directive.
    pub line: u32,
    /// `unix`, `tcp` or `tls`.
    pub transport: &'static str,
    /// Socket path or host and port.
    pub endpoint: String,
    /// Messages hold the packets (`full`).
    pub full: bool,
    /// CoreDNS waits for the reader to connect (`listen`, 1.14.4 and later).
    pub listen: bool,
    /// `identity`; the host's name unless set.
    pub identity: Option<String>,
    /// `version`; `CoreDNS-<version>` unless set.
    pub version: Option<String>,
    /// Format of the extra field.
    pub extra: Option<String>,
    /// The peer's certificate is not checked.
    pub skip_verify: bool,
}

impl DnstapTap {
    /// Reads a stanza.
    ///
    /// # Errors
    /// The fault at which CoreDNS of the version refuses to start.
    pub fn read(stanza: &Stanza, version: Version) -> Result<Self, CorefileError> {
        let mut args = stanza.args.as_slice();
        let listen = version >= Version(1, 14, 4) && stanza.word(0) == "listen";
        if listen {
            args = &args[1..];
        }
        let Some(endpoint) = args.first() else {
            return Err(invalid(
                &stanza.name,
                "dnstap listen needs an endpoint",
                "add unix://, tcp:// or tls://",
            ));
        };
        let sized = version >= Version(1, 11, 4);
        for (at, most, what) in [(2usize, 1024i64, "write buffer"), (3, 4096, "queue")] {
            if let Some(token) = args.get(at).filter(|_| sized) {
                Kind::Int(1, most).check(&token.text).map_err(|message| {
                    invalid(token, format!("{what}: {message}"), format!("write 1 to {most}"))
                })?;
            }
        }
        let (transport, address) = match &*endpoint.text {
            text if text.starts_with("tls://") => ("tls", host_of(text)),
            text if text.starts_with("tcp://") => ("tcp", host_of(text)),
            text => ("unix", Some(text.strip_prefix("unix://").unwrap_or(text))),
        };
        let Some(address) = address else {
            return Err(invalid(endpoint, "the endpoint is no address", "write tcp://host:port"));
        };
        if !listen && let Some(entry) = stanza.last("tls") {
            return Err(invalid(&entry.name, "tls is for dnstap listen", "remove it"));
        }
        let word = |name: &str| stanza.last(name).map(|entry| entry.word(0).to_owned());
        let full = args.get(1).is_some_and(|token| &*token.text == "full") && (sized || args.len() == 2);
        Ok(Self {
            line: stanza.name.line,
            transport,
            endpoint: address.to_owned(),
            full,
            listen,
            identity: word("identity"),
            version: word("version"),
            extra: word("extra"),
            skip_verify: stanza.has("skipverify"),
        })
    }
}

/// Host and port of a URL, if Go would parse it.
fn host_of(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let port = host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or("", |(_, port)| port);
    let printable = !url.bytes().any(|byte| byte.is_ascii_control() || byte == b' ');
    (printable && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(host)
}

/// How `errors` is written.
pub const ERRORS: Schema = Schema::new(
    "errors",
    (0, 1),
    &[Kind::OneOf(&["stdout"])],
    Body::Options(&[
        option_since(Version(1, 9, 3), "stacktrace", Nothing, &[]),
        option("consolidate", Rest(2, 4), &[Kind::Duration(i64::MIN, i64::MAX), Kind::Pattern, Kind::Any]),
    ]),
)
.once();

/// An `errors` stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    /// Line of the directive.
    pub line: u32,
    /// Messages that are counted instead of written: period in nanoseconds and pattern.
    pub consolidate: Vec<(i64, Pattern)>,
}

impl Errors {
    /// Reads a stanza.
    ///
    /// # Errors
    /// The fault at which CoreDNS refuses to start.
    pub fn read(stanza: &Stanza) -> Result<Self, CorefileError> {
        let mut consolidate = Vec::new();
        for entry in stanza.all("consolidate") {
            let mut level = false;
            for (at, token) in entry.args.iter().enumerate().skip(2) {
                let ok = match &*token.text {
                    "warning" | "error" | "info" | "debug" => !std::mem::replace(&mut level, true) && at == 2,
                    "show_first" => true,
                    _ => false,
                };
                if !ok {
                    let message = format!("consolidate cannot use '{}' here", token.text);
                    return Err(invalid(token, message, "write [warning|error|info|debug] [show_first]"));
                }
            }
            if let (Some(period), Ok(pattern)) = (duration(entry.word(0)), Pattern::compile(entry.word(1))) {
                consolidate.push((period, pattern));
            }
        }
        Ok(Self { line: stanza.name.line, consolidate })
    }
}
