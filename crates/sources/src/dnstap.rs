//! dnstap frame streams. Enters: frames; leaves: observations.
