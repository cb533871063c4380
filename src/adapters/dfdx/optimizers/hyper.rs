//! The hyper-parameters of dfdx's configs, which its optimizers and ours share.

use dfdx::dtypes::Dtype;
use dfdx::optim::{AdamConfig, RMSpropConfig, SgdConfig};
use dfdx::tensor::Storage;

use super::rule::Fields;
use crate::hyper::{Hyper, Hyperparameters, Unsupported};

macro_rules! through_fields {
    ($($config:ty),+ $(,)?) => {$(
        impl Hyperparameters for $config {
            fn get(&self, hyper: Hyper) -> Option<f64> {
                { *self }.field(hyper).copied()
            }

            #[inline]
            fn set(&mut self, hyper: Hyper, value: f64) -> Result<(), Unsupported> {
                *self.field(hyper).ok_or(Unsupported(hyper))? = value;
                Ok(())
            }
        }
    )+};
}

through_fields!(
    AdamConfig,
    RMSpropConfig,
    SgdConfig,
    super::AdadeltaConfig,
    super::AdagradConfig,
    super::AdamWConfig,
    super::AdamaxConfig,
    super::LionConfig,
    super::NadamConfig,
    super::TorchRMSpropConfig,
);

macro_rules! through_cfg {
    ($(impl<$($parameter:ident),+> for $optimizer:ty;)+) => {$(
        impl<$($parameter),+> Hyperparameters for $optimizer
        where
            E: Dtype,
            D: Storage<E>,
        {
            fn get(&self, hyper: Hyper) -> Option<f64> {
                self.cfg.get(hyper)
            }

            #[inline]
            fn set(&mut self, hyper: Hyper, value: f64) -> Result<(), Unsupported> {
                self.cfg.set(hyper, value)
            }
        }
    )+};
}

through_cfg! {
    impl<M, E, D> for dfdx::optim::Adam<M, E, D>;
    impl<M, E, D> for dfdx::optim::Sgd<M, E, D>;
    impl<M, E, D> for dfdx::optim::RMSprop<M, E, D>;
}

#[cfg(test)]
mod tests {
    use dfdx::optim::{Momentum, WeightDecay};

    use super::*;

    #[test]
    fn momentum_means_what_it_says() {
        let mut adam = AdamConfig::default();
        assert_eq!(adam.get(Hyper::Momentum), Some(0.9));
        adam.set(Hyper::Momentum, 0.8).unwrap();
        assert_eq!(adam.betas, [0.8, 0.999]);
        let mut rmsprop = RMSpropConfig::default();
        assert_eq!(rmsprop.set(Hyper::Momentum, 0.8), Err(Unsupported(Hyper::Momentum)));
        assert_eq!((rmsprop.momentum, rmsprop.alpha), (None, 0.9));
        let mut sgd = SgdConfig { momentum: Some(Momentum::Nesterov(0.5)), ..SgdConfig::default() };
        sgd.set(Hyper::Momentum, 0.8).unwrap();
        assert!(matches!(sgd.momentum, Some(Momentum::Nesterov(momentum)) if momentum == 0.8));
    }

    #[test]
    fn weight_decay_keeps_its_kind_and_is_never_switched_on() {
        let mut sgd = SgdConfig::default();
        assert_eq!(sgd.set(Hyper::WeightDecay, 0.1), Err(Unsupported(Hyper::WeightDecay)));
        sgd.weight_decay = Some(WeightDecay::Decoupled(0.5));
        sgd.set(Hyper::WeightDecay, 0.1).unwrap();
        assert!(matches!(sgd.weight_decay, Some(WeightDecay::Decoupled(strength)) if strength == 0.1));
        let mut rmsprop = RMSpropConfig { weight_decay: Some(WeightDecay::L2(0.5)), ..RMSpropConfig::default() };
        rmsprop.set(Hyper::WeightDecay, 0.1).unwrap();
        assert_eq!(rmsprop.get(Hyper::WeightDecay), Some(0.1));
        let mut adam = AdamConfig { weight_decay: Some(WeightDecay::L2(0.5)), ..AdamConfig::default() };
        adam.set(Hyper::WeightDecay, 0.1).unwrap();
        assert_eq!(adam.get(Hyper::WeightDecay), Some(0.1));
    }
}
