//! Pictures of a run.

use std::error::Error;
use std::path::Path;

use cyclic_optim::history::LossPlot;
use cyclic_optim::{History, Smoothing};

use super::files;

/// Draws losses, rates and epochs of a run into a folder.
pub(crate) fn draw(history: &History, folder: &Path) -> Result<(), Box<dyn Error>> {
    let plot = LossPlot { smoothing: Some(Smoothing::exponential(0.9)?), logarithmic: true, winsorised: false };
    for (name, svg) in [
        ("losses", history.losses_to_svg(&plot)?),
        ("rates", history.rates_to_svg()?),
        ("epochs", history.epochs_to_svg("loss")?),
    ] {
        files::write(&folder.join(format!("{name}.svg")), svg)?;
    }
    Ok(())
}
