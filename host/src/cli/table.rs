//! Tables: aligned columns that read the same without colour.

use std::fmt;

use unicode_width::UnicodeWidthStr;

use crate::cli::visible;

/// Rows under headings. Cells may come from plugins; they are escaped.
#[derive(Debug)]
pub(super) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Starts a table.
    pub(super) fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; an empty cell is shown as `-`, so that columns can be counted by a program.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        let shown = |cell: String| match visible::line(&cell) {
            shown if shown.is_empty() => "-".to_owned(),
            shown => shown.into_owned(),
        };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    /// Reports whether there is no row.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A terminal gives two columns to an ideograph, and none to a mark that joins a letter.
        let width = |text: &str| text.width();
        let mut widths: Vec<usize> = self.headings.iter().map(|text| width(text)).collect();
        for row in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = (*widest).max(width(cell));
            }
        }
        let mut line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut text = String::new();
            for (cell, widest) in cells.zip(&widths) {
                text.push_str(cell);
                text.extend(std::iter::repeat_n(' ', widest - width(cell) + GAP));
            }
            writeln!(f, "{}", text.trim_end())
        };
        line(&mut self.headings.iter().copied())?;
        self.rows.iter().try_for_each(|row| line(&mut row.iter().map(String::as_str)))
    }
}

/// Names and values below each other, for one thing at a time. Empty values are left out.
#[derive(Debug, Default)]
pub(super) struct Sheet(Vec<(&'static str, String)>);

impl Sheet {
    /// Adds a line.
    pub(super) fn line(&mut self, name: &'static str, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.0.push((name, visible::line(&value).into_owned()));
        }
    }
}

impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = self.0.iter().map(|(name, _)| name.len() + 1).max().unwrap_or_default();
        for (name, value) in &self.0 {
            writeln!(f, "{:<widest$} {value}", format!("{name}:"))?;
        }
        Ok(())
    }
}

const GAP: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_tail() {
        let mut table = Table::new(&["ID", "NAME", "NOTE"]);
        table.row(["openai".into(), "é".into(), String::new()]);
        table.row(["x".into(), "longer".into(), "a\u{1b}[m".into()]);
        assert_eq!(
            table.to_string(),
            "ID      NAME    NOTE\nopenai  é       -\nx       longer  a\\u{1b}[m\n"
        );
        assert!(!table.is_empty());
    }

    #[test]
    fn wide_letters_take_two_columns() {
        let mut table = Table::new(&["NAME", "NOTE"]);
        table.row(["旅行日記".into(), "a".into()]);
        table.row(["cafe\u{301}".into(), "b".into()]);
        assert_eq!(table.to_string(), "NAME      NOTE\n旅行日記  a\ncafe\u{301}      b\n");
    }

    #[test]
    fn a_sheet_leaves_out_what_is_not_known() {
        let mut sheet = Sheet::default();
        sheet.line("id", "a");
        sheet.line("limits", "");
        sheet.line("origins", "b\nc");
        assert_eq!(sheet.to_string(), "id:      a\norigins: b\\nc\n");
    }
}
