//! The norm of gradients and clipping, over slices of numbers.

#![expect(clippy::inline_always, reason = "only what is inlined is compiled for the processor")]

use super::gradients::Element;
use super::wide::{Kernel, multiply_add, run};
use crate::config::Clip;

/// Squares are summed in blocks of so many numbers, and in strips within a block. The order does not depend on the width of
/// the processor's instructions, so the sum has the same bits on every processor.
const BLOCK: usize = 32_768;
const STRIP: usize = 64;

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
    fn run<const FMA: bool>(self) {
        let Some(clipper) = self.clipping.of::<E>() else { return };
        for value in self.values {
            *value = clipper.clip(*value);
        }
    }
}

struct Squares<'a, E>(&'a [E]);

impl<E: Element> Kernel for Squares<'_, E> {
    type Output = f64;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> f64 {
        let mut total = 0.0;
        // From the end to the start: a backward pass has left the end in the cache, and clipping begins at the start.
        for block in self.0.rchunks(BLOCK) {
            total += squares_of_block::<FMA, E>(block);
        }
        total
    }
}

/// Reads a block at four places at once, because one stream of reads does not use the whole bandwidth of the memory.
#[inline(always)]
fn squares_of_block<const FMA: bool, E: Element>(block: &[E]) -> f64 {
    let (first, rest) = block.split_at(block.len() / (4 * STRIP) * STRIP);
    let (second, rest) = rest.split_at(first.len());
    let (third, rest) = rest.split_at(first.len());
    let (fourth, rest) = rest.split_at(first.len());
    let first_two = first.chunks_exact(STRIP).zip(second.chunks_exact(STRIP));
    let last_two = third.chunks_exact(STRIP).zip(fourth.chunks_exact(STRIP));
    // One sum for each place in a strip: a loop over them needs no other order of additions to be vectorised.
    let mut sums = [0.0; STRIP];
    for ((first, second), (third, fourth)) in first_two.zip(last_two) {
        for (place, sum) in sums.iter_mut().enumerate() {
            let left = plus_square::<FMA, E>(*sum, first[place]);
            let right = plus_square::<FMA, E>(0.0, third[place]);
            *sum = plus_square::<FMA, E>(left, second[place]) + plus_square::<FMA, E>(right, fourth[place]);
        }
    }
    for strip in rest.chunks(STRIP) {
        for (sum, value) in sums.iter_mut().zip(strip) {
            *sum = plus_square::<FMA, E>(*sum, *value);
        }
    }
    // Halves are added until one sum is left.
    let mut sums = &mut sums[..];
    while sums.len() > 1 {
        let (half, others) = sums.split_at_mut(sums.len() / 2);
        for (sum, other) in half.iter_mut().zip(others) {
            *sum += *other;
        }
        sums = half;
    }
    sums[0]
}

#[inline(always)]
fn plus_square<const FMA: bool, E: Element>(sum: f64, value: E) -> f64 {
    // Every number type of a gradient can be written as an f64.
    let value = value.to_f64().unwrap_or(f64::NAN);
    // The square of an f32 is exact in f64, that of an f64 is not.
    if size_of::<E>() <= size_of::<f32>() { multiply_add::<FMA>(value, value, sum) } else { sum + value * value }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn squares_are_summed_whatever_the_length() {
        for length in [0, 1, 63, 64, 65, 255, 256, 321, BLOCK - 1, BLOCK, 2 * BLOCK + 3] {
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
        let square = |value: f32| core::hint::black_box(f64::from(value) * f64::from(value));
        let mut expected = 0.0;
        for block in values.rchunks(BLOCK) {
            let quarter = block.len() / 4 / STRIP * STRIP;
            let mut sums = [0.0; STRIP];
            for n in 0..quarter {
                let [first, second, third, fourth] = [0, 1, 2, 3].map(|stream| square(block[stream * quarter + n]));
                sums[n % STRIP] = (sums[n % STRIP] + first + second) + (third + fourth);
            }
            for (n, &value) in block[4 * quarter..].iter().enumerate() {
                sums[n % STRIP] += square(value);
            }
            for half in [32, 16, 8, 4, 2, 1] {
                for n in 0..half {
                    sums[n] += sums[n + half];
                }
            }
            expected += sums[0];
        }
        let sums = [sum_of_squares(&values), Squares(&values).run::<false>(), Squares(&values).run::<true>()];
        assert_eq!(sums.map(f64::to_bits), [expected.to_bits(); 3]);
        // The squares of these are not exact. Both belong to the same sum.
        let mut values = [0.0_f64; STRIP + 1];
        for n in 1..100 {
            (values[0], values[STRIP]) = (0.1 * f64::from(n), 0.37 * f64::from(n));
            let expected = values[0] * values[0] + values[STRIP] * values[STRIP];
            let sums = [sum_of_squares(&values), Squares(&values).run::<false>(), Squares(&values).run::<true>()];
            assert_eq!(sums.map(f64::to_bits), [expected.to_bits(); 3]);
        }
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
