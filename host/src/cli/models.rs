//! `maestro models`: what can be asked.

use clap::{Args, Subcommand};
use futures_util::future::join_all;
use plugin_api::{
    ProviderId,
    capability::Capability,
    error::{ErrorKind, ProviderError},
    operation::Model,
};
use serde::Serialize;

use crate::{
    cli::{
        Outcome,
        failure::Failure,
        output::{Document, Output},
        table::{Sheet, Table},
        time,
    },
    maestro::{Call, Error, Listing, Maestro, ProviderInfo, one_line},
};

/// `maestro models [list | info REF | default [REF]]`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_long_help = "\
A model is named `provider/model`, `provider:session/model` or `provider:session@oauth/model`;
a bare name is enough where only one ready provider lists it.

Examples:
  maestro models                              of all ready providers, asked at once
  maestro models --provider openai -s work    of one, as that session sees them
  maestro models info openai/MODEL
  maestro models default openai/MODEL         what `maestro chat` asks without -m
  maestro models default                      says which that is"
)]
pub(super) struct ModelsArgs {
    #[command(subcommand)]
    command: Option<ModelsCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum ModelsCommand {
    /// List models; the default
    List(ListArgs),
    /// Describe one model
    Info {
        /// The model, as `provider/model`
        model: String,
        /// Ask as this session
        #[arg(short, long)]
        session: Option<String>,
    },
    /// Say which model is asked when none is named, or choose it
    Default {
        /// The model to choose, as `provider/model`
        model: Option<String>,
    },
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Ask only this provider
    #[arg(short, long)]
    provider: Option<String>,
    /// Ask as this session
    #[arg(short, long, value_name = "NAME[@AUTH]")]
    session: Option<String>,
}

/// A model of a provider, as `--json` shows it.
#[derive(Serialize)]
struct Listed {
    provider: ProviderId,
    r#ref: String,
    #[serde(flatten)]
    model: Model,
}

impl Listed {
    fn new(provider: &ProviderId, model: Model) -> Self {
        let r#ref = format!("{provider}/{}", model.id);
        Self { provider: provider.clone(), r#ref, model }
    }
}

/// Runs the command.
pub(super) async fn run(args: ModelsArgs, maestro: &Maestro, output: &Output) -> Outcome {
    match args.command {
        None => list(args.list, maestro, output).await,
        Some(ModelsCommand::List(args)) => list(args, maestro, output).await,
        Some(ModelsCommand::Info { model, session }) => {
            let model_ref = maestro.parse_model(&model).await?;
            let asked = maestro.model_info(&model_ref, Call::with_session(session.clone())).await;
            let model = match asked {
                Ok(model) => model,
                Err(error) => {
                    let session = session.as_deref();
                    return Err(Failure::of_model(error, maestro, &model_ref, session).await);
                }
            };
            let listed = Listed::new(&model_ref.provider, model);
            output.either(|| Document::new().with("model", &listed), sheet(&listed))
        }
        Some(ModelsCommand::Default { model: None }) => match maestro.default_model().await? {
            Some(model) => {
                let name = model.to_string();
                output.either(|| Document::new().with("default", &name), format_args!("{name}\n"))
            }
            None if output.is_json() => {
                output.document(&Document::new().with("default", &None::<String>))
            }
            None => Err(Failure::request(
                "no default model is chosen",
                "run `maestro models default PROVIDER/MODEL`",
            )),
        },
        Some(ModelsCommand::Default { model: Some(model) }) => {
            let model = maestro.parse_model(&model).await?;
            // It is chosen all the same: some servers answer for more than they list.
            if let Some(Listing::Missing { nearest }) = maestro.is_listed(&model, None).await {
                let (id, meant) = (&model.provider, nearest.join("` or `"));
                let meant = match meant.as_str() {
                    "" => format!("`maestro models --provider {id}` shows them"),
                    meant => format!("did you mean `{meant}`?"),
                };
                output.warn(&format!("`{model}` is not among the models of `{id}`; {meant}"));
            }
            maestro.set_default_model(&model).await?;
            let name = model.to_string();
            output.either(
                || Document::new().with("default", &name),
                format_args!("the default model is {name}\n"),
            )
        }
    }
}

async fn list(args: ListArgs, maestro: &Maestro, output: &Output) -> Outcome {
    let session = args.session.as_deref();
    if let Some(provider) = &args.provider {
        let provider = maestro.provider_capabilities(provider).await?.id;
        let models = maestro.list_models(provider.as_str(), session).await?;
        let models = models.into_iter().map(|model| Listed::new(&provider, model)).collect();
        return print(models, output);
    }
    let lists = |provider: &ProviderInfo| provider.capabilities.contains(&Capability::Models);
    let ready = |provider: &ProviderInfo| provider.ready && lists(provider);
    let providers = maestro.list_providers().await.into_iter().filter(ready);
    let lists = providers.map(|provider| async move {
        let models = maestro.list_models(provider.id.as_str(), session).await;
        (provider, models)
    });
    let lists = join_all(lists).await;
    if lists.is_empty() {
        return Err(Failure::request(
            "no provider is ready",
            "run `maestro providers --all` to see why, or `maestro login PROVIDER`",
        ));
    }
    let (mut models, mut skipped, mut failed) = (Vec::new(), Vec::new(), 0);
    let asked = lists.len();
    for (provider, list) in lists {
        match list {
            Ok(list) => {
                models.extend(list.into_iter().map(|model| Listed::new(&provider.id, model)));
            }
            Err(error) if not_running(&provider, &error) => skipped.push(provider.id.to_string()),
            Err(error) => {
                failed += 1;
                let (id, why) = (&provider.id, one_line(&error));
                output.warn(&format!("provider `{id}` listed no models: {why}"));
            }
        }
    }
    if failed + skipped.len() < asked {
        print(models, output)?;
        if !skipped.is_empty() && output.is_verbose() {
            output.note(&format!("not running on this machine: {}", skipped.join(", ")));
        }
        Ok(())
    } else if failed > 0 {
        Err(Failure::Said)
    } else {
        Err(Failure::request(
            format!("no server runs on this machine: {}", skipped.join(", ")),
            "start one, or run `maestro login PROVIDER`",
        ))
    }
}

/// Reports whether a well-known local server is only not running. Nobody has them all, so that is
/// no news unless the user configured it.
fn not_running(provider: &ProviderInfo, error: &Error) -> bool {
    let silent = |error: &ProviderError| error.kind == ErrorKind::Connection;
    provider.local && !provider.configured && error.provider_error().is_some_and(silent)
}

fn print(models: Vec<Listed>, output: &Output) -> Outcome {
    if output.is_json() {
        return output.document(&Document::new().with("models", &models));
    }
    let mut table = Table::new(&["MODEL", "KIND", "INPUT", "OUTPUT", "NAME"]);
    for Listed { r#ref, model, .. } in models {
        table.row([
            r#ref,
            kind(&model).to_owned(),
            count(model.max_input_tokens),
            count(model.max_output_tokens),
            model.display_name.unwrap_or_default(),
        ]);
    }
    if table.is_empty() { Ok(()) } else { output.data(table) }
}

fn sheet(listed: &Listed) -> Sheet {
    let model = &listed.model;
    let mut sheet = Sheet::default();
    sheet.line("model", listed.r#ref.as_str());
    sheet.line("name", model.display_name.clone().unwrap_or_default());
    sheet.line("kind", kind(model));
    sheet.line("most input tokens", count(model.max_input_tokens));
    sheet.line("most output tokens", count(model.max_output_tokens));
    let created = model.created.and_then(|unix_s| i64::try_from(unix_s).ok());
    sheet.line("created", time::date_or(created, ""));
    sheet.line("owned by", model.owned_by.clone().unwrap_or_default());
    let details: Vec<_> =
        model.details.iter().map(|(name, value)| format!("{name}={value}")).collect();
    sheet.line("details", details.join(", "));
    sheet
}

fn kind(model: &Model) -> &'static str {
    match (model.is_chat(), model.is_embedding()) {
        (true, true) => "chat, embedding",
        (true, false) => "chat",
        (false, true) => "embedding",
        (false, false) => "other",
    }
}

fn count(tokens: Option<u64>) -> String {
    tokens.map(|tokens| tokens.to_string()).unwrap_or_default()
}
