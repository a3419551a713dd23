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
    match packet.get(start..stop).unwrap_or_default() {
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

#[cfg(test)]
mod tests {
    use super::super::building::unhex;
    use super::*;

    const PORTS: UdpPorts = UdpPorts(4500, 40000);

    fn wrapped(version: u8, payload: &[u8]) -> Vec<u8> {
        let ends = match version {
            4 => ["c0000201", "c0000202"],
            _ => ["20010db8000000000000000000000001", "20010db8000000000000000000000002"],
        };
        let [source, destination] = ends.map(|end| Address::from_octets(&unhex(end)));
        let mut datagram = [&[0xAA; HEADER_OCTETS][..], payload].concat();
        write_header(PORTS, source, destination, &mut datagram);
        datagram
    }

    #[test]
    fn ipv4_has_no_checksum_and_ipv6_has_one() {
        assert_eq!(wrapped(4, b"payload"), [&unhex("1194 9c40 000f 0000")[..], b"payload"].concat());
        assert_eq!(wrapped(6, b"payload"), [&unhex("1194 9c40 000f 3957")[..], b"payload"].concat());
    }

    #[test]
    fn a_checksum_of_zero_is_written_as_all_ones() {
        assert_eq!(wrapped(6, &[0xF6, 0x90]), unhex("1194 9c40 000a ffff f690"));
        assert!((0..=u16::MAX).all(|payload| wrapped(6, &payload.to_be_bytes())[6..8] != [0, 0]));
    }

    fn found(length: u16, payload: &str) -> Result<(usize, usize), Reason> {
        let mut packet = vec![0; 20];
        packet.extend(unhex("11941194"));
        packet.extend_from_slice(&length.to_be_bytes());
        packet.extend_from_slice(&[0, 0]);
        packet.extend(unhex(payload));
        esp_in(&packet, 20, packet.len())
    }

    #[test]
    fn what_may_come() {
        for (payload, expected) in [
            ("ff", Err(Reason::KeepAlive)),
            ("00000000", Err(Reason::Ike)),
            ("00000000 616263", Err(Reason::Ike)),
            ("fe", Err(Reason::Runt)),
            ("ffff", Err(Reason::Runt)),
            ("", Err(Reason::Runt)),
            ("000003", Err(Reason::Runt)),
            ("000003e9", Ok((28, 32))),
            ("000003e9 00000001", Ok((28, 36))),
        ] {
            assert_eq!(found(8 + unhex(payload).len() as u16, payload), expected, "{payload}");
        }
    }

    #[test]
    fn lengths_that_lie() {
        for length in [0, 7, 16, 0xFFFF] {
            assert_eq!(found(length, "00010203040506"), Err(Reason::MalformedHeader));
        }
        // What follows the datagram is not in it.
        assert_eq!(found(12, "00010203040506"), Ok((28, 32)));
        assert_eq!(found(9, "ff0203040506"), Err(Reason::KeepAlive));
    }

    #[test]
    fn what_is_cut_off_is_a_runt_wherever_it_ends() {
        let packet = unhex("11941194 000c0000 000003e9");
        for end in 0..HEADER_OCTETS {
            assert_eq!(esp_in(&packet[..end], 0, end), Err(Reason::Runt));
        }
        assert_eq!(esp_in(&packet[..9], 0, 12), Err(Reason::Runt));
        assert_eq!(esp_in(&packet, 40, 12), Err(Reason::Runt));
    }
}
