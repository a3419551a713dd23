//! Algorithms by Intel's libipsec-mb, which works on many packets side by side.
//!
//! It does every algorithm of ESP but AES-CCM with 192-bit keys, which the library doesn't know. That one goes by the
//! portable engine, and so does AH, whose packets come one at a time: there the portable crates are no slower.
//!
//! Version 1.3 works on 512 bits of AES at a time, or on 128. On processors that have 256 (VAES without AVX-512), ring
//! is faster with AES-GCM on all but small packets, and with ChaCha20-Poly1305: there the engine leaves those to it.
//!
//! The library decrypts while it authenticates; zeros are put over the text of a packet that is not authentic.

use std::ffi::{CStr, c_char, c_int};
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::time::{Duration, Instant};

use super::cache::Cache;
use super::portable::{Portable, quick};
use super::table::{Auth, AuthRow, Cipher, CipherRow};
use super::{ESP_HEADER_OCTETS, Engine, Job, Keyed, Random, Serial};

/// The library counts in 16 bits.
const ESP_OCTETS_MAX: usize = u16::MAX as usize;
/// From here on ring outpaces the library, which does small packets side by side.
const RING_OCTETS_MIN: usize = 768;

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

/// As above.
#[repr(C)]
struct RawTerms {
    kind: c_int,
    hash: c_int,
    cipher_key: *const u8,
    salt: *const u8,
    auth_key: *const u8,
    key_octets: usize,
    salt_octets: usize,
    auth_octets: usize,
    iv_octets: usize,
    icv_octets: usize,
    esn: c_int,
}

unsafe extern "C" {
    fn culvert_mb_new(words: *mut c_char, words_octets: usize) -> *mut RawManager;
    fn culvert_mb_free(manager: *mut RawManager);
    fn culvert_key_new(manager: *mut RawManager, terms: *const RawTerms, old: *mut RawKey) -> *mut RawKey;
    fn culvert_key_free(key: *mut RawKey);
    fn culvert_key_octets(key: *const RawKey) -> usize;
    fn culvert_seal(manager: *mut RawManager, packets: *mut RawPacket, count: usize);
    fn culvert_open(manager: *mut RawManager, packets: *mut RawPacket, count: usize);
    fn culvert_bare(manager: *mut RawManager, packets: *mut RawPacket, count: usize, encrypt: c_int) -> c_int;
}

/// The engine, with a manager of its own. What the vectors hold means nothing between two batches.
pub struct IpsecMb {
    manager: NonNull<RawManager>,
    words: String,
    portable: Portable,
    with_ring: bool,
    keys: Cache<MbKey>,
    packets: Vec<RawPacket>,
    places: Vec<usize>,
    drawn: Vec<u8>,
}

// SAFETY: the manager is used through `&mut self` only (or, to prepare keys, without changing it), by one thread at a
// time, since the engine is not Sync; the pointers of `packets` are followed only within the call that put them there.
unsafe impl Send for IpsecMb {}

/// Keys as the C layer prepared them.
struct MbKey(NonNull<RawKey>);

// SAFETY: after it was made, nobody changes what it points at until it is dropped.
unsafe impl Send for MbKey {}

impl Drop for MbKey {
    fn drop(&mut self) {
        // SAFETY: made by culvert_key_new, and freed nowhere else.
        unsafe { culvert_key_free(self.0.as_ptr()) };
    }
}

impl MbKey {
    /// `old` goes, and its memory is used again where that fits.
    fn new(manager: NonNull<RawManager>, keyed: &Keyed, old: Option<MbKey>) -> MbKey {
        let (material, auth_key) = keyed.reveal();
        let row = keyed.cipher().expect("AH is the portable engine's");
        let (key, salt) = material.split_at(row.key - row.salt);
        let terms = RawTerms {
            kind: kind_of(row).expect("the library has it"),
            hash: hash_of(keyed.auth()).expect("the library has it"),
            cipher_key: key.as_ptr(),
            salt: salt.as_ptr(),
            auth_key: auth_key.as_ptr(),
            key_octets: key.len(),
            salt_octets: salt.len(),
            auth_octets: auth_key.len(),
            iv_octets: keyed.layout.iv,
            icv_octets: keyed.layout.icv,
            esn: c_int::from(keyed.esn),
        };
        let old = old.map_or(ptr::null_mut(), |old| ManuallyDrop::new(old).0.as_ptr());
        // SAFETY: the manager lives as long as the engine whose cache asks; `old` is nobody's any more; every other pointer
        // is to live memory of the length that is said; keys are as long as their algorithms want them, or there were no
        // `Keyed`, and the C layer copies what it needs.
        let raw = unsafe { culvert_key_new(manager.as_ptr(), &terms, old) };
        MbKey(NonNull::new(raw).expect("there is memory for a key"))
    }
}

