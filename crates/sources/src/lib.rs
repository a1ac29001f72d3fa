//! Bytes to observations: containers, splitting into records, and the decoders. Sans-I/O.
