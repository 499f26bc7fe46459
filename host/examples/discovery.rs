//! Finds, judges and loads every plugin of a home, and prints how long that took in microseconds.
//!
//! `cargo xtask bench` runs it on a hundred plugins, with and without remembered verdicts.

use std::time::Instant;

use host::{config::Config, home::Home, plugin::registry};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let home = Home::from_env()?;
    let start = Instant::now();
    let folders = registry::folders(None, &[], &home.plugins());
    let found = registry::Registry::discover(&folders, home.plugin_copies(), &Config::default())?;
    let mut loaded = 0;
    for plugin in found.plugins() {
        plugin.library()?;
        loaded += 1;
    }
    println!("{} {loaded}", start.elapsed().as_micros());
    Ok(())
}
