//! The laws of `Schedule`, on random schedules and configs.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers"
)]

mod support;

use cyclic_optim::feedback::Plateau;
use cyclic_optim::{
    Applied, ClrConfig, ClrState, ConfigError, Constant, Cyclic, CyclicOptimizer, Hyper, Hyperparameters, LrRange,
    OneCycle, Part, Place, Point, Policy, RateAndMomentum, ScaleMode, ScaledCyclic, Schedule, ScheduleExt, Sequence,
    from_fn,
};
use proptest::prelude::*;
use support::unset;

fn any_step() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..2_000_u64, 2 => any::<u64>(), 1 => Just(u64::MAX), 1 => (u64::MAX - 9)..=u64::MAX]
}

/// The bits of a value.
fn bits(value: f64) -> u64 {
    value.to_bits()
}

fn update(optimizer: &mut CyclicOptimizer<RateAndMomentum>) -> RateAndMomentum {
    optimizer.update_with(|inner| Ok::<_, ()>(*inner)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn law_1_pure_and_law_2_total(policy in support::policy(), mut steps in prop::collection::vec(any_step(), 1..20)) {
        let forwards: Vec<u64> = steps.iter().map(|&step| bits(policy.value_at(step))).collect();
        steps.reverse();
        let backwards: Vec<u64> = steps.iter().map(|&step| bits(policy.value_at(step))).collect();
        prop_assert!(forwards.iter().eq(backwards.iter().rev()));
        for step in steps {
            let _ = (policy.cycle_at(step), policy.cycle_start(step.min(100)), policy.height_at(step));
        }
    }

    #[test]
    fn law_3_bounded(promised in support::single(), steps in prop::collection::vec(any_step(), 1..50)) {
        let (low, high) = promised.bounds;
        for step in steps {
            let value = promised.policy.value_at(step);
            prop_assert!(value >= low && value <= high, "{value} at {step} is outside of {low}..={high}");
            if let Some(height) = promised.policy.height_at(step) {
                prop_assert!((0.0..=1.0).contains(&height), "height {height} at {step}");
            }
        }
    }

    #[test]
    fn law_4_exact_ends_and_law_5_holding(promised in support::single(), after in any_step()) {
        let policy = &promised.policy;
        if promised.first.is_finite() {
            prop_assert_eq!(bits(policy.value_at(0)), bits(promised.first));
        }
        prop_assert_eq!(policy.horizon().is_some(), promised.end.is_some());
        if let (Some(horizon), Some(end)) = (policy.horizon(), promised.end) {
            prop_assert_eq!(bits(policy.value_at(horizon)), bits(end));
            prop_assert_eq!(bits(policy.value_at(horizon.saturating_add(after))), bits(end));
            prop_assert_eq!(policy.cycle_at(horizon), None);
        }
    }

    /// The first value of a one-cycle depends on whether there is a rise.
    #[test]
    fn law_4_one_cycle(max in 0.0..10.0_f64, total in 2..5000_u64, rise in 0.0..=1.0_f64) {
        let schedule = OneCycle::new(max, total).unwrap().with_rise_fraction(rise).unwrap();
        let turn = (rise * (total - 1) as f64).round() as u64;
        prop_assert_eq!(bits(schedule.value_at(0)), bits(if turn == 0 { max } else { max / 25.0 }));
        if turn < total - 1 {
            prop_assert_eq!(bits(schedule.value_at(turn)), bits(max));
        }
        prop_assert_eq!(bits(schedule.value_at(total - 1)), bits(max / 25.0 / 1e4));
    }

    #[test]
    fn law_6_periodic(promised in support::single(), step in 0..1_u64 << 50, cycles in 0..1000_u64) {
        if let Some(period) = promised.period {
            if let Some(later) = period.checked_mul(cycles).and_then(|cycles| cycles.checked_add(step)) {
                prop_assert_eq!(bits(promised.policy.value_at(step)), bits(promised.policy.value_at(later)));
            }
        }
    }

    #[test]
    fn law_7_resumable(config in support::config(), k in 0..500_u64, n in 1..60_u64) {
        let mut through = CyclicOptimizer::new(unset(), config.clone());
        for _ in 0..k {
            update(&mut through);
        }
        let mut sought = CyclicOptimizer::new(unset(), config.clone());
        sought.seek(k);
        let mut restored = CyclicOptimizer::new(unset(), config);
        restored.restore(through.state()).unwrap();
        for _ in 0..n {
            let expected = format!("{:?}", update(&mut through));
            prop_assert_eq!(&format!("{:?}", update(&mut sought)), &expected);
            prop_assert_eq!(&format!("{:?}", update(&mut restored)), &expected);
        }
        // Seeking skips cycles without judging their ends.
        let unjudged_cycle_end = through.state().unjudged_cycle_end;
        prop_assert_eq!(ClrState { unjudged_cycle_end, ..sought.state() }, through.state());
        prop_assert_eq!(restored.state(), through.state());
    }

    #[test]
    fn law_8_joined(parts in support::parts(), beyond in 0..1000_u64) {
        let join = |parts: &[(support::Promised, u64)]| {
            let parts: Vec<Part> = parts.iter().map(|(part, steps)| Part::new(part.policy.clone(), *steps)).collect();
            Sequence::new(parts).unwrap()
        };
        let sequence = join(&parts);
        let mut start = 0;
        for (part, steps) in &parts {
            for local in [0, steps / 2, steps - 1] {
                prop_assert_eq!(bits(sequence.value_at(start + local)), bits(part.policy.value_at(local)));
            }
            start += steps;
        }
        let (last, steps) = parts.last().unwrap();
        prop_assert_eq!(sequence.horizon(), Some(start));
        prop_assert_eq!(bits(sequence.value_at(start + beyond)), bits(last.policy.value_at(*steps)));
    }

    #[test]
    fn law_9_one_shape(policy in support::policy(), step in any_step()) {
        if let Some(range) = policy.range() {
            prop_assert_eq!(bits(policy.value_in(step, range)), bits(policy.value_at(step)));
        }
    }

    /// A product is the product of the values of its schedules, and has the cycles of the first.
    #[test]
    fn a_product_multiplies(first in support::policy(), factors in prop::collection::vec((support::policy(), 1..300_u64), 1..3), step in any_step()) {
        let product = support::product(&first, factors.clone());
        let others = factors.into_iter().map(|(factor, steps)| support::ending_as(&first, factor, steps).value_at(step));
        let expected = others.fold(first.value_at(step), |value, other| value * other);
        prop_assert_eq!(bits(product.value_at(step)), bits(expected));
        prop_assert_eq!((product.cycle_at(step), product.height_at(step)), (first.cycle_at(step), first.height_at(step)));
        prop_assert!(product.value_at(step).is_finite());
        if let Some(horizon) = product.horizon() {
            prop_assert_eq!(bits(product.value_at(horizon.saturating_add(step))), bits(product.value_at(horizon)));
        }
    }

    /// Over a sequence the momentum is that of the part, and stays at its maximum in parts without a height.
    #[test]
    fn momentum_follows_the_parts_of_a_sequence(parts in support::parts(), scaled in any::<bool>(), through in 0..900_u64) {
        let join: Vec<Part> = parts.iter().map(|(part, steps)| Part::new(part.policy.clone(), *steps)).collect();
        let sequence = Sequence::new(join).unwrap();
        let with = if scaled { ClrConfig::with_scaled_momentum } else { ClrConfig::with_momentum };
        let heights = parts.iter().any(|(part, _)| part.policy.height_at(0).is_some());
        let config = with(ClrConfig::new(sequence), 0.8, 0.95);
        prop_assert_eq!(config.is_ok(), heights);
        let Ok(config) = config else { return Ok(()) };
        let mut optimizer = CyclicOptimizer::new(unset(), config);
        let mut start = 0;
        for (part, steps) in &parts {
            let alone = with(ClrConfig::new(part.policy.clone()), 0.8, 0.95).ok();
            for local in [0, 1, steps / 2, steps - 1].into_iter().filter(|local| local < steps) {
                let expected = alone.as_ref().map_or(Some(0.95), |config| config.preview().nth(local as usize).unwrap().momentum);
                optimizer.seek(start + local);
                prop_assert_eq!(optimizer.momentum().map(bits), expected.map(bits), "at {} of {:?}", local, part);
            }
            start += steps;
        }
        // The same update by update and by seeking, also beyond the end.
        optimizer.seek(0);
        for _ in 0..through {
            update(&mut optimizer);
        }
        let step = optimizer.clr_iterations();
        let moved = optimizer.momentum();
        optimizer.seek(step);
        prop_assert_eq!(moved.map(bits), optimizer.momentum().map(bits));
    }

    /// Divided step sizes give the triangle of the fraction. If the results are whole numbers, the bits are those of
    /// undivided ones.
    #[test]
    fn divided_steps_are_exact((size, divisor) in (1..200_u64, 1..50_u64), step in any_step()) {
        let divided = |size, divisor| Cyclic::triangular(0.1, 0.7, size).unwrap().with_step_divisor(divisor);
        let whole = Cyclic::triangular(0.1, 0.7, size).unwrap();
        prop_assert_eq!(bits(divided(size * divisor, divisor).unwrap().value_at(step)), bits(whole.value_at(step)));
        prop_assert_eq!(divided(size * divisor, divisor).unwrap().cycle_at(step), whole.cycle_at(step));
        if let Ok(schedule) = divided(size, divisor) {
            // The formula in exact fractions, with u128: 1 - |t / s - 2 c - 1|.
            let phase = u128::from(step) * u128::from(divisor) % u128::from(2 * size);
            let height = phase.min(u128::from(2 * size) - phase) as f64 / size as f64;
            prop_assert_eq!(schedule.height_at(step).map(bits), Some(bits(height)), "{} / {}", size, divisor);
            let cycle = schedule.cycle_at(step).unwrap();
            prop_assert_eq!(u128::from(cycle.index), u128::from(step) * u128::from(divisor) / u128::from(2 * size));
        } else {
            prop_assert!(divisor > size);
        }
    }

    /// A run that moves on by one update equals a new look-up, at every step and at `u64::MAX`.
    #[test]
    fn advancing_is_locating(policy in support::policy(), from in any_step()) {
        let mut optimizer = CyclicOptimizer::new(unset(), policy.clone());
        optimizer.seek(from);
        let mut preview = policy.values_from(from);
        for step in (from..=from.saturating_add(700)).chain([u64::MAX; 2].into_iter().filter(|_| from > u64::MAX - 700)) {
            prop_assert_eq!(preview.next().map(bits), Some(bits(policy.value_at(step))), "at {}", step);
            prop_assert_eq!((optimizer.clr_iterations(), bits(optimizer.lr())), (step, bits(policy.value_at(step))));
            let cycle = policy.cycle_at(step);
            prop_assert_eq!(optimizer.cycle(), cycle);
            update(&mut optimizer);
            if step < u64::MAX {
                prop_assert_eq!(optimizer.at_cycle_end(), cycle.is_some_and(|cycle| cycle.is_last()));
            }
        }
    }

    /// `cycle_start`, `cycle_at` and `cycle_bounds` agree.
    #[test]
    fn cycles_agree(policy in support::policy()) {
        for (index, bounds) in (0..).zip(policy.cycle_bounds().take(20)) {
            prop_assert_eq!(policy.cycle_start(index), Some(bounds.start));
            let first = policy.cycle_at(bounds.start).unwrap();
            let last = policy.cycle_at(bounds.end - 1).unwrap();
            prop_assert_eq!((first.index, first.place), (index, 0));
            prop_assert_eq!((last.index, last.is_last(), last.length), (index, true, bounds.end - bounds.start));
            prop_assert_eq!(policy.updates_for_cycles(index + 1), Some(bounds.end));
        }
    }

    /// Hyper-parameters follow their own schedules, update by update, after seeking and after a state was read.
    #[test]
    fn hypers_follow_their_schedules(rate in support::policy(), own in prop::collection::vec((0..4_usize, support::policy()), 1..4), k in 0..400_u64, n in 1..40_u64) {
        let hypers = [Hyper::WeightDecay, Hyper::Eps, Hyper::Beta2, Hyper::Momentum];
        let mut config = ClrConfig::new(rate);
        let mut scheduled: Vec<(Hyper, Policy)> = Vec::new();
        for (pick, policy) in own {
            let hyper = hypers[pick];
            let with = config.clone().with_hyper(hyper, policy.clone());
            let twice = scheduled.iter().any(|(other, _)| *other == hyper);
            let too_high = matches!(hyper, Hyper::Beta2 | Hyper::Momentum) && policy.peak() >= 1.0;
            prop_assert_eq!(with.is_err(), twice || too_high);
            if let Ok(with) = with {
                config = with;
                scheduled.push((hyper, policy));
            }
        }
        let mut through = CyclicOptimizer::new(support::RemembersAll::default(), config.clone());
        for _ in 0..k {
            through.update_with(|_| Ok::<_, ()>(())).unwrap();
        }
        let mut sought = CyclicOptimizer::new(support::RemembersAll::default(), config.clone());
        sought.seek(k);
        let mut restored = CyclicOptimizer::new(support::RemembersAll::default(), config);
        restored.restore(through.state()).unwrap();
        for step in k..k + n {
            for optimizer in [&mut through, &mut sought, &mut restored] {
                let held = optimizer.update_with(|inner| Ok::<_, ()>(inner.clone())).unwrap();
                let last = optimizer.last().unwrap();
                for (hyper, schedule) in &scheduled {
                    let expected = Some(bits(schedule.value_at(step)));
                    prop_assert_eq!((held.get(*hyper).map(bits), last.get(*hyper).map(bits)), (expected, expected));
                    let next = optimizer.hyper(*hyper);
                    prop_assert_eq!(next.map(bits), Some(bits(schedule.value_at(step + 1))));
                    prop_assert_eq!(next, optimizer.get_ref().get(*hyper));
                    prop_assert_eq!(next, optimizer.preview(1).next().unwrap().get(*hyper));
                }
                // No other is touched.
                for hyper in hypers {
                    prop_assert_eq!(last.get(hyper).is_some(), scheduled.iter().any(|(own, _)| *own == hyper));
                }
            }
        }
        prop_assert_eq!(restored.state(), through.state());
    }

    /// A schedule that is set during a run. With `Place::Start` it runs as in a new run, with `Place::Keep` as after
    /// seeking to that place. A run that is saved and restored continues with it.
    #[test]
    fn a_schedule_is_set_in_mid_run(config in support::config(), other in support::policy(), k in 0..300_u64, n in 1..60_u64, keep in any::<bool>()) {
        let place = if keep { Place::Keep } else { Place::Start };
        let mut optimizer = CyclicOptimizer::new(unset(), config.clone());
        for _ in 0..k {
            update(&mut optimizer);
        }
        let own = config.schedule().clone();
        let before = (optimizer.state(), bits(optimizer.lr()));
        if let Err(error) = optimizer.set_schedule(other.clone(), place) {
            prop_assert!(matches!(error, ConfigError::NoRange { .. } | ConfigError::NoHeight), "{}", error);
            prop_assert_eq!((optimizer.state(), bits(optimizer.lr())), before);
            return Ok(());
        }
        let step = optimizer.clr_iterations();
        prop_assert_eq!((optimizer.iterations(), optimizer.last()), (k, before.0.last));
        match (own.cycle_at(k), other.cycle_at(step)) {
            _ if !keep => prop_assert_eq!(step, 0),
            (Some(old), Some(new)) if other.cycle_start(old.index).is_some() => {
                prop_assert_eq!(new.index, old.index);
                let share = u128::from(old.place) * u128::from(new.length) / u128::from(old.length);
                prop_assert_eq!(u128::from(new.place), share);
            }
            (Some(old), _) if other.cycle_start(old.index).is_some() => {}
            _ => prop_assert_eq!(step, k),
        }
        let mut restored = CyclicOptimizer::new(unset(), config);
        restored.restore(optimizer.state()).unwrap();
        for step in step..step.saturating_add(n) {
            if optimizer.config().decay() == 0.0 {
                let value = other.value_at(step);
                let bounds = optimizer.config().bounds();
                let expected = bounds.map_or(value, |bounds| value.clamp(bounds.floor, bounds.ceiling));
                prop_assert_eq!(bits(optimizer.lr()), bits(expected));
            }
            prop_assert_eq!(optimizer.cycle(), other.cycle_at(step));
            prop_assert_eq!(optimizer.remaining(), other.horizon().map(|horizon| horizon.saturating_sub(step)));
            prop_assert_eq!(format!("{:?}", update(&mut restored)), format!("{:?}", update(&mut optimizer)));
        }
        prop_assert_eq!(restored.state(), optimizer.state());
        // The same schedule at the same place changes nothing.
        let lr = optimizer.lr();
        optimizer.set_schedule(other, Place::Keep).unwrap();
        prop_assert_eq!((bits(optimizer.lr()), optimizer.state()), (bits(lr), restored.state()));
    }

    /// After every operation the inner optimizer holds what `lr` and `momentum` return. The next update uses that, and `last`
    /// reports it.
    #[test]
    fn the_invariant(config in support::config(), deeds in prop::collection::vec((0..9_u8, (0.0..5.0_f64, 0.0..5.0_f64)), 1..60), to in any_step()) {
        let mut optimizer = CyclicOptimizer::new(unset(), config);
        for (deed, ends) in deeds {
            let iterations = optimizer.iterations();
            match deed {
                0 => optimizer.reset_cycle(),
                1 => optimizer.seek(to),
                2 => {
                    let range = LrRange { base_lr: ends.0.min(ends.1), max_lr: ends.0.max(ends.1) };
                    let before = optimizer.state();
                    if optimizer.set_range(range.base_lr, range.max_lr).is_err() {
                        prop_assert!(optimizer.config().schedule().range().is_none());
                        prop_assert_eq!(optimizer.state(), before);
                    } else if optimizer.config().decay() == 0.0 {
                        // Computed by the schedule alone.
                        let value = optimizer.config().schedule().value_in(optimizer.clr_iterations(), range);
                        let scaled = value * optimizer.state().scale;
                        let bounds = optimizer.config().bounds();
                        let expected = bounds.map_or(scaled, |bounds| scaled.clamp(bounds.floor, bounds.ceiling));
                        prop_assert_eq!(bits(optimizer.lr()), bits(expected));
                    }
                }
                3 => optimizer.set_scale(ends.0).unwrap(),
                4 => optimizer.restore(optimizer.state()).unwrap(),
                5 => {
                    // A failing update may have changed the optimizer.
                    let failed = optimizer.update_with(|inner| {
                        *inner = RateAndMomentum { lr: 9.0, momentum: Some(9.0) };
                        Err::<(), _>("device")
                    });
                    prop_assert_eq!((failed, optimizer.iterations()), (Err("device"), iterations));
                }
                _ => {
                    if deed == 6 {
                        // The next update overwrites a rate that was set by hand.
                        optimizer.get_mut().lr = 9.0;
                    }
                    let next = optimizer.preview(1).next().unwrap();
                    let used = update(&mut optimizer);
                    let last = optimizer.last().unwrap();
                    prop_assert_eq!(last, next);
                    prop_assert_eq!(bits(used.lr), bits(last.lr));
                    if let Some(momentum) = last.momentum {
                        prop_assert_eq!(used.momentum.map(bits), Some(bits(momentum)));
                    }
                }
            }
            prop_assert_eq!(bits(optimizer.get_ref().lr), bits(optimizer.lr()));
            if let Some(momentum) = optimizer.momentum() {
                prop_assert_eq!(optimizer.get_ref().momentum.map(bits), Some(bits(momentum)));
            }
            if let Some(bounds) = optimizer.config().bounds() {
                prop_assert!(optimizer.lr() >= bounds.floor && optimizer.lr() <= bounds.ceiling);
            }
        }
    }
}

/// Invalid values of a custom schedule, and some valid ones.
const ODD: [f64; 9] = [0.1, 0.1, f64::NAN, f64::INFINITY, -1.0, f64::MAX, 0.0, -0.0, 5e-324];

/// A custom schedule whose first rate and momentum are valid, and some later ones are not.
struct Odd;

impl Schedule for Odd {
    fn value_at(&self, step: u64) -> f64 {
        self.point_at(step, None).value
    }

    fn range(&self) -> Option<LrRange> {
        Some(LrRange { base_lr: 0.1, max_lr: 0.2 })
    }

    fn point_at(&self, step: u64, range: Option<LrRange>) -> Point {
        let pick = |n: u64| ODD[(step.wrapping_mul(n) % ODD.len() as u64) as usize];
        let value = range.map_or(1.0, |range| range.max_lr) * pick(1);
        Point { value, height: Some(pick(7)), amplitude: 1.0 }
    }
}

fn extreme() -> impl Strategy<Value = f64> {
    prop_oneof![
        2 => 0.0..2.0_f64,
        1 => prop::sample::select(&[0.0, -0.0, 5e-324, 1e-300, 1e300, f64::MAX, f64::INFINITY, f64::NAN, -1.0][..]),
    ]
}

/// Calls every method of an optimizer with any numbers. All rates and momenta stay valid, a failing call changes nothing, and
/// a saved state can be read.
fn ill_treat<S: Schedule>(
    mut optimizer: CyclicOptimizer<RateAndMomentum, S>,
    deeds: Vec<(u8, f64, f64, u64)>,
) -> Result<(), TestCaseError> {
    let is_momentum = |momentum: Option<f64>| momentum.is_none_or(|momentum| (0.0..1.0).contains(&momentum));
    for (deed, a, b, to) in deeds {
        let before = (optimizer.state(), bits(optimizer.lr()), bits(optimizer.get_ref().lr));
        let state = optimizer.state();
        let done = match deed {
            0 => optimizer.set_scale(a),
            1 => optimizer.set_range(a, b),
            2 => optimizer.cut_envelope(a),
            3 => optimizer.restore(ClrState { scale: a, clr_iterations: to, iterations: to, ..state }),
            4 => optimizer.restore(ClrState { last: state.last.map(|last| Applied { lr: a, ..last }), ..state }),
            5 => {
                optimizer.seek(to);
                Ok(())
            }
            6 => {
                optimizer.reset_cycle();
                Ok(())
            }
            7 => {
                let _ = optimizer.observe_separately(a, b);
                Ok(())
            }
            _ => {
                let lr = optimizer.lr();
                prop_assert_eq!(bits(update_any(&mut optimizer).lr), bits(lr));
                prop_assert_eq!(bits(optimizer.last().unwrap().lr), bits(lr));
                Ok(())
            }
        };
        if done.is_err() {
            prop_assert_eq!((optimizer.state(), bits(optimizer.lr()), bits(optimizer.get_ref().lr)), before);
        }
        let last = optimizer.last().map(|last| (last.lr, last.momentum));
        let inner = (optimizer.get_ref().lr, optimizer.get_ref().momentum);
        let given = [(optimizer.lr(), optimizer.momentum()), inner];
        let coming = optimizer.preview(3).map(|used| (used.lr, used.momentum));
        for (lr, momentum) in given.into_iter().chain(last).chain(coming) {
            prop_assert!(lr.is_finite() && lr >= 0.0 && is_momentum(momentum), "{lr} {momentum:?} after {deed}");
        }
        prop_assert_eq!(bits(optimizer.lr()), bits(inner.0));
        #[cfg(feature = "serde")]
        {
            let json = serde_json::to_string(&optimizer.state()).unwrap();
            prop_assert_eq!(
                serde_json::from_str::<ClrState>(&json).map_err(|error| error.to_string()),
                Ok(optimizer.state())
            );
        }
    }
    Ok(())
}

fn update_any<S: Schedule>(optimizer: &mut CyclicOptimizer<RateAndMomentum, S>) -> RateAndMomentum {
    optimizer.update_with(|inner| Ok::<_, ()>(*inner)).unwrap()
}

fn deeds() -> impl Strategy<Value = Vec<(u8, f64, f64, u64)>> {
    prop::collection::vec((0..12_u8, extreme(), extreme(), any_step()), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_update_gets_what_is_no_rate(config in support::config(), deeds in deeds(), factor in 0.1..0.9_f64) {
        let plateau = Plateau::keras(factor, 0).unwrap();
        let config = config.with_plateau(plateau).unwrap();
        ill_treat(CyclicOptimizer::new(RateAndMomentum { lr: 0.0, momentum: Some(0.5) }, config), deeds)?;
    }

    #[test]
    fn no_update_gets_what_a_custom_schedule_should_not_give(deeds in deeds(), bounded in any::<bool>()) {
        let config = ClrConfig::custom(Odd).with_momentum(0.8, 0.9).unwrap();
        let config = config.with_plateau(Plateau::auto_decay(0.5, 1).unwrap()).unwrap();
        let config = if bounded { config.with_bounds(0.01, 1.0).unwrap() } else { config };
        ill_treat(CyclicOptimizer::new(RateAndMomentum { lr: 0.0, momentum: Some(0.5) }, config), deeds)?;
    }

    /// No schedule of this crate exceeds its peak. A scale is checked against the peak.
    #[test]
    fn the_peak_is_the_highest_rate(policy in support::policy(), steps in prop::collection::vec(any_step(), 1..50)) {
        let peak = policy.peak();
        for step in steps {
            prop_assert!(policy.value_at(step) <= peak, "{} at {step} is above {peak}", policy.value_at(step));
        }
    }
}

#[test]
fn no_rate_is_minus_zero() {
    let schedule = Constant::new(-0.0).unwrap();
    assert_eq!((bits(schedule.value_at(0)), schedule.values_from(0).next().map(bits)), (0, Some(0)));
    assert_eq!(bits(CyclicOptimizer::new(RateAndMomentum::default(), schedule).lr()), 0);
    // A rate of -0.0 is invalid, and then no momentum is written either.
    let config = ClrConfig::new(Cyclic::triangular(0.1, 0.2, 5).unwrap()).with_momentum(0.8, 0.9).unwrap();
    let bounded = CyclicOptimizer::new(unset(), config.with_bounds(-0.0, -0.0).unwrap());
    assert_eq!((bits(bounded.lr()), bounded.momentum()), (0, Some(0.9)));
}

/// The call that would make a rate infinite fails, so the optimizer never gets one.
#[test]
fn a_scale_that_makes_a_rate_infinite_is_refused() {
    let remembers = || RateAndMomentum::default();
    let mut optimizer = CyclicOptimizer::new(remembers(), Constant::new(10.0).unwrap());
    let error = optimizer.set_scale(f64::MAX).unwrap_err();
    assert_eq!(error.to_string(), "the highest rate times the scale must be a finite rate of at least 0, got inf");
    assert_eq!((optimizer.lr(), update(&mut optimizer).lr, optimizer.state().scale), (10.0, 10.0, 1.0));
    // This also holds if the rate becomes infinite later, or because of a range that is set afterwards.
    let cyclic = || CyclicOptimizer::new(remembers(), Cyclic::triangular(0.0, 2.0, 4).unwrap());
    assert!(cyclic().set_scale(f64::MAX).is_err());
    let mut scaled = cyclic();
    scaled.set_scale(1e300).unwrap();
    assert!(scaled.set_range(0.0, 1e10).is_err());
    // Bounds keep it finite.
    let bounded = ClrConfig::new(Constant::new(10.0).unwrap()).with_bounds(0.0, 1.0).unwrap();
    let mut bounded = CyclicOptimizer::new(remembers(), bounded);
    bounded.set_scale(f64::MAX).unwrap();
    assert_eq!(bounded.lr(), 1.0);
    // A saved state whose last update used an invalid rate.
    let mut state = optimizer.state();
    state.last = state.last.map(|last| Applied { lr: f64::INFINITY, ..last });
    assert!(matches!(optimizer.restore(state), Err(ConfigError::Rate { field: "last.lr", .. })));
}

/// If a custom schedule gives an invalid rate, the update uses and reports a rate of 0.
#[test]
fn what_a_custom_schedule_should_not_give_is_a_rate_of_zero() {
    for bad in [f64::NAN, f64::INFINITY, -0.1] {
        let config = ClrConfig::custom(from_fn(move |step| if step == 1 { bad } else { 0.5 }));
        let mut optimizer = CyclicOptimizer::new(RateAndMomentum { lr: 9.0, momentum: None }, config);
        let used: Vec<f64> = (0..3).map(|_| update_any(&mut optimizer).lr).collect();
        assert_eq!(used, [0.5, 0.0, 0.5]);
        optimizer.seek(1);
        assert_eq!((optimizer.lr(), optimizer.get_ref().lr), (0.0, 0.0));
        assert!(matches!(optimizer.restore(optimizer.state()), Err(ConfigError::Rate { .. })));
    }
}

/// After a caught panic in an update, the next update still uses what is reported.
#[test]
fn after_a_panic_the_next_update_uses_what_is_reported() {
    let config = ClrConfig::new(OneCycle::new(0.1, 10).unwrap()).with_momentum(0.8, 0.9).unwrap();
    let mut optimizer = CyclicOptimizer::new(unset(), config);
    update(&mut optimizer);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        optimizer.update_with(|inner| -> Result<(), ()> {
            *inner = RateAndMomentum { lr: 9.0, momentum: Some(0.1) };
            panic!("on purpose")
        })
    }));
    assert!(panicked.is_err());
    let (lr, momentum) = (optimizer.lr(), optimizer.momentum());
    let used = update(&mut optimizer);
    assert_eq!((used.lr, used.momentum, optimizer.iterations()), (lr, momentum, 2));
    assert_eq!(optimizer.last().map(|last| (last.lr, last.momentum)), Some((lr, momentum)));
}

