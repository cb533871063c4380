//! One update from several micro-batches, on one rank or several.

use alloc::vec;
use alloc::vec::Vec;

use num_traits::ToPrimitive;

use super::exchange::{AverageError, Job, Lists, Wide, is_double};
use super::gradients::GradientsOf;
use super::ranks::{Alone, Ranks, RanksError};
use super::shards::{part, range_of_part};
use crate::check;
use crate::error::ConfigError;
use crate::numeric;

/// Makes one update out of several micro-batches, on one rank or over all ranks of a run.
///
/// # Formula
///
/// Each micro-batch has `n` samples, the mean loss `loss` and the gradients `g` of this loss. The sums are over all
/// micro-batches of all ranks:
///
/// ```text
/// gradients = sum of n g / sum of n
/// loss      = sum of n loss / sum of n
/// ```
///
/// Up to rounding, this is what one batch of all the samples would give. Micro-batches may have different sizes, and a rank
/// may have none.
///
/// # One update
///
/// [`add`](Self::add) each micro-batch after its backward pass, then give the accumulator to
/// [`apply`](crate::CyclicOptimizer::apply) as the loss. [`with`](Self::with) does both for the last micro-batch, or for the
/// only one. With one process and one micro-batch, that is the same as an update without an accumulator.
///
/// In each update the ranks exchange one list of numbers: the loss, the number of samples and the gradients. Tensors of 65,536
/// numbers or more are sent separately, in pieces. Everything that `apply` does after that (guard, clipping, schedule,
/// history) sees the same bits on every rank, so all ranks make the same decisions. The schedule counts updates, not
/// micro-batches.
///
/// A NaN or an infinity in any micro-batch of any rank makes the sum of all ranks NaN or infinite, so all of them refuse the
/// update. The sum is then dropped and the gradients are zeroed, so the next update is not affected.
///
/// # Missing gradients
///
/// A missing gradient counts as zeros and is not reported, because another micro-batch or rank may have it. An `apply`
/// without an accumulator reports it.
///
/// # Examples
///
/// Four micro-batches for each update, in a training loop that could run on several ranks: replace `Accumulator::new()` by
/// `Accumulator::on(ranks)`.
///
/// ```
/// # #[cfg(feature = "dfdx")] {
/// use cyclic_optim::training::Accumulator;
/// use cyclic_optim::{Constant, CyclicOptimizer, Sgd};
/// use dfdx::prelude::{AsArray, Backward, Cpu, Rank0, Tensor, TensorFrom, Trace, ZeroGrads};
///
/// let device = Cpu::default();
/// let mut w: Tensor<Rank0, f32, _> = device.tensor(0.0);
/// let mut grads = w.alloc_grads();
/// let mut optimizer = CyclicOptimizer::new(Sgd::default(), Constant::new(0.25).unwrap());
/// let mut sum = Accumulator::new().with_micro_batches(4).unwrap();
/// let batch = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
/// for _ in 0..20 {
///     for micro_batch in sum.micro_batches(&batch) {
///         let mean = micro_batch.iter().sum::<f32>() / micro_batch.len() as f32;
///         let loss = (w.trace(grads) - mean).square();
///         let value = loss.array();
///         grads = loss.backward();
///         sum.add(&w, &mut grads, value, micro_batch.len()).unwrap();
///     }
///     optimizer.apply(&mut w, &mut grads, &mut sum).unwrap();
/// }
/// assert_eq!(optimizer.iterations(), 20);
/// assert!((w.array() - 4.5).abs() < 1e-4);
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Accumulator<'r, R = Alone> {
    ranks: &'r R,
    /// The number of micro-batches in an update, over all ranks together; one for each rank if it was not set.
    micro_batches: Option<usize>,
    reproducible: bool,
    /// The number of samples and the loss of each micro-batch that was added since the last update.
    added: Vec<(f64, f64)>,
    /// The number of gradients, on which all ranks have agreed in the first update.
    agreed: Option<usize>,
    single: Lists<f32>,
    double: Lists<f64>,
}

impl Accumulator<'static> {
    /// An accumulator for one process, which makes one update out of several micro-batches.
    #[must_use]
    pub fn new() -> Self {
        Self::on(&Alone)
    }
}

