//! Groups of parameters with rates and weight decays of their own.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use thiserror::Error;

use crate::check::{self, serde_checked};
use crate::error::{ConfigError, UnknownPrefix};

serde_checked! {
    /// A group of parameters: those whose names begin with a prefix, with a factor for their rate and one for their
    /// weight decay.
    ///
    /// In a file: `{"prefix": "0", "rate": 0.1, "weight_decay": 0}`; a factor that is not given is 1.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Group {
        prefix: String,
        #[cfg_attr(feature = "serde", serde(default = "one"))]
        rate: f64,
        #[cfg_attr(feature = "serde", serde(default = "one"))]
        weight_decay: f64,
    }
}

#[cfg(feature = "serde")]
fn one() -> f64 {
    1.0
}

impl Group {
    /// A group of the parameters whose names begin with `prefix`. They use `rate` times the rate of the schedule; 0 freezes
    /// them.
    ///
    /// A prefix ends where a part of the name ends: `1` means `1.weight` and `1.0.bias`, and not `10.weight`. The empty prefix
    /// means all parameters.
    ///
    /// # Errors
    ///
    /// A factor that is negative or not finite.
    pub fn new(prefix: impl Into<String>, rate: f64) -> Result<Self, ConfigError> {
        Self { prefix: prefix.into(), rate, weight_decay: 1.0 }.check()
    }

    /// Also multiplies the weight decay by a factor. 0 switches it off, as is usual for biases and normalisation
    /// layers.
    ///
    /// # Errors
    ///
    /// A factor that is negative or not finite.
    pub fn with_weight_decay(mut self, weight_decay: f64) -> Result<Self, ConfigError> {
        self.weight_decay = weight_decay;
        self.check()
    }

    fn check(self) -> Result<Self, ConfigError> {
        check::non_negative("groups.rate", self.rate)?;
        check::non_negative("groups.weight_decay", self.weight_decay)?;
        Ok(self)
    }

    /// The prefix.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What the rate is multiplied by.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// What the weight decay is multiplied by.
    #[must_use]
    pub fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    /// Whether the parameters are frozen, because their rate is multiplied by 0.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.rate == 0.0
    }

    /// Whether the parameter called `name` belongs to the group.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        let rest = name.strip_prefix(self.prefix.as_str());
        rest.is_some_and(|rest| {
            self.prefix.is_empty() || self.prefix.ends_with('.') || rest.is_empty() || rest.starts_with('.')
        })
    }
}

/// The groups of a model's parameters. Where several prefixes fit a name, the last one counts; a parameter without a group has
/// the rate of the schedule.
///
/// All groups share the schedule, the count of updates and the norm for clipping. A frozen parameter (rate 0) keeps its value
/// and its moments. It need not have a gradient; if it has one, the gradient is part of the norm.
///
/// In a file: a list, `"groups": [{"prefix": "0", "rate": 0.1}, {"prefix": "0.bias", "weight_decay": 0}]`.
///
/// # Examples
///
/// ```
/// use cyclic_optim::{Group, Groups};
///
/// let groups = Groups::new([Group::new("0", 0.1)?, Group::new("0.bias", 0.2)?.with_weight_decay(0.0)?])?;
/// assert_eq!((groups.of("0.weight"), groups.of("0.bias"), groups.of("1.weight")), (Some(0), Some(1), None));
/// # Ok::<(), cyclic_optim::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Vec<Group>", into = "Vec<Group>"))]
pub struct Groups(Vec<Group>);

impl Groups {
    /// A list of groups, in this order.
    ///
    /// # Errors
    ///
    /// A prefix that is given twice.
    pub fn new(groups: impl Into<Vec<Group>>) -> Result<Self, ConfigError> {
        let groups = groups.into();
        for (n, group) in groups.iter().enumerate() {
            if groups[..n].iter().any(|other| other.prefix == group.prefix) {
                return Err(ConfigError::SamePrefix { prefix: group.prefix.clone() });
            }
        }
        Ok(Self(groups))
    }

