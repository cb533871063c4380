//! Trains on the digits with several ranks: processes of MPI, or threads of this process. Every rank takes its share of each
//! batch, and all end with the same model.
//!
//! ```text
//! cargo run --release --features full --example parallel -- --threads 2
//! cargo build --release --features full,mpi --example parallel
//! RAYON_NUM_THREADS=1 mpirun -np 2 target/release/examples/parallel
//! ```
//!
//! Look at the end hash, which is made of all parameters: with `--reproducible` it is the same for any number of ranks.

#![allow(clippy::cast_precision_loss, reason = "small numbers")]

mod support;

use std::cell::Cell;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use cyclic_optim::adapters::dfdx::named_parameters;
use cyclic_optim::training::{Accumulator, Ranks, RanksError, ShardPlan, Threads};
use cyclic_optim::{Adam, Checkpoint, CyclicOptimizer};
use dfdx::nn::{builders, modules};
use dfdx::prelude::{
    AsArray, Backward, Cpu, DeviceBuildExt, Module, ModuleMut, Trace, ZeroGrads, cross_entropy_with_logits_loss,
};
use support::digits::{Data, Runs, Task};
use support::input::Input;
use support::output::say;

/// Train on the digits with several ranks.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    runs: Runs,
    /// Threads of this process as ranks, instead of the processes of mpirun.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Images in one batch, over all ranks.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Micro-batches in one batch, over all ranks [default: one for each rank; 4 if reproducible].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    micro_batches: Option<u32>,
    /// Give the same bits for any number of ranks up to the number of micro-batches.
    #[arg(long)]
    reproducible: bool,
    /// Units in each of the three hidden layers: 64, 256 or 1024.
    #[arg(long, default_value = "64", value_parser = ["64", "256", "1024"])]
    width: String,
    /// File that the run is saved in, and continued from if it exists.
    #[arg(long)]
    checkpoint: Option<PathBuf>,
    /// Updates between two checkpoints.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    save_every: u64,
}

/// What a thread can return.
type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    support::run(|args: Args| {
        let data = Data::read(&args.runs.run.data)?;
        match args.threads {
            Some(threads) => Ok(Threads::run(threads.into(), |ranks| run(&args, &data, ranks, "threads")).map(|_| ())?),
            None => processes(&args, &data),
        }
    })
}

#[cfg(feature = "mpi")]
#[expect(clippy::unnecessary_wraps, reason = "without MPI it can fail")]
fn processes(args: &Args, data: &Data) -> Result<(), Box<dyn Error>> {
    // An error of any rank ends the job.
    cyclic_optim::training::Mpi::run(|ranks| run(args, data, ranks, "processes"));
    Ok(())
}

#[cfg(not(feature = "mpi"))]
fn processes(args: &Args, data: &Data) -> Result<(), Box<dyn Error>> {
    // Every process would train by itself.
    if ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"].iter().any(|name| std::env::var_os(name).is_some()) {
        return Err("mpirun has started this, but it was built without MPI: add --features full,mpi".into());
    }
    run(args, data, &cyclic_optim::training::Alone, "processes").map_err(|error| error as Box<dyn Error>)
}

fn run(args: &Args, data: &Data, ranks: &impl Ranks, what: &str) -> Result<(), Failure> {
    let ranks = Timed { ranks, spent: Cell::default() };
    if ranks.is_first() {
        say!("{} {what}, batches of {}, {} wide", ranks.size(), args.batch, args.width)?;
    }
    let mut accuracies = Vec::new();
    for seed in args.runs.seeds() {
        accuracies.push(match args.width.as_str() {
            "1024" => train::<1024>(args, data, &ranks, seed)?,
            "256" => train::<256>(args, data, &ranks, seed)?,
            _ => train::<64>(args, data, &ranks, seed)?,
        });
    }
    if ranks.is_first() && accuracies.len() > 1 {
        let mean = accuracies.iter().sum::<f64>() / accuracies.len() as f64;
        say!("{} seeds: mean accuracy {mean:.4}", accuracies.len())?;
    }
    Ok(())
}

type Hidden<const W: usize> = (modules::Linear<W, W, f32, Cpu>, modules::ReLU);
type Net<const W: usize> = ((Input<W>, modules::ReLU), Hidden<W>, Hidden<W>, modules::Linear<W, 10, f32, Cpu>);

fn fresh<const W: usize>(device: &Cpu, pixels: usize) -> Net<W> {
    let input = Input::new(device, pixels);
    let first = device.build_module::<builders::Linear<W, W>, f32>();
    let second = device.build_module::<builders::Linear<W, W>, f32>();
    let output = device.build_module::<builders::Linear<W, 10>, f32>();
    ((input, modules::ReLU), (first, modules::ReLU), (second, modules::ReLU), output)
}