impl Default for Accumulator<'static> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'r, R: Ranks> Accumulator<'r, R> {
    /// An accumulator for several ranks, which averages the gradients over all of them.
    pub fn on(ranks: &'r R) -> Self {
        Self {
            ranks,
            micro_batches: None,
            reproducible: false,
            added: Vec::new(),
            agreed: None,
            single: Lists::default(),
            double: Lists::default(),
        }
    }

    /// Divides each batch into this number of micro-batches, over all ranks together: [`micro_batches`](Self::micro_batches)
    /// returns those of this rank. Without this option each rank has one.
    ///
    /// # Errors
    ///
    /// 0 micro-batches.
    pub fn with_micro_batches(mut self, micro_batches: usize) -> Result<Self, ConfigError> {
        check::length("micro_batches", micro_batches as u64)?;
        self.micro_batches = Some(micro_batches);
        Ok(self)
    }

    /// Makes the result the same to the bit for any number of ranks. Each batch is divided into this number of
    /// micro-batches, over all ranks together. Their gradients are kept apart and added in a fixed order in f64, with
    /// one rounding at the end.
    ///
    /// With `K` micro-batches, `K / 2` times as many bytes are sent as for the usual sum, and each tensor is sent
    /// separately. Each rank keeps its share of the `K` gradients in memory. So choose the largest number of ranks that
    /// the run will have, and no more. Add each of the [`micro_batches`](Self::micro_batches) separately.
    ///
    /// The gradients of a micro-batch must not depend on the number of ranks either. With dfdx they do not, unless the model
    /// has batch normalisation or dropout.
    ///
    /// # Errors
    ///
    /// 0 micro-batches.
    pub fn reproducible(self, micro_batches: usize) -> Result<Self, ConfigError> {
        Ok(Self { reproducible: true, ..self.with_micro_batches(micro_batches)? })
    }

    /// The micro-batches of this rank, taken from `batch`, which is the batch of all ranks together. Micro-batches
    /// without samples are left out.
    pub fn micro_batches<'a, T>(&self, batch: &'a [T]) -> impl Iterator<Item = &'a [T]> + use<'a, 'r, T, R> {
        let (rank, size) = (self.ranks.rank(), self.ranks.size());
        let parts = self.parts();
        range_of_part(parts, rank, size)
            .map(move |n| part(batch, n, parts))
            .filter(|micro_batch| !micro_batch.is_empty())
    }

    /// Adds the gradients of a micro-batch and zeroes them. `loss` is the mean loss of its `samples` samples. Nothing is sent
    /// yet. A micro-batch without samples is left out.
    ///
    /// # Errors
    ///
    /// The number of gradients has changed. In the reproducible mode, all micro-batches of this rank were added already.
    /// Errors of the framework.
    #[expect(clippy::needless_pass_by_value, reason = "a number")]
    pub fn add<M, G: GradientsOf<M>>(
        &mut self,
        model: &M,
        gradients: &mut G,
        loss: impl ToPrimitive,
        samples: usize,
    ) -> Result<(), AverageError<G::Error>> {
        self.collect(model, gradients, loss.to_f64().unwrap_or(f64::NAN), samples)?;
        gradients.zero(model).map_err(AverageError::Device)
    }

    /// The value to pass to [`apply`](crate::CyclicOptimizer::apply) as the loss of the last micro-batch of an update, or of the
    /// only one. `apply` then adds this micro-batch and averages all of them.
    ///
    /// With one process and one micro-batch this is the same as passing the loss itself, and costs nothing.
    ///
    /// ```
    /// # #[cfg(feature = "dfdx")] {
    /// use cyclic_optim::training::{Accumulator, Ranks, Threads};
    /// use cyclic_optim::{Constant, CyclicOptimizer, Sgd, UpdateError};
    /// use dfdx::prelude::{AsArray, Backward, Cpu, Rank0, Tensor, TensorFrom, Trace, ZeroGrads};
    ///
    /// // Rank 0 trains on 1, 1 and 1, rank 1 on 5: the mean is 2.
    /// let trained = Threads::run(2, |ranks| {
    ///     let (target, samples) = [(1.0, 3), (5.0, 1)][ranks.rank()];
    ///     let mut w: Tensor<Rank0, f32, _> = Cpu::default().tensor(0.0);
    ///     let mut grads = w.alloc_grads();
    ///     let mut optimizer = CyclicOptimizer::new(Sgd::default(), Constant::new(0.25).unwrap());
    ///     let mut sum = Accumulator::on(ranks);
    ///     for _ in 0..30 {
    ///         let loss = (w.trace(grads) - target).square();
    ///         let value = loss.array();
    ///         grads = loss.backward();
    ///         optimizer.apply(&mut w, &mut grads, sum.with(value, samples))?;
    ///     }
    ///     Ok::<_, UpdateError<_>>(w.array())
    /// });
    /// let trained = trained.unwrap();
    /// assert!((trained[0] - 2.0).abs() < 1e-5);
    /// assert_eq!(trained[0].to_bits(), trained[1].to_bits());
    /// # }
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "a number")]
    pub fn with(&mut self, loss: impl ToPrimitive, samples: usize) -> LastMicroBatch<'_, 'r, R> {
        LastMicroBatch { loss: loss.to_f64().unwrap_or(f64::NAN), samples, accumulator: self }
    }

    /// Writes the average over all micro-batches and ranks into the gradients, returns the average loss, and empties the
    /// accumulator. [`apply`](crate::CyclicOptimizer::apply) calls this itself; in a range test on several ranks, call it
    /// after the backward pass.
    ///
    /// # Errors
    ///
    /// No rank has samples. The ranks do not have the same number of gradients or of micro-batches. A rank has left the run.
    /// Errors of the framework.
    pub fn average<M, G: GradientsOf<M>>(
        &mut self,
        model: &M,
        gradients: &mut G,
    ) -> Result<f64, AverageError<G::Error>> {
        self.average_with(None, model, gradients)
    }

    /// As `average`. If `in_place` is given, nothing was added: the gradients of this rank are still in `gradients`, and
    /// `in_place` has their number of samples and their loss.
    fn average_with<M, G: GradientsOf<M>>(
        &mut self,
        in_place: Option<(f64, f64)>,
        model: &M,
        gradients: &mut G,
    ) -> Result<f64, AverageError<G::Error>> {
        let (mut length, mut tensors, mut layout) = (0, 0, 0);
        gradients.fill_missing(model).map_err(AverageError::Device)?;
        gradients
            .for_each(model, true, |values| {
                length += values.len();
                tensors += 1;
                // Differs if the same number of gradients is divided into tensors in another way.
                layout = (layout * 31 + values.len() % 1_000_003) % 1_000_003;
                false
            })
            .map_err(AverageError::Device)?;
        self.agree(length, tensors, layout)?;
        let places = self.parts().div_ceil(self.ranks.size());
        let Self { ranks, reproducible, added, single, double, .. } = self;
        let job = Job { ranks: *ranks, added, length, model };
        let loss = match (is_double::<G::Element>(), *reproducible) {
            (true, true) => double.average_in_order(&job, places, gradients),
            (true, false) => double.average_of_sums(&job, in_place, gradients),
            (false, true) => single.average_in_order(&job, places, gradients),
            (false, false) => single.average_of_sums(&job, in_place, gradients),
        };
        self.added.clear();
        loss
    }

    /// Takes the gradients of a micro-batch.
    fn collect<M, G: GradientsOf<M>>(
        &mut self,
        model: &M,
        gradients: &mut G,
        loss: f64,
        samples: usize,
    ) -> Result<(), AverageError<G::Error>> {
        if samples == 0 {
            return Ok(());
        }
        let planned = range_of_part(self.parts(), self.ranks.rank(), self.ranks.size()).len();
        if self.reproducible && self.added.len() >= planned {
            return Err(AverageError::TooManyMicroBatches { planned });
        }
        gradients.fill_missing(model).map_err(AverageError::Device)?;
        let samples = numeric::float(samples as u64);
        let weight = if self.reproducible { 1.0 } else { samples };
        let (found, expected) = if is_double::<G::Element>() {
            self.double.collect(model, gradients, weight, self.added.len(), self.reproducible)
        } else {
            self.single.collect(model, gradients, Wide::from_double(weight), self.added.len(), self.reproducible)
        }
        .map_err(AverageError::Device)?;
        if found != expected {
            self.added.clear();
            return Err(AverageError::OtherGradients { found, expected });
        }
        self.added.push((samples, loss));
        Ok(())
    }

    fn parts(&self) -> usize {
        self.micro_batches.unwrap_or(self.ranks.size())
    }

    /// Checks in the first update that the ranks train the same model in the same way.
    fn agree(&mut self, length: usize, tensors: usize, layout: usize) -> Result<(), RanksError> {
        if let Some(first) = self.agreed {
            let rank = self.ranks.rank();
            let different = RanksError::Different { what: "gradients", rank, value: length, first };
            return if first == length { Ok(()) } else { Err(different) };
        }
        let facts = [
            ("gradients", length),
            ("tensors with gradients", tensors),
            ("as the checksum of their sizes", layout),
            ("micro-batches for each update", self.parts()),
            ("reproducible sums", usize::from(self.reproducible)),
        ];
        let mine = facts.map(|(_, fact)| numeric::float(fact as u64));
        let mut all = vec![0.0; mine.len() * self.ranks.size()];
        self.ranks.gather_f64(&mine, &mut all)?;
        for (rank, facts_of_rank) in all.chunks_exact(mine.len()).enumerate() {
            for ((what, _), (value, first)) in facts.iter().zip(facts_of_rank.iter().zip(&all)) {
                if value != first {
                    let count = |number: &f64| number.to_usize().unwrap_or(usize::MAX);
                    return Err(RanksError::Different { what, rank, value: count(value), first: count(first) });
                }
            }
        }
        self.agreed = Some(length);
        Ok(())
    }
}

