//! Logging in with a key: reads it, tries it, stores it under a name.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use anyhow::Context;
use plugin_api::{ProviderId, operation::Account};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::LoginArgs;
use crate::{
    cli::{
        Outcome, ask,
        failure::Failure,
        output::{Document, Output},
    },
    maestro::{Error, LoginPlan, Maestro, NewLogin, SessionView, one_line},
    session::{AuthType, SessionName},
};

/// What trying a key showed.
enum Tried {
    /// It works, for this account.
    Works(Account),
    /// Nobody could say.
    Unknown(Error),
    /// It was not tried.
    No,
}

/// Logs in and stores the session.
pub(super) async fn run(
    args: &LoginArgs,
    name: SessionName,
    maestro: &Maestro,
    output: &Output,
) -> Outcome {
    let plan = maestro.login_plan(&args.provider)?;
    let provider = plan.provider.clone();
    show(&plan, output);
    let taken = maestro.list_sessions(Some(provider.as_str())).await?.iter().any(|session| {
        session.name == name.as_str()
            && session.auth_type == AuthType::ApiKey
            && session.source == STORED
    });
    let prompted = !args.key_stdin && args.key_file.is_none();
    if taken && !args.replace && prompted {
        // Asking first and refusing then would waste a paste. Otherwise the store itself refuses.
        return Err(Failure::usage(
            format!("provider `{provider}` has a session `{name}` already"),
            "add `--replace`, or choose another `--name`",
        ));
    }
    let facts = args.facts(&plan.asks, output)?;
    let key = key(args, &plan, output)?;
    let tried = if args.no_test { Tried::No } else { try_key(maestro, &provider, &key).await? };
    let mut login = NewLogin::new(provider, name, key).replace(args.replace);
    login.facts = facts;
    if let Tried::Works(account) = &tried {
        login.account.clone_from(&account.name);
    }
    let session = maestro.create_session(login).await?;
    report(&session, &tried, output)
}

/// Tries a key before it is stored, so that one that the provider rejects replaces nothing.
async fn try_key(
    maestro: &Maestro,
    provider: &ProviderId,
    key: &SecretString,
) -> Result<Tried, Failure> {
    match maestro.try_key(provider.as_str(), key).await {
        Ok(account) => Ok(Tried::Works(account)),
        Err(error @ Error::InvalidKey { .. }) => Err(error.into()),
        Err(error) if error.exit_code() == AUTHENTICATION => Err(Failure::Rejected(error)),
        Err(error) => Ok(Tried::Unknown(error)),
    }
}

fn show(plan: &LoginPlan, output: &Output) {
    output.note(&format!(
        "{} (`{}`), served by plugin `{}`",
        plan.display_name, plan.provider, plan.plugin
    ));
    output.note(&format!("the key will be sent to: {}", plan.origins.join(", ")));
    if let Some(url) = &plan.obtain_url {
        output.note(&format!("get one at: {url}"));
    }
    if plan.key_optional {
        output.note("this provider works without a key too");
    }
}

fn key(args: &LoginArgs, plan: &LoginPlan, output: &Output) -> Result<SecretString, Failure> {
    if let Some(path) = &args.key_file {
        return key_file(path);
    }
    if args.key_stdin {
        return ask::checked(&read_all(io::stdin().lock()).context("failed to read stdin")?);
    }
    if !ask::is_possible(output) {
        return Err(Failure::usage(
            "there is no terminal to ask for the key",
            "give it with `--key-stdin` or `--key-file FILE`",
        ));
    }
    ask::secret(output, &format!("key for {} (not shown)", plan.display_name))
}

fn key_file(path: &Path) -> Result<SecretString, Failure> {
    let what = || format!("failed to read `{}`", path.display());
    ask::checked(&File::open(path).and_then(read_all).with_context(what)?)
}

/// Reads a secret into a buffer that is wiped, and never grows past what it was made with.
fn read_all(mut from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut all = Zeroizing::new(vec![0; ask::MAX_SECRET_LEN + 1]);
    let mut filled = 0;
    while filled < all.len() {
        match from.read(&mut all[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if filled > ask::MAX_SECRET_LEN {
        return Err(io::Error::other(format!(
            "expected a key of at most {} bytes",
            ask::MAX_SECRET_LEN
        )));
    }
    all.truncate(filled);
    Ok(all)
}

fn report(session: &SessionView, tried: &Tried, output: &Output) -> Outcome {
    let who = match tried {
        Tried::Works(account) => account.name.clone(),
        Tried::Unknown(_) | Tried::No => None,
    };
    let mut text = format!("stored session {}", session.selector);
    match (tried, &who) {
        (Tried::Works(_), Some(who)) => text.push_str(&format!("; the key works, you are {who}")),
        (Tried::Works(_), None) => text.push_str("; the key works"),
        (Tried::No, _) => text.push_str("; the key was not tried"),
        (Tried::Unknown(_), _) => {}
    }
    if output.is_json() {
        let account = if let Tried::Works(account) = tried { Some(account) } else { None };
        let document = Document::new().with("session", session).with("account", &account);
        output.document(&document)?;
    } else {
        output.line(&text)?;
    }
    if let Tried::Unknown(error) = tried {
        output.warn(&format!("the key is stored, but could not be tried: {}", one_line(error)));
    }
    Ok(())
}

const STORED: &str = "stored";
const AUTHENTICATION: u8 = 3;

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_key_file_is_trimmed_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "sk-1\n").unwrap();
        assert_eq!(key_file(&path).unwrap().expose_secret(), "sk-1");
        std::fs::write(&path, vec![b'a'; ask::MAX_SECRET_LEN + 1]).unwrap();
        assert!(key_file(&path).unwrap_err().causes()[0].contains("at most"));
        let missing = key_file(&folder.path().join("none")).unwrap_err();
        assert!(missing.to_string().starts_with("failed to read `"));
        assert_eq!(missing.exit_code(), 1);
    }
}
