//! `maestro routes`: where a request for a model would go, and why.

use std::fmt::Write as _;

use clap::{Args, Subcommand};

use crate::{
    cli::{
        Outcome,
        failure::Failure,
        output::{Document, Output},
        table::Table,
        visible,
    },
    maestro::{Client, Error, Maestro, PassedOver, Route, RunningGateway, Stop, Via, Wish},
    router::{Alias, Strategy},
};

#[derive(Debug, Args)]
pub(super) struct RoutesArgs {
    #[command(subcommand)]
    command: Routes,
}

#[derive(Debug, Subcommand)]
enum Routes {
    /// Say which upstream would serve a model, which were passed over, and why
    Explain(ExplainArgs),
    /// List the aliases and what each stands for
    List,
}

#[derive(Debug, Args)]
struct ExplainArgs {
    /// An alias, `provider/model`, `provider:session/model`, `provider:*/model`, or a bare name
    #[arg(value_name = "REF")]
    name: String,
    /// Ask as this client, by the name of its key
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// Ask in this dialect, which decides about bare names that several providers serve
    #[arg(long, default_value = "", hide_default_value = true)]
    dialect: String,
}

/// Runs the command.
pub(super) async fn run(args: RoutesArgs, maestro: &Maestro, output: &Output) -> Outcome {
    match args.command {
        Routes::Explain(args) => explain(args, maestro, output).await,
        Routes::List => list(maestro, output),
    }
}

