//! The flags of `TensorBoard` and of the model checkpoints.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{ArgGroup, Args};

use super::feedback::Mode;
use super::{METRICS, at_least_1};

#[derive(Args)]
#[command(next_help_heading = "TensorBoard")]
pub(crate) struct TensorBoardArguments {
    /// Write event files into this folder, which is created if it does not exist.
    #[arg(long, value_name = "DIR")]
    pub(crate) tensorboard: Option<PathBuf>,
    /// Write every N-th update.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "tensorboard", value_parser = at_least_1())]
    pub(crate) tensorboard_update_freq: u64,
    /// Write histograms of the parameters, and of the activations for the validation images, in every N-th epoch; 0 writes none.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "tensorboard")]
    pub(crate) tensorboard_histogram_freq: u64,
    /// Write a picture of the weights of the first layer in every N-th epoch; 0 writes none.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "tensorboard")]
    pub(crate) tensorboard_image_freq: u64,
}

#[derive(Args)]
#[command(next_help_heading = "Model checkpoint")]
#[command(group(ArgGroup::new("chooses").args(["model_checkpoint_save_best_only", "model_checkpoint_save_top_k"]).multiple(true)))]
pub(crate) struct ModelCheckpointArguments {
    /// Write the model to a file of this name after each epoch, for instance models/{epoch:02}-{val_loss:.3}.safetensors. It may
    /// be given several times, for models that are the best by different metrics.
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) model_checkpoint: Vec<String>,
    /// Let this metric decide which model is the best [default: `val_loss`]. With several templates it is given once for
    /// each of them, in their order.
    #[arg(long, value_name = "METRIC", requires = "chooses", value_parser = METRICS)]
    pub(crate) model_checkpoint_monitor: Vec<String>,
    /// Say whether a smaller or a larger metric is better.
    #[arg(long, value_enum, default_value_t = Mode::Auto, requires = "chooses")]
    pub(crate) model_checkpoint_mode: Mode,
    /// Write only a model that is better than the best so far.
    #[arg(long, requires = "model_checkpoint")]
    pub(crate) model_checkpoint_save_best_only: bool,
    /// Keep the files of the K best models, and remove the others.
    #[arg(long, value_name = "K", requires = "model_checkpoint", value_parser = RangedU64ValueParser::<usize>::new().range(1..),
        conflicts_with_all = ["model_checkpoint_save_best_only", "model_checkpoint_keep_last"])]
    pub(crate) model_checkpoint_save_top_k: Option<usize>,
    /// Write the weights alone.
    #[arg(long, requires = "model_checkpoint")]
    pub(crate) model_checkpoint_save_weights_only: bool,
    /// Write a file after every N-th epoch only.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "model_checkpoint", value_parser = at_least_1())]
    pub(crate) model_checkpoint_save_freq: u64,
    /// Keep the last N files, and remove older ones.
    #[arg(long, value_name = "N", requires = "model_checkpoint", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub(crate) model_checkpoint_keep_last: Option<usize>,
}
