//! fastai's rules that find a rate on a loss curve, and Smith's range. What this crate recommends is in `recommendation`.

use alloc::vec::Vec;

use thiserror::Error;

use super::LossCurve;
use crate::error::ConfigError;
use crate::numeric;
use crate::schedule::{Cyclic, OneCycle};

/// One of fastai's four rules that find a learning rate on a [`LossCurve`], exactly as fastai has it, for comparison.
///
/// They look at the whole curve, so their rate may lie beyond the minimum of the loss, where training fails. This often happens
/// with `Slide`. To choose a rate use [`LossCurve::recommended`], or better a [`PeakSearch`](super::PeakSearch).
///
/// The rules use the points with a finite loss and a rate above 0. They do not smooth, so smooth a noisy curve first. With the
/// rates `lr` and the losses `y` of these points:
///
/// | rule | point |
/// |---|---|
/// | [`Steepest`](Self::Steepest) | the first i with the least `(y[i+1] - y[i]) / (ln lr[i+1] - ln lr[i])` |
/// | [`MinimumOverTen`](Self::MinimumOverTen) | the first i with the least y; a tenth of its rate |
/// | [`Valley`](Self::Valley) | halfway through the longest falling subsequence (a third and a sixth of its length) |
/// | [`Slide`](Self::Slide) | from the right, the last point before slopes that are 15 points apart differ by at most 0.005 |
///
/// # References
///
/// Valley and slide give the same indices as fastai's `valley` and `slide`; steepest and minimum / 10 are its `steep` and `minimum`.
/// fastai omits the first tenth and the last five points of a sweep: use [`LossCurve::trimmed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Suggestion {
    /// The loss falls fastest as a function of the logarithm of the rate.
    Steepest,
    /// A tenth of the rate with the lowest loss.
    MinimumOverTen,
    /// The middle of the longest fall. Robust; fastai's default.
    Valley,
    /// The place, from the right, where the curve first becomes flat.
    Slide,
}

impl Suggestion {
    /// All rules.
    pub const ALL: [Self; 4] = [Self::Steepest, Self::MinimumOverTen, Self::Valley, Self::Slide];

    /// The number of points that the rule needs.
    fn needed(self) -> usize {
        match self {
            Self::MinimumOverTen => 1,
            Self::Steepest | Self::Valley => 2,
            Self::Slide => SLIDE + 1,
        }
    }
}

impl core::fmt::Display for Suggestion {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Steepest => "steepest",
            Self::MinimumOverTen => "minimum / 10",
            Self::Valley => "valley",
            Self::Slide => "slide",
        })
    }
}

/// A suggested learning rate, and the point of the curve that it comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Suggested {
    /// The rate.
    pub lr: f64,
    /// The index of the point among all points of the curve.
    pub index: usize,
}

/// Why there is no suggestion.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[non_exhaustive]
pub enum NoSuggestion {
    /// Too few points have a finite loss.
    #[error("no suggestion, because {needed} points with a finite loss are needed, and the curve has {found}")]
    TooFewPoints {
        /// The number of points that the rule needs.
        needed: usize,
        /// The number of points of the curve.
        found: usize,
    },
    /// The loss never falls.
    #[error("no suggestion, because the loss never falls")]
    NeverFalls,
    /// The fall of the loss may be chance.
    #[error("no suggestion, because the loss falls by only {deviations:.1} times its noise")]
    TooNoisy {
        /// The fall in standard deviations of the noise.
        deviations: f64,
    },
}

/// The range of rates in which a model learns, by Smith's rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SmithRange {
    /// The first rate at which the loss is below its start by more than 5 % of the whole fall.
    pub base_lr: Suggested,
    /// The last rate before the loss, after its minimum, exceeds the minimum by more than 5 % of the whole fall.
    pub max_lr: Suggested,
}

impl SmithRange {
    /// A triangular schedule over the range.
    ///
    /// # Errors
    ///
    /// The errors of [`Cyclic::triangular`].
    pub fn cyclic(&self, step_size: u64) -> Result<Cyclic, ConfigError> {
        Cyclic::triangular(self.base_lr.lr, self.max_lr.lr, step_size)
    }

    /// A one-cycle schedule whose peak is the upper end of the range.
    ///
    /// # Errors
    ///
    /// The errors of [`OneCycle::new`].
    pub fn one_cycle(&self, total_steps: u64) -> Result<OneCycle, ConfigError> {
        OneCycle::new(self.max_lr.lr, total_steps)
    }
}