impl<M, G: GradientsOf<M>, R: Ranks> BatchLoss<M, G> for &mut Accumulator<'_, R> {
    const SUMMED: bool = true;

    fn average(self, model: &M, gradients: &mut G) -> Result<f64, AverageError<G::Error>> {
        Accumulator::average(self, model, gradients)
    }
}

/// The last micro-batch of an update, from [`Accumulator::with`].
#[derive(Debug)]
#[must_use = "it is added by `apply`"]
pub struct LastMicroBatch<'a, 'r, R> {
    accumulator: &'a mut Accumulator<'r, R>,
    loss: f64,
    samples: usize,
}

impl<M, G: GradientsOf<M>, R: Ranks> BatchLoss<M, G> for LastMicroBatch<'_, '_, R> {
    const SUMMED: bool = true;

    fn average(self, model: &M, gradients: &mut G) -> Result<f64, AverageError<G::Error>> {
        let Self { accumulator, loss, samples } = self;
        let plain = accumulator.added.is_empty() && !accumulator.reproducible && accumulator.ranks.size() == 1;
        if plain && samples > 0 {
            return Ok(loss);
        }
        if accumulator.added.is_empty() && !accumulator.reproducible {
            return accumulator.average_with(Some((numeric::float(samples as u64), loss)), model, gradients);
        }
        accumulator.collect(model, gradients, loss, samples)?;
        accumulator.average(model, gradients)
    }
}

/// What [`apply`](crate::CyclicOptimizer::apply) takes as the loss: a number, or an [`Accumulator`] with the losses and the
/// gradients of several micro-batches.
pub trait BatchLoss<M, G: GradientsOf<M>> {
    /// Whether the gradients are a sum over micro-batches, which is dropped when the update is refused.
    const SUMMED: bool;

    /// Returns the mean loss, and writes the mean gradients into `gradients`.
    ///
    /// # Errors
    ///
    /// See [`AverageError`].
    fn average(self, model: &M, gradients: &mut G) -> Result<f64, AverageError<G::Error>>;
}

impl<T: ToPrimitive, M, G: GradientsOf<M>> BatchLoss<M, G> for T {
    const SUMMED: bool = false;

    #[inline]
    fn average(self, _: &M, _: &mut G) -> Result<f64, AverageError<G::Error>> {
        Ok(self.to_f64().unwrap_or(f64::NAN))
    }
}
