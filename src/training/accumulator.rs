//! One update from several micro-batches, on one rank or several.

#![expect(clippy::inline_always, reason = "only what is inlined is compiled for the processor")]

use alloc::vec;
use alloc::vec::Vec;

use num_traits::ToPrimitive;
use num_traits::float::FloatCore;
use thiserror::Error;

use super::gradients::{Element, GradientsOf};
use super::ranks::{Alone, Ranks, RanksError};
use super::shards::{part, range_of_part};
use super::wide::{self, Kernel};
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

/// Why the gradients of an update were not averaged.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum AverageError<Err> {
    /// No rank has added a micro-batch with samples.
    #[error("the update has no samples: no rank has added a micro-batch")]
    NoSamples,
    /// The reproducible mode adds the micro-batches in a fixed order, so each rank has a fixed number of places for them.
    #[error("this rank has {planned} of the micro-batches of an update, and one more was added")]
    TooManyMicroBatches {
        /// The number of micro-batches of this rank.
        planned: usize,
    },
    /// The gradients of a micro-batch are not as many as those of the one before.
    #[error("a micro-batch has {found} gradients, and the one before had {expected}")]
    OtherGradients {
        /// Their number.
        found: usize,
        /// The number before.
        expected: usize,
    },
    /// Something went wrong between the ranks.
    #[error(transparent)]
    Ranks(#[from] RanksError),
    /// The device or the framework failed.
    #[error("the device failed: {0}")]
    Device(Err),
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

/// The precision in which gradients are added and sent: single for those of up to 32 bits, double for others.
trait Wide: FloatCore + 'static {
    fn of<E: Element>(number: E) -> Self;
    fn to<E: Element>(self) -> Option<E>;
    fn from_double(number: f64) -> Self;
    fn sum(ranks: &impl Ranks, mine: &[Self], sum: &mut [Self]) -> Result<(), RanksError>;
    fn gather(ranks: &impl Ranks, mine: &[Self], all: &mut [Self]) -> Result<(), RanksError>;
}

macro_rules! wide {
    ($($number:ident: $to:ident, $from:ident, $sum:ident, $gather:ident;)+) => {$(
        impl Wide for $number {
            #[inline(always)]
            fn of<E: Element>(number: E) -> Self {
                number.$to().unwrap_or(Self::NAN)
            }

            #[inline(always)]
            fn to<E: Element>(self) -> Option<E> {
                E::$from(self)
            }

            #[allow(clippy::cast_possible_truncation, reason = "rounds, as it should")]
            fn from_double(number: f64) -> Self {
                number as Self
            }

            fn sum(ranks: &impl Ranks, mine: &[Self], sum: &mut [Self]) -> Result<(), RanksError> {
                ranks.$sum(mine, sum)
            }

            fn gather(ranks: &impl Ranks, mine: &[Self], all: &mut [Self]) -> Result<(), RanksError> {
                ranks.$gather(mine, all)
            }
        }
    )+};
}

wide! {
    f32: to_f32, from_f32, sum_f32, gather_f32;
    f64: to_f64, from_f64, sum_f64, gather_f64;
}

/// Writes weighted gradients.
struct Weigh<'a, E, T> {
    values: &'a [E],
    weight: T,
    sums: &'a mut [T],
}

impl<E: Element, T: Wide> Kernel for Weigh<'_, E, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (sum, &value) in self.sums.iter_mut().zip(self.values) {
            *sum = self.weight * T::of(value);
        }
    }
}

/// Without a weight there is nothing, whatever the gradients are.
fn weigh<E: Element, T: Wide>(values: &[E], weight: T, sums: &mut [T]) {
    if weight.is_zero() {
        sums.fill(T::zero());
    } else {
        wide::run(Weigh { values, weight, sums });
    }
}

/// Adds weighted gradients.
struct AddWeighed<'a, E, T> {
    values: &'a [E],
    weight: T,
    sums: &'a mut [T],
}

impl<E: Element, T: Wide> Kernel for AddWeighed<'_, E, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (sum, &value) in self.sums.iter_mut().zip(self.values) {
            *sum = *sum + self.weight * T::of(value);
        }
    }
}

