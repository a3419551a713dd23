//! Algorithms by Intel's libipsec-mb, which works on many packets side by side.
//!
//! It does AES-GCM, ChaCha20-Poly1305, and AES-CBC, AES-CTR or NULL with an HMAC of SHA-1 or SHA-2, in ESP. What else
//! there is (3DES, CCM, GMAC, MD5, XCBC, CMAC, and AH) goes by the portable engine.
//!
//! A packet that is not authentic may have been decrypted all the same: `right` says that nobody may look at it.

use std::ffi::{CStr, c_char, c_int};
use std::ptr::NonNull;

use super::portable::Portable;
use super::table::{self, Auth, AuthRow, Cipher, CipherRow, check_esp};
use super::{ESP_HEADER_OCTETS, Engine, Job, Keyed, Random, Unfit};
use crate::tables::sa::Secret;

/// Of the C layer; see csrc/ipsec_mb.h.
#[repr(C)]
struct RawManager {
    _private: [u8; 0],
}

/// As above.
#[repr(C)]
struct RawKey {
    _private: [u8; 0],
}

/// As above.
#[repr(C)]
struct RawPacket {
    key: *const RawKey,
    esp: *mut u8,
    octets: usize,
    number: u64,
    right: u32,
}

unsafe extern "C" {
    fn culvert_mb_new(words: *mut c_char, words_octets: usize) -> *mut RawManager;
    fn culvert_mb_free(manager: *mut RawManager);
    #[allow(clippy::too_many_arguments, reason = "as the C function has them")]
    fn culvert_key_new(
        manager: *mut RawManager,
        kind: c_int,
        cipher_key: *const u8,
        key_octets: usize,
        salt: *const u8,
        hash: c_int,
        auth_key: *const u8,
        auth_octets: usize,
        iv_octets: usize,
        icv_octets: usize,
        esn: c_int,
    ) -> *mut RawKey;
    fn culvert_key_free(key: *mut RawKey);
    fn culvert_seal(manager: *mut RawManager, packets: *mut RawPacket, count: usize);
    fn culvert_open(manager: *mut RawManager, packets: *mut RawPacket, count: usize);
}

/// The engine, with a manager of its own.
pub struct IpsecMb {
    manager: NonNull<RawManager>,
    words: String,
    portable: Portable,
}

// SAFETY: the manager is used through `&mut self` only (or, to prepare keys, without changing it), by one thread at a time.
unsafe impl Send for IpsecMb {}

/// Keys as the C layer prepared them.
struct MbKey {
    raw: NonNull<RawKey>,
    /// The IV is the number; else chance.
    counts: bool,
}

// SAFETY: after it was made, nobody changes what it points at until it is dropped.
unsafe impl Send for MbKey {}
// SAFETY: as above.
unsafe impl Sync for MbKey {}

impl Drop for MbKey {
    fn drop(&mut self) {
        // SAFETY: made by culvert_key_new, and freed nowhere else.
        unsafe { culvert_key_free(self.raw.as_ptr()) };
    }
}

fn kind_of(cipher: Cipher) -> Option<c_int> {
    match cipher {
        Cipher::AesGcm => Some(0),
        Cipher::ChaCha20Poly1305 => Some(1),
        Cipher::AesCbc => Some(2),
        Cipher::AesCtr => Some(3),
        Cipher::Null => Some(4),
        Cipher::TripleDes | Cipher::AesCcm | Cipher::AesGmac => None,
    }
}

fn hash_of(auth: Option<&AuthRow>) -> Option<c_int> {
    match auth.map(|row| row.auth) {
        None => Some(0),
        Some(Auth::Sha1) => Some(1),
        Some(Auth::Sha256) => Some(2),
        Some(Auth::Sha384) => Some(3),
        Some(Auth::Sha512) => Some(4),
        Some(Auth::Md5 | Auth::Xcbc | Auth::Cmac | Auth::Gmac) => None,
    }
}

impl IpsecMb {
    /// Or why it can't be used here.
    pub fn new() -> Result<IpsecMb, String> {
        let mut words = [0; 64];
        // SAFETY: `words` has as many octets as are said, and is ended by a zero.
        let manager = unsafe { culvert_mb_new(words.as_mut_ptr(), words.len()) };
        let manager = NonNull::new(manager).ok_or("libipsec-mb does not work on this processor")?;
        // SAFETY: the C layer has ended it by a zero within its length.
        let words = unsafe { CStr::from_ptr(words.as_ptr()) }.to_string_lossy().into_owned();
        Ok(IpsecMb { manager, words, portable: Portable::new() })
    }

