//! Parity with the five Keras projects that this crate descends from, and the config that gives each project's values. The
//! values were computed in f64 from what the projects' code does. Where a project has published values, they are included.

#![allow(
    clippy::cast_precision_loss,
    clippy::unreadable_literal,
    clippy::excessive_precision,
    clippy::too_many_lines,
    clippy::doc_markdown,
    reason = "small numbers, as the tables print them"
)]

use approx::assert_relative_eq;
use cyclic_optim::{
    Amplitude, ClrConfig, CosineDecay, Curve, Cyclic, LinearDecay, OneCycle, Part, Policy, ScaleMode, ScaledCyclic,
    Schedule, ScheduleExt, Sequence, WarmRestarts,
};

/// The expected values have 12 significant digits.
const DIGITS: f64 = 1e-11;

fn assert_close(value: f64, expected: f64, what: &str) {
    assert!((value - expected).abs() <= DIGITS * expected.abs() + 1e-15, "{what}: {value:e}, expected {expected:e}");
}

/// The three modes of bckenstler/CLR (base 0.001, max 0.006, step_size 2000), and two user functions.
#[test]
fn table_a_clr() {
    let (base, max, size) = (0.001, 0.006, 2000);
    let triangular = Cyclic::triangular(base, max, size).unwrap();
    let triangular2 = Cyclic::triangular2(base, max, size).unwrap();
    let exp_range = Cyclic::exp_range(base, max, size, 0.99994).unwrap();
    // bckenstler/CLR counts cycles from 1.
    let sine = ScaledCyclic::new(triangular.clone(), ScaleMode::Cycle, |cycle| {
        0.5 * (1.0 + ((cycle + 1) as f64 * std::f64::consts::FRAC_PI_2).sin())
    });
    let named = |amplitude| triangular.clone().with_amplitude(amplitude).unwrap();
    let (saved_sine, saved_power) = (named(Amplitude::Cosine(4)), named(Amplitude::Gamma(5_f64.powf(-0.0001))));
    let power = ScaledCyclic::new(triangular.clone(), ScaleMode::Iteration, |t| 5_f64.powf(-0.0001 * t as f64));
    for (t, expected) in [
        (0, [0.001, 0.001, 0.001, 0.001, 0.001]),
        (1, [0.0010025, 0.0010025, 0.00100249985, 0.0010025, 0.00100249959767]),
        (500, [0.00225, 0.00225, 0.00221305582514, 0.00225, 0.00215335104324]),
        (1000, [0.0035, 0.0035, 0.00335440709585, 0.0035, 0.00312834980630]),
        (1999, [0.0059975, 0.0059975, 0.00543263488339, 0.0059975, 0.00462266936846]),
        (2000, [0.006, 0.006, 0.00543458621841, 0.006, 0.00462389831839]),
        (2001, [0.0059975, 0.0059975, 0.00543210298316, 0.0059975, 0.00462150346383]),
        (3000, [0.0035, 0.0035, 0.00308816425196, 0.0035, 0.00254258465680]),
        (3999, [0.0010025, 0.0010025, 0.00100196667349, 0.0010025, 0.00100131347528]),
        (4000, [0.001, 0.001, 0.001, 0.001, 0.001]),
        (4001, [0.0010025, 0.00100125, 0.00100196643750, 0.00100125, 0.00100131305256]),
        (5000, [0.0035, 0.00225, 0.00285202888270, 0.00225, 0.00211803398875]),
        (6000, [0.006, 0.0035, 0.00448834395453, 0.0035, 0.00290365393872]),
        (8000, [0.001, 0.001, 0.001, 0.001, 0.001]),
        (10000, [0.006, 0.00225, 0.00374400878589, 0.001, 0.002]),
        (12000, [0.001, 0.001, 0.001, 0.001, 0.001]),
    ] {
        let schedules: [&dyn Schedule; 5] = [&triangular, &triangular2, &exp_range, &sine, &power];
        for (schedule, expected) in schedules.iter().zip(expected) {
            assert_close(schedule.value_at(t), expected, &format!("t = {t}"));
        }
        // The user functions again, by names that config files can hold.
        assert_close(saved_sine.value_at(t), expected[3], &format!("named sine at t = {t}"));
        assert_close(saved_power.value_at(t), expected[4], &format!("named power at t = {t}"));
    }
    let peaks = Cyclic::triangular2(1e-5, 8e-4, 10).unwrap();
    let expected = [(0, 8e-4), (1, 4.05e-4), (2, 2.075e-4), (9, 1.154296875e-5), (10, 1.0771484375e-5)];
    for (cycle, peak) in expected {
        assert_close(peaks.value_at(20 * cycle + 10), peak, "peak of triangular2");
    }
}

