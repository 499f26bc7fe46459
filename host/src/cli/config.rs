//! `maestro config`: what is configured, and where.

use std::{fs, path::Path};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;
use toml::{Table, Value};

use crate::{
    cli::{
        Outcome,
        failure::Failure,
        output::{Document, Output},
        visible,
    },
    config::Config,
    home::Home,
};

/// `maestro config show|path`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
The file says where secrets are: the name of a variable, a file, a command. The one that may stand
in it, `client_secret` of an OAuth client, is shown as stars.

Examples:
  maestro config show
  $EDITOR \"$(maestro config path)\"")]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Show the values that are in effect, defaults included, and the folders in use
    Show,
    /// Print the path of the configuration file, whether or not it exists
    Path,
}

/// Runs the command.
pub(super) fn run(args: &ConfigArgs, output: &Output) -> Outcome {
    let home = Home::from_env()?;
    let file = home.config_file();
    match args.command {
        ConfigCommand::Path => {
            let path = file.display().to_string();
            output.either(|| Document::new().with("path", &path), format_args!("{path}\n"))
        }
        ConfigCommand::Show => {
            // It is read as every command reads it, so that a mistake is named here too.
            let config = Config::read(&file)?;
            let values = effective(&read(&file)?, &config);
            show(&home, &values, output)
        }
    }
}

fn show(home: &Home, values: &Table, output: &Output) -> Outcome {
    let file = home.config_file();
    let exists = file.exists();
    let folders = [
        ("data", home.data().to_path_buf()),
        ("plugins", home.plugins()),
        ("store", home.database()),
        ("history", home.history()),
        ("plugin copies", home.plugin_copies()),
    ];
    let environment: Vec<_> =
        VARIABLES.into_iter().filter_map(|name| Some((name, std::env::var(name).ok()?))).collect();
    if output.is_json() {
        let path = file.display().to_string();
        let folders: serde_json::Map<_, _> = folders
            .iter()
            .map(|(name, path)| (name.replace(' ', "_"), json!(path.display().to_string())))
            .collect();
        let environment: serde_json::Map<_, _> =
            environment.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        let document = Document::new()
            .with("file", &json!({ "path": path, "exists": exists }))
            .with("folders", &folders)
            .with("environment", &environment)
            .with("config", values);
        return output.document(&document);
    }
    let state = if exists { "" } else { " (absent: all values are defaults)" };
    let mut text = format!("# file: {}{state}\n", file.display());
    for (name, path) in folders {
        text.push_str(&format!("# {name}: {}\n", path.display()));
    }
    for (name, value) in environment {
        text.push_str(&format!("# {name}={}\n", visible::line(&value)));
    }
    let values = toml::to_string_pretty(values).context("failed to write the configuration")?;
    text.push('\n');
    text.push_str(&values);
    output.data(visible::block(&text))
}

fn read(file: &Path) -> Result<Table, Failure> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Table::new()),
        Err(error) => {
            let what = format!("failed to read `{}`", file.display());
            return Err(anyhow::Error::new(error).context(what).into());
        }
    };
    Ok(text.parse::<Table>().with_context(|| format!("failed to read `{}`", file.display()))?)
}

/// Puts the defaults where the file says nothing.
fn effective(file: &Table, config: &Config) -> Table {
    let mut values = file.clone();
    mask(&mut values);
    let timeouts = &config.timeouts;
    let defaults = [
        ("connect_ms", timeouts.connect_ms),
        ("first_byte_ms", timeouts.first_byte_ms),
        ("idle_ms", timeouts.idle_ms),
    ];
    let section = values.entry("timeouts").or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = section {
        for (name, value) in defaults {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            section.insert(name.to_owned(), Value::Integer(value));
        }
    }
    let section = values.entry("plugins").or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = section {
        section.entry("path").or_insert_with(|| Value::Array(Vec::new()));
    }
    values
}

/// Replaces the client secrets of `[providers.*.oauth]`.
fn mask(values: &mut Table) {
    let providers = values.get_mut("providers").and_then(Value::as_table_mut);
    for (_, provider) in providers.into_iter().flatten() {
        let oauth = provider.get_mut("oauth").and_then(Value::as_table_mut);
        if let Some(secret) = oauth.and_then(|oauth| oauth.get_mut("client_secret")) {
            *secret = Value::String("****".into());
        }
    }
}

/// Variables that change what is in effect. None of them holds a secret.
const VARIABLES: [&str; 3] = ["MAESTRO_HOME", "MAESTRO_SESSION", "MAESTRO_LOG"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_stand_where_the_file_says_nothing() {
        let text = "[timeouts]\nidle_ms = 5\n[providers.lab]\nplugin = \"x\"\n";
        let config = Config::parse(text, Path::new("c.toml")).unwrap();
        let values = effective(&text.parse().unwrap(), &config);
        assert_eq!(values["timeouts"]["idle_ms"].as_integer(), Some(5));
        assert_eq!(values["timeouts"]["connect_ms"].as_integer(), Some(10_000));
        assert_eq!(values["providers"]["lab"]["plugin"].as_str(), Some("x"));
        assert!(values["plugins"]["path"].as_array().unwrap().is_empty());
    }

    #[test]
    fn a_client_secret_is_not_shown() {
        let text = "[providers.a.oauth]\nclient_id = \"me\"\nclient_secret = \"s3cret\"\n";
        let config = Config::parse(text, Path::new("c.toml")).unwrap();
        let values = effective(&text.parse().unwrap(), &config).to_string();
        assert!(values.contains("me") && values.contains("****"), "{values}");
        assert!(!values.contains("s3cret"), "{values}");
    }

    #[test]
    fn an_absent_file_is_empty() {
        assert!(read(Path::new("/nowhere/config.toml")).unwrap().is_empty());
    }
}
