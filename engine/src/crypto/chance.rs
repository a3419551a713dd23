//! Chance of this process's own: ChaCha12, seeded by the kernel once.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use zeroize::Zeroize;

use super::Random;

/// See the module.
pub struct Chance(ChaCha12Rng);

impl Chance {
    /// Fails where the kernel has no chance to give.
    pub fn new() -> Result<Chance, getrandom::Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let chance = Chance(ChaCha12Rng::from_seed(seed));
        seed.zeroize();
        Ok(chance)
    }
}

impl Random for Chance {
    fn fill(&mut self, octets: &mut [u8]) {
        self.0.fill_bytes(octets);
    }
}
