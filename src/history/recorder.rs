//! The trait that every writer has.

use alloc::boxed::Box;
use core::error::Error;

use crate::state::Applied;

/// Writes what happens in a run. The training loop calls it; nothing is registered with the optimizer.
///
/// Every method does nothing by default, so an implementation defines only those that it needs. The trait can be used as a
/// trait object. An `Option` of a recorder is a recorder, too: `None` records nothing.
///
/// # Examples
///
/// A recorder of your own, and one loop for several:
///
/// ```
/// use cyclic_optim::history::{History, RecordError, Recorder};
/// use cyclic_optim::{Applied, ClrConfig, Cyclic};
///
/// /// Keeps the largest loss.
/// #[derive(Default)]
/// struct LargestLoss(f64);
///
/// impl Recorder for LargestLoss {
///     fn update(&mut self, used: &Applied, metrics: &[(&str, f64)]) -> Result<(), RecordError> {
///         for &(_, loss) in metrics.iter().filter(|(name, _)| *name == "loss") {
///             if loss.is_nan() {
///                 return Err(RecordError::new(format!("the loss of update {} is NaN", used.iteration)));
///             }
///             self.0 = self.0.max(loss);
///         }
///         Ok(())
///     }
/// }
///
/// let (mut largest, mut history) = (LargestLoss::default(), History::new());
/// let mut recorders: [&mut dyn Recorder; 2] = [&mut largest, &mut history];
/// let config = ClrConfig::new(Cyclic::triangular(0.1, 0.3, 2)?);
/// for (used, loss) in config.preview().zip([2.0, 9.0, 1.5]) {
///     for recorder in &mut recorders {
///         recorder.update(&used, &[("loss", loss)])?;
///     }
/// }
/// for recorder in &mut recorders {
///     recorder.epoch(0, &[("val_loss", 1.2)])?;
///     recorder.finish()?;
/// }
/// assert_eq!(largest.0, 9.0);
/// assert_eq!(history.updates().values("loss").unwrap(), [2.0, 9.0, 1.5]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Recorder {
    /// Records an update: what it used, and its metrics. By convention, the loss has the name `loss`.
    ///
    /// What the update used is recorded as listed by [`Applied::metrics`]. A metric with the same name as one of these
    /// replaces it.
    ///
    /// # Errors
    ///
    /// Errors of the writer.
    fn update(&mut self, used: &Applied, metrics: &[(&str, f64)]) -> Result<(), RecordError> {
        let _ = (used, metrics);
        Ok(())
    }

    /// Records an epoch, counted from 0, and its metrics. By convention, the names of validation metrics begin with `val_`.
    ///
    /// # Errors
    ///
    /// Errors of the writer.
    fn epoch(&mut self, epoch: u64, metrics: &[(&str, f64)]) -> Result<(), RecordError> {
        let _ = (epoch, metrics);
        Ok(())
    }

    /// Writes what is still buffered. Call it once, at the end of the run.
    ///
    /// # Errors
    ///
    /// Errors of the writer.
    fn finish(&mut self) -> Result<(), RecordError> {
        Ok(())
    }
}

impl<R: Recorder> Recorder for Option<R> {
    fn update(&mut self, used: &Applied, metrics: &[(&str, f64)]) -> Result<(), RecordError> {
        self.as_mut().map_or(Ok(()), |recorder| recorder.update(used, metrics))
    }

    fn epoch(&mut self, epoch: u64, metrics: &[(&str, f64)]) -> Result<(), RecordError> {
        self.as_mut().map_or(Ok(()), |recorder| recorder.epoch(epoch, metrics))
    }

    fn finish(&mut self) -> Result<(), RecordError> {
        self.as_mut().map_or(Ok(()), Recorder::finish)
    }
}

/// A mutable reference to a recorder is a recorder, too, so you can record through `optimizer.history_mut()` directly:
///
/// ```
/// use cyclic_optim::history::Recorder;
/// use cyclic_optim::{Constant, CyclicOptimizer, History, RateAndMomentum};
///
/// let run = CyclicOptimizer::new(RateAndMomentum::default(), Constant::new(0.1)?);
/// let mut run = run.with_history(History::new());
/// run.history_mut().epoch(0, &[("val_loss", 0.5)])?;
/// assert_eq!(run.history().unwrap().epochs().values("val_loss").unwrap(), [0.5]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl<R: Recorder + ?Sized> Recorder for &mut R {
    fn update(&mut self, used: &Applied, metrics: &[(&str, f64)]) -> Result<(), RecordError> {
        (**self).update(used, metrics)
    }

    fn epoch(&mut self, epoch: u64, metrics: &[(&str, f64)]) -> Result<(), RecordError> {
        (**self).epoch(epoch, metrics)
    }

    fn finish(&mut self) -> Result<(), RecordError> {
        (**self).finish()
    }
}

/// Why something could not be recorded: the error of the writer, unchanged.
///
/// It displays as the writer's error. Find out which one it is with `error.0.downcast_ref::<CsvLogError>()`, for example.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct RecordError(pub Box<dyn Error + Send + Sync>);

impl RecordError {
    /// Wraps an error or a message.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}
