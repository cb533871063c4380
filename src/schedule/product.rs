//! The product of several schedules.

use alloc::vec;
use alloc::vec::Vec;

use super::{Cycle, IntoPolicy, LrRange, Point, Policy, Schedule, policy};
use crate::check::{self, serde_checked};
use crate::error::ConfigError;

serde_checked! {
    /// A schedule multiplied by other schedules, for example cycles that decay, or any schedule with a warm-up.
    ///
    /// # Formula
    ///
    /// ```text
    /// value(t) = first(t) second(t) third(t) ..
    /// ```
    ///
    /// The first schedule gives the rate, with its cycles, its range and the height that momentum follows. The others are
    /// factors, usually between 0 and 1: an [`ExponentialDecay`](crate::ExponentialDecay) from 1, a
    /// [`LinearDecay`](crate::LinearDecay) from 0.1 to 1.
    ///
    /// # Shape
    ///
    /// - at each step: the product of the values, multiplied from left to right
    /// - after the end: the product of the values that the schedules hold
    ///
    /// A range that is set later replaces the range of the first schedule. The factors multiply the whole rate, the base of
    /// the cycles included.
    ///
    /// | parameter | default | purpose | range |
    /// |---|---|---|---|
    /// | `factors` | required | the schedules | at least two; all endless, or all with an end |
    ///
    /// An endless schedule times one that ends is refused, because it is not clear whether the product ends. Wrap one of
    /// them in a [`Sequence`](crate::Sequence) to make it clear: a sequence whose last part has no `steps` is endless (for
    /// example a warm-up that stays at 1), and a sequence of a single part with `steps` ends.
    ///
    /// # Errors
    ///
    /// An endless schedule and one that ends, a product of the peaks that is infinite, products and sequences nested more
    /// than 16 deep.
    ///
    /// # Examples
    ///
    /// ```
    /// use cyclic_optim::{Cyclic, ExponentialDecay, Product, Schedule};
    ///
    /// let schedule = Product::new(Cyclic::triangular(0.1, 0.5, 4)?, ExponentialDecay::new(1.0, 0.5)?)?;
    /// assert_eq!((schedule.value_at(0), schedule.value_at(4), schedule.value_at(8)), (0.1, 0.5 / 16.0, 0.1 / 256.0));
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// PyTorch's `ChainedScheduler` of `ConstantLR(factor=0.1, total_iters=20)` and `ExponentialLR(gamma=0.9)`:
    ///
    /// ```
    /// use cyclic_optim::{Constant, ExponentialDecay, Part, Product, Schedule, Sequence};
    ///
    /// let warmup = Sequence::new([Part::new(Constant::new(0.1)?, 20), Part::endless(Constant::new(1.0)?)])?;
    /// let schedule = Product::new(ExponentialDecay::new(0.5, 0.9)?, warmup)?;
    /// assert!((schedule.value_at(1) - 0.045).abs() < 1e-15);
    /// assert!((schedule.value_at(20) - 0.060_788_327_295_284_7).abs() < 1e-15);
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # References
    ///
    /// PyTorch's `ChainedScheduler` in closed form. A `MultiplicativeLR` by a constant is an
    /// [`ExponentialDecay`](crate::ExponentialDecay) as one of the factors.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Product {
        factors: Vec<Policy>,
    }
}

impl Product {
    /// `schedule` times `factor`.
    ///
    /// # Errors
    ///
    /// An endless schedule and one that ends, a product of the peaks that is infinite, products and sequences nested more
    /// than 16 deep.
    pub fn new(schedule: impl IntoPolicy, factor: impl IntoPolicy) -> Result<Self, ConfigError> {
        Self { factors: vec![schedule.into_policy(), factor.into_policy()] }.check()
    }

    /// The product, times another factor.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn times(mut self, factor: impl IntoPolicy) -> Result<Self, ConfigError> {
        self.factors.push(factor.into_policy());
        self.check()
    }

    fn check(self) -> Result<Self, ConfigError> {
        check::at_least("factors", self.factors.len() as u64, 2)?;
        policy::check_depth(self.depth())?;
        let ends = || self.factors.iter().map(Schedule::horizon).enumerate();
        let endless = ends().find(|(_, horizon)| horizon.is_none());
        let held = ends().find_map(|(index, horizon)| Some((index, horizon?)));
        if let (Some((endless, _)), Some((held, horizon))) = (endless, held) {
            return Err(ConfigError::EndlessAndHeld { endless, held, horizon });
        }
        check::rate("the product of the peaks", self.peak())?;
        Ok(self)
    }

    /// The schedule that gives range, height and cycles.
    #[inline]
    pub(super) fn first(&self) -> &Policy {
        // `check` guarantees at least two.
        &self.factors[0]
    }

    /// The depth of nested products and sequences, this one included.
    pub(super) fn depth(&self) -> u64 {
        1 + self.factors.iter().map(Policy::depth).max().unwrap_or(0)
    }

    /// `value`, which belongs to the first schedule, times what `of` returns for each of the others.
    #[inline]
    fn times_others(&self, value: f64, of: impl Fn(&Policy) -> f64) -> f64 {
        self.factors[1..].iter().fold(value, |product, factor| product * of(factor))
    }
}

