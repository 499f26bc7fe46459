//! Reads the API keys that a user's other tools hold.
//!
//! Each tool has a file here that knows where it keeps its keys and in which form. What they find says
//! where it was and how that tool calls the provider; which provider of ours that is, and whether the key
//! is taken, is the facade's business. Only keys are taken: tokens of another tool's OAuth login are that
//! tool's, and renewing them here would log it out. Nothing is written, ever.
//!
//! The places were looked up in each tool's documentation or source in November 2026; a comment says where
//! one is less than certain.

mod aichat;
mod litellm;
mod llm;
mod opencode;

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use serde::Serialize;
use zeroize::Zeroizing;

/// A tool whose keys can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Tool {
    /// The environment variables that providers declare.
    Env,
    /// Simon Willison's `llm`.
    Llm,
    /// `aichat`.
    Aichat,
    /// The LiteLLM proxy.
    Litellm,
    /// `opencode`.
    Opencode,
    /// Logins that a vendor's own tool keeps and renews; they are read in place.
    Profiles,
}

impl Tool {
    /// Every tool, in the order in which they are asked.
    pub const ALL: &[Self] =
        &[Self::Env, Self::Llm, Self::Aichat, Self::Litellm, Self::Opencode, Self::Profiles];

    /// Returns its name as the command line spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::Llm => "llm",
            Self::Aichat => "aichat",
            Self::Litellm => "litellm",
            Self::Opencode => "opencode",
            Self::Profiles => "profiles",
        }
    }
}

impl std::fmt::Display for Tool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Tool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|tool| tool.as_str() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|tool| tool.as_str()).collect();
            format!("expected one of {}", known.join(", "))
        })
    }
}

/// Something that looks like a key, in another tool's files.
pub(crate) struct Found {
    /// Where in the file: `clients[0].api_key`.
    pub(crate) place: String,
    /// What that tool calls the provider, the most telling first.
    pub(crate) words: Vec<String>,
    /// The environment variable that held it.
    pub(crate) variable: Option<String>,
    /// Where that tool sends it, if it says so.
    pub(crate) base_url: Option<String>,
    /// What the user called it there.
    pub(crate) label: Option<String>,
    /// The key, or why there is none to take.
    pub(crate) key: Result<SecretString, String>,
}

/// What a tool's file holds.
pub(crate) struct Read {
    /// The file.
    pub(crate) path: PathBuf,
    /// What is in it, or why it cannot be read.
    pub(crate) found: Result<Vec<Found>, String>,
}

/// The environment as the tools see it.
pub(crate) struct Places<'a> {
    pub(crate) var: &'a dyn Fn(&str) -> Option<OsString>,
    pub(crate) macos: bool,
}

impl Places<'_> {
    /// Returns a variable that holds text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        (self.var)(name)?.into_string().ok().filter(|text| !text.trim().is_empty())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        (self.var)(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }

    fn home(&self) -> Option<PathBuf> {
        self.path("HOME")
    }

    /// Returns the folder for configuration: XDG's, or Apple's on a Mac.
    fn config(&self) -> Option<PathBuf> {
        if self.macos {
            return Some(self.home()?.join("Library/Application Support"));
        }
        self.path("XDG_CONFIG_HOME").or_else(|| Some(self.home()?.join(".config")))
    }

    /// Returns XDG's folder for data, on a Mac too.
    fn xdg_data(&self) -> Option<PathBuf> {
        self.path("XDG_DATA_HOME").or_else(|| Some(self.home()?.join(".local/share")))
    }
}

/// Reads a tool's file: the one that is named, else where the tool keeps it. `None` if it is not there.
pub(crate) fn read(tool: Tool, named: Option<&Path>, places: &Places<'_>) -> Option<Read> {
    let path = named.map(Path::to_owned).or_else(|| usual(tool, places))?;
    let text = match file(&path) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(Read { path, found: Err(error.to_string()) }),
    };
    let found = match tool {
        Tool::Llm => llm::read(&text),
        Tool::Aichat => aichat::read(&text),
        Tool::Litellm => litellm::read(&text, places),
        Tool::Opencode => opencode::read(&text),
        Tool::Env | Tool::Profiles => Ok(Vec::new()),
    };
    Some(Read { path, found })
}

/// Returns where a tool keeps its file; `None` for what is no file.
pub(crate) fn usual(tool: Tool, places: &Places<'_>) -> Option<PathBuf> {
    match tool {
        Tool::Llm => llm::path(places),
        Tool::Aichat => aichat::path(places),
        Tool::Litellm => litellm::path(places),
        Tool::Opencode => opencode::path(places),
        Tool::Env | Tool::Profiles => None,
    }
}

fn file(path: &Path) -> io::Result<Zeroizing<String>> {
    // A pipe would keep us waiting for somebody to write into it.
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    let mut text = Zeroizing::new(String::new());
    File::open(path)?.take(MAX_LEN).read_to_string(&mut text)?;
    Ok(text)
}

/// Wraps what may be a key.
fn key(text: &str) -> Result<SecretString, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("it is empty".into());
    }
    Ok(text.into())
}

/// The most that is read of a file: such files hold kilobytes.
const MAX_LEN: u64 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests;
