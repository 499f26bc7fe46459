//! The table of what was found.

use std::fmt;

/// Rows of a Markdown table: what, found, goal.
#[derive(Default)]
pub(crate) struct Table(Vec<[String; 3]>);

impl Table {
    /// Adds a figure that has no goal.
    pub(crate) fn note(&mut self, what: impl Into<String>, found: impl Into<String>) {
        self.push([what.into(), found.into(), String::new()]);
    }

    /// Adds a figure that must stay below its goal.
    pub(crate) fn below(&mut self, what: impl Into<String>, found: f64, goal: f64, unit: &str) {
        let missed = if found < goal { "" } else { ", **missed**" };
        self.push([what.into(), format!("{found:.2} {unit}"), format!("< {goal} {unit}{missed}")]);
    }

    /// Adds a figure that must exceed its goal.
    pub(crate) fn above(&mut self, what: impl Into<String>, found: f64, goal: f64, unit: &str) {
        let missed = if found > goal { "" } else { ", **missed**" };
        self.push([what.into(), format!("{found:.2} {unit}"), format!("> {goal} {unit}{missed}")]);
    }

    /// Shows the row at once too: a run takes minutes, and may be stopped.
    fn push(&mut self, row: [String; 3]) {
        eprintln!("{}: {} {}", row[0], row[1], row[2]);
        self.0.push(row);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | measured | goal |\n|---|---|---|")?;
        self.0
            .iter()
            .try_for_each(|[what, found, goal]| writeln!(f, "| {what} | {found} | {goal} |"))
    }
}

/// Returns the value below which the given share of the values lies; of none, nothing that compares.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}

/// Returns the middle value.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    quantile(&mut values, 0.5)
}