/// Ten million steps are far beyond the limits of f32 counters and i32 powers.
#[test]
fn the_clock_is_exact_where_others_drift() {
    // PyTorch 2.15.0 raises OverflowError here: triangular2 at cycle 1,025.
    let triangular2 = cyclic_optim::Cyclic::triangular2(1.0, 2.0, 1).unwrap();
    assert_eq!(triangular2.value_at(2048), 1.0);
    assert_eq!(triangular2.value_at(2049), 1.0);
    // The f32 counters of bckenstler/CLR stop at 2^24.
    let triangular = cyclic_optim::Cyclic::triangular(0.0, 1.0, 4).unwrap();
    let far = 8 * (u64::MAX / 8);
    assert_eq!([0, 1, 2, 3, 4].map(|place| triangular.value_at(far + place)), [0.0, 0.25, 0.5, 0.75, 1.0]);
}

#[test]
fn a_linear_one_cycle_holds_its_end() {
    // After the last step of its own test case PyTorch 2.15.0 is at -3.0; 0.5 is due.
    let schedule = OneCycle::pytorch(25.0, 10)
        .and_then(|schedule| schedule.with_div_factors(25.0, 2.0))
        .unwrap()
        .with_curve(cyclic_optim::Curve::Linear);
    assert_eq!([9, 10, 11, 1000].map(|step| schedule.value_at(step)), [0.5; 4]);
}

