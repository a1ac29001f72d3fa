//! H06: a service loses its selector; H07: an ExternalName is made out of a service, or points elsewhere.
//!
//! Enters: Service steps with the state before; leaves: drafts. Deliberately absent: ExternalName services that were
//! there when the evidence begins; a new target is one grade lower where the profile lists no external targets.

use std::net::IpAddr;

use truename_model::object::Service;
use truename_model::{ChangeKind, Name, Profile, RuleMeta, Severity};

use super::log::Step;
use crate::facts::Draft;
use crate::rules::names::{ClusterName, label_text, registrable_name, shown};
use crate::text::glob;

/// H06: the selector is gone.
pub(crate) fn selector_removed(
    meta: &RuleMeta,
    step: &Step,
    before: &Service,
    after: &Service,
) -> Option<Draft> {
    if before.selector.is_empty() || !after.selector.is_empty() || after.service_type == "ExternalName" {
        return None;
    }
    let mut draft =
        Draft::new(&meta.id, Severity::Medium, format!("{} lost its selector", step.object_ref()));
    step.fill(&mut draft);
    let old: Vec<String> = before.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    draft.why =
        format!("Its endpoints are no longer the cluster's to decide; the selector was {}.", old.join(","));
    Some(draft)
}

/// What H07 knows of the cluster.
pub(crate) struct Around<'a> {
    pub(crate) zone: Option<&'a Name>,
    pub(crate) profile: &'a Profile,
    /// Targets of the cluster's other ExternalNames.
    pub(crate) targets: &'a [Name],
}

/// H07: the service became an ExternalName, or its target changed.
pub(crate) fn external_name(
    meta: &RuleMeta,
    step: &Step,
    before: Option<&Service>,
    after: &Service,
    around: &Around<'_>,
) -> Option<Draft> {
    if after.service_type != "ExternalName" || matches!(step.kind, ChangeKind::Listed | ChangeKind::Deleted) {
        return None;
    }
    let target = after.external_name.trim_end_matches('.').to_ascii_lowercase();
    let was_external = before.is_some_and(|service| service.service_type == "ExternalName");
    let old = before
        .filter(|_| was_external)
        .map(|service| service.external_name.trim_end_matches('.').to_ascii_lowercase());
    if old.as_deref() == Some(target.as_str()) {
        return None;
    }
    let in_place = before.is_some() && !was_external;
    let listed = around.profile.external_targets.iter().any(|pattern| glob(pattern, &target));
    let inside = inside_target(&target, &step.meta.namespace, around.zone);
    let (severity, why) = match inside {
        Some(why) => (Severity::High, why),
        None if listed => return None,
        None if in_place => (
            Severity::High,
            "It was a service of the cluster before; its clients now leave the cluster.".to_owned(),
        ),
        None => (Severity::Medium, drifted(old.as_deref(), &target, around)?),
    };
    let what = if in_place { "became an alias of" } else { "points to" };
    let mut draft = Draft::new(&meta.id, severity, format!("{} {what} {target}", step.object_ref()));
    step.fill(&mut draft);
    draft.why = why;
    if severity == Severity::Medium && around.profile.external_targets.is_empty() {
        draft.severity = draft.severity.lowered();
        draft.graded.push("baseline: the profile lists no external targets".to_owned());
    }
    Some(draft)
}

/// A target inside: another namespace, an address, this host, the metadata service.
fn inside_target(target: &str, namespace: &str, zone: Option<&Name>) -> Option<String> {
    if target.parse::<IpAddr>().is_ok() {
        return Some("An address is no name; some resolvers follow it all the same.".to_owned());
    }
    if target == "localhost"
        || target.ends_with(".localhost")
        || target.contains("metadata.google.internal")
        || target.starts_with("instance-data")
    {
        return Some("It leads clients to their own host or to the cloud's metadata service.".to_owned());
    }
    let name = Name::parse(target).ok()?;
    let (_, other) = ClusterName::parse(&name, zone?)?.service()?;
    let other = label_text(other);
    (other != namespace)
        .then(|| format!("It leads into namespace {other}, around policies that go by namespace."))
}

/// A target of another registrable domain, or one that neither the profile nor another service names.
fn drifted(old: Option<&str>, target: &str, around: &Around<'_>) -> Option<String> {
    let name = Name::parse(target).ok()?;
    let domain = registrable_name(&name);
    match old.and_then(|old| Name::parse(old).ok()) {
        Some(old) => (registrable_name(&old) != domain)
            .then(|| format!("Its target was {}; the new one belongs to somebody else.", shown(&old))),
        None if around.profile.external_targets.is_empty() => {
            let known = around.targets.iter().any(|other| registrable_name(other) == domain);
            (!known).then(|| "No service of the cluster led to this domain before.".to_owned())
        }
        None => Some("The profile does not list this target.".to_owned()),
    }
}
