//! Every algorithm of the table, by portable crates: where ipsec-mb isn't, and what ipsec-mb is compared with.

mod ciphers;
mod macs;
pub mod quick;

use subtle::ConstantTimeEq;

use self::ciphers::{Ciphering, Combined};
use self::macs::Mac;
use super::cache::Cache;
use super::{ESP_HEADER_OCTETS, Engine, Job, Keyed, Layout, Random, Serial};

/// The engine. It has no state but prepared keys.
#[derive(Default)]
pub struct Portable {
    suites: Cache<Suite>,
}

/// Prepared keys: both algorithms of an ESP SA, or the one that does both; or that of an AH SA.
enum Suite {
    Separate(Ciphering, Mac),
    Combined(Combined),
    Alone(Mac),
}

/// The longest ICV there is, of HMAC-SHA2-512-256, and more.
const ICV_MAX: usize = 64;

impl Portable {
    /// Works on every processor.
    pub fn new() -> Portable {
        Portable::default()
    }

    /// With places for four times so many prepared keys.
    pub fn with_sets(sets: usize) -> Portable {
        Portable { suites: Cache::of_sets(sets) }
    }

    /// The algorithm of AH that these keys are of.
    fn mac(&mut self, key: &Keyed) -> &Mac {
        match self.suites.get_alone(key, Suite::new) {
            Suite::Alone(mac) => mac,
            _ => unreachable!("keys of AH are its alone"),
        }
    }
}

impl Suite {
    fn new(key: &Keyed, _old: Option<Suite>) -> Suite {
        let (cipher_key, auth_key) = key.reveal();
        match (key.cipher(), key.auth()) {
            (Some(row), None) => Suite::Combined(Combined::new(row, cipher_key)),
            (Some(row), Some(auth)) => Suite::Separate(Ciphering::new(row, cipher_key), Mac::new(auth.auth, auth_key)),
            (None, auth) => Suite::Alone(Mac::new(auth.expect("AH has it").auth, auth_key)),
        }
    }
}

/// Runs of jobs with the same keys.
fn runs<'a, 'j>(jobs: &'a mut [Job<'j>]) -> impl Iterator<Item = &'a mut [Job<'j>]> {
    jobs.chunk_by_mut(|one, other| one.key.serial() == other.key.serial())
}

/// The upper half of the number where it counts.
fn upper(key: &Keyed, number: u64) -> [u8; 4] {
    debug_assert!(key.esn);
    ((number >> 32) as u32).to_be_bytes()
}

/// SPI and number as a combined cipher authenticates them (RFC 4106 section 5).
struct Associated {
    octets: [u8; 12],
    length: usize,
}

impl Associated {
    fn of(key: &Keyed, esp: &[u8], number: u64) -> Associated {
        let mut octets = [0; 12];
        octets[..8].copy_from_slice(&esp[..8]);
        if !key.esn {
            return Associated { octets, length: 8 };
        }
        octets[4..8].copy_from_slice(&upper(key, number));
        octets[8..12].copy_from_slice(&esp[4..8]);
        Associated { octets, length: 12 }
    }

    fn get(&self) -> &[u8] {
        &self.octets[..self.length]
    }
}

/// An ESP packet in its parts: what is in front of the IV, IV, text, ICV.
fn parts<'a>(esp: &'a mut [u8], layout: &Layout) -> Option<(&'a mut [u8], &'a mut [u8], &'a mut [u8])> {
    let text = esp.len().checked_sub(ESP_HEADER_OCTETS + layout.iv + layout.icv)?;
    if text & (layout.alignment - 1) != 0 {
        return None;
    }
    let (_, rest) = esp.split_at_mut(ESP_HEADER_OCTETS);
    let (iv, rest) = rest.split_at_mut(layout.iv);
    let (text, icv) = rest.split_at_mut(text);
    Some((iv, text, icv))
}

fn mac_of_esp(key: &Keyed, mac: &Mac, esp: &[u8], number: u64, icv: &mut [u8; ICV_MAX]) {
    let authenticated = &esp[..esp.len() - key.layout.icv];
    let upper = ((number >> 32) as u32).to_be_bytes();
    mac.sign(&[authenticated, if key.esn { &upper } else { &[] }], icv);
}

