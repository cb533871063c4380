//! The form of a `Cyclic` in a file.

use serde::{Deserialize, Serialize};

use super::{Amplitude, ConfigError, Curve, Cycles, Cyclic, Turn};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CyclicFile {
    base_lr: f64,
    max_lr: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end_lr: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step_size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step_size_up: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step_size_down: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step_divisor: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    total_steps: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cycles: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    up_fraction: Option<f64>,
    #[serde(default)]
    rise: Curve,
    #[serde(default)]
    fall: Curve,
    #[serde(default)]
    amplitude: Amplitude,
}

impl TryFrom<CyclicFile> for Cyclic {
    type Error = ConfigError;

    fn try_from(file: CyclicFile) -> Result<Self, ConfigError> {
        let conflict = |field, problem| Err(ConfigError::Conflict { field, problem });
        let CyclicFile { base_lr, max_lr, .. } = file;
        let sized = match (file.step_size, file.step_size_up, file.step_size_down, file.total_steps) {
            (Some(step_size), None, None, None) => Cyclic::triangular(base_lr, max_lr, step_size)?,
            (None, Some(up), Some(down), None) => Cyclic::triangular(base_lr, max_lr, 1)?.with_step_sizes(up, down)?,
            (None, None, None, Some(total)) => {
                let Some(cycles) = file.cycles else {
                    return conflict("total_steps", "needs cycles, the number of cycles to divide it into");
                };
                Cyclic::over_total(base_lr, max_lr, total, cycles, file.up_fraction.unwrap_or(0.5))?
            }
            _ => {
                return conflict(
                    "step_size",
                    "must be given in one way: step_size, or step_size_up and step_size_down, or total_steps and cycles",
                );
            }
        };
        let sized = match file.step_divisor {
            Some(step_divisor) => sized.with_step_divisor(step_divisor)?,
            None => sized,
        };
        let limited = match (file.total_steps, file.cycles) {
            (None, Some(cycles)) => sized.with_cycles(cycles)?,
            _ => sized,
        };
        if file.total_steps.is_none() && file.up_fraction.is_some() {
            return conflict("up_fraction", "needs total_steps; with step sizes give step_size_up and step_size_down");
        }
        let ended = match file.end_lr {
            Some(end_lr) => limited.with_end_lr(end_lr)?,
            None => limited,
        };
        ended.with_curves(file.rise, file.fall).with_amplitude(file.amplitude)
    }
}

impl From<Cyclic> for CyclicFile {
    fn from(cyclic: Cyclic) -> Self {
        let Cyclic { range, end_lr, cycles, turn, rise, fall, amplitude, log2_amplitude: _ } = cyclic;
        let mut file = Self {
            base_lr: range.base_lr,
            max_lr: range.max_lr,
            end_lr,
            step_size: None,
            step_size_up: None,
            step_size_down: None,
            step_divisor: None,
            total_steps: None,
            cycles: None,
            up_fraction: None,
            rise,
            fall,
            amplitude,
        };
        match (cycles, turn) {
            (Cycles::Equal { length, count } | Cycles::Fractional { length, count, .. }, Turn::Step(up)) => {
                file.cycles = count;
                if let Cycles::Fractional { divisor, .. } = cycles {
                    file.step_divisor = Some(divisor);
                }
                if up == length - up {
                    file.step_size = Some(up);
                } else {
                    (file.step_size_up, file.step_size_down) = (Some(up), Some(length - up));
                }
            }
            (Cycles::Split { total, count }, Turn::Fraction(fraction)) => {
                (file.total_steps, file.cycles) = (Some(total), Some(count));
                file.up_fraction = Some(fraction);
            }
            // No constructor makes other combinations.
            (_, _) => {}
        }
        file
    }
}
