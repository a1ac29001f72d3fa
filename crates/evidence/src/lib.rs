//! The append-only log: frames, segments, Merkle tree, checkpoints, keys, custody, gaps, verify.
