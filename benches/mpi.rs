//! What averaging the gradients of two ranks costs, compared with the bare `MPI_Allreduce` of as many numbers. The bench
//! starts itself with `mpirun`.
//!
//! ```text
//! cargo bench --features full,mpi --bench mpi                  # exit code 1 if the budget is broken
//! cargo bench --features full,mpi --bench mpi -- --budgets 2   # twice the budget
//! ```

mod support;

use std::process::{Command, ExitCode};
use std::time::Instant;

use cyclic_optim::training::{Accumulator, BatchLoss, Mpi, Ranks};
use support::model;

/// The budget: the time of averaging, as a multiple of the bare exchange.
const BUDGET: f64 = 1.5;
/// The number of measurements that must all exceed a budget before the bench fails, because noise can only add time.
const TRIES: usize = 5;
const ROUNDS: usize = 301;
const GRADIENTS: usize = 1_000_000;
/// The environment variable that passes the factor on the budget to the processes.
const BUDGETS: &str = "CYCLIC_OPTIM_BUDGETS";

fn main() -> ExitCode {
    if let Ok(factor) = std::env::var(BUDGETS) {
        let budget = BUDGET * factor.parse::<f64>().expect("--budgets takes a factor");
        return Mpi::run(|ranks| measure(ranks, budget));
    }
    let mut arguments = std::env::args().skip_while(|word| word != "--budgets").skip(1);
    let status = Command::new("mpirun")
        .args(["-np", "2"])
        .arg(std::env::current_exe().expect("a program has a path"))
        .env(BUDGETS, arguments.next().unwrap_or_else(|| "1".into()))
        .env("OMPI_MCA_rmaps_base_oversubscribe", "1")
        .env("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe")
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        .status()
        .expect("mpirun has to be installed, on Debian: apt-get install openmpi-bin");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure(ranks: &Mpi, budget: f64) -> Result<(), Box<dyn std::error::Error>> {
    let (parameters, mut gradients) = model::<GRADIENTS>();
    let (mut mine, mut all) = (vec![1e-3_f32; GRADIENTS], vec![0.0; GRADIENTS]);
    let mut sum = Accumulator::on(ranks);
    for _ in 0..TRIES {
        let (mut bare, mut averaging) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            // New numbers each time, like gradients: numbers that are still in the cache of the other rank would be
            // exchanged faster.
            mine.copy_from_slice(&all);
            mine[0] = 1e-3;
            ranks.mean(0.0, 1)?;
            let start = Instant::now();
            ranks.sum_f32(&mine, &mut all)?;
            bare.push(start.elapsed().as_secs_f64() * 1e6);
            for number in &mut all {
                *number *= 0.5;
            }
            ranks.mean(0.0, 1)?;
            let start = Instant::now();
            sum.with(1.0, 32).average(&parameters, &mut gradients)?;
            averaging.push(start.elapsed().as_secs_f64() * 1e6);
        }
        // All ranks have to agree on whether to go on.
        let [bare, averaging] = [ranks.mean(median(bare), 1)?, ranks.mean(median(averaging), 1)?];
        let kept = averaging / bare <= budget;
        if ranks.is_first() {
            let verdict = if kept { "" } else { "  OVER" };
            println!(
                "averaging / bare MPI_Allreduce, {GRADIENTS}, 2 ranks: {bare:.0} us {averaging:.0} us  medians {:.3}  budget {budget:.3}{verdict}",
                averaging / bare
            );
        }
        if kept {
            return Ok(());
        }
    }
    Err(format!("over budget in {TRIES} measurements of {TRIES}").into())
}