/// A point with a finite loss: its index in the curve, rate and loss.
type Point = (usize, f64, f64);

impl LossCurve {
    /// The rate that one of fastai's rules suggests; for comparison. [`recommended`](Self::recommended) is the one to use.
    ///
    /// # Errors
    ///
    /// [`NoSuggestion`], with the reason.
    pub fn suggest(&self, suggestion: Suggestion) -> Result<Suggested, NoSuggestion> {
        let points = self.finite();
        enough(&points, suggestion.needed())?;
        let (index, lr, _) = points[match suggestion {
            Suggestion::Steepest => steepest(&points)?,
            Suggestion::MinimumOverTen => minimum(&points),
            Suggestion::Valley => valley(&points)?,
            Suggestion::Slide => slide(&points),
        }];
        Ok(Suggested { lr: if suggestion == Suggestion::MinimumOverTen { lr / 10.0 } else { lr }, index })
    }

    /// The range of rates in which the model learns, by Smith's rule; smooth a noisy curve first.
    ///
    /// Let `start` be the first finite loss and `fall = start - minimum`. The range begins with the first rate whose loss is
    /// below `start - 0.05 fall`. It ends with the last rate before the loss exceeds `minimum + 0.05 fall` after its
    /// minimum.
    ///
    /// # Errors
    ///
    /// [`NoSuggestion`], with the reason.
    pub fn smith_range(&self) -> Result<SmithRange, NoSuggestion> {
        let points = self.finite();
        enough(&points, 3)?;
        let lowest = minimum(&points);
        let (start, least) = (points[0].2, points[lowest].2);
        let margin = 0.05 * (start - least);
        let below_start = points.iter().position(|point| point.2 < start - margin).ok_or(NoSuggestion::NeverFalls)?;
        let risen = points[lowest..].iter().position(|point| point.2 > least + margin);
        let last = risen.map_or(points.len(), |after| lowest + after) - 1;
        let suggested = |(index, lr, _): Point| Suggested { lr, index };
        Ok(SmithRange { base_lr: suggested(points[below_start]), max_lr: suggested(points[last]) })
    }

    /// The part of the curve that fastai uses. It leaves out the first tenth of the planned `steps`
    /// ([`RangeTest::steps`](super::RangeTest::steps)), the last five points, and everything from the first loss on
    /// that is not finite.
    #[must_use]
    pub fn trimmed(&self, steps: u64) -> Self {
        let points = self.points();
        let end = points.len().saturating_sub(5);
        let start = usize::try_from(steps / 10).unwrap_or(usize::MAX).min(end);
        let kept = points[start..end].iter().copied();
        Self::new(kept.take_while(|point| point.judged().is_finite()).collect(), self.stop_reason())
    }
}

fn enough(points: &[Point], needed: usize) -> Result<(), NoSuggestion> {
    if points.len() < needed { Err(NoSuggestion::TooFewPoints { needed, found: points.len() }) } else { Ok(()) }
}

/// The first index with the least value. `values` must be finite and not empty.
fn least(values: impl Iterator<Item = f64>) -> (usize, f64) {
    let start = (0, f64::INFINITY);
    values.enumerate().fold(start, |least, (index, value)| if value < least.1 { (index, value) } else { least })
}

fn minimum(points: &[Point]) -> usize {
    least(points.iter().map(|point| point.2)).0
}

fn steepest(points: &[Point]) -> Result<usize, NoSuggestion> {
    let slope = |pair: &[Point]| (pair[1].2 - pair[0].2) / (numeric::log2(pair[1].1) - numeric::log2(pair[0].1));
    let (index, slope) = least(points.windows(2).map(slope));
    if slope < 0.0 { Ok(index) } else { Err(NoSuggestion::NeverFalls) }
}

fn valley(points: &[Point]) -> Result<usize, NoSuggestion> {
    // lengths[i] is the length of the longest falling subsequence that ends at i.
    let mut lengths: Vec<usize> = Vec::with_capacity(points.len());
    let mut end = 0;
    for (i, point) in points.iter().enumerate() {
        let before = (0..i).filter(|&j| point.2 < points[j].2).map(|j| lengths[j]).max();
        lengths.push(before.unwrap_or(0) + 1);
        if lengths[end] < lengths[i] {
            end = i;
        }
    }
    if lengths[end] < 2 {
        return Err(NoSuggestion::NeverFalls);
    }
    // fastai takes the section of the curve that is as long as the subsequence and begins that length before its end.
    let section = lengths[end];
    let into = section / 3 + section / 6;
    Ok((end + into).saturating_sub(section))
}

