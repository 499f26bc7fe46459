//! Promises about the source itself, which no compiler checks.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::harness::{walk, workspace};

fn read(path: impl AsRef<Path>) -> String {
    let path = workspace().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Lists the Rust files below a folder, relative to the workspace.
fn sources(folder: &str) -> Vec<PathBuf> {
    let (root, mut found) = (workspace(), Vec::new());
    walk(&root.join(folder), &mut |path| {
        if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path.strip_prefix(&root).unwrap().to_owned());
        }
    });
    found
}

fn folders(of: &str) -> Vec<String> {
    let entries = fs::read_dir(workspace().join(of)).unwrap();
    let folders = entries.map(|entry| entry.unwrap()).filter(|entry| entry.path().is_dir());
    let mut names: Vec<_> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Returns the crates of this workspace that a manifest's section names.
fn ours(manifest: &str, section: &str) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = folders("plugins").into_iter().collect();
    all.extend(["plugin-api", "dialects", "host", "xtask"].map(String::from));
    let manifest: toml::Table = read(manifest).parse().unwrap();
    let named = manifest.get(section).and_then(toml::Value::as_table).cloned().unwrap_or_default();
    named.keys().filter(|name| all.contains(*name)).cloned().collect()
}

#[test]
fn dependencies_point_one_way() {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        assert_eq!(ours("plugin-api/Cargo.toml", section), set(&[]), "{section}");
        assert!(ours("dialects/Cargo.toml", section).is_subset(&set(&["plugin-api"])));
        for plugin in folders("plugins") {
            let named = ours(&format!("plugins/{plugin}/Cargo.toml"), section);
            assert!(named.is_subset(&set(&["plugin-api", "dialects"])), "{plugin}: {named:?}");
        }
    }
    assert_eq!(ours("host/Cargo.toml", "dependencies"), set(&["dialects", "plugin-api"]));
    let plugins: BTreeSet<String> = folders("plugins").into_iter().collect();
    assert!(ours("host/Cargo.toml", "dev-dependencies").is_subset(&plugins));
}

