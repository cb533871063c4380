//! A stretch of updates on which a schedule runs along one curve, and the cursor that walks from one to the next.
//!
//! This is why a scheduled update costs next to nothing: within a ramp nothing is looked up and no cycle is divided out.

use super::curve::Curve;
use super::{Cycle, LrRange, Point, Position, Schedule};
use crate::numeric::{self, between};

/// A rise, a fall or a hold: the formula of a schedule from one update to another.
///
/// ```text
/// x     = (offset + slope (step - start)) / length
/// value = foot + (head - foot) curve(x)                 for start <= step < until
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ramp {
    /// The update that the ramp counts from.
    start: u64,
    /// The update that the schedule counts from: 0, but for a part of a sequence.
    origin: u64,
    /// The first update that the ramp does not cover.
    until: u64,
    offset: f64,
    slope: f64,
    length: f64,
    curve: Curve,
    foot: f64,
    head: f64,
    amplitude: f64,
    /// Where the head shrinks with every update: the range it shrinks in and the logarithm of its gamma.
    shrinking: Option<(LrRange, f64)>,
    height: Height,
}

/// The height that a ramp reports.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Height {
    /// That of its curve.
    Curve,
    /// 0: the ramp runs below the base.
    Zero,
    /// None: its ends are no base and peak.
    Unknown,
}

impl Ramp {
    /// Along `curve` from `foot` up to `head`, reached `length` updates after `start`.
    #[inline]
    pub(super) fn rise(start: u64, length: f64, curve: Curve, foot: f64, head: f64) -> Self {
        Self {
            start,
            origin: 0,
            until: start.saturating_add(numeric::ceil(length)),
            offset: 0.0,
            slope: 1.0,
            length,
            curve,
            foot,
            head,
            amplitude: 1.0,
            shrinking: None,
            height: Height::Curve,
        }
    }

    /// Along `curve` from `head` at `turn` down to `foot` at `end`, both counted from `start`; covers the updates before
    /// `end`.
    #[inline]
    pub(super) fn fall(start: u64, (turn, end): (f64, f64), curve: Curve, head: f64, foot: f64) -> Self {
        Self { offset: end, slope: -1.0, length: end - turn, ..Self::rise(start, end, curve, foot, head) }
    }

    /// Along `curve` from `start_lr` at update 0 to `end_lr` at update `steps`, and on at `end_lr`.
    pub(super) fn one_way(step: u64, steps: u64, curve: Curve, start_lr: f64, end_lr: f64) -> Self {
        if step < steps {
            Self::fall(0, (0.0, numeric::float(steps)), curve, start_lr, end_lr).without_height()
        } else {
            Self::hold(end_lr).without_height()
        }
    }

    /// The ramp of a schedule that runs from update `start` to `end` of a sequence.
    pub(super) fn within(self, start: u64, end: u64) -> Self {
        Self {
            start: self.start.saturating_add(start),
            origin: self.origin.saturating_add(start),
            until: self.until.saturating_add(start).min(end),
            ..self
        }
    }

    /// `value` without end.
    pub(super) fn hold(value: f64) -> Self {
        Self { slope: 0.0, until: u64::MAX, ..Self::rise(0, 1.0, Curve::Linear, value, value) }
    }

    /// The same ramp, with its head shrunk from `range`'s peak by `amplitude`.
    #[inline]
    pub(super) fn with_amplitude(self, range: LrRange, amplitude: f64) -> Self {
        Self { head: between(range.base_lr, range.max_lr, amplitude), amplitude, ..self }
    }

    /// The same ramp, with its head shrinking in `range` by a gamma at every update.
    pub(super) fn with_gamma(self, range: LrRange, log2_gamma: f64) -> Self {
        Self { shrinking: Some((range, log2_gamma)), ..self }
    }

    /// The same ramp, covering `updates` updates.
    pub(super) fn until(self, updates: u64) -> Self {
        Self { until: self.start.saturating_add(updates), ..self }
    }

    /// The same ramp, as one that runs below the base.
    pub(super) fn below_base(self) -> Self {
        Self { height: Height::Zero, ..self }
    }

