//! Headers as octets: parsing, cutting, wrapping. Nothing here keeps anything, and nothing panics, whatever the octets.

pub mod address;
#[cfg(test)]
pub mod building;
pub mod fragment;
pub mod icmp;
pub mod immutable;
pub mod ip;
pub mod mss;
pub mod transport;
pub mod tunnel;
pub mod udp;
