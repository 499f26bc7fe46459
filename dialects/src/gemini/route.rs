//! Paths: here the model and the method stand, which other dialects put into the body.

/// What is asked of a model, the word behind the colon of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// An answer in one piece.
    Generate,
    /// An answer as a stream.
    Stream,
    /// A count of tokens.
    Count,
    /// One vector.
    Embed,
    /// Several vectors.
    BatchEmbed,
}

impl Action {
    /// All actions.
    pub const ALL: &'static [Self] =
        &[Self::Generate, Self::Stream, Self::Count, Self::Embed, Self::BatchEmbed];

    /// Returns the word of the path.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Generate => "generateContent",
            Self::Stream => "streamGenerateContent",
            Self::Count => "countTokens",
            Self::Embed => "embedContent",
            Self::BatchEmbed => "batchEmbedContents",
        }
    }
}

/// Returns a model's resource name: `models/…`, unless it is a tuned one, which has its own.
#[must_use]
pub fn resource(model: &str) -> String {
    if model.starts_with(TUNED) { model.to_owned() } else { format!("{MODELS}{}", short(model)) }
}

/// Returns a model's name without `models/`, as people write it.
#[must_use]
pub fn short(model: &str) -> &str {
    model.strip_prefix(MODELS).unwrap_or(model)
}

/// Splits a path such as `/v1beta/models/m:generateContent` into model and action; `None` when it is
/// another path. The version is not looked at. The model is still percent-encoded.
#[must_use]
pub fn parse(path: &str) -> Option<(&str, Action)> {
    let (model, word) = path.rsplit_once(':')?;
    let action = Action::ALL.iter().copied().find(|action| action.as_str() == word)?;
    let at = model.find(MODELS).filter(|at| *at == 0 || model.as_bytes()[at - 1] == b'/')?;
    let model = &model[at + MODELS.len()..];
    (!model.is_empty()).then_some((model, action))
}

const MODELS: &str = "models/";
const TUNED: &str = "tunedModels/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_model_and_action() {
        for (path, expected) in [
            ("/v1beta/models/m-1:generateContent", Some(("m-1", Action::Generate))),
            ("/v1/models/m:x:streamGenerateContent", Some(("m:x", Action::Stream))),
            ("models/m:countTokens", Some(("m", Action::Count))),
            ("/v1/models/m:dream", None),
            ("/v1/models/m", None),
            ("/v1/models/:embedContent", None),
            ("/v1/supermodels/m:embedContent", None),
        ] {
            assert_eq!(parse(path), expected, "{path}");
        }
    }

    #[test]
    fn a_name_may_come_with_or_without_its_collection() {
        assert_eq!(resource("m"), "models/m");
        assert_eq!(resource("models/m"), "models/m");
        assert_eq!(resource("tunedModels/m"), "tunedModels/m");
        assert_eq!(short("models/m"), "m");
    }
}
