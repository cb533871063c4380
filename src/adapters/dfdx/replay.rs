//! Writes numbers into a gradient on devices whose memory cannot be borrowed as a slice.

use core::cell::RefCell;

use rand::Rng;
use rand::distributions::Distribution;

/// Not a real distribution: returns the elements of an iterator in order, and zeros after its end.
///
/// `try_fill_with_distr` is the only method of dfdx with which a caller can write numbers into a gradient on every device.
/// With this distribution it draws nothing from the device's random generator.
pub(super) struct Replay<I>(RefCell<I>);

impl<I> Replay<I> {
    pub(super) fn of(values: I) -> Self {
        Self(RefCell::new(values))
    }
}

impl<E: Default, I: Iterator<Item = E>> Distribution<E> for Replay<I> {
    fn sample<R: Rng + ?Sized>(&self, _: &mut R) -> E {
        self.0.borrow_mut().next().unwrap_or_default()
    }
}
