//! The packet process.
fn main() {}
