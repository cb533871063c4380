//! The review of a run: each finding has a config that causes it and a near one that does not, and the examples have none.

#![cfg(feature = "serde")]

use cyclic_optim::feedback::{Plateau, Watch};
use cyclic_optim::review::{Finding, Review};
use cyclic_optim::schedule::Point;
use cyclic_optim::{
    ClrConfig, ConfigError, Constant, CosineDecay, Cyclic, ExponentialDecay, LinearDecay, LrRange, MultiStepDecay,
    OneCycle, Part, RunLength, Schedule, Sequence, WarmRestarts,
};

type Result<T> = core::result::Result<T, ConfigError>;

fn names<S: Schedule>(review: Review, config: &ClrConfig<S>) -> Vec<&'static str> {
    review.findings(config).iter().map(Finding::name).collect()
}

/// The only finding.
fn only<S: Schedule>(review: Review, config: &ClrConfig<S>) -> Finding {
    match review.findings(config)[..] {
        [finding] => finding,
        ref others => panic!("{others:?}"),
    }
}

fn one_cycle(updates: u64) -> Result<ClrConfig> {
    ClrConfig::new(OneCycle::new(0.02, updates)?).with_momentum(0.85, 0.95)
}

#[test]
fn ends_in_mid_cycle() -> Result<()> {
    let triangles = ClrConfig::new(Cyclic::triangular(0.001, 0.021, 100)?);
    let finding = only(Review::new(850)?, &triangles);
    // Cycle 5 of 200 updates: 50 are made, and update 49 of its rise has 0.001 + 0.02 x 49 / 100.
    let Finding::EndsInMidCycle { cycle: 4, made: 50, length: 200, lr, cycle_end_lr } = finding else {
        panic!("{finding:?}");
    };
    assert!((lr - 0.0108).abs() < 1e-12 && (cycle_end_lr - 0.0012).abs() < 1e-12, "{finding:?}");
    assert_eq!(
        finding.to_string(),
        "the run ends after update 50 of the 200 of cycle 5, at a rate of 1.08e-2, 9.0 times the 1.20e-3 at which the cycle ends"
    );
    assert_eq!(Review::new(800)?.findings(&triangles), []);
    // So close to the end of the cycle that it makes no difference.
    assert_eq!(Review::new(799)?.findings(&triangles), []);
    assert_eq!(names(Review::new(797)?, &triangles), ["ends_in_mid_cycle"]);
    // The first update of a cycle is not its end.
    let restarts = ClrConfig::new(WarmRestarts::new(0.0, 0.1, 10)?.with_inclusive_end());
    assert!(
        only(Review::new(21)?, &restarts)
            .to_string()
            .ends_with("of cycle 3, at a rate of 1.00e-1, and the cycle ends at 0")
    );
    assert_eq!(Review::new(20)?.findings(&restarts), []);
    Ok(())
}

#[test]
fn peak_never_reached() -> Result<()> {
    // The last update of the run is one before the peak, at 98 % of it.
    let warmup = ClrConfig::new(LinearDecay::new(0.001, 0.1, 50)?);
    let findings = Review::new(49)?.findings(&warmup);
    assert!(
        matches!(findings[0], Finding::PeakNeverReached { highest, peak: 0.1, updates: 49 } if highest < 0.099),
        "{findings:?}"
    );
    assert_eq!(Review::new(51)?.findings(&warmup), []);
    // The peaks of `exp_range` shrink from the first one on. The run reaches the first one, or it does not.
    let shrinking = ClrConfig::new(Cyclic::exp_range(0.001, 0.02, 100, 0.997)?);
    assert_eq!(Review::new(200)?.findings(&shrinking), []);
    assert_eq!(names(Review::new(90)?, &shrinking), ["ends_in_mid_cycle", "peak_never_reached"]);
    // A ceiling cuts the peak off, or does not.
    let bounded = |ceiling| ClrConfig::new(CosineDecay::new(0.1, 0.01, 100)?).with_bounds(0.0, ceiling);
    assert_eq!(names(Review::new(100)?, &bounded(0.05)?), ["peak_never_reached"]);
    assert_eq!(Review::new(100)?.findings(&bounded(0.1)?), []);
    // A turn between two updates: 99.7 % of the peak.
    let between = Cyclic::over_total(0.0001, 0.02, 901, 5, 0.3)?;
    assert_eq!(Review::new(901)?.findings(&ClrConfig::new(between)), []);
    Ok(())
}

