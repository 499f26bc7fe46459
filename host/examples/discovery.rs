//! Finds, judges and loads every plugin of a home, and prints how long that took in microseconds, how
//! many there are, and how many kilobytes of memory of its own the loading took.
//!
//! `cargo xtask bench` runs it on a hundred plugins, with and without remembered verdicts. They count
//! as bundled, so that loading is mapping and not the start of a worker each.

use std::{fs, sync::Arc, time::Instant};

use host::{
    config::Config,
    home::Home,
    plugin::{registry, tier::Terms, trust::Trust},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let home = Home::from_env()?;
    let start = Instant::now();
    let (plugins, config) = (home.plugins(), Config::default());
    let terms = Arc::new(Terms::new(&config, Trust::default()));
    let folders = registry::folders(Some(&plugins), &[], &plugins.join("none"));
    let copies = home.plugin_copies();
    let found = registry::Registry::discover(&folders, copies, &config, &terms)?;
    let judged = start.elapsed();
    let (before, mut loaded) = (private_kb(), 0);
    let start = Instant::now();
    for plugin in found.plugins() {
        plugin.runtime()?;
        loaded += 1;
    }
    let took = judged + start.elapsed();
    println!("{} {loaded} {}", took.as_micros(), private_kb().saturating_sub(before));
    Ok(())
}

/// Returns how much memory this process has that no file stands for. Pages of a file that was copied a
/// moment ago count as written too, but they are the file's.
fn private_kb() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let digits = line.unwrap_or_default().trim_matches(|c: char| !c.is_ascii_digit());
    digits.parse().unwrap_or(0)
}
