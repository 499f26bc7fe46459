//! A host and a plugin of contract 1.0 and of 1.1 meet in all four ways.
//!
//! 1.0 is this workspace. 1.1 is made of it: sources are copied below `target/evolution/` and changed
//! as `fixtures/contract-1.1/` says, then built there.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::{Value, json};

use crate::{
    ask::chat,
    harness::{Test, library, wait, walk, workspace},
};

/// What was built against contract 1.1.
struct Next {
    echo: PathBuf,
    probe: PathBuf,
}

fn next() -> &'static Next {
    static NEXT: OnceLock<Next> = OnceLock::new();
    NEXT.get_or_init(build)
}

fn build() -> Next {
    let target = std::env::current_exe().unwrap();
    let root = target.ancestors().nth(3).unwrap().join("evolution");
    prepare(&root);
    let out = root.join("target");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--offline", "--workspace"])
        .current_dir(&root)
        .env("CARGO_TARGET_DIR", &out)
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "contract 1.1 does not build; see tests/fixtures/contract-1.1/README.md\n{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let echo = out.join("debug").join(library("echo").file_name().unwrap());
    Next { echo, probe: out.join("debug/probe") }
}

/// Writes the workspace of contract 1.1. A file that is already as it should be is not touched, so
/// that cargo sees that nothing changed.
fn prepare(root: &Path) {
    let from = workspace();
    let fixture = from.join("tests/fixtures/contract-1.1");
    let mut files = vec![(PathBuf::from("Cargo.toml"), manifest(&from))];
    let mut copy = |source: PathBuf, to: &str| {
        let mut take = |path: &Path| {
            if path.is_file() {
                let to = Path::new(to).join(path.strip_prefix(&source).unwrap());
                files.push((to, fs::read_to_string(path).unwrap()));
            }
        };
        if source.is_file() { take(&source) } else { walk(&source, &mut take) }
    };
    for (source, to) in [
        ("plugin-api/src", "plugin-api/src"),
        ("plugins/echo/src", "echo/src"),
        ("host/src/plugin", "probe/src/plugin"),
    ] {
        copy(from.join(source), to);
    }
    copy(fixture.join("probe"), "probe");
    for (source, to) in [
        ("plugin-api/Cargo.toml", "plugin-api/Cargo.toml"),
        ("plugins/echo/Cargo.toml", "echo/Cargo.toml"),
    ] {
        // Tests and benchmarks stay behind, and what only they need.
        let text = fs::read_to_string(from.join(source)).unwrap();
        let mut member: toml::Table = text.parse().unwrap();
        member.retain(|section, _| ["package", "lib", "lints", "dependencies"].contains(&section));
        files.push((to.into(), toml::to_string(&member).unwrap()));
    }
    let plugin = fs::read_to_string(from.join("host/src/plugin.rs")).unwrap();
    files.push(("probe/src/plugin.rs".into(), plugin));
    let changes: toml::Table =
        fs::read_to_string(fixture.join("changes.toml")).unwrap().parse().unwrap();
    for change in changes["change"].as_array().unwrap() {
        let text = |key: &str| change[key].as_str().unwrap();
        let file = files.iter_mut().find(|(path, _)| path == Path::new(text("file")));
        let (_, content) = file.unwrap_or_else(|| panic!("no file `{}`", text("file")));
        let found = content.matches(text("find")).count();
        let place = format!("{}: `{}`", text("file"), text("find").trim());
        assert_eq!(found, 1, "{place} stands there {found} times; adapt changes.toml");
        *content = content.replace(text("find"), text("replace"));
    }
    // The lock file is ours; cargo shortens its copy to what is needed here.
    let lock = fs::read_to_string(from.join("Cargo.lock")).unwrap();
    if fs::read_to_string(root.join("Cargo.lock.ours")).ok().as_ref() != Some(&lock) {
        files.push(("Cargo.lock".into(), lock.clone()));
        files.push(("Cargo.lock.ours".into(), lock));
    }
    for (path, content) in files {
        let path = root.join(path);
        if fs::read_to_string(&path).ok().as_ref() != Some(&content) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let temporary = path.with_extension(format!("tmp-{}", std::process::id()));
            fs::write(&temporary, content).unwrap();
            fs::rename(temporary, path).unwrap();
        }
    }
}

