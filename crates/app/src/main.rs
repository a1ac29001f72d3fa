//! The program `truename`.
fn main() {}
