//! Makes the crate that an author begins with: a provider of a fictitious API that builds and passes
//! its own tests.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use plugin_api::id::is_valid_id;

use super::{AuthoringError, sdk::Sdk};

/// A crate to be made.
#[derive(Clone, Debug)]
pub struct NewPlugin {
    name: String,
    folder: PathBuf,
}

/// A crate that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MadePlugin {
    /// Where it is.
    pub folder: PathBuf,
    /// Its files, relative to the folder.
    pub files: Vec<&'static str>,
}

impl NewPlugin {
    /// Plans a crate in `folder`, or in one of its name in the current folder.
    ///
    /// # Errors
    ///
    /// [`AuthoringError::Name`] unless the name can be that of a plugin, of a provider and of a crate.
    pub fn new(name: &str, folder: Option<PathBuf>) -> Result<Self, AuthoringError> {
        if let Some(problem) = problem(name) {
            let better = suggestion(name).filter(|name| problem_free(name));
            return Err(AuthoringError::Name { name: name.into(), problem, hint: better });
        }
        let folder = folder.unwrap_or_else(|| PathBuf::from(name));
        Ok(Self { name: name.into(), folder })
    }

    /// Makes it, whole or not at all, and overwrites nothing.
    ///
    /// # Errors
    ///
    /// [`AuthoringError::Exists`], [`AuthoringError::Io`].
    pub fn make(&self, sdk: &Sdk) -> Result<MadePlugin, AuthoringError> {
        let exists = || AuthoringError::Exists { path: self.folder.clone() };
        if !is_free(&self.folder) {
            return Err(exists());
        }
        let parent = match self.folder.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(parent).map_err(failed("create", parent))?;
        // Beside its place, so that one rename puts it there.
        let unfinished = parent.join(format!(".{}.{}.new", self.name, std::process::id()));
        let written = self.write(&unfinished, sdk).and_then(|()| {
            fs::rename(&unfinished, &self.folder).map_err(|error| match error.kind() {
                io::ErrorKind::DirectoryNotEmpty
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::AlreadyExists => exists(),
                _ => failed("create", &self.folder)(error),
            })
        });
        if written.is_err() {
            let _ = fs::remove_dir_all(&unfinished);
        }
        written?;
        let files = FILES.iter().map(|(file, _)| *file).collect();
        Ok(MadePlugin { folder: self.folder.clone(), files })
    }

    fn write(&self, folder: &Path, sdk: &Sdk) -> Result<(), AuthoringError> {
        let api = sdk.plugin_api();
        let api = api.to_str().ok_or_else(|| AuthoringError::NotUtf8 { path: api.clone() })?;
        let library = self.name.replace('-', "_");
        let values = [
            ("{{name}}", self.name.clone()),
            ("{{crate}}", library.clone()),
            ("{{key_variable}}", format!("{}_API_KEY", library.to_uppercase())),
            ("{{plugin_api}}", toml::Value::from(api).to_string()),
            ("{{rust_version}}", env!("CARGO_PKG_RUST_VERSION").to_owned()),
        ];
        for (file, text) in FILES {
            let path = folder.join(file);
            let parent = path.parent().unwrap_or(folder);
            fs::create_dir_all(parent).map_err(failed("create", parent))?;
            let filled = values
                .iter()
                .fold((*text).to_owned(), |text, (mark, value)| text.replace(mark, value));
            fs::write(&path, filled).map_err(failed("write", &path))?;
        }
        // What the release was built with is known to work together; cargo leaves out the rest.
        let (from, to) = (sdk.lock(), folder.join("Cargo.lock"));
        match fs::copy(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("copy", &from)(error))
            }
            _ => Ok(()),
        }
    }
}

/// Reports whether a folder can be made there: nothing is, or an empty folder.
fn is_free(folder: &Path) -> bool {
    match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound && !folder.is_symlink(),
    }
}

/// Says why a name is none for a plugin, if it is not.
fn problem(name: &str) -> Option<&'static str> {
    if !is_valid_id(name) {
        return Some("expected a lowercase letter, then up to 31 of `a-z 0-9 _ -`");
    }
    let library = name.replace('-', "_");
    if KEYWORDS.contains(&library.as_str()) {
        return Some("it is a word of Rust, and the crate's code has to name the crate");
    }
    if TAKEN.contains(&library.as_str()) {
        return Some("the crate would depend on another of that name");
    }
    None
}

fn problem_free(name: &str) -> bool {
    problem(name).is_none()
}

