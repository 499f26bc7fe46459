//! Why a configuration cannot be used, in words that lead on.

use std::{io, ops::Range, path::PathBuf};

use crate::suggest::nearest;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It cannot be read.
    #[error("failed to read `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{}:{line}: {problem}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
        /// What was probably meant.
        hint: Option<String>,
    },
    /// A value contradicts the rest.
    #[error("{}: {problem}", .path.display())]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What was probably meant.
        hint: Option<String>,
    },
}

impl ConfigError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } => Some("check the file's permissions".into()),
            Self::Invalid { hint, .. } | Self::Contradiction { hint, .. } => hint.clone(),
        }
    }
}

/// Returns the line, from 1, at which a span of a text begins.
pub(super) fn line_of(text: &str, span: Option<Range<usize>>) -> usize {
    let at = span.map_or(0, |span| span.start.min(text.len()));
    text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Shortens serde's list of what it would have taken to what was probably meant.
pub(super) fn explain(message: &str) -> (String, Option<String>) {
    let Some((head, list)) = message.split_once(", expected ") else {
        return (message.trim().replace('\n', " "), None);
    };
    let words: Vec<&str> = list.split('`').skip(1).step_by(2).collect();
    if !head.starts_with("unknown ") || words.is_empty() {
        return (message.to_owned(), None);
    }
    let found = head.split('`').nth(1).unwrap_or_default();
    let hint = match nearest(found, words.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("known here: {}", words.join(", ")),
    };
    (
        head.replace("unknown field", "unknown key").replace("unknown variant", "unknown key"),
        Some(hint),
    )
}
