//! candle 0.11: its optimizers as inner optimizers, its `Optimizer` trait for [`CyclicOptimizer`](crate::CyclicOptimizer), and
//! whole updates by [`apply`](crate::CyclicOptimizer::apply).
//!
//! Feature `candle`, which is not part of `full`, because candle needs Rust 1.88. dfdx is not needed.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use candle_nn::{AdamW, Module, Optimizer, VarBuilder, VarMap, linear, loss::mse};
//! use cyclic_optim::{ClrConfig, CyclicOptimizer, OneCycle};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let variables = VarMap::new();
//! let model = linear(4, 1, VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu))?;
//! let (x, y) = (Tensor::rand(0_f32, 1.0, (8, 4), &Device::Cpu)?, Tensor::rand(0_f32, 1.0, (8, 1), &Device::Cpu)?);
//!
//! let config = ClrConfig::new(OneCycle::new(0.02, 100)?).with_momentum(0.85, 0.95)?;
//! let adamw = AdamW::new_lr(variables.all_vars(), 0.0)?; // the schedule sets the rate
//! let mut optimizer = CyclicOptimizer::try_new(adamw, config)?;
//! for _ in 0..100 {
//!     let loss = mse(&model.forward(&x)?, &y)?;
//!     optimizer.backward_step(&loss)?;
//! }
//! assert!(optimizer.is_finished());
//! # Ok(())
//! # }
//! ```
//!
//! # Three ways to make an update
//!
//! | call | guard and clipping | history | names variables without a gradient |
//! |---|---|---|---|
//! | `optimizer.step(&gradients)` of candle's trait | no | no | no |
//! | `optimizer.backward_step(&loss)` of candle's trait | yes | yes | no |
//! | [`optimizer.apply(&mut model, &mut gradients, loss)`](crate::CyclicOptimizer::apply) | yes | yes | yes |
//!
//! The model of `apply` is the [`VarMap`] or the `Vec<Var>` whose variables the optimizer has; see [`Variables`]. Afterwards the
//! store no longer has gradients of these variables, so a second `apply` would report all of them as missing.
//!
//! [`VarMap`]: https://docs.rs/candle-nn/0.11/candle_nn/var_map/struct.VarMap.html
//!
//! The guard checks the loss on the host, so on a GPU `backward_step` and `apply` wait for the loss at each update.
//! Gradients are copied to the host if they are guarded or clipped.
//!
//! # Momentum
//!
//! Momentum means `beta1` of `AdamW`. candle's `SGD` has no momentum, and a config that cycles it is refused with
//! [`NoMomentum`](crate::ConfigError::NoMomentum).
//!
//! # Several micro-batches, several processes
//!
//! An [`Accumulator`](crate::training::Accumulator) averages the gradients of several micro-batches, and of several processes
//! that train one model. candle's gradients are sent in f64. Call [`broadcast`] first, so that all ranks start from the same
//! values.
//!
//! ```
//! # use candle_core::{Device, Var, backprop::GradStore};
//! # use candle_nn::{Optimizer, SGD};
//! # use cyclic_optim::{Constant, CyclicOptimizer};
//! use cyclic_optim::training::Accumulator;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let weight = Var::new(0.0, &Device::Cpu)?;
//! # let mut variables = vec![weight.clone()];
//! # let mut optimizer = CyclicOptimizer::new(SGD::new(variables.clone(), 0.0)?, Constant::new(1.0)?);
//! # let loss_of = |slope: f64| weight.affine(slope, 0.0);
//!
//! let mut sum = Accumulator::new();
//! for (micro_batch, samples) in [(1.0, 24), (5.0, 8)] {
//!     let loss = loss_of(micro_batch)?;
//!     sum.add(&variables, &mut loss.backward()?, loss.to_scalar::<f64>()?, samples)?;
//! }
//! optimizer.apply(&mut variables, &mut GradStore::default(), &mut sum)?;
//! assert_eq!(weight.to_scalar::<f64>()?, -2.0); // the mean of the slopes over all samples
//! # Ok(())
//! # }
//! ```
//!
//! In one process, candle's own `GradStore::extend` adds gradients as well; then scale each loss by its share of the samples.
//!
//! # What is saved
//!
//! [`config`](crate::CyclicOptimizer::config), [`state`](crate::CyclicOptimizer::state) and the history are plain data under
//! serde, and `VarMap::save` writes the variables. The moments of candle's `AdamW` are private and cannot be saved, so a resumed
//! run warms them up again. For the same reason its optimizers cannot be cloned: [`Recovery`](crate::training::Recovery)
//! cannot use them, and [`range_test`] consumes the optimizer that it gets. All clones of a variable share its values, so
//! keep the best values in [`SavedVariables`] instead of [`BestWeights`](crate::training::BestWeights).

mod broadcast;
mod gradients;
mod hyper;
mod range_test;
mod update;
mod variables;

pub use broadcast::broadcast;
pub use range_test::{RangeTestError, range_test};
pub use update::{config_error, update_error};
pub use variables::{SavedVariables, Variables};
