//! Several schedules in a row. Warm-up is a part of a sequence, not an option of every schedule.

use alloc::vec;
use alloc::vec::Vec;

use super::{
    Constant, CosineDecay, Cycle, IntoPolicy, InverseSqrtDecay, LinearDecay, LrRange, Point, Policy, Position, Ramp,
    Schedule, policy,
};
use crate::check::{self, serde_checked};
use crate::error::ConfigError;

serde_checked! {
    /// Several schedules in a row. Each counts from 0 at its own start.
    ///
    /// # Formula
    ///
    /// ```text
    /// value(t) = part(t - start of the part)        for the part that t lies in
    /// value(t) = last part(its steps)               after the end
    /// ```
    ///
    /// # Shape
    ///
    #[doc = include_str!("shapes/sequence.svg")]
    ///
    /// - at step 0: the first part's value at 0
    /// - at each boundary: the *next* part's value at 0
    /// - after the end: held at the value that the last part has at its step `steps`. A last part without `steps` does
    ///   not end
    ///
    /// A cyclic part keeps its cycles; the end of the part also ends its last cycle. The numbers of the cycles continue from
    /// part to part. A sequence has no base and peak of its own, so its range cannot be set. Cycled momentum follows the
    /// height of each part that has one. In the other parts, such as a warm-up or a decay, it stays at its maximum.
    ///
    /// | parameter | default | purpose | range |
    /// |---|---|---|---|
    /// | `parts` | required | the schedules in order | at least one; nested at most 16 deep |
    /// | `steps` of a part | none for the last | length in updates | >= 1; required for all but the last |
    ///
    /// # Errors
    ///
    /// No parts, a part of length 0, a part without length that is not the last, a total length above `u64`, sequences nested
    /// more than 16 deep (parsers of JSON and TOML limit the depth).
    ///
    /// # Examples
    ///
    /// ```
    /// use cyclic_optim::{Cyclic, LinearDecay, Part, Schedule, Sequence};
    ///
    /// let schedule = Sequence::new([
    ///     Part::new(LinearDecay::new(0.0, 0.1, 5)?, 5),
    ///     Part::endless(Cyclic::triangular(0.1, 0.5, 4)?),
    /// ])?;
    /// assert_eq!((schedule.value_at(0), schedule.value_at(5), schedule.value_at(9)), (0.0, 0.1, 0.5));
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # References
    ///
    /// optax's `join_schedules`; PyTorch's `SequentialLR`, without its wrong rate after a resume.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Sequence {
        parts: Vec<Part>,
        /// Whether any part has a height.
        #[cfg_attr(feature = "serde", serde(skip))]
        has_height: bool,
    }
}

/// A schedule in a [`Sequence`], and its length.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Part {
    schedule: Policy,
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    steps: Option<u64>,
}

impl Part {
    /// `schedule` for `steps` updates.
    pub fn new(schedule: impl IntoPolicy, steps: u64) -> Self {
        Self { schedule: schedule.into_policy(), steps: Some(steps) }
    }

    /// `schedule` for the rest of the run. Only the last part can be endless.
    pub fn endless(schedule: impl IntoPolicy) -> Self {
        Self { schedule: schedule.into_policy(), steps: None }
    }
}

impl Sequence {
    /// A sequence of these parts.
    ///
    /// # Errors
    ///
    /// No parts, a part of length 0, a part without length that is not the last, a total length above `u64`, sequences nested
    /// more than 16 deep.
    pub fn new(parts: impl Into<Vec<Part>>) -> Result<Self, ConfigError> {
        Self { parts: parts.into(), has_height: false }.check()
    }

    /// A line from `start_lr` to `max_lr` over `warmup_steps`, then a cosine that reaches `end_lr` at `total_steps`. As
    /// in optax's `warmup_cosine_decay_schedule`, `total_steps` includes the warm-up.
    ///
    /// ```
    /// use cyclic_optim::{Schedule, Sequence};
    /// let schedule = Sequence::warmup_cosine(0.0, 1.0, 0.1, 4, 12)?;
    /// assert_eq!((schedule.value_at(2), schedule.value_at(4), schedule.value_at(8)), (0.5, 1.0, 0.55));
    /// assert_eq!((schedule.value_at(12), schedule.horizon()), (0.1, Some(12)));
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A negative or non-finite rate, `warmup_steps` of 0, `total_steps` not above `warmup_steps`.
    pub fn warmup_cosine(
        start_lr: f64,
        max_lr: f64,
        end_lr: f64,
        warmup_steps: u64,
        total_steps: u64,
    ) -> Result<Self, ConfigError> {
        let cosine_steps = after(warmup_steps, total_steps)?;
        Self::new(vec![
            Part::new(LinearDecay::new(start_lr, max_lr, warmup_steps)?, warmup_steps),
            Part::new(CosineDecay::new(max_lr, end_lr, cosine_steps)?, cosine_steps),
        ])
    }

