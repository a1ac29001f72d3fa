//! The answer to "may this pod reach that" for a terminal and as JSON.
//!
//! Enters: a [`Permission`]; leaves: text, connections that share their answer told once.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use truename_model::{Connection, Decision, Permission, PolicyReason};

use crate::escape::terminal;
use crate::style::Style;

/// Connections named per answer; the rest are counted.
const SHOWN_MAX: usize = 8;
/// Objects named.
const OBJECTS_MAX: usize = 32;

/// One JSON document.
#[must_use]
pub fn json(permission: &Permission) -> String {
    let mut text = serde_json::to_string_pretty(permission).unwrap_or_default();
    text.push('\n');
    text
}

/// For a terminal: the decision, then each distinct answer with what decides it, then the objects it rests on.
#[must_use]
pub fn table(permission: &Permission, style: Style) -> String {
    let mut out = String::new();
    let when = match permission.at {
        None => "as last seen in the evidence".to_owned(),
        Some(at) if at.lo == at.hi => format!("at {}", at.lo),
        Some(at) => format!("from {} to {}", at.lo, at.hi),
    };
    let _ = writeln!(
        out,
        "{} {} → {} {}",
        word(permission.decision, style),
        terminal(&permission.pod),
        terminal(&permission.target),
        style.dim(&when)
    );
    unsettled(&mut out, "", permission.decision, permission.known, &permission.open, style);
    let mut alike: BTreeMap<String, Vec<&Connection>> = BTreeMap::new();
    for connection in &permission.connections {
        alike.entry(told(connection, style)).or_default().push(connection);
    }
    for (told, connections) in alike {
        for connection in connections.iter().take(SHOWN_MAX) {
            let _ = writeln!(out, "  {} {}", word(connection.decision, style), ends(connection));
        }
        if let Some(more) = connections.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
            let _ = writeln!(out, "  … and {more} more like these");
        }
        out.push_str(&told);
    }
    if !permission.objects.is_empty() {
        let _ = writeln!(out, "{}", style.heading("rests on"));
    }
    for object in permission.objects.iter().take(OBJECTS_MAX) {
        let version = if object.resource_version.is_empty() { "unknown" } else { &object.resource_version };
        let _ = writeln!(
            out,
            "  {} {}",
            terminal(&object.to_string()),
            style.dim(&format!("version {}", terminal(version)))
        );
    }
    if let Some(more) = permission.objects.len().checked_sub(OBJECTS_MAX).filter(|more| *more > 0) {
        let _ = writeln!(out, "  … and {more} more");
    }
    out
}

fn word(decision: Decision, style: Style) -> String {
    let text = format!("{:<8}", decision.as_str());
    match decision {
        Decision::Unknown => style.warning(&text),
        Decision::Allowed | Decision::Denied => style.heading(&text),
    }
}

/// `TCP 10.1.0.2 port 5432 shop/db-0 through 10.96.0.20 port 5432`.
fn ends(connection: &Connection) -> String {
    let mut text = connection.protocol.clone();
    if let Some(ip) = connection.ip {
        let _ = write!(text, " {ip}");
    }
    let _ = write!(text, " port {}", connection.port);
    if let Some(pod) = &connection.pod {
        let _ = write!(text, " {}", terminal(pod));
    }
    if let Some((ip, port)) = connection.service {
        let _ = write!(text, " through {ip} port {port}");
    }
    text
}

/// What decides a connection, or leaves it open.
fn told(connection: &Connection, style: Style) -> String {
    let mut out = String::new();
    for reason in &connection.reasons {
        let _ = writeln!(out, "      {}", terminal(&reason_text(reason)));
    }
    for line in &connection.otherwise {
        let _ = writeln!(out, "      {}", terminal(line));
    }
    unsettled(&mut out, "      ", connection.decision, connection.known, &connection.open, style);
    out
}

/// `NetworkPolicy shop/shut, spec.ingress[0]: allows`.
fn reason_text(reason: &PolicyReason) -> String {
    match reason.rule {
        Some(rule) => format!("{}, spec.{}[{rule}]: {}", reason.policy, reason.direction, reason.effect),
        None => format!("{}, {}: {}", reason.policy, reason.direction, reason.effect),
    }
}

fn unsettled(
    out: &mut String,
    indent: &str,
    decision: Decision,
    known: Decision,
    open: &[String],
    style: Style,
) {
    for why in open {
        let _ = writeln!(out, "{indent}{}", style.warning(&format!("because {}", terminal(why))));
    }
    if decision != known {
        let _ = writeln!(out, "{indent}by the objects in the evidence alone: {}", known.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use truename_model::ObjectRef;

    fn connection(ip: &str, decision: Decision) -> Connection {
        let policy = ObjectRef {
            kind: "NetworkPolicy".to_owned(),
            namespace: "shop".to_owned(),
            name: "shut\u{1b}[2J".to_owned(),
            ..ObjectRef::default()
        };
        let effect = "selects the pod and no rule matches".to_owned();
        Connection {
            protocol: "TCP".to_owned(),
            ip: ip.parse().ok(),
            port: 5432,
            pod: Some("shop/db-0".to_owned()),
            service: Some((std::net::IpAddr::from([10, 96, 0, 20]), 5432)),
            decision,
            known: Decision::Denied,
            open: Vec::new(),
            reasons: vec![PolicyReason { direction: "ingress".to_owned(), policy, rule: None, effect }],
            otherwise: Vec::new(),
        }
    }

    #[test]
    fn connections_that_share_their_answer_are_told_once_and_escaped() {
        let permission = Permission {
            pod: "shop/web".to_owned(),
            target: "service shop/db".to_owned(),
            cluster: None,
            at: None,
            decision: Decision::Unknown,
            known: Decision::Denied,
            open: vec!["something may be missing".to_owned()],
            connections: (1..=10).map(|n| connection(&format!("10.1.0.{n}"), Decision::Denied)).collect(),
            objects: Vec::new(),
        };
        let text = table(&permission, Style::Plain);
        assert_eq!(text.matches("selects the pod and no rule matches").count(), 1, "{text}");
        assert!(text.contains("… and 2 more like these") && !text.contains('\u{1b}'), "{text}");
        assert!(text.starts_with("unknown  shop/web → service shop/db as last seen in the evidence\nbecause something may be missing\nby the objects in the evidence alone: denied\n"), "{text}");
        assert!(text.contains("  denied   TCP 10.1.0.1 port 5432 shop/db-0 through 10.96.0.20 port 5432\n"));
        let back: Permission = serde_json::from_str(&json(&permission)).unwrap();
        assert_eq!(back, permission);
    }
}
