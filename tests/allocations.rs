//! The wrapper allocates nothing on the heap when it updates, and a preview needs no more than its output.

mod support;

use allocation_counter::measure;
use cyclic_optim::{ClrConfig, Cyclic, CyclicOptimizer, OneCycle, Sequence, WarmRestarts};
use support::unset;

#[test]
fn the_counter_counts() {
    let counted = measure(|| drop(std::hint::black_box(vec![0_u8; 100])));
    assert_eq!((counted.count_total, counted.bytes_total), (1, 100));
}

#[test]
fn no_allocation_per_update() {
    let configs: [ClrConfig; 4] = [
        ClrConfig::new(Cyclic::exp_range(0.1, 0.2, 3, 0.99).unwrap()).with_momentum(0.8, 0.9).unwrap(),
        ClrConfig::new(OneCycle::new(0.1, 500).unwrap()).with_decay(0.1).unwrap(),
        WarmRestarts::new(0.0, 0.1, 2).unwrap().with_t_mult(2).unwrap().into(),
        Sequence::warmup_cosine(0.0, 0.1, 0.0, 10, 500).unwrap().into(),
    ];
    for config in configs {
        let mut optimizer = CyclicOptimizer::new(unset(), config);
        let counted = measure(|| {
            for _ in 0..1000 {
                optimizer.update_with(|_| Ok::<_, ()>(())).unwrap();
            }
            optimizer.reset_cycle();
            optimizer.seek(100);
        });
        assert_eq!(counted.count_total, 0);
    }
}

/// The whole update through dfdx allocates exactly as often as without the wrapper.
#[cfg(feature = "dfdx")]
#[test]
fn no_allocation_per_dfdx_update() {
    use cyclic_optim::Constant;
    use dfdx::optim::{Optimizer, SgdConfig};
    use dfdx::prelude::{Cpu, DeviceBuildExt, Linear, ZeroGrads};

    let device = Cpu::default();
    let mut model = device.build_module::<Linear<5, 5>, f32>();
    let grads = model.alloc_grads();
    let mut bare = dfdx::optim::Sgd::new(&model, SgdConfig::default());
    let mut wrapped = CyclicOptimizer::new(bare.clone(), Constant::new(0.01).unwrap());
    bare.update(&mut model, &grads).unwrap();
    wrapped.update(&mut model, &grads).unwrap();
    let bare = measure(|| (0..100).for_each(|_| bare.update(&mut model, &grads).unwrap()));
    let wrapped = measure(|| (0..100).for_each(|_| wrapped.update(&mut model, &grads).unwrap()));
    assert_eq!((wrapped.count_total, wrapped.bytes_total), (bare.count_total, bare.bytes_total));
}

#[test]
fn a_million_values_need_their_own_memory_only() {
    let config = ClrConfig::new(Cyclic::triangular2(0.1, 0.2, 100).unwrap());
    let mut values: Vec<f64> = Vec::with_capacity(1_000_000);
    let counted = measure(|| values.extend(config.preview().map(|used| used.lr).take(1_000_000)));
    assert_eq!((counted.count_total, values.len()), (0, 1_000_000));
}

/// A sweep keeps one copy of the model and of its moments, and the curve: nothing else that grows with the number of steps.
#[cfg(feature = "dfdx")]
#[test]
fn a_sweep_keeps_one_copy_and_its_curve() {
    use cyclic_optim::Adam;
    use cyclic_optim::adapters::dfdx::range_test;
    use cyclic_optim::range_test::{LossPoint, RangeTest};
    use dfdx::prelude::{
        AsArray, Backward, Cpu, DeviceBuildExt, Linear, Module, Rank2, SampleTensor, Tensor, Trace, mse_loss,
    };

    let device = Cpu::default();
    let model = device.build_module::<Linear<100, 100>, f32>();
    let batch: Tensor<Rank2<2, 100>, f32, _> = device.sample_normal();
    let peak = |steps: u64| {
        let test = RangeTest::logarithmic(1e-7, 1e-6, steps).unwrap();
        let counted = measure(|| {
            let curve = range_test(
                &model,
                &Adam::default(),
                &test,
                std::iter::repeat(&batch),
                |model, grads, batch| {
                    let loss = mse_loss(model.forward(batch.trace(grads)), batch.clone());
                    Ok::<_, ()>((loss.array(), loss.backward()))
                },
                |_| Ok(None),
            );
            assert_eq!(curve.unwrap().points().len() as u64, steps);
        });
        counted.bytes_max
    };
    let (short, long) = (peak(50), peak(500));
    // A growing list holds its old and its new place for a moment.
    let curve = 3 * 512 * size_of::<LossPoint>() as u64;
    assert!(long <= short + curve, "{short} bytes at 50 steps, {long} at 500");
}
