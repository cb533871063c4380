//! What a wrapper costs: the ratio of two times that are taken alternately in one run.

use std::time::Instant;

/// The number of measurements that must all exceed a budget before the bench fails, because noise can only add time.
const TRIES: usize = 5;

/// The factor behind `--budgets`, which every budget is multiplied by.
pub(crate) fn factor() -> f64 {
    let arguments: Vec<String> = std::env::args().collect();
    let given = arguments.windows(2).find(|pair| pair[0] == "--budgets");
    given.map_or(1.0, |pair| pair[1].parse().expect("--budgets takes a factor"))
}

/// The microseconds of one call, averaged over several.
fn time(run: &mut dyn FnMut(), calls: u32) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        run();
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
}

/// Times both alternately and prints the ratio of the 5 % quantiles: times that no other process has disturbed, and that
/// are not exceptionally fast either. Returns whether the ratio keeps the budget.
pub(crate) fn keeps(name: &str, budget: f64, mut without: impl FnMut(), mut with: impl FnMut()) -> bool {
    fn twentieth(mut times: Vec<f64>) -> f64 {
        times.sort_by(f64::total_cmp);
        times[times.len() / 20]
    }
    // Long enough for the resolution of the clock, and so short that other processes rarely interrupt it.
    let first = time(&mut without, 1);
    let calls = [50, 20, 10, 5, 2].into_iter().find(|&calls| first * f64::from(calls) < 200.0).unwrap_or(1);
    for _ in 0..TRIES {
        let (mut bare, mut wrapped) = (Vec::new(), Vec::new());
        for _ in 0..1500 {
            bare.push(time(&mut without, calls));
            wrapped.push(time(&mut with, calls));
        }
        let (bare, wrapped, budget) = (twentieth(bare), twentieth(wrapped), budget * factor());
        let (ratio, kept) = (wrapped / bare, wrapped <= bare * budget);
        let verdict = if kept { "" } else { "  OVER" };
        println!("{name:<40} {bare:>9.2} us  {wrapped:>9.2} us  ratio {ratio:.4}  budget {budget:.3}{verdict}");
        if kept {
            return true;
        }
    }
    false
}
