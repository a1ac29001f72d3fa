//! Recordings of what real CoreDNS answered, read (docs/formats/differential.md).
//!
//! Enters: JSON lines. Leaves: a [`Recording`], or an error with its line. Absent fields have their stated defaults.
//! Deliberately absent: any opinion on the answers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::net::IpAddr;

use serde_json::Value;
use truename_cluster::truth::serve::zones::{data_of, words};
use truename_model::{Class, Name, Question, Rcode, Rdata, Rtype};

/// What is wrong with a recording.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Malformed {
    /// Line, from 1.
    pub line: usize,
    /// What.
    pub what: String,
}

/// One cluster.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// Seed.
    pub seed: String,
    /// Objects before the first section.
    pub objects: Vec<Value>,
    /// Sections.
    pub sections: Vec<Section>,
}

/// One Corefile and what was asked of it.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Line of the section.
    pub line: usize,
    /// Its fields.
    pub head: Head,
    /// Questions and edits in order.
    pub steps: Vec<Step>,
}

/// The fields of a section.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The Corefile.
    pub corefile: String,
    /// Zone files of the upstream.
    pub upstream_zone: String,
    /// They are told at all.
    pub has_upstream: bool,
    /// Where they are served.
    pub upstreams: Vec<IpAddr>,
    /// CoreDNS's own addresses; `None`: not told, and answers that hold them are not judged.
    pub server_ips: Option<Vec<IpAddr>>,
    /// Its own resolv.conf; `None`: not told.
    pub resolv_conf: Option<String>,
    /// Its own /etc/hosts; `None`: not told.
    pub hosts_file: Option<String>,
    /// Files beside the Corefile.
    pub files: BTreeMap<String, String>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Versions that did not start, with the reason.
    pub not_started: BTreeMap<String, String>,
    /// Whether versions had synced is told.
    pub tells_sync: bool,
    /// Versions that began without having synced.
    pub unsynced: Vec<String>,
    /// Hash that each version logged.
    pub running_hash: BTreeMap<String, String>,
}

/// A line of a section.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all are questions")]
pub enum Step {
    /// A question.
    Ask(Asked),
    /// An edit: events in order, and whether all versions knew of it before the next question.
    Edit {
        /// Watch events.
        events: Vec<(String, Value)>,
        /// All versions knew of it before the next question; `None`: not told.
        settled: Option<bool>,
        /// When the last event was confirmed, milliseconds since the section's first question.
        done: Option<i64>,
    },
}

/// A question with its answers.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Line, from 1.
    pub line: usize,
    /// The line itself.
    pub text: String,
    /// The question.
    pub question: Question,
    /// Its name as written.
    pub written: String,
    /// Words of its flags.
    pub flags: BTreeSet<String>,
    /// Client.
    pub client: IpAddr,
    /// First answers by key of versions.
    pub cold: BTreeMap<String, Answer>,
    /// Second answers.
    pub hot: BTreeMap<String, Answer>,
    /// Further answers by version.
    pub alt: BTreeMap<String, Vec<Answer>>,
    /// Milliseconds since the section's first question.
    pub at: Option<i64>,
}

impl Asked {
    /// The answers of a version: `*` stands for all that started.
    #[must_use]
    pub fn of<'a>(answers: &'a BTreeMap<String, Answer>, version: &str) -> Option<&'a Answer> {
        let named = answers.iter().find(|(key, _)| key.split(',').any(|word| word.trim() == version));
        named.map(|(_, answer)| answer).or_else(|| answers.get("*"))
    }
}

/// One record as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Owner.
    pub owner: Name,
    /// Seconds.
    pub ttl: u32,
    /// Type.
    pub rtype: Rtype,
    /// Class.
    pub class: Class,
    /// Data, if they could be read.
    pub rdata: Option<Rdata>,
    /// Data as written.
    pub text: String,
}

/// One answer as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A message.
    Message(Box<Message>),
    /// Nothing came.
    Timeout,
    /// The process died.
    Crash,
    /// Bytes that are no message.
    Unparsable,
}

