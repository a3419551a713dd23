//! Fragments put together again, and followed (RFC 791, RFC 8200 section 4.5, RFC 4301 section 7).
//!
//! IPsec protects and opens whole packets only (RFC 4303 section 3.3.4). So what arrives in fragments for an SA is put
//! together first, with limits on everything that a stranger could make grow: how many packets wait, how many octets they
//! hold, how many pieces one has and how long it waits. Fragments that overlap kill their packet (RFC 5722, for both
//! families), since two readers could put them together in two ways.
//!
//! A later fragment shows no ports. `Trail` remembers what became of the first one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;

use crate::reason::Reason;
use crate::wire::fragment::{FragmentKey, IPV6_FRAGMENT_OCTETS, key_of};
use crate::wire::ip::{self, Datagram, Fragment};

/// How long a piece waits for the others, and a trail is remembered.
pub const WAIT_SECONDS: f64 = 30.0;
/// Packets that wait.
pub const PACKETS_MAX: usize = 256;
/// Of one packet.
pub const PIECES_MAX: usize = 64;
/// Of all that wait.
pub const OCTETS_MAX: usize = 4 * 1024 * 1024;
/// First fragments that are remembered.
pub const TRAIL_MAX: usize = 1024;

/// Congestion experienced: both bits of the ECN field (RFC 3168 section 5).
const CE: u8 = 3;

/// What a piece came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Added {
    /// It was the piece that the packet lacked.
    Whole(Vec<u8>),
    /// The packet lacks others.
    Waiting,
    /// The end of the piece, and of its packet.
    Drop(Reason),
}

struct Pieces {
    since: f64,
    serial: u64,
    parts: BTreeMap<usize, Vec<u8>>,
    header: Vec<u8>,
    named_at: usize,
    protocol: u8,
    /// Where the last piece ends, once it has come.
    end: Option<usize>,
    octets: usize,
    congested: bool,
    /// Of carrying a mark of congestion: no piece says that it isn't.
    capable: bool,
    /// A piece as it came, for the report of its death.
    last: Vec<u8>,
}

impl Pieces {
    fn new(since: f64, serial: u64) -> Pieces {
        Pieces {
            since,
            serial,
            parts: BTreeMap::new(),
            header: Vec::new(),
            named_at: 0,
            protocol: 0,
            end: None,
            octets: 0,
            congested: false,
            capable: true,
            last: Vec::new(),
        }
    }

    /// Whether a piece overlaps no other, ends where it may, and is not one too many.
    fn fits(&self, fragment: &Fragment, octets: usize) -> bool {
        let (first, last) = (fragment.offset, fragment.offset + octets);
        if self.parts.len() >= PIECES_MAX || self.end.is_some_and(|end| last > end || !fragment.more) {
            return false;
        }
        let farthest = self.parts.last_key_value().map_or(0, |(at, part)| at + part.len());
        if !fragment.more && last < farthest {
            return false;
        }
        let before = self.parts.range(..last).next_back();
        before.is_none_or(|(at, part)| first >= at + part.len())
    }

    fn keep(&mut self, packet: &[u8], datagram: &Datagram, fragment: &Fragment, part: &[u8]) {
        self.parts.insert(fragment.offset, part.to_vec());
        self.octets += part.len();
        self.last = packet.to_vec();
        let mark = datagram.traffic_class & CE;
        self.congested |= mark == CE;
        self.capable &= mark != 0;
        if !fragment.more {
            self.end = Some(fragment.offset + part.len());
        }
        if fragment.offset == 0 {
            self.keep_header(packet, datagram, fragment);
        }
    }

    /// The header of the whole packet, the octet in it that names what follows, and what that is.
    fn keep_header(&mut self, packet: &[u8], datagram: &Datagram, fragment: &Fragment) {
        if fragment.header_at == 0 {
            self.header = packet[..datagram.offset].to_vec();
            self.header[6..8].fill(0);
            (self.named_at, self.protocol) = (9, datagram.protocol);
            return;
        }
        let (mut at, mut named_at) = (ip::IPV6_HEADER_OCTETS, 6);
        while at < fragment.header_at {
            (named_at, at) = (at, at + ip::extension_octets(packet, at, packet[named_at]));
        }
        self.header = packet[..fragment.header_at].to_vec();
        (self.named_at, self.protocol) = (named_at, packet[fragment.header_at]);
    }

    fn whole(mut self) -> Added {
        let body_octets: usize = self.parts.values().map(Vec::len).sum();
        if body_octets > ip::payload_max(&self.header) {
            return Added::Drop(Reason::Fragment);
        }
        if self.congested {
            // RFC 3168 section 5.3: no mark of congestion may be lost.
            if !self.capable {
                return Added::Drop(Reason::Congestion);
            }
            self.header[1] |= if self.header[0] >> 4 == 4 { CE } else { CE << 4 };
        }
        ip::set_length(&mut self.header, self.named_at, self.protocol, body_octets);
        let mut packet = self.header;
        self.parts.values().for_each(|part| packet.extend_from_slice(part));
        Added::Whole(packet)
    }
}

