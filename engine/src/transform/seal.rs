//! One packet sealed or opened: the octets of ESP (RFC 4303 section 2) and AH (RFC 4302 section 2).
//!
//! ```text
//!   SPI (4) | sequence number (4) | IV | payload | padding | pad length (1) | next header (1) | ICV
//!   next header (1) | length (1) | reserved = 0 (2) | SPI (4) | sequence number (4) | ICV, padded | payload
//! ```
//!
//! Opening goes in the order of RFC 4303 section 3.4: replay check, integrity check, window, decryption, padding.

use crate::crypto::{ESP_HEADER_OCTETS, Engine, Job, Keyed, Layout, Random, TRAILER_OCTETS};
use crate::reason::Reason;
use crate::tables::replay::Window;
use crate::wire::immutable::{aligned, immutable};
use crate::wire::ip::{long, next_header};

/// Of AH in front of its ICV.
pub const AH_FIXED_OCTETS: usize = 12;

/// Where the payload of an authentic packet lies in the octets that were opened, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Of the payload.
    pub next_header: u8,
    /// First octet.
    pub start: usize,
    /// Behind the last one.
    pub end: usize,
}

/// Lay out an ESP packet around a payload whose place is `payload_at(layout)`: all but IV and ICV, in clear.
#[inline]
pub fn frame_esp(esp: &mut [u8], layout: &Layout, spi: u32, number: u64, payload_octets: usize, next: u8) {
    esp[0..4].copy_from_slice(&spi.to_be_bytes());
    esp[4..8].copy_from_slice(&(number as u32).to_be_bytes());
    let end = esp.len() - layout.icv;
    let padding = &mut esp[ESP_HEADER_OCTETS + layout.iv + payload_octets..end];
    let pad_octets = padding.len() - TRAILER_OCTETS;
    for (position, octet) in padding[..pad_octets].iter_mut().enumerate() {
        *octet = (position + 1) as u8;
    }
    padding[pad_octets] = pad_octets as u8;
    padding[pad_octets + 1] = next;
}

/// An ESP packet behind `before` octets that are the caller's to fill.
#[allow(clippy::too_many_arguments, reason = "one packet's worth of facts")]
pub fn seal_esp(
    engine: &mut dyn Engine,
    random: &mut dyn Random,
    key: &Keyed,
    spi: u32,
    number: u64,
    next: u8,
    payload: &[u8],
    before: usize,
) -> Vec<u8> {
    let layout = &key.layout;
    let mut packet = vec![0; before + layout.sealed(payload.len())];
    let esp = &mut packet[before..];
    let at = ESP_HEADER_OCTETS + layout.iv;
    esp[at..at + payload.len()].copy_from_slice(payload);
    frame_esp(esp, layout, spi, number, payload.len(), next);
    engine.seal(&mut [Job { key, esp, number, right: false }], random);
    packet
}

/// Whether so many octets can be an ESP packet of this layout at all.
#[inline]
pub fn is_esp_runt(layout: &Layout, octets: usize) -> bool {
    let least = layout.sealed(0);
    octets < least || (octets - least) & (layout.alignment - 1) != 0
}

/// Open the ESP packet `esp` of this key in place.
pub fn open_esp(engine: &mut dyn Engine, key: &Keyed, window: &mut Window, esp: &mut [u8]) -> Result<Payload, Reason> {
    if is_esp_runt(&key.layout, esp.len()) {
        return Err(Reason::Runt);
    }
    let number = window.number_of(long(esp, 4)).filter(|number| window.check(*number)).ok_or(Reason::Replay)?;
    let mut job = [Job { key, esp, number, right: false }];
    engine.open(&mut job);
    if !job[0].right {
        return Err(Reason::Integrity);
    }
    window.mark(number);
    without_trailer(job[0].esp, &key.layout)
}

