//! Prints the findings of a review on stderr.

use std::io::{Write, stderr};

use cyclic_optim::ClrConfig;
use cyclic_optim::review::Review;

/// Prints a line for each finding.
pub(crate) fn print(review: Review, config: &ClrConfig) {
    for finding in review.findings(config) {
        // Where stderr is closed, nobody wants to know.
        let _ = writeln!(stderr(), "review: {}: {finding}", finding.name());
    }
}
