//! Logins that a vendor's own tool keeps: found, read in place, never written and never renewed.
//!
//! Where such files are is data of the manifest ([`ProfileFiles`]). A file is refused if it is a symbolic
//! link, belongs to someone else or is open to others: whoever can put a file there chooses whose account
//! is used, and whoever can read it has it.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use plugin_api::{auth::ProfileFiles, kit::time::rfc3339_ms};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, value::RawValue};
use zeroize::Zeroizing;

/// Why another tool's login cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The text is not a profile's name.
    #[error("invalid profile name `{}`", .found.escape_debug())]
    Name {
        /// The refused text.
        found: String,
    },
    /// Nothing says where the tool keeps its files.
    #[error("the folder of `{tool}` is not known: neither `{variable}` nor `HOME` is set")]
    NoFolder {
        /// The tool.
        tool: String,
        /// The variable that names its folder.
        variable: String,
    },
    /// There is no such login.
    #[error("`{tool}` has no profile `{profile}`: `{}` does not exist", .path.display())]
    Missing {
        /// The tool.
        tool: String,
        /// Its name.
        profile: String,
        /// The file.
        path: PathBuf,
        /// What logs in.
        login: String,
    },
    /// The file is a symbolic link.
    #[error("`{}` is a symbolic link", .path.display())]
    Symlink {
        /// The link.
        path: PathBuf,
    },
    /// The file is a folder, a pipe or a device.
    #[error("`{}` is not a regular file", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file belongs to someone else.
    #[error("`{}` is owned by user {found}, expected {expected}", .path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner's user id.
        found: u32,
        /// This process's user id.
        expected: u32,
    },
    /// Others may read or change it.
    #[error("`{}` has mode {found:04o}, expected 0600", .path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        found: u32,
    },
    /// It could not be read.
    #[error("failed to read `{}`", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It does not hold what the manifest says.
    #[error("`{}` holds no token at `{field}`", .path.display())]
    NoToken {
        /// The file.
        path: PathBuf,
        /// Where the token should be.
        field: String,
        /// What logs in.
        login: String,
    },
    /// The token has ended, and only the tool may renew it.
    #[error("the token of `{tool}` profile `{profile}` has expired")]
    Expired {
        /// The tool.
        tool: String,
        /// Its name.
        profile: String,
        /// What renews it.
        login: String,
    },
}

impl ProfileError {
    /// Returns what the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Name { .. } => "a name has no blanks, no separators and no period first".into(),
            Self::NoFolder { variable, .. } => format!("set `{variable}` to the tool's folder"),
            Self::Missing { login, .. } | Self::NoToken { login, .. } => {
                format!("log in with that tool: {login}")
            }
            Self::Expired { tool, login, .. } => format!(
                "log in again with that tool, or let it renew the token by using it: {login}; \
                 `maestro` never renews what `{tool}` keeps"
            ),
            Self::Symlink { .. } | Self::NotAFile { .. } => {
                "put the file itself there: what a link points to can change unseen".into()
            }
            Self::Owner { path, expected, .. } => {
                format!("run `chown {expected} {}`", path.display())
            }
            Self::Mode { path, .. } => format!("run `chmod 600 {}`", path.display()),
            Self::Io { .. } => return None,
        })
    }
}

/// A token read from a tool's file.
pub struct ProfileToken {
    /// The access token.
    pub token: SecretString,
    /// When it ends, in Unix seconds, if the file says so.
    pub expires_at: Option<i64>,
}

/// Reads one tool's files. The environment is an argument, because tests must not change their own.
pub struct Profiles<'a> {
    files: &'a ProfileFiles,
    var: &'a dyn Fn(&str) -> Option<OsString>,
}

impl<'a> Profiles<'a> {
    /// Takes what a manifest says of a tool.
    #[must_use]
    pub fn new(files: &'a ProfileFiles, var: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self { files, var }
    }