/// The optimizers of bckenstler/CLR: after n updates they report the rate that update n - 1 used.
#[test]
fn table_b_optimizer() {
    let (base, max, size) = (0.01, 0.06, 2000);
    let triangular = Cyclic::triangular(base, max, size).unwrap();
    let triangular2 = Cyclic::triangular2(base, max, size).unwrap();
    let exp_range = Cyclic::exp_range(base, max, size, 0.99994).unwrap();
    // The last three values are printed in the project's notebook, in f32.
    for (n, expected, published) in [
        (1000, [0.034975, 0.034975, 0.03352193820], [0.0349749997, 0.0349749997, 0.0335224830]),
        (2000, [0.059975, 0.059975, 0.05432634883], [0.0599749982, 0.0599749982, 0.0543284006]),
        (3000, [0.035025, 0.035025, 0.03090377839], [0.0350249968, 0.0350249968, 0.0309052281]),
        (4000, [0.010025, 0.010025, 0.01001966673], [0.0100249983, 0.0100249983, 0.0100196665]),
        (5000, [0.034975, 0.0224875, 0.02850287871], [0.0349749997, 0.0224874988, 0.0285050217]),
        (6000, [0.059975, 0.0349875, 0.04486808991], [0.0599749982, 0.0349875018, 0.0448729396]),
        (10000, [0.059975, 0.02249375, 0.03742801350], [0.0599750094, 0.0224937536, 0.0374343768]),
    ] {
        let schedules = [&triangular, &triangular2, &exp_range];
        for ((schedule, expected), (published, loose)) in
            schedules.iter().zip(expected).zip(published.into_iter().zip([1.5e-6, 1.5e-6, 2e-4]))
        {
            let value = schedule.value_at(n - 1);
            // These have eleven decimals.
            assert!((value - expected).abs() <= 5.1e-12, "n = {n}: {value}, expected {expected}");
            assert_relative_eq!(value, published, max_relative = loose);
        }
    }
}

/// The optimizers of bckenstler/CLR with decay 1e-4: the base decays first, the peak stays.
#[test]
fn table_b_decay() {
    let (base, max, size) = (0.01, 0.06, 2000);
    let decayed = |schedule: Cyclic| ClrConfig::new(schedule).with_decay(1e-4).unwrap();
    let configs = [
        decayed(Cyclic::triangular(base, max, size).unwrap()),
        decayed(Cyclic::triangular2(base, max, size).unwrap()),
        decayed(Cyclic::exp_range(base, max, size, 0.99994).unwrap()),
    ];
    for (t, expected) in [
        (0, [0.01, 0.01, 0.01]),
        (1, [0.01002400059994, 0.01002400059994, 0.01002399909991]),
        (1000, [0.03454545454545, 0.03454545454545, 0.03306305406688]),
        (2000, [0.06, 0.06, 0.05415739092355]),
        (3000, [0.03384615384615, 0.03384615384615, 0.02953771832820]),
        (4000, [0.00714285714286, 0.00714285714286, 0.00714285714286]),
        (6000, [0.06, 0.033125, 0.04374969751121]),
        (8000, [0.00555555555556, 0.00555555555556, 0.00555555555556]),
        (10000, [0.06, 0.01875, 0.03518409664482]),
    ] {
        for (config, expected) in configs.iter().zip(expected) {
            let used = config.preview().nth(t).unwrap();
            assert!((used.lr - expected).abs() <= 6e-15, "t = {t}: {}, expected {expected}", used.lr);
        }
    }
}

fn assert_rows(config: &ClrConfig, rows: &[(usize, f64, f64)]) {
    for &(i, lr, momentum) in rows {
        let used = config.preview().nth(i).unwrap();
        // Small rates have nine digits.
        assert!((used.lr - lr).abs() <= 1e-11 * lr.max(1e-2), "update {i}: lr {}, expected {lr}", used.lr);
        let momentum_used = used.momentum.unwrap();
        assert!((momentum_used - momentum).abs() <= 1e-12, "update {i}: momentum {momentum_used}, expected {momentum}");
    }
}

