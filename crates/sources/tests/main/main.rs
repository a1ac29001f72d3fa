//! Whole files through recognition, layers, splitting and decoding, as the engine walks them.

mod cases;
mod corpora;
mod walk;
