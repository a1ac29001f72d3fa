//! Unit tests of the packet reader.
