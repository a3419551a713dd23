//! What becomes of packets (RFC 4301 section 5).
//!
//! `outbound` and `inbound` say it of one packet, with every rule there is. `batch` does the same for many at once where
//! nothing special is asked of them, which is nearly always, and hands everything else to those two; the verdicts are
//! the same, in the same order.

pub mod batch_in;
pub mod batch_out;
pub mod claims;
pub mod gateway;
pub mod inbound;
pub mod ipcomp;
pub mod outbound;
mod own;
pub mod seal;
pub mod verdict;
