//! Where the master key comes from.
//!
//! The first configured source is used, and when it fails, that is the answer: trying the next one
//! would seal new logins with another key than the old ones, and nobody would notice until a backup
//! is needed. Only when nothing is configured is a file in the home folder used, and made.

use std::{
    env,
    ffi::OsString,
    fmt, io,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{KeyId, MasterKey, file};
use crate::{
    credential_helper::{self, HelperError},
    session::random::NoRandomness,
};

/// Where the master key is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeySource {
    /// A file of the operator: owned by this user or root, closed to others, not writable by its
    /// group. A symbolic link is followed, since mounted secrets often are one.
    File(PathBuf),
    /// A credential that systemd passed to the service (`LoadCredential=`).
    SystemdCredential(String),
    /// A program and its arguments, run without a shell; its standard output is the key.
    Command(Vec<String>),
    /// An environment variable.
    Env(String),
    /// Our own file: created with a random key if there is none and nothing is sealed yet. Mode
    /// 0600, owned by this user, never a symbolic link.
    Generated(PathBuf),
}

/// Why no master key could be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file could not be read or made.
    #[error("failed to access key file `{}`", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key file is a symbolic link.
    #[error("key file `{}` is a symbolic link", .path.display())]
    Symlink {
        /// The link.
        path: PathBuf,
    },
    /// The key file is a folder, a pipe or a device.
    #[error("key file `{}` is not a regular file", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The key file belongs to someone else.
    #[error("key file `{}` is owned by user {found}, expected {expected}", .path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner's user id.
        found: u32,
        /// This process's user id.
        expected: u32,
    },
    /// Others may read or change the key file.
    #[error("key file `{}` has mode {found:04o}, expected {expected:04o} or less", .path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        found: u32,
        /// The most it may have.
        expected: u32,
    },
    /// Sealed logins exist, but the file with their key does not.
    #[error("key file `{}` is missing, but logins sealed with it exist", .path.display())]
    Lost {
        /// The file.
        path: PathBuf,
    },
    /// The variable is not set.
    #[error("environment variable `{name}` is not set")]
    EnvUnset {
        /// The variable.
        name: String,
    },
    /// Not run as a service with credentials, or the name is a path.
    #[error("no systemd credential `{name}`")]
    NoCredential {
        /// The credential.
        name: String,
    },
    /// The command gave no key.
    #[error("the key command gave no key")]
    Command(#[from] HelperError),
    /// What was found is not a key.
    #[error("{origin} holds no key: found {found} bytes, expected 32 as raw, hex or base64")]
    Malformed {
        /// Where it was found.
        origin: String,
        /// How many bytes it has.
        found: usize,
    },
    /// The system had no randomness for a new key.
    #[error("failed to draw a new key")]
    Random(#[from] NoRandomness),
}

impl KeyError {
    /// Returns what the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Mode { path, expected, .. } => {
                Some(format!("run `chmod {expected:o} {}`", path.display()))
            }
            Self::Owner { path, expected, .. } => {
                Some(format!("run `chown {expected} {}`", path.display()))
            }
            Self::Symlink { .. } => Some("configure the file it points to as the key file".into()),
            Self::Lost { path } => Some(format!(
                "restore `{}` from a backup, or remove the database and log in again",
                path.display()
            )),
            Self::EnvUnset { name } => Some(format!("set `{name}`, or configure another source")),
            Self::NoCredential { name } => {
                Some(format!("add `LoadCredential={name}:PATH` to the service's unit"))
            }
            Self::Malformed { .. } => Some("make a key with `openssl rand -hex 32`".into()),
            _ => None,
        }
    }
}

impl KeySource {
    /// Picks the first configured source, or the file `key` in `home` when there is none.
    #[must_use]
    pub fn choose(configured: impl IntoIterator<Item = Self>, home: &Path) -> Self {
        let first = configured.into_iter().next();
        first.unwrap_or_else(|| Self::Generated(home.join("key")))
    }

    /// Loads the key.
    ///
    /// `has_ciphertext` says whether anything is sealed already; it is asked only before a key
    /// would be generated, and a `true` forbids that. Answer `true` in doubt:
    /// `|| store.has_ciphertext().unwrap_or(true)`.
    ///
    /// # Errors
    ///
    /// See [`KeyError`]. No other source is tried.
    pub fn load(&self, has_ciphertext: impl FnOnce() -> bool) -> Result<MasterKey, KeyError> {
        self.load_from(has_ciphertext, |name| env::var_os(name))
    }