#[test]
fn horizon_before_and_after_the_end() -> Result<()> {
    let finding = only(Review::new(1000)?, &one_cycle(900)?);
    assert!(matches!(finding, Finding::HorizonBeforeEnd { horizon: 900, updates: 1000, held_lr } if held_lr < 1e-7));
    assert_eq!(
        finding.to_string(),
        "the schedule ends after 900 updates, and the run has 1000: the last 100 all use a rate of 8.00e-8"
    );
    let cosine = ClrConfig::new(CosineDecay::new(0.1, 0.001, 1000)?);
    let finding = only(Review::new(900)?, &cosine);
    assert!(
        matches!(finding, Finding::HorizonAfterEnd { horizon: 1000, updates: 900, horizon_lr: 0.001, .. }),
        "{finding:?}"
    );
    assert!(
        finding
            .to_string()
            .starts_with("the schedule has 1000 updates, and the run only 900: it ends at a rate of 3.4")
    );
    // One per cent is no difference.
    for updates in [990, 1000, 1010] {
        assert_eq!(Review::new(updates)?.findings(&cosine), [], "{updates}");
    }
    // A schedule that rises to a constant rate is meant to hold it, and an endless schedule is never too short.
    for endless in [
        ClrConfig::new(LinearDecay::new(0.001, 0.1, 50)?),
        ClrConfig::new(Sequence::new([
            Part::new(LinearDecay::new(0.001, 0.1, 50)?, 50),
            Part::endless(Constant::new(0.1)?),
        ])?),
        ClrConfig::new(MultiStepDecay::new(0.1, vec![300, 600], 0.1)?),
        ClrConfig::new(ExponentialDecay::new(0.1, 0.999)?),
    ] {
        assert_eq!(Review::new(900)?.findings(&endless), [], "{endless:?}");
    }
    Ok(())
}

#[test]
fn step_size_out_of_range() -> Result<()> {
    let review = Review::new(9000)?.with_batches_per_epoch(45)?;
    let found = |step_size| Ok(names(review, &ClrConfig::new(Cyclic::triangular(0.001, 0.02, step_size)?)));
    let outside = vec!["step_size_out_of_range"];
    // 2 epochs are 90 updates, 10 epochs are 450.
    for (step_size, expected) in [(75, outside.clone()), (90, vec![]), (450, vec![]), (500, outside)] {
        assert_eq!(found(step_size)?, expected, "{step_size}");
    }
    let short = only(review, &ClrConfig::new(Cyclic::triangular(0.001, 0.02, 60)?));
    assert_eq!(short.to_string(), "half a cycle is 60 updates, 1.33 epochs of 45, and Smith recommends 2 to 10 epochs");
    // Without the number of batches there is no finding. Smith's rule is not about a single cycle, and not about
    // restarts, which begin with a fall.
    assert_eq!(names(Review::new(9000)?, &ClrConfig::new(Cyclic::triangular(0.001, 0.02, 75)?)), [""; 0]);
    assert_eq!(names(review, &one_cycle(9000)?), [""; 0]);
    assert_eq!(names(review, &ClrConfig::new(WarmRestarts::new(0.0, 0.02, 60)?)), [""; 0]);
    Ok(())
}

#[test]
fn first_update_at_zero() -> Result<()> {
    let warmup = |start_lr| Ok(ClrConfig::new(Sequence::warmup_cosine(start_lr, 0.1, 0.001, 10, 100)?));
    let finding = only(Review::new(100)?, &warmup(0.0)?);
    assert_eq!(finding.to_string(), "the first update has a rate of 0 and changes nothing; the second has 1.00e-2");
    assert_eq!(finding.name(), "first_update_at_zero");
    assert_eq!(Review::new(100)?.findings(&warmup(1e-6)?), []);
    Ok(())
}

#[test]
fn momentum_under_one_cycle() -> Result<()> {
    let constant = ClrConfig::new(OneCycle::new(0.02, 900)?);
    assert_eq!(only(Review::new(900)?, &constant), Finding::MomentumNotCycled { max_lr: 0.02 });
    assert_eq!(Review::new(900)?.findings(&one_cycle(900)?), []);
    assert_eq!(Review::new(900)?.with_constant_momentum().findings(&constant), []);
    // A single triangle is one cycle, too. Several are not, and neither is a fall alone.
    let triangles = |cycles| Ok(ClrConfig::new(Cyclic::triangular(0.001, 0.02, 90)?.with_cycles(cycles)?));
    assert_eq!(names(Review::new(180)?, &triangles(1)?), ["momentum_not_cycled"]);
    assert_eq!(names(Review::new(360)?, &triangles(2)?), [""; 0]);
    assert_eq!(names(Review::new(900)?, &ClrConfig::new(WarmRestarts::snapshots(0.02, 900, 1)?)), [""; 0]);
    Ok(())
}

