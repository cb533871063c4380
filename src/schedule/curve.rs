//! The shape of a rise or a fall.

use crate::numeric;

/// The shape of a rise from 0 to 1. A fall is the same rise backwards.
///
/// | curve | height at x in [0, 1] |
/// |---|---|
/// | `Linear` | `x` |
/// | `Cosine` | `(1 + cos(pi (1 - x))) / 2` |
///
/// Both give exactly 0 at 0 and exactly 1 at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Curve {
    /// A straight line.
    #[default]
    Linear,
    /// Half a cosine wave: flat at both ends.
    Cosine,
}

impl Curve {
    /// The height of the curve at `x` in [0, 1].
    ///
    /// ```
    /// use cyclic_optim::Curve;
    /// assert_eq!(Curve::Linear.height(0.25), 0.25);
    /// assert_eq!((Curve::Cosine.height(0.0), Curve::Cosine.height(0.5), Curve::Cosine.height(1.0)), (0.0, 0.5, 1.0));
    /// ```
    #[must_use]
    #[inline]
    pub fn height(self, x: f64) -> f64 {
        match self {
            Self::Linear => x,
            // With this sign the height at 1/2 is 1/2 exactly.
            Self::Cosine => (1.0 + numeric::cosine_of_half_turns(1.0 - x)) * 0.5,
        }
    }
}
