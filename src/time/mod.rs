//! Time in epochs and shares of a run, turned into updates.
//!
//! Everything in this crate counts updates. A [`RunLength`] knows how many there are in an epoch and in the run, and turns
//! `"2 epochs"`, `"10 %"` and `"500 updates"` into updates:
//!
//! ```
//! use cyclic_optim::{Cyclic, RunLength};
//!
//! let run = RunLength::new(45, 20)?; // 45 batches in an epoch, 20 epochs
//! assert_eq!((run.updates("2 epochs")?, run.updates("10 %")?, run.updates("500 updates")?), (90, 90, 500));
//! let schedule = Cyclic::triangular(0.001, 0.02, run.updates("2 epochs")?)?;
//! # let _ = schedule;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In a config file every length in updates can be such a text, if the file is read by
//! `ClrConfig::deserialize_for` (feature `serde`). An integer is always a number of updates.
//!
//! # Rounding
//!
//! A time that is not a whole number of updates is rounded to the nearest one, and a half is rounded up. With 45 batches in an
//! epoch, `"1.37 epochs"` (61.65 updates) become 62, and `"0.5 epochs"` (22.5 updates) become 23. A time above 0 that rounds to 0
//! is an error.

#[cfg(feature = "serde")]
pub(crate) mod file;

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use thiserror::Error;

use crate::check;
use crate::error::ConfigError;
use crate::numeric;

/// A length of time: `"500 updates"`, `"2 epochs"` or `"10 %"` of the run.
///
/// The text is a decimal number and a unit: `update` or `updates` (whole numbers only), `epoch` or `epochs`, `%`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Time {
    /// Updates.
    Updates(u64),
    /// Epochs.
    Epochs(f64),
    /// Per cent of all updates of the run.
    Percent(f64),
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = |number: f64, one| if number == 1.0 { one } else { "s" };
        match *self {
            Self::Updates(updates) => write!(f, "{updates} update{}", unit(numeric::float(updates), "")),
            Self::Epochs(epochs) => write!(f, "{epochs} epoch{}", unit(epochs, "")),
            Self::Percent(percent) => write!(f, "{percent} %"),
        }
    }
}

impl FromStr for Time {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let unreadable = || TimeError::Unreadable { text: text.into() };
        let trimmed = text.trim();
        let unit = trimmed.find(|letter: char| letter.is_alphabetic() || letter == '%').ok_or_else(unreadable)?;
        let (number, unit) = trimmed.split_at(unit);
        let number = number.trim_end();
        let float = || number.parse().map_err(|_| unreadable());
        match unit {
            "update" | "updates" => number.parse().map(Self::Updates).map_err(|_| unreadable()),
            "epoch" | "epochs" => float().map(Self::Epochs),
            "%" => float().map(Self::Percent),
            _ => Err(unreadable()),
        }
    }
}

/// A time cannot be turned into updates.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum TimeError {
    /// The text is not a time.
    #[error(
        "{text:?} is not a time: write a whole number of updates, or a number of epochs or %, for example \"2 epochs\""
    )]
    Unreadable {
        /// The text.
        text: String,
    },
    /// A time is negative or not finite.
    #[error("{time} is not a length of time: it must be at least 0 and finite")]
    OutOfRange {
        /// The time.
        time: Time,
    },
    /// A share of the run is above the whole.
    #[error("{percent} % is more than the whole run: it must lie in [0, 100]")]
    AboveWhole {
        /// The percentage.
        percent: f64,
    },
    /// The number of updates in an epoch is not known.
    #[error("{time} cannot be turned into updates: the number of batches in an epoch is not known")]
    UnknownBatches {
        /// The time.
        time: Time,
    },
    /// The number of updates of the run is not known.
    #[error("{time} cannot be turned into updates: the number of updates of the run is not known")]
    UnknownTotal {
        /// The time.
        time: Time,
    },
    /// A time above 0 rounds to 0 updates.
    #[error("{time} is {updates} updates, which rounds to 0")]
    Vanishes {
        /// The time.
        time: Time,
        /// The updates before rounding.
        updates: f64,
    },
    /// There are more updates than a `u64` can count.
    #[error("{time} is more updates than can be counted")]
    TooLong {
        /// The time.
        time: Time,
    },
}

