//! What the tests share: a temporary folder, inner optimizers without a model, and arbitrary schedules.

#![allow(dead_code, reason = "each test uses its part")]

#[cfg(feature = "dfdx")]
pub(crate) mod digits;
#[cfg(feature = "tensorboard")]
pub(crate) mod events;

use std::fs;
use std::path::{Path, PathBuf};

use cyclic_optim::{
    Amplitude, ClrConfig, Constant, CosineDecay, Curve, Cyclic, ExponentialDecay, Hyper, Hyperparameters,
    InverseSqrtDecay, InverseTimeDecay, LinearDecay, MultiStepDecay, OneCycle, Part, Policy, PolynomialDecay, Product,
    RateAndMomentum, Schedule, Sequence, StepDecay, Unsupported, WarmRestarts,
};
use proptest::prelude::*;

/// A folder that is removed at the end of the test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An optimizer with a rate and a momentum, which nobody has set yet.
pub(crate) fn unset() -> RateAndMomentum {
    RateAndMomentum { lr: f64::NAN, momentum: Some(f64::NAN) }
}

/// An optimizer that remembers all hyper-parameters, by name.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct RemembersAll(pub(crate) std::collections::BTreeMap<&'static str, f64>);

impl Hyperparameters for RemembersAll {
    fn get(&self, hyper: Hyper) -> Option<f64> {
        Some(self.0.get(hyper.name()).copied().unwrap_or(0.5))
    }

    fn set(&mut self, hyper: Hyper, value: f64) -> Result<(), Unsupported> {
        self.0.insert(hyper.name(), value);
        Ok(())
    }
}

/// A schedule together with what its documentation promises about it.
#[derive(Debug, Clone)]
pub(crate) struct Promised {
    pub(crate) policy: Policy,
    pub(crate) bounds: (f64, f64),
    /// The value at step 0, bit for bit.
    pub(crate) first: f64,
    /// The value at the horizon and after it, bit for bit.
    pub(crate) end: Option<f64>,
    /// The length after which the values repeat.
    pub(crate) period: Option<u64>,
}

fn rate() -> impl Strategy<Value = f64> {
    prop_oneof![8 => 0.0..10.0, 2 => Just(0.0), 1 => Just(-0.0), 2 => 1e-12..1e-6]
}

fn rates() -> impl Strategy<Value = (f64, f64)> {
    (rate(), rate()).prop_map(|(a, b)| (a.min(b), a.max(b)))
}

fn length() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 1..200_u64, 1 => Just(1), 1 => 1..1_u64 << 40, 1 => 1..1_u64 << 62]
}

fn gamma() -> impl Strategy<Value = f64> {
    prop_oneof![4 => 0.5..1.0, 1 => 1e-9..0.5, 1 => Just(1.0)]
}

fn curve() -> impl Strategy<Value = Curve> {
    prop_oneof![Just(Curve::Linear), Just(Curve::Cosine)]
}

fn promised(
    policy: impl Into<Policy>,
    bounds: (f64, f64),
    first: f64,
    end: Option<f64>,
    period: Option<u64>,
) -> Promised {
    // A schedule turns a rate of -0.0 into 0.0.
    Promised { policy: policy.into(), bounds, first: first + 0.0, end: end.map(|end| end + 0.0), period }
}

fn cyclic() -> impl Strategy<Value = Promised> {
    let amplitude = prop_oneof![
        Just(Amplitude::Constant),
        Just(Amplitude::Halving),
        gamma().prop_map(Amplitude::Factor),
        (1.0..3.0_f64).prop_map(Amplitude::Factor),
        gamma().prop_map(Amplitude::Gamma),
        (1..9_u64).prop_map(Amplitude::Cosine),
        (0.0..5.0_f64).prop_map(Amplitude::InverseTime),
    ];
    let shape = (curve(), curve(), amplitude, prop::option::of(0.0..=1.0_f64)).boxed();
    let sizes = (length(), length(), 1..50_u64);
    let equal = (sizes, prop::option::of(1..30_u64), rates(), shape.clone()).prop_map(
        |((up, down, divisor), count, (base, max), (rise, fall, amplitude, end))| {
            let endless = Cyclic::triangular(base, max, up).unwrap().with_step_sizes(up, down).unwrap();
            // Too large a divisor, or a length that is not exact as a float.
            let divided = endless.clone().with_step_divisor(divisor);
            let (endless, divisor) = divided.map_or((endless, 1), |divided| (divided, divisor));
            // The product of cycles and length may be too large for u64.
            let counted = count.and_then(|count| endless.clone().with_cycles(count).ok());
            let count = counted.is_some().then_some(());
            let counted = counted.unwrap_or(endless);
            let cycles = match amplitude {
                _ if count.is_some() => None,
                Amplitude::Constant => Some(divisor),
                Amplitude::Cosine(period) => divisor.checked_mul(period),
                _ => None,
            };
            // After this many cycles the values repeat, because their total length is a whole number of updates.
            let period = cycles.and_then(|cycles| (up + down).checked_mul(cycles)).map(|parts| parts / divisor);
            // Endless peaks cannot grow.
            let curved = counted.with_curves(rise, fall);
            let curved = curved.clone().with_amplitude(amplitude).unwrap_or(curved);
            ended(curved, (base, max), end)
                .map_promise(|cyclic, bounds, last| promised(cyclic, bounds, base, count.map(|()| last), period))
        },
    );
    let split = (1..20_u64, 0..500_u64, 0.0..=1.0_f64, rates(), shape).prop_map(
        |(count, more, up, (base, max), (rise, fall, amplitude, end))| {
            let cyclic = Cyclic::over_total(base, max, count + more, count, up).unwrap();
            let first = if up == 0.0 { max } else { base };
            ended(cyclic.with_curves(rise, fall).with_amplitude(amplitude).unwrap(), (base, max), end)
                .map_promise(|cyclic, bounds, last| promised(cyclic, bounds, first, Some(last), None))
        },
    );
    prop_oneof![equal.boxed(), split.boxed()]
}