    /// The same ramp, as one between two ends that are no base and peak.
    pub(super) fn without_height(self) -> Self {
        Self { height: Height::Unknown, ..self }
    }

    /// Value, height and amplitude at one of the updates that the ramp covers.
    #[inline]
    pub(super) fn point_at(&self, step: u64) -> Point {
        let rise = self
            .curve
            .height((self.offset + self.slope * numeric::float(step.saturating_sub(self.start))) / self.length);
        let (head, amplitude) = match self.shrinking {
            None => (self.head, self.amplitude),
            Some((range, log2_gamma)) => {
                let amplitude = numeric::power(log2_gamma, step.saturating_sub(self.origin));
                (between(range.base_lr, range.max_lr, amplitude), amplitude)
            }
        };
        let height = match self.height {
            Height::Curve => Some(rise),
            Height::Zero => Some(0.0),
            Height::Unknown => None,
        };
        Point { value: between(self.foot, head, rise), height, amplitude }
    }
}

/// A place in a schedule where cycle and ramp were looked up. It serves for the updates up to where one of them ends: `made`
/// is how many updates further the question is about.
#[derive(Debug, Clone)]
pub(crate) struct Cursor {
    step: u64,
    /// The present cycle: its index, first update and length.
    cycle: Option<(u64, u64, u64)>,
    ramp: Option<Ramp>,
    /// The number of updates until it has to be looked up again.
    serves_for: u64,
}

impl Cursor {
    /// At `step` of `schedule`, over `range` instead of the schedule's own where one is given.
    pub(crate) fn new<S: Schedule + ?Sized>(schedule: &S, step: u64, range: Option<LrRange>) -> Self {
        let position = schedule.position_at(step);
        let cycle = position.cycle.map(|cycle| (cycle.index, step - cycle.place, cycle.length));
        let ramp = schedule.ramp_at(&position, range);
        let cycle_end = cycle.map(|(_, start, length)| start.saturating_add(length));
        let until = match (ramp, cycle_end) {
            (Some(ramp), Some(end)) => end.min(ramp.until),
            (Some(ramp), None) => ramp.until,
            (None, Some(end)) => end,
            // Before the first cycle, or where there never is one.
            (None, None) => schedule.cycle_start(0).map_or(u64::MAX, |_| step.saturating_add(1)),
        };
        Self { step, cycle, ramp, serves_for: until.saturating_sub(step) }
    }

    /// The number of updates that the cursor serves for.
    #[inline]
    pub(crate) fn serves_for(&self) -> u64 {
        self.serves_for
    }

    /// Moves on by `made` updates, as many at most as it serves for. At `u64::MAX` time stands still.
    #[inline]
    pub(crate) fn advance(&mut self, made: u64) {
        self.step = self.step.saturating_add(made);
    }

    /// Looks up cycle and ramp anew, where the last ones have ended; says whether a cycle has.
    pub(crate) fn look<S: Schedule + ?Sized>(&mut self, schedule: &S, range: Option<LrRange>) -> bool {
        let cycle_ended = self.cycle.is_some_and(|(_, start, length)| self.step - start == length);
        *self = Self::new(schedule, self.step, range);
        cycle_ended
    }

    #[inline]
    pub(crate) fn cycle(&self, made: u64) -> Option<Cycle> {
        self.cycle.map(|(index, start, length)| Cycle { index, place: self.step + made - start, length })
    }

    /// The point; `range` has to give the one that the cursor was made with.
    #[inline]
    pub(crate) fn point<S>(&self, schedule: &S, made: u64, range: impl FnOnce() -> Option<LrRange>) -> Point
    where
        S: Schedule + ?Sized,
    {
        match &self.ramp {
            Some(ramp) => ramp.point_at(self.step + made),
            None => self.point_over(schedule, made, range()),
        }
    }

    /// The point over another range.
    pub(crate) fn point_over<S>(&self, schedule: &S, made: u64, range: Option<LrRange>) -> Point
    where
        S: Schedule + ?Sized,
    {
        schedule.point_at(&Position { step: self.step + made, cycle: self.cycle(made) }, range)
    }
}