/// OneCycle of psklight/keras_one_cycle_clr, lr (0.01, 0.1), momentum (0.95, 0.85), phase one 0.3: cosine up and
/// cosine down to 0, reached after the last update. Here: one cycle of `Cyclic` that ends at 0.
#[test]
fn table_c_psklight_one_cycle() {
    let config = |n| {
        let schedule = Cyclic::over_total(0.01, 0.1, n, 1, 0.3)
            .unwrap()
            .with_curves(Curve::Cosine, Curve::Cosine)
            .with_end_lr(0.0)
            .unwrap();
        ClrConfig::new(schedule).with_momentum(0.85, 0.95).unwrap()
    };
    assert_rows(
        &config(1000),
        &[
            (0, 0.01, 0.95),
            (75, 0.0231801948466, 0.9353553390593),
            (150, 0.055, 0.9),
            (299, 0.0999975326214, 0.8500027415317),
            (300, 0.1, 0.85),
            (301, 0.0999994964496, 0.8500005035504),
            (475, 0.0853553390593, 0.8646446609407),
            (650, 0.05, 0.9),
            (825, 0.0146446609407, 0.9353553390593),
            (999, 5.0355039974e-7, 0.9499994964496),
            (1000, 0.0, 0.95),
        ],
    );
    assert_rows(
        &config(10),
        &[
            (0, 0.01, 0.95),
            (1, 0.0325, 0.925),
            (2, 0.0775, 0.875),
            (3, 0.1, 0.85),
            (4, 0.0950484433951, 0.8549515566049),
            (5, 0.0811744900929, 0.8688255099071),
            (6, 0.0611260466978, 0.8888739533022),
            (7, 0.0388739533022, 0.9111260466978),
            (8, 0.0188255099071, 0.9311744900929),
            (9, 0.0049515566049, 0.9450484433951),
            (10, 0.0, 0.95),
        ],
    );
    // After the end the project's rate rises again; ours holds.
    assert_eq!(config(1000).preview().nth(1700).unwrap().lr, 0.0);
}

/// CLR of psklight/keras_one_cycle_clr: cosine up, cosine down to 0, a jump to the base, peaks shrinking by 1/3,
/// with a constant swing of the momentum.
#[test]
fn table_d_psklight_clr() {
    let schedule = Cyclic::over_total(0.002, 0.01, 600, 3, 0.3)
        .unwrap()
        .with_curves(Curve::Cosine, Curve::Cosine)
        .with_end_lr(0.0)
        .unwrap()
        .with_amplitude(Amplitude::Factor(1.0 / 3.0))
        .unwrap();
    let config = ClrConfig::new(schedule).with_momentum(0.85, 0.95).unwrap();
    assert_rows(
        &config,
        &[
            (0, 0.002, 0.95),
            (1, 0.00200548186098, 0.949931476738),
            (30, 0.006, 0.9),
            (60, 0.01, 0.85),
            (100, 0.00811744900929, 0.868825509907),
            (130, 0.005, 0.9),
            (199, 1.25882529e-6, 0.949987411747),
            (200, 0.002, 0.95),
            (230, 0.00333333333333, 0.9),
            (260, 0.00466666666667, 0.85),
            (330, 0.00233333333333, 0.9),
            (399, 5.8745180e-7, 0.949987411747),
            (400, 0.002, 0.95),
            (430, 0.00244444444444, 0.9),
            (460, 0.00288888888889, 0.85),
            (530, 0.00144444444444, 0.9),
            (599, 3.6366064e-7, 0.949987411747),
        ],
    );
}

/// Its `decay` may also be above 1: at each cycle start, `max <- max decay`.
#[test]
fn nupam_peaks_may_grow() {
    let cyclic = Cyclic::over_total(0.0, 0.01, 400, 4, 0.3).unwrap().with_curves(Curve::Linear, Curve::Cosine);
    let growing = cyclic.with_amplitude(Amplitude::Factor(1.5)).unwrap();
    for (cycle, peak) in [(0, 0.01), (1, 0.015), (2, 0.0225), (3, 0.03375)] {
        assert_close(growing.value_at(100 * cycle + 30), peak, "a growing peak");
    }
}