/// Makes the nearest name out of one that will not do.
fn suggestion(name: &str) -> Option<String> {
    let plain: String = name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .collect();
    let plain = plain.trim_start_matches(|c: char| !c.is_ascii_lowercase()).trim_end_matches('-');
    let short: String = plain.chars().take(plugin_api::id::MAX_ID_LEN).collect();
    let short = short.trim_end_matches('-');
    match short {
        "" => None,
        short if short == name => Some(format!("{short}-llm")),
        short => Some(short.to_owned()),
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AuthoringError {
    let path = path.to_owned();
    move |source| AuthoringError::Io { action, path, source }
}

/// The template. Its marks are `{{name}}`, `{{crate}}`, `{{key_variable}}`, `{{plugin_api}}` and
/// `{{rust_version}}`.
const FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("template/Cargo.toml.in")),
    (".gitignore", include_str!("template/gitignore")),
    ("README.md", include_str!("template/README.md.in")),
    ("clippy.toml", include_str!("template/clippy.toml")),
    ("src/lib.rs", include_str!("template/src/lib.rs")),
    ("src/wire.rs", include_str!("template/src/wire.rs")),
    ("tests/golden.rs", include_str!("template/tests/golden.rs")),
    ("fixtures/text.sent.json", include_str!("template/fixtures/text.sent.json")),
    ("fixtures/text.sse", include_str!("template/fixtures/text.sse")),
    ("fixtures/text.events.json", include_str!("template/fixtures/text.events.json")),
    ("fixtures/error.sse", include_str!("template/fixtures/error.sse")),
    ("fixtures/error.events.json", include_str!("template/fixtures/error.events.json")),
    ("fixtures/truncated.sse", include_str!("template/fixtures/truncated.sse")),
    ("fixtures/truncated.events.json", include_str!("template/fixtures/truncated.events.json")),
    ("fixtures/all.models.json", include_str!("template/fixtures/all.models.json")),
    ("fixtures/all.value.json", include_str!("template/fixtures/all.value.json")),
];

/// Crates that the new one depends on or finds in every toolchain, and names that cargo keeps.
const TAKEN: &[&str] = &[
    "abi_stable",
    "alloc",
    "build",
    "core",
    "deps",
    "dialects",
    "examples",
    "incremental",
    "plugin_api",
    "proc_macro",
    "serde",
    "serde_json",
    "std",
    "test",
];

/// Words that no crate can have for a name.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_for_plugin_provider_and_crate() {
        for good in ["acme", "my-llm", "a", "lab_2", "provider", "exchange"] {
            assert!(NewPlugin::new(good, None).is_ok(), "{good}");
        }
        for (bad, better) in [
            ("Acme", Some("acme")),
            ("my llm", Some("my-llm")),
            ("1st", Some("st")),
            ("../up", Some("up")),
            ("", None),
            ("match", Some("match-llm")),
            ("serde-json", Some("serde-json-llm")),
            ("plugin-api", Some("plugin-api-llm")),
            ("éü", None),
        ] {
            let error = NewPlugin::new(bad, None).unwrap_err();
            let hint = better.map(|name| format!("`{name}` would do"));
            assert_eq!((error.is_usage(), error.hint()), (true, hint), "{bad}");
        }
    }

    #[test]
    fn every_mark_is_filled() {
        let dir = tempfile::tempdir().unwrap();
        let sdk = Sdk::at(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
        let made =
            NewPlugin::new("my-llm", Some(dir.path().join("x"))).unwrap().make(&sdk).unwrap();
        for file in &made.files {
            let text = fs::read_to_string(made.folder.join(file)).unwrap();
            assert!(!text.contains("{{"), "{file}");
        }
        let manifest = fs::read_to_string(made.folder.join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some("my-llm"));
        let api = manifest["dependencies"]["plugin-api"]["path"].as_str().unwrap();
        assert!(Path::new(api).join("src/lib.rs").exists());
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let sdk = Sdk::at(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
        let at = |name: &str| NewPlugin::new("acme", Some(dir.path().join(name))).unwrap();
        fs::write(dir.path().join("file"), "mine").unwrap();
        fs::create_dir_all(dir.path().join("full/mine")).unwrap();
        fs::create_dir(dir.path().join("empty")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        for taken in ["file", "full", "link"] {
            let error = at(taken).make(&sdk).unwrap_err();
            assert!(matches!(error, AuthoringError::Exists { .. }), "{taken}: {error}");
        }
        at("empty").make(&sdk).unwrap();
        at("deep/er").make(&sdk).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["deep", "empty", "file", "full", "link"]);
        assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), "mine");
    }
}
