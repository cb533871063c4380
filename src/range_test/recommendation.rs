//! The rate that this crate recommends from a loss curve, and how far it can be trusted.

use alloc::vec::Vec;
use core::fmt;

use super::{LossCurve, NoSuggestion, Suggested};
use crate::feedback::divergence::Divergence;
use crate::numeric;
use crate::smoothing::Smoothing;

/// The smallest number of points from which a rate is recommended.
const FEWEST: usize = 10;
/// A fall of fewer standard deviations of the noise may be chance.
const CHANCE: f64 = 3.0;
/// With a fall of this many standard deviations the noise hardly changes the rate.
const CLEAR: f64 = 10.0;
/// With fewer points between the start and the minimum, the rate is too uncertain.
const FEW_IN_FALL: usize = 8;

/// A recommended learning rate. Displays as `4.0e-3 (2.1e-3 to 9.5e-3), confidence high`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Recommended {
    /// The rate.
    pub lr: f64,
    /// The range around `lr` in which any rate may be just as good. It goes from half of the rate at a quarter of the fall
    /// to half of the rate at three quarters; `lr` is half of the rate at half of the fall.
    pub range: (f64, f64),
    /// The minimum of the smoothed curve. `lr` is never above the rate of the minimum.
    pub minimum: Suggested,
    /// The reasons to doubt the rate; empty if there are none.
    pub doubts: Vec<Doubt>,
}

/// How far a [`Recommended`] rate can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Confidence {
    /// At least two doubts.
    Low,
    /// One doubt.
    Medium,
    /// No doubt.
    High,
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        })
    }
}

/// A reason to doubt a [`Recommended`] rate.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Doubt {
    /// The loss falls by only this many standard deviations of its noise, fewer than 10. More batches at each rate help.
    Noisy(f64),
    /// The fall has only this many points, fewer than 8. More rates in the sweep help.
    FewPoints(usize),
    /// The loss does not rise again: the sweep ended before it. A higher last rate helps.
    StillFalling,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Noisy(deviations) => write!(f, "the loss falls by only {deviations:.1} times its noise"),
            Self::FewPoints(points) => write!(f, "the fall has only {points} points"),
            Self::StillFalling => f.write_str("the sweep ended before the loss rose again"),
        }
    }
}

impl Recommended {
    /// How far the rate can be trusted: high without doubts, medium with one, low with more.
    #[must_use]
    pub fn confidence(&self) -> Confidence {
        match self.doubts.len() {
            0 => Confidence::High,
            1 => Confidence::Medium,
            _ => Confidence::Low,
        }
    }
}