impl Schedule for Product {
    fn value_at(&self, step: u64) -> f64 {
        self.times_others(self.first().value_at(step), |factor| factor.value_at(step))
    }

    fn horizon(&self) -> Option<u64> {
        self.factors.iter().map(Schedule::horizon).max().flatten()
    }

    fn range(&self) -> Option<LrRange> {
        self.first().range()
    }

    fn peak(&self) -> f64 {
        self.times_others(self.first().peak(), Schedule::peak)
    }

    fn peak_over(&self, range: LrRange) -> f64 {
        self.times_others(self.first().peak_over(range), Schedule::peak)
    }

    fn cycle_at(&self, step: u64) -> Option<Cycle> {
        self.first().cycle_at(step)
    }

    fn cycle_start(&self, index: u64) -> Option<u64> {
        self.first().cycle_start(index)
    }

    fn point_at(&self, step: u64, range: Option<LrRange>) -> Point {
        let point = self.first().point_at(step, range);
        Point { value: self.times_others(point.value, |factor| factor.value_at(step)), ..point }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::schedule::{Constant, Cyclic, ExponentialDecay, LinearDecay, OneCycle, Part, ScheduleExt, Sequence};

    #[test]
    fn the_first_gives_range_height_and_cycles() {
        let cyclic = Cyclic::triangular(1.0, 3.0, 4).unwrap();
        let product = Product::new(cyclic.clone(), ExponentialDecay::new(1.0, 0.5).unwrap()).unwrap();
        assert_eq!((product.range(), product.cycle_at(9)), (cyclic.range(), cyclic.cycle_at(9)));
        assert_eq!((product.height_at(3), product.horizon(), product.peak()), (Some(0.75), None, 3.0));
        assert_eq!(product.value_in(4, LrRange { base_lr: 0.0, max_lr: 8.0 }), 8.0 / 16.0);
        assert_eq!(product.peak_over(LrRange { base_lr: 0.0, max_lr: 8.0 }), 8.0);
        let thrice = product.times(Constant::new(0.5).unwrap()).unwrap();
        assert_eq!(thrice.value_at(4), 3.0 / 16.0 * 0.5);
    }

    #[test]
    fn the_longest_factor_ends_it() {
        let line = |steps| LinearDecay::new(1.0, 0.5, steps).unwrap();
        let product = Product::new(line(4), line(10)).unwrap();
        assert_eq!((product.horizon(), product.value_at(10), product.value_at(11)), (Some(10), 0.25, 0.25));
    }

    #[test]
    fn pytorch_chains_the_same() {
        // The recurrences of `ConstantLR(factor=0.1, total_iters=20)` and `ExponentialLR(gamma=0.9)`, as its
        // `ChainedScheduler` calls them one after the other.
        let warmup = [Part::new(Constant::new(0.1).unwrap(), 20), Part::endless(Constant::new(1.0).unwrap())];
        let product = Product::new(ExponentialDecay::new(0.5, 0.9).unwrap(), Sequence::new(warmup).unwrap()).unwrap();
        let mut lr = 0.5 * 0.1;
        for step in 0..60 {
            approx::assert_relative_eq!(product.value_at(step), lr, max_relative = 1e-14);
            if step + 1 == 20 {
                lr *= 1.0 / 0.1;
            }
            lr *= 0.9;
        }
    }

    #[test]
    fn every_precondition() {
        let endless = || Cyclic::triangular(0.0, 1.0, 4).unwrap();
        let error = Product::new(endless(), OneCycle::new(1.0, 20).unwrap()).unwrap_err();
        assert_eq!(error, ConfigError::EndlessAndHeld { endless: 0, held: 1, horizon: 20 });
        let error = Product::new(LinearDecay::new(1.0, 0.0, 7).unwrap(), endless()).unwrap_err();
        assert!(error.to_string().contains("factors[0] holds its value from update 7 on"), "{error}");
        let huge = || Constant::new(1e300).unwrap();
        assert!(matches!(Product::new(huge(), huge()), Err(ConfigError::Rate { value: f64::INFINITY, .. })));
    }
}