fn kind_of(row: &CipherRow) -> Option<c_int> {
    match row.cipher {
        Cipher::AesGcm => Some(0),
        Cipher::AesGmac => Some(1),
        Cipher::ChaCha20Poly1305 => Some(2),
        Cipher::AesCcm if row.key - row.salt == 24 => None,
        Cipher::AesCcm => Some(3),
        Cipher::AesCbc => Some(4),
        Cipher::AesCtr => Some(5),
        Cipher::TripleDes => Some(6),
        Cipher::Null => Some(7),
    }
}

fn hash_of(auth: Option<&AuthRow>) -> Option<c_int> {
    match auth.map(|row| row.auth) {
        None => Some(0),
        Some(Auth::Md5) => Some(1),
        Some(Auth::Sha1) => Some(2),
        Some(Auth::Sha256) => Some(3),
        Some(Auth::Sha384) => Some(4),
        Some(Auth::Sha512) => Some(5),
        Some(Auth::Xcbc) => Some(6),
        Some(Auth::Cmac) => Some(7),
        Some(Auth::Gmac) => None,
    }
}

/// Whether ring is the faster one, for what it knows, on this processor.
pub fn ring_outpaces() -> bool {
    let wide = is_x86_feature_detected!("vaes") && is_x86_feature_detected!("vpclmulqdq");
    wide && is_x86_feature_detected!("avx2") && !is_x86_feature_detected!("avx512f")
}

/// Whether the library has the algorithms of these keys.
fn knows(key: &Keyed) -> bool {
    key.cipher().is_some_and(|row| kind_of(row).is_some()) && hash_of(key.auth()).is_some()
}

/// Whether the packet can be one of this key's at all.
fn fits(job: &Job<'_>) -> bool {
    let layout = &job.key.layout;
    let text = job.esp.len().checked_sub(ESP_HEADER_OCTETS + layout.iv + layout.icv);
    job.esp.len() <= ESP_OCTETS_MAX && text.is_some_and(|text| text > 0 && text & (layout.alignment - 1) == 0)
}

impl IpsecMb {
    /// Or why it can't be used here. `with_ring`: what ring knows is ring's work.
    pub fn new(with_ring: bool) -> Result<IpsecMb, String> {
        let mut words = [0; 64];
        // SAFETY: `words` has as many octets as are said, and is ended by a zero.
        let manager = unsafe { culvert_mb_new(words.as_mut_ptr(), words.len()) };
        let manager = NonNull::new(manager).ok_or("libipsec-mb does not work on this processor")?;
        // SAFETY: the C layer has ended it by a zero within its length.
        let mut words = unsafe { CStr::from_ptr(words.as_ptr()) }.to_string_lossy().into_owned();
        if with_ring {
            words += ", with ring";
        }
        let (packets, places, drawn) = (Vec::new(), Vec::new(), Vec::new());
        let (portable, keys) = (Portable::new(), Cache::default());
        Ok(IpsecMb { manager, words, portable, with_ring, keys, packets, places, drawn })
    }

    /// With places for four times so many prepared keys.
    pub fn with_sets(mut self, sets: usize) -> IpsecMb {
        (self.portable, self.keys) = (Portable::with_sets(sets), Cache::of_sets(sets));
        self
    }

    /// What of these keys' packets is the library's: none, those below so many octets, or all.
    fn share(&self, key: &Keyed) -> usize {
        let quick = self.with_ring && key.cipher().is_some_and(quick::knows);
        match key.cipher().map(|row| row.cipher) {
            Some(Cipher::ChaCha20Poly1305) if quick => 0,
            _ if !knows(key) => 0,
            _ if quick => RING_OCTETS_MIN,
            _ => usize::MAX,
        }
    }

    fn is_portables(&self, job: &Job<'_>) -> bool {
        (self.share(job.key)..=ESP_OCTETS_MAX).contains(&job.esp.len())
    }

    /// Octets that one SA's prepared keys take, without what ring has of them, or None where the portable engine has
    /// all of them.
    pub fn key_octets(&mut self, key: &Keyed) -> Option<usize> {
        let manager = self.manager;
        let prepared =
            (self.share(key) > 0).then(|| self.keys.get_alone(key, |key, old| MbKey::new(manager, key, old)))?;
        // SAFETY: the key lives as long as what it is of.
        Some(unsafe { culvert_key_octets(prepared.0.as_ptr()) })
    }

