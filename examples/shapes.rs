//! Draws the pictures on the documentation pages of the schedules.
//!
//! ```text
//! cargo run --release --features plot --example shapes -- --out src/schedule/shapes
//! ```
//!
//! Look at the pages of `cargo doc --open`: each schedule has its shape.

mod support;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use cyclic_optim::history::schedules_to_svg;
use cyclic_optim::{
    ClrConfig, ConfigError, Constant, CosineDecay, Curve, Cyclic, ExponentialDecay, InverseSqrtDecay, InverseTimeDecay,
    LinearDecay, MultiStepDecay, OneCycle, Policy, PolynomialDecay, Sequence, StepDecay, WarmRestarts,
};
use support::files;

/// Draw the shape of every schedule.
#[derive(Parser)]
struct Args {
    /// Folder for the pictures; created if it does not exist.
    #[arg(long)]
    out: PathBuf,
}

fn main() -> ExitCode {
    support::run(|args: Args| {
        files::make_folder(&args.out)?;
        for (name, shapes) in families()? {
            let configs: Vec<(&str, ClrConfig)> =
                shapes.into_iter().map(|(label, policy)| (label, ClrConfig::new(policy))).collect();
            let configs: Vec<(&str, &ClrConfig)> = configs.iter().map(|(label, config)| (*label, config)).collect();
            let svg = schedules_to_svg::<Policy>(&configs, UPDATES)?;
            files::write(&args.out.join(format!("{name}.svg")), svg)?;
        }
        Ok(())
    })
}

const UPDATES: usize = 240;

/// A picture: its name, and the schedules in it with theirs.
type Family = (&'static str, Vec<(&'static str, Policy)>);

fn families() -> Result<Vec<Family>, ConfigError> {
    let cosine = Cyclic::triangular(0.1, 1.0, 30)?.with_curves(Curve::Cosine, Curve::Cosine);
    Ok(vec![
        (
            "cyclic",
            vec![
                ("triangular", Cyclic::triangular(0.1, 1.0, 30)?.into()),
                ("triangular2", Cyclic::triangular2(0.1, 1.0, 30)?.into()),
                ("exp_range", Cyclic::exp_range(0.1, 1.0, 30, 0.992)?.into()),
                ("triangular, cosine curves", cosine.into()),
            ],
        ),
        (
            "one_cycle",
            vec![
                ("two phases, cosine", OneCycle::new(1.0, 240)?.into()),
                ("paper: linear, three phases", OneCycle::paper(1.0, 240)?.into()),
            ],
        ),
        (
            "warm_restarts",
            vec![
                ("t_mult 1", WarmRestarts::new(0.0, 1.0, 60)?.into()),
                ("t_mult 2", WarmRestarts::new(0.0, 1.0, 34)?.with_t_mult(2)?.into()),
            ],
        ),
        ("constant", vec![("constant", Constant::new(1.0)?.into())]),
        ("linear", vec![("linear", LinearDecay::new(1.0, 0.1, 200)?.into())]),
        ("step", vec![("step", StepDecay::new(1.0, 60, 0.5)?.into())]),
        ("multi_step", vec![("multi-step", MultiStepDecay::new(1.0, vec![40, 150], 0.3)?.into())]),
        ("exponential", vec![("exponential", ExponentialDecay::new(1.0, 0.985)?.into())]),
        ("polynomial", vec![("power 2", PolynomialDecay::new(1.0, 0.1, 200, 2.0)?.into())]),
        ("cosine", vec![("cosine", CosineDecay::new(1.0, 0.1, 200)?.into())]),
        ("inverse_time", vec![("inverse time", InverseTimeDecay::new(1.0, 0.03)?.into())]),
        ("inverse_sqrt", vec![("inverse square root", InverseSqrtDecay::new(1.0, 20)?.into())]),
        (
            "sequence",
            vec![
                ("warm-up, cosine", Sequence::warmup_cosine(0.0, 1.0, 0.0, 40, 240)?.into()),
                ("warm-up, stable, decay", Sequence::warmup_stable_decay(1.0, 0.0, 40, 120, 80)?.into()),
            ],
        ),
    ])
}