#[test]
fn a_custom_schedule_runs_in_the_wrapper() {
    let config = ClrConfig::custom(cyclic_optim::from_fn(|step| 1.0 / (step + 1) as f64));
    let mut optimizer = CyclicOptimizer::new(RateAndMomentum::default(), config);
    let rates: Vec<f64> = (0..3).map(|_| optimizer.update_with(|inner| Ok::<_, ()>(inner.lr)).unwrap()).collect();
    assert_eq!(rates, [1.0, 0.5, 1.0 / 3.0]);
    assert!(optimizer.set_range(0.1, 0.2).is_err());
    let boxed: Box<dyn Schedule> = Box::new(Policy::from(cyclic_optim::Constant::new(0.1).unwrap()));
    let optimizer = CyclicOptimizer::new(RateAndMomentum::default(), ClrConfig::custom(boxed));
    assert_eq!(optimizer.lr(), 0.1);
}

/// A schedule with a range but without ramps: the amplitude is a user's function.
#[test]
fn a_scaled_cyclic_follows_its_range() {
    for mode in [ScaleMode::Cycle, ScaleMode::Iteration, ScaleMode::IterationInCycle] {
        let scaled = || {
            let cyclic = Cyclic::triangular(0.1, 0.5, 4).unwrap().with_cycles(5).unwrap();
            ScaledCyclic::new(cyclic, mode, |n| 1.0 / (n + 1) as f64)
        };
        let config = || ClrConfig::custom(scaled()).with_momentum(0.8, 0.9).unwrap();
        let mut optimizer = CyclicOptimizer::new(unset(), config());
        for step in 0..50 {
            let mut sought = CyclicOptimizer::new(unset(), config());
            sought.seek(step);
            let range = if step < 10 { scaled().range().unwrap() } else { LrRange { base_lr: 1.0, max_lr: 2.0 } };
            if step == 10 {
                optimizer.set_range(1.0, 2.0).unwrap();
            }
            sought.set_range(range.base_lr, range.max_lr).unwrap();
            let expected = bits(scaled().value_in(step, range));
            assert_eq!((bits(optimizer.lr()), bits(sought.lr())), (expected, expected), "{mode:?} at {step}");
            assert_eq!(optimizer.cycle(), scaled().cycle_at(step));
            optimizer.update_with(|_| Ok::<_, ()>(())).unwrap();
        }
    }
}

