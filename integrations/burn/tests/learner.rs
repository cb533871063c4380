//! The scheduler in a `Learner` of burn: rates, momentum, checkpoints and early stopping.

#![allow(clippy::cast_possible_truncation, reason = "momentum is f32 in burn")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use burn::data::dataloader::{DataLoader, DataLoaderBuilder, batcher::Batcher};
use burn::data::dataset::InMemDataset;
use burn::module::{Module, Param};
use burn::optim::{AdamConfig, ModuleOptimizer};
use burn::tensor::{Device, Distribution, Tensor, TensorReadError};
use burn::train::logger::InMemoryMetricLogger;
use burn::train::metric::store::{Aggregate, EventStoreClient, Split};
use burn::train::metric::{LossMetric, Metric, MetricMetadata, MetricName, SerializedEntry};
use burn::train::{
    EarlyStoppingStrategy, InferenceStep, Learner, RegressionOutput, SupervisedTraining, TrainOutput, TrainStep,
};
use cyclic_optim_burn::cyclic_optim::feedback::{EarlyStopping, Stop};
use cyclic_optim_burn::cyclic_optim::{Applied, ClrConfig, Constant, OneCycle};
use cyclic_optim_burn::{ClrScheduler, RunHandle};

/// Updates of an epoch.
const BATCHES: usize = 4;

#[derive(Module, Debug)]
struct Model {
    weight: Param<Tensor<2>>,
}

impl Model {
    fn new() -> Self {
        let device = Device::flex().autodiff();
        Self { weight: Param::from_tensor(Tensor::random([1, 2], Distribution::Default, &device)) }
    }

    fn output(&self, target: Tensor<2>) -> RegressionOutput {
        let output = self.weight.val();
        let loss = output.clone().sub(target.clone()).powi_scalar(2).mean();
        RegressionOutput::new(loss, output, target)
    }
}

impl TrainStep for Model {
    type Input = Tensor<2>;
    type Output = RegressionOutput;

    fn step(&self, target: Tensor<2>) -> TrainOutput<RegressionOutput> {
        let output = self.output(target);
        TrainOutput::new(self, output.loss.clone().backward(), output)
    }
}

impl InferenceStep for Model {
    type Input = Tensor<2>;
    type Output = RegressionOutput;

    fn step(&self, target: Tensor<2>) -> RegressionOutput {
        self.output(target)
    }
}

struct Zeros;

impl Batcher<(), Tensor<2>> for Zeros {
    fn batch(&self, _: Vec<()>, device: &Device) -> Tensor<2> {
        Tensor::zeros([1, 2], device)
    }
}

fn batches() -> Arc<dyn DataLoader<Tensor<2>>> {
    DataLoaderBuilder::new(Zeros).batch_size(1).build(InMemDataset::new(vec![(); BATCHES]))
}

/// A metric that notes the rate of each update, as the learner used it, and the momentum that is in force after it.
#[derive(Clone)]
struct Used {
    noted: Arc<Mutex<Vec<f64>>>,
}

impl Metric for Used {
    type Input = ();

    fn name(&self) -> MetricName {
        Arc::new("used".to_string())
    }

    fn update(&mut self, (): &(), metadata: &MetricMetadata) -> Result<SerializedEntry, TensorReadError> {
        self.noted.lock().unwrap().push(metadata.lr.as_ref().unwrap().base());
        self.compute()
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(SerializedEntry::new(String::new(), String::new()))
    }

    fn clear(&mut self) {}
}