impl fmt::Display for Recommended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = self.range;
        write!(f, "{:.1e} ({low:.1e} to {high:.1e}), confidence {}", self.lr, self.confidence())?;
        for (n, doubt) in self.doubts.iter().enumerate() {
            write!(f, "{} {doubt}", if n == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}

impl LossCurve {
    /// The rate that this crate recommends for the peak of a schedule: half of the rate at which the smoothed loss has fallen
    /// half of the way to its minimum. Call this on the curve as it was measured, with the smoothing that you use for pictures.
    ///
    /// The rule uses only the points up to the minimum of the smoothed curve, and none after a divergence. So the
    /// recommended rate is never above the rate of the minimum. Let `y` be the smoothed losses of these points, `start` the
    /// median of the first tenth of them (of at least five) and `half = start - (start - minimum) / 2`. The rule takes the
    /// rate of the first point after the last one with `y > half`, and halves it. It halves the rate because the losses of a
    /// sweep lag behind its rates, and because a rate that is too high costs more than one that is too low.
    ///
    /// The noise is the standard deviation of the loss, estimated from the median difference of neighbouring points. A fall of
    /// less than three standard deviations is [`NoSuggestion::TooNoisy`].
    ///
    /// Trying rates out gives a better rate than any rule on a curve: see [`PeakSearch`](super::PeakSearch).
    ///
    /// # Errors
    ///
    /// [`NoSuggestion::TooFewPoints`] if fewer than ten points before the divergence have a finite loss;
    /// [`NoSuggestion::NeverFalls`]; [`NoSuggestion::TooNoisy`].
    ///
    /// # Examples
    ///
    /// ```
    /// use cyclic_optim::Smoothing;
    /// use cyclic_optim::range_test::{Confidence, RangeTest};
    ///
    /// // Each update takes a share `lr` of the loss, up to a rate of 0.3.
    /// let mut loss = 1.0_f64;
    /// let curve = RangeTest::logarithmic(1e-4, 1.0, 100)?.run(|lr| {
    ///     loss *= if lr > 0.3 { 3.0 } else { 1.0 - lr };
    ///     Some(loss)
    /// })?;
    /// let found = curve.recommended(&Smoothing::exponential(0.5)?)?;
    /// assert!(found.lr > 0.02 && found.lr < 0.05, "{found}");
    /// assert_eq!(found.confidence(), Confidence::High);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recommended(&self, smoothing: &Smoothing) -> Result<Recommended, NoSuggestion> {
        let (raw, mut smooth) = (self.finite(), self.smoothed(smoothing).finite());
        let mut divergence = Divergence::new(5.0, 0.01, 0.0);
        let sound = smooth.iter().position(|point| divergence.exceeded_by(point.2)).unwrap_or(smooth.len());
        smooth.truncate(sound);
        if sound < FEWEST {
            return Err(NoSuggestion::TooFewPoints { needed: FEWEST, found: sound });
        }
        let lowest = (0..sound).fold(0, |least, n| if smooth[n].2 < smooth[least].2 { n } else { least });
        let mut firsts: Vec<f64> = raw[..(sound / 10).max(5)].iter().map(|point| point.2).collect();
        let (start, least) = (median(&mut firsts), smooth[lowest].2);
        let fall = start - least;
        if fall <= 0.0 {
            return Err(NoSuggestion::NeverFalls);
        }
        let mut steps: Vec<f64> = raw[..sound].windows(2).map(|pair| (pair[1].2 - pair[0].2).abs()).collect();
        // The median of the absolute difference of two normal numbers is 0.954 standard deviations of one.
        let deviations = fall / (median(&mut steps) / 0.954);
        if deviations < CHANCE {
            return Err(NoSuggestion::TooNoisy { deviations });
        }
        // The first point after the last one at which the loss has fallen by less than this share of the fall.
        let reached = |share: f64| {
            let level = start - share * fall;
            smooth[..lowest].iter().rposition(|point| point.2 > level).map_or(0, |last| last + 1)
        };
        let rate = |n: usize| smooth[n].1 / 2.0;
        let risen = sound < self.finite().len()
            || smooth[lowest..].iter().any(|point| point.2 > least + 0.1 * fall)
            || self.points().last().is_some_and(|point| !point.judged().is_finite());
        let in_fall = lowest - reached(0.05) + 1;
        let doubts = [
            (deviations < CLEAR).then_some(Doubt::Noisy(deviations)),
            (in_fall < FEW_IN_FALL).then_some(Doubt::FewPoints(in_fall)),
            (!risen).then_some(Doubt::StillFalling),
        ];
        Ok(Recommended {
            lr: rate(reached(0.5)),
            range: (rate(reached(0.25)), rate(reached(0.75))),
            minimum: Suggested { lr: smooth[lowest].1, index: smooth[lowest].0 },
            doubts: doubts.into_iter().flatten().collect(),
        })
    }
}

