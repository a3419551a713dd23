//! Memory that is overwritten when it is given back.

use std::mem::{ManuallyDrop, MaybeUninit, needs_drop};
use std::ops::Deref;

use zeroize::zeroize_flat_type;

/// A value on the heap that leaves zeros behind: for keys of libraries that don't see to it themselves.
pub struct Wiped<T>(Box<ManuallyDrop<T>>);

impl<T> Wiped<T> {
    /// Of a value that owns no other memory, which would stay as it is.
    pub fn new(value: T) -> Wiped<T> {
        const { assert!(!needs_drop::<T>(), "what it owns elsewhere would not be wiped") };
        Wiped(Box::new(ManuallyDrop::new(value)))
    }
}

impl<T> Deref for Wiped<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Drop for Wiped<T> {
    fn drop(&mut self) {
        let place = (&raw mut *self.0).cast::<MaybeUninit<T>>();
        // SAFETY: the memory is this box's own, and any octets are a MaybeUninit. Nobody sees the value any more, and as a
        // ManuallyDrop it is not dropped either when the box gives the memory back.
        unsafe { zeroize_flat_type(place) };
    }
}
