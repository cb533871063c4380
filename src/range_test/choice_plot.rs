//! Draws what a search for a peak rate has found.

use super::PeakChoice;
use super::plot::{draw_cut, points};
use crate::picture::{COLORS, Chart, Line, Mark, PALE, PlotError};

impl PeakChoice {
    /// Draws the search as SVG: the losses of the sweep, the losses of the candidates, and the peak. A candidate that diverged is
    /// drawn at the upper edge.
    ///
    /// # Errors
    ///
    /// [`PlotError::Nothing`] if there is no point to draw, which is possible only for a choice that was read from a
    /// modified file.
    pub fn to_svg(&self) -> Result<String, PlotError> {
        let sweep = points(&self.curve);
        let highest = sweep.iter().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
        let tried: Vec<(f64, f64)> =
            self.candidates.iter().map(|candidate| (candidate.lr, candidate.loss.unwrap_or(highest))).collect();
        let lowest = tried.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
        let candidates = tried.iter().zip(&self.candidates).map(|(&at, candidate)| {
            let label = match candidate.loss {
                Some(loss) => format!("{:.2e}: {loss:.3}", candidate.lr),
                None => format!("{:.2e}: diverged", candidate.lr),
            };
            // The line of the short runs stands for its dots.
            Mark { label, at, color: COLORS[0], listed: false }
        });
        let peak = format!("peak: {:.2e}", self.peak);
        let peak = Mark { label: peak, at: (self.peak, lowest), color: COLORS[1], listed: true };
        let lines = vec![Line::solid("sweep", sweep, PALE, 2), Line::solid("short runs", tried.clone(), COLORS[0], 2)];
        let chart = Chart { y: "loss", lines, marks: candidates.chain([peak]).collect(), ..Chart::default() };
        draw_cut("Choice of the peak rate", chart)
    }
}