/// CyclicLRCallback of nupam/keras-callbacks: linear up from 0, cosine down to 0, peaks halved.
#[test]
fn table_e_nupam() {
    let shape = |length, cycles, up| {
        Cyclic::over_total(0.0, 0.01, length * cycles, cycles, up).unwrap().with_curves(Curve::Linear, Curve::Cosine)
    };
    let schedule = shape(100, 2, 0.3).with_amplitude(Amplitude::Factor(0.5)).unwrap();
    assert_rows(
        &ClrConfig::new(schedule).with_momentum(0.85, 0.95).unwrap(),
        &[
            (0, 0.0, 0.95),
            (1, 0.000333333333333, 0.946666666667),
            (15, 0.005, 0.9),
            (29, 0.00966666666667, 0.853333333333),
            (30, 0.01, 0.85),
            (31, 0.00999496533271, 0.850050346673),
            (47, 0.00861397431914, 0.863860256809),
            (65, 0.005, 0.9),
            (82, 0.00154468675507, 0.934553132449),
            (99, 5.0346672934e-6, 0.949949653327),
            (100, 0.0, 0.95),
            (101, 0.000166666666667, 0.946666666667),
            (130, 0.005, 0.85),
            (199, 2.5173336467e-6, 0.949949653327),
        ],
    );
    let rises: Vec<f64> = shape(10, 1, 1.0).values_from(0).take(10).collect();
    for (i, rate) in rises.iter().enumerate() {
        assert_close(*rate, 0.001 * i as f64, "pct 1");
    }
    // The project adds 1e-7 to a fraction of 0, so that update 0 still gets 0.
    let falls = shape(10, 1, 1e-7);
    let expected =
        [0.0, 0.97552826, 0.90450850, 0.79389263, 0.65450850, 0.5, 0.34549150, 0.20610737, 0.09549150, 0.02447174];
    for (rate, expected) in falls.values_from(0).zip(expected) {
        assert!((rate / 0.01 - expected).abs() < 1e-6);
    }
}

/// The snapshot cosine of keras-contrib, by epoch there and by update here.
#[test]
fn table_g_snapshots() {
    let whole = WarmRestarts::snapshots(0.1, 200, 5).unwrap();
    for (e, expected) in [
        (0, 0.1),
        (1, 0.0998458666867),
        (10, 0.0853553390593),
        (20, 0.05),
        (30, 0.0146446609407),
        (39, 0.000154133313344),
        (40, 0.1),
        (199, 0.000154133313344),
    ] {
        assert!((whole.value_at(e) - expected).abs() < 1e-13, "epoch {e}");
    }
    // T 10, M 3: keras-contrib repeats .1 .075 .025 three times and adds one epoch at full rate. Here the last cycle is longer.
    let remainder: Vec<f64> = WarmRestarts::snapshots(0.1, 10, 3).unwrap().values_from(0).take(10).collect();
    for (value, expected) in remainder.iter().zip([0.1, 0.075, 0.025, 0.1, 0.075, 0.025, 0.1]) {
        assert!((value - expected).abs() < 1e-15);
    }
    assert!(remainder.windows(2).skip(6).all(|pair| pair[1] < pair[0]));
    // The form of the paper, 1000 iterations, M 5. Its t counts from 1.
    let paper = WarmRestarts::snapshots(0.1, 1000, 5).unwrap();
    for (t, expected) in [(1, 0.1), (2, 0.099993831624), (101, 0.05), (200, 6.168375917e-6), (201, 0.1)] {
        assert!((paper.value_at(t - 1) - expected).abs() < 1e-13, "t = {t}");
    }
    for (total, snapshots) in [(14, 5), (10, 3), (5, 5)] {
        assert_eq!(WarmRestarts::snapshots(0.1, total, snapshots).unwrap().cycle_bounds().count() as u64, snapshots);
    }
}