/// A message as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Return code.
    pub rcode: Rcode,
    /// Words of the flags.
    pub flags: BTreeSet<String>,
    /// Answer section.
    pub answer: Vec<Seen>,
    /// Authority section.
    pub authority: Vec<Seen>,
    /// Additional section.
    pub additional: Vec<Seen>,
    /// The answer over UDP was cut: this is the one over TCP.
    pub cut: bool,
    /// The question section, where it is not the one asked: `None` inside: there was none.
    pub question: Option<Option<(Name, Rtype)>>,
}

/// Longest recording, lines.
const MAX_LINES: usize = 2_000_000;

/// Reads a recording.
///
/// # Errors
/// The first line that has not its form.
pub fn read(input: impl BufRead) -> Result<Recording, Malformed> {
    let mut out: Option<Recording> = None;
    for (at, text) in input.lines().enumerate() {
        let line = at + 1;
        let fault = |what: &str| Malformed { line, what: what.to_owned() };
        let text = text.map_err(|error| fault(&error.to_string()))?;
        if text.trim().is_empty() {
            continue;
        }
        if line > MAX_LINES {
            return Err(fault("more lines than are read"));
        }
        let value: Value =
            serde_json::from_str(&text).map_err(|error| fault(&format!("no JSON: {error}")))?;
        let Some(recording) = &mut out else {
            out = Some(first(&value).map_err(|what| fault(&what))?);
            continue;
        };
        if value.get("corefile").is_some() {
            let head = head(&value).map_err(|what| fault(&what))?;
            recording.sections.push(Section { line, head, steps: Vec::new() });
            continue;
        }
        let step = if value.get("q").is_some() {
            Step::Ask(asked(&value, line, text).map_err(|what| fault(&what))?)
        } else if let Some(edit) = value.get("edit") {
            let events = events(edit).map_err(|what| fault(&what))?;
            Step::Edit {
                events,
                settled: value.get("settle").and_then(Value::as_bool),
                done: value.get("done_ms").or_else(|| value.get("t_ms")).and_then(Value::as_i64),
            }
        } else {
            return Err(fault("neither corefile, q nor edit"));
        };
        let section = recording.sections.last_mut().ok_or_else(|| fault("a question before any Corefile"))?;
        section.steps.push(step);
    }
    out.ok_or(Malformed { line: 1, what: "an empty recording".to_owned() })
}

fn first(value: &Value) -> Result<Recording, String> {
    let seed = value.get("seed").ok_or("line 1 has no seed")?;
    let objects = value.get("objects").and_then(Value::as_array).ok_or("line 1 has no list of objects")?;
    if let Some(bad) = objects.iter().find(|object| object["kind"].as_str().is_none()) {
        return Err(format!("an object has no kind: {}", short(&bad.to_string())));
    }
    Ok(Recording { seed: seed.to_string(), objects: objects.clone(), sections: Vec::new() })
}

fn short(text: &str) -> &str {
    text.char_indices().nth(120).map_or(text, |(end, _)| &text[..end])
}

fn text_of(value: &Value, key: &str) -> Result<Option<String>, String> {
    match value.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{key} is no text")),
    }
}

fn ips_of(value: &Value, key: &str) -> Result<Option<Vec<IpAddr>>, String> {
    let Some(list) = value.get(key).filter(|list| !list.is_null()) else { return Ok(None) };
    let list = list.as_array().ok_or_else(|| format!("{key} is no list"))?;
    let read = |one: &Value| {
        let text = one.as_str().ok_or_else(|| format!("{key} holds something that is no text"))?;
        let bare = text.split('/').next().unwrap_or(text);
        bare.parse().map_err(|_| format!("{key} holds no address: {text}"))
    };
    list.iter().map(read).collect::<Result<_, _>>().map(Some)
}

fn texts_of(value: &Value, key: &str) -> BTreeMap<String, String> {
    let map = value.get(key).and_then(Value::as_object).into_iter().flatten();
    map.map(|(name, text)| (name.clone(), text.as_str().map_or_else(|| text.to_string(), str::to_owned)))
        .collect()
}

