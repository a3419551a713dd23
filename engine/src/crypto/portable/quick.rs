//! AES-GCM and ChaCha20-Poly1305 by ring, whose assembly is several times as fast as the portable crates: with VAES and no
//! AVX-512 it outpaces libipsec-mb on packets that aren't small. It knows keys of 128 and 256 bits and whole tags.

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, Tag, UnboundKey};

use super::ciphers::TAG_OCTETS;
use crate::crypto::table::{Cipher, CipherRow};
use crate::io::wiped::Wiped;

/// A prepared key. "Less safe" is that ring leaves it to us never to use a nonce twice: the journal's work.
pub struct Quick(Wiped<LessSafeKey>);

fn algorithm(row: &CipherRow) -> Option<&'static Algorithm> {
    match (row.cipher, row.key - row.salt, row.icv) {
        (Cipher::AesGcm, 16, TAG_OCTETS) => Some(&AES_128_GCM),
        (Cipher::AesGcm, 32, TAG_OCTETS) => Some(&AES_256_GCM),
        (Cipher::ChaCha20Poly1305, ..) => Some(&CHACHA20_POLY1305),
        _ => None,
    }
}

/// Whether ring has the algorithm.
pub fn knows(row: &CipherRow) -> bool {
    algorithm(row).is_some()
}

impl Quick {
    /// Of a key without its salt; None where ring doesn't have the algorithm.
    pub fn new(row: &CipherRow, key: &[u8]) -> Option<Quick> {
        let unbound = UnboundKey::new(algorithm(row)?, key).expect("the table has the length");
        Some(Quick(Wiped::new(LessSafeKey::new(unbound))))
    }

    /// Encrypt in place; the tag.
    pub fn seal(&self, nonce: &[u8; 12], associated: &[u8], text: &mut [u8]) -> [u8; TAG_OCTETS] {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(associated), text);
        let tag = tag.expect("an IP packet is short enough for every cipher");
        tag.as_ref().try_into().expect("tags have one length")
    }

    /// Whether the packet is authentic; if so, it is decrypted in place, else its text is all zeros.
    pub fn open(&self, nonce: &[u8; 12], associated: &[u8], text: &mut [u8], icv: &[u8]) -> bool {
        let Ok(tag) = Tag::try_from(icv) else { return false };
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.open_in_place_separate_tag(nonce, Aad::from(associated), tag, text, 0..).is_ok()
    }
}
