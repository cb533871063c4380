//! Trains a toy problem with every optimizer under every policy, as the notebook of bckenstler/CLR did with the optimizers
//! of Keras. Compares the rates that the optimizers used with those that the notebook printed.
//!
//! ```text
//! cargo run --release --features plot --example optimizers -- --out runs/optimizers
//! ```
//!
//! The notebook has Keras' seven optimizers under `triangular`, `triangular2` and `exp_range`: 21 experiments with a base of
//! 0.01, a peak of 0.06, a step size of 2000 and a gamma of 0.99994. The first 21 rows are these experiments. The rules that
//! Keras did not have at the time come after them. The problem is a quadratic bowl of three numbers. Every row uses the same
//! rates, so the losses do not show how good the optimizers are when tuned.

mod support;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use cyclic_optim::adapters::dfdx::InPlace;
use cyclic_optim::history::{Per, Table};
use cyclic_optim::{
    Adadelta, Adagrad, Adam, AdamW, Adamax, Cyclic, CyclicOptimizer, Hyperparameters, Lion, Nadam, RMSprop, Sgd,
    TorchRMSprop, UpdateError,
};
use dfdx::prelude::{
    AsArray, Backward, Cpu, CpuError, Rank1, SumTo, Tensor, TensorFrom, Trace, ZeroGrads, ZerosTensor,
};
use support::files;
use support::output::say;

/// Train a toy problem with every optimizer under every policy.
#[derive(Parser)]
struct Args {
    /// Folder for the picture; created if it does not exist. Without this option no picture is drawn.
    #[arg(long)]
    out: Option<PathBuf>,
}

const UPDATES: u64 = 10_000;
const GAMMA: f64 = 0.99994;

/// What the notebook printed as `current_lr` after so many updates, in the float32 of a GPU: `triangular`,
/// `triangular2`, `exp_range`.
const PUBLISHED: [(u64, [f64; 3]); 7] = [
    (1000, [0.034_974_999_7, 0.034_974_999_7, 0.033_522_483_0]),
    (2000, [0.059_974_998_2, 0.059_974_998_2, 0.054_328_400_6]),
    (3000, [0.035_024_996_8, 0.035_024_996_8, 0.030_905_228_1]),
    (4000, [0.010_024_998_3, 0.010_024_998_3, 0.010_019_666_5]),
    (5000, [0.034_974_999_7, 0.022_487_498_8, 0.028_505_021_7]),
    (6000, [0.059_974_998_2, 0.034_987_501_8, 0.044_872_939_6]),
    (10_000, [0.059_975_009_4, 0.022_493_753_6, 0.037_434_376_8]),
];

type Model = Tensor<Rank1<3>, f32, Cpu>;

/// What a run left: the loss now and then, and the largest relative difference of a rate to the published one.
struct Run {
    losses: Vec<(u64, f32)>,
    difference: f64,
}

fn train<O>(inner: O, policy: Cyclic, published: impl Fn([f64; 3]) -> f64) -> Result<Run, UpdateError<CpuError>>
where
    O: InPlace<Model, Cpu, f32, Error = CpuError> + Hyperparameters,
{
    let device = Cpu::default();
    let target: Model = device.tensor([1.0, -2.0, 0.5]);
    let curvature: Model = device.tensor([1.0, 0.3, 2.0]);
    let mut weights: Model = device.zeros();
    let mut grads = weights.alloc_grads();
    let mut optimizer = CyclicOptimizer::new(inner, policy);
    let mut run = Run { losses: Vec::new(), difference: 0.0 };
    for update in 1..=UPDATES {
        let bowl = ((weights.trace(grads) - target.clone()).square() * curvature.clone()).sum();
        let loss = bowl.array();
        grads = bowl.backward();
        let used = optimizer.apply(&mut weights, &mut grads, loss)?;
        if update == 1 || update % 100 == 0 {
            run.losses.push((update, loss));
        }
        if let Some((_, rates)) = PUBLISHED.iter().find(|(after, _)| *after == update) {
            run.difference = run.difference.max((used.lr / published(*rates) - 1.0).abs());
        }
    }
    Ok(run)
}

fn main() -> ExitCode {
    support::run(|args: Args| {
        let policies = [
            ("triangular", Cyclic::triangular(0.01, 0.06, 2000)?),
            ("triangular2", Cyclic::triangular2(0.01, 0.06, 2000)?),
            ("exp_range", Cyclic::exp_range(0.01, 0.06, 2000, GAMMA)?),
        ];
        let mut picture = Table::new(Per::Update);
        let mut lines: Vec<(&str, Vec<(u64, f32)>)> = Vec::new();
        say!("optimizer     policy       loss at first   loss at last   rates against the published ones")?;
        macro_rules! every_policy {
            ($($optimizer:ident),+) => {$(
                for (n, (name, policy)) in policies.iter().enumerate() {
                    let run = train($optimizer::default(), policy.clone(), |rates| rates[n])?;
                    say!(
                        "{:<13} {name:<12} {:>13.3e} {:>14.3e}   within {:.1e}",
                        stringify!($optimizer),
                        run.losses[0].1,
                        run.losses[run.losses.len() - 1].1,
                        run.difference,
                    )?;
                    if n == 1 {
                        lines.push((stringify!($optimizer), run.losses));
                    }
                }
            )+};
        }
        every_policy!(Sgd, RMSprop, Adagrad, Adadelta, Adam, Adamax, Nadam);
        every_policy!(AdamW, Lion, TorchRMSprop);
        if let Some(folder) = args.out {
            files::make_folder(&folder)?;
            for point in 0..lines[0].1.len() {
                // Losses of many sizes need logarithms; those that have arrived at 0 have none.
                let values = lines.iter().map(|(name, losses)| (*name, f64::from(losses[point].1.max(1e-12)).log10()));
                picture.push(lines[0].1[point].0, &values.collect::<Vec<_>>());
            }
            let svg = picture.to_svg("Every optimizer under triangular2", "log10 of the loss")?;
            files::write(&folder.join("optimizers.svg"), svg)?;
        }
        Ok(())
    })
}
