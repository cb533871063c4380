//! The processes (ranks) that train one model together.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Display;

use num_traits::ToPrimitive;
use thiserror::Error;

use super::shards::part;
use crate::numeric;

/// The processes of a run, as one of them sees them. Each has a rank, counted from 0.
///
/// This crate has three implementations: [`Alone`], `Threads` of one process (feature `std`), and `Mpi` (feature
/// `mpi`). Pass one to [`Accumulator::on`](super::Accumulator::on) to train one model together.
///
/// Every method that returns a `Result` is a *collective* operation: all ranks must call it, in the same order and with
/// slices of the same length, and it returns when all have called it.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "std")] {
/// use cyclic_optim::training::{Ranks, Threads};
///
/// let means = Threads::run(2, |ranks| {
///     // Three samples, of which rank 0 has one and rank 1 has two.
///     let mine: &[f64] = ranks.share(&[1.0, 2.0, 6.0]);
///     let mean = mine.iter().sum::<f64>() / mine.len() as f64;
///     ranks.mean(mean, mine.len())
/// })?;
/// assert_eq!(means, [3.0, 3.0]);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Ranks {
    /// The rank of this process, below [`size`](Self::size).
    fn rank(&self) -> usize;

    /// The number of ranks.
    fn size(&self) -> usize;

    /// Writes the sums over all ranks of each element of `mine` into `sum`, with the same bits on every rank.
    ///
    /// # Errors
    ///
    /// See [`RanksError`].
    fn sum_f32(&self, mine: &[f32], sum: &mut [f32]) -> Result<(), RanksError>;

    /// As [`sum_f32`](Self::sum_f32), in double precision.
    ///
    /// # Errors
    ///
    /// See [`RanksError`].
    fn sum_f64(&self, mine: &[f64], sum: &mut [f64]) -> Result<(), RanksError>;

    /// Writes the numbers of all ranks into `all`, in the order of the ranks. `all` is [`size`](Self::size) times as long as
    /// `mine`.
    ///
    /// # Errors
    ///
    /// See [`RanksError`].
    fn gather_f32(&self, mine: &[f32], all: &mut [f32]) -> Result<(), RanksError>;

    /// As [`gather_f32`](Self::gather_f32), in double precision.
    ///
    /// # Errors
    ///
    /// See [`RanksError`].
    fn gather_f64(&self, mine: &[f64], all: &mut [f64]) -> Result<(), RanksError>;

    /// Replaces `bytes` on every rank by those of rank `from`, whatever their length.
    ///
    /// # Errors
    ///
    /// See [`RanksError`].
    fn broadcast(&self, from: usize, bytes: &mut Vec<u8>) -> Result<(), RanksError>;

    /// Whether this is rank 0: the one that writes logs, shows progress and prints.
    ///
    /// An `Option` of a [`Recorder`](crate::history::Recorder) is a recorder, too, so `ranks.is_first().then(|| ..)` records
    /// only on rank 0.
    fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// This rank's part of a batch, or of any other list. The parts are disjoint, cover everything in the order of the ranks,
    /// and differ by at most one in length. With more ranks than elements some parts are empty.
    fn share<'a, T>(&self, all: &'a [T]) -> &'a [T] {
        part(all, self.rank(), self.size())
    }

    /// The mean of a metric over all ranks, weighted by the samples of each rank. Report this mean to
    /// [`observe`](crate::CyclicOptimizer::observe). A rank without samples may pass any value. If no rank has samples, the
    /// mean is NaN.
    ///
    /// # Errors
    ///
    /// See [`RanksError`].
    fn mean(&self, value: impl ToPrimitive, samples: usize) -> Result<f64, RanksError> {
        let (value, weight) = (value.to_f64().unwrap_or(f64::NAN), numeric::float(samples as u64));
        if samples > 0 && self.size() == 1 {
            return Ok(value);
        }
        let mut sum = [0.0; 2];
        self.sum_f64(&[if samples > 0 { weight * value } else { 0.0 }, weight], &mut sum)?;
        Ok(sum[0] / sum[1])
    }

    /// Makes a failure of any rank a failure of all, so that no rank waits for one that has given up. A rank that failed
    /// returns its own error. The others return [`RanksError::Failed`] with the number and the message of the first rank
    /// that failed.
    ///
    /// ```
    /// # #[cfg(feature = "std")] {
    /// use cyclic_optim::training::{Ranks, RanksError, Threads};
    ///
    /// let messages = Threads::run(3, |ranks| {
    ///     let read: Result<u32, Box<dyn std::error::Error>> =
    ///         if ranks.rank() == 1 { Err("no such file".into()) } else { Ok(7) };
    ///     Ok::<_, RanksError>(ranks.agree(read).unwrap_err().to_string())
    /// })?;
    /// assert_eq!(messages, ["rank 1: no such file", "no such file", "rank 1: no such file"]);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The error of any rank; see also [`RanksError`].
    fn agree<T, E: Display + From<RanksError>>(&self, result: Result<T, E>) -> Result<T, E> {
        let mut failed = vec![0.0; self.size()];
        self.gather_f64(&[f64::from(u8::from(result.is_err()))], &mut failed)?;
        let Some(rank) = failed.iter().position(|&failed| failed > 0.0) else { return result };
        let message = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let mut message = message.into_bytes();
        self.broadcast(rank, &mut message)?;
        result.and_then(|_| {
            let message = String::from_utf8_lossy(&message).into_owned();
            Err(RanksError::Failed { rank, message }.into())
        })
    }
}

/// What went wrong between the ranks of a run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RanksError {
    /// A rank returned, failed or panicked while others waited for it.
    #[error("rank {rank} has left the run")]
    Left {
        /// The rank.
        rank: usize,
    },
    /// Another rank reported an error.
    #[error("rank {rank}: {message}")]
    Failed {
        /// The first rank that failed.
        rank: usize,
        /// Its error.
        message: String,
    },
    /// The ranks do not train the same model in the same way.
    #[error("rank {rank} has {value} {what}, and rank 0 has {first}")]
    Different {
        /// What differs, for example gradients or micro-batches.
        what: &'static str,
        /// The first rank that differs from rank 0.
        rank: usize,
        /// How many it has.
        value: usize,
        /// How many rank 0 has.
        first: usize,
    },
}

/// A run of one process: nothing is sent, and an average is the value itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Alone;

impl Ranks for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn sum_f32(&self, mine: &[f32], sum: &mut [f32]) -> Result<(), RanksError> {
        sum.copy_from_slice(mine);
        Ok(())
    }

    fn sum_f64(&self, mine: &[f64], sum: &mut [f64]) -> Result<(), RanksError> {
        sum.copy_from_slice(mine);
        Ok(())
    }

    fn gather_f32(&self, mine: &[f32], all: &mut [f32]) -> Result<(), RanksError> {
        all.copy_from_slice(mine);
        Ok(())
    }

    fn gather_f64(&self, mine: &[f64], all: &mut [f64]) -> Result<(), RanksError> {
        all.copy_from_slice(mine);
        Ok(())
    }

    fn broadcast(&self, _: usize, _: &mut Vec<u8>) -> Result<(), RanksError> {
        Ok(())
    }
}
