//! Finds the learning rates between which a network learns the digits, and trains it with them: no rate is set by hand.
//!
//! ```text
//! cargo run --release --features full --example find_range -- --out target/find_range
//! cargo run --release --features full --example find_range -- --weight-decays 0,0.01,0.1,1
//! cargo run --release --features full --example find_range -- --verbose --max-loss-factor 10 --logarithmic-loss --smoothing 0.9
//! ```
//!
//! Look at `loss_curve.svg` in the folder: the loss falls, has a valley, and blows up. Each suggestion is marked on it.

mod support;

use std::convert::Infallible;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use cyclic_optim::adapters::dfdx::{range_test, weight_decay_grid};
use cyclic_optim::range_test::{CurvePlot, Losses, RangeTest, Suggestion};
use cyclic_optim::{Adam, ClrConfig, ConfigError, Smoothing};
use dfdx::optim::{AdamConfig, WeightDecay};
use support::digits::{Data, Run, Task, train_step};
use support::output::say;
use support::{files, flags};

/// Run a learning-rate range test, then train with the schedule that it suggests.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    run: Run,
    /// Folder for the curve, as CSV and as SVG; created if it does not exist.
    #[arg(long, default_value = "target/find_range")]
    out: PathBuf,
    /// Decoupled weight decays to try beside the rates, separated by commas; the best one is used.
    #[arg(long, value_delimiter = ',')]
    weight_decays: Vec<f64>,
    /// Print a line for each rate.
    #[arg(long)]
    verbose: bool,
    /// Also stop the sweep at this multiple of the first loss.
    #[arg(long, value_name = "FACTOR")]
    max_loss_factor: Option<f64>,
    #[command(flatten)]
    picture: PictureArgs,
}

/// How the curve is drawn. With any of these nothing is cut off, and Smith's range is not shaded.
#[derive(clap::Args)]
#[command(next_help_heading = "Picture")]
struct PictureArgs {
    /// The losses to draw. For validation losses, a tenth of the training images is held out of the sweep.
    #[arg(long, value_enum, conflicts_with = "weight_decays")]
    losses: Option<Kind>,
    /// A linear axis of rates.
    #[arg(long, conflicts_with = "weight_decays")]
    linear_rate: bool,
    /// A logarithmic axis of losses.
    #[arg(long, conflicts_with = "weight_decays")]
    logarithmic_loss: bool,
    /// Clip the losses to their 2.5 % and 97.5 % quantiles.
    #[arg(long, conflicts_with = "weight_decays")]
    winsorised: bool,
    /// Weight of the past in the smoothed losses, which start from the first one; 0 for none [default: 0.8, without a bias towards
    /// the first loss].
    #[arg(long, value_name = "ALPHA", conflicts_with = "weight_decays")]
    smoothing: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Training,
    Validation,
    Both,
}

impl PictureArgs {
    /// Whether there have to be validation losses.
    fn validates(&self) -> bool {
        matches!(self.losses, Some(Kind::Validation | Kind::Both))
    }

    /// The options; `None` if there are none.
    fn plot(&self) -> Result<Option<CurvePlot>, ConfigError> {
        let Self { losses, linear_rate, logarithmic_loss, winsorised, smoothing } = *self;
        if !(linear_rate || logarithmic_loss || winsorised || losses.is_some() || smoothing.is_some()) {
            return Ok(None);
        }
        let losses = match losses {
            None => Losses::Judged,
            Some(Kind::Training) => Losses::Training,
            Some(Kind::Validation) => Losses::Validation,
            Some(Kind::Both) => Losses::Both,
        };
        let mut plot =
            CurvePlot { losses, logarithmic_rate: !linear_rate, logarithmic_loss, winsorised, ..CurvePlot::default() };
        if let Some(alpha) = smoothing {
            plot.smoothing = Some(Smoothing::exponential_from_first(alpha)?);
        }
        Ok(Some(plot))
    }
}

fn main() -> ExitCode {
    support::run(|args: Args| {
        let data = Data::read(&args.run.data)?;
        files::make_folder(&args.out)?;
        files::check_writable(&args.out)?;
        find_and_fit(&args, &data)
    })
}

