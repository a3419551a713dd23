//! Every parser of headers, over octets from anywhere: nothing beyond them is read, and what they say fits together.

use culvert_engine::tables::sa::UdpPorts;
use culvert_engine::wire::address::Address;
use culvert_engine::wire::{fragment, icmp, immutable, ip, mss, transport, tunnel, udp};

pub fn judge(octets: &[u8]) {
    let _ = icmp::parse_too_big(octets);
    let Some(datagram) = ip::parse(octets) else { return };
    assert!(datagram.offset <= datagram.length && datagram.length <= octets.len());
    let packet = &octets[..datagram.length];
    immutable::immutable(&mut packet[..datagram.offset].to_vec(), octets.len() % 2 == 0);
    if let Ok((start, end)) = udp::esp_in(packet, datagram.offset, datagram.length) {
        assert!(datagram.offset < start && start <= end && end <= packet.len());
    }
    let _ = transport::place(packet, &datagram);
    let mut clamped = packet.to_vec();
    if mss::clamp(&mut clamped, &datagram, 1300) {
        let again = ip::parse(&clamped).expect("a smaller MSS changes no length");
        assert!(!mss::clamp(&mut clamped, &again, 1300), "once is enough");
    }
    let mut marked = packet.to_vec();
    tunnel::ecn_on_opening(&mut marked, &datagram, octets[octets.len() - 1]);
    assert_eq!(ip::parse(&marked).map(|again| again.length), Some(datagram.length));
    if let Some(answer) = icmp::too_big(packet, &datagram, 1280) {
        assert!(ip::parse(&answer).is_some_and(|about| about.length == answer.len()));
    }
    split(packet, &datagram);
    if packet.len() >= datagram.offset + 8 && datagram.protocol == ip::next_header::UDP {
        let mut written = packet.to_vec();
        let (source, destination) = (Address::from_octets(&[10, 0, 0, 1]), Address::from_octets(&[10, 0, 0, 2]));
        udp::write_header(UdpPorts(1, 2), source, destination, &mut written[datagram.offset..]);
    }
}

/// Pieces are no larger than asked for, where they can be that small, and carry all of the packet.
fn split(packet: &[u8], datagram: &ip::Datagram) {
    if datagram.fragment.is_some() {
        return;
    }
    let mtu = 1280;
    let front = if datagram.version == 6 { fragment::unfragmentable(packet, datagram).0 } else { datagram.offset };
    assert!(front <= datagram.offset);
    let pieces = fragment::split(packet, datagram, mtu, 7);
    // Of IPv6, each has a fragment header too; and eight octets at least.
    if packet.len() > mtu && front + 16 <= mtu {
        assert!(pieces.iter().all(|piece| piece.len() <= mtu));
    }
    assert!(pieces.iter().map(Vec::len).sum::<usize>() >= packet.len());
}