    /// A line from 0 to `max_lr` over `warmup_steps`, then `max_lr sqrt(warmup_steps / t)`: the Noam schedule with a given peak
    /// rate.
    ///
    /// ```
    /// use cyclic_optim::{Schedule, Sequence};
    /// let schedule = Sequence::warmup_inverse_sqrt(0.1, 4000)?;
    /// assert_eq!((schedule.value_at(2000), schedule.value_at(4000), schedule.value_at(16_000)), (0.05, 0.1, 0.05));
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A negative or non-finite rate, `warmup_steps` of 0.
    pub fn warmup_inverse_sqrt(max_lr: f64, warmup_steps: u64) -> Result<Self, ConfigError> {
        Self::new(vec![
            Part::new(LinearDecay::new(0.0, max_lr, warmup_steps)?, warmup_steps),
            Part::endless(InverseSqrtDecay::new(max_lr, warmup_steps)?),
        ])
    }

    /// A line from 0 to `max_lr`, then `max_lr`, then a line to `end_lr`: warm-up, stable, decay.
    ///
    /// ```
    /// use cyclic_optim::{Schedule, Sequence};
    /// let schedule = Sequence::warmup_stable_decay(0.1, 0.0, 10, 80, 10)?;
    /// assert_eq!((schedule.value_at(5), schedule.value_at(50), schedule.value_at(95)), (0.05, 0.1, 0.05));
    /// assert_eq!(schedule.horizon(), Some(100));
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A negative or non-finite rate, a length of 0, a total length above `u64`.
    pub fn warmup_stable_decay(
        max_lr: f64,
        end_lr: f64,
        warmup_steps: u64,
        stable_steps: u64,
        decay_steps: u64,
    ) -> Result<Self, ConfigError> {
        Self::new(vec![
            Part::new(LinearDecay::new(0.0, max_lr, warmup_steps)?, warmup_steps),
            Part::new(Constant::new(max_lr)?, stable_steps),
            Part::new(LinearDecay::new(max_lr, end_lr, decay_steps)?, decay_steps),
        ])
    }

    fn check(mut self) -> Result<Self, ConfigError> {
        let Some((last, before)) = self.parts.split_last() else {
            return Err(ConfigError::Empty { field: "parts" });
        };
        if let Some(index) = before.iter().position(|part| part.steps.is_none()) {
            return Err(ConfigError::EndlessPart { index });
        }
        policy::check_depth(self.depth())?;
        let mut total = 0_u64;
        for steps in self.parts.iter().filter_map(|part| part.steps) {
            check::length("steps", steps)?;
            total = total.checked_add(steps).ok_or(ConfigError::HorizonOverflow { field: "steps", value: steps })?;
        }
        if last.steps.is_none() {
            let own = last.schedule.horizon().unwrap_or(0);
            total.checked_add(own).ok_or(ConfigError::HorizonOverflow { field: "parts", value: own })?;
        }
        self.has_height = self.parts.iter().any(|part| part.schedule.point_at(0, None).height.is_some());
        Ok(self)
    }

    /// The depth of nested sequences and products, this one included.
    pub(super) fn depth(&self) -> u64 {
        1 + self.parts.iter().map(|part| part.schedule.depth()).max().unwrap_or(0)
    }

    /// The part that `step` lies in, with its start; after the end, the last part.
    fn part_at(&self, step: u64) -> (u64, &Part) {
        let mut start = 0;
        for part in &self.parts[..self.parts.len() - 1] {
            // `check` guarantees that all parts but the last have a length and that the sum fits.
            let end = start + part.steps.unwrap_or(0);
            if step < end {
                return (start, part);
            }
            start = end;
        }
        (start, &self.parts[self.parts.len() - 1])
    }