/// Makes gradients out of sums.
struct Scale<'a, E, T> {
    sums: &'a [T],
    factor: T,
    values: &'a mut [E],
}

impl<E: Element, T: Wide> Kernel for Scale<'_, E, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (value, &sum) in self.values.iter_mut().zip(self.sums) {
            *value = (sum * self.factor).to().unwrap_or(*value);
        }
    }
}

fn is_double<E>() -> bool {
    size_of::<E>() > size_of::<f32>()
}

/// So many numbers are exchanged at a time, so that they stay in the processor's cache between the steps. Tensors of fewer
/// numbers travel together, in one list.
const PIECE: usize = 1 << 16;

/// The weighted loss and the samples begin the list of the small tensors.
const HEADER: usize = 2;

/// What is to be averaged.
struct Job<'a, R, M> {
    ranks: &'a R,
    added: &'a [(f64, f64)],
    length: usize,
    model: &'a M,
}

/// The lists that are kept from one update to the next, so that they are allocated once.
#[derive(Debug, Clone, Default)]
struct Lists<T> {
    /// The sum of the micro-batches of this rank; in the reproducible mode their gradients, one after the other.
    mine: Vec<T>,
    /// How much of `mine` belongs to the present update.
    filled: usize,
    /// What is sent.
    sent: Vec<T>,
    /// What all ranks have together.
    received: Vec<T>,
    /// A piece of a large tensor.
    piece: Vec<T>,
}

impl<T: Wide> Lists<T> {
    /// Takes the gradients of a micro-batch after `added` others, multiplied by `weight`: added to them, or beside them.
    /// Returns their number, and that of the micro-batches before.
    fn collect<M, G: GradientsOf<M>>(
        &mut self,
        model: &M,
        gradients: &mut G,
        weight: T,
        added: usize,
        beside: bool,
    ) -> Result<(usize, usize), G::Error> {
        if added == 0 {
            self.filled = 0;
        }
        let Self { mine, filled, .. } = self;
        let start = if beside { *filled } else { 0 };
        let mut end = start;
        gradients.for_each(model, true, |values| {
            let from = end;
            end += values.len();
            if mine.len() < end {
                mine.resize(end, T::zero());
            }
            let sums = &mut mine[from..end];
            if beside || added == 0 {
                weigh(values, weight, sums);
            } else {
                wide::run(AddWeighed { values, weight, sums });
            }
            false
        })?;
        let found = end - start;
        let expected = match (added, beside) {
            (0, _) => found,
            (_, false) => *filled,
            (_, true) => *filled / added,
        };
        *filled = (*filled).max(end);
        Ok((found, expected))
    }

    /// Sets what was not filled to zeros, up to `length` numbers.
    fn fill_up(&mut self, length: usize, added: usize) {
        self.mine.truncate(if added == 0 { 0 } else { self.filled });
        self.mine.resize(length, T::zero());
    }

