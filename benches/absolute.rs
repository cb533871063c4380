//! Absolute times, by criterion: one step of each running schedule, a preview of a million values, updates of our
//! optimizers and of dfdx's. Ratios, which can be compared between machines, are in `ratios`.

#![allow(missing_docs, reason = "criterion's macro makes a public function without a doc comment")]

mod support;

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use cyclic_optim::{Adam, ClrConfig, Cyclic, CyclicOptimizer, Schedule, ScheduleExt, Sgd};
use dfdx::optim::{AdamConfig, Optimizer, SgdConfig};
use dfdx::prelude::ZeroGrads;
use support::{model, schedules};

/// One step of a running schedule: evaluates it at the present step, and advances.
fn schedule_step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("schedule_step");
    for (name, policy) in schedules() {
        let mut preview = policy.values_from(0);
        group.bench_function(name, |bencher| bencher.iter(|| preview.next()));
    }
    group.finish();

    let mut group = criterion.benchmark_group("schedule_random_access");
    for (name, policy) in schedules() {
        let mut step = 0_u64;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                step = (step + 7919) % 1_000_000;
                black_box(&policy).value_at(step)
            });
        });
    }
}

fn preview(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("preview_million");
    group.throughput(Throughput::Elements(1_000_000)).sample_size(20);
    let mut values = Vec::with_capacity(1_000_000);
    for (name, policy) in schedules() {
        let config = ClrConfig::new(policy);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                values.clear();
                values.extend(config.preview().map(|used| used.lr).take(1_000_000));
                black_box(values.len())
            });
        });
    }
}

fn updates_of<const N: usize>(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("update");
    let triangular = || Cyclic::triangular(1e-5, 1e-4, 2000).unwrap();
    let (mut parameters, gradients) = model::<N>();
    let mut adam = dfdx::optim::Adam::new(&parameters, AdamConfig::default());
    group.bench_function(BenchmarkId::new("dfdx_adam_bare", N), |bencher| {
        bencher.iter(|| adam.update(&mut parameters, &gradients).unwrap());
    });
    let mut wrapped = CyclicOptimizer::new(adam, triangular());
    group.bench_function(BenchmarkId::new("dfdx_adam_wrapped", N), |bencher| {
        bencher.iter(|| wrapped.update(&mut parameters, &gradients).unwrap());
    });
    let mut sgd = dfdx::optim::Sgd::new(&parameters, SgdConfig::default());
    group.bench_function(BenchmarkId::new("dfdx_sgd_bare", N), |bencher| {
        bencher.iter(|| sgd.update(&mut parameters, &gradients).unwrap());
    });
    let mut wrapped = CyclicOptimizer::new(sgd, triangular());
    group.bench_function(BenchmarkId::new("dfdx_sgd_wrapped", N), |bencher| {
        bencher.iter(|| wrapped.update(&mut parameters, &gradients).unwrap());
    });
    // `apply` zeroes the gradients. Without new ones the moments would decay to denormal numbers, which are slow. So each
    // update gets fresh gradients, and so do dfdx's `update` and `zero_grads`, for comparison.
    let fresh = gradients.clone();
    let mut bare = dfdx::optim::Adam::new(&parameters, AdamConfig::default());
    group.bench_function(BenchmarkId::new("dfdx_adam_update_and_zero", N), |bencher| {
        bencher.iter_batched_ref(
            || fresh.clone(),
            |gradients| {
                bare.update(&mut parameters, gradients).unwrap();
                parameters.zero_grads(gradients);
            },
            BatchSize::LargeInput,
        );
    });
    let mut adam = CyclicOptimizer::new(Adam::default(), triangular());
    group.bench_function(BenchmarkId::new("our_adam_update", N), |bencher| {
        bencher.iter(|| adam.update(&mut parameters, &gradients).unwrap());
    });
    group.bench_function(BenchmarkId::new("our_adam_apply", N), |bencher| {
        bencher.iter_batched_ref(
            || fresh.clone(),
            |gradients| adam.apply(&mut parameters, gradients, 1.0).unwrap(),
            BatchSize::LargeInput,
        );
    });
    let mut sgd = CyclicOptimizer::new(Sgd::default(), triangular());
    group.bench_function(BenchmarkId::new("our_sgd_apply", N), |bencher| {
        bencher.iter_batched_ref(
            || fresh.clone(),
            |gradients| sgd.apply(&mut parameters, gradients, 1.0).unwrap(),
            BatchSize::LargeInput,
        );
    });
}

fn updates(criterion: &mut Criterion) {
    updates_of::<1>(criterion);
    updates_of::<100>(criterion);
    updates_of::<10_000>(criterion);
    updates_of::<1_000_000>(criterion);
}

criterion_group!(benches, schedule_step, preview, updates);
criterion_main!(benches);
