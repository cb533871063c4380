//! The result of a range test: the loss at each rate, and why the test stopped.

use alloc::vec::Vec;
use core::fmt;

use crate::smoothing::Smoothing;

/// One step of a range test.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct LossPoint {
    /// The learning rate.
    pub lr: f64,
    /// The mean training loss of the batches of the step.
    pub loss: f64,
    /// The validation loss at the end of the step, if there is one.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub validation: Option<f64>,
}

impl LossPoint {
    /// The loss by which the rate is judged: the validation loss if there is one, otherwise the training loss.
    #[must_use]
    pub fn judged(&self) -> f64 {
        self.validation.unwrap_or(self.loss)
    }
}

/// One line of text, without an end of line: `lr 1.00e-3  loss 0.4312  val_loss 0.5000`.
impl fmt::Display for LossPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lr {:.2e}  loss {:.4}", self.lr, self.loss)?;
        self.validation.map_or(Ok(()), |validation| write!(f, "  val_loss {validation:.4}"))
    }
}

/// Why a range test stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum StopReason {
    /// Every rate has been tried.
    EndOfRange,
    /// There were no more batches. An incomplete step is not part of the curve.
    NoMoreBatches,
    /// The loss of the last point is NaN or infinite.
    NotFinite,
    /// The loss of the last point is too far above the best one.
    Diverged,
    /// The loss of the last point is above an absolute limit, or above a multiple of the first loss.
    MaxLoss,
    /// The limit of the number of steps was reached.
    MaxSteps,
    /// A closure failed.
    Interrupted,
}

/// The loss as a function of the learning rate: the result of [`RangeTest::run`](super::RangeTest::run).
///
/// The loss of the last point may not be finite. JSON has no such number, so a curve with such a point cannot be read
/// back from JSON.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct LossCurve {
    points: Vec<LossPoint>,
    stop_reason: StopReason,
}

impl LossCurve {
    /// A curve from points that were measured elsewhere.
    #[must_use]
    pub fn new(points: Vec<LossPoint>, stop_reason: StopReason) -> Self {
        Self { points, stop_reason }
    }

    /// The points, in the order of the steps.
    #[must_use]
    pub fn points(&self) -> &[LossPoint] {
        &self.points
    }

    /// Why the test stopped.
    #[must_use]
    pub fn stop_reason(&self) -> StopReason {
        self.stop_reason
    }

    /// The loss that counts at each point; see [`LossPoint::judged`].
    #[must_use]
    pub fn losses(&self) -> Vec<f64> {
        self.points.iter().map(LossPoint::judged).collect()
    }

    /// The same curve with smoothed training and validation losses.
    #[must_use]
    pub fn smoothed(&self, smoothing: &Smoothing) -> Self {
        let losses = smoothing.apply(&self.points.iter().map(|point| point.loss).collect::<Vec<_>>());
        // A missing validation loss, for example at the last point, becomes NaN, which the smoothing skips.
        let validation: Vec<f64> = self.points.iter().map(|point| point.validation.unwrap_or(f64::NAN)).collect();
        let validation = smoothing.apply(&validation);
        let points = self.points.iter().zip(losses.into_iter().zip(validation)).map(|(point, (loss, validation))| {
            LossPoint { lr: point.lr, loss, validation: point.validation.map(|_| validation) }
        });
        Self { points: points.collect(), ..*self }
    }

    /// Index, rate and loss of the points with a finite loss. A rate of 0, at which a linear sweep may begin, is skipped, because it
    /// has no logarithm.
    pub(super) fn finite(&self) -> Vec<(usize, f64, f64)> {
        let points = self.points.iter().enumerate().map(|(index, point)| (index, point.lr, point.judged()));
        points.filter(|&(_, lr, loss)| loss.is_finite() && lr > 0.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;

    #[test]
    fn a_point_is_a_line() {
        let mut point = LossPoint { lr: 1e-3, loss: 0.43123, validation: None };
        assert_eq!(point.to_string(), "lr 1.00e-3  loss 0.4312");
        point.validation = Some(f64::NAN);
        assert_eq!(point.to_string(), "lr 1.00e-3  loss 0.4312  val_loss NaN");
    }

    #[test]
    fn both_losses_are_smoothed_and_gaps_stay() {
        let point = |loss, validation| LossPoint { lr: 1.0, loss, validation };
        let points = vec![point(1.0, Some(2.0)), point(3.0, None), point(5.0, Some(6.0))];
        let smoothed = LossCurve::new(points, StopReason::MaxLoss).smoothed(&Smoothing::trailing_mean(2).unwrap());
        assert_eq!(smoothed.points(), [point(1.0, Some(2.0)), point(2.0, None), point(4.0, Some(4.0))]);
        assert_eq!(smoothed.stop_reason(), StopReason::MaxLoss);
    }
}
