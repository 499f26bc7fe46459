//! `maestro env`: the settings with which a tool uses the gateway.

use clap::{Args, ValueEnum};

use crate::{
    cli::{
        Outcome,
        failure::Failure,
        output::{Document, Output},
        table::Table,
    },
    config::Config,
};

#[derive(Debug, Args)]
pub(super) struct EnvArgs {
    /// The tool; without one, the tools are listed
    tool: Option<Settings>,
    /// Use this session, by the base URL
    #[arg(short, long, value_name = "NAME")]
    session: Option<String>,
    /// The gateway; otherwise where `[serve] listen` has it
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// A tool, or a family of tools that read the same variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Settings {
    /// OpenAI's SDKs and what is built on them
    #[value(name = "openai")]
    OpenAi,
    /// Anthropic's SDKs and what is built on them
    Anthropic,
    /// Google's SDKs
    Gemini,
    /// Claude Code
    Claude,
    /// Gemini CLI
    GeminiCli,
    /// aider
    Aider,
    /// Open WebUI
    OpenWebui,
}

impl Settings {
    /// Returns the name as the argument spells it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Claude => "claude",
            Self::GeminiCli => "gemini-cli",
            Self::Aider => "aider",
            Self::OpenWebui => "open-webui",
        }
    }

    /// Returns the variables for a gateway. Tools refuse to start without a key, so where none is
    /// needed they get a word in its place; where one is, the user puts it there.
    pub(super) fn variables(self, url: &str, session: Option<&str>) -> Vec<(&'static str, String)> {
        let base = match session {
            Some(name) => format!("{url}/s/{name}"),
            None => url.to_owned(),
        };
        let key = || KEY.to_owned();
        match self {
            Self::OpenAi => {
                vec![("OPENAI_BASE_URL", format!("{base}/v1")), ("OPENAI_API_KEY", key())]
            }
            Self::Aider => {
                vec![("OPENAI_API_BASE", format!("{base}/v1")), ("OPENAI_API_KEY", key())]
            }
            Self::OpenWebui => {
                vec![("OPENAI_API_BASE_URL", format!("{base}/v1")), ("OPENAI_API_KEY", key())]
            }
            Self::Anthropic => vec![("ANTHROPIC_BASE_URL", base), ("ANTHROPIC_API_KEY", key())],
            Self::Claude => vec![
                ("ANTHROPIC_BASE_URL", base),
                ("ANTHROPIC_AUTH_TOKEN", key()),
                ("CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY", "1".to_owned()),
            ],
            Self::Gemini | Self::GeminiCli => {
                vec![("GOOGLE_GEMINI_BASE_URL", base), ("GEMINI_API_KEY", key())]
            }
        }
    }
}

/// Runs the command.
pub(super) fn run(args: &EnvArgs, config: &Config, output: &Output) -> Outcome {
    let Some(tool) = args.tool else {
        let mut table = Table::new(&["TOOL", "WHAT"]);
        let mut names = Vec::new();
        for tool in Settings::value_variants() {
            let value = tool.to_possible_value();
            let help = value.and_then(|value| value.get_help().map(ToString::to_string));
            table.row([tool.name().to_owned(), help.unwrap_or_default()]);
            names.push(tool.name());
        }
        return output.either(|| Document::new().with("tools", &names), table);
    };
    if let Some(name) = &args.session
        && let Err(error) = crate::session::SessionName::new(name.as_str())
    {
        return Err(Failure::Usage { message: error.to_string(), hint: error.hint() });
    }
    let scheme = if config.serve.tls.is_some() { "https" } else { "http" };
    let url = args.url.clone().unwrap_or_else(|| format!("{scheme}://{}", config.serve.listen));
    if url.ends_with(&config.serve.listen) && config.serve.listen.starts_with("unix:") {
        return Err(Failure::Usage {
            message: format!("a base URL cannot name `{}`", config.serve.listen),
            hint: Some("start another gateway with `--listen HOST:PORT`, and pass `--url`".into()),
        });
    }
    let variables = tool.variables(url.trim_end_matches('/'), args.session.as_deref());
    if output.is_json() {
        let map: serde_json::Map<_, _> =
            variables.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        return output.document(&Document::new().with("env", &map));
    }
    let lines: String = variables
        .iter()
        .map(|(name, value)| format!("export {name}={}\n", quoted(value)))
        .collect();
    output.data(lines)
}

/// Quotes a value for a shell, if it needs that.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,".contains(c);
    if value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

/// Stands where a key is wanted and none is needed.
const KEY: &str = "maestro";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_follow_each_sdks_convention() {
        let url = "http://127.0.0.1:4141";
        let first = |tool: Settings, session| tool.variables(url, session).remove(0).1;
        assert_eq!(first(Settings::OpenAi, None), "http://127.0.0.1:4141/v1");
        assert_eq!(first(Settings::OpenAi, Some("work")), "http://127.0.0.1:4141/s/work/v1");
        assert_eq!(first(Settings::Claude, Some("work")), "http://127.0.0.1:4141/s/work");
        assert_eq!(first(Settings::GeminiCli, None), url);
    }

    #[test]
    fn values_survive_a_shell() {
        assert_eq!(quoted("http://x:1/v1"), "http://x:1/v1");
        assert_eq!(quoted("a'b c"), r"'a'\''b c'");
    }
}
