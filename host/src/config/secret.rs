//! Secrets that stay where the user keeps them: an environment variable, a file, a command.

use std::path::Path;

use secrecy::SecretString;
use serde::{Deserialize as _, Deserializer, de::Error as _};
use zeroize::Zeroizing;

use crate::credential_helper::{self, HelperError};

/// Reads the first line of the first source that is named. `what` it is stands in messages.
///
/// # Errors
///
/// What is wrong, without a word of the secret.
pub(crate) fn read(
    what: &str,
    env: Option<&str>,
    file: Option<&Path>,
    command: Option<&[String]>,
) -> Result<SecretString, String> {
    let text = Zeroizing::new(if let Some(name) = env {
        std::env::var(name).map_err(|_| format!("`{name}` is not set in the environment"))?
    } else if let Some(path) = file {
        std::fs::read_to_string(path)
            .map_err(|error| format!("failed to read `{}`: {error}", path.display()))?
    } else if let Some(argv) = command {
        printed_by(argv)?
    } else {
        return Err("it names no source".into());
    });
    let secret = text.lines().next().unwrap_or_default().trim();
    if secret.is_empty() { Err(format!("the {what} is empty")) } else { Ok(secret.into()) }
}

/// Takes a secret out of the configuration itself. No message repeats it, whatever it is.
pub(crate) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    match toml::Value::deserialize(from)? {
        toml::Value::String(text) if !text.is_empty() => Ok(Some(text.into())),
        _ => Err(D::Error::custom("expected a secret as a text in quotes")),
    }
}

fn printed_by(argv: &[String]) -> Result<String, String> {
    let printed = credential_helper::run(argv, MAX_LEN, credential_helper::PATIENCE);
    let printed = printed.map_err(|error| match error {
        HelperError::Io { ref source, .. } => format!("{error}: {source}"),
        error => error.to_string(),
    })?;
    let text = str::from_utf8(&printed).map(str::to_owned);
    text.map_err(|_| "what the command printed is no text".to_owned())
}

/// The most that is read of what a command prints, in bytes.
const MAX_LEN: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn the_first_line_of_any_source_is_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, " s3cret \nmore\n").unwrap();
        let secret = read("key", None, Some(&file), None).unwrap();
        assert_eq!(secret.expose_secret(), "s3cret");
        let command = ["printf", "s3cret\\n"].map(String::from);
        assert_eq!(read("key", None, None, Some(&command)).unwrap().expose_secret(), "s3cret");
        std::fs::write(&file, "\n").unwrap();
        let failing = ["false".to_owned()];
        for (found, problem) in [
            (read("key", None, Some(&file), None), "the key is empty"),
            (read("key", Some("MAESTRO_NO_SUCH"), None, None), "`MAESTRO_NO_SUCH` is not set"),
            (read("key", None, None, Some(&failing)), "`false` failed: exit status: 1"),
            (read("key", None, None, None), "it names no source"),
        ] {
            let found = found.map(drop).unwrap_err();
            assert!(found.starts_with(problem), "{found}");
        }
    }
}
