//! The norm of gradients and clipping, over slices of numbers.

#![expect(clippy::inline_always, reason = "only what is inlined is compiled for the processor")]

use super::gradients::Element;
use super::wide::{Kernel, run};
use crate::config::Clip;

/// Sums are kept in so many lanes, for which the compiler takes wide instructions of any width: the same bits on every
/// processor.
const LANES: usize = 16;

/// Squares are summed in blocks of so many numbers, which stay in the processor's cache from one loop to the next.
const BLOCK: usize = 32_768;

/// The sum of the squares of all numbers.
pub(crate) fn sum_of_squares<E: Element>(values: &[E]) -> f64 {
    run(Squares(values))
}

/// What clipping does to each number of the gradients: it is scaled, and then clamped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clipping {
    /// The factor; 1 leaves the numbers as they are.
    scale: f64,
    /// The largest absolute value; infinity leaves the numbers as they are.
    limit: f64,
}

impl Clipping {
    /// Leaves all numbers as they are.
    pub const NONE: Self = Self { scale: 1.0, limit: f64::INFINITY };

    /// What `clip` asks for if `norm` is the norm of the gradients. A norm that is not finite scales nothing.
    ///
    /// ```
    /// use cyclic_optim::Clip;
    /// use cyclic_optim::training::Clipping;
    ///
    /// let mut gradients = [3.0, -4.0];
    /// let clipping = Clipping::new(Clip { norm: Some(1.0), value: Some(0.7) }, 5.0);
    /// assert!(clipping.acts());
    /// clipping.apply(&mut gradients);
    /// assert!((gradients[0] - 0.6_f64).abs() < 1e-6 && gradients[1] == -0.7);
    /// assert!(!Clipping::new(Clip { norm: Some(10.0), ..Clip::default() }, 5.0).acts());
    /// ```
    #[must_use]
    pub fn new(clip: Clip, norm: f64) -> Self {
        let scale = clip.norm.filter(|_| norm.is_finite()).map_or(1.0, |max_norm| (max_norm / (norm + 1e-6)).min(1.0));
        Self { scale, limit: clip.value.unwrap_or(f64::INFINITY) }
    }

    /// Whether it changes any numbers.
    #[inline]
    #[must_use]
    pub fn acts(self) -> bool {
        self.scale < 1.0 || self.limit < f64::INFINITY
    }

    /// Clips numbers. NaN stays what it is.
    pub fn apply<E: Element>(self, values: &mut [E]) {
        run(Clipped { values, clipping: self });
    }

    /// The same in the number type of the gradients.
    #[inline]
    pub(crate) fn of<E: Element>(self) -> Option<Clipper<E>> {
        let Self { scale, limit } = self;
        Some(Clipper { scale, factor: E::from_f64(scale)?, low: E::from_f64(-limit)?, high: E::from_f64(limit)? })
    }
}

/// What clips a number, in a loop that is compiled for the processor.
#[derive(Clone, Copy)]
pub(crate) struct Clipper<E> {
    scale: f64,
    factor: E,
    low: E,
    high: E,
}

impl<E: Element> Clipper<E> {
    #[inline(always)]
    pub(crate) fn clip(&self, value: E) -> E {
        // A factor of half precision would have three digits.
        let scaled = if size_of::<E>() < size_of::<f32>() {
            value.to_f64().and_then(|value| E::from_f64(value * self.scale)).unwrap_or(value)
        } else {
            value * self.factor
        };
        // Not `clamp`, which checks its limits for each number.
        let below = if scaled > self.high { self.high } else { scaled };
        if below < self.low { self.low } else { below }
    }
}

struct Clipped<'a, E> {
    values: &'a mut [E],
    clipping: Clipping,
}

impl<E: Element> Kernel for Clipped<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Some(clipper) = self.clipping.of::<E>() else { return };
        // From the end to the start: whoever has looked at the numbers before has left their end in the cache, and whoever uses
        // them afterwards begins at their start.
        for block in self.values.rchunks_mut(BLOCK) {
            for value in block {
                *value = clipper.clip(*value);
            }
        }
    }
}

struct Squares<'a, E>(&'a [E]);

impl<E: Element> Kernel for Squares<'_, E> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        let mut total = 0.0;
        for block in self.0.chunks(BLOCK) {
            let mut lanes = [0.0; LANES];
            let mut whole = block.chunks_exact(LANES);
            for values in &mut whole {
                // The length as a constant is worth a tenth of the time.
                if let Ok(values) = <&[E; LANES]>::try_from(values) {
                    add_squares(&mut lanes, values);
                }
            }
            add_squares(&mut lanes, whole.remainder());
            total += lanes.iter().sum::<f64>();
        }
        total
    }
}

#[inline(always)]
fn add_squares<E: Element>(lanes: &mut [f64; LANES], values: &[E]) {
    for (lane, value) in lanes.iter_mut().zip(values) {
        // Every number type of a gradient can be written as an f64.
        let value = value.to_f64().unwrap_or(f64::NAN);
        *lane += value * value;
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn squares_are_summed_whatever_the_length() {
        for length in [0, 1, 15, 16, 17, 100, BLOCK - 1, BLOCK, 2 * BLOCK + 3] {
            let values: Vec<f32> = [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0].into_iter().cycle().take(length).collect();
            // Sums of small whole numbers are exact in any order.
            let expected: f64 = values.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
            assert_eq!(sum_of_squares(&values), expected, "{length}");
        }
        assert!(sum_of_squares(&[1.0, f64::NAN]).is_nan());
        assert_eq!(sum_of_squares(&[f32::MAX, f32::MAX]), 2.0 * f64::from(f32::MAX) * f64::from(f32::MAX));
    }

    /// With wide instructions and without, of any width, the sum has the bits of this one.
    #[test]
    fn the_sum_has_the_same_bits_on_every_processor() {
        let mut state = 1_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from_bits(state >> 2)
        };
        let values: Vec<f32> = core::iter::repeat_with(&mut random).take(BLOCK + 1001).collect();
        let mut expected = 0.0;
        for block in values.chunks(BLOCK) {
            let mut lanes = [0.0; LANES];
            for (n, &value) in block.iter().enumerate() {
                lanes[n % LANES] += core::hint::black_box(f64::from(value) * f64::from(value));
            }
            expected += lanes.iter().sum::<f64>();
        }
        assert_eq!(sum_of_squares(&values).to_bits(), expected.to_bits());
    }

    #[test]
    fn what_is_clamped_lies_within_the_limit() {
        let mut values = [-3.0_f32, -0.5, 0.0, f32::NAN, 0.7, f32::INFINITY];
        Clipping { scale: 2.0, limit: 1.2 }.apply(&mut values);
        assert_eq!(values[..3], [-1.2, -1.0, 0.0]);
        assert!(values[3].is_nan());
        assert_eq!(values[4..], [1.2, 1.2]);
        let mut values = [0.1_f64, -7.0];
        Clipping { scale: 0.3, ..Clipping::NONE }.apply(&mut values);
        assert_eq!(values, [0.1 * 0.3, -7.0 * 0.3]);
        // A limit that f32 does not have exactly: the nearest number that it has.
        let mut values = [0.1_f32, 0.3, -0.3];
        Clipping { limit: 0.1, ..Clipping::NONE }.apply(&mut values);
        assert_eq!(values, [0.1, 0.1, -0.1]);
    }
}
