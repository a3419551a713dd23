//! Ciphers, and ciphers that authenticate as well, on one packet in place.

use aes::{Aes128, Aes192, Aes256};
use aes_gcm::AesGcm;
use aes_gcm::aead::array::typenum::{U8, U11, U12, U16};
use aes_gcm::aead::array::{Array, ArraySize};
use aes_gcm::aead::{AeadInOut, KeyInit};
use cbc::cipher::{Block, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit};
use ccm::Ccm;
use ctr::Ctr32BE;
use ctr::cipher::StreamCipher;
use des::TdesEde3;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::quick::Quick;
use crate::crypto::Random;
use crate::crypto::table::{Cipher, CipherRow};

/// RFC 3686 section 4: the block counter begins at one.
const FIRST_BLOCK: [u8; 4] = [0, 0, 0, 1];
/// Of every counter mode.
const IV_OCTETS: usize = 8;
/// Of every combined cipher; it may be truncated.
pub(super) const TAG_OCTETS: usize = 16;

/// AES with a key of one of its three lengths.
enum Aes {
    Of128(Aes128),
    Of192(Aes192),
    Of256(Aes256),
}

impl Aes {
    fn new(key: &[u8]) -> Aes {
        let fits = "the table has the length";
        match key.len() {
            16 => Aes::Of128(Aes128::new_from_slice(key).expect(fits)),
            24 => Aes::Of192(Aes192::new_from_slice(key).expect(fits)),
            _ => Aes::Of256(Aes256::new_from_slice(key).expect(fits)),
        }
    }
}

macro_rules! with_aes {
    ($aes:expr, $key:ident => $what:expr) => {
        match $aes {
            Aes::Of128($key) => $what,
            Aes::Of192($key) => $what,
            Aes::Of256($key) => $what,
        }
    };
}

/// A cipher that hides and doesn't authenticate.
pub enum Ciphering {
    /// RFC 2410.
    Null,
    /// RFC 2451.
    TripleDes(Box<TdesEde3>),
    /// RFC 3602.
    Cbc(Box<AnyAes>),
    /// RFC 3686: key and nonce.
    Ctr(Box<AnyAes>, Zeroizing<[u8; 4]>),
}

/// Keeps the enum of key sizes to this file.
pub struct AnyAes(Aes);

impl Ciphering {
    /// Of keying material as long as the row says.
    pub fn new(row: &CipherRow, material: &[u8]) -> Ciphering {
        let (key, salt) = material.split_at(row.key - row.salt);
        match row.cipher {
            Cipher::TripleDes => {
                Ciphering::TripleDes(Box::new(TdesEde3::new_from_slice(key).expect("the table has the length")))
            }
            Cipher::AesCbc => Ciphering::Cbc(Box::new(AnyAes(Aes::new(key)))),
            Cipher::AesCtr => {
                let nonce: [u8; 4] = salt.try_into().expect("the table has the length");
                Ciphering::Ctr(Box::new(AnyAes(Aes::new(key))), nonce.into())
            }
            _ => Ciphering::Null,
        }
    }

    /// Encrypt in place; the IV is made here.
    pub fn seal(&self, number: u64, iv: &mut [u8], text: &mut [u8], random: &mut dyn Random) {
        match self {
            Ciphering::Null => {}
            Ciphering::TripleDes(key) => {
                random.fill(iv);
                cbc_encrypt(key.as_ref(), iv, text);
            }
            Ciphering::Cbc(aes) => {
                random.fill(iv);
                with_aes!(&aes.0, key => cbc_encrypt(key, iv, text));
            }
            Ciphering::Ctr(aes, nonce) => {
                iv.copy_from_slice(&number.to_be_bytes());
                ctr_apply(&aes.0, nonce, iv, text);
            }
        }
    }

    /// Decrypt in place.
    pub fn open(&self, iv: &[u8], text: &mut [u8]) {
        match self {
            Ciphering::Null => {}
            Ciphering::TripleDes(key) => cbc_decrypt(key.as_ref(), iv, text),
            Ciphering::Cbc(aes) => with_aes!(&aes.0, key => cbc_decrypt(key, iv, text)),
            Ciphering::Ctr(aes, nonce) => ctr_apply(&aes.0, nonce, iv, text),
        }
    }
}

fn cbc_encrypt<C: BlockCipherEncrypt>(key: &C, iv: &[u8], text: &mut [u8]) {
    let iv = Block::<C>::try_from(iv).expect("the layout has the length");
    let mut mode = cbc::Encryptor::<&C>::inner_iv_init(key, &iv);
    mode.encrypt_blocks(Array::slice_as_chunks_mut(text).0);
}

fn cbc_decrypt<C: BlockCipherDecrypt>(key: &C, iv: &[u8], text: &mut [u8]) {
    let iv = Block::<C>::try_from(iv).expect("the layout has the length");
    let mut mode = cbc::Decryptor::<&C>::inner_iv_init(key, &iv);
    mode.decrypt_blocks(Array::slice_as_chunks_mut(text).0);
}

