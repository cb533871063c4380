//! The learning-rate range test: train briefly at rising rates, and choose a rate from the losses.
//!
//! The test calls a closure and depends on no framework. `adapters::dfdx::range_test` runs it on clones of a dfdx model and its
//! optimizer, so the originals do not change.
//!
//! ```
//! use cyclic_optim::range_test::{RangeTest, Suggestion};
//!
//! // A loss that falls, and diverges above 0.3.
//! let test = RangeTest::logarithmic(1e-3, 1.0, 61)?;
//! let mut loss = 1.0_f64;
//! let curve = test.run(|lr| {
//!     loss *= if lr > 0.3 { 3.0 } else { 1.0 - lr.min(0.1) };
//!     Some(loss)
//! })?;
//! let range = curve.smith_range()?;
//! assert!(range.base_lr.lr < 0.03 && range.max_lr.lr > 0.25 && range.max_lr.lr < 0.4);
//! let schedule = range.cyclic(200)?; // from base_lr to max_lr in 200 updates, and back
//! # let _ = (schedule, curve.suggest(Suggestion::Steepest)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # References
//!
//! L. N. Smith, *Cyclical Learning Rates for Training Neural Networks*, 2017, arXiv:1506.01186, section 3.3; the finders of
//! fastai, nupam/keras-callbacks and `psklight/keras_one_cycle_clr`.

#[cfg(feature = "plot")]
mod choice_plot;
#[cfg(feature = "csv")]
mod csv;
#[cfg(feature = "plot")]
mod curve_plot;
mod grid;
mod into_result;
mod loss_curve;
mod peak_choice;
mod peak_search;
#[cfg(feature = "plot")]
mod plot;
#[cfg(feature = "progress")]
mod progress;
mod recommendation;
mod suggestion;
mod sweep;

#[cfg(feature = "plot")]
pub use curve_plot::{CurvePlot, Losses};
pub use grid::{BestPair, GridEntry, GridError, WeightDecayGrid};
pub use into_result::IntoResult;
pub use loss_curve::{LossCurve, LossPoint, StopReason};
pub use peak_choice::{Candidate, PeakChoice};
pub use peak_search::{PeakSearch, PeakSearchError, SearchCost, Trial};
pub use recommendation::{Confidence, Doubt, Recommended};
pub use suggestion::{NoSuggestion, SmithRange, Suggested, Suggestion};
pub use sweep::{Interrupted, RangeTest};
