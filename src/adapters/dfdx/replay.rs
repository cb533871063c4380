//! The way for numbers into a gradient.

use core::cell::Cell;

use rand::Rng;
use rand::distributions::Distribution;

/// A distribution that is none: it gives out what `split_first` splits off a slice, piece by piece, and zeros behind it.
///
/// With `try_fill_with_distr` it is the one way by which dfdx lets data into a gradient, on every device and bit for bit, and it
/// leaves the device's generator alone.
pub(super) struct Replay<'a, T, F> {
    // A slice and no iterator, for a plain cell can hold it: with one in a `RefCell`, loading a checkpoint took twice as long.
    rest: Cell<&'a [T]>,
    split_first: F,
}

impl<'a, T, F> Replay<'a, T, F> {
    pub(super) fn of<E>(all: &'a [T], split_first: F) -> Self
    where
        F: Fn(&'a [T]) -> Option<(E, &'a [T])>,
    {
        Self { rest: Cell::new(all), split_first }
    }
}

impl<'a, T, E, F> Distribution<E> for Replay<'a, T, F>
where
    E: Default,
    F: Fn(&'a [T]) -> Option<(E, &'a [T])>,
{
    #[inline]
    fn sample<R: Rng + ?Sized>(&self, _: &mut R) -> E {
        let Some((number, rest)) = (self.split_first)(self.rest.get()) else { return E::default() };
        self.rest.set(rest);
        number
    }
}
