//! Numbers into the memory of a gradient on devices that do not lend it out as a slice.

use core::cell::RefCell;

use rand::Rng;
use rand::distributions::Distribution;

/// A fake distribution that returns the elements of an iterator in order, and zeros behind its end.
///
/// `try_fill_with_distr` is the only method of dfdx that writes numbers of the caller's into a gradient on every device. It
/// leaves the device's generator alone.
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