/// What is known about the length of a run: the number of updates in an epoch, and in the whole run. With [`Default`]
/// neither is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunLength {
    batches_per_epoch: Option<u64>,
    total: Option<u64>,
}

impl RunLength {
    /// A run of `epochs` epochs with `batches_per_epoch` updates each.
    ///
    /// # Errors
    ///
    /// 0 batches or epochs, more than `u64` updates.
    pub fn new(batches_per_epoch: u64, epochs: u64) -> Result<Self, ConfigError> {
        check::length("epochs", epochs)?;
        let run = Self::default().with_batches_per_epoch(batches_per_epoch)?;
        let total = batches_per_epoch.checked_mul(epochs);
        run.with_total(total.ok_or(ConfigError::HorizonOverflow { field: "epochs", value: epochs })?)
    }

    /// Sets the number of updates in an epoch.
    ///
    /// # Errors
    ///
    /// 0 batches.
    pub fn with_batches_per_epoch(mut self, batches_per_epoch: u64) -> Result<Self, ConfigError> {
        check::length("batches_per_epoch", batches_per_epoch)?;
        self.batches_per_epoch = Some(batches_per_epoch);
        Ok(self)
    }

    /// Sets the number of updates of the run; it need not be a whole number of epochs.
    ///
    /// # Errors
    ///
    /// 0 updates.
    pub fn with_total(mut self, total: u64) -> Result<Self, ConfigError> {
        check::length("total", total)?;
        self.total = Some(total);
        Ok(self)
    }

    /// The number of updates in an epoch, if it is known.
    #[must_use]
    pub fn batches_per_epoch(&self) -> Option<u64> {
        self.batches_per_epoch
    }

    /// The number of updates of the run, if it is known.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// Converts a time given as text into updates; see [`Time`] for its form.
    ///
    /// # Errors
    ///
    /// A text that is not a time, and the errors of [`updates_of`](Self::updates_of).
    pub fn updates(&self, time: &str) -> Result<u64, TimeError> {
        self.updates_of(time.parse()?)
    }

    /// Converts a time into updates, rounded to the nearest one, halves up.
    ///
    /// # Errors
    ///
    /// A number that is negative or not finite, more than 100 %, an unknown number of batches in an epoch or of updates of the
    /// run, a time above 0 that rounds to 0, more than `u64` updates.
    pub fn updates_of(&self, time: Time) -> Result<u64, TimeError> {
        let updates = match time {
            Time::Updates(updates) => return Ok(updates),
            Time::Epochs(number) | Time::Percent(number) if !(number.is_finite() && number >= 0.0) => {
                return Err(TimeError::OutOfRange { time });
            }
            Time::Epochs(epochs) => {
                epochs * numeric::float(self.batches_per_epoch.ok_or(TimeError::UnknownBatches { time })?)
            }
            Time::Percent(percent) if percent > 100.0 => return Err(TimeError::AboveWhole { percent }),
            Time::Percent(percent) => {
                percent * numeric::float(self.total.ok_or(TimeError::UnknownTotal { time })?) / 100.0
            }
        };
        match numeric::nearest(updates) {
            None => Err(TimeError::TooLong { time }),
            Some(0) if updates > 0.0 => Err(TimeError::Vanishes { time, updates }),
            Some(rounded) => Ok(rounded),
        }
    }