    /// Lists the profiles there are, by name; none where the tool was never used.
    #[must_use]
    pub fn list(&self) -> Vec<String> {
        let Ok(pattern) = self.folder().map(|folder| folder.join(&self.files.credentials)) else {
            return Vec::new();
        };
        let (Some(folder), Some(name)) = (pattern.parent(), pattern.file_name()) else {
            return Vec::new();
        };
        let name = name.to_string_lossy();
        let Some((before, behind)) = name.split_once(PLACE) else { return Vec::new() };
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|file| {
                let name = file.strip_prefix(before)?.strip_suffix(behind)?;
                checked(name).ok().map(str::to_owned)
            })
            .collect();
        names.sort();
        names
    }

    /// Returns the name of the profile in use, as the environment or the tool's pointer file says.
    #[must_use]
    pub fn active(&self) -> Option<String> {
        let named = (self.var)(&self.files.profile_env).and_then(|name| name.into_string().ok());
        let pointer = || {
            let file = Some(&self.files.active_file).filter(|file| !file.is_empty())?;
            let text = read_name(&self.folder().ok()?.join(file))?;
            Some(text.trim().to_owned())
        };
        named.filter(|name| !name.is_empty()).or_else(pointer).filter(|name| checked(name).is_ok())
    }

    /// Returns the file of a profile.
    ///
    /// # Errors
    ///
    /// [`ProfileError::Name`] for what could lead out of the folder, [`ProfileError::NoFolder`].
    pub fn path(&self, profile: &str) -> Result<PathBuf, ProfileError> {
        let profile = checked(profile)?;
        Ok(self.folder()?.join(self.files.credentials.replace(PLACE, profile)))
    }

    /// Reads the token of a profile, which must not have ended.
    ///
    /// # Errors
    ///
    /// See [`ProfileError`].
    pub fn read(
        &self,
        profile: &str,
        path: &Path,
        now_s: i64,
    ) -> Result<ProfileToken, ProfileError> {
        let (tool, profile) = (self.files.tool.clone(), profile.to_owned());
        let text = read_private(path).map_err(|error| match error {
            ProfileError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                let (path, login) = (path.to_owned(), self.login(&profile));
                ProfileError::Missing { tool: tool.clone(), profile: profile.clone(), path, login }
            }
            other => other,
        })?;
        let missing = || ProfileError::NoToken {
            path: path.to_owned(),
            field: self.files.token_field.clone(),
            login: self.login(&profile),
        };
        let ends_at = field(&text, &self.files.expiry_field);
        let expires_at = ends_at.and_then(|raw| ends(&serde_json::from_str(raw.get()).ok()?));
        let token = field(&text, &self.files.token_field);
        let token = token.and_then(secret);
        let token = token.ok_or_else(missing)?;
        if expires_at.is_some_and(|at| at <= now_s) {
            let login = self.login(&profile);
            return Err(ProfileError::Expired { tool, profile, login });
        }
        Ok(ProfileToken { token, expires_at })
    }

    fn folder(&self) -> Result<PathBuf, ProfileError> {
        let absolute =
            |name: &str| (self.var)(name).map(PathBuf::from).filter(|path| path.is_absolute());
        if let Some(folder) = absolute(&self.files.folder_env) {
            return Ok(folder);
        }
        match self.files.folder.strip_prefix("~/") {
            None => Ok(PathBuf::from(&self.files.folder)),
            Some(rest) => {
                absolute("HOME").map(|home| home.join(rest)).ok_or_else(|| ProfileError::NoFolder {
                    tool: self.files.tool.clone(),
                    variable: self.files.folder_env.clone(),
                })
            }
        }
    }

    fn login(&self, profile: &str) -> String {
        format!("`{}`", self.files.login_command.replace(PLACE, profile))
    }
}

/// Refuses names that are none or that would lead out of the folder.
fn checked(profile: &str) -> Result<&str, ProfileError> {
    let bad = profile.is_empty()
        || profile.len() > MAX_NAME_LEN
        || profile.starts_with('.')
        || profile.contains(['/', '\\'])
        || profile.chars().any(|c| c.is_whitespace() || c.is_control());
    if bad { Err(ProfileError::Name { found: profile.to_owned() }) } else { Ok(profile) }
}

