//! IP payload compression (RFC 3173) with DEFLATE (RFC 2394): smaller before it is encrypted, or left alone.
//!
//! ```text
//!   next header (1) | flags = 0 (1) | compression parameter index (2) | compressed payload
//! ```
//!
//! * Never larger (RFC 3173 section 2.2): a payload that doesn't shrink by more than the header goes as it is, without
//!   a header, and the receiver takes both.
//! * Adaptive (the same section): after a run of payloads that didn't shrink, the next ones aren't even tried.
//! * One level, one packet: the output of decompression is at most what an IP packet can hold, and is final.
//!
//! Packets know nothing of each other, so zlib's quarter of a megabyte of state is there once for each thread, not for
//! each SA.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::reason::Reason;
use crate::wire::ip::{LENGTH_MAX, next_header, word};

/// In front of what was compressed.
pub const HEADER_OCTETS: usize = 4;
/// What is shorter rarely shrinks (RFC 2394 section 2.3 advises a threshold).
const WORTH_OCTETS: usize = 90;
const FAILURES_BEFORE_REST: u32 = 4;
const REST_PACKETS_MAX: u32 = 64;

thread_local! {
    static DEFLATE: RefCell<Compress> = RefCell::new(Compress::new(Compression::default(), false));
    static INFLATE: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// The compression of one outbound SA; what it remembers is only how well it went.
#[derive(Debug)]
pub struct Compressor {
    cpi: u16,
    failures: u32,
    resting: u32,
}

impl Compressor {
    /// For packets of this index.
    pub fn new(cpi: u16) -> Compressor {
        Compressor { cpi, failures: 0, resting: 0 }
    }

    /// Put the payload into `into` as it goes on, and give its next header; None where it goes as it is.
    pub fn compress(&mut self, next: u8, payload: &[u8], into: &mut Vec<u8>) -> Option<u8> {
        if payload.len() < WORTH_OCTETS || self.is_resting() {
            return None;
        }
        into.clear();
        into.extend_from_slice(&[next, 0]);
        into.extend_from_slice(&self.cpi.to_be_bytes());
        if !deflate(payload, into) || into.len() >= payload.len() {
            self.failed();
            return None;
        }
        self.failures = 0;
        Some(next_header::IPCOMP)
    }

    fn is_resting(&mut self) -> bool {
        self.resting = self.resting.saturating_sub(1);
        self.resting > 0
    }

    fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES_BEFORE_REST {
            let rest = 1u32.checked_shl(self.failures - FAILURES_BEFORE_REST + 2).unwrap_or(REST_PACKETS_MAX);
            self.resting = rest.min(REST_PACKETS_MAX) + 1;
        }
    }
}

/// Append the octets, compressed. False: they don't get smaller.
fn deflate(octets: &[u8], into: &mut Vec<u8>) -> bool {
    // More room than this isn't wanted: what doesn't fit is too large.
    into.reserve_exact(octets.len());
    let done = DEFLATE.with_borrow_mut(|state| {
        state.reset();
        state.compress_vec(octets, into, FlushCompress::Finish)
    });
    matches!(done, Ok(Status::StreamEnd))
}

/// Put the octets of an IPComp payload into `into`, and give their next header. `cpi` 0: the SA knows no compression.
///
/// Octets behind the end of the compressed ones are ignored.
pub fn decompress(cpi: u16, payload: &[u8], into: &mut Vec<u8>) -> Result<u8, Reason> {
    if payload.len() < HEADER_OCTETS {
        return Err(Reason::Decompression);
    }
    if cpi == 0 || word(payload, 2) != cpi {
        return Err(Reason::UnsupportedPayload);
    }
    let is_whole = inflate(&payload[HEADER_OCTETS..], into)?;
    match payload[0] {
        next_header::IPCOMP => Err(Reason::Nesting),
        next if is_whole => Ok(next),
        _ => Err(Reason::Decompression),
    }
}

