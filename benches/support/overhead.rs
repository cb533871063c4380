//! What a wrapper costs: the ratio of two times that are taken in turns in one run.

use std::time::Instant;

/// A measurement over its budget is made so often before it counts: noise only ever adds time.
const TRIES: usize = 5;

/// The factor behind `--budgets`, which every budget is multiplied by.
pub(crate) fn factor() -> f64 {
    let arguments: Vec<String> = std::env::args().collect();
    let given = arguments.windows(2).find(|pair| pair[0] == "--budgets");
    given.map_or(1.0, |pair| pair[1].parse().expect("--budgets takes a factor"))
}

/// Times both in turns, prints the ratio of the shortest times, and says whether it keeps the budget.
pub(crate) fn keeps(name: &str, budget: f64, mut without: impl FnMut(), mut with: impl FnMut()) -> bool {
    fn time(run: &mut dyn FnMut()) -> f64 {
        let start = Instant::now();
        for _ in 0..10 {
            run();
        }
        start.elapsed().as_secs_f64() * 1e5
    }
    for _ in 0..TRIES {
        let (mut bare, mut wrapped) = (f64::INFINITY, f64::INFINITY);
        for round in 0..1000 {
            // Neither is always the first.
            if round % 2 == 0 {
                bare = bare.min(time(&mut without));
            }
            wrapped = wrapped.min(time(&mut with));
            if round % 2 == 1 {
                bare = bare.min(time(&mut without));
            }
        }
        let (ratio, budget) = (wrapped / bare, budget * factor());
        let kept = ratio <= budget;
        let verdict = if kept { "" } else { "  OVER" };
        println!("{name:<40} {bare:>9.2} us  {wrapped:>9.2} us  ratio {ratio:.4}  budget {budget:.3}{verdict}");
        if kept {
            return true;
        }
    }
    false
}
