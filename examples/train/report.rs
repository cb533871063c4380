//! The report of a run, with links to the files that it has written.

use std::error::Error;

use cyclic_optim::Hyperparameters;
use cyclic_optim::adapters::dfdx::Saved;
use cyclic_optim::report::Report;
use dfdx::prelude::Cpu;

use crate::run::Run;

impl<O> Run<'_, O>
where
    O: Saved<f32, Cpu> + Hyperparameters,
{
    /// Writes the report that was asked for.
    pub(crate) fn report(&self, test_accuracy: f64) -> Result<(), Box<dyn Error>> {
        let (args, optimizer) = (self.args, &self.optimizer);
        let Some(file) = &args.report else { return Ok(()) };
        let state = optimizer.state();
        let findings = args.review(self.epochs * self.batches, self.batches)?.findings(optimizer.config());
        let data = args.run.data.file_name().unwrap_or(args.run.data.as_os_str());
        let mut report = Report::new(format!("Training on {}", data.to_string_lossy()))
            .with_config(optimizer.config())?
            .with_review(&findings)
            .with_environment()
            .with_fact("test accuracy", format!("{test_accuracy:.4}"))
            .with_fact("seed", args.run.seed);
        report = match self.why_it_stopped() {
            // The optimizer, and so its state, does not know of the time, and of a second metric.
            Some(why) if state.stop.is_none() => report.with_fact("end", format!("stopped early: {why}")),
            _ => report.with_state(&state),
        };
        let time = self.started.elapsed();
        report = if self.continued {
            report.with_fact("seconds since the last interruption", format!("{:.1}", time.as_secs_f64()))
        } else {
            report.with_duration(time)
        };
        report = optimizer.history().into_iter().fold(report, Report::with_history);
        report = self.parts.choice.iter().fold(report, Report::with_choice);
        report = self.sweep.iter().fold(report, |report, (curve, smoothing)| report.with_curve(curve, smoothing));
        for (label, written) in [
            ("metrics of the epochs", &args.csv),
            ("checkpoint", &args.checkpoint),
            ("pictures", &args.plot),
            ("event files for TensorBoard", &args.tensorboard.tensorboard),
            ("snapshots", &args.snapshots_dir),
        ] {
            report = written.iter().fold(report, |report, written| report.with_link(label, written));
        }
        Ok(report.write(file)?)
    }
}
