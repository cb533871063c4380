//! What the ranks exchange in an update, and how it is added up.

#![expect(clippy::inline_always, reason = "only what is inlined is compiled for the processor")]

use alloc::vec;
use alloc::vec::Vec;

use num_traits::float::FloatCore;
use thiserror::Error;

use super::gradients::{Element, GradientsOf};
use super::ranks::{Ranks, RanksError};
use super::wide::{self, Kernel};

/// Why the gradients of an update were not averaged.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum AverageError<Err> {
    /// No rank has added a micro-batch with samples.
    #[error("the update has no samples: no rank has added a micro-batch")]
    NoSamples,
    /// More micro-batches were added than planned. The reproducible mode adds them in a fixed order, so each rank has a
    /// fixed number.
    #[error("one micro-batch too many was added: this rank has {planned} in each update")]
    TooManyMicroBatches {
        /// The number of micro-batches of this rank.
        planned: usize,
    },
    /// A micro-batch has another number of gradients than the one before.
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

/// The precision in which gradients are added and sent: single for gradients of up to 32 bits, double for longer ones.
pub(super) trait Wide: FloatCore + 'static {
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
    fn run<const FMA: bool>(self) {
        for (sum, &value) in self.sums.iter_mut().zip(self.values) {
            *sum = self.weight * T::of(value);
        }
    }
}

/// Writes weighted gradients. A weight of 0 gives zeros, even if the gradients are not finite.
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
    fn run<const FMA: bool>(self) {
        for (sum, &value) in self.sums.iter_mut().zip(self.values) {
            *sum = *sum + self.weight * T::of(value);
        }
    }
}

/// Turns sums into gradients.
struct Scale<'a, E, T> {
    sums: &'a [T],
    factor: T,
    values: &'a mut [E],
}

impl<E: Element, T: Wide> Kernel for Scale<'_, E, T> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (value, &sum) in self.values.iter_mut().zip(self.sums) {
            *value = (sum * self.factor).to().unwrap_or(*value);
        }
    }
}

pub(super) fn is_double<E>() -> bool {
    size_of::<E>() > size_of::<f32>()
}

/// How many numbers are exchanged at a time: few enough to stay in the processor's cache between the steps. Tensors with
/// fewer numbers are sent together, in one list.
const PIECE: usize = 1 << 16;

/// The weighted loss and the samples begin the list of the small tensors.
const HEADER: usize = 2;

/// What is to be averaged.
pub(super) struct Job<'a, R, M> {
    pub(super) ranks: &'a R,
    /// The number of samples and the mean loss of each micro-batch of this rank.
    pub(super) added: &'a [(f64, f64)],
    /// The number of all gradients.
    pub(super) length: usize,
    pub(super) model: &'a M,
}

/// The lists of numbers, kept from one update to the next so that they are allocated only once.
#[derive(Debug, Clone, Default)]
pub(super) struct Lists<T> {
    /// The sum of the micro-batches of this rank, or in the reproducible mode their gradients, one after the other.
    mine: Vec<T>,
    /// How much of `mine` belongs to the present update.
    filled: usize,
    /// What is sent.
    sent: Vec<T>,
    /// The sums over all ranks, or in the reproducible mode the numbers of all ranks, one after the other.
    received: Vec<T>,
    /// A piece of a large tensor.
    piece: Vec<T>,
}

impl<T: Wide> Lists<T> {
    /// Takes the gradients of a micro-batch, multiplied by `weight`, after `added` other micro-batches. With `beside`
    /// they are stored after the others, otherwise they are added to them. Returns their number, and the number that
    /// each earlier micro-batch had.
    pub(super) fn collect<M, G: GradientsOf<M>>(
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

    /// Fills the list up to `length` numbers with zeros.
    fn fill_up(&mut self, length: usize, added: usize) {
        self.mine.truncate(if added == 0 { 0 } else { self.filled });
        self.mine.resize(length, T::zero());
    }

    /// Writes the means over all ranks into the gradients and returns the mean loss. The implementation of [`Ranks`] decides
    /// in which order the numbers of the ranks are added.
    pub(super) fn average_of_sums<M, G: GradientsOf<M>>(
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
    pub(super) fn average_in_order<M, G: GradientsOf<M>>(
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
