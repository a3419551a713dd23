//! What packets came to, in words: as `culvert.dataplane.account` says it.

use crate::reason::Reason;
use crate::tables::sa::{Mode, Protocol, SecurityAssociation};
use crate::wire::ip::{self, Datagram, ICMP_BASE, NO_PORT, next_header};
use crate::wire::udp;

/// The row of `show net ipsec-stat` where this SA's packets are counted.
pub fn mode_row(sa: &SecurityAssociation) -> usize {
    let mode = if sa.mode == Mode::Transport { 0 } else { 2 };
    mode + if sa.protocol == Protocol::Ah { 0 } else { 1 }
}

/// A dropped packet in words, such as `2.2.2.2 -> 3.3.3.3 SPI(0x3e9) seq 17 (/Common/sa-in)`.
///
/// `arrived`: it came from the way, so what it has in UDP should be ESP. All that RFC 4303 and RFC 4301 want of an audit
/// event: addresses, SPI, sequence number, flow label of IPv6.
pub fn describe(packet: &[u8], reason: Reason, labels: &[&str], arrived: bool) -> String {
    let in_udp = arrived && !matches!(reason, Reason::Ike | Reason::KeepAlive);
    let mut words = addresses_and_protocol(packet, in_udp);
    let labels: Vec<&str> = labels.iter().copied().filter(|label| !label.is_empty()).collect();
    if !labels.is_empty() {
        words.push_str(&format!(" ({})", labels.join(", ")));
    }
    words
}

fn addresses_and_protocol(packet: &[u8], in_udp: bool) -> String {
    if packet.is_empty() {
        return "what the gateway sends by itself".into();
    }
    let Some(datagram) = ip::parse(packet) else {
        return format!("{} octets that are no IP packet", packet.len());
    };
    let (key, what) = (&datagram.key, protocol(packet, &datagram, in_udp));
    let mut words = format!("{} -> {} {what}", key.source, key.destination);
    if datagram.version == 6 {
        words.push_str(&format!(" flow {:#x}", datagram.flow_label));
    }
    words
}

fn protocol(packet: &[u8], datagram: &Datagram, in_udp: bool) -> String {
    let key = &datagram.key;
    let number = key.protocol;
    if datagram.is_later_fragment() {
        return format!("protocol {number} fragment");
    }
    match number {
        next_header::ESP => return spi(packet, datagram.offset),
        // AH has its SPI four octets further in (RFC 4302 section 2).
        next_header::AH => return spi(packet, datagram.offset + 4),
        _ if key.source_port == NO_PORT || key.destination_port == NO_PORT => return format!("protocol {number}"),
        _ => {}
    }
    let (source, destination) = (key.source_port, key.destination_port);
    if source >= ICMP_BASE {
        return format!("protocol {number} type {} code {}", source - ICMP_BASE, destination - ICMP_BASE);
    }
    let ports = format!("protocol {number} port {source} -> {destination}");
    let esp_at = datagram.offset + udp::HEADER_OCTETS;
    if in_udp && number == next_header::UDP && datagram.length >= esp_at + 8 {
        return format!("{ports} {}", spi(packet, esp_at));
    }
    ports
}

fn spi(packet: &[u8], at: usize) -> String {
    format!("SPI({:#x}) seq {}", ip::long(packet, at), ip::long(packet, at + 4))
}
