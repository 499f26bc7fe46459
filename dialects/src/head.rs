//! What a server's answer is called.

/// What stands in every chunk of an answer, or at its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// The answer's id, in a form that the dialect's clients know (`msg_…`).
    pub id: String,
    /// The model's name, as the client knows it.
    pub model: String,
}

impl Head {
    /// Makes a head.
    #[must_use]
    pub fn new(id: impl Into<String>, model: impl Into<String>) -> Self {
        Self { id: id.into(), model: model.into() }
    }
}

/// What stands in every chunk of an answer, or at its start, where that says when it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatedHead {
    /// The answer's id, in a form that the dialect's clients know (`chatcmpl-…`, `resp_…`).
    pub id: String,
    /// The model's name, as the client knows it.
    pub model: String,
    /// Unix time in seconds.
    pub created: u64,
}

impl DatedHead {
    /// Makes a head.
    #[must_use]
    pub fn new(id: impl Into<String>, model: impl Into<String>, created: u64) -> Self {
        Self { id: id.into(), model: model.into(), created }
    }
}
