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

/// The precision in which gradients are added and sent: single for those of up to 32 bits, double for others.
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

pub(super) fn is_double<E>() -> bool {
    size_of::<E>() > size_of::<f32>()
}

/// So many numbers are exchanged at a time, so that they stay in the processor's cache between the steps. Tensors of fewer
/// numbers travel together, in one list.
const PIECE: usize = 1 << 16;

/// The weighted loss and the samples begin the list of the small tensors.
const HEADER: usize = 2;

/// What is to be averaged.
pub(super) struct Job<'a, R, M> {
    pub(super) ranks: &'a R,
    /// Samples and mean loss of the micro-batches of this rank.
    pub(super) added: &'a [(f64, f64)],
    /// The number of all gradients.
    pub(super) length: usize,
    pub(super) model: &'a M,
}

/// The lists that are kept from one update to the next, so that they are allocated once.
#[derive(Debug, Clone, Default)]
pub(super) struct Lists<T> {
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

    /// Sets what was not filled to zeros, up to `length` numbers.
    fn fill_up(&mut self, length: usize, added: usize) {
        self.mine.truncate(if added == 0 { 0 } else { self.filled });
        self.mine.resize(length, T::zero());
    }

    /// Writes the means over all ranks into the gradients and returns the mean loss. Each number is added up over the ranks in
    /// the order of the library.
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