/// Reads a file after checking, on the opened file itself, who could have written or seen it.
fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, ProfileError> {
    let io = |source: io::Error| ProfileError::Io { path: path.to_owned(), source };
    // NONBLOCK: opening a pipe must not wait for a writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::LOOP) => return Err(ProfileError::Symlink { path: path.to_owned() }),
        Err(error) => return Err(io(error.into())),
    };
    let found = file.metadata().map_err(io)?;
    if !found.is_file() {
        return Err(ProfileError::NotAFile { path: path.to_owned() });
    }
    let expected = rustix::process::geteuid().as_raw();
    if found.uid() != expected {
        let path = path.to_owned();
        return Err(ProfileError::Owner { path, found: found.uid(), expected });
    }
    if found.mode() & 0o077 != 0 {
        return Err(ProfileError::Mode { path: path.to_owned(), found: found.mode() & 0o7777 });
    }
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_LEN));
    file.take(MAX_LEN as u64).read_to_end(&mut text).map_err(io)?;
    Ok(text)
}

/// Reads a file that holds no more than a name. No secret, so that it may be anybody's to read.
fn read_name(path: &Path) -> Option<String> {
    // NONBLOCK, as above.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    let mut text = String::new();
    file.take(MAX_NAME_FILE_LEN).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Follows names of object fields, joined by periods. What else the file holds, tokens that renew this
/// one for example, is not copied. Errors are dropped: they may quote the token.
fn field<'t>(text: &'t [u8], path: &str) -> Option<&'t RawValue> {
    if path.is_empty() {
        return None;
    }
    let whole: &RawValue = serde_json::from_slice(text).ok()?;
    path.split('.').try_fold(whole, |value, name| {
        let mut fields: BTreeMap<String, &RawValue> = serde_json::from_str(value.get()).ok()?;
        fields.remove(name)
    })
}

/// Takes a text out of the (wiped) bytes of the file.
fn secret(raw: &RawValue) -> Option<SecretString> {
    #[derive(serde::Deserialize)]
    struct Text<'t>(#[serde(borrow)] Cow<'t, str>);
    match serde_json::from_str::<Text<'_>>(raw.get()).ok()?.0 {
        Cow::Borrowed(text) => Some(SecretString::from(text)),
        Cow::Owned(text) => Some(SecretString::from(text)),
    }
    .filter(|secret| !secret.expose_secret().is_empty())
}

fn ends(value: &Value) -> Option<i64> {
    if let Some(text) = value.as_str() {
        return i64::try_from(rfc3339_ms(text)? / 1000).ok();
    }
    let number = value.as_i64()?;
    Some(if number > MAX_SECONDS { number / 1000 } else { number })
}