    /// Writes the means over all ranks into the gradients and returns the mean loss. Each number is added up over the ranks in
    /// the order of the library.
    fn average_of_sums<M, G: GradientsOf<M>>(
        &mut self,
        job: &Job<impl Ranks, M>,
        in_place: Option<(f64, f64)>,
        gradients: &mut G,
    ) -> Result<f64, AverageError<G::Error>> {
        let &Job { ranks, added, length, model } = job;
        if in_place.is_none() {
            self.fill_up(length, added.len());
        }
        let Self { mine, sent, received, piece, .. } = self;
        let one = in_place.as_slice();
        let of_rank = if in_place.is_some() { one } else { added };
        let weight = in_place.map(|(samples, _)| T::from_double(samples));
        let weighted = |&(samples, loss): &(f64, f64)| if samples > 0.0 { samples * loss } else { 0.0 };

        sent.clear();
        sent.push(T::from_double(of_rank.iter().map(weighted).sum()));
        sent.push(T::from_double(of_rank.iter().map(|(samples, _)| samples).sum()));
        let mut at = 0;
        gradients
            .for_each(model, true, |values| {
                let (start, end) = (at, at + values.len());
                at = end;
                if values.len() < PIECE {
                    let from = sent.len();
                    match weight {
                        Some(weight) => {
                            sent.resize(from + values.len(), T::zero());
                            weigh(values, weight, &mut sent[from..]);
                        }
                        None => sent.extend_from_slice(&mine[start..end]),
                    }
                }
                false
            })
            .map_err(AverageError::Device)?;
        received.resize(sent.len(), T::zero());
        for (sent, received) in sent.chunks(PIECE).zip(received.chunks_mut(PIECE)) {
            T::sum(ranks, sent, received)?;
        }
        let number = |at: usize| received[at].to_f64().unwrap_or(f64::NAN);
        let (loss, samples) = (number(0), number(1));
        if samples == 0.0 {
            return Err(AverageError::NoSamples);
        }

        let factor = T::from_double(1.0 / samples);
        let (mut at, mut small, mut result) = (0, HEADER, Ok(()));
        gradients
            .for_each(model, true, |values| {
                if values.len() < PIECE {
                    at += values.len();
                    let sums = &received[small..small + values.len()];
                    small += values.len();
                    wide::run(Scale { sums, factor, values });
                    return true;
                }
                for values in values.chunks_mut(PIECE) {
                    let start = at;
                    at += values.len();
                    let sent = match weight {
                        Some(weight) => {
                            sent.resize(values.len(), T::zero());
                            weigh(values, weight, sent);
                            &sent[..]
                        }
                        None => &mine[start..at],
                    };
                    piece.resize(values.len(), T::zero());
                    if result.is_ok() {
                        result = T::sum(ranks, sent, piece);
                        wide::run(Scale { sums: piece, factor, values });
                    }
                }
                true
            })
            .map_err(AverageError::Device)?;
        result?;
        Ok(loss / samples)
    }

    /// The micro-batches of all ranks are added in their order in f64, whatever the number of ranks.
    fn average_in_order<M, G: GradientsOf<M>>(
        &mut self,
        job: &Job<impl Ranks, M>,
        places: usize,
        gradients: &mut G,
    ) -> Result<f64, AverageError<G::Error>> {
        let &Job { ranks, added, length, model } = job;
        let mut own: Vec<f64> = added.iter().flat_map(|&(samples, loss)| [samples, loss]).collect();
        own.resize(2 * places, 0.0);
        let mut facts = vec![0.0; 2 * places * ranks.size()];
        ranks.gather_f64(&own, &mut facts)?;
        let facts: Vec<(f64, f64)> = facts.chunks_exact(2).map(|fact| (fact[0], fact[1])).collect();
        let loss: f64 = facts.iter().map(|(samples, loss)| samples * loss).sum();
        let samples: f64 = facts.iter().map(|(samples, _)| samples).sum();
        if samples == 0.0 {
            return Err(AverageError::NoSamples);
        }

        self.fill_up(length * places, added.len());
        let Self { mine, sent, received, piece, .. } = self;
        let (mut at, mut sums, mut result) = (0, Vec::new(), Ok(()));
        gradients
            .for_each(model, true, |values| {
                for values in values.chunks_mut(PIECE) {
                    sent.clear();
                    for place in 0..places {
                        sent.extend_from_slice(&mine[place * length + at..][..values.len()]);
                    }
                    at += values.len();
                    received.resize(sent.len() * ranks.size(), T::zero());
                    if result.is_ok() {
                        result = T::gather(ranks, sent, received);
                    }
                    sums.clear();
                    sums.resize(values.len(), 0.0);
                    for (numbers, (samples, _)) in received.chunks_exact(values.len()).zip(&facts) {
                        for (sum, number) in sums.iter_mut().zip(numbers) {
                            *sum += samples * number.to_f64().unwrap_or(f64::NAN);
                        }
                    }
                    piece.clear();
                    piece.extend(sums.iter().map(|sum| T::from_double(sum / samples)));
                    wide::run(Scale { sums: piece, factor: T::one(), values });
                }
                true
            })
            .map_err(AverageError::Device)?;
        result?;
        Ok(loss / samples)
    }
}
