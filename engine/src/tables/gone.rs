//! Keys that went out of service. Each worker's engine may have prepared them, and nothing of them is to be left behind the
//! change that took them out: so whoever gets the tables after a change asks here what to forget.

use std::collections::VecDeque;

use crate::crypto::Serial;

/// Who has missed more forgets all that it has prepared, and soon has what it needs again.
const KNOWN_MAX: usize = 1024;

/// See the module.
#[derive(Default)]
pub struct Gone {
    count: u64,
    last: VecDeque<Serial>,
}

impl Gone {
    /// One more.
    pub fn add(&mut self, serial: Serial) {
        if self.last.len() == KNOWN_MAX {
            self.last.pop_front();
        }
        self.last.push_back(serial);
        self.count += 1;
    }

    /// How many went so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Those since there were `count`; None where not all of them are known any more.
    pub fn since(&self, count: u64) -> Option<Vec<Serial>> {
        let missed = usize::try_from(self.count.checked_sub(count)?).ok()?;
        let known = self.last.len().checked_sub(missed)?;
        Some(self.last.range(known..).copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_gets_what_went_since_or_all() {
        let mut gone = Gone::default();
        assert_eq!(gone.since(0), Some(vec![]));
        (1..=3).for_each(|serial| gone.add(10 * serial));
        assert_eq!(
            (gone.since(0), gone.since(2), gone.since(3)),
            (Some(vec![10, 20, 30]), Some(vec![30]), Some(vec![]))
        );
        assert_eq!((gone.count(), gone.since(4)), (3, None), "of other tables");
        (0..KNOWN_MAX as u64).for_each(|serial| gone.add(serial));
        assert_eq!((gone.since(2), gone.since(3).map(|all| all.len())), (None, Some(KNOWN_MAX)));
    }
}
