//! What is known: security associations and policies as configured, and what changes from packet to packet.

mod few;
pub mod flows;
pub mod gone;
pub mod leases;
pub mod reassembly;
pub mod replay;
pub mod sa;
pub mod sadb;
mod shapes;
pub mod slots;
pub mod spd;
