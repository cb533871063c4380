//! What the public types can be used for: sent to another thread, shared, cloned, returned as an error.
//!
//! All of it is checked when this file compiles.

use std::error::Error;
use std::fmt::Debug;

use cyclic_optim::feedback::{EarlyStopping, Observation, Plateau};
use cyclic_optim::history::{RecordError, Recorder, Table};
use cyclic_optim::range_test::{
    GridError, Interrupted, LossCurve, NoSuggestion, PeakChoice, PeakSearch, PeakSearchError, RangeTest, Recommended,
    WeightDecayGrid,
};
use cyclic_optim::review::{Finding, Review};
use cyclic_optim::training::{Accumulator, AverageError, BestWeights, RanksError, Recovery, ShardPlan};
use cyclic_optim::{
    Applied, ClrConfig, ClrState, ConfigError, CyclicOptimizer, Groups, History, NoGroups, Policy, RateAndMomentum,
    RunLength, Schedule, Smoothing, TimeError, Unsupported, UpdateError,
};

/// The model and the error of some framework.
type Model = Vec<f32>;
type Err = std::io::Error;

const fn value<T: Send + Sync + Clone + Debug + 'static>() {}
const fn error<T: Error + Send + Sync + 'static>() {}
const fn writer<T: Recorder + Send + Debug + 'static>() {}

const _: () = {
    value::<Policy>();
    value::<ClrConfig>();
    value::<ClrState>();
    value::<Applied>();
    value::<Groups>();
    value::<RunLength>();
    value::<Smoothing>();
    value::<CyclicOptimizer<RateAndMomentum>>();
    value::<Plateau>();
    value::<EarlyStopping>();
    value::<Observation>();
    value::<History>();
    value::<Table>();
    value::<Review>();
    value::<Finding>();
    value::<RangeTest>();
    value::<LossCurve>();
    value::<Recommended>();
    value::<WeightDecayGrid>();
    value::<PeakSearch>();
    value::<PeakChoice>();
    value::<Accumulator>();
    value::<BestWeights<Model>>();
    value::<Recovery<Model, RateAndMomentum>>();
    value::<ShardPlan>();
};

const _: () = {
    error::<ConfigError>();
    error::<TimeError>();
    error::<Unsupported>();
    error::<NoGroups>();
    error::<UpdateError<Err>>();
    error::<AverageError<Err>>();
    error::<RanksError>();
    error::<RecordError>();
    error::<NoSuggestion>();
    error::<Interrupted<Err>>();
    error::<GridError<Err>>();
    error::<PeakSearchError<Err>>();
};

const _: () = writer::<History>();

#[cfg(feature = "std")]
const _: () = error::<cyclic_optim::training::ThreadsError<Err>>();

#[cfg(feature = "csv")]
const _: () = {
    error::<cyclic_optim::history::CsvError>();
    error::<cyclic_optim::history::CsvLogError>();
    writer::<cyclic_optim::history::CsvLog>();
};

#[cfg(feature = "tensorboard")]
const _: () = {
    error::<cyclic_optim::history::TensorBoardError>();
    writer::<cyclic_optim::history::TensorBoard>();
};

#[cfg(feature = "progress")]
const _: () = writer::<cyclic_optim::history::TrainingBar>();

#[cfg(feature = "remote")]
const _: () = {
    error::<cyclic_optim::history::InvalidUrl>();
    writer::<cyclic_optim::history::RemoteMonitor>();
};

#[cfg(feature = "plot")]
const _: () = {
    error::<cyclic_optim::PlotError>();
    value::<cyclic_optim::history::LossPlot>();
    value::<cyclic_optim::range_test::CurvePlot>();
};

#[cfg(feature = "checkpoint")]
const _: () = {
    error::<cyclic_optim::CheckpointError>();
    error::<cyclic_optim::checkpoint::ModelCheckpointError>();
    error::<cyclic_optim::checkpoint::TemplateError>();
    value::<cyclic_optim::Checkpoint>();
    value::<cyclic_optim::ModelCheckpoint>();
};

#[cfg(feature = "dfdx")]
const _: () = {
    use cyclic_optim::adapters::dfdx::{EnsembleError, RangeTestError, SnapshotEnsemble, TrialError, WeightAverage};
    use cyclic_optim::{Adadelta, Adagrad, Adam, AdamW, Adamax, Lion, Nadam, RMSprop, Sgd, TorchRMSprop};
    use dfdx::tensor::{Cpu, CpuError};

    const fn optimizer<T: Send + Clone + Debug + Default + 'static>() {}

    optimizer::<Adadelta<f32, Cpu>>();
    optimizer::<Adagrad<f32, Cpu>>();
    optimizer::<Adam<f32, Cpu>>();
    optimizer::<AdamW<f32, Cpu>>();
    optimizer::<Adamax<f32, Cpu>>();
    optimizer::<Lion<f32, Cpu>>();
    optimizer::<Nadam<f32, Cpu>>();
    optimizer::<RMSprop<f32, Cpu>>();
    optimizer::<Sgd<f64, Cpu>>();
    optimizer::<TorchRMSprop<f32, Cpu>>();
    error::<RangeTestError<Err, CpuError>>();
    error::<TrialError<Err, CpuError>>();
    error::<EnsembleError<CpuError>>();
    value::<SnapshotEnsemble<Model>>();
    value::<WeightAverage<Model, f32, Cpu>>();
};

/// Both traits can be used as trait objects.
const _: (Option<&dyn Schedule>, Option<&dyn Recorder>) = (None, None);

/// The errors of a training loop fit into one type, so that `?` works for all of them.
#[test]
fn one_error_type_for_a_loop() {
    fn run() -> Result<(), Box<dyn Error + Send + Sync>> {
        let config = ClrConfig::new(cyclic_optim::Constant::new(0.1)?);
        CyclicOptimizer::try_new(RateAndMomentum::default(), config)?.set_range(0.1, 0.2)?;
        Ok(())
    }
    let error = run().unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(ConfigError::NoRange { asked: "set_range" })), "{error}");
}