const PLACE: &str = "{profile}";
const MAX_NAME_LEN: usize = 64;
/// The most that is read of a file with a name in it.
const MAX_NAME_FILE_LEN: u64 = 1024;
/// The most that is read of a file; such files hold a kilobyte.
const MAX_LEN: usize = 64 * 1024;
/// Larger numbers are milliseconds: in seconds they would be past the year 5138.
const MAX_SECONDS: i64 = 100_000_000_000;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn files() -> ProfileFiles {
        serde_json::from_value(serde_json::json!({
            "tool": "tool", "folder_env": "TOOL_DIR", "folder": "~/.config/tool",
            "credentials": "credentials/{profile}.json", "token_field": "auth.token",
            "expiry_field": "auth.ends", "profile_env": "TOOL_PROFILE",
            "active_file": "active", "login_command": "tool login --profile {profile}",
        }))
        .unwrap()
    }

    fn write(path: &Path, text: &str, mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn profiles_are_found_where_the_manifest_says() {
        let folder = tempfile::tempdir().unwrap();
        let (files, home) = (files(), folder.path().as_os_str().to_owned());
        let at_home = |name: &str| (name == "HOME").then(|| home.clone());
        let profiles = Profiles::new(&files, &at_home);
        assert!(profiles.list().is_empty());
        let path = profiles.path("work").unwrap();
        assert_eq!(path, folder.path().join(".config/tool/credentials/work.json"));
        write(&path, "{}", 0o600);
        write(&path.with_file_name("play.json"), "{}", 0o600);
        write(&path.with_file_name("note.txt"), "{}", 0o600);
        write(&path.with_file_name(".hidden.json"), "{}", 0o600);
        assert_eq!(profiles.list(), ["play", "work"]);
        assert_eq!(profiles.active(), None);
        write(&folder.path().join(".config/tool/active"), "work\n", 0o600);
        assert_eq!(profiles.active().as_deref(), Some("work"));
        let endless = format!("{}work", " ".repeat(1 << 20));
        write(&folder.path().join(".config/tool/active"), &endless, 0o600);
        assert_eq!(profiles.active(), None, "no more is read than a name needs");
        let elsewhere = |name: &str| match name {
            "TOOL_DIR" => Some("/etc/tool".into()),
            "TOOL_PROFILE" => Some("other".into()),
            _ => None,
        };
        let profiles = Profiles::new(&files, &elsewhere);
        assert_eq!(profiles.path("a").unwrap(), Path::new("/etc/tool/credentials/a.json"));
        assert_eq!(profiles.active().as_deref(), Some("other"));
        for bad in ["", ".x", "../x", "a/b", "a b", "a\0b", "a\\b", &"x".repeat(65)] {
            assert!(matches!(profiles.path(bad), Err(ProfileError::Name { .. })), "{bad:?}");
        }
        let nothing = |_: &str| None;
        let nowhere = Profiles::new(&files, &nothing).path("a").unwrap_err();
        assert!(nowhere.hint().unwrap().contains("TOOL_DIR"));
    }

    #[test]
    fn a_token_is_read_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let (files, path) = (files(), folder.path().join("work.json"));
        let nothing = |_: &str| None;
        let profiles = Profiles::new(&files, &nothing);
        for ends in ["100", "100000000100", "\"1970-01-01T00:01:40Z\""] {
            let text = format!(r#"{{"auth":{{"token":"t\u002d1","ends":{ends}}},"x":[{{}}]}}"#);
            write(&path, &text, 0o600);
            let read = profiles.read("work", &path, 99).unwrap();
            assert_eq!(read.token.expose_secret(), "t-1");
            assert!(read.expires_at.is_some());
        }
        let expired = profiles.read("work", &path, 100).err().unwrap();
        assert_eq!(expired.to_string(), "the token of `tool` profile `work` has expired");
        assert!(expired.hint().unwrap().contains("`tool login --profile work`"));
        for broken in ["", "t-1", "{}", r#"{"auth":{"token":""}}"#, r#"{"auth":"t-1"}"#] {
            write(&path, broken, 0o600);
            let error = profiles.read("work", &path, 0).err().unwrap();
            assert!(matches!(error, ProfileError::NoToken { .. }), "{broken}");
            assert!(!error.to_string().contains("t-1"));
        }
        fs::remove_file(&path).unwrap();
        let missing = profiles.read("work", &path, 0).err().unwrap();
        assert!(matches!(missing, ProfileError::Missing { .. }));
    }

    #[test]
    fn files_that_others_could_choose_or_see_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (files, path) = (files(), folder.path().join("work.json"));
        let nothing = |_: &str| None;
        let read =
            |path: &Path| Profiles::new(&files, &nothing).read("work", path, 0).err().unwrap();
        for mode in [0o640, 0o604, 0o660] {
            write(&path, r#"{"auth":{"token":"t"}}"#, mode);
            let error = read(&path);
            assert!(matches!(error, ProfileError::Mode { found, .. } if found == mode));
            assert!(error.hint().unwrap().starts_with("run `chmod 600 "));
        }
        let link = folder.path().join("link.json");
        symlink(&path, &link).unwrap();
        assert!(matches!(read(&link), ProfileError::Symlink { .. }));
        assert!(matches!(read(folder.path()), ProfileError::NotAFile { .. }));
    }
}