fn head(value: &Value) -> Result<Head, String> {
    let default_upstream = vec![IpAddr::from([203, 0, 113, 53])];
    Ok(Head {
        corefile: text_of(value, "corefile")?.ok_or("corefile is no text")?,
        has_upstream: value.get("upstream_zone").is_some(),
        upstream_zone: text_of(value, "upstream_zone")?.unwrap_or_default(),
        upstreams: ips_of(value, "upstreams")?.unwrap_or(default_upstream),
        server_ips: ips_of(value, "server_ips")?,
        resolv_conf: text_of(value, "resolv_conf")?,
        hosts_file: text_of(value, "hosts_file")?,
        files: texts_of(value, "files"),
        env: texts_of(value, "env"),
        not_started: texts_of(value, "not_started"),
        tells_sync: value.get("start_ms").is_some() || value.get("unsynced").is_some(),
        unsynced: value["unsynced"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect(),
        running_hash: texts_of(value, "running_hash"),
    })
}

/// Events of an edit, in order: watch events, `[type, object]` pairs, lists by type, or bare objects, which replace what
/// was there.
fn events(edit: &Value) -> Result<Vec<(String, Value)>, String> {
    let mut out = Vec::new();
    match edit {
        Value::Array(pair) if pair.len() == 2 && pair[0].is_string() => {
            out.push(event(pair[0].as_str(), &pair[1])?)
        }
        Value::Array(list) => {
            for one in list {
                out.extend(events(one)?);
            }
        }
        Value::Object(map) if edit.get("kind").is_none() && edit.get("object").is_none() => {
            for (word, list) in map {
                for object in list.as_array().ok_or_else(|| unlike(edit))? {
                    out.push(event(Some(word), object)?);
                }
            }
        }
        Value::Object(_) => {
            let word = ["type", "op", "verb"].iter().find_map(|key| edit.get(*key)?.as_str());
            out.push(event(word, edit.get("object").unwrap_or(edit))?);
        }
        _ => return Err(unlike(edit)),
    }
    Ok(out)
}

fn unlike(edit: &Value) -> String {
    format!("an edit without events: {}", short(&edit.to_string()))
}

fn event(word: Option<&str>, object: &Value) -> Result<(String, Value), String> {
    let name = object["metadata"]["name"].as_str().or(object["name"].as_str());
    if object["kind"].as_str().is_none() || name.is_none() {
        return Err(format!("an edit of no object: {}", short(&object.to_string())));
    }
    let kind = match word.unwrap_or("MODIFIED").to_ascii_uppercase().as_str() {
        "ADDED" | "ADD" | "CREATE" | "CREATED" => "ADDED",
        "DELETED" | "DELETE" | "REMOVE" | "REMOVED" => "DELETED",
        "MODIFIED" | "MODIFY" | "UPDATE" | "UPDATED" | "REPLACE" | "PATCH" | "APPLY" | "PUT" | "OBJECTS" => {
            "MODIFIED"
        }
        other => return Err(format!("an edit of unknown type {other}")),
    };
    Ok((kind.to_owned(), object.clone()))
}

fn asked(value: &Value, line: usize, text: String) -> Result<Asked, String> {
    let q = value["q"].as_array().filter(|q| q.len() >= 3).ok_or("q is not [name, type, class, flags]")?;
    let word = |at: usize| q.get(at).and_then(Value::as_str).unwrap_or("");
    let name = Name::parse(word(0)).map_err(|error| format!("{}: {error}", word(0)))?;
    let rtype = Rtype::parse(word(1)).or_else(|| match word(1) {
        "CAA" => Some(Rtype(257)),
        _ => None,
    });
    let rtype = rtype.ok_or_else(|| format!("unknown type {}", word(1)))?;
    let class = Class::parse(word(2)).ok_or_else(|| format!("unknown class {}", word(2)))?;
    let flags: BTreeSet<String> = word(3).split_whitespace().map(str::to_owned).collect();
    for flag in &flags {
        let known = ["rd", "ad", "cd", "do", "cookie", "tcp", "udp"].contains(&flag.as_str());
        if !known && !flag.starts_with("edns=") && !flag.starts_with("src=") {
            return Err(format!("unknown flag {flag}"));
        }
    }
    let client = flags.iter().find_map(|flag| flag.strip_prefix("src=")).unwrap_or("10.244.200.9");
    let client = client.parse().map_err(|_| format!("src is no address: {client}"))?;
    let answers = |key: &str| -> Result<BTreeMap<String, Answer>, String> {
        let Some(map) = value.get(key) else { return Ok(BTreeMap::new()) };
        let map = map.as_object().ok_or_else(|| format!("{key} is no object"))?;
        map.iter().map(|(versions, one)| Ok((versions.clone(), answer(one, key)?))).collect()
    };
    let cold = answers("a")?;
    if value.get("a").is_none() {
        return Err("a question without a".to_owned());
    }
    let mut alt = BTreeMap::new();
    for (version, list) in value.get("alt").and_then(Value::as_object).into_iter().flatten() {
        let list = list.as_array().ok_or("alt holds no list")?;
        let read: Result<Vec<Answer>, String> = list.iter().map(|one| answer(one, "alt")).collect();
        alt.insert(version.clone(), read?);
    }
    Ok(Asked {
        line,
        text,
        question: Question { name, rtype, class },
        written: word(0).to_owned(),
        flags,
        client,
        cold,
        hot: answers("hot")?,
        alt,
        at: value.get("t_ms").and_then(Value::as_i64),
    })
}

fn answer(value: &Value, place: &str) -> Result<Answer, String> {
    let set =
        |key: &str| value.get(key).is_some_and(|found| found.as_bool() != Some(false) && !found.is_null());
    if set("timeout") {
        return Ok(Answer::Timeout);
    }
    if set("crash") {
        return Ok(Answer::Crash);
    }
    if set("unparsable") {
        return Ok(Answer::Unparsable);
    }
    let word = value["rcode"].as_str().ok_or_else(|| format!("an answer in {place} has no rcode"))?;
    let number = word.strip_prefix("RCODE").and_then(|digits| digits.parse().ok()).map(Rcode);
    let rcode = Rcode::parse(word).or(number).ok_or_else(|| format!("unknown rcode {word}"))?;
    let flags = value.get("flags").and_then(Value::as_str).unwrap_or("");
    let question = match value.get("question") {
        None => None,
        Some(Value::Null) => Some(None),
        Some(found) => Some(
            Name::parse(found[0].as_str().unwrap_or(""))
                .ok()
                .zip(Rtype::parse(found[1].as_str().unwrap_or(""))),
        ),
    };
    let words = flags.split([' ', ',']).filter(|word| !word.is_empty() && *word != "qr");
    Ok(Answer::Message(Box::new(Message {
        rcode,
        flags: words.map(str::to_owned).collect(),
        answer: section(value, "answer")?,
        authority: section(value, "authority")?,
        additional: section(value, "additional")?,
        cut: value.get("udp_tc").and_then(Value::as_bool).unwrap_or(false),
        question,
    })))
}

fn section(value: &Value, key: &str) -> Result<Vec<Seen>, String> {
    let Some(list) = value.get(key) else { return Ok(Vec::new()) };
    list.as_array().ok_or_else(|| format!("{key} is no list"))?.iter().map(record).collect()
}

fn record(value: &Value) -> Result<Seen, String> {
    let bad = || format!("a record is not [owner, ttl, type, rdata]: {}", short(&value.to_string()));
    let owner = Name::parse(value[0].as_str().ok_or_else(bad)?).map_err(|_| bad())?;
    let ttl = value[1].as_u64().and_then(|ttl| u32::try_from(ttl).ok()).ok_or_else(bad)?;
    let kind = value[2].as_str().ok_or_else(bad)?;
    let (class, kind) = kind.split_once(':').unwrap_or(("IN", kind));
    let class = Class::parse(class).ok_or_else(bad)?;
    let rtype = match kind {
        "CAA" => Rtype(257),
        kind => Rtype::parse(kind).ok_or_else(bad)?,
    };
    let text = value[3].as_str().ok_or_else(bad)?.to_owned();
    let rdata = data_of(rtype, &words(&text), &Name::root());
    Ok(Seen { owner, ttl, rtype, class, rdata, text })
}
