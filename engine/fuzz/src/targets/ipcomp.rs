//! Decompression of anything ends soon, in at most one packet; compression comes back.

use culvert_engine::transform::ipcomp::{Compressor, decompress};
use culvert_engine::wire::ip::LENGTH_MAX;

pub fn judge(octets: &[u8]) {
    let mut opened = Vec::new();
    let _ = decompress(2, octets, &mut opened);
    assert!(opened.len() <= LENGTH_MAX);
    let mut packed = Vec::new();
    if Compressor::new(2).compress(17, octets, &mut packed).is_some() {
        assert!(packed.len() < octets.len());
        assert_eq!(decompress(2, &packed, &mut opened), Ok(17));
        assert_eq!(opened, octets);
    }
}