struct Ended(Cyclic, (f64, f64), f64);

impl Ended {
    fn map_promise(self, promise: impl FnOnce(Cyclic, (f64, f64), f64) -> Promised) -> Promised {
        promise(self.0, self.1, self.2)
    }
}

/// Gives a cyclic schedule an end of its own, as a share of its peak.
fn ended(cyclic: Cyclic, (base, max): (f64, f64), share: Option<f64>) -> Ended {
    let highest = cyclic.peak();
    match share.map(|share| max * share) {
        Some(end) => Ended(cyclic.with_end_lr(end).unwrap(), (base.min(end), highest), end),
        None => Ended(cyclic, (base, highest), base),
    }
}

fn one_cycle() -> impl Strategy<Value = Promised> {
    let options = (0.0..=1.0_f64, prop::option::of(0.0..=1.0_f64), 1.0..100.0_f64, 1.0..1e5_f64, curve());
    (rate(), length(), 0..5_usize, options).prop_map(
        |(max, total, dialect, (rise, last, mut div, mut final_div, curve))| {
            let new = [OneCycle::new, OneCycle::pytorch, OneCycle::fastai, OneCycle::optax, OneCycle::paper][dialect];
            let mut schedule = new(max, total).unwrap();
            if dialect < 4 {
                schedule = schedule.with_rise_fraction(rise).unwrap().with_curve(curve);
                if let Some(last) = last {
                    schedule = schedule.with_three_phases(rise + (1.0 - rise) * last).unwrap();
                }
                schedule = schedule.with_div_factors(div, final_div).unwrap();
            } else {
                (div, final_div) = (10.0, 100.0);
            }
            let start = max / div;
            let end = if dialect == 2 { max } else { start } / final_div;
            // Where the start is depends on the turn; `endpoints` in tests/laws.rs knows the cases.
            promised(schedule, (start.min(end), max), f64::NAN, Some(end), None)
        },
    )
}

fn warm_restarts() -> impl Strategy<Value = Promised> {
    let factor = prop_oneof![3 => gamma(), 1 => 1.0..3.0_f64];
    (rates(), length(), 1..4_u64, prop::option::of(1..9_u64), factor, any::<bool>()).prop_map(
        |((base, max), t_0, t_mult, count, factor, inclusive)| {
            let endless = WarmRestarts::new(base, max, t_0).unwrap().with_t_mult(t_mult).unwrap();
            let counted = count.and_then(|count| endless.clone().with_cycles(count).ok());
            let count = counted.is_some().then_some(());
            let counted = counted.unwrap_or(endless);
            // Endless peaks cannot grow.
            let factor = if count.is_none() { factor.min(1.0) } else { factor };
            let schedule = counted.with_peak_factor(factor).unwrap();
            let highest = schedule.peak();
            let schedule = if inclusive { schedule.with_inclusive_end() } else { schedule };
            let periodic = t_mult == 1 && count.is_none() && factor == 1.0;
            promised(schedule, (base, highest), max, count.map(|()| base), periodic.then_some(t_0))
        },
    )
}

