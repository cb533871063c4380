//! Float arithmetic: the only file that converts integers to floats and calls `libm`.
//!
//! `libm` is pure Rust and is called directly, so every platform computes the same bits.

use core::f64::consts::PI;

/// Interpolates from `a` at height 0 to `b` at height 1, starting from the nearer end. Both ends are exact, and rounding
/// never leads outside of them.
#[inline]
pub(crate) fn between(a: f64, b: f64, height: f64) -> f64 {
    let span = b - a;
    if height < 0.5 { a + span * height } else { b - span * (1.0 - height) }
}

/// A count of updates as a float: exact up to 2^53, and the nearest float for larger counts.
#[inline]
#[expect(clippy::cast_precision_loss, clippy::cast_possible_wrap, reason = "the one place where time becomes a float")]
pub(crate) fn float(steps: u64) -> f64 {
    /// Out of line, or the compiler uses the slow conversion for both cases.
    #[cold]
    #[inline(never)]
    fn float_of_huge(steps: u64) -> f64 {
        steps as f64
    }

    // Processors convert signed integers in one instruction and unsigned ones in several.
    if steps >> 63 == 0 { steps as i64 as f64 } else { float_of_huge(steps) }
}

/// `part / whole` for counts of updates.
#[inline]
pub(crate) fn fraction(part: u64, whole: u64) -> f64 {
    float(part) / float(whole)
}

/// The step nearest to a fraction of a length.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "fraction is in [0, 1]")]
pub(crate) fn nearest_step(fraction: f64, length: u64) -> u64 {
    (libm::round(fraction * float(length)) as u64).min(length)
}

/// `floor(x)`: Python's `int` for non-negative numbers.
pub(crate) fn floor(x: f64) -> f64 {
    libm::floor(x)
}

/// The first whole step at or after `x`; 0 if `x` is negative.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, as it should")]
pub(crate) fn ceil(x: f64) -> u64 {
    libm::ceil(x) as u64
}

/// `x` rounded to the nearest integer, halves away from zero; `None` if `u64` cannot hold it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "inside the range of u64")]
pub(crate) fn nearest(x: f64) -> Option<u64> {
    let rounded = libm::round(x);
    (0.0..18_446_744_073_709_551_616.0).contains(&rounded).then_some(rounded as u64)
}

/// Binary logarithm.
pub(crate) fn log2(x: f64) -> f64 {
    libm::log2(x)
}

/// `x^n` as `exp2(n log2 x)`, from the logarithm. Exactly 1 at n = 0.
#[inline]
pub(crate) fn power(log2_x: f64, n: u64) -> f64 {
    libm::exp2(float(n) * log2_x)
}

/// `2^x`.
pub(crate) fn exp2(x: f64) -> f64 {
    libm::exp2(x)
}

/// Splits a place between two entries of a list into the lower index and the fraction of the way to the next entry.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "places in a list are not negative")]
pub(crate) fn split(place: f64) -> (usize, f64) {
    let below = libm::floor(place);
    (below as usize, place - below)
}

/// `x^p` for a real power.
#[inline]
pub(crate) fn real_power(x: f64, p: f64) -> f64 {
    libm::pow(x, p)
}

/// `cos(pi x)`.
#[inline]
pub(crate) fn cosine_of_half_turns(x: f64) -> f64 {
    libm::cos(PI * x)
}

/// Square root (correctly rounded, the same bits everywhere).
#[inline]
pub(crate) fn square_root(x: f64) -> f64 {
    libm::sqrt(x)
}

/// `2^-n`, exact: normal numbers to n = 1022, subnormal ones to 1074, then 0.
#[inline]
pub(crate) fn halved(n: u64) -> f64 {
    match n {
        0..=1022 => f64::from_bits((1023 - n) << 52),
        1023..=1074 => f64::from_bits(1 << (1074 - n)),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_is_exact_down_to_zero() {
        for n in [0, 1, 10, 1022, 1023, 1024, 1074] {
            assert_eq!(halved(n), libm::exp2(-float(n)), "n = {n}");
        }
        assert_eq!(halved(1074), f64::from_bits(1));
        assert_eq!(halved(1075), 0.0);
        assert_eq!(halved(u64::MAX), 0.0);
    }

    #[test]
    fn interpolation_keeps_both_ends_and_never_leaves_them() {
        // 0.1 * (1 - h) + 0.1 * h would round to another number than 0.1 for some h.
        for i in 0..1000 {
            let height = fraction(i, 999);
            assert_eq!(between(0.1, 0.1, height), 0.1);
            assert!((0.1..=0.3).contains(&between(0.3, 0.1, height)));
        }
        assert_eq!((between(1e-5, 0.3, 0.0), between(1e-5, 0.3, 1.0)), (1e-5, 0.3));
    }

    #[test]
    fn nearest_step_stays_inside() {
        assert_eq!(nearest_step(0.3, 10), 3);
        assert_eq!(nearest_step(0.25, 9), 2);
        assert_eq!(nearest_step(1.0, u64::MAX), u64::MAX);
        assert_eq!(nearest_step(0.0, 5), 0);
    }
}