/// Trains up to an epoch, after a checkpoint if one is given. Returns the rates that the learner used, and the last momentum.
fn train(folder: &Path, config: &ClrConfig, epochs: usize, after: Option<usize>) -> (Vec<f64>, Option<f64>, RunHandle) {
    let (scheduler, adam) = ClrScheduler::with_optimizer(config.clone(), |beta1| {
        AdamConfig::new().with_beta_1(beta1.unwrap_or(0.9) as f32).build()
    })
    .unwrap();
    let (handle, momentum) = (scheduler.handle(), adam.clone());
    let noted = Arc::new(Mutex::new(Vec::new()));
    let mut training = SupervisedTraining::new(folder, batches(), batches())
        .num_epochs(epochs)
        .with_default_checkpointers()
        .metric_train(Used { noted: Arc::clone(&noted) })
        .with_metric_logger(InMemoryMetricLogger::new())
        .with_application_logger(None);
    if let Some(epoch) = after {
        training = training.checkpoint(epoch);
    }
    let result = training.launch(Learner::new(Model::new(), ModuleOptimizer::from(adam), scheduler));
    assert!(result.error.is_none() && result.interrupted.is_none());
    let rates = noted.lock().unwrap().clone();
    (rates, momentum.momentum(), handle)
}

fn config() -> ClrConfig {
    ClrConfig::new(OneCycle::new(0.02, 3 * BATCHES as u64).unwrap()).with_momentum(0.85, 0.95).unwrap()
}

fn bits(rates: impl IntoIterator<Item = f64>) -> Vec<u64> {
    rates.into_iter().map(f64::to_bits).collect()
}

#[test]
fn a_learner_uses_the_rates_of_the_preview() {
    let folder = tempfile::tempdir().unwrap();
    let (rates, momentum, handle) = train(folder.path(), &config(), 3, None);
    let preview: Vec<Applied> = config().preview().take(3 * BATCHES).collect();
    assert_eq!(bits(rates), bits(preview.iter().map(|used| used.lr)));
    assert_eq!(momentum, preview[preview.len() - 1].momentum);
    assert_eq!(handle.last(), preview.last().copied());
}

#[test]
fn a_checkpoint_of_a_learner_holds_the_place_in_the_schedule() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), &config(), 2, None);
    let (rates, momentum, handle) = train(folder.path(), &config(), 3, Some(2));
    let rest: Vec<Applied> = config().preview().skip(2 * BATCHES).take(BATCHES).collect();
    assert_eq!(handle.load_error(), None);
    assert_eq!(bits(rates), bits(rest.iter().map(|used| used.lr)));
    assert_eq!(momentum, rest[rest.len() - 1].momentum);
}

/// As the README has it.
#[derive(Clone)]
struct ByHandle {
    handle: RunHandle,
    loss: MetricName,
    epochs: Arc<Mutex<usize>>,
}

impl EarlyStoppingStrategy for ByHandle {
    fn should_stop(&mut self, epoch: usize, store: &EventStoreClient) -> bool {
        *self.epochs.lock().unwrap() = epoch;
        let loss = store.find_metric(&self.loss, epoch, Aggregate::Mean, &Split::Valid);
        loss.is_some_and(|loss| self.handle.report(loss).stop.is_some())
    }
}

#[test]
fn early_stopping_of_the_config_ends_a_learner() {
    // A rate of 0 leaves the loss where it is.
    let rule = EarlyStopping::new(2).unwrap();
    let config = ClrConfig::new(Constant::new(0.0).unwrap()).with_early_stopping(rule).unwrap();
    let scheduler = ClrScheduler::new(config).unwrap();
    let (folder, handle, loss) = (tempfile::tempdir().unwrap(), scheduler.handle(), LossMetric::new());
    let epochs = Arc::new(Mutex::new(0));
    let strategy = ByHandle { handle: handle.clone(), loss: loss.name(), epochs: Arc::clone(&epochs) };
    SupervisedTraining::new(folder.path(), batches(), batches())
        .num_epochs(9)
        .metric_valid_numeric(loss)
        .early_stopping(strategy)
        .with_metric_logger(InMemoryMetricLogger::new())
        .with_application_logger(None)
        .launch(Learner::new(Model::new(), AdamConfig::new().init(), scheduler));
    // The first epoch is the record; the two after it do not improve.
    assert_eq!(*epochs.lock().unwrap(), 3);
    assert_eq!(handle.stopped(), Some(Stop::NoImprovement));
}