/// The payload of an opened packet, by its trailer.
#[inline]
pub fn without_trailer(esp: &[u8], layout: &Layout) -> Result<Payload, Reason> {
    let start = ESP_HEADER_OCTETS + layout.iv;
    let trailer = esp.len() - layout.icv - TRAILER_OCTETS;
    let (pad_octets, next_header) = (usize::from(esp[trailer]), esp[trailer + 1]);
    // RFC 4303 section 2.4: the receiver should look at the padding.
    if start + pad_octets > trailer || !is_padding(&esp[trailer - pad_octets..trailer]) {
        return Err(Reason::Padding);
    }
    if next_header == next_header::NONE {
        return Err(Reason::Dummy);
    }
    Ok(Payload { next_header, start, end: trailer - pad_octets })
}

#[inline]
fn is_padding(octets: &[u8]) -> bool {
    octets.iter().enumerate().all(|(position, octet)| *octet == (position + 1) as u8)
}

/// AH and payload, to stand behind `header`, which names AH and the length; None where its options are damaged.
#[allow(clippy::too_many_arguments, reason = "one packet's worth of facts")]
pub fn sign_ah(
    engine: &mut dyn Engine,
    key: &Keyed,
    header_octets: usize,
    spi: u32,
    number: u64,
    next: u8,
    header: &[u8],
    payload: &[u8],
) -> Option<Vec<u8>> {
    let mut covered = Vec::with_capacity(header.len() + header_octets + payload.len() + 4);
    covered.extend_from_slice(header);
    if !immutable(&mut covered, true) {
        return None;
    }
    let at = covered.len();
    covered.extend_from_slice(&[next, (header_octets / 4 - 2) as u8, 0, 0]);
    covered.extend_from_slice(&spi.to_be_bytes());
    covered.extend_from_slice(&(number as u32).to_be_bytes());
    covered.resize(at + header_octets, 0);
    let icv_at = at + AH_FIXED_OCTETS;
    covered[icv_at..icv_at + key.signed_iv].copy_from_slice(&number.to_be_bytes()[..key.signed_iv]);
    covered.extend_from_slice(payload);
    let mut icv = [0; 64];
    engine.sign(key, number, &covered, &mut icv[..key.icv]);
    covered[icv_at..icv_at + key.icv].copy_from_slice(&icv[..key.icv]);
    Some(covered.split_off(at))
}

/// Octets of the AH that stands at `start`, with its padding; None for lengths that the algorithm can't have.
fn ah_octets(key: &Keyed, header_octets: usize, packet: &[u8], start: usize, end: usize) -> Option<usize> {
    if end - start < AH_FIXED_OCTETS + key.icv {
        return None;
    }
    let octets = (usize::from(packet[start + 1]) + 2) * 4;
    // Linux pads to eight octets in IPv4 too unless it is told otherwise.
    let allowed = octets == header_octets || octets == aligned(key.icv, 8);
    (allowed && start + octets <= end).then_some(octets)
}

/// Verify the AH of this key that stands at `start`..`end` of `packet`.
pub fn open_ah(
    engine: &mut dyn Engine,
    key: &Keyed,
    header_octets: usize,
    window: &mut Window,
    packet: &[u8],
    start: usize,
    end: usize,
) -> Result<Payload, Reason> {
    let octets = ah_octets(key, header_octets, packet, start, end).ok_or(Reason::Runt)?;
    let low = long(packet, start + 8);
    let number = window.number_of(low).filter(|number| window.check(*number)).ok_or(Reason::Replay)?;
    if !is_authentic(engine, key, number, packet, start, end) {
        return Err(Reason::Integrity);
    }
    window.mark(number);
    if packet[start] == next_header::NONE {
        return Err(Reason::Dummy);
    }
    Ok(Payload { next_header: packet[start], start: start + octets, end })
}

fn is_authentic(engine: &mut dyn Engine, key: &Keyed, number: u64, packet: &[u8], start: usize, end: usize) -> bool {
    let mut covered = packet[..end].to_vec();
    if !immutable(&mut covered[..start], false) {
        return false;
    }
    let icv_at = start + AH_FIXED_OCTETS;
    covered[icv_at + key.signed_iv..icv_at + key.icv].fill(0);
    engine.verify(key, number, &covered, &packet[icv_at..icv_at + key.icv])
}
