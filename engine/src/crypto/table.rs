//! The algorithms: a row each, in the names and sizes of `culvert.ipsec.algorithms`.

use super::{Layout, Unfit};

/// What a cipher row is made of. The last four authenticate as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the RFCs")]
pub enum Cipher {
    Null,
    TripleDes,
    AesCbc,
    AesCtr,
    AesGcm,
    AesCcm,
    AesGmac,
    ChaCha20Poly1305,
}

/// What an auth row is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the RFCs")]
pub enum Auth {
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
    Xcbc,
    Cmac,
    Gmac,
}

/// Sizes in octets. `key` is all the keying material, of which the last `salt` are salt; `icv` of a combined cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "explained above")]
pub struct CipherRow {
    pub name: &'static str,
    pub cipher: Cipher,
    pub key: usize,
    pub salt: usize,
    pub iv: usize,
    pub block: usize,
    pub icv: usize,
}

/// As above. `iv` octets of the `icv` are an initialization vector (GMAC in AH, RFC 4543 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "explained above")]
pub struct AuthRow {
    pub name: &'static str,
    pub auth: Auth,
    pub key: usize,
    pub iv: usize,
    pub icv: usize,
}

/// In place of an auth row's name beside a combined cipher.
pub const NONE: &str = "none";
/// RFC 4303 section 2.4: the ICV begins at a multiple of four octets, even where the cipher has no blocks.
const ALIGNMENT: usize = 4;

const fn cipher(
    name: &'static str,
    cipher: Cipher,
    key: usize,
    salt: usize,
    iv: usize,
    block: usize,
    icv: usize,
) -> CipherRow {
    CipherRow { name, cipher, key, salt, iv, block, icv }
}

const fn auth(name: &'static str, auth: Auth, key: usize, iv: usize, icv: usize) -> AuthRow {
    AuthRow { name, auth, key, iv, icv }
}

/// All ciphers.
pub static CIPHERS: [CipherRow; 30] = [
    cipher("null", Cipher::Null, 0, 0, 0, 1, 0),
    cipher("3des", Cipher::TripleDes, 24, 0, 8, 8, 0),
    cipher("aes128", Cipher::AesCbc, 16, 0, 16, 16, 0),
    cipher("aes192", Cipher::AesCbc, 24, 0, 16, 16, 0),
    cipher("aes256", Cipher::AesCbc, 32, 0, 16, 16, 0),
    cipher("aes-ctr128", Cipher::AesCtr, 20, 4, 8, 1, 0),
    cipher("aes-ctr192", Cipher::AesCtr, 28, 4, 8, 1, 0),
    cipher("aes-ctr256", Cipher::AesCtr, 36, 4, 8, 1, 0),
    cipher("aes-gcm128", Cipher::AesGcm, 20, 4, 8, 1, 16),
    cipher("aes-gcm192", Cipher::AesGcm, 28, 4, 8, 1, 16),
    cipher("aes-gcm256", Cipher::AesGcm, 36, 4, 8, 1, 16),
    cipher("aes-gcm128-icv12", Cipher::AesGcm, 20, 4, 8, 1, 12),
    cipher("aes-gcm192-icv12", Cipher::AesGcm, 28, 4, 8, 1, 12),
    cipher("aes-gcm256-icv12", Cipher::AesGcm, 36, 4, 8, 1, 12),
    cipher("aes-gcm128-icv8", Cipher::AesGcm, 20, 4, 8, 1, 8),
    cipher("aes-gcm192-icv8", Cipher::AesGcm, 28, 4, 8, 1, 8),
    cipher("aes-gcm256-icv8", Cipher::AesGcm, 36, 4, 8, 1, 8),
    cipher("aes-ccm128", Cipher::AesCcm, 19, 3, 8, 1, 16),
    cipher("aes-ccm192", Cipher::AesCcm, 27, 3, 8, 1, 16),
    cipher("aes-ccm256", Cipher::AesCcm, 35, 3, 8, 1, 16),
    cipher("aes-ccm128-icv12", Cipher::AesCcm, 19, 3, 8, 1, 12),
    cipher("aes-ccm192-icv12", Cipher::AesCcm, 27, 3, 8, 1, 12),
    cipher("aes-ccm256-icv12", Cipher::AesCcm, 35, 3, 8, 1, 12),
    cipher("aes-ccm128-icv8", Cipher::AesCcm, 19, 3, 8, 1, 8),
    cipher("aes-ccm192-icv8", Cipher::AesCcm, 27, 3, 8, 1, 8),
    cipher("aes-ccm256-icv8", Cipher::AesCcm, 35, 3, 8, 1, 8),
    cipher("aes-gmac128", Cipher::AesGmac, 20, 4, 8, 1, 16),
    cipher("aes-gmac192", Cipher::AesGmac, 28, 4, 8, 1, 16),
    cipher("aes-gmac256", Cipher::AesGmac, 36, 4, 8, 1, 16),
    cipher("chacha20-poly1305", Cipher::ChaCha20Poly1305, 36, 4, 8, 1, 16),
];

