//! What the gateway sends by itself: noise, and what keeps a NAT's mapping.

use super::outbound::{Front, Outgoing, drop_of, protocol_of};
use super::verdict::{Sent, Verdict};
use crate::tables::sa::DUMMY_OCTETS_DEFAULT;
use crate::tables::sadb::Id;
use crate::wire::address::Address;
use crate::wire::ip::{Datagram, FlowKey, NO_PORT, next_header};
use crate::wire::udp;

/// Stands for the inner packet of what the gateway sends by itself.
fn of_the_gateway() -> Datagram {
    let nowhere = Address { version: 4, value: 0 };
    Datagram {
        version: 4,
        length: 0,
        traffic_class: 0,
        dont_fragment: false,
        fragment: None,
        protocol: next_header::NONE,
        offset: 0,
        key: FlowKey {
            source: nowhere,
            destination: nowhere,
            protocol: next_header::NONE,
            source_port: NO_PORT,
            destination_port: NO_PORT,
        },
        protocol_at: 0,
        hops: 64,
        flow_label: 0,
    }
}

impl Outgoing<'_> {
    /// A packet of noise that the receiver throws away (RFC 4303 section 2.6).
    pub fn dummy(&mut self, id: Id, now: f64) -> Verdict {
        let record = self.sadb.outbound_ref(id);
        let sizes = record.service.sizes;
        let room = sizes.largest_payload(record.mtu(now) as isize - record.around as isize);
        let octets = DUMMY_OCTETS_DEFAULT.max(record.service.sa.tfc_octets).min(room.max(0) as usize);
        let udp_octets = if record.service.sa.encapsulation.is_some() { udp::HEADER_OCTETS } else { 0 };
        if let Some(reason) = record.out_of_numbers() {
            return drop_of(record, id, reason, None, None);
        }
        let protocol = protocol_of(record);
        let mut packet = self.emit(id, &Front::Outer(&of_the_gateway()), protocol, sizes.sealed(octets) + udp_octets);
        let mut noise = vec![0; octets];
        self.random.fill(&mut noise);
        if let Err(reason) = self.seal_behind(id, next_header::NONE, &noise, &mut packet) {
            return drop_of(self.sadb.outbound_ref(id), id, reason, None, None);
        }
        self.sadb.outbound_ref(id).service.slot.add_life(1, octets as u64, now);
        Verdict::Send(Sent { packets: vec![packet], policy: None, record: id, bundled: None })
    }

    /// One octet that keeps a NAT's mapping (RFC 3948 section 2.3).
    pub fn keep_alive(&mut self, id: Id, now: f64) -> Verdict {
        let record = self.sadb.outbound_ref(id);
        record.set_kept_alive(now);
        let sa = &record.service.sa;
        let (source, destination) = (sa.source, sa.destination);
        let ports = sa.encapsulation.expect("only an SA that goes in UDP has keep-alives");
        let mut datagram = vec![0; udp::HEADER_OCTETS];
        datagram.push(udp::KEEP_ALIVE);
        udp::write_header(ports, source, destination, &mut datagram);
        let mut packet = self.emit(id, &Front::Outer(&of_the_gateway()), next_header::UDP, datagram.len());
        packet.extend_from_slice(&datagram);
        Verdict::Send(Sent { packets: vec![packet], policy: None, record: id, bundled: None })
    }
}
