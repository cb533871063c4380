//! Several processes over MPI. This test starts itself with `mpirun`, so it has a `main` of its own:
//!
//! ```text
//! cargo test --features full,mpi --test mpi
//! ```

#[allow(unused, reason = "proptest strategies of the other tests")]
mod support;

use std::error::Error;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use cyclic_optim::adapters::dfdx::named_parameters;
use cyclic_optim::feedback::EarlyStopping;
use cyclic_optim::training::{Accumulator, Alone, Mpi, Ranks, ShardPlan, Threads};
use cyclic_optim::{Adam, Checkpoint, ClrConfig, Constant, CyclicOptimizer, UpdateError};
use dfdx::prelude::{Cpu, ZeroGrads};
use support::Folder;
use support::digits::{Digits, Mlp, train_step};

type Failure = Box<dyn Error + Send + Sync>;

/// What the processes that this test starts have to do, and with which file.
const SCENARIO: &str = "CYCLIC_OPTIM_SCENARIO";
const FILE: &str = "CYCLIC_OPTIM_FILE";

fn main() -> ExitCode {
    if let Ok(scenario) = std::env::var(SCENARIO) {
        let file = PathBuf::from(std::env::var_os(FILE).unwrap_or_default());
        return Mpi::run(|ranks| play(ranks, &scenario, &file));
    }
    let tests: [(&str, fn()); 6] = [
        ("sums_gathers_and_broadcasts_of_any_length", sums_gathers_and_broadcasts_of_any_length),
        ("ranks_stay_identical", ranks_stay_identical),
        ("reproducible_sums_have_the_same_bits_as_threads", reproducible_sums_have_the_same_bits_as_threads),
        ("a_rank_that_fails_ends_the_job_and_it_resumes", a_rank_that_fails_ends_the_job_and_it_resumes),
        ("other_configs_are_named", other_configs_are_named),
        ("all_ranks_decide_alike", all_ranks_decide_alike),
    ];
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    for (name, test) in tests {
        if wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str())) {
            test();
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}

/// How a job ended.
struct Job {
    success: bool,
    output: String,
    errors: String,
    time: Duration,
}