async fn explain(args: ExplainArgs, maestro: &Maestro, output: &Output) -> Outcome {
    let client = match &args.client {
        Some(name) => Some(maestro.client_by_name(name).await?),
        None => None,
    };
    let client = client.as_ref();
    let session_of = |provider: &plugin_api::ProviderId| client.and_then(|c| c.session(provider));
    let may = |provider: &str, model: &str| client.is_none_or(|c| c.may_ask(provider, model));
    let wish = Wish::new(&args.dialect, &session_of, &may);
    let mut route = match maestro.route(&args.name, &wish).await {
        Ok(route) => route,
        Err(error) => return Err(served_to(&args, maestro, &wish).await.unwrap_or(error.into())),
    };
    // This process has asked nobody yet; what is learnt of failures is with those that have.
    let gateways = maestro.running_gateways();
    route.learn(&gateways);
    let mut stops = Vec::new();
    for stop in &route.stops {
        stops.push(Shown::of(stop, client, maestro, &gateways).await);
    }
    let serves = stops.iter().find(|shown| shown.passed_over.is_none());
    let document = || {
        let document = Document::new().with("name", &args.name).with("via", &route.via);
        document
            .with("serves", &serves.map(|shown| &shown.r#ref))
            .with("stops", &stops)
            .with("gateways", &gateways)
    };
    output.either(
        document,
        human(&args.name, how_first(&args.name, maestro), &route, &stops, &gateways),
    )?;
    if serves.is_some() {
        return Ok(());
    }
    let unclear = stops.into_iter().find_map(|shown| shown.unclear);
    let why = route.open().err().or(unclear).expect("nothing serves");
    Err(Failure::from(why))
}

/// Says whose clients get a bare name answered that does not stand for the same to all of them.
async fn served_to(args: &ExplainArgs, maestro: &Maestro, wish: &Wish<'_>) -> Option<Failure> {
    if !args.dialect.is_empty() {
        return None;
    }
    let mut known = Vec::new();
    for dialect in DIALECTS {
        let mut wish = *wish;
        wish.dialect = dialect;
        if maestro.route(&args.name, &wish).await.is_ok() {
            known.push(dialect);
        }
    }
    let first = known.first()?;
    let message =
        format!("only clients of some dialects get `{}`: {}", args.name, known.join(", "));
    Some(Failure::usage(message, format!("say which, for example `--dialect {first}`")))
}

/// The dialects that the gateway speaks.
const DIALECTS: [&str; 4] = [
    dialects::openai_chat::DIALECT,
    dialects::openai_responses::DIALECT,
    dialects::anthropic_messages::DIALECT,
    dialects::gemini::DIALECT,
];

/// A place as it is shown.
#[derive(serde::Serialize)]
struct Shown {
    r#ref: String,
    upstream: Option<String>,
    session: Option<String>,
    pool: bool,
    passed_over: Option<PassedOver>,
    /// Why it is not known which session is meant.
    #[serde(skip)]
    unclear: Option<Error>,
    /// The gateways that pass it over for what they have learnt.
    passed_over_by: Vec<u32>,
}

impl Shown {
    async fn of(
        stop: &Stop,
        client: Option<&Client>,
        maestro: &Maestro,
        gateways: &[RunningGateway],
    ) -> Self {
        let provider = &stop.model.provider;
        let info = maestro.provider_capabilities(provider.as_str()).await.ok();
        let own = stop.model.session.as_ref().map(ToString::to_string);
        let own = own.or_else(|| client.and_then(|client| client.session(provider)));
        let (session, unclear) = match own {
            Some(own) => {
                let unclear = maestro.session(&format!("{provider}:{own}")).await.err();
                (Some(own), unclear)
            }
            None => match maestro.usual_session(provider).await {
                Ok(usual) => (usual.map(|usual| usual.name), None),
                Err(unclear) => (None, Some(unclear)),
            },
        };
        let problem = unclear.as_ref().map(ToString::to_string);
        let problem = problem.map(|problem| PassedOver::Provider { problem });
        let learnt = gateways.iter().filter(|gateway| stop.passed_over_by(gateway).is_some());
        Self {
            passed_over_by: learnt.map(|gateway| gateway.pid).collect(),
            r#ref: stop.model.to_string(),
            upstream: info.map(|info| info.base_url).filter(|url| !url.is_empty()),
            session,
            pool: stop.pool,
            passed_over: stop.passed_over.clone().or(problem),
            unclear,
        }
    }
}

/// Says why the first of several is the first.
fn how_first(name: &str, maestro: &Maestro) -> &'static str {
    match maestro.config().aliases.get(name).map(Alias::strategy) {
        Some(Strategy::Weighted) => "drawn by the weights; the next request may draw another",
        _ => "the first that can be asked",
    }
}

fn human(
    name: &str,
    how_first: &str,
    route: &Route,
    stops: &[Shown],
    gateways: &[RunningGateway],
) -> String {
    let how = match route.via {
        Via::Alias => "is an alias",
        Via::Ref => "names provider and model",
        Via::Listed => "is listed by the provider",
        Via::Native => "is listed by nobody; the only provider of the dialect gets it",
    };
    let mut table = Table::new(&["", "REF", "UPSTREAM", "SESSION", "WHY"]);
    let mut served = false;
    for shown in stops {
        let (mark, why) = match &shown.passed_over {
            Some(why) => ("passed over", why.to_string()),
            None if served => ("then", "tried when those before it fail".to_owned()),
            None if shown.pool => ("serves", "its turn in the pool".to_owned()),
            None => ("serves", how_first.to_owned()),
        };
        let by: Vec<String> = shown.passed_over_by.iter().map(ToString::to_string).collect();
        let why = match (by.is_empty(), &shown.passed_over) {
            (true, _) => why,
            (false, Some(_)) => format!("{why} (process {})", by.join(", ")),
            (false, None) => format!("{why}; process {} passes it over now", by.join(", ")),
        };
        served |= shown.passed_over.is_none();
        table.row([
            mark.to_owned(),
            shown.r#ref.clone(),
            shown.upstream.clone().unwrap_or_default(),
            shown.session.clone().unwrap_or_else(|| "the usual".to_owned()),
            why,
        ]);
    }
    let mut text = format!("`{name}` {how}\n\n{table}\n");
    if gateways.is_empty() {
        text.push_str("no gateway runs, so nothing is known of upstreams that fail\n");
    }
    for RunningGateway { pid, url, .. } in gateways {
        let url = visible::line(url);
        let _ = writeln!(text, "failures are as process {pid} has met them, the gateway at {url}");
    }
    text
}

fn list(maestro: &Maestro, output: &Output) -> Outcome {
    let config = maestro.config();
    if config.aliases.is_empty() {
        output.note("no alias is configured; see `[aliases]`");
    }
    let mut table = Table::new(&["ALIAS", "STRATEGY", "TARGETS"]);
    let mut aliases = Vec::new();
    for (name, alias) in &config.aliases {
        let targets: Vec<&str> = alias.targets().collect();
        table.row([name.clone(), alias.strategy().as_str().to_owned(), targets.join(" ")]);
        aliases.push(serde_json::json!({
            "name": name, "strategy": alias.strategy().as_str(), "targets": targets,
        }));
    }
    let table = if table.is_empty() { String::new() } else { table.to_string() };
    output.either(|| Document::new().with("aliases", &aliases), table)
}
