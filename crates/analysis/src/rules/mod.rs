//! The rules: one file per rule or pair, each a small state machine over facts with bounded memory.
//!
//! Enters: facts; leaves: drafts. Deliberately absent: grading by the profile, ids, suppression (see `detect`).

mod bounded;
mod h01_answer;
mod h02_shape;
mod h11_rebind;
mod h15_replicas;
mod lookup;
mod names;
mod objects;
mod p01_race;
mod p07_question;
mod p11_ttl;
mod r01_ptr;
mod r03_brute;
mod r04_fanout;
mod r05_srv;
mod r06_wildcard;
mod r08_transfer;
mod r09_chaos;
mod r21_forbidden;
mod ranges;
mod walks;
mod who;
mod x08_flood;
mod x10_servfail;

use truename_model::RuleMeta;

use crate::catalogue::Catalogue;
use crate::facts::Rule;

/// Every rule of the catalogue, ready to run, in order of id.
#[must_use]
pub fn all(catalogue: &Catalogue) -> Vec<Box<dyn Rule + Send>> {
    let mut rules: Vec<Box<dyn Rule + Send>> = catalogue.rules().filter_map(make).collect();
    // H03 to H09 and H17 read one log of changes.
    if let Some(objects) = objects::ObjectRules::new(catalogue) {
        rules.push(Box::new(objects));
    }
    rules
}

fn make(meta: &RuleMeta) -> Option<Box<dyn Rule + Send>> {
    let own = meta.clone();
    Some(match meta.id.as_str() {
        "H01" => Box::new(h01_answer::FalseAnswer::new(own)),
        "H02" => Box::new(h02_shape::Shape::new(own)),
        "H11" => Box::new(h11_rebind::Rebinding::new(own)),
        "H15" => Box::new(h15_replicas::Divergence::new(own)),
        "P07" => Box::new(p07_question::WrongQuestion::new(own)),
        "P11" => Box::new(p11_ttl::TtlJump::new(own)),
        "X08" => Box::new(x08_flood::Flood::new(own)),
        "X10" => Box::new(x10_servfail::ServfailBurst::new(own)),
        "X11" => Box::new(x10_servfail::LatencySpike::new(own)),
        "P01" => Box::new(p01_race::UpstreamRace::new(own, p01_race::Race::Guess)),
        "P06" => Box::new(p01_race::UpstreamRace::new(own, p01_race::Race::Second)),
        "R01" => Box::new(r01_ptr::PtrSweep::new(own, r01_ptr::Swept::Services)),
        "R02" => Box::new(r01_ptr::PtrSweep::new(own, r01_ptr::Swept::Pods)),
        "R03" => Box::new(r03_brute::BruteForce::new(own)),
        "R04" => Box::new(r04_fanout::FanOut::new(own)),
        "R05" => Box::new(r05_srv::SrvEnumeration::new(own)),
        "R06" => Box::new(r06_wildcard::Wildcard::new(own)),
        "R07" => Box::new(r06_wildcard::ModeProbe::new(own)),
        "R08" => Box::new(r08_transfer::Transfer::new(own)),
        "R21" => Box::new(r21_forbidden::Forbidden::new(own)),
        "R09" => Box::new(r09_chaos::Chaos::new(own)),
        _ => return None,
    })
}
