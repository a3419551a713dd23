//! What the kernel says beside a packet (RFC 3542): the fields of headers that it took off.

use std::mem::size_of;
use std::ptr;

use libc::{c_int, cmsghdr, msghdr};

use crate::wire::address::Address;
use crate::wire::ip::next_header;

/// Of what is said of a datagram or of an error, with some to spare.
const FEW_OCTETS: usize = 320;
/// And of four extension headers of 2,048 octets, which are all that RFC 8200 section 4.1 allows.
const MANY_OCTETS: usize = FEW_OCTETS + 4 * (size_of::<cmsghdr>() + 2048);
const IPV6_FLOWINFO: c_int = 11;
const UDP_GRO: c_int = 104;
const ORIGIN_LOCAL: u8 = 1;

/// Room for it, which takes no memory where nothing was said yet.
pub struct Ancillary {
    octets: Vec<u8>,
}

/// One thing that was said.
struct Said<'a> {
    level: c_int,
    kind: c_int,
    data: &'a [u8],
}

/// What was said of a UDP datagram.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "as in the headers")]
pub struct DatagramFacts {
    pub destination: Option<Address>,
    pub traffic_class: u8,
    pub hops: u8,
    /// Datagrams of this many octets were put together; 0 for a single one.
    pub segment_octets: usize,
}

/// False where there was more to say than room. Of such a packet nothing is certain.
pub fn is_whole(header: &msghdr) -> bool {
    header.msg_flags & libc::MSG_CTRUNC == 0
}

impl Ancillary {
    /// For datagrams and errors.
    pub fn of_datagram() -> Ancillary {
        Ancillary { octets: vec![0; FEW_OCTETS] }
    }

    /// For packets of IPv6 whose extension headers are asked for.
    pub fn of_packet() -> Ancillary {
        Ancillary { octets: vec![0; MANY_OCTETS] }
    }

    /// Let the kernel write here.
    pub fn lend(&mut self, header: &mut msghdr) {
        header.msg_control = self.octets.as_mut_ptr().cast();
        header.msg_controllen = self.octets.len() as _;
    }

    fn said<'a>(&'a self, header: &'a msghdr) -> impl Iterator<Item = Said<'a>> {
        let end = header.msg_controllen.min(self.octets.len());
        let mut at = 0;
        std::iter::from_fn(move || {
            if at + size_of::<cmsghdr>() > end {
                return None;
            }
            // SAFETY: a whole cmsghdr lies here, and reading one unaligned is always right.
            let one: cmsghdr = unsafe { ptr::read_unaligned(self.octets.as_ptr().add(at).cast()) };
            let octets = one.cmsg_len as usize;
            if octets < size_of::<cmsghdr>() || at + octets > end {
                return None;
            }
            let data = &self.octets[at + size_of::<cmsghdr>()..at + octets];
            at += octets.next_multiple_of(size_of::<usize>());
            Some(Said { level: one.cmsg_level, kind: one.cmsg_type, data })
        })
    }

    /// The MTU in an error that the kernel itself raised.
    pub fn local_mtu(&self, header: &msghdr) -> Option<usize> {
        let is_error = |said: &Said<'_>| {
            matches!(
                (said.level, said.kind),
                (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
            )
        };
        let error = self.said(header).find(|said| is_error(said) && said.data.len() >= 16)?.data;
        // struct sock_extended_err: number, origin, type, code, pad, info, data.
        let is_local = int(error) == libc::EMSGSIZE && error[4] == ORIGIN_LOCAL;
        is_local.then(|| int(&error[8..]) as usize)
    }

    /// The header of a raw IPv6 packet, and the extension headers in front of its protocol, behind what `to` holds.
    pub fn write_header6(&self, header: &msghdr, source: Address, protocol: u8, payload: usize, to: &mut Vec<u8>) {
        let (mut start, mut hops, mut destination) = (6u32 << 28, 0, [0; 16]);
        let (mut next, mut extensions) = (protocol, Vec::new());
        for said in self.said(header).filter(|said| said.level == libc::IPPROTO_IPV6) {
            match said.kind {
                libc::IPV6_PKTINFO if said.data.len() >= 16 => destination.copy_from_slice(&said.data[..16]),
                libc::IPV6_HOPLIMIT => hops = int(said.data) as u8,
                libc::IPV6_TCLASS => start |= (int(said.data) as u32 & 0xFF) << 20,
                IPV6_FLOWINFO if said.data.len() >= 4 => start |= label(said.data),
                libc::IPV6_HOPOPTS => extend(next_header::HOP_BY_HOP, said.data, &mut next, &mut extensions),
                libc::IPV6_RTHDR => extend(next_header::ROUTING, said.data, &mut next, &mut extensions),
                libc::IPV6_DSTOPTS => extend(next_header::DESTINATION_OPTIONS, said.data, &mut next, &mut extensions),
                _ => {}
            }
        }
        to.extend_from_slice(&start.to_be_bytes());
        to.extend_from_slice(&((extensions.len() + payload) as u16).to_be_bytes());
        to.extend_from_slice(&[next, hops]);
        to.extend_from_slice(&source.value.to_be_bytes());
        to.extend_from_slice(&destination);
        to.extend_from_slice(&extensions);
    }

    /// Of a datagram.
    pub fn datagram_facts(&self, header: &msghdr) -> DatagramFacts {
        let mut facts = DatagramFacts::default();
        for said in self.said(header) {
            match (said.level, said.kind) {
                // struct in_pktinfo: link, local address, the packet's destination.
                (libc::IPPROTO_IP, libc::IP_PKTINFO) if said.data.len() >= 12 => {
                    facts.destination = Some(Address::from_octets(&said.data[8..12]));
                }
                (libc::IPPROTO_IP, libc::IP_TTL) => facts.hops = int(said.data) as u8,
                (libc::IPPROTO_IP, libc::IP_TOS) => facts.traffic_class = said.data.first().copied().unwrap_or(0),
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if said.data.len() >= 16 => {
                    facts.destination = Some(Address::from_octets(&said.data[..16]));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => facts.hops = int(said.data) as u8,
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => facts.traffic_class = int(said.data) as u8,
                (libc::IPPROTO_UDP, UDP_GRO) => facts.segment_octets = int(said.data).max(0) as usize,
                _ => {}
            }
        }
        facts
    }
}

/// The kernel gives them in the order of the packet, and each names what follows it.
fn extend(kind: u8, data: &[u8], next: &mut u8, extensions: &mut Vec<u8>) {
    if extensions.is_empty() {
        *next = kind;
    }
    extensions.extend_from_slice(data);
}

fn label(data: &[u8]) -> u32 {
    u32::from_be_bytes([data[0], data[1], data[2], data[3]]) & 0xF_FFFF
}

/// A C int, or 0 where there is none.
fn int(data: &[u8]) -> c_int {
    data.first_chunk().map_or(0, |four| c_int::from_ne_bytes(*four))
}