fn find_and_fit(args: &Args, data: &Data) -> Result<(), Box<dyn Error>> {
    let seed = args.run.seed;
    let task = Task::new(data, seed);
    let model = task.model();
    let mut test = RangeTest::logarithmic(1e-5, 1.0, 200)?;
    if let Some(factor) = args.max_loss_factor {
        test = test.with_max_loss_factor(factor).map_err(flags::named("--"))?;
    }
    if args.verbose {
        // A closed stdout ends the example where it prints its results.
        test = test.with_report(|point| _ = say!("{point}"));
    }
    let picture = args.picture.plot().map_err(flags::named("--"))?;
    let smoothing = Smoothing::exponential(0.8)?;
    let step = |model: &mut _, grads, batch| Ok::<_, Infallible>(train_step(model, grads, batch));
    let (csv, svg) = (args.out.join("loss_curve.csv"), args.out.join("loss_curve.svg"));

    let (curve, adam) = if args.weight_decays.is_empty() {
        let bar = test.progress_bar(1);
        let adam = AdamConfig::default();
        let split = args.picture.validates().then(|| data.hold_out(0.1)).transpose()?;
        let swept = split.as_ref().map_or(Task::new(data, seed), |split| Task::new(split, seed));
        let batches = bar.wrap_iter(swept.all_batches());
        let validate = |model: &_| Ok(split.is_some().then(|| swept.test(model).loss));
        let curve = range_test(&model, &Adam::new(adam), &test, batches, step, validate)?;
        bar.finish_and_clear();
        let mut table = Vec::new();
        curve.write_csv(&mut table)?;
        files::write(&csv, table)?;
        let drawn = match &picture {
            Some(plot) => curve.to_svg_with(plot)?,
            None => curve.to_svg(&smoothing)?,
        };
        files::write(&svg, drawn)?;
        match curve.recommended(&smoothing) {
            Ok(recommended) => say!("recommended    {recommended}")?,
            Err(reason) => say!("recommended    {reason}")?,
        }
        (curve.smoothed(&smoothing), adam)
    } else {
        let bar = test.progress_bar(args.weight_decays.len() as u64);
        let weight_decay =
            |strength| AdamConfig { weight_decay: Some(WeightDecay::Decoupled(strength)), ..Default::default() };
        let optimizer = Adam::new(weight_decay(0.0));
        let batches = || bar.wrap_iter(task.all_batches());
        let grid = weight_decay_grid(&model, &optimizer, &test, &args.weight_decays, batches, step, |_| Ok(None))
            .map_err(flags::named("--"))?;
        bar.finish_and_clear();
        let mut table = Vec::new();
        grid.write_csv(&mut table)?;
        files::write(&csv, table)?;
        files::write(&svg, grid.to_svg(&smoothing, Suggestion::Valley)?)?;
        let smoothed = grid.smoothed(&smoothing);
        for (strength, suggested) in smoothed.suggest(Suggestion::Valley) {
            match suggested {
                Ok(suggested) => say!("weight decay {strength}: valley at {:.2e}", suggested.lr)?,
                Err(reason) => say!("weight decay {strength}: {reason}")?,
            }
        }
        let best = smoothed.best(Suggestion::Valley)?;
        say!("best weight decay: {}", best.weight_decay)?;
        (smoothed.entries()[best.entry].curve.clone(), weight_decay(best.weight_decay))
    };

    for suggestion in Suggestion::ALL {
        match curve.suggest(suggestion) {
            Ok(suggested) => say!("{:<14} {:.2e}", suggestion.to_string(), suggested.lr)?,
            Err(reason) => say!("{:<14} {reason}", suggestion.to_string())?,
        }
    }
    let range = curve.smith_range()?;
    say!("Smith's range  {:.2e} to {:.2e}", range.base_lr.lr, range.max_lr.lr)?;
    say!("written: {} and {}", csv.display(), svg.display())?;

    let updates = u64::from(args.run.epochs) * data.batches_per_epoch();
    let config = ClrConfig::new(range.one_cycle(updates)?);
    let score = task.fit(args.run.epochs, adam, config)?;
    let (accuracy, correct, of) = (score.accuracy(), score.correct, score.of);
    Ok(say!("seed {seed}: test accuracy {accuracy:.4} ({correct} of {of}) after {updates} updates")?)
}
