//! One finding with a complete proof of every record that it cites, as a document that can be checked without Truename.
//!
//! Enters: a finding and what the log proves of its records; leaves: JSON as docs/formats/receipt.md describes it.
//! The values of secrets are proven by the hash of their leaf alone. Deliberately absent: checking (the reader's part).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use truename_evidence::{EntryProof, Hash, InclusionProof, RecordProof};
use truename_model::{Evidence, Finding, Sha256};

/// Name of the form.
const FORMAT: &str = "truename-proof-v1";

/// The document. `proofs` runs parallel to the finding's evidence; `None`: the case does not hold that record.
#[must_use]
pub fn document(finding: &Finding, proofs: &[Option<RecordProof>], vkey: &str) -> Value {
    let pieces = proofs.iter().flatten().flat_map(|proof| &proof.pieces);
    let checkpoint = pieces.map(|piece| piece.checkpoint.as_str()).next();
    let cited = finding.evidence.iter().enumerate();
    let records: Vec<Value> =
        cited.map(|(at, evidence)| record(evidence, proofs.get(at).and_then(Option::as_ref))).collect();
    json!({
        "format": FORMAT,
        "vkey": vkey,
        "checkpoint": checkpoint,
        "finding": finding,
        "records": records,
    })
}

fn record(evidence: &Evidence, proof: Option<&RecordProof>) -> Value {
    let pieces: Vec<Value> = proof.map(|proof| proof.pieces.iter().map(piece).collect()).unwrap_or_default();
    json!({
        "item": evidence.citation.item.to_string(),
        "record": evidence.citation.record,
        "shows": evidence.shows,
        "pieces": pieces,
        "pieces_omitted": proof.map(|proof| proof.pieces_omitted),
        "custody": proof.map(|proof| json!({
            "begin": entry(&proof.begin),
            "end": proof.end.as_ref().map(entry),
        })),
    })
}

fn piece(proof: &InclusionProof) -> Value {
    // Whoever has the salt of a secret can test guesses of its value.
    let open = proof.may_be_shown();
    json!({
        "secret": !open,
        "payload": open.then(|| STANDARD.encode(&proof.payload)),
        "salt": open.then(|| hex(&proof.salt)),
        "leaf_hash": hex(&proof.leaf_hash()),
        "leaf_index": proof.leaf_index,
        "inner_path": path(&proof.inner_path),
        "manifest": String::from_utf8_lossy(&proof.manifest),
        "entry_index": proof.entry_index,
        "outer_path": path(&proof.outer_path),
    })
}

fn entry(proof: &EntryProof) -> Value {
    json!({
        "entry": String::from_utf8_lossy(&proof.entry),
        "index": proof.index,
        "path": path(&proof.path),
    })
}

fn path(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(|hash| Sha256(*hash).to_string()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
