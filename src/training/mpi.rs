//! Processes that communicate through MPI.

use core::fmt::{self, Display};
use std::io::{Write, stderr};
use std::process::ExitCode;

use mpi::Threading;
use mpi::collective::{CommunicatorCollectives, Root, SystemOperation};
use mpi::datatype::Equivalence;
use mpi::topology::{Communicator, SimpleCommunicator};

use super::ranks::{Ranks, RanksError};

/// The processes that `mpirun` has started, on one machine or several.
///
/// [`run`](Self::run) starts MPI. The guide of this crate says how to install MPI and how to start a job, on its page
/// `many_machines`.
///
/// Sums are computed by `MPI_Allreduce`. Open MPI and MPICH return the same bits on every rank if all machines are of
/// the same type.
pub struct Mpi {
    world: SimpleCommunicator,
    rank: usize,
    size: usize,
}

/// MPI counts in 32 bits, so longer lists are sent in pieces of this length.
const PIECE: usize = 1 << 22;

impl fmt::Debug for Mpi {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Mpi").field("rank", &self.rank).field("size", &self.size).finish_non_exhaustive()
    }
}

impl Mpi {
    /// Starts MPI and runs `main` on this rank.
    ///
    /// When `main` returns an error or panics, this rank reports that on stderr, with its number, and ends the whole job.
    /// Otherwise the others would wait for it forever. If a rank is killed, `mpirun` ends the others.
    ///
    /// Return the exit code from `main`: `fn main() -> ExitCode { Mpi::run(train) }`. A program that was not started by `mpirun`
    /// runs as a single rank.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use cyclic_optim::training::{Mpi, Ranks};
    ///
    /// fn main() -> std::process::ExitCode {
    ///     Mpi::run(|ranks| {
    ///         println!("rank {} of {}", ranks.rank(), ranks.size());
    ///         Ok::<(), Box<dyn std::error::Error>>(())
    ///     })
    /// }
    /// ```
    pub fn run<E: Display>(main: impl FnOnce(&Self) -> Result<(), E>) -> ExitCode {
        // Only this thread calls MPI; the framework may have other threads.
        let Some((universe, _)) = mpi::initialize_with_threading(Threading::Funneled) else {
            tell("MPI has already been started in this process: call Mpi::run once");
            return ExitCode::FAILURE;
        };
        let world = universe.world();
        let (rank, size) = (index(world.rank()), index(world.size()));
        let ranks = Self { world, rank, size };
        let ends_job = EndsJob(&ranks);
        match main(&ranks) {
            Ok(()) => {
                core::mem::forget(ends_job);
                ExitCode::SUCCESS
            }
            Err(error) => ranks.end_job(&error),
        }
    }

    fn end_job(&self, reason: &dyn Display) -> ! {
        tell(format_args!("rank {} of {}: {reason}; the job ends", self.rank, self.size));
        self.world.abort(1)
    }

    fn sum<T: Equivalence>(&self, mine: &[T], sum: &mut [T]) {
        for (mine, sum) in mine.chunks(PIECE).zip(sum.chunks_mut(PIECE)) {
            self.world.all_reduce_into(mine, sum, SystemOperation::sum());
        }
    }

    fn gather<T: Equivalence + Copy + Default>(&self, mine: &[T], all: &mut [T]) {
        if mine.len() <= PIECE {
            self.world.all_gather_into(mine, all);
            return;
        }
        let mut gathered = Vec::new();
        for (n, piece) in mine.chunks(PIECE).enumerate() {
            gathered.resize(piece.len() * self.size, T::default());
            self.world.all_gather_into(piece, &mut gathered[..]);
            for (rank, gathered) in gathered.chunks_exact(piece.len()).enumerate() {
                all[rank * mine.len() + n * PIECE..][..piece.len()].copy_from_slice(gathered);
            }
        }
    }
}

/// Ends the job when a panic drops it.
struct EndsJob<'a>(&'a Mpi);

impl Drop for EndsJob<'_> {
    fn drop(&mut self) {
        self.0.end_job(&"panicked");
    }
}

/// If stderr is closed, there is nowhere to report it.
fn tell(text: impl Display) {
    let _ = writeln!(stderr(), "{text}");
}

/// MPI's ranks and counts are not negative.
fn index(rank: i32) -> usize {
    usize::try_from(rank).unwrap_or(0)
}

impl Ranks for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum_f32(&self, mine: &[f32], sum: &mut [f32]) -> Result<(), RanksError> {
        self.sum(mine, sum);
        Ok(())
    }

    fn sum_f64(&self, mine: &[f64], sum: &mut [f64]) -> Result<(), RanksError> {
        self.sum(mine, sum);
        Ok(())
    }

    fn gather_f32(&self, mine: &[f32], all: &mut [f32]) -> Result<(), RanksError> {
        self.gather(mine, all);
        Ok(())
    }

    fn gather_f64(&self, mine: &[f64], all: &mut [f64]) -> Result<(), RanksError> {
        self.gather(mine, all);
        Ok(())
    }

    fn broadcast(&self, from: usize, bytes: &mut Vec<u8>) -> Result<(), RanksError> {
        let root = self.world.process_at_rank(i32::try_from(from).unwrap_or(i32::MAX));
        let mut length = bytes.len() as u64;
        root.broadcast_into(&mut length);
        bytes.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
        for piece in bytes.chunks_mut(PIECE) {
            root.broadcast_into(piece);
        }
        Ok(())
    }
}
