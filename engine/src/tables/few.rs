//! Lists of which nearly every one has one element: that one stands in place, and needs no memory elsewhere to look for.

/// See the module.
pub(super) enum Few<T> {
    /// The usual case.
    One(T),
    /// Any number.
    Some(Vec<T>),
}

impl<T> Default for Few<T> {
    fn default() -> Few<T> {
        Few::Some(Vec::new())
    }
}

impl<T> Few<T> {
    /// All of them.
    #[inline]
    pub fn all(&self) -> &[T] {
        match self {
            Few::One(only) => std::slice::from_ref(only),
            Few::Some(all) => all,
        }
    }

    /// Put it in front of what stands at this place.
    pub fn insert(&mut self, place: usize, element: T) {
        *self = match std::mem::take(self) {
            Few::Some(all) if all.is_empty() => Few::One(element),
            Few::One(only) if place == 0 => Few::Some(vec![element, only]),
            Few::One(only) => Few::Some(vec![only, element]),
            Few::Some(mut all) => {
                all.insert(place, element);
                Few::Some(all)
            }
        };
    }

    /// Take away what stands at this place.
    pub fn remove(&mut self, place: usize) {
        if let Few::Some(all) = self {
            all.remove(place);
        } else {
            *self = Few::default();
        }
        if let Few::Some(all) = self
            && all.len() == 1
        {
            *self = Few::One(all.remove(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_list() {
        let (mut few, mut list) = (Few::default(), Vec::new());
        let story =
            [(0, true), (0, false), (0, true), (1, true), (0, true), (3, true), (2, false), (0, false), (1, false)];
        for (number, (place, comes)) in story.into_iter().enumerate() {
            if comes {
                few.insert(place, number);
                list.insert(place, number);
            } else {
                few.remove(place);
                list.remove(place);
            }
            assert_eq!(few.all(), list);
            assert_eq!(matches!(few, Few::One(_)), list.len() == 1);
        }
        few.remove(0);
        assert!(few.all().is_empty());
    }

    #[test]
    fn it_takes_no_more_than_a_list() {
        assert_eq!(size_of::<Few<(Box<u8>, u64)>>(), size_of::<Vec<u8>>());
        assert_eq!(size_of::<Few<u32>>(), size_of::<Vec<u8>>());
    }
}
