//! Culvert's fast data path.
//!
//! The readable specification is the Python package `culvert.ipsec`; what is here agrees with it packet for packet,
//! verdict for verdict. Rooms:
//!
//! * `wire`: headers as octets. No state.
//! * `crypto`: algorithms, by a table; one engine per worker, portable or ipsec-mb.
//! * `tables`: security associations, policies, windows: what is known.
//! * `transform`: what becomes of packets, one at a time or in batches.
//! * `worker`: from door to door; `crew` and `shift`: several of them at once.
//! * `io`: the TUN, sockets, AF_XDP, the counters file. Unsafe code is here and in `crypto::ipsec_mb` only.

pub mod account;
pub mod control;
pub mod crew;
pub mod crypto;
pub mod io;
pub mod process;
pub mod reason;
pub mod shift;
pub mod tables;
pub mod transform;
pub mod wire;
pub mod worker;
