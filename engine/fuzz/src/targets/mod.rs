//! What is fuzzed: each judges octets, and panics where something is wrong.

pub mod headers;
pub mod inbound;
pub mod ipcomp;
pub mod outbound;
pub mod pieces;
pub mod words;
mod world;

/// By name.
pub const TARGETS: [(&str, fn(&[u8])); 6] = [
    ("headers", headers::judge),
    ("words", words::judge),
    ("pieces", pieces::judge),
    ("ipcomp", ipcomp::judge),
    ("outbound", outbound::judge),
    ("inbound", inbound::judge),
];
