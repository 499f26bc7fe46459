//! `maestro keys`: keys of the gateway's clients.

use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;

use crate::{
    cli::{
        Outcome,
        failure::Failure,
        output::{Document, Output},
        table::Table,
        time,
    },
    maestro::{Maestro, NewClientKey},
    router::RefPattern,
    session::{ClientKey, SessionName, SessionSelector},
};

#[derive(Debug, Args)]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    command: Keys,
}

#[derive(Debug, Subcommand)]
enum Keys {
    /// Make a key for a client of the gateway; it is shown this once
    Create(CreateArgs),
    /// Say what each key used and spent
    Usage {
        /// Of so many days, today (UTC) included
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
        days: u32,
    },
    /// List the keys: what they may do, when they were used and when they end
    List,
    /// Take a key back; running gateways refuse it from the next request on
    Revoke {
        /// Its name
        name: String,
    },
    /// Forget a key altogether; while none is known, the gateway on this machine asks for none
    Delete {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// What to call it
    #[arg(long)]
    name: String,
    /// What it may use, as `provider/model` or `provider:session/model` with `*` for anything; repeat
    /// for more. Without it, everything
    #[arg(long, value_name = "PATTERN")]
    allow: Vec<RefPattern>,
    /// The one session that it uses of a provider, as `PROVIDER=NAME`; repeat for more
    #[arg(long, value_name = "PROVIDER=NAME", value_parser = bound)]
    session: Vec<SessionSelector>,
    /// Most requests in a minute
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rpm: Option<u32>,
    /// Most tokens in a minute, of prompts and answers together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    tpm: Option<u32>,
    /// What it may spend in a day (UTC), in US dollars: `5/day`. Models without a price, which
    /// `keys usage` names, cost nothing; `[prices]` gives them one
    #[arg(long, value_name = "N/day", value_parser = micros)]
    budget: Option<i64>,
    /// Most requests at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    concurrent: Option<u32>,
    /// When it ends: `30d`, `12h`, `90m`
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    expires: Option<i64>,
}

/// Runs the command.
pub(super) async fn run(args: KeysArgs, maestro: &Maestro, output: &Output) -> Outcome {
    match args.command {
        Keys::Create(args) => create(args, maestro, output).await,
        Keys::List => list(maestro, output).await,
        Keys::Usage { days } => usage(days, maestro, output).await,
        Keys::Revoke { name } => {
            maestro.revoke_client_key(&name).await?;
            output.note(&format!("client key `{name}` is revoked"));
            Ok(())
        }
        Keys::Delete { name } => {
            maestro.delete_client_key(&name).await?;
            output.note(&format!("client key `{name}` is forgotten"));
            Ok(())
        }
    }
}

async fn create(args: CreateArgs, maestro: &Maestro, output: &Output) -> Outcome {
    // The same rule as for sessions: what is typed in commands and read in logs.
    SessionName::new(args.name.as_str()).map_err(|_| {
        let hint = "3 to 50 of `A-Z a-z 0-9 _ -`";
        Failure::usage(format!("invalid name `{}`", args.name.escape_debug()), hint)
    })?;
    for selector in &args.session {
        if let Some(provider) = &selector.provider {
            maestro.provider_capabilities(provider.as_str()).await?;
        }
    }
    let new = NewClientKey {
        name: args.name,
        allow: args.allow,
        sessions: args.session,
        requests_per_minute: args.rpm,
        tokens_per_minute: args.tpm,
        micros_per_day: args.budget,
        concurrent: args.concurrent,
        expires_in_s: args.expires,
    };
    if new.micros_per_day.is_some() {
        output.note(
            "a model without a price costs nothing here; see `[prices]` and `maestro keys usage`",
        );
    }
    let (key, secret) = maestro.create_client_key(new).await?;
    output.note("this is the only time that the key is shown:");
    let document = || Document::new().with("client_key", &key).with("key", secret.expose_secret());
    output.either(document, format_args!("{}\n", secret.expose_secret()))
}

async fn list(maestro: &Maestro, output: &Output) -> Outcome {
    let keys = maestro.list_client_keys().await?;
    if keys.is_empty() {
        output.note("no client key exists; make one with `maestro keys create --name NAME`");
    }
    let mut table = Table::new(&[
        "NAME",
        "STATE",
        "ALLOW",
        "SESSIONS",
        "RPM",
        "TPM",
        "BUDGET",
        "LAST USED",
        "EXPIRES",
    ]);
    for key in &keys {
        table.row([
            key.name.clone(),
            state(key).to_owned(),
            key.allow.as_ref().map_or_else(|| "*".to_owned(), |allow| allow.join(" ")),
            key.sessions.join(" "),
            key.requests_per_minute.map(|rpm| rpm.to_string()).unwrap_or_default(),
            key.tokens_per_minute.map(|tpm| tpm.to_string()).unwrap_or_default(),
            key.micros_per_day.map(|day| format!("{}/day", dollars(day))).unwrap_or_default(),
            time::date_or(key.last_used_at, "never"),
            time::date_or(key.expires_at, "never"),
        ]);
    }
    let table = if table.is_empty() { String::new() } else { table.to_string() };
    output.either(|| Document::new().with("client_keys", &keys), table)
}

async fn usage(days: u32, maestro: &Maestro, output: &Output) -> Outcome {
    let keys = maestro.list_client_keys().await?;
    let used = maestro.client_usage(days).await?;
    let names: std::collections::HashMap<&str, &str> =
        keys.iter().map(|key| (key.id.as_str(), key.name.as_str())).collect();
    let mut table = Table::new(&["NAME", "DAY", "MODEL", "REQUESTS", "INPUT", "OUTPUT", "COST"]);
    let mut rows = Vec::new();
    for row in &used {
        let name = names.get(row.client_key.as_str()).copied().unwrap_or_default();
        let day = time::date_or(Some(row.day * 86_400), "");
        let model = format!("{}/{}", row.provider, row.model);
        let cost = match row.unpriced {
            0 => dollars(row.cost_micros),
            n if n == row.requests => "no price".to_owned(),
            n => format!("{} and {n} without a price", dollars(row.cost_micros)),
        };
        table.row([
            name.to_owned(),
            day.clone(),
            model.clone(),
            row.requests.to_string(),
            row.input_tokens.to_string(),
            row.output_tokens.to_string(),
            cost,
        ]);
        rows.push(serde_json::json!({
            "name": name, "day": day, "model": model, "requests": row.requests,
            "input_tokens": row.input_tokens, "output_tokens": row.output_tokens,
            "cost_usd": row.cost_micros as f64 / 1e6, "unpriced_requests": row.unpriced,
        }));
    }
    if used.iter().any(|row| row.unpriced > 0) {
        output.note("give models without a price one in `[prices]` of the configuration");
    }
    let table = if table.is_empty() { String::new() } else { table.to_string() };
    output.either(|| Document::new().with("client_usage", &rows), table)
}

fn dollars(micros: i64) -> String {
    format!("${:.4}", micros as f64 / 1e6)
}

/// Reads `5/day` or `0.5/day` as millionths.
fn micros(text: &str) -> Result<i64, String> {
    let wrong = || "expected dollars a day, for example `5/day`".to_owned();
    let number: f64 = text.strip_suffix("/day").unwrap_or(text).parse().map_err(|_| wrong())?;
    let micros = (number * 1e6).round();
    if !(1.0..=1e15).contains(&micros) {
        return Err(wrong());
    }
    Ok(micros as i64)
}

fn state(key: &ClientKey) -> &'static str {
    let now = i64::try_from(crate::maestro::unix_time_s()).unwrap_or(i64::MAX);
    match (key.revoked_at, key.is_valid_at(now)) {
        (Some(_), _) => "revoked",
        (None, false) => "expired",
        (None, true) => "ready",
    }
}

fn bound(text: &str) -> Result<SessionSelector, String> {
    let (provider, name) =
        text.split_once('=').ok_or_else(|| "expected `PROVIDER=NAME`".to_owned())?;
    format!("{provider}:{name}").parse().map_err(|error| format!("{error}"))
}

fn seconds(text: &str) -> Result<i64, String> {
    let wrong = || "expected a number and `d`, `h` or `m`, for example `30d`".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        'd' => 86_400,
        'h' => 3_600,
        'm' => 60,
        _ => return Err(wrong()),
    };
    let number: i64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).filter(|all| *all > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sessions_are_read() {
        assert_eq!(seconds("30d"), Ok(2_592_000));
        assert_eq!(seconds("90m"), Ok(5_400));
        for bad in ["", "d", "0h", "-1d", "5", "5s", "9999999999999999999d", "é"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        assert_eq!((micros("5/day"), micros("0.25")), (Ok(5_000_000), Ok(250_000)));
        for bad in ["", "0", "-1/day", "5/week", "NaN", "inf"] {
            assert!(micros(bad).is_err(), "{bad}");
        }
        assert_eq!(bound("openai=work").unwrap().to_string(), "openai:work");
        assert!(bound("openai").is_err() && bound("=work").is_err());
    }
}
