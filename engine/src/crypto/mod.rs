//! Algorithms: one table, and engines that run them over batches of packets.
//!
//! `prepare` does the key set-up of an SA once. Per packet there are two kinds of work:
//!
//! * ESP: `seal` and `open`, in place, over octets laid out as they go on the wire:
//!   `SPI (4) | sequence (4) | IV | clear or cipher text | ICV`. Sealing fills in IV and ICV and encrypts what lies
//!   between; opening verifies and decrypts in place. What is not authentic nobody gets to see decrypted: its text is
//!   left as it came, or is all zeros.
//! * AH: `sign` over octets that the caller has put together.
//!
//! A batch may mix SAs and algorithms: what an engine can do side by side it does side by side.

pub mod chance;
#[cfg(culvert_ipsec_mb)]
pub mod ipsec_mb;
pub mod portable;
pub mod table;

use crate::tables::sa::Secret;

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
    /// Of the packet's SA; made by the engine that gets the job.
    pub key: &'a Keyed,
    /// From the SPI to the end of the ICV. SPI and sequence number stand there already.
    pub esp: &'a mut [u8],
    /// The whole sequence number, of which the packet has the lower 32 bits.
    pub number: u64,
    /// Set by `open`: whether the packet is authentic. If not, nobody looks at its text any more. Sealing sets it too,
    /// and always succeeds on a packet whose length fits its layout and an IP packet.
    pub right: bool,
}

/// Prepared keys of one SA. Which variant it is, is the engine's own matter; all of it is wiped when it goes.
pub struct Keyed {
    /// Extended sequence numbers: the upper 32 bits are authenticated without being sent. For ESP with a cipher and
    /// an integrity algorithm behind the trailer (RFC 4303 section 2.2.1), for a combined one between SPI and
    /// sequence number of the associated data (RFC 4106 section 5).
    pub esn: bool,
    /// For ESP.
    pub layout: Layout,
    /// Octets of the ICV that `sign` makes; for AH.
    pub icv: usize,
    /// Octets of that ICV which are an IV: of AES-GMAC in AH (RFC 4543 section 4), else 0.
    pub signed_iv: usize,
    /// The engine's.
    pub prepared: Box<dyn std::any::Any + Send + Sync>,
}

/// Why keys can't be prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// No row has this name.
    UnknownAlgorithm(String),
    /// The row, octets it wants, octets given.
    KeyLength(String, usize, usize),
    /// Encryption without integrity, or integrity twice (RFC 8221 section 4).
    Unauthenticated(String),
}

/// Runs algorithms. One per worker; keys that one prepared may be used by another of the same kind.
pub trait Engine: Send {
    /// What `show` calls it: `portable`, or `ipsec-mb 1.3.0, avx512`.
    fn name(&self) -> String;

    /// The keys of an ESP SA. `auth` is `none` beside a combined cipher.
    fn prepare_esp(&self, cipher: &str, key: &Secret, auth: &str, auth_key: &Secret, esn: bool)
    -> Result<Keyed, Unfit>;

    /// The key of an AH SA.
    fn prepare_ah(&self, auth: &str, key: &Secret, esn: bool) -> Result<Keyed, Unfit>;

    /// Seal every job in place. Counter modes take the number for their IV, CBC takes chance.
    fn seal(&mut self, jobs: &mut [Job<'_>], random: &mut dyn Random);

    /// Verify every job, in time that doesn't depend on how an ICV is wrong, and decrypt the authentic ones in place. An
    /// engine may decrypt before it knows; then it puts zeros over the text of those that are not, before it returns.
    fn open(&mut self, jobs: &mut [Job<'_>]);

    /// The ICV over these octets (the upper half of the number not among them), as long as `key.icv`.
    fn sign(&mut self, key: &Keyed, number: u64, covered: &[u8], icv: &mut [u8]);

    /// Whether `icv` is theirs; takes the same time for every wrong one.
    fn verify(&mut self, key: &Keyed, number: u64, covered: &[u8], icv: &[u8]) -> bool;
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
