//! Threads of one process as ranks.

use core::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use thiserror::Error;

use super::ranks::{Ranks, RanksError};

/// Threads of one process as the ranks of a run: for one machine without MPI, and for tests.
///
/// Sums are computed in the order of the ranks, so they have the same bits on every rank and in every run.
///
/// dfdx's matrix multiplication uses a pool of threads that all ranks share. Set `RAYON_NUM_THREADS=1`, because otherwise the
/// pool alone occupies all cores.
///
/// # Examples
///
/// ```
/// use cyclic_optim::training::{Ranks, RanksError, Threads};
///
/// let sums = Threads::run(4, |ranks| {
///     let mut sum = [0.0];
///     ranks.sum_f64(&[ranks.rank() as f64], &mut sum)?;
///     Ok::<_, RanksError>(sum[0])
/// })?;
/// assert_eq!(sums, [6.0; 4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    meeting: Arc<Meeting>,
}

/// Why a run of several threads has no result.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ThreadsError<E> {
    /// A rank returned an error. It was the first; the others ended because of it.
    #[error("rank {rank}: {error}")]
    Failed {
        /// The rank.
        rank: usize,
        /// Its error.
        error: E,
    },
    /// A rank panicked. The others ended because of it.
    #[error("rank {rank} panicked: {message}")]
    Panicked {
        /// The rank.
        rank: usize,
        /// The message of the panic, if it is a text.
        message: String,
    },
    /// There are 0 ranks.
    #[error("a run needs at least 1 rank, got 0")]
    NoRanks,
}

impl Threads {
    /// Runs `main` on this number of threads, one for each rank, and returns the results in the order of the ranks.
    ///
    /// When a rank returns an error or panics, every collective operation of the others fails with [`RanksError::Left`], so
    /// no rank waits forever.
    ///
    /// # Errors
    ///
    /// The error or the panic of the first rank that ended early. 0 ranks.
    pub fn run<T: Send, E: Send>(
        ranks: usize,
        main: impl Fn(&Self) -> Result<T, E> + Sync,
    ) -> Result<Vec<T>, ThreadsError<E>> {
        if ranks == 0 {
            return Err(ThreadsError::NoRanks);
        }
        let meeting = Arc::new(Meeting {
            table: Mutex::new(Table { given: vec![None; ranks], collected: Vec::new(), round: 0, left: None }),
            changed: Condvar::new(),
        });
        let results: Vec<Result<T, ThreadsError<E>>> = thread::scope(|scope| {
            let run_one = |rank: usize| {
                let own = Self { rank, meeting: Arc::clone(&meeting) };
                // After a panic nothing that `main` has touched is used any more.
                let result = match catch_unwind(AssertUnwindSafe(|| main(&own))) {
                    Ok(result) => result.map_err(|error| ThreadsError::Failed { rank, error }),
                    Err(panic) => Err(ThreadsError::Panicked { rank, message: text(&*panic) }),
                };
                own.leave();
                result
            };
            let threads: Vec<_> = (0..ranks).map(|rank| scope.spawn(move || run_one(rank))).collect();
            let gone = |rank| ThreadsError::Panicked { rank, message: "the thread is gone".into() };
            (0..).zip(threads).map(|(rank, thread)| thread.join().unwrap_or_else(|_| Err(gone(rank)))).collect()
        });
        let first = meeting.lock().left;
        let mut errors = Vec::new();
        let mut values = Vec::new();
        for (rank, result) in results.into_iter().enumerate() {
            match result {
                Ok(value) => values.push(value),
                Err(error) if first == Some(rank) => return Err(error),
                Err(error) => errors.push(error),
            }
        }
        errors.into_iter().next().map_or(Ok(values), Err)
    }

    /// Passes `mine` to all ranks, and returns what each of them has passed, in the order of the ranks.
    fn exchange<T: Send + Sync + 'static>(&self, mine: Vec<T>) -> Result<Vec<Numbers>, RanksError> {
        let meeting = &*self.meeting;
        let mut table = meeting.lock();
        let round = table.round;
        table.given[self.rank] = Some(Arc::new(mine));
        if table.given.iter().all(Option::is_some) {
            // No rank can enter the next round before it has read this one, so `collected` does not change until all have
            // read it.
            table.collected = table.given.iter_mut().filter_map(Option::take).collect();
            table.round += 1;
            meeting.changed.notify_all();
        }
        while table.round == round {
            if let Some(rank) = table.left {
                return Err(RanksError::Left { rank });
            }
            table = meeting.changed.wait(table).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(table.collected.clone())
    }

    /// Calls `look` with what each rank has passed, in the order of the ranks.
    fn meet<T: Clone + Send + Sync + 'static>(
        &self,
        mine: &[T],
        mut look: impl FnMut(usize, &[T]),
    ) -> Result<(), RanksError> {
        let all = self.exchange(mine.to_vec())?;
        let all: Vec<Option<&Vec<T>>> = all.iter().map(|given| given.downcast_ref()).collect();
        let lengths = all.iter().map(|given| given.map_or(0, Vec::len));
        let first = lengths.clone().next().unwrap_or(0);
        if let Some((rank, value)) = lengths.enumerate().find(|&(_, length)| length != first) {
            return Err(RanksError::Different { what: "numbers to exchange", rank, value, first });
        }
        all.into_iter().flatten().enumerate().for_each(|(rank, given)| look(rank, given));
        Ok(())
    }

    fn leave(&self) {
        self.meeting.lock().left.get_or_insert(self.rank);
        self.meeting.changed.notify_all();
    }
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("not a text").into()
}

/// What a rank passes to the others: a `Vec` of numbers.
type Numbers = Arc<dyn Any + Send + Sync>;

/// The meeting point of the threads: each puts its numbers on the table, and when all have done so, each reads those of
/// all.
#[derive(Debug)]
struct Meeting {
    table: Mutex<Table>,
    changed: Condvar,
}

#[derive(Debug)]
struct Table {
    given: Vec<Option<Numbers>>,
    collected: Vec<Numbers>,
    round: u64,
    /// The first rank that has returned.
    left: Option<usize>,
}

impl Meeting {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

macro_rules! sum_and_gather {
    ($number:ty: $sum:ident, $gather:ident) => {
        fn $sum(&self, mine: &[$number], sum: &mut [$number]) -> Result<(), RanksError> {
            self.meet(mine, |rank, given| {
                if rank == 0 {
                    sum.copy_from_slice(given);
                } else {
                    sum.iter_mut().zip(given).for_each(|(sum, number)| *sum += number);
                }
            })
        }

        fn $gather(&self, mine: &[$number], all: &mut [$number]) -> Result<(), RanksError> {
            self.meet(mine, |rank, given| all[rank * given.len()..][..given.len()].copy_from_slice(given))
        }
    };
}

impl Ranks for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.meeting.lock().given.len()
    }

    sum_and_gather!(f32: sum_f32, gather_f32);
    sum_and_gather!(f64: sum_f64, gather_f64);

    fn broadcast(&self, from: usize, bytes: &mut Vec<u8>) -> Result<(), RanksError> {
        let mine = if self.rank == from { std::mem::take(bytes) } else { Vec::new() };
        let all = self.exchange(mine)?;
        *bytes = all.get(from).and_then(|given| given.downcast_ref::<Vec<u8>>()).cloned().unwrap_or_default();
        Ok(())
    }
}