#[test]
fn a_range_or_a_rate_that_is_none_changes_nothing() {
    let mut optimizer = CyclicOptimizer::new(RateAndMomentum::default(), Cyclic::triangular(0.1, 0.5, 4).unwrap());
    for (base_lr, max_lr) in [(f64::NAN, 1.0), (0.0, f64::NAN), (-1.0, 1.0), (0.0, f64::INFINITY), (2.0, 1.0)] {
        let before = optimizer.clone();
        let error = optimizer.set_range(base_lr, max_lr).unwrap_err().to_string();
        assert!(error.contains("base_lr") || error.contains("max_lr"), "{error}");
        assert_eq!((optimizer.state(), optimizer.lr(), optimizer.get_ref()), (before.state(), 0.1, before.get_ref()));
    }
    // Bounds do not hide an invalid rate.
    for bad in [f64::NAN, f64::INFINITY, -1.0] {
        let config = ClrConfig::custom(from_fn(move |_| bad));
        let refused = CyclicOptimizer::try_new(RateAndMomentum::default(), config);
        assert!(matches!(refused, Err(ConfigError::Rate { .. })));
    }
    let config = ClrConfig::custom(from_fn(|_| f64::NAN)).with_bounds(0.1, 0.2).unwrap();
    assert!(CyclicOptimizer::try_new(RateAndMomentum::default(), config).is_err());
}