fn seal_one(suite: &Suite, job: &mut Job<'_>, random: &mut dyn Random) {
    let key = job.key;
    if parts(job.esp, &key.layout).is_none() {
        // What can't be sealed doesn't leave in clear.
        job.esp.fill(0);
        return;
    }
    match suite {
        Suite::Separate(cipher, mac) => {
            let Some((iv, text, _)) = parts(job.esp, &key.layout) else { return };
            cipher.seal(job.number, iv, text, random);
            let mut icv = [0; ICV_MAX];
            mac_of_esp(key, mac, job.esp, job.number, &mut icv);
            let at = job.esp.len() - key.layout.icv;
            job.esp[at..].copy_from_slice(&icv[..key.layout.icv]);
        }
        Suite::Combined(cipher) => {
            let associated = Associated::of(key, job.esp, job.number);
            let Some((iv, text, icv)) = parts(job.esp, &key.layout) else { return };
            iv.copy_from_slice(&job.number.to_be_bytes());
            cipher.seal(iv, associated.get(), text, icv);
        }
        Suite::Alone(_) => unreachable!("keys of AH are its alone"),
    }
    job.right = true;
}

fn open_one(suite: &Suite, job: &mut Job<'_>) -> bool {
    let key = job.key;
    if parts(job.esp, &key.layout).is_none() {
        return false;
    }
    match suite {
        Suite::Separate(cipher, mac) => {
            let mut icv = [0; ICV_MAX];
            mac_of_esp(key, mac, job.esp, job.number, &mut icv);
            let given = &job.esp[job.esp.len() - key.layout.icv..];
            if !bool::from(icv[..key.layout.icv].ct_eq(given)) {
                return false;
            }
            let (iv, text, _) = parts(job.esp, &key.layout).expect("looked at above");
            cipher.open(iv, text);
            true
        }
        Suite::Combined(cipher) => {
            let associated = Associated::of(key, job.esp, job.number);
            let Some((iv, text, icv)) = parts(job.esp, &key.layout) else { return false };
            cipher.open(iv, associated.get(), text, icv)
        }
        Suite::Alone(_) => unreachable!("keys of AH are its alone"),
    }
}

impl Engine for Portable {
    fn name(&self) -> String {
        "portable".into()
    }

    fn seal(&mut self, jobs: &mut [Job<'_>], random: &mut dyn Random) {
        for run in runs(jobs) {
            let suite = self.suites.get_alone(run[0].key, Suite::new);
            run.iter_mut().for_each(|job| seal_one(suite, job, random));
        }
    }

    fn open(&mut self, jobs: &mut [Job<'_>]) {
        for run in runs(jobs) {
            let suite = self.suites.get_alone(run[0].key, Suite::new);
            run.iter_mut().for_each(|job| job.right = open_one(suite, job));
        }
    }

    fn sign(&mut self, key: &Keyed, number: u64, covered: &[u8], icv: &mut [u8]) {
        let upper = ((number >> 32) as u32).to_be_bytes();
        let covered = [covered, if key.esn { &upper[..] } else { &[] }];
        let mut whole = [0; ICV_MAX];
        if key.signed_iv == 0 {
            self.mac(key).sign(&covered, &mut whole);
            icv.copy_from_slice(&whole[..key.icv]);
            return;
        }
        let initial = number.to_be_bytes();
        self.mac(key).sign_with(&initial, &covered, &mut whole);
        icv[..key.signed_iv].copy_from_slice(&initial);
        icv[key.signed_iv..].copy_from_slice(&whole[..key.icv - key.signed_iv]);
    }

    fn verify(&mut self, key: &Keyed, number: u64, covered: &[u8], icv: &[u8]) -> bool {
        let upper = ((number >> 32) as u32).to_be_bytes();
        let covered = [covered, if key.esn { &upper[..] } else { &[] }];
        let (initial, tag) = icv.split_at(key.signed_iv);
        let mut whole = [0; ICV_MAX];
        match <&[u8; 8]>::try_from(initial) {
            Ok(initial) => self.mac(key).sign_with(initial, &covered, &mut whole),
            Err(_) => self.mac(key).sign(&covered, &mut whole),
        }
        whole[..tag.len()].ct_eq(tag).into()
    }

    fn forget(&mut self, serials: Option<&[Serial]>) {
        self.suites.forget(serials);
    }

    fn prepared(&self) -> usize {
        self.suites.len()
    }
}
