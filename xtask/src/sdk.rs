//! Lays out the contract's sources as a release carries them: a workspace of `plugin-api` and
//! `dialects` without tests and benchmarks, and without what only those need.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use toml::{Table, Value};

/// Crates that an author builds against.
const CRATES: [&str; 2] = ["plugin-api", "dialects"];

/// Writes the sources of the workspace at `root` into `folder`, and removes what else is there.
///
/// A file that is already as it should be is not touched, so that what was built of it stays built.
pub(crate) fn write(root: &Path, folder: &Path) -> Result<()> {
    let files = files(root)?;
    for (path, bytes) in &files {
        let path = folder.join(path);
        if fs::read(&path).ok().as_ref() == Some(bytes) {
            continue;
        }
        let context = || format!("failed to write `{}`", path.display());
        fs::create_dir_all(path.parent().with_context(context)?).with_context(context)?;
        let temporary = path.with_extension(format!("new-{}", std::process::id()));
        fs::write(&temporary, bytes).with_context(context)?;
        fs::rename(&temporary, &path).with_context(context)?;
    }
    let mut there = Vec::new();
    list(folder, &mut there)?;
    for path in there {
        if !files.contains_key(path.strip_prefix(folder)?) {
            fs::remove_file(&path)
                .with_context(|| format!("failed to remove `{}`", path.display()))?;
        }
    }
    Ok(())
}

fn files(root: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut needed = BTreeSet::new();
    for member in CRATES {
        let mut manifest = read(&root.join(member).join("Cargo.toml"))?;
        manifest
            .retain(|section, _| ["package", "lib", "lints", "dependencies"].contains(&section));
        if let Some(dependencies) = manifest.get("dependencies").and_then(Value::as_table) {
            needed.extend(dependencies.keys().cloned());
        }
        let path = Path::new(member).join("Cargo.toml");
        files.insert(path, toml::to_string(&manifest)?.into_bytes());
        let mut sources = Vec::new();
        list(&root.join(member).join("src"), &mut sources)?;
        for source in sources {
            let bytes = fs::read(&source)
                .with_context(|| format!("failed to read `{}`", source.display()))?;
            files.insert(source.strip_prefix(root)?.to_owned(), bytes);
        }
    }
    let workspace = workspace(read(&root.join("Cargo.toml"))?, &needed)?;
    files.insert("Cargo.toml".into(), toml::to_string(&workspace)?.into_bytes());
    for file in ["Cargo.lock", "LICENSE-APACHE", "LICENSE-MIT"] {
        let bytes =
            fs::read(root.join(file)).with_context(|| format!("failed to read `{file}`"))?;
        files.insert(file.into(), bytes);
    }
    Ok(files)
}

/// Makes the workspace's manifest of ours.
fn workspace(mut ours: Table, needed: &BTreeSet<String>) -> Result<Table> {
    let table = |value: Option<Value>| match value {
        Some(Value::Table(table)) => Ok(table),
        _ => Err(anyhow::anyhow!("the root `Cargo.toml` lacks a table")),
    };
    let mut workspace = table(ours.remove("workspace"))?;
    let mut dependencies = table(workspace.remove("dependencies"))?;
    dependencies.retain(|name, _| needed.contains(name));
    workspace.retain(|key, _| ["resolver", "package", "lints"].contains(&key));
    workspace.insert("members".into(), Value::from(CRATES.to_vec()));
    workspace.insert("dependencies".into(), dependencies.into());
    Ok(Table::from_iter([("workspace".to_owned(), Value::from(workspace))]))
}

fn read(path: &Path) -> Result<Table> {
    let context = || format!("failed to read `{}`", path.display());
    fs::read_to_string(path).with_context(context)?.parse().with_context(context)
}

/// Lists the files below a folder.
fn list(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    let context = || format!("failed to read `{}`", folder.display());
    for entry in fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        if path.is_dir() {
            list(&path, into)?;
        } else {
            into.push(path);
        }
    }
    Ok(())
}
