//! DNS messages in wire form. Enters: bytes of one message; leaves: the model's body and flags.