    /// Makes the key that is to follow the one of this source; `None` where the operator keeps the key
    /// and has to make the next one.
    ///
    /// It is kept beside the old one until [`KeySource::finish_rotation`].
    ///
    /// # Errors
    ///
    /// See [`KeyError`].
    pub fn begin_rotation(&self) -> Result<Option<MasterKey>, KeyError> {
        let Self::Generated(path) = self else { return Ok(None) };
        let text = file::begin_rotation(path)?;
        let origin = self.to_string();
        let key = MasterKey::decode(&text, &origin);
        key.map(Some).ok_or(KeyError::Malformed { origin, found: text.len() })
    }

    /// Puts the next key in the place of `old` if it is `active`, the one that the store is sealed with,
    /// and returns it with the file that keeps the old one.
    ///
    /// Also ends what a crash interrupted: the store is sealed anew first, and then the files change.
    ///
    /// # Errors
    ///
    /// See [`KeyError`].
    pub fn finish_rotation(
        &self,
        old: KeyId,
        active: KeyId,
    ) -> Result<Option<(MasterKey, PathBuf)>, KeyError> {
        let Self::Generated(path) = self else { return Ok(None) };
        let Some(text) = file::read_next(path)? else { return Ok(None) };
        let key = MasterKey::decode(&text, &self.to_string()).filter(|key| key.id() == active);
        let Some(key) = key else { return Ok(None) };
        let retired = path.with_extension(format!("retired-{old}"));
        file::finish_rotation(path, &retired)?;
        Ok(Some((key, retired)))
    }

    /// The same with the environment as an argument, because tests must not change their own.
    fn load_from(
        &self,
        has_ciphertext: impl FnOnce() -> bool,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<MasterKey, KeyError> {
        let text = match self {
            Self::File(path) => file::read(path, file::Rules::Configured)?,
            Self::Generated(path) => file::read_or_generate(path, has_ciphertext)?,
            Self::SystemdCredential(name) => {
                let missing = || KeyError::NoCredential { name: name.clone() };
                // A name with a slash would leave the folder.
                let folder = env("CREDENTIALS_DIRECTORY").filter(|_| !name.contains('/'));
                let path = Path::new(&folder.ok_or_else(missing)?).join(name);
                match file::read(&path, file::Rules::Configured) {
                    Err(KeyError::Io { source, .. })
                        if source.kind() == io::ErrorKind::NotFound =>
                    {
                        return Err(missing());
                    }
                    other => other?,
                }
            }
            Self::Env(name) => {
                let value = env(name).ok_or_else(|| KeyError::EnvUnset { name: name.clone() })?;
                Zeroizing::new(value.into_encoded_bytes())
            }
            Self::Command(argv) => {
                credential_helper::run(argv, MAX_TEXT_LEN, credential_helper::PATIENCE)?
            }
        };
        let origin = self.to_string();
        MasterKey::decode(&text, &origin).ok_or(KeyError::Malformed { origin, found: text.len() })
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file `{}`", path.display()),
            Self::SystemdCredential(name) => write!(f, "systemd credential `{name}`"),
            Self::Command(argv) => {
                write!(f, "command `{}`", argv.first().map_or("", String::as_str))
            }
            Self::Env(name) => write!(f, "environment variable `{name}`"),
            Self::Generated(path) => write!(f, "generated file `{}`", path.display()),
        }
    }
}

/// The most that is read of a key file or of a command's output, in bytes.
pub(super) const MAX_TEXT_LEN: usize = 4096;

#[cfg(test)]
mod tests {
    use std::{cell::Cell, error::Error, fs, os::unix::fs::PermissionsExt};

    use super::*;

    const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn load(source: &KeySource) -> Result<MasterKey, KeyError> {
        source.load_from(|| false, |_| None)
    }

    fn command(script: &str) -> KeySource {
        KeySource::Command(vec!["sh".into(), "-c".into(), script.into()])
    }

    #[test]
    fn the_first_configured_source_is_chosen_and_never_another() {
        let home = Path::new("/home/me");
        let first = KeySource::Env("UNSET".into());
        let chosen = KeySource::choose([first.clone(), command("echo x")], home);
        assert_eq!(chosen, first);
        assert!(matches!(load(&chosen), Err(KeyError::EnvUnset { .. })));
        assert_eq!(KeySource::choose([], home), KeySource::Generated("/home/me/key".into()));
    }

