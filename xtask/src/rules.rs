//! Writes the pages of the rules of conformance from the rules' own descriptions.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result};
use plugin_api::kit::conformance::Rule;

/// Writes all pages and removes those of rules that are no more.
pub(crate) fn rules() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("docs").join("rules");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let mut kept = BTreeSet::new();
    for rule in Rule::ALL {
        let path = folder.join(format!("{rule}.md"));
        fs::write(&path, rule.page()).with_context(|| path.display().to_string())?;
        kept.insert(path);
    }
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") && !kept.contains(&path) {
            fs::remove_file(path)?;
        }
    }
    println!("{} pages in docs/rules", kept.len());
    Ok(())
}