/// Runs a scenario on this number of ranks.
fn mpirun(ranks: usize, scenario: &str, file: &Path) -> Job {
    let start = Instant::now();
    let mut job = Command::new("mpirun")
        .args(["-np", &ranks.to_string()])
        .arg(std::env::current_exe().unwrap())
        .env(SCENARIO, scenario)
        .env(FILE, file)
        .env("RAYON_NUM_THREADS", "1")
        // More ranks than cores, and root in a container: for Open MPI 4 and 5.
        .env("OMPI_MCA_rmaps_base_oversubscribe", "1")
        .env("OMPI_MCA_mpi_yield_when_idle", "1")
        .env("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe")
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("mpirun has to be installed, on Debian: apt-get install openmpi-bin");
    let read = |mut pipe: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut text = String::new();
            pipe.read_to_string(&mut text).unwrap();
            text
        })
    };
    let (output, errors) = (read(Box::new(job.stdout.take().unwrap())), read(Box::new(job.stderr.take().unwrap())));
    let status = loop {
        if let Some(status) = job.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > Duration::from_secs(120) {
            job.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let (output, errors) = (output.join().unwrap(), errors.join().unwrap());
    Job { success: status.success(), output, errors, time: start.elapsed() }
}

/// The output of a job that has to succeed.
fn output(ranks: usize, scenario: &str, file: &Path) -> String {
    let job = mpirun(ranks, scenario, file);
    assert!(job.success, "{scenario} on {ranks} ranks: {}{}", job.output, job.errors);
    job.output
}

/// What one rank does.
fn play(ranks: &Mpi, scenario: &str, file: &Path) -> Result<(), Failure> {
    let text = match scenario {
        "collectives" => collectives(ranks)?,
        "usual" => {
            let model = train(ranks, Accumulator::on(ranks), None, 100, |_| Ok(()))?;
            let alone = train(&Alone, Accumulator::new(), None, 100, |_| Ok(()))?;
            let far = model.iter().zip(&alone).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            if far >= 1e-6 {
                return Err(format!("{far:e} from one process").into());
            }
            hash(&model)
        }
        "configs" => {
            let mut optimizer = optimizer(if ranks.rank() == 1 { 0.002 } else { 0.001 });
            Checkpoint::share(ranks, &mut Digits::read().model(), &mut optimizer, &mut [])?;
            String::new()
        }
        "decisions" => decisions(ranks)?,
        fault => {
            let fails = |update| match fault {
                _ if (update, ranks.rank()) != (25, 1) => Ok(()),
                "error" => Err("the disk is gone".into()),
                "panic" => panic!("out of range"),
                "killed" => {
                    let _ = Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
                    Ok(())
                }
                _ => Ok(()),
            };
            let path = (!file.as_os_str().is_empty()).then_some(file);
            hash(&train(ranks, Accumulator::on(ranks).reproducible(4)?, path, 40, fails)?)
        }
    };
    // Every rank has to say the same.
    let mut first = text.clone().into_bytes();
    ranks.broadcast(0, &mut first)?;
    ranks.agree(if first == text.as_bytes() { Ok(()) } else { Err(Failure::from(format!("has {text}"))) })?;
    if ranks.is_first() {
        println!("{text}");
    }
    Ok(())
}

fn optimizer(lr: f64) -> CyclicOptimizer<Adam<f32, Cpu>> {
    let config = ClrConfig::new(Constant::new(lr).unwrap());
    CyclicOptimizer::new(Adam::default(), config.with_early_stopping(EarlyStopping::new(2).unwrap()).unwrap())
}

fn hash(parameters: &[f64]) -> String {
    let bytes = parameters.iter().flat_map(|value| value.to_bits().to_le_bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

/// Trains up to an update, from a checkpoint if there is one. `fails` is asked before each update.
fn train<R: Ranks>(
    ranks: &R,
    mut sum: Accumulator<'_, R>,
    path: Option<&Path>,
    updates: u64,
    fails: impl Fn(u64) -> Result<(), Failure>,
) -> Result<Vec<f64>, Failure> {
    let digits = Digits::read();
    let plan = ShardPlan::new(digits.len(), 32, 5)?;
    let (mut model, mut optimizer): (Mlp, _) = (digits.model(), optimizer(0.003));
    match path {
        None => Checkpoint::share(ranks, &mut model, &mut optimizer, &mut [])?,
        Some(path) => {
            Checkpoint::resume_or_start_on(ranks, path, &mut model, &mut optimizer, &mut [])?;
        }
    }
    let mut grads = model.alloc_grads();
    let done = usize::try_from(optimizer.iterations())?;
    for batch in (0..).flat_map(|epoch| plan.batches(epoch)).skip(done).take(usize::try_from(updates)? - done) {
        fails(optimizer.iterations())?;
        for micro_batch in sum.micro_batches(&batch) {
            let loss;
            (loss, grads) = train_step(&mut model, grads, digits.images(micro_batch));
            sum.add(&model, &mut grads, loss, micro_batch.len())?;
        }
        optimizer.apply(&mut model, &mut grads, &mut sum)?;
        if let (Some(path), 0) = (path, optimizer.iterations() % 10) {
            Checkpoint::write_on(ranks, path, &model, &optimizer, &[])?;
        }
    }
    Ok(named_parameters::<_, f32, Cpu>(&model).into_iter().flat_map(|(_, values)| values).collect())
}

/// Longer lists than are sent in one piece.
#[allow(clippy::cast_precision_loss, reason = "small numbers")]
fn collectives(ranks: &Mpi) -> Result<String, Failure> {
    let (rank, size) = (ranks.rank(), ranks.size());
    let expected = |n: usize| (n % 7 * size + size * (size - 1) / 2) as f32;
    for length in [0, 1, 1000, (1 << 22) + 3] {
        let mine: Vec<f32> = (0..length).map(|n| (n % 7 + rank) as f32).collect();
        let mut sum = vec![f32::NAN; length];
        ranks.sum_f32(&mine, &mut sum)?;
        assert!(sum.iter().enumerate().all(|(n, &sum)| sum == expected(n)), "{length}");
        let mine: Vec<f64> = mine.into_iter().map(f64::from).collect();
        let mut sum = vec![f64::NAN; length];
        ranks.sum_f64(&mine, &mut sum)?;
        assert!(sum.iter().enumerate().all(|(n, &sum)| sum == f64::from(expected(n))), "{length}");
        let mut all = vec![f64::NAN; length * size];
        ranks.gather_f64(&mine, &mut all)?;
        let gathered = |(n, &number): (usize, &f64)| number == (n % length % 7 + n / length) as f64;
        assert!(all.iter().enumerate().all(gathered), "{length}");
        let mut bytes = if rank == size - 1 { vec![7; length] } else { vec![1, 2] };
        ranks.broadcast(size - 1, &mut bytes)?;
        assert!(bytes == vec![7; length], "{length}");
    }
    assert_eq!(ranks.mean(rank, 1 + rank)?, [0.0, 2.0 / 3.0, 4.0 / 3.0, 2.0][size - 1]);
    Ok("sound".into())
}

/// All ranks refuse a NaN of any rank, and all stop after the same epoch, although their own metrics differ.
#[allow(clippy::cast_precision_loss, reason = "small numbers")]
fn decisions(ranks: &Mpi) -> Result<String, Failure> {
    let digits = Digits::read();
    let (mut model, mut optimizer) = (digits.model(), optimizer(0.001));
    Checkpoint::share(ranks, &mut model, &mut optimizer, &mut [])?;
    let mut sum = Accumulator::on(ranks);
    let mut grads = model.alloc_grads();
    let (mut refused, mut epochs) = (Vec::new(), 0_u32);
    while optimizer.stopped().is_none() && epochs < 50 {
        for update in 0..4 {
            let mut loss;
            (loss, grads) = train_step(&mut model, grads, digits.images(&[update, ranks.rank()]));
            if (update, ranks.rank()) == (2, 1) {
                loss = f32::NAN;
            }
            match optimizer.apply(&mut model, &mut grads, sum.with(loss, 2)) {
                Ok(_) => {}
                Err(UpdateError::NonFiniteLoss { .. }) => refused.push((epochs, update)),
                Err(error) => return Err(error.into()),
            }
        }
        // On its own, one rank would stop early and the others never.
        let metric = if ranks.rank() == 0 { 1.0 } else { (1.0 - f64::from(epochs) * 0.1).max(0.5) };
        let _ = optimizer.observe(ranks.mean(metric, 1)?);
        epochs += 1;
    }
    assert_eq!(refused.len(), usize::try_from(epochs)?);
    let parameters = named_parameters::<_, f32, Cpu>(&model).into_iter().flat_map(|(_, values)| values);
    Ok(format!("{epochs} epochs, refused {refused:?}, {}", hash(&parameters.collect::<Vec<_>>())))
}

fn sums_gathers_and_broadcasts_of_any_length() {
    for ranks in [1, 2, 4] {
        assert_eq!(output(ranks, "collectives", Path::new("")), "sound\n");
    }
}

/// Each rank compares its end with that of the others and with one process.
fn ranks_stay_identical() {
    for ranks in [1, 2, 4] {
        assert_eq!(output(ranks, "usual", Path::new("")).len(), 17);
    }
}

fn reproducible_sums_have_the_same_bits_as_threads() {
    let over = |ranks| {
        Threads::run(ranks, |ranks| train(ranks, Accumulator::on(ranks).reproducible(4)?, None, 40, |_| Ok(())))
    };
    let threads = hash(&over(3).unwrap()[0]);
    for ranks in [1, 2, 4] {
        assert_eq!(output(ranks, "reproducible", Path::new("")).trim(), threads, "{ranks} ranks");
    }
}

fn a_rank_that_fails_ends_the_job_and_it_resumes() {
    let folder = Folder::new("mpi");
    let undisturbed = output(2, "undisturbed", &folder.0.join("undisturbed"));
    for (fault, says) in
        [("error", "rank 1 of 2: the disk is gone"), ("panic", "rank 1 of 2: panicked"), ("killed", "rank 1")]
    {
        let file = folder.0.join(fault);
        let job = mpirun(2, fault, &file);
        assert!(!job.success && job.output.is_empty(), "{fault}: {}{}", job.output, job.errors);
        assert!(job.errors.contains(says), "{fault}: {}", job.errors);
        assert!(job.time < Duration::from_secs(10), "{fault}: {:?}", job.time);
        // The fault is at update 25; the last checkpoint is that of update 20.
        assert_eq!(Checkpoint::read(&file).unwrap().iterations(), Some(20));
        assert_eq!(output(2, "resumed", &file), undisturbed, "{fault}");
    }
}

fn other_configs_are_named() {
    let job = mpirun(3, "configs", Path::new(""));
    assert!(!job.success);
    assert!(job.errors.contains("config.schedule.constant.lr is 0.002 here and 0.001 there"), "{}", job.errors);
    assert!(job.errors.contains("rank 1"), "{}", job.errors);
}

fn all_ranks_decide_alike() {
    let said = output(3, "decisions", Path::new(""));
    assert!(said.contains("epochs, refused [(0, 2), (1, 2)"), "{said}");
    assert!(!said.starts_with("50 "), "{said}");
}
