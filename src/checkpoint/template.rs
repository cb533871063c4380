//! File names from templates.

use std::iter;
use std::path::PathBuf;

use thiserror::Error;

/// A file name with placeholders for the epoch, the update and metrics: `{epoch}`, `{update}`, `{val_loss}`. Formats are
/// Rust's: `{epoch:03}`, `{val_loss:.4}`. `{{` and `}}` are braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    text: String,
    parts: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Placeholder { key: String, width: usize, zeros: bool, precision: Option<usize> },
}

/// A template is malformed, or has no value for a key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// An unmatched brace, or a format other than `{key}`, `{key:03}` and `{key:.4}`.
    #[error("template {template:?}: {problem}")]
    Syntax {
        /// The template.
        template: String,
        /// The problem.
        problem: String,
    },
    /// There is no value for a key.
    #[error("template {template:?}: there is no {key:?}; there are {known:?}")]
    UnknownKey {
        /// The template.
        template: String,
        /// The key.
        key: String,
        /// The keys with a value.
        known: Vec<String>,
    },
}

impl Template {
    pub(super) fn new(text: &str) -> Result<Self, TemplateError> {
        let wrong = |problem: &str| TemplateError::Syntax { template: text.into(), problem: problem.into() };
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let placeholder = rest.split_once('}').filter(|_| brace == "{");
            let (placeholder, after) = placeholder.ok_or_else(|| wrong("a brace is unmatched"))?;
            let (key, format) = placeholder.split_once(':').unwrap_or((placeholder, ""));
            let (width, precision) = match format.split_once('.') {
                Some((width, precision)) => (width, Some(precision)),
                None => (format, None),
            };
            let number = |digits: &str| digits.parse::<usize>().ok().filter(|&n| n <= 100);
            let unknown = || wrong("a format must be of the form 3, 03 or .4");
            if key.is_empty() {
                return Err(wrong("a key is missing"));
            }
            if !plain.is_empty() {
                parts.push(Piece::Text(std::mem::take(&mut plain)));
            }
            parts.push(Piece::Placeholder {
                key: key.into(),
                width: if width.is_empty() { 0 } else { number(width).ok_or_else(unknown)? },
                zeros: width.starts_with('0'),
                precision: precision.map(|precision| number(precision).ok_or_else(unknown)).transpose()?,
            });
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Piece::Text(plain));
        }
        Ok(Self { text: text.into(), parts })
    }

    pub(super) fn fill(&self, counts: &[(&str, u64)], metrics: &[(&str, f64)]) -> Result<PathBuf, TemplateError> {
        let mut name = String::new();
        for part in &self.parts {
            match part {
                Piece::Text(text) => name.push_str(text),
                Piece::Placeholder { key, width, zeros, precision } => {
                    let count = counts.iter().find(|(name, _)| name == key).map(|(_, count)| count.to_string());
                    let metric = || {
                        let (_, value) = metrics.iter().find(|(name, _)| name == key)?;
                        Some(precision.map_or_else(|| value.to_string(), |precision| format!("{value:.precision$}")))
                    };
                    let value = count.or_else(metric).ok_or_else(|| TemplateError::UnknownKey {
                        template: self.text.clone(),
                        key: key.clone(),
                        known: counts.iter().map(|c| c.0).chain(metrics.iter().map(|m| m.0)).map(Into::into).collect(),
                    })?;
                    let missing = width.saturating_sub(value.len());
                    // As in Rust's formatting, zeros come after the sign, and never before NaN.
                    let zeros = *zeros && value.ends_with(|digit: char| digit.is_ascii_digit());
                    let (sign, value) = value.split_at(usize::from(zeros && value.starts_with('-')));
                    name.push_str(sign);
                    name.extend(iter::repeat_n(if zeros { '0' } else { ' ' }, missing));
                    name.push_str(value);
                }
            }
        }
        Ok(name.into())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn templates_are_filled() {
        let counts = [("epoch", 7), ("update", 315)];
        let metrics = [("val_loss", 0.123_456), ("accuracy", f64::NAN), ("loss", -1.5)];
        for (template, expected) in [
            ("plain", "plain"),
            ("{epoch}", "7"),
            ("a/{epoch:03}-{val_loss:.2}.st", "a/007-0.12.st"),
            ("{update:5}|{val_loss:08.3}|{accuracy}", "  315|0000.123|NaN"),
            ("{{{epoch}}}", "{7}"),
            ("{loss:07.2} {accuracy:05}", "-001.50   NaN"),
        ] {
            assert_eq!(Template::new(template).unwrap().fill(&counts, &metrics).unwrap(), Path::new(expected));
        }
        let error = Template::new("{f1}").unwrap().fill(&counts, &metrics).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"template "{f1}": there is no "f1"; there are ["epoch", "update", "val_loss", "accuracy", "loss"]"#
        );
        for wrong in ["{", "}", "a}b", "{epoch", "{}", "{:3}", "{epoch:x}", "{epoch:.x}", "{epoch:999}", "{a{b}"] {
            let made = Template::new(wrong);
            // A brace within a placeholder is part of its key, and there is no value for such a key.
            let unknown = made.as_ref().is_ok_and(|template| template.fill(&counts, &metrics).is_err());
            assert!(matches!(made, Err(TemplateError::Syntax { .. })) || unknown, "{wrong}");
        }
    }
}
