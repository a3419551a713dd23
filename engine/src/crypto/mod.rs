//! Algorithms: one table, and engines that run them over batches of packets.
//!
//! A `Keyed` is the keys of one SA; an engine does their set-up when it first meets them, and keeps what came of it while
//! they are in use. Per packet there are two kinds of work:
//!
//! * ESP: `seal` and `open`, in place, over octets laid out as they go on the wire:
//!   `SPI (4) | sequence (4) | IV | clear or cipher text | ICV`. Sealing fills in IV and ICV and encrypts what lies
//!   between; opening verifies and decrypts in place. What is not authentic nobody gets to see decrypted: its text is
//!   left as it came, or is all zeros.
//! * AH: `sign` over octets that the caller has put together.
//!
//! A batch may mix SAs and algorithms: what an engine can do side by side it does side by side.

mod cache;
pub mod chance;
#[cfg(culvert_ipsec_mb)]
pub mod ipsec_mb;
mod keyed;
pub mod portable;
pub mod table;

pub use keyed::{Keyed, Serial};

/// Chance. The IVs of CBC are made of it, so it has to be a generator fit for cryptography.
pub trait Random: Send {
    /// Overwrite all of `octets`.
    fn fill(&mut self, octets: &mut [u8]);
}

/// The sizes that the algorithms of an ESP SA bring, in octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// In front of the cipher text.
    pub iv: usize,
    /// The cipher text's length is a multiple of it; a power of two.
    pub alignment: usize,
    /// Behind the cipher text.
    pub icv: usize,
}

/// SPI and sequence number.
pub const ESP_HEADER_OCTETS: usize = 8;
/// Pad length and next header.
pub const TRAILER_OCTETS: usize = 2;

impl Layout {
    /// From the SPI to the end of the ICV, for so many octets of payload.
    #[inline]
    pub fn sealed(&self, payload: usize) -> usize {
        let padded = (payload + TRAILER_OCTETS + self.alignment - 1) & !(self.alignment - 1);
        ESP_HEADER_OCTETS + self.iv + padded + self.icv
    }

    /// The largest payload that is at most `sealed` octets afterwards; below 0 where none fits.
    pub fn largest_payload(&self, sealed: isize) -> isize {
        let room = sealed - (ESP_HEADER_OCTETS + self.iv + self.icv) as isize;
        room.div_euclid(self.alignment as isize) * self.alignment as isize - TRAILER_OCTETS as isize
    }
}

/// One ESP packet of a batch.
pub struct Job<'a> {
    /// Of the packet's SA.
    pub key: &'a Keyed,
    /// From the SPI to the end of the ICV. SPI and sequence number stand there already.
    pub esp: &'a mut [u8],
    /// The whole sequence number, of which the packet has the lower 32 bits.
    pub number: u64,
    /// Set by `open`: whether the packet is authentic. If not, nobody looks at its text any more. Sealing sets it too,
    /// and always succeeds on a packet whose length fits its layout and an IP packet.
    pub right: bool,
}

/// Why these can't be an SA's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// No row has this name.
    UnknownAlgorithm(String),
    /// The row, octets it wants, octets given.
    KeyLength(String, usize, usize),
    /// Encryption without integrity, or integrity twice (RFC 8221 section 4).
    Unauthenticated(String),
}

/// Runs algorithms. One per worker, with prepared keys of its own.
pub trait Engine: Send {
    /// What `show` calls it: `portable`, or `ipsec-mb 1.3.0, avx512`.
    fn name(&self) -> String;

    /// Seal every job in place. Counter modes take the number for their IV, CBC takes chance.
    fn seal(&mut self, jobs: &mut [Job<'_>], random: &mut dyn Random);

    /// Verify every job, in time that doesn't depend on how an ICV is wrong, and decrypt the authentic ones in place. An
    /// engine may decrypt before it knows; then it puts zeros over the text of those that are not, before it returns.
    fn open(&mut self, jobs: &mut [Job<'_>]);

    /// The ICV over these octets (the upper half of the number not among them), as long as `key.icv`.
    fn sign(&mut self, key: &Keyed, number: u64, covered: &[u8], icv: &mut [u8]);

    /// Whether `icv` is theirs; takes the same time for every wrong one.
    fn verify(&mut self, key: &Keyed, number: u64, covered: &[u8], icv: &[u8]) -> bool;

    /// These keys are out of service, and nothing of them is to be left; None: any may be.
    fn forget(&mut self, serials: Option<&[Serial]>);

    /// How many keys it has prepared and holds.
    fn prepared(&self) -> usize;
}

/// The engines of this build. With `ipsec-mb and ring`, what ring knows is its work.
pub fn engines() -> Vec<&'static str> {
    vec![
        #[cfg(culvert_ipsec_mb)]
        "ipsec-mb",
        #[cfg(culvert_ipsec_mb)]
        "ipsec-mb and ring",
        "portable",
    ]
}

/// An engine by its name, or why there is none.
pub fn engine_called(name: &str) -> Result<Box<dyn Engine>, String> {
    match name {
        "portable" => Ok(Box::new(portable::Portable::new())),
        #[cfg(culvert_ipsec_mb)]
        "ipsec-mb" => Ok(Box::new(ipsec_mb::IpsecMb::new(false)?)),
        #[cfg(culvert_ipsec_mb)]
        "ipsec-mb and ring" => Ok(Box::new(ipsec_mb::IpsecMb::new(true)?)),
        _ => Err(format!("there is no engine '{name}' in this build")),
    }
}

/// The fastest that works on this processor.
pub fn best_engine() -> Box<dyn Engine> {
    #[cfg(culvert_ipsec_mb)]
    if let Ok(engine) = ipsec_mb::IpsecMb::new(ipsec_mb::ring_outpaces()) {
        return Box::new(engine);
    }
    Box::new(portable::Portable::new())
}
