//! Splits text at newlines, totally and with a bound. Enters: a reader; leaves: pieces that concatenate to the input.
