//! The anti-replay window of one inbound SA (RFC 4303 section 3.4.3).
//!
//! `top` is the highest sequence number that was ever authenticated. The window is the numbers `top - size + 1` ..
//! `top`; which of them were seen stands in a ring of exactly `size` bits, each number's behind that of the one before.
//! `next` is the place for `top + 1`. So nothing is shifted when the window moves (the thought of RFC 6479, without its
//! rounding): the numbers that enter take the places of those that leave.
//!
//! ```text
//!     behind: refused  |  window: refused if its bit is set  |  ahead: accepted
//!   -------------------+-------------------------------------+-----------------> sequence numbers
//!                       top-size+1                        top
//! ```
//!
//! Two calls per packet, and authentication stands between them: `check` before any cryptography, which changes nothing
//! (a forged number must not move the window), and `mark` behind it. Number 0 is never sent (RFC 4303 section 3.3.3) and
//! never accepted. A window of size 0 turns the service off; the number 0 is still refused.

const WORD_BITS: usize = u64::BITS as usize;

/// Which sequence numbers were seen.
#[derive(Debug)]
pub struct Window {
    top: u64,
    lost: u64,
    size: usize,
    next: usize,
    extended: bool,
    seen: Box<[u64]>,
}

impl Window {
    /// Begins at `top`, with all up to it counted as seen. `extended`: numbers have 64 bits, of which packets carry 32.
    pub fn new(size: usize, top: u64, extended: bool) -> Window {
        let seen = vec![u64::MAX; size.div_ceil(WORD_BITS)].into();
        Window { top, lost: 0, size, next: 0, extended, seen }
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

    /// Begin again at `top`: nothing at or below it is accepted, everything above is.
    pub fn restart(&mut self, top: u64) {
        self.top = top;
        self.seen.fill(u64::MAX);
    }

    /// Which of the newest 64 numbers were seen, bit i for `top - i`; 0 for what is behind the window.
    #[inline]
    pub fn newest(&self) -> u64 {
        let count = self.size.min(WORD_BITS);
        if count == 0 {
            return 0;
        }
        // The places in front of `next`, and where the ring begins anew those at its end, which are of older numbers.
        let near = count.min(self.next);
        let far = count - near;
        let older = self.bits(self.size - far, far);
        let newer = self.bits(self.next - near, near).checked_shl(far as u32).unwrap_or(0);
        (older | newer).reverse_bits() >> (WORD_BITS - count)
    }

    /// `count` places from `first` on, 64 at most.
    #[inline]
    fn bits(&self, first: usize, count: usize) -> u64 {
        if count == 0 {
            return 0;
        }
        let (word, shift) = (first / WORD_BITS, first % WORD_BITS);
        let behind = if shift + count > WORD_BITS { self.seen[word + 1] << (WORD_BITS - shift) } else { 0 };
        (self.seen[word] >> shift | behind) & u64::MAX >> (WORD_BITS - count)
    }

    /// The sequence number behind the 32 bits in a packet (RFC 4303 appendix A2.2); None for one that can't be, before
    /// the first or behind the last.
    ///
    /// With extended numbers it is the one with these low bits among the 2^32 that begin at the window's lower edge.
    #[inline]
    pub fn number_of(&self, low: u32) -> Option<u64> {
        if !self.extended {
            return Some(low.into());
        }
        let bottom = i128::from(self.top) - self.size as i128 + 1;
        let ahead = low.wrapping_sub(bottom as u32);
        u64::try_from(bottom + i128::from(ahead)).ok()
    }

    /// Whether a packet of this number may be looked at.
    #[inline]
    pub fn check(&self, number: u64) -> bool {
        if number > self.top {
            return true;
        }
        number > 0 && (self.size == 0 || self.place(number).is_some_and(|place| !self.is_set(place)))
    }

    /// This number was authentic.
    #[inline]
    pub fn mark(&mut self, number: u64) {
        if number > self.top {
            self.advance(number);
        }
        if let Some(place) = self.place(number) {
            self.seen[place / WORD_BITS] |= 1 << (place % WORD_BITS);
        }
    }

    /// Of a number at or below `top`; None behind the window.
    #[inline]
    fn place(&self, number: u64) -> Option<usize> {
        let behind = self.top - number;
        if behind >= self.size as u64 {
            return None;
        }
        let behind = behind as usize;
        let above = if behind < self.next { self.next } else { self.next + self.size };
        Some(above - 1 - behind)
    }

    #[inline]
    fn is_set(&self, place: usize) -> bool {
        self.seen[place / WORD_BITS] >> (place % WORD_BITS) & 1 != 0
    }

    #[inline]
    fn advance(&mut self, number: u64) {
        let ahead = number - self.top;
        let leaving = ahead.min(self.size as u64);
        let jumped = ahead.saturating_sub(self.size.max(1) as u64);
        let unseen = leaving - self.enter(leaving as usize);
        self.lost = self.lost.saturating_add(jumped + unseen);
        self.top = number;
    }

    /// Clear the places of so many numbers that enter, which are those of as many that leave; how many of these were seen.
    #[inline]
    fn enter(&mut self, count: usize) -> u64 {
        let end = self.next + count;
        let seen = self.take(self.next, end.min(self.size)) + self.take(0, end.saturating_sub(self.size));
        self.next = if end >= self.size { end - self.size } else { end };
        seen
    }

    /// Clear the places `first` .. `end - 1`; how many of them were set.
    #[inline]
    fn take(&mut self, mut first: usize, end: usize) -> u64 {
        let mut seen = 0;
        while first < end {
            let bits = (WORD_BITS - first % WORD_BITS).min(end - first);
            let mask = u64::MAX >> (WORD_BITS - bits) << (first % WORD_BITS);
            let word = &mut self.seen[first / WORD_BITS];
            seen += u64::from((*word & mask).count_ones());
            *word &= !mask;
            first += bits;
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LAST: u64 = u32::MAX as u64;
    const SIZES: [usize; 12] = [0, 1, 2, 31, 32, 33, 63, 64, 65, 100, 1024, 4096];
    const STARTS: [u64; 14] = [
        0,
        1,
        63,
        64,
        1 << 31,
        LAST - 100,
        LAST,
        LAST + 1,
        LAST + 11,
        (1 << 33) - 1,
        1 << 33,
        1 << 63,
        u64::MAX - 199,
        u64::MAX,
    ];

    /// What RFC 4303 section 3.4.3 says, with no thought of speed.
    struct Reference {
        size: u64,
        top: u64,
        start: u64,
        seen: BTreeSet<u64>,
    }

    impl Reference {
        fn new(size: usize, top: u64) -> Reference {
            Reference { size: size as u64, top, start: top, seen: BTreeSet::new() }
        }

        fn check(&self, number: u64) -> bool {
            if number == 0 || self.size == 0 {
                return number > 0;
            }
            let is_behind = number <= self.top && self.top - number >= self.size;
            !is_behind && number > self.start && !self.seen.contains(&number)
        }

        fn mark(&mut self, number: u64) {
            self.seen.insert(number);
            self.top = self.top.max(number);
        }

        /// Bit by bit; what is before the first number counts as seen.
        fn newest(&self) -> u64 {
            let is_seen = |behind: u64| match self.top.checked_sub(behind) {
                Some(number) => number <= self.start || self.seen.contains(&number),
                None => true,
            };
            (0..self.size.min(64)).map(|behind| u64::from(is_seen(behind)) << behind).sum()
        }

        /// Numbers from the first one sent that the window left behind, less those that were seen.
        fn lost(&self) -> u64 {
            let edge = self.top.saturating_sub(self.size.max(1)).max(self.start);
            edge - self.start - self.seen.range(self.start..=edge).count() as u64
        }
    }

    fn arrive(window: &mut Window, number: u64) -> bool {
        let fits = window.check(number);
        if fits {
            window.mark(number);
        }
        fits
    }

    struct Dice(u64);

    impl Dice {
        fn roll(&mut self) -> u64 {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            self.0 ^ self.0 >> 29
        }

        /// A number near the right edge of the window, at an end of the numbers, or any; `last` is the highest there is.
        fn number(&mut self, reach: u64, top: u64, last: u64) -> u64 {
            let value = self.roll();
            match self.roll() >> 32 & 31 {
                0 => [0, 1, 2, LAST - 1, LAST, last - 1, last][(value % 7) as usize],
                1 => top.saturating_sub(value >> 40).saturating_add(value & 0xFFFFFF).min(last),
                _ => top.saturating_sub(reach).saturating_add((value >> 16) % (2 * reach)).min(last),
            }
        }
    }

    fn compare(size: usize, start: u64, extended: bool, dice: &mut Dice) {
        let mut window = Window::new(size, start, extended);
        let mut reference = Reference::new(size, start);
        for _ in 0..600 {
            let number = dice.number(size as u64 + 9, reference.top, if extended { u64::MAX } else { LAST });
            let Some(found) = window.number_of(number as u32) else { continue };
            assert_eq!(window.check(found), reference.check(found), "size {size}, top {}: {found}", reference.top);
            if arrive(&mut window, found) {
                reference.mark(found);
            }
            assert_eq!(window.top(), reference.top);
            assert!(size == 0 || window.lost() == reference.lost(), "size {size}, start {start}, at {found}");
            assert_eq!(window.newest(), reference.newest(), "size {size}, start {start}, at {found}");
        }
    }

    #[test]
    fn the_window_is_a_set_of_integers() {
        let mut dice = Dice(1);
        for size in SIZES {
            for start in STARTS {
                compare(size, start.min(LAST), false, &mut dice);
                compare(size.max(1), start, true, &mut dice);
            }
        }
    }

    #[test]
    fn the_story_of_a_window() {
        let mut window = Window::new(64, 0, false);
        let story = [
            (0, false),
            (1, true),
            (1, false),
            (9, true),
            (8, true),
            (8, false),
            (64, true),
            (63, true),
            (63, false),
            (2, true),
            (65, true),
            (66, true),
            (3, true),
            (2, false),
            (200, true),
            (136, false),
            (137, true),
            (199, true),
            (200, false),
            (1 << 31, true),
            (201, false),
            (LAST - 64, true),
            (LAST, true),
            (LAST, false),
            (LAST - 63, true),
            (LAST - 64, false),
            (0, false),
        ];
        for (number, accepted) in story {
            assert_eq!(arrive(&mut window, number), accepted, "{number}");
        }
    }

    #[test]
    fn both_edges_at_the_end_of_the_numbers() {
        for size in [1, 64, 4096] {
            let mut window = Window::new(size, 0, false);
            assert!(arrive(&mut window, LAST) && !window.check(LAST));
            assert!(!window.check(LAST - size as u64));
            let edge = LAST - size as u64 + 1;
            assert!(size == 1 || (arrive(&mut window, edge) && !arrive(&mut window, edge)));
        }
    }

    #[test]
    fn checking_moves_nothing_and_marking_what_is_far_behind_neither() {
        let mut window = Window::new(64, 5, false);
        assert!(window.check(LAST) && window.top() == 5 && window.check(6) && !window.check(5));
        window.mark(LAST);
        window.mark(1);
        assert!(window.top() == LAST && !window.check(1) && window.check(LAST - 1));
    }

    #[test]
    fn a_window_restarts_where_it_is_told() {
        let mut window = Window::new(64, 0, false);
        window.mark(500);
        window.restart(0);
        assert!(window.check(1) && window.check(500));
        window.restart(500);
        assert!(!window.check(500) && !window.check(450) && window.check(501));
        assert_eq!(window.lost(), 499 - 63);
    }

    /// RFC 4303 appendix A2.2, line by line; the upper half of a number before the first is -1.
    fn appendix_a2(top: u64, size: u64, low: u32) -> i128 {
        let (top_high, top_low, low) = (i128::from(top >> 32), top & LAST, u64::from(low));
        let high = if top_low >= size - 1 {
            if low + size > top_low { top_high } else { top_high + 1 }
        } else if low > (top_low.wrapping_sub(size) & LAST) {
            top_high - 1
        } else {
            top_high
        };
        (high << 32) + i128::from(low)
    }

    #[test]
    fn the_number_behind_32_bits_is_that_of_the_rfc() {
        let mut dice = Dice(2);
        for size in [1, 2, 32, 64, 1024, 4096] {
            for start in STARTS.into_iter().chain((0..200).map(|shift| dice.roll() >> (shift % 64)).collect::<Vec<_>>())
            {
                let window = Window::new(size, start, true);
                for step in 0..40 {
                    let near = (start as u32).wrapping_add((dice.roll() >> 40) as u32 % 10000).wrapping_sub(5000);
                    let low = if step % 4 == 0 { dice.roll() as u32 } else { near };
                    let expected = u64::try_from(appendix_a2(start, size as u64, low)).ok();
                    assert_eq!(window.number_of(low), expected, "size {size}, top {start}: {low}");
                }
            }
        }
    }

    #[test]
    fn before_the_first_number_and_behind_the_last() {
        let window = Window::new(64, 5, true);
        assert_eq!((window.number_of(u32::MAX), window.number_of(u32::MAX - 57)), (None, None));
        assert_eq!(window.number_of(u32::MAX - 58), Some(LAST - 58));
        let mut window = Window::new(64, u64::MAX - 2, true);
        for low in [u32::MAX - 1, u32::MAX] {
            let number = window.number_of(low).expect("it can be sent");
            assert!(arrive(&mut window, number));
        }
        assert_eq!((window.top(), window.number_of(0), window.number_of(u32::MAX - 64)), (u64::MAX, None, None));
        assert_eq!(Window::new(64, LAST, false).number_of(0), Some(0));
    }

    #[test]
    fn lost_counts_what_was_left_behind_unseen() {
        let mut window = Window::new(32, 0, false);
        for number in [1, 3, 2 + 32] {
            window.mark(number);
        }
        assert_eq!(window.lost(), 1);
        window.mark(1000);
        // 4..=33 and 35..=968.
        assert_eq!(window.lost(), 1 + 30 + 934);
        window.set_lost(u64::MAX);
        window.mark(5000);
        assert_eq!(window.lost(), u64::MAX);
    }

    #[test]
    fn without_a_window_what_is_jumped_over_is_lost() {
        let mut window = Window::new(0, 0, false);
        for number in [1, 2, 5, 3, 6] {
            assert!(arrive(&mut window, number));
        }
        assert_eq!((window.top(), window.lost(), window.check(0)), (6, 2, false));
    }
}
