//! Packets for the tests of this room: those of `tests/ipsec/building.py`, octet for octet.

use super::ip::{self, Datagram, next_header};

/// From 10.1.0.9 to 10.2.0.9.
const ADDRESSES4: &str = "0a0100090a020009";
/// From fd00:1::9 to fd00:2::9.
const ADDRESSES6: &str = "fd000001000000000000000000000009fd000002000000000000000000000009";

/// Spaces between the octets are for the reader.
pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|two| two[0] << 4 | two[1]).collect()
}

/// Of a packet that is one.
pub fn parsed(packet: &[u8]) -> Datagram {
    ip::parse(packet).expect("an IP packet")
}

/// Octets of which no two pieces are alike.
pub fn octets(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at ^ (at >> 8)) as u8).collect()
}

/// UDP from port 1111 to port 53.
pub fn udp() -> Vec<u8> {
    unhex("04570035 000c0000 64617461")
}

/// An IPv4 packet with the number 1, that says UDP unless it is changed before its checksum is made.
pub fn ipv4_with(payload: &[u8], options: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut packet = unhex("45000000 00010000 40110000");
    packet.extend(unhex(ADDRESSES4));
    packet.extend_from_slice(options);
    packet[0] = 0x40 | (packet.len() / 4) as u8;
    change(&mut packet);
    let protocol = packet[9];
    ip::set_length(&mut packet, 9, protocol, payload.len());
    packet.extend_from_slice(payload);
    packet
}

/// As above, without options.
pub fn ipv4(payload: &[u8]) -> Vec<u8> {
    ipv4_with(payload, &[], |_| ())
}

/// As above, of another protocol.
pub fn ipv4_of(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_with(payload, &[], |header| header[9] = protocol)
}

/// An IPv6 packet with the flow label 0x12345. Extension headers are part of the payload.
pub fn ipv6_of(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = unhex("60012345 00000040");
    packet.extend(unhex(ADDRESSES6));
    ip::set_length(&mut packet, 6, first, payload.len());
    packet.extend_from_slice(payload);
    packet
}

/// As above, of UDP.
pub fn ipv6(payload: &[u8]) -> Vec<u8> {
    ipv6_of(next_header::UDP, payload)
}

/// An IPv6 packet whose extension headers of these kinds do nothing; what is behind them is UDP.
pub fn chained(kinds: &[u8], payload: &[u8]) -> Vec<u8> {
    let named: Vec<u8> = kinds.iter().copied().chain([next_header::UDP]).collect();
    let mut behind: Vec<u8> = named[1..].iter().flat_map(|after| [*after, 0, 0, 0, 0, 0, 0, 0]).collect();
    behind.extend_from_slice(payload);
    ipv6_of(named[0], &behind)
}
