//! Key files: who may own and read them, and how one is made without a race.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use zeroize::Zeroizing;

use super::{
    MasterKey,
    source::{KeyError, MAX_TEXT_LEN},
};
use crate::session::{name::hex, random};

/// How strict to be about a key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// Named by the operator: root may own it and its group may read it, as service managers and
    /// container platforms set secrets up.
    Configured,
    /// Our own.
    Generated,
}

/// Reads a key file after checking, on the opened file itself, who could have written or seen it.
pub(super) fn read(path: &Path, rules: Rules) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let io = |source: io::Error| KeyError::Io { path: path.to_owned(), source };
    // NONBLOCK: opening a pipe must not wait for a writer.
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    if rules == Rules::Generated {
        flags |= OFlags::NOFOLLOW;
    }
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::LOOP) if rules == Rules::Generated => {
            return Err(KeyError::Symlink { path: path.to_owned() });
        }
        Err(error) => return Err(io(error.into())),
    };
    let file = File::from(file);
    let found = file.metadata().map_err(io)?;
    if !found.is_file() {
        return Err(KeyError::NotAFile { path: path.to_owned() });
    }
    let expected = rustix::process::geteuid().as_raw();
    check_owner_and_mode(path, rules, found.uid(), found.mode() & 0o7777, expected)?;
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_TEXT_LEN));
    file.take(MAX_TEXT_LEN as u64).read_to_end(&mut text).map_err(io)?;
    Ok(text)
}

fn check_owner_and_mode(
    path: &Path,
    rules: Rules,
    owner: u32,
    mode: u32,
    user: u32,
) -> Result<(), KeyError> {
    let (allowed, root_may_own) = match rules {
        Rules::Configured => (0o640, true),
        Rules::Generated => (0o600, false),
    };
    if owner != user && !(root_may_own && owner == 0) {
        return Err(KeyError::Owner { path: path.to_owned(), found: owner, expected: user });
    }
    if mode & !allowed & 0o077 != 0 {
        return Err(KeyError::Mode { path: path.to_owned(), found: mode, expected: allowed });
    }
    Ok(())
}

/// Reads our own key file, or makes it.
pub(super) fn read_or_generate(
    path: &Path,
    has_ciphertext: impl FnOnce() -> bool,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    match read(path, Rules::Generated) {
        Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    if has_ciphertext() {
        return Err(KeyError::Lost { path: path.to_owned() });
    }
    generate(path)?;
    // Read back rather than returned: another process may have been faster, and its key counts.
    read(path, Rules::Generated)
}

/// Makes a key file that either exists whole or not at all.
///
/// Written under a name of its own and linked into place: `link` fails if the name is taken, so
/// exactly one of several processes wins, and the losers never see a half-written file.
fn generate(path: &Path) -> Result<(), KeyError> {
    let io = |source: io::Error| KeyError::Io { path: path.to_owned(), source };
    let mut bytes = Zeroizing::new([0; MasterKey::LEN]);
    random::fill(bytes.as_mut_slice())?;
    let text = Zeroizing::new(hex(bytes.as_slice()));

    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let draft = path.with_extension(format!("new-{}", random::id()?));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let file = rustix::fs::open(&draft, flags, mode).map_err(|error| io(error.into()))?;
    let mut file = File::from(file);
    let linked = file
        .write_all(text.as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        .and_then(|()| match fs::hard_link(&draft, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        });
    // The draft goes in any case: on failure it must not stay behind as a stray key.
    let removed = fs::remove_file(&draft);
    linked.and(removed).map_err(io)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}

/// Makes the key that is to follow `path`, in a file beside it, in place of one that was never used.
pub(super) fn begin_rotation(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let next = next(path);
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(KeyError::Io { path: next, source: error });
        }
        _ => {}
    }
    generate(&next)?;
    read(&next, Rules::Generated)
}

/// Reads the key that is to follow `path`, if one was made.
pub(super) fn read_next(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
    match read(&next(path), Rules::Generated) {
        Ok(text) => Ok(Some(text)),
        Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts the next key in the place of the old one, which stays beside it under `retired`.
///
/// The old one gets its second name first, so that at no moment a key is missing. Another process may
/// have done it all already.
pub(super) fn finish_rotation(path: &Path, retired: &Path) -> Result<(), KeyError> {
    let io = |source: io::Error| KeyError::Io { path: path.to_owned(), source };
    let next = next(path);
    match fs::hard_link(path, retired) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io(error)),
        _ => {}
    }
    match fs::rename(&next, path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}

fn next(path: &Path) -> PathBuf {
    path.with_extension("next")
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        os::unix::fs::{PermissionsExt, symlink},
        sync::Barrier,
        thread,
    };

    use super::*;

    fn with_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_generated_file_is_private_and_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        let text = read_or_generate(&path, || false).unwrap();
        assert_eq!(text.len(), 65);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "no draft stays behind");
    }

    #[test]
    fn racing_processes_agree_on_one_key() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        let start = Barrier::new(8);
        let found: HashSet<Vec<u8>> = thread::scope(|scope| {
            let race = || {
                start.wait();
                read_or_generate(&path, || false).unwrap().to_vec()
            };
            let racers: Vec<_> = (0..8).map(|_| scope.spawn(race)).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        assert_eq!(found.len(), 1);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn loose_modes_are_refused_with_the_remedy() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        read_or_generate(&path, || false).unwrap();
        with_mode(&path, 0o640);
        let error = read(&path, Rules::Generated).unwrap_err();
        assert!(error.to_string().contains("has mode 0640, expected 0600 or less"), "{error}");
        assert!(error.hint().unwrap().starts_with("run `chmod 600 "));
        assert!(read(&path, Rules::Configured).is_ok());
        for mode in [0o644, 0o660, 0o601] {
            with_mode(&path, mode);
            assert!(matches!(read(&path, Rules::Configured), Err(KeyError::Mode { .. })));
        }
    }

    #[test]
    fn links_folders_and_other_owners_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let (path, link) = (home.path().join("key"), home.path().join("link"));
        read_or_generate(&path, || false).unwrap();
        symlink(&path, &link).unwrap();
        let error = read_or_generate(&link, || false).unwrap_err();
        assert!(matches!(error, KeyError::Symlink { .. }) && error.hint().is_some());
        assert!(read(&link, Rules::Configured).is_ok());
        let folder = read(home.path(), Rules::Generated).unwrap_err();
        assert!(matches!(folder, KeyError::NotAFile { .. }));

        let check = |rules, owner| check_owner_and_mode(&path, rules, owner, 0o600, 1000);
        assert!(check(Rules::Configured, 0).is_ok() && check(Rules::Generated, 1000).is_ok());
        for error in [check(Rules::Generated, 0), check(Rules::Configured, 7)] {
            let error = error.unwrap_err();
            assert!(matches!(error, KeyError::Owner { expected: 1000, .. }));
            assert!(error.hint().unwrap().starts_with("run `chown 1000 "));
        }
    }

    #[test]
    fn a_folder_that_does_not_exist_is_an_io_error() {
        let home = tempfile::tempdir().unwrap();
        let error = read_or_generate(&home.path().join("no/key"), || false).unwrap_err();
        assert!(matches!(error, KeyError::Io { .. }));
    }
}