    /// The number of epochs in `updates` updates; `None` if the number of batches in an epoch is not known.
    ///
    /// ```
    /// let run = cyclic_optim::RunLength::new(45, 20)?;
    /// assert_eq!((run.epochs_after(90), run.epochs_after(99)), (Some(2.0), Some(2.2)));
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    #[must_use]
    pub fn epochs_after(&self, updates: u64) -> Option<f64> {
        Some(numeric::fraction(updates, self.batches_per_epoch?))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    fn digits() -> RunLength {
        RunLength::new(45, 20).unwrap()
    }

    #[test]
    fn texts_become_updates() {
        for (text, updates) in [
            ("500 updates", 500),
            ("1 update", 1),
            ("0 updates", 0),
            ("18446744073709551615 updates", u64::MAX),
            ("2 epochs", 90),
            ("1 epoch", 45),
            (" 2.0epochs ", 90),
            ("0 epochs", 0),
            ("10 %", 90),
            ("10%", 90),
            ("100 %", 900),
            // The nearest update: 61.65, 22.5, 22.05, 4.5.
            ("1.37 epochs", 62),
            ("0.5 epochs", 23),
            ("0.49 epochs", 22),
            ("0.5 %", 5),
        ] {
            assert_eq!(digits().updates(text), Ok(updates), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_an_error() {
        use TimeError::{AboveWhole, OutOfRange, TooLong, UnknownBatches, UnknownTotal, Unreadable, Vanishes};
        for text in [
            "",
            "2",
            "epochs",
            "two epochs",
            "2 epoks",
            "2 epochs 3",
            "1.5 updates",
            "-1 updates",
            "1e2 epochs",
            "2 Epochs",
            "% 10",
        ] {
            assert_eq!(digits().updates(text), Err(Unreadable { text: text.into() }), "{text}");
        }
        let error = |text| digits().updates(text).unwrap_err();
        assert_eq!(error("-1 epochs"), OutOfRange { time: Time::Epochs(-1.0) });
        assert_eq!(error("-0.5 %"), OutOfRange { time: Time::Percent(-0.5) });
        assert_eq!(
            digits().updates_of(Time::Epochs(f64::INFINITY)),
            Err(OutOfRange { time: Time::Epochs(f64::INFINITY) })
        );
        assert_eq!(error("100.5 %"), AboveWhole { percent: 100.5 });
        assert_eq!(error("0.01 epochs"), Vanishes { time: Time::Epochs(0.01), updates: 0.45 });
        assert_eq!(error("1000000000000000000 epochs"), TooLong { time: Time::Epochs(1e18) });
        let nothing = RunLength::default();
        assert_eq!(nothing.updates("2 epochs"), Err(UnknownBatches { time: Time::Epochs(2.0) }));
        assert_eq!(nothing.updates("10 %"), Err(UnknownTotal { time: Time::Percent(10.0) }));
        assert_eq!(nothing.updates("7 updates"), Ok(7));
        assert_eq!(error("150 %").to_string(), "150 % is more than the whole run: it must lie in [0, 100]");
        assert_eq!(
            nothing.updates("1 epoch").unwrap_err().to_string(),
            "1 epoch cannot be turned into updates: the number of batches in an epoch is not known"
        );
    }

    #[test]
    fn every_precondition() {
        use ConfigError::{HorizonOverflow, TooSmall};
        assert!(matches!(RunLength::new(0, 1), Err(TooSmall { field: "batches_per_epoch", .. })));
        assert!(matches!(RunLength::new(1, 0), Err(TooSmall { field: "epochs", .. })));
        assert!(matches!(RunLength::new(2, u64::MAX), Err(HorizonOverflow { field: "epochs", .. })));
        assert!(matches!(RunLength::default().with_total(0), Err(TooSmall { field: "total", .. })));
    }

    proptest! {
        /// Whole epochs and whole per cent are exact; the rest is the nearest update.
        #[test]
        fn rounding_is_to_the_nearest_update(batches in 1..1_000_000_u64, epochs in 1..1000_u64, percent in 0..=100_u64, part in 0.001..5.0_f64) {
            let run = RunLength::new(batches, epochs).unwrap();
            let text = alloc::format!("{epochs} epochs");
            prop_assert_eq!(run.updates(&text), Ok(batches * epochs));
            prop_assert_eq!(Time::from_str(&text).unwrap().to_string(), if epochs == 1 { "1 epoch" } else { &text });
            let exact = batches * epochs * percent;
            match run.updates(&alloc::format!("{percent} %")) {
                Ok(updates) => prop_assert_eq!(updates, (exact + 50) / 100),
                Err(error) => prop_assert!(matches!(error, TimeError::Vanishes { .. }) && exact < 50, "{}", error),
            }
            if let Ok(updates) = run.updates_of(Time::Epochs(part)) {
                prop_assert!((numeric::float(updates) - part * numeric::float(batches)).abs() <= 0.5);
            }
        }
    }
}
