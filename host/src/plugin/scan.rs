//! Finds library files in the plugin folders. Reads names and metadata, no contents.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use super::{Provenance, Refusal, RefusalError, development};

/// Most bytes of a library; a debug build with all symbols has some 12 MB.
pub const MAX_SIZE: u64 = 1 << 29;

/// A folder that is searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Where.
    pub path: PathBuf,
    /// What its files are.
    pub provenance: Provenance,
}

/// A file worth judging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub provenance: Provenance,
    /// What tells whether it changed since.
    pub stamp: Stamp,
}

/// What a file's metadata says about its contents: equal stamps mean equal bytes, as far as the
/// file system can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Device and inode.
    pub inode: (u64, u64),
    /// Size in bytes.
    pub size: u64,
    /// Last change of the contents, in nanoseconds since the Unix epoch.
    pub modified_ns: i128,
    /// Last change of contents or metadata, in nanoseconds since the Unix epoch.
    pub changed_ns: i128,
}

impl Stamp {
    /// Takes the stamp of a file.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        Self {
            inode: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Finds the libraries in `folders`, each folder's files by name. A folder that does not exist is
/// empty.
#[must_use]
pub fn scan(folders: &[Folder]) -> (Vec<Found>, Vec<Refusal>) {
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    for folder in folders {
        let mut refuse = |path: &Path, error| {
            refused.push(Refusal { path: path.to_owned(), error });
        };
        let entries = match fs::read_dir(&folder.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                refuse(&folder.path, RefusalError::Io(error));
                continue;
            }
        };
        let mut paths: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(|path| is_library(path)).collect();
        if folder.provenance == Provenance::Development {
            paths.retain(|path| development::is_live(path));
        }
        if paths.is_empty() {
            continue;
        }
        if let Err(error) = check_directories(&folder.path) {
            refuse(&folder.path, error);
            continue;
        }
        paths.sort();
        for path in paths {
            match check_file(&path) {
                Ok(stamp) => found.push(Found { path, provenance: folder.provenance, stamp }),
                Err(error) => refuse(&path, error),
            }
        }
    }
    (found, refused)
}

/// Reports whether a file's name is that of a library. Names that begin with a dot are temporary.
#[must_use]
pub fn is_library(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|ext| ext == "so" || ext == "dylib")
}

/// Checks kind, size, owner and permissions of a file.
///
/// # Errors
///
/// Why it is refused.
pub fn check_file(path: &Path) -> Result<Stamp, RefusalError> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if path.is_symlink() => RefusalError::DanglingLink,
        _ => RefusalError::Io(error),
    })?;
    if !metadata.is_file() {
        let kind = metadata.file_type();
        let found = if kind.is_dir() {
            "a directory"
        } else if kind.is_fifo() {
            "a named pipe"
        } else {
            "a device or socket"
        };
        return Err(RefusalError::NotAFile { found });
    }
    match metadata.len() {
        0 => return Err(RefusalError::Empty),
        found if found > MAX_SIZE => {
            return Err(RefusalError::TooLarge { max: MAX_SIZE, found });
        }
        _ => {}
    }
    check_owner(path, &metadata)?;
    if metadata.mode() & 0o002 != 0 {
        return Err(RefusalError::Writable { what: show(path), whom: "everyone" });
    }
    // Many systems give every user a group of their own and make new files group-writable, so
    // that group is not somebody else.
    if metadata.mode() & 0o020 != 0 && metadata.gid() != rustix::process::getegid().as_raw() {
        return Err(RefusalError::Writable { what: show(path), whom: "another group" });
    }
    Ok(Stamp::of(&metadata))
}

/// Checks that nobody else can replace what is in a folder: owner and permissions up to the root.
/// A sticky directory such as `/tmp` passes, because there only the owner may replace a file.
pub(super) fn check_directories(folder: &Path) -> Result<(), RefusalError> {
    let folder = folder.canonicalize().map_err(RefusalError::Io)?;
    for directory in folder.ancestors() {
        let metadata = fs::metadata(directory).map_err(RefusalError::Io)?;
        check_owner(directory, &metadata)?;
        if metadata.mode() & 0o002 != 0 && metadata.mode() & 0o1000 == 0 {
            return Err(RefusalError::Writable { what: show(directory), whom: "everyone" });
        }
    }
    Ok(())
}

fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), RefusalError> {
    let expected = rustix::process::geteuid().as_raw();
    match metadata.uid() {
        0 => Ok(()),
        found if found == expected => Ok(()),
        found => Err(RefusalError::ForeignOwner { what: show(path), found, expected }),
    }
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn folder(path: &Path) -> [Folder; 1] {
        [Folder { path: path.to_owned(), provenance: Provenance::User }]
    }

    #[test]
    fn libraries_are_found_in_order_and_other_names_are_not() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.so", "a.dylib", "c.txt", ".d.so", "e.so.tmp"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let (found, refused) = scan(&folder(dir.path()));
        let names: Vec<_> = found.iter().map(|f| f.path.file_name().unwrap()).collect();
        assert_eq!(names, ["a.dylib", "b.so"]);
        assert!(refused.is_empty());
    }

    #[test]
    fn a_folder_that_does_not_exist_is_empty() {
        let (found, refused) = scan(&folder(Path::new("/nowhere/at/all")));
        assert!(found.is_empty() && refused.is_empty());
    }

    #[test]
    fn odd_files_are_named_and_refused() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("directory.so")).unwrap();
        symlink(at("gone"), at("link.so")).unwrap();
        fs::write(at("empty.so"), "").unwrap();
        fs::write(at("open.so"), "x").unwrap();
        fs::set_permissions(at("open.so"), fs::Permissions::from_mode(0o666)).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe.so"),
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        fs::File::create(at("sparse.so")).unwrap().set_len(MAX_SIZE + 1).unwrap();
        let (found, refused) = scan(&folder(dir.path()));
        assert_eq!(found, []);
        let said: Vec<String> = refused
            .iter()
            .map(|r| format!("{}: {}", r.path.file_name().unwrap().display(), r.error))
            .collect();
        let open = at("open.so");
        assert_eq!(
            said,
            [
                "directory.so: expected a regular file, found a directory".to_owned(),
                "empty.so: the file is empty".to_owned(),
                "link.so: the link leads nowhere".to_owned(),
                format!("open.so: {} may be written by everyone", open.display()),
                "pipe.so: expected a regular file, found a named pipe".to_owned(),
                format!("sparse.so: expected at most {MAX_SIZE} bytes, found {}", MAX_SIZE + 1),
            ]
        );
        assert!(refused.iter().all(|r| !r.error.hint().is_empty()));
    }

    #[test]
    fn a_folder_that_everyone_may_write_is_refused_whole() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("plugins");
        fs::create_dir(&open).unwrap();
        fs::write(open.join("a.so"), "x").unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let (found, refused) = scan(&folder(&open));
        assert_eq!((found.len(), refused.len()), (0, 1));
        assert!(matches!(refused[0].error, RefusalError::Writable { whom: "everyone", .. }));
    }
}