    /// The jobs that are the C layer's, as it takes them, with the place of each; how many jobs were looked at. More have
    /// keys for which there is no place until these are done.
    fn gather(&mut self, jobs: &mut [Job<'_>]) -> usize {
        self.packets.clear();
        self.places.clear();
        self.keys.begin();
        let manager = self.manager;
        // Of the last job, whose keys are mostly the next one's too.
        let (mut serial, mut share, mut key) = (0, 0, None);
        for (place, job) in jobs.iter_mut().enumerate() {
            job.right = false;
            if job.key.serial() != serial {
                (serial, share) = (job.key.serial(), self.share(job.key));
                key = None;
            }
            let octets = job.esp.len();
            if octets >= share || !fits(job) {
                continue;
            }
            if key.is_none() {
                key = self
                    .keys
                    .get(job.key, |key, old| MbKey::new(manager, key, old))
                    .map(|prepared| prepared.0.as_ptr());
            }
            let Some(key) = key.map(|key| key.cast_const()) else { return place };
            let esp = job.esp.as_mut_ptr();
            self.packets.push(RawPacket { key, esp, octets, number: job.number, right: 0 });
            self.places.push(place);
        }
        jobs.len()
    }

    fn tell(&self, jobs: &mut [Job<'_>]) {
        for (packet, place) in self.packets.iter().zip(&self.places) {
            jobs[*place].right = packet.right != 0;
        }
    }

    /// IVs of all packets: the number, or chance, of which all is drawn at once.
    fn write_ivs(&mut self, jobs: &mut [Job<'_>], random: &mut dyn Random) {
        let iv_drawn = |job: &Job<'_>| if job.key.draws_iv() && fits(job) { job.key.layout.iv } else { 0 };
        self.drawn.resize(jobs.iter().map(iv_drawn).sum(), 0);
        if !self.drawn.is_empty() {
            random.fill(&mut self.drawn);
        }
        let mut drawn = &self.drawn[..];
        for job in jobs {
            let octets = iv_drawn(job);
            let iv = ESP_HEADER_OCTETS..ESP_HEADER_OCTETS + job.key.layout.iv;
            if octets > 0 {
                let (initial, rest) = drawn.split_at(octets);
                job.esp[iv].copy_from_slice(initial);
                drawn = rest;
            } else if !iv.is_empty() && fits(job) {
                job.esp[iv].copy_from_slice(&job.number.to_be_bytes());
            }
        }
    }

    /// For benchmarks: how long the library alone takes for the same octets, which are worthless afterwards. None for
    /// algorithms that nobody measures.
    pub fn bare(&mut self, jobs: &mut [Job<'_>], seal: bool) -> Option<Duration> {
        self.gather(jobs);
        let (packets, count) = (self.packets.as_mut_ptr(), self.packets.len());
        let started = Instant::now();
        // SAFETY: as in `seal`.
        let measured = unsafe { culvert_bare(self.manager.as_ptr(), packets, count, c_int::from(seal)) };
        (measured != 0).then(|| started.elapsed())
    }
}

impl Drop for IpsecMb {
    fn drop(&mut self) {
        // SAFETY: made by culvert_mb_new, and freed nowhere else.
        unsafe { culvert_mb_free(self.manager.as_ptr()) };
    }
}

impl Engine for IpsecMb {
    fn name(&self) -> String {
        self.words.clone()
    }

    fn seal(&mut self, jobs: &mut [Job<'_>], random: &mut dyn Random) {
        self.write_ivs(jobs, random);
        let mut rest = jobs;
        while !rest.is_empty() {
            let gathered = self.gather(rest);
            let (packets, count) = (self.packets.as_mut_ptr(), self.packets.len());
            // SAFETY: each packet is one live job's own octets, of a length that its layout allows, with its own key, which
            // the cache keeps until the next batch begins.
            unsafe { culvert_seal(self.manager.as_ptr(), packets, count) };
            let (done, behind) = rest.split_at_mut(gathered);
            self.tell(done);
            for job in done.iter_mut().filter(|job| !job.right) {
                if self.is_portables(job) {
                    self.portable.seal(std::slice::from_mut(job), random);
                } else {
                    // What can't be sealed doesn't leave in clear.
                    job.esp.fill(0);
                }
            }
            rest = behind;
        }
    }

    fn open(&mut self, jobs: &mut [Job<'_>]) {
        let mut rest = jobs;
        while !rest.is_empty() {
            let gathered = self.gather(rest);
            let (packets, count) = (self.packets.as_mut_ptr(), self.packets.len());
            // SAFETY: as in `seal`.
            unsafe { culvert_open(self.manager.as_ptr(), packets, count) };
            let (done, behind) = rest.split_at_mut(gathered);
            self.tell(done);
            for job in done.iter_mut().filter(|job| !job.right) {
                if self.is_portables(job) {
                    self.portable.open(std::slice::from_mut(job));
                }
            }
            rest = behind;
        }
    }

    fn sign(&mut self, key: &Keyed, number: u64, covered: &[u8], icv: &mut [u8]) {
        self.portable.sign(key, number, covered, icv);
    }

    fn verify(&mut self, key: &Keyed, number: u64, covered: &[u8], icv: &[u8]) -> bool {
        self.portable.verify(key, number, covered, icv)
    }

    fn forget(&mut self, serials: Option<&[Serial]>) {
        self.keys.forget(serials);
        self.portable.forget(serials);
    }

    fn prepared(&self) -> usize {
        self.keys.len() + self.portable.prepared()
    }
}
