//! Our decoders against other projects' goldens. Enters: the folder of the corpora; leaves: how each suite fared.
//!
//! A difference is decided by the RFC and stands with its reason in `conformance/reasons.tsv`; what is not listed there is
//! wrong. Goldens are compared by field, never by their whole text. Deliberately absent: goldens themselves.

mod capture;
pub(crate) mod reasons;
mod tcpdump;
mod dnscap;
mod packetq;
mod tap;
mod seeds;

use std::path::Path;

use crate::suite::SuiteResult;

/// Compares every suite of wire formats found under `dir`; a missing folder gives a suite with no cases.
#[must_use]
pub fn run(dir: &Path) -> Vec<SuiteResult> {
    vec![
        tcpdump::run(&dir.join("pcap/the-tcpdump-group+tcpdump/tests")),
        packetq::run(&dir.join("pcap/DNS-OARC+PacketQ")),
        dnscap::run(&dir.join("pcap/DNS-OARC+dnscap/src/test")),
        tap::dnswire(&dir.join("dnstap/DNS-OARC+dnswire/src/test")),
        tap::tinyframe(&dir.join("dnstap/DNS-OARC+tinyframe/src/test")),
        seeds::captures(&dir.join("pcap")),
        seeds::wire(&dir.join("wire")),
        seeds::log_lines(&dir.join("coredns_logs")),
        seeds::compactor(&dir.join("pcap/dns-stats+compactor/test-scripts")),
    ]
}

#[cfg(test)]
mod tests;
