//! `maestro embed`: texts into vectors.

use std::io::{self, IsTerminal, Read};

use anyhow::Context;
use clap::Args;
use plugin_api::operation::EmbedRequest;

use crate::{
    cli::{
        Outcome,
        failure::Failure,
        output::{Document, Output},
    },
    maestro::{Call, Maestro},
};

/// `maestro embed -m REF [TEXT…]`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Prints one vector a line, as a JSON array, in the order of the texts. Without TEXT, stdin is one
text; with --lines, each of its lines is one, and empty lines are skipped.

With --json: {\"version\":1,\"model\",\"embeddings\":[[…]],\"input_tokens\"}.

Examples:
  maestro embed -m openai/MODEL 'a cat' 'a dog'
  maestro embed -m openai/MODEL --lines < titles.txt")]
pub(super) struct EmbedArgs {
    /// The model, as `provider/model`
    #[arg(short, long)]
    model: String,
    /// Ask as this session
    #[arg(short, long, value_name = "NAME[@AUTH]")]
    session: Option<String>,
    /// Length of the vectors, where the model lets one choose
    #[arg(short, long)]
    dimensions: Option<u64>,
    /// What the vectors are for, in the vendor's words
    #[arg(long)]
    task: Option<String>,
    /// Take each line of stdin as a text
    #[arg(long, conflicts_with = "texts")]
    lines: bool,
    /// The texts; without any, stdin
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
}

/// Runs the command.
pub(super) async fn run(args: EmbedArgs, maestro: &Maestro, output: &Output) -> Outcome {
    let texts = if args.texts.is_empty() { from_stdin(args.lines)? } else { args.texts };
    let model = maestro.parse_model(&args.model).await?;
    let mut request = EmbedRequest::new(model.model.clone(), texts);
    request.dimensions = args.dimensions;
    request.task = args.task;
    let session = args.session.as_deref();
    let call = Call::with_session(args.session.clone());
    let answer = match maestro.embed(&model, request, call).await {
        Ok(answered) => answered.value,
        Err(error) => return Err(Failure::of_model(error, maestro, &model, session).await),
    };
    if output.is_json() {
        let document = Document::new()
            .with("model", &model.to_string())
            .with("embeddings", &answer.vectors)
            .with("input_tokens", &answer.input_tokens);
        return output.document(&document);
    }
    for vector in &answer.vectors {
        output.data(format_args!("{}\n", numbers(vector)))?;
    }
    Ok(())
}

/// Writes a vector as JSON, each number as short as its precision allows.
fn numbers(vector: &[f32]) -> String {
    serde_json::to_string(vector).unwrap_or_else(|_| "[]".to_owned())
}

fn from_stdin(lines: bool) -> Result<Vec<String>, Failure> {
    if io::stdin().is_terminal() {
        return Err(Failure::usage("there is no text", "give TEXT, or pipe it into stdin"));
    }
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text).context("failed to read stdin")?;
    let texts = split(&text, lines);
    if texts.is_empty() {
        return Err(Failure::usage("stdin holds no text", "give TEXT, or pipe it into stdin"));
    }
    Ok(texts)
}

fn split(text: &str, lines: bool) -> Vec<String> {
    let filled = |text: &&str| !text.trim().is_empty();
    if lines {
        text.lines().filter(filled).map(str::to_owned).collect()
    } else {
        // The line break that ends a file is not part of what it says.
        let text = text.strip_suffix('\n').map_or(text, |text| text.trim_end_matches('\r'));
        Some(text).filter(filled).map(str::to_owned).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_short_as_they_are_precise() {
        assert_eq!(numbers(&[0.1, -1.0]), "[0.1,-1.0]");
    }

    #[test]
    fn stdin_is_one_text_or_one_a_line() {
        assert_eq!(split("a\nb\n", false), ["a\nb"]);
        assert_eq!(split("a\r\n\n b\n", true), ["a", " b"]);
        assert!(split("\n \n", false).is_empty() && split("", true).is_empty());
    }
}