    fn key(
        &self,
        row: &CipherRow,
        auth: Option<&AuthRow>,
        material: &[u8],
        auth_key: &[u8],
        esn: bool,
    ) -> Option<MbKey> {
        let (kind, hash) = (kind_of(row.cipher)?, hash_of(auth)?);
        let (key, given) = material.split_at(row.key - row.salt);
        let mut salt = [0; 4];
        salt[..given.len()].copy_from_slice(given);
        let layout = table::layout(row, auth);
        let manager = self.manager.as_ptr();
        // SAFETY: every pointer is to live memory of the length that is said; `check_esp` has seen to it that keys are as
        // long as their algorithms want them, and the C layer copies what it needs.
        let raw = unsafe {
            culvert_key_new(
                manager,
                kind,
                key.as_ptr(),
                key.len(),
                salt.as_ptr(),
                hash,
                auth_key.as_ptr(),
                auth_key.len(),
                layout.iv,
                layout.icv,
                c_int::from(esn),
            )
        };
        Some(MbKey { raw: NonNull::new(raw)?, counts: row.cipher != Cipher::AesCbc })
    }

    /// The jobs that are the C layer's, as it takes them, with the place of each.
    fn packets(jobs: &mut [Job<'_>]) -> (Vec<RawPacket>, Vec<usize>) {
        let (mut packets, mut places) = (Vec::with_capacity(jobs.len()), Vec::with_capacity(jobs.len()));
        for (place, job) in jobs.iter_mut().enumerate() {
            let layout = &job.key.layout;
            let text = job.esp.len().checked_sub(ESP_HEADER_OCTETS + layout.iv + layout.icv);
            let fits = text.is_some_and(|text| text > 0 && text & (layout.alignment - 1) == 0);
            job.right = false;
            if let Some(key) = job.key.prepared.downcast_ref::<MbKey>()
                && fits
            {
                let (key, esp, octets) = (key.raw.as_ptr().cast_const(), job.esp.as_mut_ptr(), job.esp.len());
                packets.push(RawPacket { key, esp, octets, number: job.number, right: 0 });
                places.push(place);
            }
        }
        (packets, places)
    }
}

impl Drop for IpsecMb {
    fn drop(&mut self) {
        // SAFETY: made by culvert_mb_new, and freed nowhere else.
        unsafe { culvert_mb_free(self.manager.as_ptr()) };
    }
}

fn is_portable(job: &Job<'_>) -> bool {
    !job.key.prepared.is::<MbKey>()
}

/// IVs of all packets: the number, or chance.
fn write_ivs(jobs: &mut [Job<'_>], random: &mut dyn Random) {
    for job in jobs {
        let Some(key) = job.key.prepared.downcast_ref::<MbKey>() else { continue };
        let Some(iv) = job.esp.get_mut(ESP_HEADER_OCTETS..ESP_HEADER_OCTETS + job.key.layout.iv) else { continue };
        if key.counts && iv.len() == 8 {
            iv.copy_from_slice(&job.number.to_be_bytes());
        } else if !iv.is_empty() {
            random.fill(iv);
        }
    }
}

impl Engine for IpsecMb {
    fn name(&self) -> String {
        self.words.clone()
    }

    fn prepare_esp(
        &self,
        cipher: &str,
        key: &Secret,
        auth: &str,
        auth_key: &Secret,
        esn: bool,
    ) -> Result<Keyed, Unfit> {
        let (row, auth_row) = check_esp(cipher, key.reveal().len(), auth, auth_key.reveal().len())?;
        let Some(prepared) = self.key(row, auth_row, key.reveal(), auth_key.reveal(), esn) else {
            return self.portable.prepare_esp(cipher, key, auth, auth_key, esn);
        };
        let layout = table::layout(row, auth_row);
        Ok(Keyed { esn, layout, icv: layout.icv, signed_iv: 0, prepared: Box::new(prepared) })
    }

    fn prepare_ah(&self, auth: &str, key: &Secret, esn: bool) -> Result<Keyed, Unfit> {
        self.portable.prepare_ah(auth, key, esn)
    }

    fn seal(&mut self, jobs: &mut [Job<'_>], random: &mut dyn Random) {
        write_ivs(jobs, random);
        let (mut packets, places) = IpsecMb::packets(jobs);
        // SAFETY: each packet is one live job's own octets, of a length that its layout allows, with its own live key.
        unsafe { culvert_seal(self.manager.as_ptr(), packets.as_mut_ptr(), packets.len()) };
        places.iter().for_each(|place| jobs[*place].right = true);
        for job in jobs.iter_mut().filter(|job| is_portable(job)) {
            self.portable.seal(std::slice::from_mut(job), random);
        }
    }

    fn open(&mut self, jobs: &mut [Job<'_>]) {
        let (mut packets, places) = IpsecMb::packets(jobs);
        // SAFETY: as in `seal`.
        unsafe { culvert_open(self.manager.as_ptr(), packets.as_mut_ptr(), packets.len()) };
        packets.iter().zip(places).for_each(|(packet, place)| jobs[place].right = packet.right != 0);
        for job in jobs.iter_mut().filter(|job| is_portable(job)) {
            self.portable.open(std::slice::from_mut(job));
        }
    }

    fn sign(&mut self, key: &Keyed, number: u64, covered: &[u8], icv: &mut [u8]) {
        self.portable.sign(key, number, covered, icv);
    }

    fn verify(&mut self, key: &Keyed, number: u64, covered: &[u8], icv: &[u8]) -> bool {
        self.portable.verify(key, number, covered, icv)
    }
}