    /// The number of cycles that begin before `step`.
    fn cycles_before(&self, step: u64) -> u64 {
        let mut start = 0;
        let mut cycles = 0_u64;
        for Part { schedule, steps } in &self.parts {
            let local = steps.map_or(step - start, |steps| steps.min(step - start));
            cycles = cycles.saturating_add(cycles_before(schedule, local));
            start += local;
        }
        cycles
    }
}

/// The number of cycles of `schedule` that begin before `step`.
fn cycles_before(schedule: &Policy, step: u64) -> u64 {
    match schedule {
        Policy::Sequence(sequence) => return sequence.cycles_before(step),
        Policy::Product(product) => return cycles_before(product.first(), step),
        _ => {}
    }
    // A schedule past its last cycle is past its horizon.
    let last = schedule.horizon().map_or(step, |horizon| horizon.min(step)).checked_sub(1);
    last.and_then(|last| schedule.cycle_at(last)).map_or(0, |cycle| cycle.index + 1)
}

/// The number of updates after a warm-up.
fn after(warmup_steps: u64, total_steps: u64) -> Result<u64, ConfigError> {
    check::length("warmup_steps", warmup_steps)?;
    check::at_least("total_steps", total_steps, warmup_steps.saturating_add(1))?;
    Ok(total_steps - warmup_steps)
}

impl Schedule for Sequence {
    fn value_at(&self, step: u64) -> f64 {
        let (start, Part { schedule, steps }) = self.part_at(step);
        let local = step - start;
        schedule.value_at(steps.map_or(local, |steps| local.min(steps)))
    }

    fn horizon(&self) -> Option<u64> {
        self.parts
            .iter()
            .try_fold(0_u64, |total, part| total.checked_add(part.steps.or_else(|| part.schedule.horizon())?))
    }

    fn peak(&self) -> f64 {
        self.parts.iter().map(|part| part.schedule.peak()).fold(0.0, f64::max)
    }

    fn cycle_at(&self, step: u64) -> Option<Cycle> {
        let (start, Part { schedule, steps }) = self.part_at(step);
        let local = step - start;
        let cycle = schedule.cycle_at(local)?;
        let left = match steps {
            Some(steps) if local >= *steps => return None,
            Some(steps) => steps - (local - cycle.place),
            None => u64::MAX,
        };
        let index = cycle.index.saturating_add(self.cycles_before(start));
        Some(Cycle { index, length: cycle.length.min(left), ..cycle })
    }

    fn cycle_start(&self, index: u64) -> Option<u64> {
        let (mut start, mut wanted) = (0_u64, index);
        for Part { schedule, steps } in &self.parts {
            let inside = cycles_before(schedule, steps.unwrap_or(u64::MAX));
            if wanted < inside {
                return start.checked_add(schedule.cycle_start(wanted)?);
            }
            (start, wanted) = (start.checked_add((*steps)?)?, wanted - inside);
        }
        None
    }

    fn point_at(&self, step: u64, _range: Option<LrRange>) -> Point {
        let (start, Part { schedule, steps }) = self.part_at(step);
        let local = step - start;
        let point = schedule.point_at(steps.map_or(local, |steps| local.min(steps)), None);
        Point { height: self.has_height.then(|| point.height.unwrap_or(0.0)), ..point }
    }

