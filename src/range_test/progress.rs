//! A progress bar for range tests.

use indicatif::{ProgressBar, ProgressStyle};

use super::{PeakSearch, RangeTest};

const TEMPLATE: &str = "range test {wide_bar} {pos}/{len} {eta}";

const SEARCH_TEMPLATE: &str = "choosing the peak {wide_bar} {pos}/{len} {eta}";

impl RangeTest {
    /// A progress bar over the updates of `sweeps` sweeps. Wrap it around the batches: `bar.wrap_iter(batches)`.
    ///
    /// It is drawn only if stderr is a terminal. It does not reach its end if a sweep stops early.
    #[must_use]
    pub fn progress_bar(&self, sweeps: u64) -> ProgressBar {
        let bar = ProgressBar::new(self.updates().saturating_mul(sweeps));
        match ProgressStyle::with_template(TEMPLATE) {
            Ok(style) => bar.with_style(style),
            // The template is fixed, and a test checks it.
            Err(_) => bar,
        }
    }
}

impl PeakSearch {
    /// A progress bar over the usual number of updates of the search. Call `bar.inc(1)` in the closure that trains.
    ///
    /// It is drawn only if stderr is a terminal. A search may need fewer updates than the bar has, or more.
    #[must_use]
    pub fn progress_bar(&self) -> ProgressBar {
        let bar = ProgressBar::new(self.cost().typical);
        match ProgressStyle::with_template(SEARCH_TEMPLATE) {
            Ok(style) => bar.with_style(style),
            // The template is fixed, and a test checks it.
            Err(_) => bar,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_counts_updates() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
        assert!(ProgressStyle::with_template(SEARCH_TEMPLATE).is_ok());
        assert_eq!(PeakSearch::new(1800).unwrap().progress_bar().length(), Some(80 + 3 * 100));
        let test = RangeTest::linear(0.0, 1.0, 5).unwrap().with_batches_per_step(2).unwrap();
        let bar = test.progress_bar(3);
        assert_eq!(bar.length(), Some(30));
        let test = test.with_max_steps(3).unwrap();
        let mut batches = bar.wrap_iter(std::iter::repeat(1.0));
        let curve = test.run(|_| Ok::<_, ()>(batches.next())).unwrap();
        assert_eq!((curve.points().len(), bar.position()), (3, 6));
    }
}