/// Packets whose fragments are still coming in.
#[derive(Default)]
pub struct Reassembler {
    waiting: HashMap<FragmentKey, Pieces>,
    /// As they came; what is gone by now has another serial number, or none.
    order: VecDeque<(FragmentKey, u64)>,
    octets: usize,
    serial: u64,
}

impl Reassembler {
    /// Packets that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What they hold so far.
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// One more piece.
    pub fn add(&mut self, packet: &[u8], datagram: &Datagram, now: f64) -> Added {
        let Some(fragment) = datagram.fragment else {
            return Added::Drop(Reason::Fragment);
        };
        let start = if fragment.header_at == 0 { datagram.offset } else { fragment.header_at + IPV6_FRAGMENT_OCTETS };
        let part = &packet[start.min(datagram.length)..datagram.length];
        let is_odd = fragment.more && !part.len().is_multiple_of(8);
        if is_odd || part.is_empty() || fragment.offset + part.len() > ip::LENGTH_MAX {
            return Added::Drop(Reason::Fragment);
        }
        let key = key_of(datagram);
        if !self.waiting.contains_key(&key) && !self.begin(key, now) {
            return Added::Drop(Reason::Reassembly);
        }
        self.add_part(&key, packet, datagram, &fragment, part)
    }

    fn begin(&mut self, key: FragmentKey, now: f64) -> bool {
        if self.waiting.len() >= PACKETS_MAX {
            return false;
        }
        self.serial += 1;
        self.waiting.insert(key, Pieces::new(now, self.serial));
        self.order.push_back((key, self.serial));
        if self.order.len() > 4 * PACKETS_MAX {
            let waiting = &self.waiting;
            self.order.retain(|(key, serial)| waiting.get(key).is_some_and(|pieces| pieces.serial == *serial));
        }
        true
    }

    fn add_part(
        &mut self,
        key: &FragmentKey,
        packet: &[u8],
        datagram: &Datagram,
        fragment: &Fragment,
        part: &[u8],
    ) -> Added {
        let pieces = self.waiting.get_mut(key).expect("it has begun");
        if pieces.parts.get(&fragment.offset).is_some_and(|known| known == part) {
            // The network may say things twice (RFC 8200 section 4.5).
            return Added::Waiting;
        }
        if self.octets + part.len() > OCTETS_MAX || !pieces.fits(fragment, part.len()) {
            self.forget(key);
            return Added::Drop(Reason::Reassembly);
        }
        pieces.keep(packet, datagram, fragment, part);
        self.octets += part.len();
        if pieces.end != Some(pieces.octets) {
            return Added::Waiting;
        }
        self.forget(key).whole()
    }

    fn forget(&mut self, key: &FragmentKey) -> Pieces {
        let pieces = self.waiting.remove(key).expect("it waits");
        self.octets -= pieces.octets;
        pieces
    }

    /// Give up what waited too long; the last piece of each.
    pub fn expire(&mut self, now: f64) -> Vec<Vec<u8>> {
        let mut expired = Vec::new();
        while let Some((key, serial)) = self.order.front().copied() {
            match self.waiting.get(&key) {
                Some(pieces) if pieces.serial == serial => {
                    if now - pieces.since < WAIT_SECONDS {
                        break;
                    }
                    expired.push(self.forget(&key).last);
                }
                _ => {}
            }
            self.order.pop_front();
        }
        expired
    }
}

/// What became of first fragments, for the later ones of the same packets; bounded in number and time.
pub struct Trail<K, T> {
    seen: HashMap<K, (f64, u64, T)>,
    order: VecDeque<(K, u64)>,
    serial: u64,
}

impl<K, T> Default for Trail<K, T> {
    fn default() -> Trail<K, T> {
        Trail { seen: HashMap::new(), order: VecDeque::new(), serial: 0 }
    }
}

impl<K: Hash + Eq + Copy, T: Clone> Trail<K, T> {
    /// The first fragment came to this.
    pub fn lay(&mut self, key: K, what: T, now: f64) {
        self.serial += 1;
        self.seen.insert(key, (now, self.serial, what));
        self.order.push_back((key, self.serial));
        while self.seen.len() > TRAIL_MAX || self.order.len() > 4 * TRAIL_MAX {
            let Some((oldest, serial)) = self.order.pop_front() else { break };
            let is_current = self.seen.get(&oldest).is_some_and(|(_, current, _)| *current == serial);
            if is_current && self.seen.len() > TRAIL_MAX {
                self.seen.remove(&oldest);
            } else if is_current {
                // Not one too many, only many that were laid again: it keeps its place among the living.
                self.order.push_front((oldest, serial));
                self.tidy();
            }
        }
    }

    fn tidy(&mut self) {
        let seen = &self.seen;
        self.order.retain(|(key, serial)| seen.get(key).is_some_and(|(_, current, _)| current == serial));
    }

    /// What the first fragment came to, unless that was too long ago.
    pub fn follow(&self, key: &K, now: f64) -> Option<T> {
        let (when, _, what) = self.seen.get(key)?;
        (now - when < WAIT_SECONDS).then(|| what.clone())
    }

    /// Forget all.
    pub fn clear(&mut self) {
        self.seen.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests;