#[test]
fn layers_of_the_host_look_inward() {
    // From the street inward; what stands on one line does not depend on its neighbours' order.
    let layers: [&[&str]; 8] = [
        &["cli"],
        &["gateway"],
        &["maestro"],
        &["contract"],
        &["exchange"],
        &["plugin"],
        &["transport"],
        &["session"],
    ];
    let rank = |name: &str| layers.iter().position(|layer| layer.contains(&name));
    for file in sources("host/src") {
        let inside = file.strip_prefix("host/src").unwrap();
        let top = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        let Some(own) = rank(top) else { continue };
        let text = read(&file);
        let code: Vec<_> =
            text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for used in code.join("\n").split("crate::").skip(1) {
            let names = match used.strip_prefix('{') {
                // The names at the first level of a group.
                Some(group) => first_level(group),
                None => vec![word(used)],
            };
            for name in names {
                assert!(
                    rank(&name).is_none_or(|other| other >= own),
                    "{}: `{top}` must not know of `{name}`",
                    file.display()
                );
            }
        }
    }
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn first_level(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut start) = (0, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            c if start && c.is_alphabetic() => {
                names.push(word(&group[at..]));
                start = false;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn unsafe_code_stands_only_where_it_may() {
    let allowed = |file: &Path| {
        file.starts_with("plugin-api/src/abi")
            || file == Path::new("plugin-api/src/export.rs")
            || file == Path::new("host/src/plugin/load.rs")
            || file.starts_with("host/src/plugin/worker")
    };
    // In two pieces, so that this file does not find itself.
    let keyword = concat!("un", "safe");
    let marks = ["{", "fn ", "impl ", "extern "].map(|next| format!("{keyword} {next}"));
    let lint = format!("({keyword}_code");
    for folder in ["plugin-api", "dialects", "plugins", "host", "xtask", "tests"] {
        for file in sources(folder).into_iter().filter(|file| !allowed(file)) {
            if file.starts_with("tests/fixtures") {
                continue;
            }
            let text = read(&file);
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                let opens = marks.iter().any(|mark| line.contains(mark));
                let lifts = line.contains(&lint) && !line.contains("forbid");
                assert!(!opens && !lifts, "{}: {line}", file.display());
            }
        }
    }
    let forbid = format!("#![forbid({keyword}_code)]");
    for plugin in folders("plugins") {
        let lib = read(format!("plugins/{plugin}/src/lib.rs"));
        assert!(lib.contains(&forbid), "{plugin} does not forbid it");
    }
    assert!(read("dialects/src/lib.rs").contains(&forbid));
}

#[test]
fn plugins_are_safe_to_load_beside_each_other() {
    for plugin in folders("plugins") {
        let manifest: toml::Table = read(format!("plugins/{plugin}/Cargo.toml")).parse().unwrap();
        let kinds = &manifest["lib"]["crate-type"];
        assert_eq!(kinds, &toml::Value::from(vec!["cdylib", "rlib"]), "{plugin}");
    }
}

#[test]
fn every_migration_is_embedded_and_goes_both_ways() {
    let embedded = read("host/src/session/store/sqlite/migrate.rs");
    for (number, folder) in (1..).zip(folders("migrations/sqlite")) {
        assert!(folder.starts_with(&format!("{number:04}-")), "`{folder}` is out of order");
        assert!(embedded.contains(&format!("\"{folder}\"")), "`{folder}` is not embedded");
        for way in ["up.sql", "down.sql"] {
            assert!(!read(format!("migrations/sqlite/{folder}/{way}")).trim().is_empty());
            assert!(embedded.contains(&format!("/{way}\"")));
        }
    }
}

#[test]
fn no_test_waits_for_time_to_pass() {
    let nap = concat!("sl", "eep(");
    for folder in ["tests", "plugins", "dialects", "plugin-api"] {
        for file in sources(folder) {
            let text = read(&file);
            let line = text.lines().find(|line| line.contains(nap));
            assert_eq!(line, None, "{}", file.display());
        }
    }
}

#[test]
fn commands_in_the_documents_exist() {
    let xtask = sources("xtask/src").iter().map(read).collect::<String>();
    for document in ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", ".ci/run"] {
        let Ok(text) = fs::read_to_string(workspace().join(document)) else { continue };
        for used in text.split("cargo xtask ").skip(1) {
            let command: String =
                used.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            assert!(
                command.is_empty() || xtask.contains(&format!("\"{command}\"")),
                "{document}: `cargo xtask {command}` is unknown"
            );
        }
    }
}

#[test]
fn every_rule_is_seen_to_fail() {
    let text = read("tests/contract.rs");
    for rule in host::exchange::grammar::Rule::ALL {
        assert!(
            text.contains(&format!("\"{rule}\"")) || text.contains(&format!("`{rule}`")),
            "{rule}"
        );
    }
}

#[test]
fn the_plugin_of_the_readme_is_the_one_that_is_built() {
    let readme = read("README.md");
    let (_, behind) = readme.split_once("```rust\n").expect("the README shows a plugin");
    let (shown, _) = behind.split_once("```").expect("the example ends");
    assert_eq!(shown, read("plugins/shout/src/lib.rs"));
}

#[test]
fn every_measure_of_security_is_somewhere_and_its_test_exists() {
    let text = read("SECURITY.md");
    let code: String = ["host/src", "plugin-api/src", "tests"]
        .iter()
        .flat_map(|folder| sources(folder))
        .map(read)
        .collect();
    let in_backticks = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let mut tests = BTreeSet::new();
    for row in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Threat")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').collect();
        let places = in_backticks(cells[2]);
        assert!(!places.is_empty(), "no place: {row}");
        for place in places {
            assert!(workspace().join(&place).exists(), "`{place}` is gone: {row}");
        }
        let Some(named) = cells.get(3) else { continue };
        let named = in_backticks(named);
        assert!(!named.is_empty(), "no test: {row}");
        tests.extend(named);
    }
    assert!(tests.len() > 10, "the table is read");
    for test in tests {
        let mut at = code.split("#[").filter(|part| part.contains(&format!("fn {test}(")));
        assert!(
            at.any(|part| part.starts_with("test") || part.starts_with("tokio::test")),
            "{test}"
        );
    }
}
