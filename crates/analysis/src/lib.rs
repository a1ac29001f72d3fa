//! Join, intent, attribute, truth, detect. Pure: no clock, no files, no network.
