//! What `maestro plugin check` finds without a worker, with the answers recorded for the dialect.
#![allow(clippy::disallowed_methods, reason = "a test may read files; the plugin may not")]

use std::{fs, path::Path};

use openai_compatible::OpenAiCompatible;
use plugin_api::kit::conformance::{self, Fixture};

#[test]
fn every_rule_of_the_contract_is_kept() {
    let folder = "../../dialects/tests/fixtures/openai_chat";
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = fs::read_dir(folder).unwrap().map(|file| {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read(path).unwrap())
    });
    conformance::assert::<OpenAiCompatible>(&Fixture::of_files(files).unwrap());
}
