//! The kernel's doors: what packets come and go through. Everything unsafe outside of `crypto::ipsec_mb` is here.

use std::fmt::Display;
use std::io::Write;

pub mod ancillary;
pub mod checksum;
pub mod coalesce;
pub mod counters;
pub mod harden;
pub mod journal;
pub mod overflow;
pub mod poller;
pub mod raw;
mod rings;
pub mod routes;
pub mod segment;
pub mod tun;
pub mod turns;
pub mod udp;
pub mod wiped;
pub mod xsk;

/// A line for the parent's log. Who reads it may be gone, which must not be the end of this process too.
pub fn tell(words: impl Display) {
    let _ = writeln!(std::io::stderr(), "{words}");
}