/// Trains one network on all ranks and returns its accuracy.
fn train<const W: usize>(args: &Args, data: &Data, ranks: &Timed<impl Ranks>, seed: u64) -> Result<f64, Failure> {
    let task = Task::new(data, seed);
    let plan = ShardPlan::new(data.training_images(), usize::try_from(args.batch)?, seed)?;
    let per_epoch = plan.batches_per_epoch() as u64;
    let updates = u64::from(args.runs.run.epochs) * per_epoch;
    let mut model = fresh::<W>(&task.device(), data.pixels());
    let mut optimizer = CyclicOptimizer::try_new(Adam::default(), support::config_file::one_cycle(updates)?)?;
    // All ranks start with the weights of rank 0.
    match &args.checkpoint {
        None => Checkpoint::share(ranks, &mut model, &mut optimizer, &mut [])?,
        Some(path) => {
            let resumed = Checkpoint::resume_or_start_on(ranks, path, &mut model, &mut optimizer, &mut [])?;
            if let (Some(update), true) = (resumed, ranks.is_first()) {
                say!("continuing after update {update} of {updates}")?;
            }
        }
    }
    let mut sum = Accumulator::on(ranks);
    if let Some(micro_batches) = args.micro_batches {
        sum = sum.with_micro_batches(usize::try_from(micro_batches)?)?;
    }
    if args.reproducible {
        sum = sum.reproducible(usize::try_from(args.micro_batches.unwrap_or(4))?)?;
    }
    let mut grads = model.alloc_grads();
    let (mut times, mut total) = (Vec::new(), Duration::ZERO);
    ranks.spent.take();
    while optimizer.iterations() < updates {
        let (epoch, place) = (optimizer.iterations() / per_epoch, optimizer.iterations() % per_epoch);
        for batch in plan.batches(epoch).skip(usize::try_from(place)?) {
            let start = Instant::now();
            for micro_batch in sum.micro_batches(&batch) {
                let (images, labels) = task.training_batch(micro_batch);
                let loss = cross_entropy_with_logits_loss(model.forward_mut(images.traced(grads)), labels);
                let value = loss.array();
                grads = loss.backward();
                sum.add(&model, &mut grads, value, micro_batch.len())?;
            }
            optimizer.apply(&mut model, &mut grads, &mut sum)?;
            total += start.elapsed();
            // The last batch of an epoch may be smaller.
            if batch.len() == usize::try_from(args.batch)? {
                times.push(start.elapsed());
            }
            if let Some(path) = &args.checkpoint {
                if optimizer.iterations() % args.save_every == 0 || optimizer.iterations() == updates {
                    Checkpoint::write_on(ranks, path, &model, &optimizer, &[])?;
                }
            }
        }
    }
    let spent = ranks.spent.take();
    let test = task.score(&model.forward(task.test_images()));
    let hash = same_on_all(ranks, hash(&model))?;
    if ranks.is_first() {
        say!(
            "seed {seed}: test accuracy {:.4} ({} of {}) after {updates} updates",
            test.accuracy(),
            test.correct,
            test.of
        )?;
        times.sort_unstable();
        if let Some(median) = times.get(times.len() / 2) {
            let share = spent.as_secs_f64() / total.as_secs_f64() * 100.0;
            say!("time per update: {:.3} ms, communication: {share:.1} %", median.as_secs_f64() * 1e3)?;
        }
        say!("end hash: {hash:016x}")?;
    }
    Ok(test.accuracy())
}

/// FNV-1a over the bits of all parameters.
fn hash<const W: usize>(model: &Net<W>) -> u64 {
    let parameters = named_parameters::<_, f32, Cpu>(model).into_iter().flat_map(|(_, values)| values);
    let bytes = parameters.flat_map(|value| value.to_bits().to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The hash, if all ranks have the same.
fn same_on_all(ranks: &impl Ranks, hash: u64) -> Result<u64, Failure> {
    let mut first = hash.to_le_bytes().to_vec();
    ranks.broadcast(0, &mut first)?;
    let same = first == hash.to_le_bytes();
    let message = || format!("its model ended with the hash {hash:016x}, which differs from the hash of rank 0");
    ranks.agree(if same { Ok(hash) } else { Err(message().into()) })
}

/// Ranks that take the time of what they exchange.
struct Timed<'a, R> {
    ranks: &'a R,
    spent: Cell<Duration>,
}

impl<R: Ranks> Timed<'_, R> {
    fn time<T>(&self, exchange: impl FnOnce(&R) -> T) -> T {
        let start = Instant::now();
        let result = exchange(self.ranks);
        self.spent.set(self.spent.get() + start.elapsed());
        result
    }
}

impl<R: Ranks> Ranks for Timed<'_, R> {
    fn rank(&self) -> usize {
        self.ranks.rank()
    }

    fn size(&self) -> usize {
        self.ranks.size()
    }

    fn sum_f32(&self, mine: &[f32], sum: &mut [f32]) -> Result<(), RanksError> {
        self.time(|ranks| ranks.sum_f32(mine, sum))
    }

    fn sum_f64(&self, mine: &[f64], sum: &mut [f64]) -> Result<(), RanksError> {
        self.time(|ranks| ranks.sum_f64(mine, sum))
    }

    fn gather_f32(&self, mine: &[f32], all: &mut [f32]) -> Result<(), RanksError> {
        self.time(|ranks| ranks.gather_f32(mine, all))
    }

    fn gather_f64(&self, mine: &[f64], all: &mut [f64]) -> Result<(), RanksError> {
        self.time(|ranks| ranks.gather_f64(mine, all))
    }

    fn broadcast(&self, from: usize, bytes: &mut Vec<u8>) -> Result<(), RanksError> {
        self.time(|ranks| ranks.broadcast(from, bytes))
    }
}
