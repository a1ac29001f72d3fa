//! The answer to "what would have been true" for a terminal and as JSON.
//!
//! Enters: a [`Foretelling`]; leaves: text: each answer as `dig` writes it, then who gives it and what says so.

use std::fmt::Write as _;

use truename_model::{Foretelling, Foretold, ForetoldRecord, Holds};

use crate::escape::terminal;
use crate::style::Style;

/// Answers told in full; the rest are counted.
const ANSWERS_MAX: usize = 16;
/// Records, objects and lines of an answer.
const SHOWN_MAX: usize = 32;

/// One JSON document.
#[must_use]
pub fn json(told: &Foretelling) -> String {
    let mut text = serde_json::to_string_pretty(told).unwrap_or_default();
    text.push('\n');
    text
}

/// For a terminal.
#[must_use]
pub fn table(told: &Foretelling, style: Style) -> String {
    let mut out = String::new();
    let when = match told.at {
        None => "as last seen in the evidence".to_owned(),
        Some(at) if at.lo == at.hi => format!("at {}", at.lo),
        Some(at) => format!("from {} to {}", at.lo, at.hi),
    };
    let clients: Vec<String> = told.clients.iter().map(ToString::to_string).collect();
    let _ = writeln!(
        out,
        "{} {} asked by {} ({}) {}",
        terminal(&told.name),
        terminal(&told.rtype),
        terminal(&told.pod),
        clients.join(", "),
        style.dim(&when)
    );
    for why in &told.open {
        let _ = writeln!(out, "{}", style.warning(&format!("but {}", terminal(why))));
    }
    for answer in told.answers.iter().take(ANSWERS_MAX) {
        one(&mut out, answer, style);
    }
    more(&mut out, "", told.answers.len(), ANSWERS_MAX);
    if told.answers.is_empty() {
        let _ = writeln!(out, "no server could have started with the configuration then in force");
    }
    out
}

fn one(out: &mut String, answer: &Foretold, style: Style) {
    let holds = format!("{:<8}", answer.holds.as_str());
    let holds = if answer.holds == Holds::True { style.heading(&holds) } else { style.warning(&holds) };
    let rcode = answer.rcode.as_deref().unwrap_or("no answer");
    let _ = writeln!(out, "{holds} {} {}", terminal(rcode), style.dim(&terminal(&answer.flags)));
    for (name, section) in
        [("", &answer.answer), ("authority ", &answer.authority), ("additional ", &answer.additional)]
    {
        for ForetoldRecord { owner, ttl, rtype, data } in section.iter().take(SHOWN_MAX) {
            let record = format!("{name}{owner} {ttl} {rtype} {data}");
            let _ = writeln!(out, "    {}", terminal(&record));
        }
        more(out, "    ", section.len(), SHOWN_MAX);
    }
    if let Some(beyond) = &answer.beyond {
        let _ = writeln!(out, "    {}", terminal(beyond));
    }
    for server in &answer.servers {
        let _ = writeln!(out, "  by {}", terminal(server));
    }
    for object in answer.objects.iter().take(SHOWN_MAX) {
        let version = if object.resource_version.is_empty() { "unknown" } else { &object.resource_version };
        let version = style.dim(&format!("version {}", terminal(version)));
        let _ = writeln!(out, "  from {} {version}", terminal(&object.to_string()));
    }
    more(out, "  ", answer.objects.len(), SHOWN_MAX);
    for line in answer.lines.iter().take(SHOWN_MAX) {
        let place = format!("{} line {}: {}", line.config, line.line, line.text);
        let _ = writeln!(out, "  through {}", terminal(&place));
    }
    more(out, "  ", answer.lines.len(), SHOWN_MAX);
}

fn more(out: &mut String, indent: &str, count: usize, shown: usize) {
    if let Some(more) = count.checked_sub(shown).filter(|more| *more > 0) {
        let _ = writeln!(out, "{indent}… and {more} more");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use truename_model::{ConfigLine, ObjectRef};

    #[test]
    fn an_answer_is_told_with_what_says_so_and_escaped() {
        let object =
            ObjectRef { kind: "Service".to_owned(), name: "db\u{1b}[2J".to_owned(), ..ObjectRef::default() };
        let record = |data: &str| ForetoldRecord {
            owner: "db.shop.svc.cluster.local.".to_owned(),
            ttl: 30,
            rtype: "A".to_owned(),
            data: data.to_owned(),
        };
        let answer = Foretold {
            holds: Holds::Stale,
            rcode: Some("NOERROR".to_owned()),
            flags: "aa rd".to_owned(),
            answer: (0..40).map(|n| record(&format!("10.0.0.{n}"))).collect(),
            authority: Vec::new(),
            additional: Vec::new(),
            beyond: None,
            servers: vec!["CoreDNS 1.15.0".to_owned()],
            objects: vec![object.clone()],
            lines: vec![ConfigLine {
                config: object,
                line: 3,
                text: "kubernetes cluster.local {".to_owned(),
            }],
        };
        let told = Foretelling {
            name: "db.shop.svc.cluster.local.".to_owned(),
            rtype: "A".to_owned(),
            pod: "shop/web".to_owned(),
            clients: vec![std::net::IpAddr::from([10, 1, 0, 1])],
            cluster: None,
            at: None,
            answers: vec![answer],
            open: vec!["something may be missing".to_owned()],
        };
        let text = table(&told, Style::Plain);
        assert!(text.starts_with("db.shop.svc.cluster.local. A asked by shop/web (10.1.0.1) as last seen in the evidence\nbut something may be missing\nstale    NOERROR aa rd\n    db.shop.svc.cluster.local. 30 A 10.0.0.0\n"), "{text}");
        assert!(
            text.contains("    … and 8 more\n  by CoreDNS 1.15.0\n  from Service ")
                && !text.contains('\u{1b}'),
            "{text}"
        );
        assert!(text.contains("line 3: kubernetes cluster.local {\n"), "{text}");
        let back: Foretelling = serde_json::from_str(&json(&told)).unwrap();
        assert_eq!(back, told);
    }
}