/// All integrity algorithms.
pub static AUTHS: [AuthRow; 11] = [
    auth("sha1", Auth::Sha1, 20, 0, 12),
    auth("sha256", Auth::Sha256, 32, 0, 16),
    auth("sha384", Auth::Sha384, 48, 0, 24),
    auth("sha512", Auth::Sha512, 64, 0, 32),
    auth("sha256-96", Auth::Sha256, 32, 0, 12),
    auth("md5", Auth::Md5, 16, 0, 12),
    auth("aes-xcbc", Auth::Xcbc, 16, 0, 12),
    auth("aes-cmac", Auth::Cmac, 16, 0, 12),
    auth("aes-gmac128", Auth::Gmac, 20, 8, 24),
    auth("aes-gmac192", Auth::Gmac, 28, 8, 24),
    auth("aes-gmac256", Auth::Gmac, 36, 8, 24),
];

impl CipherRow {
    /// Whether it authenticates as well.
    pub fn combined(&self) -> bool {
        self.icv > 0
    }
}

/// The same name as the tables have it, if they do.
pub fn known_name(name: &str) -> Option<&'static str> {
    let names = CIPHERS.iter().map(|row| row.name).chain(AUTHS.iter().map(|row| row.name)).chain([NONE]);
    names.into_iter().find(|known| *known == name)
}

/// The row of this name.
pub fn cipher_row(name: &str) -> Result<&'static CipherRow, Unfit> {
    CIPHERS.iter().find(|row| row.name == name).ok_or_else(|| Unfit::UnknownAlgorithm(name.into()))
}

/// The row of this name.
pub fn auth_row(name: &str) -> Result<&'static AuthRow, Unfit> {
    AUTHS.iter().find(|row| row.name == name).ok_or_else(|| Unfit::UnknownAlgorithm(name.into()))
}

/// Unless a key of so many octets fits.
pub fn check_key(name: &str, wanted: usize, given: usize) -> Result<(), Unfit> {
    if wanted == given { Ok(()) } else { Err(Unfit::KeyLength(name.into(), wanted, given)) }
}

/// The rows of an ESP SA whose algorithms go together and whose keys fit; no auth row beside a combined cipher.
pub fn check_esp(
    cipher: &str,
    key_octets: usize,
    auth: &str,
    auth_key_octets: usize,
) -> Result<(&'static CipherRow, Option<&'static AuthRow>), Unfit> {
    let row = cipher_row(cipher)?;
    let auth_row = if auth == NONE { None } else { Some(auth_row(auth)?) };
    if row.combined() && auth_row.is_some() {
        let sentence = format!("{cipher} authenticates by itself; beside it goes {NONE}, not {auth}");
        return Err(Unfit::Unauthenticated(sentence));
    }
    if !row.combined() && auth_row.is_none_or(|auth| auth.iv > 0) {
        let sentence = format!("{cipher} does not authenticate, and {auth} beside it does not either");
        return Err(Unfit::Unauthenticated(sentence));
    }
    check_key(cipher, row.key, key_octets)?;
    check_key(auth, auth_row.map_or(0, |row| row.key), auth_key_octets)?;
    Ok((row, auth_row))
}

/// The sizes that these rows bring.
pub fn layout(cipher: &CipherRow, auth: Option<&AuthRow>) -> Layout {
    let icv = cipher.icv + auth.map_or(0, |row| row.icv);
    Layout { iv: cipher.iv, alignment: cipher.block.max(ALIGNMENT), icv }
}
