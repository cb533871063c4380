//! The hyper-parameters of candle's optimizers.

use candle_nn::{AdamW, Optimizer, ParamsAdamW, SGD};

use crate::hyper::{Hyper, Hyperparameters, Unsupported};

/// The momentum is `beta1`.
impl Hyperparameters for AdamW {
    fn get(&self, hyper: Hyper) -> Option<f64> {
        let params = self.params();
        Some(match hyper {
            Hyper::LearningRate => params.lr,
            Hyper::Momentum => params.beta1,
            Hyper::WeightDecay => params.weight_decay,
            Hyper::Beta2 => params.beta2,
            Hyper::Eps => params.eps,
        })
    }

    #[inline]
    fn set(&mut self, hyper: Hyper, value: f64) -> Result<(), Unsupported> {
        let params = self.params().clone();
        self.set_params(match hyper {
            Hyper::LearningRate => ParamsAdamW { lr: value, ..params },
            Hyper::Momentum => ParamsAdamW { beta1: value, ..params },
            Hyper::WeightDecay => ParamsAdamW { weight_decay: value, ..params },
            Hyper::Beta2 => ParamsAdamW { beta2: value, ..params },
            Hyper::Eps => ParamsAdamW { eps: value, ..params },
        });
        Ok(())
    }
}

/// Only a rate: candle's SGD has neither momentum nor weight decay.
impl Hyperparameters for SGD {
    fn get(&self, hyper: Hyper) -> Option<f64> {
        match hyper {
            Hyper::LearningRate => Some(self.learning_rate()),
            _ => None,
        }
    }

    #[inline]
    fn set(&mut self, hyper: Hyper, value: f64) -> Result<(), Unsupported> {
        match hyper {
            Hyper::LearningRate => self.set_learning_rate(value),
            other => return Err(Unsupported(other)),
        }
        Ok(())
    }
}
