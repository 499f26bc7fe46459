//! What a token endpoint answered, checked before it is believed.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use plugin_api::{
    auth::OAuthScheme,
    exchange::Timestamp,
    http::Headers,
    kit::{failure::retry_after_ms, time::rfc3339_ms},
};
use secrecy::SecretString;
use serde_json::{Value, value::RawValue};

use super::{
    client, redeem,
    token::{Issued, TokenError},
};
use crate::session::{Renewal, TokenSet};

/// The fields of an answer, borrowed from its (wiped) bytes.
pub(super) type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// Reads an answer as an object.
pub(super) fn fields<'a>(headers: &Headers, body: &'a [u8]) -> Result<Fields<'a>, TokenError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(invalid("it is empty"));
    }
    // The parser's own error is dropped: it may quote a token.
    serde_json::from_slice(body).map_err(|_| {
        let kind = headers.content_type();
        invalid(match kind {
            "" => "expected a JSON object".to_owned(),
            kind => format!("expected a JSON object, found `{}`", clean(kind, MAX_CODE)),
        })
    })
}

/// Makes the tokens of an answer that arrived at `now_s` of the local clock.
///
/// With `previous`, the answer renews those: what it leaves out stays.
pub(super) fn tokens(
    fields: &Fields<'_>,
    headers: &Headers,
    scheme: &OAuthScheme,
    previous: Option<&TokenSet>,
    now_s: i64,
) -> Result<Issued, TokenError> {
    let access_token = match fields.get("access_token").map(|raw| text(raw)) {
        None => return Err(invalid("it has no `access_token`")),
        Some(None) => return Err(invalid("`access_token` is no text")),
        Some(Some(token)) => usable(&token).ok_or_else(|| {
            invalid("`access_token` is empty or holds characters that no header can carry")
        })?,
    };
    let token_type = fields.get("token_type").and_then(|raw| text(raw)).unwrap_or_default();
    if !token_type.is_empty() && !token_type.eq_ignore_ascii_case("bearer") {
        let found = clean(&token_type, MAX_CODE);
        return Err(invalid(format!("expected `token_type` `Bearer`, found `{found}`")));
    }
    let refresh_token = fields.get("refresh_token").and_then(|raw| text(raw));
    let refresh_token = refresh_token
        .and_then(|token| usable(&token))
        .or_else(|| previous.and_then(|previous| previous.refresh_token.clone()));
    let scopes = match fields.get("scope").and_then(|raw| scopes(raw)) {
        Some(granted) => granted,
        None => previous.map_or_else(|| scheme.scopes.clone(), |previous| previous.scopes.clone()),
    };
    // Only at a login: a renewed token that can do less still replaced the old one.
    if previous.is_none() {
        let missing: Vec<&str> = scheme
            .required_scopes
            .iter()
            .filter(|required| !scopes.contains(required))
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            let missing = missing.join("`, `");
            return Err(invalid(format!("the scope `{missing}` was not granted")));
        }
    }
    let clock_skew_s = skew(headers, now_s);
    let server_now_s = now_s.saturating_add(clock_skew_s);
    let expires_in = fields.get("expires_in").and_then(|raw| seconds(raw));
    let mut extra = previous.map(|previous| previous.extra.clone()).unwrap_or_default();
    for (name, raw) in fields {
        let ours = OWN_FIELDS.iter().chain(KEPT_FIELDS).any(|own| *own == name.as_str());
        if !ours && raw.get() != "null" {
            let value = text(raw).unwrap_or(Cow::Borrowed(raw.get()));
            extra.insert(name.clone(), SecretString::from(&*value));
        }
    }
    let earliest = fields.get(&scheme.earliest_refresh_field).and_then(|raw| moment(raw));
    let kept = previous.cloned().unwrap_or_default();
    let tokens = TokenSet {
        access_token,
        refresh_token,
        expires_at: expires_in.map(|seconds| server_now_s.saturating_add(seconds)),
        scopes,
        token_type: "Bearer".into(),
        extra,
        earliest_refresh_at: earliest,
        obtained_at: Some(server_now_s),
        clock_skew_s,
        renewal: Renewal::default(),
        ..kept
    };
    Ok(Issued { tokens, attributes: attributes(fields, scheme) })
}

/// Picks what the scheme declares as facts. Claims of an id token are the login's business, since
/// they must be verified first.
fn attributes(fields: &Fields<'_>, scheme: &OAuthScheme) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for path in &scheme.attributes {
        let mut names = path.split('.');
        let first = names.next().unwrap_or_default();
        if SECRET_FIELDS.contains(&first) {
            continue;
        }
        let Some(raw) = fields.get(first) else { continue };
        let Ok(value) = serde_json::from_str::<Value>(raw.get()) else { continue };
        let value = names.try_fold(&value, |value, name| value.get(name));
        let text = match value {
            Some(Value::String(text)) => text.clone(),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
            _ => continue,
        };
        found.insert(path.clone(), text);
    }
    found
}

