//! Finds, judges and loads every plugin of a home, and prints how long that took in microseconds.
//!
//! `cargo xtask bench` runs it on a hundred plugins, with and without remembered verdicts. They count
//! as bundled, so that loading is mapping and not the start of a worker each.

use std::{sync::Arc, time::Instant};

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
    let mut loaded = 0;
    for plugin in found.plugins() {
        plugin.runtime()?;
        loaded += 1;
    }
    println!("{} {loaded}", start.elapsed().as_micros());
    Ok(())
}