#[test]
fn an_optimizer_without_a_rate_is_refused() {
    struct Nothing;
    impl cyclic_optim::Hyperparameters for Nothing {
        fn get(&self, _: cyclic_optim::Hyper) -> Option<f64> {
            None
        }
        fn set(&mut self, hyper: cyclic_optim::Hyper, _: f64) -> Result<(), cyclic_optim::Unsupported> {
            Err(cyclic_optim::Unsupported(hyper))
        }
    }
    let refused = CyclicOptimizer::try_new(Nothing, Cyclic::triangular(0.1, 0.5, 4).unwrap());
    assert!(matches!(refused, Err(ConfigError::NoLearningRate)));
}

/// Momentum that was switched off by hand is not reported.
#[test]
fn what_is_not_applied_is_not_reported() {
    let config = ClrConfig::new(OneCycle::new(0.1, 10).unwrap()).with_momentum(0.8, 0.9).unwrap();
    let mut optimizer = CyclicOptimizer::new(unset(), config);
    update(&mut optimizer);
    assert_eq!(optimizer.last().unwrap().momentum, Some(0.9));
    optimizer.get_mut().momentum = None;
    update(&mut optimizer);
    assert_eq!((optimizer.last().unwrap().momentum, optimizer.momentum()), (None, None));
}

#[test]
fn lengths_beyond_2_to_the_53_stay_in_bounds() {
    // A fall so short that the lengths of rise and cycle are equal as floats.
    let steep = Cyclic::triangular(1.0, 2.0, 1).unwrap().with_step_sizes(1 << 60, 1).unwrap();
    assert_eq!((steep.value_at(1 << 60), steep.value_at((1 << 60) + 1)), (2.0, 1.0));
    let rising = Cyclic::over_total(1.0, 2.0, u64::MAX, 1, 1.0).unwrap();
    assert!((1.0..=2.0).contains(&rising.value_at(u64::MAX - 1)));
    let fitted = Cyclic::over_total(1.0, 2.0, u64::MAX, 1, 0.5).unwrap();
    assert!((1.0..=2.0).contains(&fitted.value_at(u64::MAX - 1)));
}