/// Makes the workspace's manifest: ours, with the three members.
fn manifest(from: &Path) -> String {
    let text = fs::read_to_string(from.join("Cargo.toml")).unwrap();
    let ours: toml::Table = text.parse().unwrap();
    let mut workspace = ours["workspace"].as_table().unwrap().clone();
    workspace.insert("members".into(), vec!["plugin-api", "echo", "probe"].into());
    let dependencies = workspace["dependencies"].as_table_mut().unwrap();
    dependencies.retain(|_, spec| spec.get("path").is_none());
    let plugin_api = toml::Table::from_iter([
        ("path".to_owned(), "plugin-api".into()),
        ("version".to_owned(), "1.1.0".into()),
    ]);
    dependencies.insert("plugin-api".into(), plugin_api.into());
    let mut manifest = toml::Table::new();
    manifest.insert("workspace".into(), workspace.into());
    manifest
        .insert("profile".into(), "dev = { debug = false }".parse::<toml::Table>().unwrap().into());
    toml::to_string(&manifest).unwrap()
}

/// Lets the host of contract 1.1 look at a plugin.
fn seen_by_next(plugin: &Path) -> Value {
    let copies = tempfile::tempdir().unwrap();
    let ran = Command::new(&next().probe).arg(plugin).arg(copies.path()).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

#[test]
fn a_host_of_today_runs_a_plugin_of_tomorrow() {
    let test = Test::new().write("plugins/next.so", fs::read(&next().echo).unwrap());
    let maestro = test.maestro();
    assert_eq!(maestro.refused_plugins().len(), 0);
    let plugin = &maestro.list_plugins()[0];
    assert_eq!(plugin.contract, "1.1.0");
    let known: Vec<_> = plugin.capabilities.iter().map(|known| known.as_str()).collect();
    assert_eq!(known, ["chat/1", "models/1", "token-count/1"], "`dreams/1` is skipped");
    let kept = maestro.validate("echo").unwrap();
    assert!(kept.passed, "{kept:?}");
    wait(async {
        assert_eq!(chat(&maestro, "echo/echo", &[]).await.ok(), "hello");
        assert_eq!(
            chat(&maestro, "echo/echo", &[("error", "melted")]).await.problem(),
            "provider `echo` failed: failed: you asked for an error"
        );
        assert_eq!(maestro.list_models("echo", None).await.unwrap()[0].id, "echo");
    });
}

#[test]
fn a_host_of_tomorrow_runs_a_plugin_of_today() {
    assert_eq!(
        seen_by_next(&library("echo")),
        json!({
            "host": "1.1.0", "plugin": "1.0.0",
            "capabilities": ["chat/1", "models/1", "token-count/1"],
            "mood": "", "text": "one two three", "warnings": [], "finish": "stop", "pulses": 0,
            "error": "failed: you asked for an error", "nudged": [0, 1, 0],
            "batch": null, "wellbeing": null,
        })
    );
}

#[test]
fn a_host_of_tomorrow_finds_what_a_plugin_of_tomorrow_adds() {
    assert_eq!(
        seen_by_next(&next().echo),
        json!({
            "host": "1.1.0", "plugin": "1.1.0",
            "capabilities": ["chat/1", "dreams/1", "models/1", "token-count/1"],
            "mood": "calm", "text": "one two three", "warnings": ["tempo 120"], "finish": "stop",
            "pulses": 1, "error": "melted: you asked for an error", "nudged": [0, 1, 1],
            "batch": 64, "wellbeing": 7,
        })
    );
}
