//! Logging in with OAuth: shows what will happen, brings user and vendor together, says who it is.

use std::{
    io::{self, IsTerminal as _, Read as _},
    pin::pin,
    time::Duration,
};

use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};

use super::{LoginArgs, browser};
use crate::{
    cli::{
        Outcome, ask,
        failure::Failure,
        output::{Document, Output},
        time,
    },
    maestro::{
        Error, LoggedIn, LoginPrompt, LoginRequest, Maestro, OAuthPlan, PendingLogin, one_line,
    },
    oauth::error::LoginError,
    session::SessionName,
};

/// Logs in and stores the session.
pub(super) async fn run(
    args: &LoginArgs,
    name: SessionName,
    scheme: Option<String>,
    maestro: &Maestro,
    output: &Output,
) -> Outcome {
    let plan = maestro.oauth_plan(&args.provider, scheme.as_deref()).await?;
    show(&plan, output);
    let mut request = LoginRequest::new(name);
    request.flow = args.flow();
    request.facts = args.facts(&plan.asks, output)?;
    request.replace = args.replace;
    request.patience = args.patience();
    let login = maestro.begin_login(&plan, request).await?;
    // Listens before the user is told about it.
    let mut interrupts = signal(SignalKind::interrupt()).context("failed to listen for Ctrl-C")?;
    let nothing_stored = || {
        output.note("the login was given up; nothing is stored");
        Err(Failure::Interrupted)
    };
    let login = match prompted(login, args, output, &mut interrupts).await? {
        Some(login) => login,
        None => return nothing_stored(),
    };
    let given_up = login.given_up();
    let mut completing = pin!(maestro.complete_login(login));
    let done = tokio::select! {
        done = &mut completing => done,
        _ = interrupts.recv() => {
            given_up.now();
            match timeout(AT_ONCE, &mut completing).await {
                Ok(done) => done,
                Err(_elapsed) => {
                    output.note("the tokens are on their way; again, and they are dropped");
                    tokio::select! {
                        done = completing => done,
                        _ = interrupts.recv() => return nothing_stored(),
                    }
                }
            }
        }
    };
    let done = match done {
        Err(Error::Login { source: LoginError::GivenUp, .. }) => return nothing_stored(),
        done => done?,
    };
    let who = match &done.session.account {
        None if !args.no_test => asked(maestro, &done, output).await,
        known => known.clone(),
    };
    report(&done, who.as_deref(), output)
}

/// A login that only waits for its user ends within this time.
const AT_ONCE: Duration = Duration::from_millis(200);

/// Tells the user what to do, and takes what is pasted; `None` if that was interrupted.
async fn prompted(
    mut login: PendingLogin,
    args: &LoginArgs,
    output: &Output,
    interrupts: &mut Signal,
) -> Result<Option<PendingLogin>, Failure> {
    prompt(login.prompt(), args, output)?;
    if matches!(login.prompt(), LoginPrompt::Paste { .. }) {
        login = tokio::select! {
            login = pasted(login, output) => login?,
            _ = interrupts.recv() => return Ok(None),
        };
    }
    let ear = *output;
    Ok(Some(login.on_refused(move |error| {
        ear.warn(&format!("{error}; still waiting for the right one"));
    })))
}

fn show(plan: &OAuthPlan, output: &Output) {
    let scheme = match plan.scheme_name.as_str() {
        "" => String::new(),
        name => format!(", {name}"),
    };
    output.note(&format!(
        "{} (`{}`){scheme}, served by plugin `{}`",
        plan.display_name, plan.provider, plan.plugin
    ));
    if let Some(origin) = &plan.authorization_origin {
        output.note(&format!("you log in at: {origin}"));
    }
    output.note(&format!("tokens come from: {}", plan.token_origin));
    output.note(&format!("they will be sent to: {}", plan.origins.join(", ")));
    match &plan.revocation_origin {
        Some(origin) => output.note(&format!("they are revoked at: {origin}")),
        None => output.note("the vendor offers no revocation"),
    }
    if !plan.scopes.is_empty() {
        output.note(&format!("asked for: {}", plan.scopes.join(" ")));
    }
}

