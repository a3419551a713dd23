//! The anti-replay window of one inbound SA (RFC 4303 section 3.4.3).
//!
//! `top` is the highest sequence number that was ever authenticated. The window is the numbers `top - size + 1` ..
//! `top`; which of them were seen stands in a ring of bits, number `n` at bit `n` modulo the ring (RFC 6479), so that the
//! window moves without anything being shifted.
//!
//! Two calls per packet, and authentication stands between them: `check` before any cryptography, which changes nothing,
//! and `mark` behind it. Number 0 is never sent and never accepted. A window of size 0 turns the service off; the number
//! 0 is still refused.

/// Which sequence numbers were seen.
#[derive(Debug)]
pub struct Window {
    size: u64,
    extended: bool,
    top: u64,
    lost: u64,
    /// One bit per number, of a power of two of them, at least as many as the window has. Those outside are cleared.
    seen: Box<[u64]>,
}

const WORD_BITS: u64 = 64;

impl Window {
    /// Begins at `top`: all up to it counts as seen.
    pub fn new(size: usize, top: u64, extended: bool) -> Window {
        let words = size.div_ceil(WORD_BITS as usize).next_power_of_two();
        let mut window = Window { size: size as u64, extended, top, lost: 0, seen: vec![0; words].into() };
        for behind in 0..window.size {
            window.set(top.wrapping_sub(behind));
        }
        window
    }

    /// The right edge.
    #[inline]
    pub fn top(&self) -> u64 {
        self.top
    }

    /// Numbers that left the window, or were jumped over by it, without having been seen.
    #[inline]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Go on counting from there.
    pub fn set_lost(&mut self, lost: u64) {
        self.lost = lost;
    }

    #[inline]
    fn place(&self, number: u64) -> (usize, u64) {
        let word = (number / WORD_BITS) as usize & (self.seen.len() - 1);
        (word, 1 << (number % WORD_BITS))
    }

    #[inline]
    fn set(&mut self, number: u64) {
        let (word, bit) = self.place(number);
        self.seen[word] |= bit;
    }

    #[inline]
    fn is_set(&self, number: u64) -> bool {
        let (word, bit) = self.place(number);
        self.seen[word] & bit != 0
    }

    /// Clear the bit, and say whether it was set.
    #[inline]
    fn take(&mut self, number: u64) -> bool {
        let (word, bit) = self.place(number);
        let was = self.seen[word] & bit != 0;
        self.seen[word] &= !bit;
        was
    }

    /// The sequence number behind the 32 bits in a packet (RFC 4303 appendix A2.2); None for one that can't be.
    ///
    /// With extended numbers it is the one with these low bits among the 2^32 that begin at the window's lower edge.
    #[inline]
    pub fn number_of(&self, low: u32) -> Option<u64> {
        if !self.extended {
            return Some(low.into());
        }
        let bottom = i128::from(self.top) - i128::from(self.size) + 1;
        let ahead = (i128::from(low) - bottom) & 0xFFFF_FFFF;
        u64::try_from(bottom + ahead).ok()
    }

    /// Whether a packet of this number may be looked at.
    #[inline]
    pub fn check(&self, number: u64) -> bool {
        if number > self.top {
            return true;
        }
        if self.size == 0 {
            return number > 0;
        }
        number > 0 && self.top - number < self.size && !self.is_set(number)
    }

    /// This number was authentic.
    #[inline]
    pub fn mark(&mut self, number: u64) {
        if number <= self.top {
            if self.top - number < self.size {
                self.set(number);
            }
            return;
        }
        self.advance(number);
        if self.size > 0 {
            self.set(number);
        }
    }

    fn advance(&mut self, number: u64) {
        let ahead = number - self.top;
        let leaving = ahead.min(self.size);
        let mut unseen = ahead.saturating_sub(self.size.max(1));
        for behind in 0..leaving {
            // The oldest leave first: they stand where the newest will.
            let oldest = self.top.wrapping_sub(self.size - 1).wrapping_add(behind);
            unseen += u64::from(!self.take(oldest));
        }
        self.lost += unseen;
        self.top = number;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What RFC 4303 says, with a set.
    struct Plain {
        size: u64,
        top: u64,
        seen: BTreeSet<u64>,
        begun: u64,
    }

    impl Plain {
        fn check(&self, number: u64) -> bool {
            number > self.top
                || (number > 0
                    && (self.size == 0
                        || (self.top - number < self.size && number > self.begun && !self.seen.contains(&number))))
        }

        fn mark(&mut self, number: u64) {
            self.seen.insert(number);
            self.top = self.top.max(number);
        }
    }

    #[test]
    fn equals_a_set_of_numbers() {
        let mut dice: u64 = 1;
        for size in [0, 1, 31, 32, 63, 64, 65, 100, 1000, 4096] {
            for begun in [0, 1, u64::from(u32::MAX) - 5, 1 << 40] {
                let mut window = Window::new(size as usize, begun, false);
                let mut plain = Plain { size, top: begun, seen: BTreeSet::new(), begun };
                for _ in 0..4000 {
                    dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let reach = if dice >> 60 == 0 { 3 * size + 9 } else { size / 2 + 4 };
                    let number = (plain.top + reach).saturating_sub((dice >> 33) % (2 * reach + 2));
                    assert_eq!(window.check(number), plain.check(number), "size {size} top {} {number}", plain.top);
                    if window.check(number) {
                        window.mark(number);
                        plain.mark(number);
                    }
                    assert_eq!(window.top(), plain.top);
                }
            }
        }
    }

    #[test]
    fn counts_what_was_never_seen() {
        let mut window = Window::new(32, 0, false);
        window.mark(1);
        window.mark(3);
        window.mark(2 + 32);
        assert_eq!(window.lost(), 1);
        window.mark(1000);
        // 4..=33 and 35..=968.
        assert_eq!(window.lost(), 1 + 30 + 934);
    }

    #[test]
    fn extended_numbers_are_found_around_the_edge() {
        let mut window = Window::new(64, (1 << 32) - 3, true);
        assert_eq!(window.number_of(u32::MAX), Some(u64::from(u32::MAX)));
        assert_eq!(window.number_of(0), Some(1 << 32));
        window.mark((1 << 32) + 5);
        assert_eq!(window.number_of(u32::MAX), Some(u64::from(u32::MAX)));
        assert_eq!(window.number_of(u32::MAX - 100), Some((2 << 32) - 101));
        assert_eq!(Window::new(64, 0, true).number_of(u32::MAX), None);
    }
}