/// The tables in PyTorch's own tests of CyclicLR (base 1, max 5) and OneCycleLR (max 25). The golden files do not have these.
#[test]
fn pytorch_test_tables() {
    let assert_all = |schedule: &dyn Schedule, expected: &[f64]| {
        for (step, expected) in expected.iter().enumerate() {
            let value = schedule.value_at(step as u64);
            assert!((value - expected).abs() < 1e-13, "step {step}: {value}, expected {expected}");
        }
    };
    let asymmetric = |schedule: Cyclic, up, down| schedule.with_step_sizes(up, down).unwrap();
    let third = |n: f64| n / 3.0;
    assert_all(
        &asymmetric(Cyclic::triangular(1.0, 5.0, 1).unwrap(), 4, 6),
        &[1.0, 2.0, 3.0, 4.0, 5.0, third(13.0), third(11.0), 3.0, third(7.0), third(5.0), 1.0],
    );
    assert_all(
        &asymmetric(Cyclic::triangular2(1.0, 5.0, 1).unwrap(), 2, 6),
        &[
            1.0,
            3.0,
            5.0,
            third(13.0),
            third(11.0),
            3.0,
            third(7.0),
            third(5.0),
            1.0,
            2.0,
            3.0,
            third(8.0),
            third(7.0),
            2.0,
            third(5.0),
            third(4.0),
            1.0,
            1.5,
            2.0,
            11.0 / 6.0,
            10.0 / 6.0,
            1.5,
            8.0 / 6.0,
            7.0 / 6.0,
        ],
    );
    let heights = [0.0, 0.25, 0.5, 0.75, 1.0, 0.75, 0.5, 0.25, 0.0, 0.25, 0.5, 0.75, 1.0];
    let expected: Vec<f64> = (0..).zip(heights).map(|(i, x)| 1.0 + 4.0 * x * 0.9_f64.powi(i)).collect();
    assert_all(&Cyclic::exp_range(1.0, 5.0, 4, 0.9).unwrap(), &expected);
    let heights = [0.0, 0.5, 1.0, 5.0 / 6.0, 4.0 / 6.0, 0.5, 2.0 / 6.0, 1.0 / 6.0, 0.0, 0.5, 1.0, 5.0 / 6.0, 4.0 / 6.0];
    let expected: Vec<f64> = (0..).zip(heights).map(|(i, x)| 1.0 + 4.0 * x * 0.9_f64.powi(i)).collect();
    assert_all(&asymmetric(Cyclic::exp_range(1.0, 5.0, 1, 0.9).unwrap(), 2, 6), &expected);

    let two_phase = OneCycle::pytorch(25.0, 10).unwrap().with_div_factors(25.0, 2.0).unwrap();
    assert_all(&two_phase.clone().with_curve(Curve::Linear), &[1.0, 13.0, 25.0, 21.5, 18.0, 14.5, 11.0, 7.5, 4.0, 0.5]);
    let cosine = |sevenths: f64| 0.5 + 24.5 * (1.0 + (std::f64::consts::PI * sevenths / 7.0).cos()) / 2.0;
    assert_all(
        &two_phase,
        &[1.0, 13.0, 25.0, cosine(1.0), cosine(2.0), cosine(3.0), cosine(4.0), cosine(5.0), cosine(6.0), 0.5],
    );
    // A momentum from 1 to 22 is invalid in a config, so this checks the height.
    let height = |step| two_phase.clone().with_curve(Curve::Linear).height_at(step).unwrap();
    for (step, momentum) in (0..).zip([22.0, 11.5, 1.0, 4.0, 7.0, 10.0, 13.0, 16.0, 19.0, 22.0]) {
        assert!((22.0 - 21.0 * height(step) - momentum).abs() < 1e-13);
    }
}

/// optax 0.2.8 under x64, and burn's test of its Sequential scheduler.
#[test]
fn optax_and_burn_tables() {
    let warmup_cosine = Sequence::warmup_cosine(0.0, 1.0, 0.1, 4, 12).unwrap();
    let expected = [
        0.0,
        0.25,
        0.5,
        0.75,
        1.0,
        0.965745790,
        0.868198052,
        0.722207545,
        0.55,
        0.377792455,
        0.231801948,
        0.134254210,
        0.1,
    ];
    for (value, expected) in warmup_cosine.values_from(0).zip(expected) {
        assert!((value - expected).abs() < 1e-9);
    }
    // sgdr: two cycles of 5, each with one update of warm-up.
    let cycle = || {
        let parts = [
            Part::new(LinearDecay::new(0.0, 1.0, 1).unwrap(), 1),
            Part::new(CosineDecay::new(1.0, 0.0, 4).unwrap(), 4),
        ];
        Part::new(Policy::from(Sequence::new(parts).unwrap()), 5)
    };
    let sgdr = Sequence::new([cycle(), cycle()]).unwrap();
    let expected = [0.0, 1.0, 0.853553391, 0.5, 0.146446609, 0.0, 1.0, 0.853553391, 0.5, 0.146446609, 0.0];
    for (value, expected) in sgdr.values_from(0).zip(expected) {
        assert!((value - expected).abs() < 1e-9);
    }
}
