//! A library appears, changes, goes, or is refused; nothing else moves.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use host::{Maestro, maestro::one_line};

use crate::{
    ask::chat,
    harness::{Test, library, wait},
};

/// Returns the bytes of a plugin.
pub(crate) fn bytes(name: &str) -> Vec<u8> {
    fs::read(library(name)).unwrap()
}

/// Replaces a text by another of the same length, `times` times at most.
pub(crate) fn patched(mut bytes: Vec<u8>, from: &str, to: &str, times: usize) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut at = 0;
    for n in 0..times {
        let found = bytes[at..].windows(from.len()).position(|window| window == from.as_bytes());
        let Some(found) = found else {
            assert!(n > 0, "`{from}` is not there");
            break;
        };
        at += found;
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        at += to.len();
    }
    bytes
}

fn provider_ids(maestro: &Maestro) -> Vec<String> {
    let mut ids: Vec<_> =
        wait(maestro.list_providers()).into_iter().map(|info| info.id.to_string()).collect();
    ids.sort();
    ids
}

/// Returns why the one file of a home is refused, and what to do about it.
#[track_caller]
fn refusal(test: &Test) -> (String, String) {
    let refused = test.maestro().refused_plugins();
    assert_eq!(refused.len(), 1, "{refused:?}");
    let home = test.home().to_str().unwrap();
    (refused[0].error.replace(home, "[HOME]"), refused[0].hint.replace(home, "[HOME]"))
}

/// Puts bytes into a new home as `plugins/x.so`.
fn dropped(bytes: &[u8]) -> Test {
    Test::new().write("plugins/x.so", bytes)
}

#[test]
fn a_file_brings_its_providers_and_takes_them_away_again() {
    let test = Test::new().plugin("faulty");
    assert_eq!(
        provider_ids(&test.maestro()),
        ["faulty", "faulty-issuer", "faulty-keyed", "faulty-oauth", "faulty-profiled"]
    );
    let without_copies = |test: &Test| -> BTreeMap<PathBuf, u64> {
        test.tree().into_iter().filter(|(path, _)| !path.starts_with("cache/plugins")).collect()
    };
    let before = without_copies(&test);

    let test = test.plugin("echo");
    let maestro = test.maestro();
    assert_eq!(
        provider_ids(&maestro),
        ["echo", "faulty", "faulty-issuer", "faulty-keyed", "faulty-oauth", "faulty-profiled"]
    );
    assert_eq!(wait(chat(&maestro, "echo/echo", &[])).ok(), "hello");
    fs::remove_file(test.plugin_path("echo")).unwrap();
    assert_eq!(wait(chat(&maestro, "echo/echo", &[])).ok(), "hello", "what runs goes on");

    let maestro = test.maestro();
    assert_eq!(
        provider_ids(&maestro),
        ["faulty", "faulty-issuer", "faulty-keyed", "faulty-oauth", "faulty-profiled"]
    );
    assert_eq!(wait(chat(&maestro, "echo/echo", &[])).problem(), "no provider `echo`");
    assert_eq!(without_copies(&test), before);
}

#[test]
fn a_changed_file_is_a_changed_plugin() {
    let test = Test::new().plugin("echo");
    let version = |test: &Test| test.maestro().list_plugins()[0].version.clone();
    assert_eq!(version(&test), env!("CARGO_PKG_VERSION"));
    let from = format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION"));
    let to = from.replace("0.1.0", "9.9.9");
    fs::write(test.plugin_path("echo"), patched(bytes("echo"), &from, &to, 1)).unwrap();
    assert_eq!(version(&test), "9.9.9");
    assert_eq!(wait(chat(&test.maestro(), "echo/echo", &[])).ok(), "hello");
}