/// A triangle of ten updates; a schedule of the user's own can have its height upside down.
struct Triangle {
    upside_down: bool,
}

impl Schedule for Triangle {
    fn value_at(&self, step: u64) -> f64 {
        self.point_at(step, None).value
    }

    fn range(&self) -> Option<LrRange> {
        Some(LrRange { base_lr: 0.1, max_lr: 0.6 })
    }

    fn point_at(&self, step: u64, range: Option<LrRange>) -> Point {
        let LrRange { base_lr, max_lr } = range.unwrap_or(LrRange { base_lr: 0.1, max_lr: 0.6 });
        let height = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 0.8, 0.6, 0.4, 0.2][usize::try_from(step % 10).unwrap()];
        let reported = if self.upside_down { 1.0 - height } else { height };
        Point { value: base_lr + (max_lr - base_lr) * height, height: Some(reported), amplitude: 1.0 }
    }
}

#[test]
fn momentum_rises_with_rate() -> Result<()> {
    let config = |upside_down| ClrConfig::custom(Triangle { upside_down }).with_momentum(0.85, 0.95);
    let finding = only(Review::new(20)?, &config(true)?);
    assert_eq!(finding, Finding::MomentumRisesWithRate { at_lowest_lr: 0.85, at_highest_lr: 0.95 });
    assert!(finding.to_string().starts_with("the momentum is 0.95 at the highest rate and 0.85 at the lowest"));
    assert_eq!(Review::new(20)?.findings(&config(false)?), []);
    Ok(())
}

#[test]
fn plateau_judges_every_report() -> Result<()> {
    let plateau = Plateau::keras(0.5, 3)?;
    let config = |watch| ClrConfig::new(Cyclic::triangular(0.001, 0.02, 90)?).with_plateau(plateau)?.with_watch(watch);
    let finding = only(Review::new(900)?, &config(Watch::EveryReport)?);
    assert_eq!(finding, Finding::PlateauJudgesEveryReport { patience: 3, cycle_length: 180 });
    assert!(
        finding.to_string().contains("patience 3 judges every report") && finding.to_string().contains("180 updates")
    );
    assert_eq!(Review::new(900)?.findings(&config(Watch::CycleEnds)?), []);
    // A rate without cycles does not swing, and neither does a run of one cycle.
    assert_eq!(Review::new(900)?.findings(&ClrConfig::new(Constant::new(0.1)?).with_plateau(plateau)?), []);
    assert_eq!(Review::new(180)?.findings(&config(Watch::EveryReport)?), []);
    Ok(())
}

#[test]
fn base_decays_away() -> Result<()> {
    // After 900 updates the base is divided by 1 + 899 decay.
    let config = |decay| ClrConfig::new(Cyclic::triangular(0.001, 0.02, 90)?).with_decay(decay);
    let finding = only(Review::new(900)?, &config(0.011)?);
    assert!(
        matches!(finding, Finding::BaseDecaysAway { base_lr: 0.001, decay: 0.011, last_base_lr } if (last_base_lr - 0.001 / 10.889).abs() < 1e-12)
    );
    assert_eq!(finding.to_string(), "the decay of 0.011 reduces the base from 1.00e-3 to 9.18e-5, by a factor of 11");
    assert_eq!(Review::new(900)?.findings(&config(0.01)?), []);
    Ok(())
}

#[test]
fn fewer_snapshots() -> Result<()> {
    let restarts = ClrConfig::new(WarmRestarts::new(0.0, 0.1, 100)?.with_t_mult(2)?);
    // Cycles end after 100, 300 and 700 updates.
    for (asked, made) in [(1, 1), (3, 3), (4, 3), (u64::MAX, 3)] {
        let findings = Review::new(700)?.with_snapshots(asked).findings(&restarts);
        let expected: &[_] = if made < asked { &[Finding::FewerSnapshots { asked, made }] } else { &[] };
        assert_eq!(findings, expected);
    }
    assert!(names(Review::new(699)?.with_snapshots(3), &restarts).contains(&"fewer_snapshots"));
    let none = only(Review::new(900)?.with_snapshots(2), &ClrConfig::new(Constant::new(0.1)?));
    assert_eq!(none.to_string(), "2 snapshots are wanted, and 0 cycles end within the run");
    Ok(())
}

