//! Integrity algorithms: each gives the whole value, which the caller truncates.

use aes::Aes128;
use cmac::Cmac;
use hmac::{Hmac, KeyInit};
use md5::Md5;
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use zeroize::ZeroizeOnDrop;

use super::ICV_MAX;
use super::ciphers::GmacKey;
use crate::crypto::table::Auth;
use cbc::cipher::BlockCipherEncrypt;

/// A keyed algorithm, cloned for each packet.
pub enum Mac {
    /// RFC 2403.
    Md5(Box<Hmac<Md5>>),
    /// RFC 2404.
    Sha1(Box<Hmac<Sha1>>),
    /// RFC 4868.
    Sha256(Box<Hmac<Sha256>>),
    /// RFC 4868.
    Sha384(Box<Hmac<Sha384>>),
    /// RFC 4868.
    Sha512(Box<Hmac<Sha512>>),
    /// RFC 4494.
    Cmac(Box<Cmac<Aes128>>),
    /// RFC 3566.
    Xcbc(Box<Xcbc>),
    /// RFC 4543.
    Gmac(Box<GmacKey>),
}

fn keyed<M: KeyInit>(key: &[u8]) -> Box<M> {
    Box::new(M::new_from_slice(key).expect("the table has the length"))
}

fn run<M: hmac::Mac + Clone>(mac: &M, covered: &[&[u8]], icv: &mut [u8; ICV_MAX]) {
    let mut mac = mac.clone();
    covered.iter().for_each(|octets| mac.update(octets));
    let value = mac.finalize().into_bytes();
    icv[..value.len()].copy_from_slice(&value);
}

impl Mac {
    /// Of a key as long as the row says.
    pub fn new(auth: Auth, key: &[u8]) -> Mac {
        match auth {
            Auth::Md5 => Mac::Md5(keyed(key)),
            Auth::Sha1 => Mac::Sha1(keyed(key)),
            Auth::Sha256 => Mac::Sha256(keyed(key)),
            Auth::Sha384 => Mac::Sha384(keyed(key)),
            Auth::Sha512 => Mac::Sha512(keyed(key)),
            Auth::Cmac => Mac::Cmac(keyed(key)),
            Auth::Xcbc => Mac::Xcbc(Box::new(Xcbc::new(key))),
            Auth::Gmac => Mac::Gmac(Box::new(GmacKey::new(key))),
        }
    }

    /// The value over these octets, one behind the other.
    pub fn sign(&self, covered: &[&[u8]], icv: &mut [u8; ICV_MAX]) {
        match self {
            Mac::Md5(mac) => run(mac.as_ref(), covered, icv),
            Mac::Sha1(mac) => run(mac.as_ref(), covered, icv),
            Mac::Sha256(mac) => run(mac.as_ref(), covered, icv),
            Mac::Sha384(mac) => run(mac.as_ref(), covered, icv),
            Mac::Sha512(mac) => run(mac.as_ref(), covered, icv),
            Mac::Cmac(mac) => run(mac.as_ref(), covered, icv),
            Mac::Xcbc(mac) => icv[..16].copy_from_slice(&mac.sign(covered)),
            Mac::Gmac(_) => unreachable!("GMAC has an IV"),
        }
    }

    /// The same under an IV, which only GMAC has.
    pub fn sign_with(&self, initial: &[u8; 8], covered: &[&[u8]], icv: &mut [u8; ICV_MAX]) {
        match self {
            Mac::Gmac(key) => icv[..16].copy_from_slice(&key.tag(initial, covered)),
            _ => self.sign(covered, icv),
        }
    }
}

/// AES-XCBC-MAC (RFC 3566 section 4): CBC-MAC under K1, whose last block is mixed with K2 if it was whole, and K3 if
/// padded.
#[derive(ZeroizeOnDrop)]
pub struct Xcbc {
    #[zeroize(skip)]
    chain: Aes128,
    whole: [u8; 16],
    padded: [u8; 16],
}

impl Xcbc {
    fn new(key: &[u8]) -> Xcbc {
        let cipher = Aes128::new_from_slice(key).expect("the table has the length");
        let derive = |number: u8| {
            let mut block = [number; 16].into();
            cipher.encrypt_block(&mut block);
            <[u8; 16]>::from(block)
        };
        let chain = Aes128::new(&derive(1).into());
        Xcbc { chain, whole: derive(2), padded: derive(3) }
    }

    fn sign(&self, covered: &[&[u8]]) -> [u8; 16] {
        // The block that may be the last is held back until more octets come.
        let (mut state, mut held, mut count) = ([0; 16], [0; 16], 0);
        for octet in covered.iter().flat_map(|octets| octets.iter()) {
            if count == 16 {
                state = self.step(&state, &held);
                count = 0;
            }
            held[count] = *octet;
            count += 1;
        }
        if count == 16 {
            return self.step(&state, &xor(&held, &self.whole));
        }
        held[count] = 0x80;
        held[count + 1..].fill(0);
        self.step(&state, &xor(&held, &self.padded))
    }

    fn step(&self, state: &[u8; 16], block: &[u8; 16]) -> [u8; 16] {
        let mut mixed = xor(state, block).into();
        self.chain.encrypt_block(&mut mixed);
        mixed.into()
    }
}

fn xor(one: &[u8; 16], other: &[u8; 16]) -> [u8; 16] {
    std::array::from_fn(|at| one[at] ^ other[at])
}