fn decay() -> impl Strategy<Value = Promised> {
    let between = |a: f64, b: f64| (a.min(b), a.max(b));
    prop_oneof![
        rate().prop_map(|lr| promised(Constant::new(lr).unwrap(), (lr, lr), lr, None, Some(1))),
        (rate(), rate(), length()).prop_map(move |(start, end, steps)| {
            promised(LinearDecay::new(start, end, steps).unwrap(), between(start, end), start, Some(end), None)
        }),
        (rate(), rate(), length()).prop_map(move |(start, end, steps)| {
            promised(CosineDecay::new(start, end, steps).unwrap(), between(start, end), start, Some(end), None)
        }),
        (rate(), rate(), length(), 0.1..5.0_f64).prop_map(move |(start, end, steps, power)| {
            let schedule = PolynomialDecay::new(start, end, steps, power).unwrap();
            promised(schedule, between(start, end), start, Some(end), None)
        }),
        (rate(), gamma()).prop_map(|(start, gamma)| promised(
            ExponentialDecay::new(start, gamma).unwrap(),
            (0.0, start),
            start,
            None,
            None
        )),
        (rate(), length(), gamma()).prop_map(|(start, size, gamma)| {
            promised(StepDecay::new(start, size, gamma).unwrap(), (0.0, start), start, None, None)
        }),
        (rate(), prop::collection::btree_set(1..300_u64, 1..6), gamma()).prop_map(|(start, milestones, gamma)| {
            let milestones: Vec<u64> = milestones.into_iter().collect();
            promised(MultiStepDecay::new(start, milestones, gamma).unwrap(), (0.0, start), start, None, None)
        }),
        (rate(), 0.0..2.0_f64).prop_map(|(start, rate)| promised(
            InverseTimeDecay::new(start, rate).unwrap(),
            (0.0, start),
            start,
            None,
            None
        )),
        (rate(), length()).prop_map(|(start, scale)| promised(
            InverseSqrtDecay::new(start, scale).unwrap(),
            (0.0, start),
            start,
            None,
            None
        )),
    ]
}

/// Any schedule but a sequence.
pub(crate) fn single() -> impl Strategy<Value = Promised> {
    // Boxed, because they do not fit on the stack of a test.
    prop_oneof![3 => cyclic().boxed(), 2 => one_cycle().boxed(), 2 => warm_restarts().boxed(), 3 => decay().boxed()]
}

/// The parts of a sequence: schedules and lengths.
pub(crate) fn parts() -> impl Strategy<Value = Vec<(Promised, u64)>> {
    prop::collection::vec((single(), 1..300_u64), 1..4)
}

/// Any schedule of the crate, with sequences and products up to two deep.
pub(crate) fn policy() -> impl Strategy<Value = Policy> {
    let single = single().prop_map(|promised| promised.policy).boxed();
    single.prop_recursive(2, 8, 3, |inner| {
        let sequence =
            (prop::collection::vec((inner.clone(), 1..300_u64), 0..3), inner.clone()).prop_map(|(parts, last)| {
                let mut parts: Vec<Part> = parts.into_iter().map(|(policy, steps)| Part::new(policy, steps)).collect();
                let fits = parts.clone();
                parts.push(Part::endless(last.clone()));
                Sequence::new(parts).or_else(|_| Sequence::new(fits)).map_or(last, Policy::from)
            });
        let product = (prop::collection::vec((inner.clone(), 1..300_u64), 1..3), inner)
            .prop_map(|(factors, first)| product(&first, factors).into());
        prop_oneof![sequence.boxed(), product.boxed()]
    })
}

/// `first` times the others. If `first` ends, the others are made to end, too, and otherwise to be endless.
pub(crate) fn product(first: &Policy, factors: Vec<(Policy, u64)>) -> Product {
    let mut factors = factors.into_iter().map(|(factor, steps)| ending_as(first, factor, steps));
    let product = Product::new(first.clone(), factors.next().unwrap()).unwrap();
    factors.fold(product, |product, factor| product.times(factor).unwrap())
}

/// `factor` cut to `steps` updates if `first` ends and it does not, or followed by its last value if it ends and `first` does not.
pub(crate) fn ending_as(first: &Policy, factor: Policy, steps: u64) -> Policy {
    match (first.horizon(), factor.horizon()) {
        (Some(_), None) => Sequence::new([Part::new(factor, steps)]).unwrap().into(),
        (None, Some(horizon)) => {
            let end = Constant::new(factor.value_at(horizon)).unwrap();
            Sequence::new([Part::new(factor, horizon), Part::endless(end)]).unwrap().into()
        }
        _ => factor,
    }
}

/// Any config over any schedule.
pub(crate) fn config() -> impl Strategy<Value = ClrConfig> {
    let momentum = prop::option::of((0.0..1.0_f64, 0.0..1.0_f64, any::<bool>()));
    let decay = prop_oneof![Just(0.0), 0.0..0.1_f64];
    (policy(), momentum, decay, prop::option::of(rates())).prop_map(|(policy, momentum, decay, bounds)| {
        let mut config = ClrConfig::new(policy);
        let has_height = config.schedule().point_at(0, None).height.is_some();
        if let Some((a, b, scaled)) = momentum.filter(|_| has_height) {
            let (low, high) = (a.min(b), a.max(b));
            let with = if scaled { ClrConfig::with_scaled_momentum } else { ClrConfig::with_momentum };
            config = with(config, low, high).unwrap();
        }
        if config.schedule().range().is_some() {
            config = config.with_decay(decay).unwrap();
        }
        match bounds {
            Some((floor, ceiling)) => config.with_bounds(floor, ceiling).unwrap(),
            None => config,
        }
    })
}
