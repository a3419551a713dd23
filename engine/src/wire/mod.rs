//! Headers as octets: parsing, cutting, wrapping. Nothing here keeps anything, and nothing panics, whatever the octets.

pub mod address;
pub mod ip;
