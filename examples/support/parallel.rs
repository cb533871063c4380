//! Many runs on all cores.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The results of all jobs, in their order; the first error if there is one.
pub(crate) fn map<J: Sync, R: Send>(
    jobs: &[J],
    run: impl Fn(&J) -> Result<R, String> + Sync,
) -> Result<Vec<R>, String> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(jobs.iter().map(|_| None).collect::<Vec<_>>());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, Into::into) {
            scope.spawn(|| {
                while let Some((n, job)) = {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    jobs.get(n).map(|job| (n, job))
                } {
                    let result = run(job);
                    if let Ok(mut results) = results.lock() {
                        results[n] = Some(result);
                    }
                }
            });
        }
    });
    let results = results.into_inner().map_err(|error| error.to_string())?;
    results.into_iter().map(|result| result.unwrap_or_else(|| Err("a run panicked".into()))).collect()
}