#[test]
fn only_a_private_copy_is_loaded() {
    let test = Test::new().plugin("echo").trusted("echo");
    wait(chat(&test.maestro(), "echo/echo", &[])).ok();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let home = test.home().to_str().unwrap();
    let mapped: Vec<_> =
        maps.lines().filter_map(|line| line.find(home).map(|at| &line[at..])).collect();
    assert!(!mapped.is_empty());
    for path in mapped {
        let path = Path::new(path);
        assert_eq!(path.parent().unwrap(), test.home().join("cache/plugins"));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    let folder = test.home().join("cache/plugins");
    assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn what_is_cut_short_never_reaches_the_dynamic_loader() {
    let whole = bytes("echo");
    for cut in [64, 100, 1000, 4096, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
        let (error, hint) = refusal(&dropped(&whole[..cut]));
        assert!(error.starts_with("truncated: its headers reach to byte "), "{cut}: {error}");
        assert!(error.ends_with(&format!(", the file has {cut}")), "{cut}: {error}");
        assert_eq!(hint, "copy it again; the copy was cut short");
    }
    for cut in [1, 4, 16, 63] {
        let (error, _) = refusal(&dropped(&whole[..cut]));
        assert!(
            error.contains("truncated") || error.contains("expected a shared library"),
            "{cut}: {error}"
        );
    }
    let test = dropped(&whole[..whole.len() / 2]);
    refusal(&test);
    let test = test.write("plugins/x.so", &whole);
    assert_eq!(provider_ids(&test.maestro()), ["echo"], "once it is whole it is taken");
}

#[test]
fn what_is_no_plugin_is_named_and_refused() {
    let mut foreign = bytes("echo");
    let (machine, name) =
        if cfg!(target_arch = "x86_64") { (0xb7, "aarch64") } else { (0x3e, "x86_64") };
    foreign[18] = machine;
    let system = fs::read_to_string("/proc/self/maps")
        .unwrap()
        .lines()
        .filter_map(|line| line.find('/').map(|at| line[at..].to_owned()))
        .find(|path| path.contains("/libc.so") || path.contains("/libc-"))
        .map(|path| fs::read(path).unwrap());
    let nothing = patched(
        bytes("echo"),
        "\"chat/1\",\"models/1\",\"token-count/1\"",
        "\"chot/1\",\"modals/1\",\"taken-count/1\"",
        1,
    );
    let broken = patched(bytes("echo"), "{\"schema\":1", "[\"schema\":1", 1);
    let unwilling = patched(bytes("echo"), "\"id\":\"echo\"", "\"id\":\"Echo\"", 1);
    let remove = "remove it, or build it with `plugin_api::export_plugin!`";
    let rebuild = "rebuild it with `plugin_api::export_plugin!`";
    for (bytes, error, hint) in [
        (Vec::new(), "the file is empty", remove),
        (b"hello\n".to_vec(), "expected a shared library, found a text file", remove),
        (b"#!/bin/sh\n".to_vec(), "expected a shared library, found a script", remove),
        (vec![0; 9000], "expected a shared library, found zeros", remove),
        (
            system.unwrap_or_else(|| fs::read(std::env::current_exe().unwrap()).unwrap()),
            "no plugin: section `.maestro.manifest` is missing",
            remove,
        ),
        (
            foreign,
            &format!(
                "built for `{name}, elf`, but this machine is `{}, elf`",
                std::env::consts::ARCH
            ),
            &format!("rebuild it for `{}, elf`", std::env::consts::ARCH),
        ),
        (nothing, "its manifest is wrong: it declares no capability that this host knows", rebuild),
        (broken, "its manifest cannot be read: invalid type: map, expected a string[..]", rebuild),
        (unwilling, "its manifest is wrong: plugin id `Echo`", rebuild),
    ] {
        let found = refusal(&dropped(&bytes));
        match error.strip_suffix("[..]") {
            Some(_) => assert!(found.0.starts_with("its manifest cannot be read: "), "{}", found.0),
            None => assert_eq!(found.0, error),
        }
        assert_eq!(found.1, hint);
    }
}

#[test]
fn another_contract_is_refused_by_its_number() {
    for other in ["0.9.0", "2.0.0"] {
        let from = "\"contract\":\"1.0.0\"";
        let bytes = patched(bytes("echo"), from, &from.replace("1.0.0", other), 1);
        let (error, hint) = refusal(&dropped(&bytes));
        assert_eq!(error, format!("built for contract {other}, but this host speaks 1.0.0"));
        assert_eq!(hint, "rebuild it against `plugin-api` 1.x");
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let directory = |path: &Path| fs::create_dir(path).unwrap();
    let dangling = |path: &Path| symlink("gone", path).unwrap();
    let pipe = |path: &Path| {
        let (kind, mode) = (rustix::fs::FileType::Fifo, 0o600.into());
        rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
    };
    for (error, make) in [
        ("expected a regular file, found a directory", &directory as &dyn Fn(&Path)),
        ("the link leads nowhere", &dangling),
        ("expected a regular file, found a named pipe", &pipe),
    ] {
        let test = Test::new();
        make(&test.home().join("plugins/x.so"));
        let hint = "remove it, or put the library itself there".to_owned();
        assert_eq!(refusal(&test), (error.to_owned(), hint));
    }
}

#[test]
fn what_everyone_may_write_is_refused() {
    let test = Test::new().plugin("echo");
    let path = test.plugin_path("echo");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    assert_eq!(
        refusal(&test),
        (
            format!("[HOME]/plugins/{name} may be written by everyone"),
            format!("run `chmod go-w [HOME]/plugins/{name}`")
        )
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(test.home().join("plugins"), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(
        refusal(&test),
        (
            "[HOME]/plugins may be written by everyone".to_owned(),
            "run `chmod go-w [HOME]/plugins`".to_owned()
        )
    );
    fs::set_permissions(test.home().join("plugins"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(provider_ids(&test.maestro()), ["echo"]);
}

#[test]
fn an_id_belongs_to_the_first_file() {
    let echo = bytes("echo");
    let test = Test::new().write("plugins/a.so", &echo).write("plugins/b.so", &echo);
    let remove = "remove one of the two".to_owned();
    let error = "plugin id `echo` is taken by `[HOME]/plugins/a.so`".to_owned();
    assert_eq!(refusal(&test), (error, remove.clone()));
    assert_eq!(provider_ids(&test.maestro()), ["echo"]);

    let other = patched(echo, "\"id\":\"echo\"", "\"id\":\"ekko\"", 1);
    let test = test.write("plugins/b.so", other);
    let error = "provider id `echo` is taken by plugin `echo`".to_owned();
    assert_eq!(refusal(&test), (error, remove));
    let test = test.config("[providers.echo]\nplugin = \"ekko\"\n");
    let maestro = test.maestro();
    assert_eq!(maestro.refused_plugins().len(), 0, "the configuration decides");
    assert_eq!(wait(maestro.provider_capabilities("echo")).unwrap().plugin, "ekko");
    assert_eq!(wait(chat(&maestro, "echo/echo", &[])).ok(), "hello");
}

/// Points the manifest's section header to other bytes, which are not those that are loaded.
fn with_forged_section(mut library: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    use object::{Object as _, ObjectSection as _};
    let (start, len, forged) = {
        let file = object::File::parse(&*library).unwrap();
        let section = file.section_by_name(plugin_api::manifest::SECTION).unwrap();
        let (start, len) = section.file_range().unwrap();
        (start, len, patched(section.data().unwrap().to_vec(), from, to, 1))
    };
    let at = library.len() as u64;
    library.extend_from_slice(&forged);
    // An ELF64 section header: its offset in the file is the field at 24, its size the one at 32.
    let header: Vec<u8> = [start, len].iter().flat_map(|n| n.to_le_bytes()).collect();
    let found = library.windows(16).rposition(|window| window == header).unwrap();
    library[found..found + 8].copy_from_slice(&at.to_le_bytes());
    library
}

#[test]
fn a_section_that_says_something_else_than_the_code_is_found_out() {
    let forged = with_forged_section(bytes("echo"), "\"id\":\"echo\"", "\"id\":\"ekko\"");
    let maestro = dropped(&forged);
    let maestro = maestro.maestro();
    assert_eq!(maestro.list_plugins()[0].id, "ekko", "judged by what it says");
    let error = wait(chat(&maestro, "echo/echo", &[])).error.unwrap();
    assert_eq!(
        one_line(&error),
        "failed to load plugin `ekko`: its manifest when loaded differs from the one in section \
         `.maestro.manifest`"
    );
    assert_eq!(error.exit_code(), 4);
    assert!(!maestro.validate("ekko").unwrap().passed);
}

#[test]
fn a_library_without_its_entry_or_with_another_layout_is_refused_when_it_is_loaded() {
    let entry = "_1as_0lib_1header_0root_bmodule_bloader";
    let other_entry = entry.replace("loader", "luader");
    for (from, to, error) in [
        (entry, other_entry.as_str(), "its entry symbol is missing or from another `abi_stable`: "),
        (
            "abi stable library for Rust     ",
            "abi stable library for Pust     ",
            "its entry symbol is missing or from another `abi_stable`: ",
        ),
        (
            "exchange,interface;name,",
            "exchange,interfade;name,",
            "its layout differs from contract 1.0.0: ",
        ),
    ] {
        let test = dropped(&patched(bytes("echo"), from, to, 9));
        let answer = wait(chat(&test.maestro(), "echo/echo", &[]));
        let expected = format!("failed to load plugin `echo`: {error}");
        let found = answer.problem();
        assert!(found.starts_with(&expected) && found.lines().count() == 1, "{found}");
        assert_eq!(answer.error.unwrap().exit_code(), 4);
    }
}

#[test]
fn the_first_load_asks_for_rules_too_and_says_which_are_broken() {
    for (rule, fault) in [
        ("garbage-fails", "takes-garbage"),
        ("replay-is-deterministic", "random-text"),
        ("origins-kept", "foreign-origin"),
        ("never-crashes", "aborts"),
    ] {
        let listed = || {
            let test = Test::new();
            let variant = crate::check::variant(&test, &crate::check::with_value("fault", fault));
            fs::rename(variant, test.home().join("plugins/variant.so")).unwrap();
            test.args_of(["doctor"]);
            let listed = test.args_of(["--json", "plugin", "list"]).stdout;
            serde_json::from_str::<serde_json::Value>(&listed).unwrap()
        };
        let says = |listed: &serde_json::Value| {
            listed["plugins"][0]["broken"].to_string().contains(&format!("\"{rule}: "))
        };
        // On a busy machine the time is over before all is asked, and nothing is said of the rest.
        let mut tries = std::iter::repeat_with(listed).take(20);
        let listed = tries.find(says).unwrap_or_else(|| panic!("{rule} was never broken"));
        // What happened while it was asked counts for nothing: it may be used.
        assert_eq!(listed["plugins"][0]["state"], "serving", "{listed}");
    }
}
