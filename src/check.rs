//! The preconditions of parameters, each in one place. NaN fails all of them.

use crate::error::ConfigError;

/// A learning rate: finite and at least 0.
pub(crate) fn rate(field: &'static str, value: f64) -> Result<(), ConfigError> {
    if value.is_finite() && value >= 0.0 { Ok(()) } else { Err(ConfigError::Rate { field, value }) }
}

/// A learning rate in a schedule or a bound. -0.0 becomes 0.0, so that every way to compute a value gives the same bits.
pub(crate) fn schedule_rate(field: &'static str, value: &mut f64) -> Result<(), ConfigError> {
    *value += 0.0;
    rate(field, *value)
}

/// A finite number above 0.
pub(crate) fn positive(field: &'static str, value: f64) -> Result<(), ConfigError> {
    in_range(field, value, value > 0.0 && value.is_finite(), "(0, inf)")
}

/// Two learning rates, in ascending order.
pub(crate) fn rates(
    (low_field, low): (&'static str, f64),
    (high_field, high): (&'static str, f64),
) -> Result<(), ConfigError> {
    rate(low_field, low)?;
    rate(high_field, high)?;
    ordered((low_field, low), (high_field, high))
}

/// Two numbers in ascending order; equal ones pass.
pub(crate) fn ordered(
    (low_field, low): (&'static str, f64),
    (high_field, high): (&'static str, f64),
) -> Result<(), ConfigError> {
    if low <= high { Ok(()) } else { Err(ConfigError::Reversed { low_field, low, high_field, high }) }
}

/// A share of a whole: [0, 1].
pub(crate) fn fraction(field: &'static str, value: f64) -> Result<(), ConfigError> {
    in_range(field, value, (0.0..=1.0).contains(&value), "[0, 1]")
}

/// A decay factor: (0, 1].
pub(crate) fn gamma(field: &'static str, value: f64) -> Result<(), ConfigError> {
    in_range(field, value, value > 0.0 && value <= 1.0, "(0, 1]")
}

/// A momentum or beta1: [0, 1).
pub(crate) fn momentum(field: &'static str, value: f64) -> Result<(), ConfigError> {
    in_range(field, value, (0.0..1.0).contains(&value), "[0, 1)")
}

/// The weight of the past in a moving average: [0, 1).
pub(crate) fn weight(field: &'static str, value: f64) -> Result<(), ConfigError> {
    momentum(field, value)
}

/// A factor that increases: (1, inf).
pub(crate) fn factor(field: &'static str, value: f64) -> Result<(), ConfigError> {
    in_range(field, value, value > 1.0 && value.is_finite(), "(1, inf)")
}

/// A factor that reduces: (0, 1).
pub(crate) fn shrinking(field: &'static str, value: f64) -> Result<(), ConfigError> {
    in_range(field, value, value > 0.0 && value < 1.0, "(0, 1)")
}

/// Any finite number.
pub(crate) fn finite(field: &'static str, value: f64) -> Result<(), ConfigError> {
    in_range(field, value, value.is_finite(), "(-inf, inf)")
}

/// Any number, infinities included.
pub(crate) fn number(field: &'static str, value: f64) -> Result<(), ConfigError> {
    in_range(field, value, !value.is_nan(), "[-inf, inf]")
}

/// A divisor: at least 1 and finite.
pub(crate) fn divisor(field: &'static str, value: f64) -> Result<(), ConfigError> {
    in_range(field, value, value >= 1.0 && value.is_finite(), "[1, inf)")
}

/// A factor or rate that may be 0 but not negative: [0, inf).
pub(crate) fn non_negative(field: &'static str, value: f64) -> Result<(), ConfigError> {
    in_range(field, value, value >= 0.0 && value.is_finite(), "[0, inf)")
}

/// A length or a count of at least 1.
pub(crate) fn length(field: &'static str, value: u64) -> Result<(), ConfigError> {
    at_least(field, value, 1)
}

/// A length or a count of at least `minimum`.
pub(crate) fn at_least(field: &'static str, value: u64, minimum: u64) -> Result<(), ConfigError> {
    if value >= minimum { Ok(()) } else { Err(ConfigError::TooSmall { field, value, minimum }) }
}

fn in_range(field: &'static str, value: f64, inside: bool, range: &'static str) -> Result<(), ConfigError> {
    if inside { Ok(()) } else { Err(ConfigError::OutOfRange { field, value, range }) }
}

/// Declares a struct that serde writes field by field and reads through its method `check`, which its constructors use too.
///
/// The fields are read into a private struct of the same name, so no value can bypass the check.
macro_rules! serde_checked {
    ($(#[$attribute:meta])* pub struct $name:ident $(<$schedule:ident: $bound:path = $default:ty>)? {
        $($(#[$field_attribute:meta])* $visibility:vis $field:ident: $type:ty),+ $(,)?
    }) => {
        $(#[$attribute])*
        #[cfg_attr(feature = "serde", derive(serde::Serialize))]
        pub struct $name $(<$schedule = $default>)? {
            $($(#[$field_attribute])* $visibility $field: $type),+
        }

        #[cfg(feature = "serde")]
        impl<'de $(, $schedule)?> serde::Deserialize<'de> for $name $(<$schedule>
        where
            $schedule: $bound + serde::Deserialize<'de>)?
        {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(serde::Deserialize)]
                #[serde(deny_unknown_fields)]
                struct $name $(<$schedule>)? {
                    $($(#[$field_attribute])* $field: $type),+
                }
                let $name { $($field),+ } = $name::deserialize(deserializer)?;
                Self { $($field),+ }.check().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_checked;