    #[test]
    fn the_environment_may_hold_the_key() {
        let source = KeySource::Env("K".into());
        let key = source.load_from(|| false, |name| (name == "K").then(|| HEX.into())).unwrap();
        assert_eq!(key.source(), "environment variable `K`");
        let short = source.load_from(|| false, |_| Some("hunter2".into())).unwrap_err();
        assert_eq!(
            short.to_string(),
            "environment variable `K` holds no key: found 7 bytes, expected 32 as raw, hex or base64"
        );
        assert!(short.hint().unwrap().contains("openssl"));
        let unset = KeySource::Env("MAESTRO_TEST_NEVER_SET".into()).load(|| false).unwrap_err();
        assert!(unset.hint().unwrap().contains("MAESTRO_TEST_NEVER_SET"));
    }

    #[test]
    fn a_command_may_print_the_key() {
        assert_eq!(load(&command(&format!("echo {HEX}"))).unwrap().source(), "command `sh`");
        assert!(matches!(
            load(&command("exit 3")),
            Err(KeyError::Command(HelperError::Failed { .. }))
        ));
        assert!(matches!(load(&command("true")), Err(KeyError::Malformed { found: 0, .. })));
        assert!(load(&command("cat /dev/zero")).is_err());
        for argv in [vec![], vec!["/no/such/program".to_owned()]] {
            let error = load(&KeySource::Command(argv)).unwrap_err();
            assert!(matches!(error, KeyError::Command(_)));
            assert!(error.source().is_some() && error.hint().is_none());
        }
    }

    #[test]
    fn systemd_credentials_come_from_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("maestro");
        fs::write(&path, HEX).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
        let env = |name: &str| {
            (name == "CREDENTIALS_DIRECTORY").then(|| folder.path().as_os_str().to_owned())
        };
        let get = |name: &str| KeySource::SystemdCredential(name.into()).load_from(|| false, env);
        assert_eq!(get("maestro").unwrap().source(), "systemd credential `maestro`");
        for missing in ["other", "../maestro"] {
            let error = get(missing).unwrap_err();
            assert!(matches!(error, KeyError::NoCredential { .. }));
            assert!(error.hint().unwrap().contains("LoadCredential"));
        }
        let outside = load(&KeySource::SystemdCredential("maestro".into()));
        assert!(matches!(outside, Err(KeyError::NoCredential { .. })));
    }

    #[test]
    fn a_key_is_generated_once_and_only_while_nothing_is_sealed() {
        let home = tempfile::tempdir().unwrap();
        let source = KeySource::choose([], home.path());
        let lost = source.load(|| true).unwrap_err();
        assert!(matches!(lost, KeyError::Lost { .. }));
        assert!(lost.hint().unwrap().contains("restore"));
        let made = source.load(|| false).unwrap();
        let asked = Cell::new(false);
        let again = source
            .load(|| {
                asked.set(true);
                true
            })
            .unwrap();
        assert_eq!(made.id(), again.id());
        assert!(!asked.get(), "an existing key must not depend on the question");
        assert!(made.source().starts_with("generated file `"));
    }

    #[test]
    fn a_rotation_leaves_a_key_at_every_step() {
        let home = tempfile::tempdir().unwrap();
        let source = KeySource::choose([], home.path());
        let old = load(&source).unwrap();
        assert!(source.finish_rotation(old.id(), old.id()).unwrap().is_none(), "none was begun");
        let unused = source.begin_rotation().unwrap().unwrap();
        let new = source.begin_rotation().unwrap().unwrap();
        assert_ne!(unused.id(), new.id());
        assert_eq!(load(&source).unwrap().id(), old.id(), "nothing is changed yet");
        let done = source.finish_rotation(old.id(), old.id()).unwrap();
        assert!(done.is_none(), "the store is still sealed with the old one");
        let (key, retired) = source.finish_rotation(old.id(), new.id()).unwrap().unwrap();
        assert_eq!(key.id(), new.id());
        assert_eq!(load(&source).unwrap().id(), new.id());
        assert_eq!(load(&KeySource::File(retired.clone())).unwrap().id(), old.id());
        assert_eq!(retired, home.path().join(format!("key.retired-{}", old.id())));
        assert!(KeySource::Env("K".into()).begin_rotation().unwrap().is_none());
    }

    #[test]
    fn a_configured_file_is_never_generated() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        let source = KeySource::File(path.clone());
        assert!(matches!(load(&source), Err(KeyError::Io { .. })));
        assert!(!path.exists());
        fs::write(&path, HEX).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(load(&source).unwrap().source().starts_with("file `"));
    }
}