/// The distance in points between the slopes that `slide` compares.
const SLIDE: usize = 15;

fn slide(points: &[Point]) -> usize {
    let slope = |i: usize| {
        // NumPy's `gradient`: central differences, one-sided at the ends.
        let (before, after) = (i.saturating_sub(1), (i + 1).min(points.len() - 1));
        (points[after].2 - points[before].2) / numeric::float((after - before) as u64)
    };
    // Moves an interval from the right end to the left while the slopes at its two ends differ. Returns its last left
    // end.
    let differ = |&left: &usize| (slope(left + SLIDE) - slope(left)).abs() > 0.005;
    let rightmost = points.len() - 1 - SLIDE;
    (0..=rightmost).rev().take_while(differ).last().unwrap_or(rightmost)
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::range_test::{LossPoint, StopReason};
    use crate::schedule::Schedule;

    fn curve_of(losses: &[f64]) -> LossCurve {
        let point =
            |(i, &loss): (i32, &f64)| LossPoint { lr: 1e-5 * 10_f64.powf(f64::from(i) / 4.0), loss, validation: None };
        LossCurve::new((0..).zip(losses).map(point).collect(), StopReason::EndOfRange)
    }

    /// An even start, a fall, a valley, a divergence, then NaN. The suggestions were calculated by hand from their definitions.
    fn synthetic() -> LossCurve {
        let losses = [
            [2.30, 2.30, 2.30, 2.30],         // 0-3: nothing is learnt
            [2.29, 2.25, 2.15, 1.95],         // 4-7: begins to fall
            [1.50, 1.00, 0.70, 0.55],         // 8-11: falls; steepest from 8 to 9, by 0.50
            [0.48, 0.45, 0.44, 0.43],         // 12-15: valley; the minimum is 0.43 at 15
            [0.449, 0.50, 0.60, 0.90],        // 16-19: rises
            [2.00, 9.00, f64::NAN, f64::NAN], // 20-23: blows up
        ];
        curve_of(&losses.concat())
    }

    #[test]
    fn each_rule_on_the_synthetic_curve() {
        let curve = synthetic();
        let lr = |index: usize| curve.points()[index].lr;
        let at = |suggestion| curve.suggest(suggestion).unwrap();
        assert_eq!(at(Suggestion::Steepest), Suggested { lr: lr(8), index: 8 });
        assert_eq!(at(Suggestion::MinimumOverTen), Suggested { lr: lr(15) / 10.0, index: 15 });
        // The longest falling subsequence is 2.30 (any of 0-3), 4, 5, ... 15: 13 points, ending at 15. The section begins at
        // 15 - 13 = 2; a third is int(13 / 3) = 4 and half of it int(13 / 6) = 2 more: 8.
        assert_eq!(at(Suggestion::Valley), Suggested { lr: lr(8), index: 8 });
        // 22 finite points. Slopes at the right: 21 is 9 - 2 = 7, 20 (9 - 0.9) / 2 = 4.05, 19 (2 - 0.6) / 2 = 0.7, 18 0.2,
        // 17 0.0755, 16 0.035, 15 0.0045; at the left: 6 -0.15, 5 -0.1, 4 -0.025, 3 -0.005, 2 0, 1 0, 0 0. They differ by more
        // than 0.005 from (21, 6) down to (16, 1); (15, 0) do not.
        assert_eq!(at(Suggestion::Slide), Suggested { lr: lr(1), index: 1 });
        // start 2.30, minimum 0.43, fall 1.87, 5 % of it 0.0935: below 2.2065 first at 6 (2.15); above 0.5235 first at 18
        // (0.60), so the last before is 17.
        let range = curve.smith_range().unwrap();
        assert_eq!(
            (range.base_lr, range.max_lr),
            (Suggested { lr: lr(6), index: 6 }, Suggested { lr: lr(17), index: 17 })
        );
        let cyclic = Schedule::range(&range.cyclic(100).unwrap()).unwrap();
        assert_eq!((cyclic.base_lr, cyclic.max_lr), (lr(6), lr(17)));
        assert_eq!(Schedule::range(&range.one_cycle(100).unwrap()).unwrap().max_lr, lr(17));
    }

    #[test]
    fn slide_stops_where_the_slopes_agree() {
        // Even for 20 points, then a rise of 1 a point for 10: slopes 0 up to point 18, 0.5 at 19, 1 from 20 on. Coming from the
        // right, the ends of (29, 14) differ by 1, ... of (20, 5) by 1, of (19, 4) by 0.5, of (18, 3) by nothing.
        let losses: Vec<f64> = (0..30).map(|i| f64::from((i - 19).max(0))).collect();
        assert_eq!(curve_of(&losses).suggest(Suggestion::Slide).unwrap().index, 4);
        // Where they agree from the start: the first interval's left end.
        assert_eq!(curve_of(&[1.0; 20]).suggest(Suggestion::Slide).unwrap().index, 4);
    }

    #[test]
    fn the_first_of_equals_and_the_exact_margins() {
        let index = |losses: &[f64], rule| curve_of(losses).suggest(rule).map(|suggested| suggested.index);
        assert_eq!(index(&[3.0, 2.0, 1.0, 3.5, 2.5, 1.5], Suggestion::Valley), Ok(0));
        assert_eq!(index(&[3.0, 1.0, 1.0], Suggestion::MinimumOverTen), Ok(1));
        assert_eq!(index(&[1.0; 5], Suggestion::Steepest), Err(NoSuggestion::NeverFalls));
        // A fall of 100: below 95 first at 94, above 5 first at 5.5.
        let range = curve_of(&[100.0, 95.5, 94.0, 50.0, 0.0, 4.5, 5.5]).smith_range().unwrap();
        assert_eq!((range.base_lr.index, range.max_lr.index), (2, 5));
        // If the loss never rises again, the range ends with the last rate.
        assert_eq!(curve_of(&[3.0, 2.0, 1.0, 1.0]).smith_range().unwrap().max_lr.index, 3);
    }

    #[test]
    fn points_that_are_not_finite_are_skipped_but_counted() {
        let curve = curve_of(&[2.0, f64::NAN, 1.9, f64::INFINITY, 1.0, 1.2]);
        let steepest = curve.suggest(Suggestion::Steepest).unwrap();
        assert_eq!((steepest.index, steepest.lr), (2, curve.points()[2].lr));
        assert_eq!(curve.suggest(Suggestion::MinimumOverTen).unwrap().index, 4);
    }

    #[test]
    fn the_validation_loss_counts_if_there_is_one() {
        let points = [(1.0, Some(3.0)), (2.0, Some(1.0)), (3.0, Some(2.0))];
        let points = points.map(|(loss, validation)| LossPoint { lr: loss, loss, validation });
        let curve = LossCurve::new(points.into(), StopReason::EndOfRange);
        assert_eq!(curve.suggest(Suggestion::MinimumOverTen).unwrap(), Suggested { lr: 0.2, index: 1 });
    }

    #[test]
    fn no_suggestion_says_why() {
        use NoSuggestion::{NeverFalls, TooFewPoints};
        for curve in [curve_of(&[]), curve_of(&[f64::NAN; 30])] {
            assert_eq!(curve.suggest(Suggestion::Steepest), Err(TooFewPoints { needed: 2, found: 0 }));
            assert_eq!(curve.suggest(Suggestion::MinimumOverTen), Err(TooFewPoints { needed: 1, found: 0 }));
            assert_eq!(curve.suggest(Suggestion::Valley), Err(TooFewPoints { needed: 2, found: 0 }));
            assert_eq!(curve.suggest(Suggestion::Slide), Err(TooFewPoints { needed: 16, found: 0 }));
            assert_eq!(curve.smith_range(), Err(TooFewPoints { needed: 3, found: 0 }));
        }
        let rising = curve_of(&[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(rising.suggest(Suggestion::Steepest), Err(NeverFalls));
        assert_eq!(rising.suggest(Suggestion::Valley), Err(NeverFalls));
        assert_eq!(rising.smith_range(), Err(NeverFalls));
        assert_eq!(rising.smith_range().unwrap_err().to_string(), "no suggestion, because the loss never falls");
    }

    #[test]
    fn trimming_is_that_of_fastai() {
        let losses: Vec<f64> = (0..30).map(|i| if i == 22 { f64::NAN } else { f64::from(i) }).collect();
        let trimmed = curve_of(&losses).trimmed(40);
        let kept: Vec<f64> = trimmed.losses();
        assert_eq!((kept[0], kept[kept.len() - 1]), (4.0, 21.0));
        assert_eq!(curve_of(&[1.0; 3]).trimmed(30).points(), []);
    }
}
