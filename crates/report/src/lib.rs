//! Findings, verdicts and coverage to every output format. Pure.
