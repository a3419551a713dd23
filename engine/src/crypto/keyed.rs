//! The keys of one SA as they were given, and all that is said of them. What an engine computes from them is kept in a
//! `Cache` of the engine, for SAs that are in use.

use std::sync::atomic::{AtomicU64, Ordering};

use super::table::{self, AuthRow, Cipher, CipherRow, auth_row, check_esp, check_key};
use super::{Layout, Unfit};
use crate::tables::sa::Secret;

/// Names keys, and no others as long as the process lives; never 0.
pub type Serial = u64;

/// See the module. Any engine can use it.
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
    serial: Serial,
    /// None: of AH.
    cipher: Option<&'static CipherRow>,
    /// None beside a combined cipher.
    auth: Option<&'static AuthRow>,
    /// The cipher's, and behind it the integrity algorithm's.
    material: Secret,
}

fn next_serial() -> Serial {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

impl Keyed {
    /// Of an ESP SA. `auth` is `none` beside a combined cipher.
    pub fn esp(cipher: &str, key: &Secret, auth: &str, auth_key: &Secret, esn: bool) -> Result<Keyed, Unfit> {
        let (key, auth_key) = (key.reveal(), auth_key.reveal());
        let (row, auth) = check_esp(cipher, key.len(), auth, auth_key.len())?;
        let layout = table::layout(row, auth);
        let material = Secret::new([key, auth_key].concat());
        Ok(Keyed {
            esn,
            layout,
            icv: layout.icv,
            signed_iv: 0,
            serial: next_serial(),
            cipher: Some(row),
            auth,
            material,
        })
    }

    /// Of an AH SA.
    pub fn ah(auth: &str, key: &Secret, esn: bool) -> Result<Keyed, Unfit> {
        let row = auth_row(auth)?;
        check_key(auth, row.key, key.reveal().len())?;
        let layout = Layout { iv: 0, alignment: 4, icv: row.icv };
        let (serial, material) = (next_serial(), key.clone());
        Ok(Keyed { esn, layout, icv: row.icv, signed_iv: row.iv, serial, cipher: None, auth: Some(row), material })
    }

    /// Its name in a cache.
    #[inline]
    pub fn serial(&self) -> Serial {
        self.serial
    }

    /// The row of its cipher; None: of AH.
    #[inline]
    pub fn cipher(&self) -> Option<&'static CipherRow> {
        self.cipher
    }

    /// The row of its integrity algorithm; None beside a combined cipher.
    pub fn auth(&self) -> Option<&'static AuthRow> {
        self.auth
    }

    /// Key and salt of the cipher, and the key of the integrity algorithm: for an engine.
    pub fn reveal(&self) -> (&[u8], &[u8]) {
        self.material.reveal().split_at(self.cipher.map_or(0, |row| row.key))
    }

    /// Whether the IV is chance; else it is the number, if there is one.
    #[inline]
    pub fn draws_iv(&self) -> bool {
        matches!(self.cipher, Some(CipherRow { cipher: Cipher::AesCbc | Cipher::TripleDes, .. }))
    }
}
