//! The options of a config that are plain data: guard, clipping, range of the momentum, bounds.

/// When [`apply`](crate::CyclicOptimizer::apply) refuses an update. It always refuses a loss that is not finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Guard {
    /// Whether to refuse gradients that are not finite, too.
    pub gradients: bool,
    /// The number of consecutive refusals at which the run should stop; `None` means never.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub max_refusals: Option<u64>,
}

/// How [`apply`](crate::CyclicOptimizer::apply) clips gradients: by norm first, then by value.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Clip {
    /// The largest global norm. If the norm is larger, all gradients are scaled down together.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub norm: Option<f64>,
    /// The largest absolute value of a single gradient. Larger ones are clamped.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub value: Option<f64>,
}

/// The range of a momentum that falls while the learning rate rises.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct MomentumRange {
    /// The momentum at the peak of the rate.
    pub base_momentum: f64,
    /// The momentum between the cycles.
    pub max_momentum: f64,
    /// Whether the momentum moves over a smaller part of its range when the amplitude of the cycles shrinks, as in
    /// PyTorch's `CyclicLR`.
    #[cfg_attr(feature = "serde", serde(default))]
    pub scaled: bool,
}

/// Limits of the applied rate.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Bounds {
    /// The lowest rate.
    pub floor: f64,
    /// The highest rate.
    pub ceiling: f64,
}