    fn ramp_at(&self, position: &Position, _range: Option<LrRange>) -> Option<Ramp> {
        let (start, Part { schedule, steps }) = self.part_at(position.step);
        let local = position.step - start;
        if let Some(steps) = steps.filter(|&steps| local >= steps) {
            return Some(Ramp::hold_at(self.point_at(start + steps, None)));
        }
        let end = steps.map_or(u64::MAX, |steps| start + steps);
        let ramp = schedule.ramp_at(&Position::of(schedule, local), None)?.within(start, end);
        Some(if self.has_height { ramp.with_some_height() } else { ramp })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use approx::assert_abs_diff_eq;

    use super::*;
    use crate::schedule::ScheduleExt;
    use crate::{Cyclic, ExponentialDecay};

    #[test]
    fn joined_as_in_pytorch_and_optax() {
        // PyTorch's test table "Linear, Sequential": 2.0 x (0.1 to 0.8 in 4), then back.
        let up = LinearDecay::new(0.2, 1.6, 4).unwrap();
        let down = LinearDecay::new(1.6, 0.2, 4).unwrap();
        let there_and_back = Sequence::new([Part::new(up, 4), Part::new(down, 4)]).unwrap();
        let expected = [0.2, 0.55, 0.9, 1.25, 1.6, 1.25, 0.9, 0.55, 0.2, 0.2];
        for (value, expected) in there_and_back.values_from(0).zip(expected) {
            assert_abs_diff_eq!(value, expected, epsilon = 1e-15);
        }
        // optax 0.2.8: join(linear 0 to 1 in 4, halving).
        let halving = ExponentialDecay::new(1.0, 0.5).unwrap();
        let join =
            Sequence::new([Part::new(LinearDecay::new(0.0, 1.0, 4).unwrap(), 4), Part::endless(halving)]).unwrap();
        let values: Vec<f64> = join.values_from(0).take(8).collect();
        assert_eq!(values, [0.0, 0.25, 0.5, 0.75, 1.0, 0.5, 0.25, 0.125]);
        // PyTorch 2.15.0 resumes such a sequence at index 5 with 0.1 instead of 0.81.
        let nine_tenths = ExponentialDecay::new(1.0, 0.9).unwrap();
        let resumed = Sequence::new([Part::new(Constant::new(0.1).unwrap(), 3), Part::endless(nine_tenths)]).unwrap();
        assert_abs_diff_eq!(resumed.values_from(5).next().unwrap(), 0.81, epsilon = 1e-15);
    }

    #[test]
    fn cycles_are_numbered_through_and_cut_at_boundaries() {
        let warmup = Part::new(LinearDecay::new(0.0, 1.0, 3).unwrap(), 3);
        let cut = Part::new(Cyclic::triangular(1.0, 2.0, 2).unwrap(), 6);
        let rest = Part::endless(Cyclic::triangular(1.0, 2.0, 5).unwrap().with_cycles(2).unwrap());
        let sequence = Sequence::new([warmup, cut.clone(), rest]).unwrap();
        assert_eq!(sequence.cycle_bounds().collect::<Vec<_>>(), [3..7, 7..9, 9..19, 19..29]);
        assert_eq!((sequence.horizon(), sequence.cycle_at(2), sequence.cycle_at(29)), (Some(29), None, None));
        assert_eq!(sequence.cycle_at(8), Some(Cycle { index: 1, place: 1, length: 2 }));
        assert_eq!(sequence.updates_for_cycles(2), Some(9));
        let nested = Sequence::new([Part::new(sequence, 8), cut]).unwrap();
        assert_eq!(nested.cycle_bounds().collect::<Vec<_>>(), [3..7, 7..8, 8..12, 12..14]);
    }

    #[test]
    fn sequences_are_nested_sixteen_deep_at_most() {
        let within =
            |schedule: Policy| Sequence::new([Part::new(Constant::new(0.1).unwrap(), 1), Part::endless(schedule)]);
        let mut sequence = within(ExponentialDecay::new(0.5, 0.5).unwrap().into()).unwrap();
        for _ in 1..16 {
            sequence = within(sequence.into()).unwrap();
        }
        assert_eq!((sequence.value_at(15), sequence.value_at(17)), (0.1, 0.25));
        let deeper = within(sequence.into());
        assert_eq!(deeper, Err(ConfigError::TooDeep { depth: 17, maximum: 16 }));
    }

    #[test]
    fn every_precondition() {
        use ConfigError::{Empty, EndlessPart, HorizonOverflow, TooSmall};
        let constant = || Constant::new(0.1).unwrap();
        assert!(matches!(Sequence::new([]), Err(Empty { field: "parts" })));
        assert!(matches!(Sequence::new([Part::new(constant(), 0)]), Err(TooSmall { field: "steps", .. })));
        let endless = [Part::new(constant(), 1), Part::endless(constant()), Part::endless(constant())];
        assert!(matches!(Sequence::new(endless), Err(EndlessPart { index: 1 })));
        let long = [Part::new(constant(), u64::MAX), Part::new(constant(), 1)];
        assert!(matches!(Sequence::new(long), Err(HorizonOverflow { field: "steps", .. })));
        assert!(matches!(Sequence::warmup_cosine(0.0, 1.0, 0.0, 0, 9), Err(TooSmall { field: "warmup_steps", .. })));
        assert!(matches!(Sequence::warmup_cosine(0.0, 1.0, 0.0, 9, 9), Err(TooSmall { field: "total_steps", .. })));
    }
}
