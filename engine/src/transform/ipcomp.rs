//! IP payload compression (RFC 3173) with DEFLATE (RFC 2394): smaller before it is encrypted, or left alone.
//!
//! ```text
//!   next header (1) | flags = 0 (1) | compression parameter index (2) | compressed payload
//! ```
//!
//! Never larger (RFC 3173 section 2.2), and adaptive: after a run of payloads that didn't shrink, the next ones aren't
//! even tried. Of decompression, the output is at most what an IP packet can hold, and one level deep.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::reason::Reason;
use crate::wire::ip::{LENGTH_MAX, next_header, word};

const HEADER_OCTETS: usize = 4;
/// What is shorter rarely shrinks (RFC 2394 section 2.3 advises a threshold).
const WORTH_OCTETS: usize = 90;
const FAILURES_BEFORE_REST: u32 = 4;
const REST_PACKETS_MAX: u32 = 64;

/// The compression of one outbound SA; what it remembers is only how well it went.
pub struct Compressor {
    cpi: u16,
    failures: u32,
    resting: u32,
    state: Compress,
}

impl Compressor {
    /// For packets of this index.
    pub fn new(cpi: u16) -> Compressor {
        Compressor { cpi, failures: 0, resting: 0, state: Compress::new(Compression::new(6), false) }
    }

    /// Put the payload into `into` as it goes on, and give its next header; None where it goes as it is.
    pub fn compress(&mut self, next: u8, payload: &[u8], into: &mut Vec<u8>) -> Option<u8> {
        if payload.len() < WORTH_OCTETS || self.is_resting() {
            return None;
        }
        into.clear();
        into.extend_from_slice(&[next, 0]);
        into.extend_from_slice(&self.cpi.to_be_bytes());
        // No larger than what it replaces, or it isn't wanted.
        into.reserve_exact(payload.len());
        self.state.reset();
        let done = self.state.compress_vec(payload, into, FlushCompress::Finish);
        if !matches!(done, Ok(Status::StreamEnd)) || into.len() >= payload.len() {
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

/// Put the octets of an IPComp payload into `into`, and give their next header. `cpi` 0: the SA knows no compression.
pub fn decompress(cpi: u16, payload: &[u8], into: &mut Vec<u8>) -> Result<u8, Reason> {
    if payload.len() < HEADER_OCTETS {
        return Err(Reason::Decompression);
    }
    if cpi == 0 || word(payload, 2) != cpi {
        return Err(Reason::UnsupportedPayload);
    }
    into.clear();
    into.reserve_exact(LENGTH_MAX);
    let done = Decompress::new(false).decompress_vec(&payload[HEADER_OCTETS..], into, FlushDecompress::Finish);
    let done = done.map_err(|_| Reason::Decompression)?;
    if payload[0] == next_header::IPCOMP {
        return Err(Reason::Nesting);
    }
    if done == Status::StreamEnd && into.len() <= LENGTH_MAX { Ok(payload[0]) } else { Err(Reason::Decompression) }
}