#[test]
fn above_limit() -> Result<()> {
    let review = |limit| Review::new(900)?.with_rate_limit(limit);
    let finding = only(review(0.019)?, &one_cycle(900)?);
    // The peak is at 30 % of the 899 steps.
    assert_eq!(finding, Finding::AboveLimit { limit: 0.019, highest: 0.02, update: 270 });
    assert_eq!(
        finding.to_string(),
        "the rate of update 271 is 2.00e-2, and the highest usable rate that was found is 1.90e-2"
    );
    assert_eq!(review(0.02)?.findings(&one_cycle(900)?), []);
    Ok(())
}

/// Every finding that the crate has is caused by a test above.
#[test]
fn every_finding_has_its_tests() {
    let names: Vec<&str> = include_str!("../src/review/finding.rs")
        .lines()
        .filter_map(|line| line.trim().strip_suffix("\","))
        .filter_map(|line| line.split_once(" => \"").map(|(_, name)| name))
        .collect();
    assert_eq!(names.len(), 12, "{names:?}");
    let tests = include_str!("review.rs");
    let camel = |name: &str| name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect::<String>();
    for name in names {
        assert!(
            tests.contains(&format!("Finding::{}", camel(name))) || tests.contains(&format!("\"{name}\"")),
            "{name}"
        );
    }
}

#[test]
fn a_run_that_is_none_is_refused() {
    assert!(matches!(Review::new(0), Err(ConfigError::TooSmall { field: "updates", value: 0, minimum: 1 })));
    let review = Review::new(1).unwrap();
    assert!(matches!(review.with_batches_per_epoch(0), Err(ConfigError::TooSmall { field: "batches_per_epoch", .. })));
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(review.with_rate_limit(bad), Err(ConfigError::OutOfRange { field: "rate_limit", .. })));
    }
}

/// The longest run takes no longer than its first part, and the numbers do not overflow.
#[test]
fn runs_of_any_length_are_reviewed() -> Result<()> {
    let longest =
        Review::new(u64::MAX)?.with_batches_per_epoch(u64::MAX)?.with_snapshots(u64::MAX).with_rate_limit(1e-9)?;
    for config in [
        ClrConfig::new(Cyclic::triangular(0.001, 0.02, u64::MAX / 2)?),
        ClrConfig::new(Cyclic::triangular2(0.001, 0.02, 90)?).with_decay(1e-4)?,
        ClrConfig::new(Constant::new(0.1)?),
    ] {
        let names = names(longest, &config);
        assert!(names.contains(&"above_limit") && names.contains(&"fewer_snapshots"), "{names:?}");
        assert!(!names.contains(&"peak_never_reached"), "not known for so many updates: {names:?}");
        // The shortest run.
        let _ = Review::new(1)?.with_batches_per_epoch(1)?.with_snapshots(1).findings(&config);
    }
    Ok(())
}

/// What the examples do by default on the digits: 900 updates, 45 in an epoch. (`train` is run by `tests/examples.rs`.)
#[test]
fn the_examples_have_no_findings() -> core::result::Result<(), Box<dyn std::error::Error>> {
    let review = Review::new(900)?.with_batches_per_epoch(45)?;
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/configs");
    let mut files = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path)?;
        let toml = path.extension().is_some_and(|extension| extension == "toml");
        let run = RunLength::new(45, 20)?;
        let config: ClrConfig = if toml {
            ClrConfig::deserialize_for(&run, toml::Deserializer::parse(&text)?)?
        } else {
            ClrConfig::deserialize_for(&run, &mut serde_json::Deserializer::from_str(&text))?
        };
        assert_eq!(review.findings(&config), [], "{}", path.display());
        files += 1;
    }
    assert!(files >= 3);
    // digits, record and resume.
    assert_eq!(review.findings(&one_cycle(900)?), []);
    // snapshot_ensemble.
    let snapshots = ClrConfig::new(WarmRestarts::snapshots(0.02, 900, 5)?);
    assert_eq!(review.with_snapshots(5).findings(&snapshots), []);
    // convergence and find_range compare rates under a constant momentum.
    let review = review.with_constant_momentum();
    let (base, max) = (0.001, 0.02);
    for config in [
        ClrConfig::new(Constant::new(max)?),
        Cyclic::triangular(base, max, 90)?.into(),
        Cyclic::triangular2(base, max, 90)?.into(),
        Cyclic::exp_range(base, max, 90, 0.997)?.into(),
        OneCycle::new(max, 900)?.into(),
        WarmRestarts::new(base, max, 900_u64.div_ceil(7))?.with_t_mult(2)?.into(),
    ] {
        assert_eq!(review.findings(&config), [], "{config:?}");
    }
    Ok(())
}