/// The middle value, or the mean of the two. `values` must not be empty.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { numeric::between(values[middle - 1], values[middle], 0.5) }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::range_test::{LossPoint, StopReason};

    fn curve_of(losses: impl IntoIterator<Item = f64>) -> LossCurve {
        let point =
            |(n, loss): (i32, f64)| LossPoint { lr: 1e-5 * 10_f64.powf(f64::from(n) / 20.0), loss, validation: None };
        LossCurve::new((0..).zip(losses).map(point).collect(), StopReason::EndOfRange)
    }

    fn smoothing() -> Smoothing {
        Smoothing::exponential(0.8).unwrap()
    }

    /// Level, a fall by `fall` around point `middle`, a valley, and from point `end` on a divergence.
    fn synthetic(fall: f64, middle: f64, end: f64, points: i32) -> impl Iterator<Item = f64> {
        (0..points).map(f64::from).map(move |n| {
            let learned = fall / (1.0 + (-(n - middle) / 5.0).exp());
            2.3 - learned + ((n - end) / 3.0).exp()
        })
    }

    #[test]
    fn half_the_rate_at_half_of_the_fall() {
        let curve = curve_of(synthetic(2.0, 50.0, 90.0, 100));
        let found = curve.recommended(&Smoothing::exponential(0.0).unwrap()).unwrap();
        // The fall from 2.3 to its minimum is a little below 2 and has its half at point 50.
        let expected = curve.points()[50].lr / 2.0;
        assert!((found.lr / expected).log10().abs() < 0.06, "{found:?}");
        assert!(found.range.0 < found.lr && found.lr < found.range.1);
        assert_eq!((found.confidence(), found.doubts.len()), (Confidence::High, 0));
        let text = found.to_string();
        assert!(text.ends_with("confidence high") && text.starts_with("1.6e-3 ("), "{text}");
    }

    /// On noisy curves of many forms: never beyond the minimum of the smoothed curve, never behind a divergence.
    #[test]
    fn never_beyond_the_minimum() {
        let mut random = StdRng::seed_from_u64(7);
        let (mut found, mut noisy) = (0, 0);
        for n in 0..1000 {
            let points = random.gen_range(30..200);
            let middle = random.gen_range(0.1..1.1) * f64::from(points);
            let end = middle + random.gen_range(2.0..80.0);
            let noise = 10_f64.powf(random.gen_range(-3.0..0.5));
            let losses = synthetic(random.gen_range(0.0..2.2), middle, end, points);
            let losses: Vec<f64> =
                losses.map(|loss| loss * (1.0 + noise * (random.gen_range(0.0..2.0) - 1.0))).collect();
            let smoothing = Smoothing::exponential(random.gen_range(0.0..0.95)).unwrap();
            let curve = curve_of(losses);
            match curve.recommended(&smoothing) {
                Ok(recommended) => {
                    found += 1;
                    let smoothed = curve.smoothed(&smoothing);
                    let losses = smoothed.losses();
                    let lowest = losses.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
                    assert!(recommended.lr <= smoothed.points()[lowest].lr, "curve {n}: {recommended:?}");
                    assert!(
                        recommended.range.1 <= recommended.minimum.lr
                            && recommended.minimum.lr <= smoothed.points()[lowest].lr
                    );
                }
                Err(_) => noisy += 1,
            }
        }
        assert!(found > 400 && noisy > 200, "{found} found, {noisy} not");
    }

    #[test]
    fn noise_alone_gives_no_rate() {
        let mut random = StdRng::seed_from_u64(8);
        let given = (0..200).filter(|_| {
            let losses: Vec<f64> = (0..150).map(|_| 2.3 + random.gen_range(-0.3..0.3)).collect();
            curve_of(losses).recommended(&smoothing()).is_ok()
        });
        assert_eq!(given.count(), 0);
    }

    #[test]
    fn doubts_lower_the_confidence() {
        let doubts = |losses: Vec<f64>| curve_of(losses).recommended(&Smoothing::exponential(0.0).unwrap()).unwrap();
        let unfinished = doubts(synthetic(2.0, 50.0, 900.0, 80).collect());
        assert_eq!((unfinished.confidence(), unfinished.doubts), (Confidence::Medium, [Doubt::StillFalling].into()));
        let mut short: Vec<f64> = synthetic(2.0, 5.0, 900.0, 12).collect();
        short.extend([9.0]);
        assert!(matches!(doubts(short).doubts[..], [.., Doubt::FewPoints(_)] | [Doubt::Noisy(_), ..]));
        let zigzag =
            synthetic(1.0, 50.0, 900.0, 80).zip(0..).map(|(loss, n)| loss + if n % 2 == 0 { 0.1 } else { -0.1 });
        let noisy = doubts(zigzag.collect());
        assert_eq!(noisy.confidence(), Confidence::Low);
        assert!(noisy.to_string().contains("confidence low: the loss falls by only"), "{noisy}");
    }

    #[test]
    fn no_recommendation_says_why() {
        let error = |losses: &[f64]| curve_of(losses.iter().copied()).recommended(&smoothing()).unwrap_err();
        assert_eq!(error(&[]), NoSuggestion::TooFewPoints { needed: 10, found: 0 });
        assert_eq!(error(&[f64::NAN; 50]), NoSuggestion::TooFewPoints { needed: 10, found: 0 });
        assert_eq!(error(&[1.0; 50]), NoSuggestion::NeverFalls);
        let rising: Vec<f64> = (0..50).map(|n| 1.0 + 0.01 * f64::from(n)).collect();
        assert!(matches!(error(&rising), NoSuggestion::NeverFalls | NoSuggestion::TooNoisy { .. }));
        // A divergence at once: what lies behind it does not count.
        let diverged: Vec<f64> = [1.0; 5].into_iter().chain([50.0; 50]).collect();
        assert_eq!(error(&diverged), NoSuggestion::TooFewPoints { needed: 10, found: 5 });
    }
}