    /// Discriminative rates: the last of these layers has the rate of the schedule, and each layer before it has `1 / factor` of
    /// the rate of the next one.
    ///
    /// ```
    /// use cyclic_optim::Groups;
    /// let groups = Groups::discriminative(["0", "2", "4"], 2.0)?;
    /// let rates: Vec<f64> = groups.iter().map(|group| group.rate()).collect();
    /// assert_eq!(rates, [0.25, 0.5, 1.0]);
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A factor that is not above 0 and finite, a prefix that is given twice.
    ///
    /// # References
    ///
    /// J. Howard and S. Ruder, *Universal Language Model Fine-tuning for Text Classification*, 2018, arXiv:1801.06146, with a
    /// factor of 2.6.
    pub fn discriminative<P: Into<String>>(
        prefixes: impl IntoIterator<Item = P>,
        factor: f64,
    ) -> Result<Self, ConfigError> {
        check::positive("factor", factor)?;
        let mut groups: Vec<Group> =
            prefixes.into_iter().map(|prefix| Group::new(prefix, 1.0)).collect::<Result<_, _>>()?;
        let mut rate = 1.0;
        for group in groups.iter_mut().rev() {
            group.rate = rate;
            rate /= factor;
        }
        Self::new(groups.into_iter().map(Group::check).collect::<Result<Vec<_>, _>>()?)
    }

    /// Whether there are no groups.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The groups, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Group> {
        self.0.iter()
    }

    /// The index of the group that the parameter called `name` belongs to; `None` if it belongs to none.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<usize> {
        self.0.iter().rposition(|group| group.has(name))
    }

    /// Checks that each prefix fits one of the names of a model's parameters.
    ///
    /// # Errors
    ///
    /// The first prefix that fits none.
    pub fn check_names(&self, names: &[impl AsRef<str>]) -> Result<(), UnknownPrefix> {
        match self.0.iter().find(|group| !names.iter().any(|name| group.has(name.as_ref()))) {
            Some(group) => Err(UnknownPrefix {
                prefix: group.prefix.clone(),
                names: names.iter().map(|name| name.as_ref().into()).collect(),
            }),
            None => Ok(()),
        }
    }

    /// The rate of each group when the schedule has the rate `lr`, with its name in histories: `learning_rate/prefix`.
    pub fn rates(&self, lr: f64) -> impl Iterator<Item = (String, f64)> {
        self.0.iter().map(move |group| (format!("learning_rate/{}", group.prefix), lr * group.rate))
    }
}

impl TryFrom<Vec<Group>> for Groups {
    type Error = ConfigError;

    fn try_from(groups: Vec<Group>) -> Result<Self, ConfigError> {
        Self::new(groups)
    }
}

impl From<Groups> for Vec<Group> {
    fn from(groups: Groups) -> Self {
        groups.0
    }
}

/// The optimizer cannot treat groups of parameters differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this optimizer has no groups of parameters")]
pub struct NoGroups;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_at_parts_of_a_name() {
        let has = |prefix: &str, name: &str| Group::new(prefix, 1.0).unwrap().has(name);
        assert!(has("1", "1.weight") && has("1.", "1.weight") && has("1.weight", "1.weight") && has("", "1.weight"));
        assert!(!has("1", "10.weight") && !has("1.w", "1.weight") && !has("1.weight.", "1.weight"));
    }

    #[test]
    fn every_precondition() {
        for bad in [f64::NAN, f64::INFINITY, -0.1] {
            assert!(matches!(Group::new("0", bad), Err(ConfigError::OutOfRange { field: "groups.rate", .. })));
            let group = Group::new("0", 1.0).unwrap().with_weight_decay(bad);
            assert!(matches!(group, Err(ConfigError::OutOfRange { field: "groups.weight_decay", .. })));
            assert!(Groups::discriminative(["0"], bad).is_err());
        }
        assert!(Groups::discriminative(["0"], 0.0).is_err());
        let twice = Groups::discriminative(["0", "1", "0"], 2.0).unwrap_err();
        assert_eq!(twice, ConfigError::SamePrefix { prefix: "0".into() });
        let groups = Groups::discriminative(["0", "2"], 2.0).unwrap();
        let unknown = groups.check_names(&["0.weight", "1.weight"]).unwrap_err();
        assert_eq!((&*unknown.prefix, &*unknown.names), ("2", &["0.weight".into(), "1.weight".into()][..]));
        let many: Vec<_> = (0..12).map(|n| format!("0.{n}.weight")).collect();
        let message = format!("{}", groups.check_names(&many).unwrap_err());
        assert!(message.ends_with("0.8.weight, 0.9.weight and 2 more"), "{message}");
        assert_eq!(groups.check_names(&["0.weight", "2.weight"]), Ok(()));
    }
}
