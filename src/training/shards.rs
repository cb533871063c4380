//! The order of an epoch, and the parts of a batch.

use alloc::vec::Vec;
use core::ops::Range;

use crate::check;
use crate::error::ConfigError;

/// The batches of each epoch, in an order that depends only on the seed and the epoch. So every rank has the same plan, and a
/// resumed run continues at the right place.
///
/// Each rank takes its [`share`](super::Ranks::share) of each batch. So every rank makes the same number of updates, each
/// sample is used once in an epoch, and the shares of a batch differ by at most one sample. The last batch of an epoch may be
/// smaller. If it has fewer samples than there are ranks, some ranks have none.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "std")] {
/// use cyclic_optim::training::{RanksError, Ranks, ShardPlan, Threads};
///
/// let plan = ShardPlan::new(10, 4, 7)?;
/// assert_eq!(plan.batches_per_epoch(), 3);
/// let shares = Threads::run(2, |ranks| {
///     Ok::<_, RanksError>(plan.batches(0).map(|batch| ranks.share(&batch).to_vec()).collect::<Vec<_>>())
/// })?;
/// let lengths: Vec<Vec<usize>> = shares.iter().map(|rank| rank.iter().map(Vec::len).collect()).collect();
/// assert_eq!(lengths, [[2, 2, 1], [2, 2, 1]]);
/// let mut all = shares.concat().concat();
/// all.sort();
/// assert_eq!(all, (0..10).collect::<Vec<_>>());
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardPlan {
    samples: usize,
    batch: usize,
    seed: u64,
}

impl ShardPlan {
    /// Plans epochs of `samples` samples in batches of `batch`, over all ranks together.
    ///
    /// # Errors
    ///
    /// No samples, or batches of none.
    pub fn new(samples: usize, batch: usize, seed: u64) -> Result<Self, ConfigError> {
        check::length("samples", samples as u64)?;
        check::length("batch", batch as u64)?;
        Ok(Self { samples, batch, seed })
    }

    /// The number of batches, which is the number of updates, in an epoch.
    #[must_use]
    pub fn batches_per_epoch(&self) -> usize {
        self.samples.div_ceil(self.batch)
    }

    /// The samples of an epoch in their order: a shuffle of 0 to `samples`.
    #[must_use]
    pub fn order(&self, epoch: u64) -> Vec<usize> {
        let mut random = SplitMix64(SplitMix64(self.seed).next() ^ epoch);
        let mut order: Vec<usize> = (0..self.samples).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, random.up_to(last));
        }
        order
    }

    /// The batches of an epoch, over all ranks.
    pub fn batches(&self, epoch: u64) -> impl Iterator<Item = Vec<usize>> + use<> {
        let (order, batch) = (self.order(epoch), self.batch);
        (0..order.len()).step_by(batch).map(move |start| order[start..(start + batch).min(order.len())].to_vec())
    }
}

/// The `n`-th of `parts` parts of a list. They are disjoint, cover it, and differ by at most one in length.
pub(super) fn part<T>(all: &[T], n: usize, parts: usize) -> &[T] {
    &all[range_of_part(all.len(), n, parts)]
}

/// Where the `n`-th of `parts` parts of a list lies.
pub(super) fn range_of_part(length: usize, n: usize, parts: usize) -> Range<usize> {
    // Computed in u128, because the product may overflow. The quotient is at most the length.
    let start = |n: usize| usize::try_from(length as u128 * n as u128 / parts as u128).unwrap_or(length);
    start(n)..start(n + 1)
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `last`.
    fn up_to(&mut self, last: usize) -> usize {
        usize::try_from((u128::from(self.next()) * (last as u128 + 1)) >> 64).unwrap_or(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the reference implementation, <https://prng.di.unimi.it/splitmix64.c>, with the seed 1234567.
    #[test]
    fn the_generator_gives_the_published_numbers() {
        let mut random = SplitMix64(1_234_567);
        let numbers = [(); 3].map(|()| random.next());
        assert_eq!(numbers, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn parts_are_disjoint_and_cover_all() {
        for length in [0, 1, 2, 3, 7, 16, 100] {
            let all: Vec<usize> = (0..length).collect();
            for parts in 1..9 {
                let shares: Vec<&[usize]> = (0..parts).map(|n| part(&all, n, parts)).collect();
                assert_eq!(shares.concat(), all);
                assert!(shares.iter().all(|share| share.len() - length / parts <= 1), "{length} in {parts}");
            }
        }
    }

    #[test]
    fn a_plan_needs_samples() {
        let too_small = |field| ConfigError::TooSmall { field, value: 0, minimum: 1 };
        assert_eq!(ShardPlan::new(0, 4, 0), Err(too_small("samples")));
        assert_eq!(ShardPlan::new(4, 0, 0), Err(too_small("batch")));
    }

    #[test]
    fn an_epoch_is_a_function_of_seed_and_epoch() {
        let plan = |seed| ShardPlan::new(100, 8, seed).unwrap();
        assert_eq!(plan(1).order(3), plan(1).order(3));
        assert_ne!(plan(1).order(3), plan(1).order(4));
        assert_ne!(plan(1).order(3), plan(2).order(3));
        let mut sorted = plan(5).order(9);
        assert_eq!(plan(5).batches(9).collect::<Vec<_>>().concat(), sorted);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        // Pinned: a run that is resumed with a later version must find the same order.
        assert_eq!(ShardPlan::new(6, 2, 7).unwrap().order(1), [3, 0, 2, 5, 4, 1]);
    }
}