fn ctr_apply(aes: &Aes, nonce: &[u8; 4], iv: &[u8], text: &mut [u8]) {
    let mut block = [0; 16];
    block[..4].copy_from_slice(nonce);
    block[4..12].copy_from_slice(iv);
    block[12..].copy_from_slice(&FIRST_BLOCK);
    let block = Array::from(block);
    with_aes!(aes, key => {
        let core = ctr::CtrCore::<_, ctr::flavors::Ctr32BE>::inner_iv_init(key, &block);
        Ctr32BE::from_core(core).apply_keystream(text);
    });
}

/// A cipher that authenticates as well.
pub struct Combined {
    keyed: Aead,
    salt: Zeroizing<[u8; 4]>,
    salt_octets: usize,
}

enum Aead {
    Quick(Quick),
    Gcm128(Box<AesGcm<Aes128, U12>>),
    Gcm192(Box<AesGcm<Aes192, U12>>),
    Gcm256(Box<AesGcm<Aes256, U12>>),
    Ccm(Box<AnyAes>),
    Gmac(Box<Aead>),
}

impl Aead {
    fn gcm(key: &[u8]) -> Aead {
        let fits = "the table has the length";
        match key.len() {
            16 => Aead::Gcm128(Box::new(AesGcm::new_from_slice(key).expect(fits))),
            24 => Aead::Gcm192(Box::new(AesGcm::new_from_slice(key).expect(fits))),
            _ => Aead::Gcm256(Box::new(AesGcm::new_from_slice(key).expect(fits))),
        }
    }
}

impl Combined {
    /// Of keying material as long as the row says.
    pub fn new(row: &CipherRow, material: &[u8]) -> Combined {
        let (key, given) = material.split_at(row.key - row.salt);
        let mut salt = Zeroizing::new([0; 4]);
        salt[..row.salt].copy_from_slice(given);
        let keyed = match (Quick::new(row, key), row.cipher) {
            (Some(quick), _) => Aead::Quick(quick),
            (None, Cipher::AesCcm) => Aead::Ccm(Box::new(AnyAes(Aes::new(key)))),
            (None, Cipher::AesGmac) => Aead::Gmac(Box::new(Aead::gcm(key))),
            (None, _) => Aead::gcm(key),
        };
        Combined { keyed, salt, salt_octets: row.salt }
    }

    /// Salt and IV, and their length: 12 octets, of CCM 11.
    fn nonce(&self, iv: &[u8]) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..self.salt_octets].copy_from_slice(&self.salt[..self.salt_octets]);
        nonce[self.salt_octets..self.salt_octets + IV_OCTETS].copy_from_slice(iv);
        nonce
    }

    /// Encrypt in place, and fill in the ICV.
    pub fn seal(&self, iv: &[u8], associated: &[u8], text: &mut [u8], icv: &mut [u8]) {
        let tag = self.encrypt(&self.nonce(iv), iv, associated, text, icv.len());
        icv.copy_from_slice(&tag[..icv.len()]);
    }

    fn encrypt(&self, nonce: &[u8; 12], iv: &[u8], associated: &[u8], text: &mut [u8], icv: usize) -> [u8; TAG_OCTETS] {
        match &self.keyed {
            Aead::Quick(key) => key.seal(nonce, associated, text),
            Aead::Gcm128(key) => encrypt(key.as_ref(), nonce, associated, text),
            Aead::Gcm192(key) => encrypt(key.as_ref(), nonce, associated, text),
            Aead::Gcm256(key) => encrypt(key.as_ref(), nonce, associated, text),
            Aead::Ccm(aes) => with_aes!(&aes.0, key => ccm_encrypt(key, nonce, associated, text, icv)),
            Aead::Gmac(key) => gmac(key, nonce, &[associated, iv, text]),
        }
    }

    /// Whether the packet is authentic; if so, it is decrypted in place.
    pub fn open(&self, iv: &[u8], associated: &[u8], text: &mut [u8], icv: &[u8]) -> bool {
        let nonce = self.nonce(iv);
        match &self.keyed {
            Aead::Quick(key) => key.open(&nonce, associated, text, icv),
            Aead::Gcm128(key) => decrypt_truncated(key.as_ref(), &nonce, associated, text, icv),
            Aead::Gcm192(key) => decrypt_truncated(key.as_ref(), &nonce, associated, text, icv),
            Aead::Gcm256(key) => decrypt_truncated(key.as_ref(), &nonce, associated, text, icv),
            Aead::Ccm(aes) => with_aes!(&aes.0, key => ccm_decrypt(key, &nonce, associated, text, icv)),
            Aead::Gmac(key) => gmac(key, &nonce, &[associated, iv, text]).ct_eq(icv).into(),
        }
    }
}

const SHORT_ENOUGH: &str = "an IP packet is short enough for every cipher";

fn encrypt<A: AeadInOut<TagSize = U16, NonceSize = U12>>(
    key: &A,
    nonce: &[u8; 12],
    associated: &[u8],
    text: &mut [u8],
) -> [u8; TAG_OCTETS] {
    let tag = key.encrypt_inout_detached(&Array::from(*nonce), associated, text.into());
    tag.expect(SHORT_ENOUGH).into()
}

