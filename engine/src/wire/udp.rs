//! ESP in UDP (RFC 3948): for networks that pass nothing but UDP and TCP, and for NATs.
//!
//! The first four octets behind the header tell what it is: an SPI, which is never 0; four zeros, an IKE message; and a
//! datagram of the single octet 0xFF is a keep-alive.

use super::address::Address;
use super::ip::{self, next_header};
use crate::reason::Reason;
use crate::tables::sa::UdpPorts;

/// Ports, length, checksum.
pub const HEADER_OCTETS: usize = 8;
/// The whole payload of one.
pub const KEEP_ALIVE: u8 = 0xFF;

/// Where ESP begins and ends in a packet whose UDP header stands at `offset`, or what else the packet is.
///
/// The checksum isn't looked at: the integrity check says more (RFC 3948 section 2.1).
pub fn esp_in(packet: &[u8], offset: usize, end: usize) -> Result<(usize, usize), Reason> {
    if end < offset + HEADER_OCTETS {
        return Err(Reason::Runt);
    }
    let length = usize::from(ip::word(packet, offset + 4));
    if length < HEADER_OCTETS || length > end - offset {
        return Err(Reason::MalformedHeader);
    }
    let (start, stop) = (offset + HEADER_OCTETS, offset + length);
    match &packet[start..stop] {
        [KEEP_ALIVE] => Err(Reason::KeepAlive),
        [0, 0, 0, 0, ..] => Err(Reason::Ike),
        [_, _, _, _, ..] => Ok((start, stop)),
        _ => Err(Reason::Runt),
    }
}

/// The header of a datagram whose payload is in place behind it. Without checksum in IPv4 (RFC 3948 section 2.1), with
/// one in IPv6 (RFC 8200 section 8.1).
pub fn write_header(ports: UdpPorts, source: Address, destination: Address, datagram: &mut [u8]) {
    let length = datagram.len();
    datagram[0..2].copy_from_slice(&ports.0.to_be_bytes());
    datagram[2..4].copy_from_slice(&ports.1.to_be_bytes());
    datagram[4..6].copy_from_slice(&(length as u16).to_be_bytes());
    datagram[6..8].fill(0);
    if source.version == 4 {
        return;
    }
    let pseudo = ip::pseudo_header_sum(source, destination, next_header::UDP, length);
    let checksum = !ip::fold(pseudo + u64::from(ip::ones_complement_sum(datagram)));
    let checksum = if checksum == 0 { 0xFFFF } else { checksum };
    datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
}
