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
/// Of micro-batches with `n` samples each, whose mean loss and its gradients are `loss` and `g`, over all ranks:
///
/// ```text
/// gradients = sum of n g / sum of n
/// loss      = sum of n loss / sum of n
/// ```
///
/// This is what one batch of all the samples would give, up to rounding. Micro-batches need not be equal, and a rank may have
/// none.
///
/// # One update
///
/// [`add`](Self::add) each micro-batch after its backward pass, then give the accumulator to
/// [`apply`](crate::CyclicOptimizer::apply) as the loss. [`with`](Self::with) does both for the last micro-batch, or the only
/// one; on a run of one process that is then just the plain update.
///
/// In each update the ranks exchange one list of numbers: the loss, the number of samples and the gradients. Tensors of 65,536
/// numbers or more follow by themselves, in pieces. What `apply` does after that (guard, clipping, schedule, history) sees the
/// same bits on every rank, so every rank decides alike. The schedule counts updates, not micro-batches.
///
/// A NaN or an infinity in any micro-batch of any rank is in the sum of all ranks, so all of them refuse the update alike. The
/// sum is then dropped and the gradients are zeroed, so the next update starts afresh.
///
/// # Missing gradients
///
/// A parameter that a micro-batch did not use counts as zeros there. Through an accumulator missing gradients are not
/// reported: a plain `apply` does that.
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
    /// The micro-batches of one update over all ranks; one for each rank if it was not set.
    micro_batches: Option<usize>,
    reproducible: bool,
    /// The micro-batches that were added since the last update: samples and loss of each.
    added: Vec<(f64, f64)>,
    /// The length of the gradients of this model, on all ranks. Known after the first update.
    agreed: Option<usize>,
    single: Lists<f32>,
    double: Lists<f64>,
}

impl Accumulator<'static> {
    /// For a run of one process, to make one update out of several micro-batches.
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
    /// For a run of several ranks: gradients are averaged over all of them.
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

    /// Divides each batch into so many micro-batches, over all ranks together: [`micro_batches`](Self::micro_batches) returns
    /// those of this rank. Without this, each rank has one.
    ///
    /// # Errors
    ///
    /// 0 micro-batches.
    pub fn with_micro_batches(mut self, micro_batches: usize) -> Result<Self, ConfigError> {
        check::length("micro_batches", micro_batches as u64)?;
        self.micro_batches = Some(micro_batches);
        Ok(self)
    }

    /// The same bits for any number of ranks: divides each batch into so many micro-batches over all ranks, keeps their
    /// gradients apart, and adds them in a fixed order in f64, with one rounding at the end.
    ///
    /// With `K` micro-batches, the gradients that travel are `K / 2` times those of the usual sum, and each rank keeps its share
    /// of the `K` gradients in memory. Each tensor travels by itself. So take the largest number of ranks that the run shall have, and no more. Use
    /// [`micro_batches`](Self::micro_batches) and add each of them by itself.
    ///
    /// The gradients of a micro-batch must not depend on the number of ranks either. dfdx's do not, if batch normalisation and
    /// dropout are not used.
    ///
    /// # Errors
    ///
    /// 0 micro-batches.
    pub fn reproducible(self, micro_batches: usize) -> Result<Self, ConfigError> {
        Ok(Self { reproducible: true, ..self.with_micro_batches(micro_batches)? })
    }

    /// The micro-batches of this rank out of a batch of all ranks, without those that have no samples.
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
    /// The number of the gradients is another one than before. In the reproducible mode: all micro-batches of this rank were
    /// added already. Those of the framework.
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

    /// What to give to [`apply`](crate::CyclicOptimizer::apply) as the loss of the last micro-batch of an update, or of the only
    /// one. It is added and everything is averaged.
    ///
    /// On a run of one process with one micro-batch this is the plain update, and costs nothing.
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

    /// Writes the average over all micro-batches and ranks into the gradients, and returns the average loss. Then the
    /// accumulator is empty again. [`apply`](crate::CyclicOptimizer::apply) does this by itself; a range test on several ranks
    /// calls it after the backward pass.
    ///
    /// # Errors
    ///
    /// No rank has samples. The ranks do not have the same number of gradients or of micro-batches. A rank has left. Those of
    /// the framework.
    pub fn average<M, G: GradientsOf<M>>(
        &mut self,
        model: &M,
        gradients: &mut G,
    ) -> Result<f64, AverageError<G::Error>> {
        self.average_with(None, model, gradients)
    }

    /// As `average`. With `in_place`, nothing was added: the gradients of this rank are in `gradients`, and these are its samples
    /// and its loss.
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
                // Differs if the same numbers are divided otherwise.
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

    /// Checks, once for all, that the ranks train the same model in the same way.
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
    /// Whether the gradients are a sum of several, which is dropped when the update is refused.
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