/// Says what the user has to do, and opens the browser where that helps.
fn prompt(prompt: &LoginPrompt, args: &LoginArgs, output: &Output) -> Outcome {
    if output.is_json() {
        output.document(&Document::new().with("login", prompt))?;
    }
    // A link goes on a line of its own, so that a terminal can be clicked or copied from.
    let link = |text: &str, url: &str| {
        output.note("");
        output.note(text);
        output.note("");
        output.note(&format!("  {url}"));
        output.note("");
    };
    match prompt {
        LoginPrompt::Loopback { url, .. } => {
            let opened = !args.no_browser && browser::open(url);
            link(if opened { "the browser opens; if it does not, open:" } else { "open:" }, url);
            output.note("waiting for you to come back from there; Ctrl-C gives up");
        }
        LoginPrompt::Paste { url } => {
            link("open this in any browser:", url);
            output.note(
                "the last page may not load; copy its address, or the code it shows, and paste it \
                 here",
            );
        }
        LoginPrompt::Device {
            user_code,
            verification_uri,
            verification_uri_complete,
            expires_in_s,
        } => {
            let url = verification_uri_complete.as_ref().unwrap_or(verification_uri);
            link("open this in any browser:", verification_uri);
            output.note(&format!("and enter the code: {user_code}"));
            if verification_uri_complete.is_some() {
                output.note(&format!("(or open {url}, which holds it)"));
            }
            if !args.no_browser {
                browser::open(url);
            }
            let minutes = expires_in_s.div_ceil(60);
            output.note(&format!("it is good for {minutes} min; Ctrl-C gives up"));
        }
    }
    Ok(())
}

/// Reads the code. At a terminal what does not fit can be pasted again.
async fn pasted(mut login: PendingLogin, output: &Output) -> Result<PendingLogin, Failure> {
    let output = *output;
    // A person takes time, and the runtime has other things to do.
    let read = tokio::task::spawn_blocking(move || {
        if !io::stdin().is_terminal() {
            let mut text = String::new();
            let stdin = io::stdin().lock().take(ask::MAX_SECRET_LEN as u64);
            let mut stdin = io::BufReader::new(stdin);
            io::BufRead::read_line(&mut stdin, &mut text).context("failed to read stdin")?;
            if text.is_empty() {
                return Err(Failure::request(
                    "the input ended before a code came",
                    "log in again and paste the code, or pipe it in",
                ));
            }
            login.paste(&text)?;
            return Ok(login);
        }
        loop {
            let text = ask::secret(&output, "code or address (not shown)")?;
            match login.paste(text.expose_secret()) {
                Ok(()) => return Ok(login),
                Err(error) => output.warn(&one_line(&error)),
            }
        }
    });
    read.await.unwrap_or_else(|_| Err(anyhow::anyhow!("reading the code failed").into()))
}

/// Asks the provider whose account it is, where the login did not say.
async fn asked(maestro: &Maestro, done: &LoggedIn, output: &Output) -> Option<String> {
    match maestro.test_session(&done.session.selector).await {
        Ok(account) => account.name,
        Err(error) if error.exit_code() == NOT_OFFERED => None,
        Err(error) => {
            output.warn(&format!("it is stored, but does not work yet: {}", one_line(&error)));
            None
        }
    }
}

fn report(done: &LoggedIn, who: Option<&str>, output: &Output) -> Outcome {
    if output.is_json() {
        let document = Document::new()
            .with("session", &done.session)
            .with("account", &who)
            .with("attributes", &done.attributes)
            .with("scopes", &done.scopes);
        return output.document(&document);
    }
    let mut text = format!("stored session {}", done.session.selector);
    if let Some(who) = who {
        text.push_str(&format!("; you are {who}"));
    }
    let is_plan = |name: &str| name.rsplit('.').next().is_some_and(|last| last.contains("plan"));
    for (_, value) in done.attributes.iter().filter(|(name, _)| is_plan(name)) {
        text.push_str(&format!(", plan {value}"));
    }
    if let Some(expires_at) = done.session.expires_at {
        text.push_str(&format!("; the token is good until {}", time::date(expires_at)));
    }
    output.line(&text)
}

/// The provider has no test, which says nothing about the login.
const NOT_OFFERED: u8 = 2;
