//! Every algorithm of the table, by portable crates: where ipsec-mb isn't, and what ipsec-mb is compared with.

mod ciphers;
mod macs;
pub mod quick;

use subtle::ConstantTimeEq;

use self::ciphers::{Ciphering, Combined};
use self::macs::Mac;
use super::table::{self, auth_row, check_esp, check_key};
use super::{ESP_HEADER_OCTETS, Engine, Job, Keyed, Layout, Random, Unfit};
use crate::tables::sa::Secret;

/// The engine. It has no state of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Portable;

/// Prepared keys: both algorithms of an ESP SA, or the one that does both.
enum Suite {
    Separate(Ciphering, Mac),
    Combined(Combined),
}

/// The longest ICV there is, of HMAC-SHA2-512-256, and more.
const ICV_MAX: usize = 64;

impl Portable {
    /// Works on every processor.
    pub fn new() -> Portable {
        Portable
    }
}

fn suite(key: &Keyed) -> &Suite {
    key.prepared.downcast_ref().expect("this engine's own keys")
}

fn mac(key: &Keyed) -> &Mac {
    key.prepared.downcast_ref().expect("this engine's own keys")
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

fn seal_one(job: &mut Job<'_>, random: &mut dyn Random) {
    let key = job.key;
    if parts(job.esp, &key.layout).is_none() {
        // What can't be sealed doesn't leave in clear.
        job.esp.fill(0);
        return;
    }
    match suite(key) {
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
    }
    job.right = true;
}

fn open_one(job: &mut Job<'_>) -> bool {
    let key = job.key;
    if parts(job.esp, &key.layout).is_none() {
        return false;
    }
    match suite(key) {
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
    }
}

impl Engine for Portable {
    fn name(&self) -> String {
        "portable".into()
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
        let suite = match auth_row {
            None => Suite::Combined(Combined::new(row, key.reveal())),
            Some(auth) => Suite::Separate(Ciphering::new(row, key.reveal()), Mac::new(auth.auth, auth_key.reveal())),
        };
        let layout = table::layout(row, auth_row);
        Ok(Keyed { esn, layout, icv: layout.icv, signed_iv: 0, prepared: Box::new(suite) })
    }

    fn prepare_ah(&self, auth: &str, key: &Secret, esn: bool) -> Result<Keyed, Unfit> {
        let row = auth_row(auth)?;
        check_key(auth, row.key, key.reveal().len())?;
        let layout = Layout { iv: 0, alignment: 4, icv: row.icv };
        let prepared = Box::new(Mac::new(row.auth, key.reveal()));
        Ok(Keyed { esn, layout, icv: row.icv, signed_iv: row.iv, prepared })
    }

    fn seal(&mut self, jobs: &mut [Job<'_>], random: &mut dyn Random) {
        jobs.iter_mut().for_each(|job| seal_one(job, random));
    }

    fn open(&mut self, jobs: &mut [Job<'_>]) {
        jobs.iter_mut().for_each(|job| job.right = open_one(job));
    }

    fn sign(&mut self, key: &Keyed, number: u64, covered: &[u8], icv: &mut [u8]) {
        let upper = ((number >> 32) as u32).to_be_bytes();
        let covered = [covered, if key.esn { &upper[..] } else { &[] }];
        let mut whole = [0; ICV_MAX];
        if key.signed_iv == 0 {
            mac(key).sign(&covered, &mut whole);
            icv.copy_from_slice(&whole[..key.icv]);
            return;
        }
        let initial = number.to_be_bytes();
        mac(key).sign_with(&initial, &covered, &mut whole);
        icv[..key.signed_iv].copy_from_slice(&initial);
        icv[key.signed_iv..].copy_from_slice(&whole[..key.icv - key.signed_iv]);
    }

    fn verify(&mut self, key: &Keyed, number: u64, covered: &[u8], icv: &[u8]) -> bool {
        let upper = ((number >> 32) as u32).to_be_bytes();
        let covered = [covered, if key.esn { &upper[..] } else { &[] }];
        let (initial, tag) = icv.split_at(key.signed_iv);
        let mut whole = [0; ICV_MAX];
        match <&[u8; 8]>::try_from(initial) {
            Ok(initial) => mac(key).sign_with(initial, &covered, &mut whole),
            Err(_) => mac(key).sign(&covered, &mut whole),
        }
        whole[..tag.len()].ct_eq(tag).into()
    }
}
