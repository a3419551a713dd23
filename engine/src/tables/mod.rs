//! What is known: security associations and policies as configured, and what changes from packet to packet.

pub mod sa;