/// Makes the error of an answer that is no success. `secrets` are struck from what it says.
pub(super) fn refusal(
    status: u16,
    headers: &Headers,
    body: &[u8],
    scheme: &OAuthScheme,
    secrets: &[&str],
) -> TokenError {
    let (code, description) = said(body);
    let strike = |text: String, most: usize| {
        let mut text = text;
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            text = text.replace(secret, "…");
        }
        clean(&text, most)
    };
    let (code, description) = (strike(code, MAX_CODE), strike(description, MAX_DESCRIPTION));
    let transient = matches!(status, 408 | 425 | 429 | 500..)
        || matches!(code.as_str(), "temporarily_unavailable" | "server_error");
    if transient {
        let now = Timestamp(u64::try_from(super::local_now_s()).unwrap_or_default() * 1000);
        let retry_after = retry_after_ms(headers, now).map(Duration::from_millis);
        let message = match code.as_str() {
            "" => format!("HTTP {status}, no reason given"),
            code => format!("HTTP {status}, `{code}`"),
        };
        return TokenError::Transient { status: Some(status), retry_after, message };
    }
    if (300..400).contains(&status) {
        return TokenError::Endpoint { problem: "it redirects elsewhere".into() };
    }
    if code.is_empty() {
        let code = format!("http_{status}");
        return TokenError::Rejected { code, description, permanent: false };
    }
    let is = |codes: &[&str]| codes.contains(&code.as_str());
    let permanent = code == "invalid_grant"
        || scheme.login_again_codes.contains(&code)
        || is(CLIENT_CODES)
        || (status == 401 && is(DEAD_TOKEN_CODES));
    TokenError::Rejected { code, description, permanent }
}

/// Returns code and description of a refusal in any of the forms that servers use.
fn said(body: &[u8]) -> (String, String) {
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return Default::default() };
    let text = |value: &Value, names: &[&str]| -> String {
        let found = names.iter().find_map(|name| match value.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        found.unwrap_or_default()
    };
    // `{"error":{…}}` and `{"detail":{…}}` hold it one level down.
    let inner =
        ["error", "detail"].iter().find_map(|name| value.get(name).filter(|v| v.is_object()));
    if let Some(inner) = inner {
        let code = text(inner, &["code", "type", "status", "error"]);
        return (code, text(inner, &["message", "error_description", "description"]));
    }
    let code = text(&value, &["error", "code", "error_code"]);
    (code, text(&value, &["error_description", "message", "detail", "description"]))
}

/// Returns how far the server's clock is ahead, as its `Date` says.
///
/// A few seconds are the network's, not the clock's; more than a day is a server that does not know
/// what time it is.
fn skew(headers: &Headers, now_s: i64) -> i64 {
    let date = headers.first("date").and_then(|text| httpdate::parse_http_date(text).ok());
    let date = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
    let Some(date) = date.and_then(|date| i64::try_from(date.as_secs()).ok()) else { return 0 };
    let skew = date.saturating_sub(now_s);
    if (MIN_SKEW_S..=MAX_SKEW_S).contains(&skew.saturating_abs()) { skew } else { 0 }
}

/// Reads a lifetime: a number or a text that is one. One that is not positive, or longer than a
/// working life, says nothing about when the token ends.
fn seconds(raw: &RawValue) -> Option<i64> {
    let written = text(raw).unwrap_or(Cow::Borrowed(raw.get()));
    let seconds: f64 = written.trim().parse().ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked before")]
    (1.0..MAX_LIFETIME_S).contains(&seconds).then_some(seconds as i64)
}

/// Reads a time: RFC 3339, or Unix seconds.
fn moment(raw: &RawValue) -> Option<i64> {
    let written = text(raw).unwrap_or(Cow::Borrowed(raw.get()));
    let unix = || written.trim().parse::<f64>().ok();
    #[expect(clippy::cast_possible_truncation, reason = "a cast saturates, and any time is fine")]
    let unix = || unix().filter(|seconds| *seconds > 0.0).map(|seconds| seconds as i64);
    let rfc3339 = rfc3339_ms(&written).and_then(|ms| i64::try_from(ms / 1000).ok());
    rfc3339.or_else(unix)
}

/// Reads the granted scopes: text with spaces (RFC 6749), or a list.
fn scopes(raw: &RawValue) -> Option<Vec<String>> {
    if let Some(text) = text(raw) {
        let scopes: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        return (!scopes.is_empty()).then_some(scopes);
    }
    serde_json::from_str(raw.get()).ok()
}

fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(serde::Deserialize)]
    #[serde(transparent)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|text| text.0)
}

/// Takes a token that can stand in a header.
fn usable(token: &str) -> Option<SecretString> {
    let plain = token.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    (!token.is_empty() && plain).then(|| SecretString::from(token))
}

/// Makes a server's text fit for one line of a message.
fn clean(text: &str, most: usize) -> String {
    let mut cleaned: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect();
    if text.chars().count() > most {
        cleaned.push('…');
    }
    cleaned.trim().to_owned()
}

fn invalid(what: impl Into<String>) -> TokenError {
    TokenError::Invalid { what: what.into() }
}

/// Codes that blame the client, not the grant.
pub(super) const CLIENT_CODES: &[&str] = &["invalid_client", "unauthorized_client"];
/// Codes that, with status 401, say that a refresh token is dead.
const DEAD_TOKEN_CODES: &[&str] = &[
    "invalid_token",
    "expired_token",
    "token_expired",
    "token_revoked",
    "invalid_refresh_token",
    "bad_refresh_token",
    "refresh_token_expired",
    "refresh_token_invalidated",
    "refresh_token_reused",
];
/// Fields that have a place of their own.
const OWN_FIELDS: &[&str] = &["access_token", "refresh_token", "token_type", "expires_in", "scope"];
/// What we keep beside them under these names; no answer may say it for us.
const KEPT_FIELDS: &[&str] = &[client::AUTH_FIELD, redeem::SUBJECT];
/// Fields that are never shown as facts.
const SECRET_FIELDS: &[&str] = &["access_token", "refresh_token", "id_token"];
const MIN_SKEW_S: i64 = 5;
const MAX_SKEW_S: i64 = 86_400;
/// Ten years.
const MAX_LIFETIME_S: f64 = 315_360_000.0;
const MAX_CODE: usize = 64;
const MAX_DESCRIPTION: usize = 200;