/// The crates take whole tags only. For a truncated one the text is decrypted, its whole tag made anew, and where that
/// is wrong, it is encrypted again: what isn't authentic stays as it came.
fn decrypt_truncated<A: AeadInOut<TagSize = U16, NonceSize = U12>>(
    key: &A,
    nonce: &[u8; 12],
    associated: &[u8],
    text: &mut [u8],
    icv: &[u8],
) -> bool {
    let nonce_array = Array::from(*nonce);
    if let Ok(whole) = <[u8; TAG_OCTETS]>::try_from(icv) {
        return key.decrypt_inout_detached(&nonce_array, associated, text.into(), &Array::from(whole)).is_ok();
    }
    // Both directions of a counter mode are one: this decrypts, and the next makes the tag of what was given.
    let _ = encrypt(key, nonce, associated, text);
    let mut copy = text.to_vec();
    let tag = encrypt(key, nonce, associated, &mut copy);
    let right = bool::from(tag[..icv.len()].ct_eq(icv));
    if !right {
        text.copy_from_slice(&copy);
    }
    right
}

fn ccm_encrypt<C: BlockCipherEncrypt<BlockSize = U16> + Clone>(
    key: &C,
    nonce: &[u8; 12],
    associated: &[u8],
    text: &mut [u8],
    icv: usize,
) -> [u8; TAG_OCTETS] {
    match icv {
        8 => ccm_seal::<C, U8>(key, nonce, associated, text),
        12 => ccm_seal::<C, U12>(key, nonce, associated, text),
        _ => ccm_seal::<C, U16>(key, nonce, associated, text),
    }
}

fn ccm_decrypt<C: BlockCipherEncrypt<BlockSize = U16> + Clone>(
    key: &C,
    nonce: &[u8; 12],
    associated: &[u8],
    text: &mut [u8],
    icv: &[u8],
) -> bool {
    match icv.len() {
        8 => ccm_open::<C, U8>(key, nonce, associated, text, icv),
        12 => ccm_open::<C, U12>(key, nonce, associated, text, icv),
        _ => ccm_open::<C, U16>(key, nonce, associated, text, icv),
    }
}

/// RFC 4309: nonces of 11 octets.
fn ccm_nonce(nonce: &[u8; 12]) -> Array<u8, U11> {
    Array::try_from(&nonce[..11]).expect("eleven of twelve")
}

fn ccm_seal<C, M>(key: &C, nonce: &[u8; 12], associated: &[u8], text: &mut [u8]) -> [u8; TAG_OCTETS]
where
    C: BlockCipherEncrypt<BlockSize = U16> + Clone,
    M: ArraySize + ccm::TagSize,
{
    let mode = Ccm::<C, M, U11>::from(key.clone());
    let tag = mode.encrypt_inout_detached(&ccm_nonce(nonce), associated, text.into()).expect(SHORT_ENOUGH);
    let mut whole = [0; TAG_OCTETS];
    whole[..tag.len()].copy_from_slice(&tag);
    whole
}

fn ccm_open<C, M>(key: &C, nonce: &[u8; 12], associated: &[u8], text: &mut [u8], icv: &[u8]) -> bool
where
    C: BlockCipherEncrypt<BlockSize = U16> + Clone,
    M: ArraySize + ccm::TagSize,
{
    let mode = Ccm::<C, M, U11>::from(key.clone());
    let tag = Array::try_from(icv).expect("the layout has the length");
    mode.decrypt_inout_detached(&ccm_nonce(nonce), associated, text.into(), &tag).is_ok()
}

/// RFC 4543: everything is associated data, nothing is encrypted.
fn gmac(key: &Aead, nonce: &[u8; 12], covered: &[&[u8]]) -> [u8; TAG_OCTETS] {
    let covered = covered.concat();
    match key {
        Aead::Gcm128(key) => encrypt(key.as_ref(), nonce, &covered, &mut []),
        Aead::Gcm192(key) => encrypt(key.as_ref(), nonce, &covered, &mut []),
        Aead::Gcm256(key) => encrypt(key.as_ref(), nonce, &covered, &mut []),
        _ => unreachable!("GMAC is of GCM"),
    }
}

/// AES-GMAC by itself, of AH (RFC 4543 section 4): key and salt.
pub struct GmacKey {
    keyed: Aead,
    salt: Zeroizing<[u8; 4]>,
}

impl GmacKey {
    /// The last four octets are the salt.
    pub fn new(material: &[u8]) -> GmacKey {
        let (key, salt) = material.split_at(material.len() - 4);
        let salt: [u8; 4] = salt.try_into().expect("four octets");
        GmacKey { keyed: Aead::gcm(key), salt: salt.into() }
    }

    /// The tag under this IV.
    pub fn tag(&self, initial: &[u8; 8], covered: &[&[u8]]) -> [u8; TAG_OCTETS] {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(self.salt.as_ref());
        nonce[4..].copy_from_slice(initial);
        gmac(&self.keyed, &nonce, covered)
    }
}
