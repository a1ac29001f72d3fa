//! The items of a case as analysis sees them: numbered by content, each with its format and origin.
//!
//! Enters: a reader of the log; leaves: a plan. Paths reach it only through origins (ADR 001).

use truename_evidence::{GapCause, GapEntry, Item, ItemId, Reader};
use truename_model::{Known, Origin, Sha256};
use truename_sources::recognise::{Format, HEAD, Recognised, next_step, recognise};

use crate::error::EngineError;
use crate::origins;
use crate::settings::Settings;

/// An item to be analysed.
#[derive(Clone, Debug)]
pub struct PlanItem {
    /// Its number in the log.
    pub id: ItemId,
    /// SHA-256 of the innermost layer.
    pub sha256: Sha256,
    /// Format, recognised again from the stored bytes.
    pub format: Format,
    /// Path as custody records it, with the layers inside.
    pub path: String,
    /// Octets.
    pub bytes: u64,
    /// Losses that custody recorded.
    pub losses: Vec<String>,
    /// Where it was observed.
    pub origin: Origin,
    /// Year of times without one.
    pub year: Option<i32>,
}

impl PlanItem {
    /// True for items that tell of objects rather than of lookups.
    #[must_use]
    pub fn tells_objects(&self) -> bool {
        matches!(self.format, Format::KubeObjects(_) | Format::KubeWatch | Format::Audit | Format::Corefile)
    }
}

/// Items in order of their digest, and what was not recognised.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The items; the index is the item number of this run.
    pub items: Vec<PlanItem>,
    /// Paths that no decoder reads, with what they look like.
    pub unrecognised: Vec<String>,
    /// What the log says is missing beyond single items, sorted.
    pub gaps: Vec<String>,
}

impl Plan {
    /// Plans the analysis of everything in the log.
    ///
    /// # Errors
    /// Those of the log.
    pub fn of(reader: &Reader, settings: &Settings) -> Result<Self, EngineError> {
        let mut plan = Self::default();
        let within = |item: &&Item| settings.at_size.is_none_or(|size| item.entry < size);
        for item in reader.items().iter().filter(within) {
            let path = shown_path(item);
            if item.pieces == 0 && item.begin.size > 0 {
                plan.unrecognised.push(not_read(&path, &item.begin.format));
                continue;
            }
            match recognise(&head(reader, item)?) {
                Recognised::Format(Format::Unknown(what)) => plan.unrecognised.push(not_read(&path, what)),
                Recognised::Format(format) => plan.items.push(planned(item, format, path, settings)),
                Recognised::Container(_) => {
                    plan.unrecognised.push(format!("{path}: a container inside too many others"))
                }
            }
        }
        plan.items.sort_by(|a, b| a.sha256.cmp(&b.sha256).then(a.id.cmp(&b.id)));
        plan.items.dedup_by(|a, b| a.sha256 == b.sha256);
        plan.unrecognised.sort();
        // What a killed run left behind is taken again from the input, and an item that is not says so itself.
        let told = |(entry, gap): &&(u64, GapEntry)| {
            gap.cause != GapCause::UncleanStop && settings.at_size.is_none_or(|size| *entry < size)
        };
        plan.gaps = reader.gaps().iter().filter(told).map(|(_, gap)| gap.detail.clone()).collect();
        plan.gaps.sort();
        plan.gaps.dedup();
        Ok(plan)
    }
}

fn planned(item: &Item, format: Format, path: String, settings: &Settings) -> PlanItem {
    let mut origin = origins::from_path(&path);
    let mut year = None;
    for statement in
        settings.overrides.iter().filter(|statement| origins::glob_matches(&statement.glob, &path))
    {
        statement.apply(&mut origin);
        year = statement.year.or(year);
    }
    let unfinished = || vec!["its taking was interrupted; the same command goes on with it".to_owned()];
    let losses = item.end.as_ref().map(|end| end.losses.iter().map(|loss| loss.detail.clone()).collect());
    PlanItem {
        id: item.id,
        sha256: item.begin.sha256,
        format,
        path,
        bytes: item.begin.size,
        losses: losses.unwrap_or_else(unfinished),
        origin,
        year,
    }
}

/// What an item that no decoder reads looks like, and what can be done about it.
fn not_read(path: &str, looks: &str) -> String {
    match next_step(looks) {
        "" => format!("{path}: {looks}"),
        step => format!("{path}: {looks}; {step}"),
    }
}

fn shown_path(item: &Item) -> String {
    if item.begin.layer.is_empty() {
        item.begin.path.clone()
    } else {
        format!("{}!{}", item.begin.path, item.begin.layer)
    }
}

/// The first octets of an item as stored.
fn head(reader: &Reader, item: &Item) -> Result<Vec<u8>, EngineError> {
    let mut cursor = reader.records(item.id)?;
    let mut head = Vec::new();
    while head.len() < HEAD {
        let Some(piece) = cursor.next()? else { break };
        let room = (HEAD - head.len()).min(piece.bytes.len());
        head.extend_from_slice(&piece.bytes[..room]);
    }
    Ok(head)
}

/// The replica named by an origin.
#[must_use]
pub fn replica(origin: &Origin) -> Option<&str> {
    match &origin.replica {
        Known::Found(name, _) | Known::Given(name) => Some(name),
        Known::Unknown => None,
    }
}