/// Put as many decompressed octets into `into` as an IP packet can hold; whether these are all.
fn inflate(octets: &[u8], into: &mut Vec<u8>) -> Result<bool, Reason> {
    make_room(into);
    let done = INFLATE.with_borrow_mut(|state| {
        state.reset(false);
        state.decompress_vec(octets, into, FlushDecompress::Finish)
    });
    let status = done.map_err(|_| Reason::Decompression)?;
    Ok(status == Status::StreamEnd && into.len() <= LENGTH_MAX)
}

/// For just as many octets: what is decompressed fills all the room that there is.
fn make_room(into: &mut Vec<u8>) {
    into.clear();
    if into.capacity() > LENGTH_MAX {
        into.shrink_to(LENGTH_MAX);
    }
    into.reserve_exact(LENGTH_MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPI: u16 = 2;

    fn noise(octets: usize) -> Vec<u8> {
        let mut dice: u64 = 9;
        let mut roll = || {
            dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (dice >> 56) as u8
        };
        (0..octets).map(|_| roll()).collect()
    }

    /// As another program would make it.
    fn packed_as(octets: &[u8], next: u8, cpi: u16, flags: u8) -> Vec<u8> {
        let mut packet = vec![next, flags];
        packet.extend_from_slice(&cpi.to_be_bytes());
        let mut state = Compress::new(Compression::new(9), false);
        packet.reserve(octets.len() + 1000);
        let done = state.compress_vec(octets, &mut packet, FlushCompress::Finish);
        assert!(matches!(done, Ok(Status::StreamEnd)));
        packet
    }

    fn packed(octets: &[u8]) -> Vec<u8> {
        packed_as(octets, 4, CPI, 0)
    }

    fn compressed(compressor: &mut Compressor, octets: &[u8]) -> Option<Vec<u8>> {
        let mut into = Vec::new();
        compressor.compress(4, octets, &mut into).map(|_| into)
    }

    fn decompressed(cpi: u16, payload: &[u8]) -> Result<(u8, Vec<u8>), Reason> {
        let mut into = Vec::new();
        decompress(cpi, payload, &mut into).map(|next| (next, into))
    }

    #[test]
    fn what_was_compressed_decompresses() {
        for part in 0..60 {
            for times in [1, 2, 7, 30, 60] {
                let octets = noise(part).repeat(times);
                let Some(payload) = compressed(&mut Compressor::new(CPI), &octets) else { continue };
                // RFC 3173 section 2.2: smaller, header included; below a threshold not even tried.
                assert!(payload.len() < octets.len() && octets.len() >= WORTH_OCTETS);
                assert_eq!(payload[..4], [4, 0, 0, 2]);
                assert_eq!(decompressed(CPI, &payload), Ok((4, octets)));
            }
        }
    }

    #[test]
    fn what_does_not_shrink_goes_as_it_is() {
        let mut into = Vec::with_capacity(100_000);
        assert_eq!(Compressor::new(CPI).compress(4, &noise(600), &mut into), None);
        assert_eq!(Compressor::new(CPI).compress(4, &[0; WORTH_OCTETS - 1], &mut into), None);
        assert_eq!(Compressor::new(CPI).compress(4, &[0; WORTH_OCTETS], &mut into), Some(next_header::IPCOMP));
    }

    /// More and more noise, so that less and less is gained.
    #[test]
    fn what_shrinks_by_no_more_than_the_header_goes_as_it_is() {
        let shrinks = |noisy: usize| {
            let octets = [noise(noisy), vec![0; 300 - noisy]].concat();
            let gain = octets.len() as i64 - (packed(&octets).len() as i64 - HEADER_OCTETS as i64);
            (gain, compressed(&mut Compressor::new(CPI), &octets).is_some())
        };
        let all: Vec<_> = (200..300).map(shrinks).collect();
        assert!(all.iter().all(|(gain, is_compressed)| *is_compressed == (*gain > 4)), "{all:?}");
        assert!(all.contains(&(5, true)) && all.contains(&(4, false)));
    }

    /// How many packets that would shrink go by uncompressed after so many that don't.
    fn rest_after(compressor: &mut Compressor, failures: u32) -> u32 {
        (0..failures).for_each(|_| assert_eq!(compressed(compressor, &noise(600)), None));
        (0..).take_while(|_| compressed(compressor, &[0; 500]).is_none()).count() as u32
    }

    /// RFC 3173 section 2.2: an adaptive algorithm.
    #[test]
    fn it_rests_after_a_run_of_failures_and_longer_every_time() {
        let rests: Vec<u32> = (0..5).map(|failures| rest_after(&mut Compressor::new(CPI), failures)).collect();
        assert_eq!(rests, [0, 0, 0, 0, 4]);
        let mut compressor = Compressor::new(CPI);
        let mut tries = Vec::new();
        for number in 0..400 {
            let before = compressor.failures;
            compressed(&mut compressor, &noise(600));
            tries.extend((compressor.failures != before).then_some(number));
        }
        let gaps: Vec<u32> = tries.windows(2).map(|two| two[1] - two[0]).collect();
        assert_eq!(gaps[..8], [1, 1, 1, 5, 9, 17, 33, 65]);
        assert!(gaps[8..].iter().all(|gap| *gap == REST_PACKETS_MAX + 1));
        rest_after(&mut compressor, 0);
        assert_eq!(rest_after(&mut compressor, 3), 0);
        compressor.failures = u32::MAX;
        compressor.failed();
        assert_eq!(compressor.resting, REST_PACKETS_MAX + 1);
    }

    #[test]
    fn decompression_takes_what_others_made() {
        assert_eq!(decompressed(CPI, &packed(&b"text ".repeat(50))), Ok((4, b"text ".repeat(50))));
        // RFC 3173 section 3.1: flags are zero and ignored.
        assert_eq!(decompressed(CPI, &packed_as(b"text", 6, CPI, 0xFF)), Ok((6, b"text".to_vec())));
        assert_eq!(decompressed(CPI, &packed(b"")), Ok((4, Vec::new())));
        assert_eq!(decompressed(CPI, &[packed(b"text"), vec![1, 2, 3]].concat()), Ok((4, b"text".to_vec())));
    }

    #[test]
    fn what_is_refused() {
        let whole = packed(&[0; 500]);
        let broken = [&packed(b"text")[..4], &[0xFF; 20]].concat();
        let nested = |inner: &[u8]| packed_as(inner, next_header::IPCOMP, CPI, 0);
        for (payload, reason) in [
            (Vec::new(), Reason::Decompression),
            (whole[..3].to_vec(), Reason::Decompression),
            (whole[..4].to_vec(), Reason::Decompression),
            (whole[..whole.len() - 1].to_vec(), Reason::Decompression),
            (broken.clone(), Reason::Decompression),
            ([&[next_header::IPCOMP], &broken[1..]].concat(), Reason::Decompression),
            (packed_as(b"text", 4, 3, 0), Reason::UnsupportedPayload),
            (packed_as(b"text", 4, 0, 0), Reason::UnsupportedPayload),
            (nested(&packed(b"text")), Reason::Nesting),
            (nested(&[0; 70000]), Reason::Nesting),
            (nested(&[0; 500])[..6].to_vec(), Reason::Nesting),
            (packed(&[0; LENGTH_MAX + 1]), Reason::Decompression),
            (packed(&[0; 10_000_000]), Reason::Decompression),
        ] {
            assert_eq!(decompressed(CPI, &payload), Err(reason), "{:?}", &payload[..payload.len().min(16)]);
        }
        assert_eq!(decompressed(0, &packed_as(b"text", 4, 0, 0)), Err(Reason::UnsupportedPayload));
    }

    #[test]
    fn the_largest_packet_that_is_taken_however_much_room_there_is() {
        for room in [0, 10, LENGTH_MAX, 1_000_000] {
            let mut into = Vec::with_capacity(room);
            assert_eq!(decompress(CPI, &packed(&[7; LENGTH_MAX]), &mut into), Ok(4));
            assert!(into.len() == LENGTH_MAX && into.iter().all(|octet| *octet == 7));
            assert_eq!(decompress(CPI, &packed(&[0; LENGTH_MAX + 1]), &mut into), Err(Reason::Decompression));
        }
    }
}
