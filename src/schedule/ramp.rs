//! Ramps, and the cursor that moves along them. The documentation of `crate::run` says why an update needs them.

use super::curve::Curve;
use super::{Cycle, LrRange, Point, Schedule};
use crate::numeric::{self, between};

/// A step and the cycle that it lies in.
#[derive(Debug, Clone, Copy)]
pub struct Position {
    /// The update, counted from 0.
    pub(super) step: u64,
    /// `None` outside of all cycles.
    pub(super) cycle: Option<Cycle>,
}

impl Position {
    #[inline]
    pub(super) fn of<S: Schedule + ?Sized>(schedule: &S, step: u64) -> Self {
        Self { step, cycle: schedule.cycle_at(step) }
    }
}

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
    /// The update that the schedule counts from: 0, except in a part of a sequence.
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
    /// Set if the head shrinks with every update: the range, and the binary logarithm of gamma.
    shrinking: Option<(LrRange, f64)>,
    height: Height,
}

/// The height that a ramp reports.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Height {
    /// The height of its curve.
    Curve,
    /// A constant: 0 for a ramp below the base, or the height that a sequence holds after its end.
    At(f64),
    /// `None`: its ends are not a base and a peak.
    Unknown,
}

impl Ramp {
    /// A rise along `curve` from `foot` to `head`, which it reaches `length` updates after `start`.
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

    /// A fall along `curve` from `head` at `turn` to `foot` at `end`. Both are counted from `start`. The ramp covers the
    /// updates before `end`.
    #[inline]
    pub(super) fn fall(start: u64, (turn, end): (f64, f64), curve: Curve, head: f64, foot: f64) -> Self {
        Self { offset: end, slope: -1.0, length: end - turn, ..Self::rise(start, end, curve, foot, head) }
    }

    /// Along `curve` from `start_lr` at update 0 to `end_lr` at update `steps`, then constant.
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

    /// A constant `value` without end.
    pub(super) fn hold(value: f64) -> Self {
        Self { slope: 0.0, until: u64::MAX, ..Self::rise(0, 1.0, Curve::Linear, value, value) }
    }

    /// A constant point without end.
    pub(super) fn hold_at(point: Point) -> Self {
        let height = point.height.map_or(Height::Unknown, Height::At);
        Self { height, amplitude: point.amplitude, ..Self::hold(point.value) }
    }

    /// The same ramp, with a height of 0 if it has none.
    pub(super) fn with_some_height(self) -> Self {
        if self.height == Height::Unknown { self.below_base() } else { self }
    }

    /// The same ramp, with the head at `amplitude` between base and peak of `range`.
    #[inline]
    pub(super) fn with_amplitude(self, range: LrRange, amplitude: f64) -> Self {
        Self { head: between(range.base_lr, range.max_lr, amplitude), amplitude, ..self }
    }

    /// The same ramp, with an amplitude of `gamma^step` in `range`.
    pub(super) fn with_gamma(self, range: LrRange, log2_gamma: f64) -> Self {
        Self { shrinking: Some((range, log2_gamma)), ..self }
    }

    /// The same ramp, which starts at `offset` and moves by `slope` with each update. Both are in the unit of its
    /// length.
    pub(super) fn with_pace(self, offset: u64, slope: f64) -> Self {
        Self { offset: numeric::float(offset), slope, ..self }
    }

    /// The same ramp, covering `updates` updates.
    pub(super) fn until(self, updates: u64) -> Self {
        Self { until: self.start.saturating_add(updates), ..self }
    }

    /// The same ramp, with a height of 0: it runs below the base.
    pub(super) fn below_base(self) -> Self {
        Self { height: Height::At(0.0), ..self }
    }

    /// The same ramp, without a height: its ends are not a base and a peak.
    pub(super) fn without_height(self) -> Self {
        Self { height: Height::Unknown, ..self }
    }

    /// Value, height and amplitude at an update that the ramp covers.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would return through memory, which takes longer than the work")]
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
            Height::At(height) => Some(height),
            Height::Unknown => None,
        };
        Point { value: between(self.foot, head, rise), height, amplitude }
    }
}

/// The cycle and the ramp at a step. They stay valid until one of them ends. `made` is the number of updates since that
/// step.
#[derive(Debug, Clone)]
pub(crate) struct Cursor {
    step: u64,
    /// The present cycle: its index, first update and length.
    cycle: Option<(u64, u64, u64)>,
    ramp: Option<Ramp>,
    /// The number of updates until cycle and ramp have to be looked up again.
    serves_for: u64,
}

impl Cursor {
    /// A cursor at `step` of `schedule`. A `range` replaces the schedule's own.
    pub(crate) fn new<S: Schedule + ?Sized>(schedule: &S, step: u64, range: Option<LrRange>) -> Self {
        let position = Position::of(schedule, step);
        let cycle = position.cycle.map(|cycle| (cycle.index, step - cycle.place, cycle.length));
        let ramp = schedule.ramp_at(&position, range);
        let cycle_end = cycle.map(|(_, start, length)| start.saturating_add(length));
        let until = match (ramp, cycle_end) {
            (Some(ramp), Some(end)) => end.min(ramp.until),
            (Some(ramp), None) => ramp.until,
            (None, Some(end)) => end,
            // Before the first cycle, or in a schedule without cycles.
            (None, None) => schedule.cycle_start(0).map_or(u64::MAX, |_| step.saturating_add(1)),
        };
        Self { step, cycle, ramp, serves_for: until.saturating_sub(step) }
    }

    /// The number of updates for which the cursor is valid.
    #[inline]
    pub(crate) fn serves_for(&self) -> u64 {
        self.serves_for
    }

    /// Looks up cycle and ramp again, `made` updates later. `made` is at most the number for which the cursor is valid.
    /// Returns whether a cycle has ended. The step never exceeds `u64::MAX`.
    pub(crate) fn renew<S: Schedule + ?Sized>(&mut self, schedule: &S, made: u64, range: Option<LrRange>) -> bool {
        let step = self.step.saturating_add(made);
        let cycle_ended = self.cycle.is_some_and(|(_, start, length)| step - start == length);
        *self = Self::new(schedule, step, range);
        cycle_ended
    }

    #[inline]
    pub(crate) fn cycle(&self, made: u64) -> Option<Cycle> {
        self.cycle.map(|(index, start, length)| Cycle { index, place: self.step + made - start, length })
    }

    /// The point. `range` must return the range that the cursor was made with.
    #[inline]
    pub(crate) fn point<S>(&self, schedule: &S, made: u64, range: impl FnOnce() -> Option<LrRange>) -> Point
    where
        S: Schedule + ?Sized,
    {
        match &self.ramp {
            Some(ramp) => ramp.point_at(self.step + made),
            // Kept out of line: inlined, the formulas of all schedules would slow down every ramp.
            None => self.point_over(schedule, made, range()),
        }
    }

    /// The point over another range.
    #[inline(never)]
    pub(crate) fn point_over<S>(&self, schedule: &S, made: u64, range: Option<LrRange>) -> Point
    where
        S: Schedule + ?Sized,
    {
        let step = self.step + made;
        // The cycle is known here, so the schedule need not divide for it.
        let position = Position { step, cycle: self.cycle(made) };
        match self.ramp.and_then(|_| schedule.ramp_at(&position, range)) {
            Some(ramp) => ramp.point_at(step),
            None => schedule.point_at(step, range),
        }
    }
}
