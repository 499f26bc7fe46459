//! The text in a legacy envelope: a key, or a JSON map as the former program's encoder wrote it.
//!
//! Nobody wrote down which fields that program used, so reading is lenient. A key may stand alone, as a
//! JSON string or in an object; tokens stand in an object. Each value is looked for under the names in
//! [`KEY`], [`ACCESS`], [`REFRESH`] and [`EXPIRY`], in the object and, if it has none of them, in the
//! objects inside it. An expiry may be Unix seconds, milliseconds (numbers past the year 5138 in seconds)
//! or an RFC 3339 time; without one, the row's own column counts.
//!
//! Going back, the text that came is returned byte for byte while its credential is the same. After a
//! refresh only the changed values are replaced, under the names they came with.

use std::borrow::Cow;

use plugin_api::kit::time::rfc3339_ms;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use zeroize::{Zeroize, Zeroizing};

use super::LegacyError;
use crate::session::{
    binding::Binding,
    credential::{self, Credential, Secret, TokenSet},
    name::AuthType,
};

/// Reads what the former program kept. The credential is bound to nothing: it must be approved first.
pub(in crate::session) fn read(
    auth_type: AuthType,
    plaintext: &[u8],
    row_expires_at: Option<i64>,
) -> Result<Credential, LegacyError> {
    let document = Document::parse(plaintext)?;
    let binding = Binding::unbound();
    let found = match (&document.0, auth_type) {
        (Value::String(text), AuthType::ApiKey) => secret(text),
        (Value::String(text), AuthType::OAuth) => {
            let access_token = secret(text).ok_or(LegacyError::NoCredential)?;
            return Ok(Credential::oauth(tokens(access_token, row_expires_at), binding));
        }
        (Value::Object(object), AuthType::ApiKey) => {
            holder(object, KEY).and_then(|map| text_of(map, KEY)).and_then(secret)
        }
        (Value::Object(object), AuthType::OAuth) => {
            let read =
                holder(object, ACCESS).and_then(|map| read_tokens(object, map, row_expires_at));
            return read.map(|t| Credential::oauth(t, binding)).ok_or(LegacyError::NoCredential);
        }
        _ => None,
    };
    found.map(|key| Credential::api_key(key, binding)).ok_or(LegacyError::NoCredential)
}

/// Writes a credential for the former program, and says whether its text is the one that came.
///
/// `original` is that text, and `original_expires_at` what its row said of its end.
pub(in crate::session) fn write(
    credential: &Credential,
    original: Option<&[u8]>,
    original_expires_at: Option<i64>,
) -> Result<(Zeroizing<Vec<u8>>, bool), LegacyError> {
    if let Some(original) = original {
        let before = read(credential.auth_type(), original, original_expires_at)?;
        if same(&before, credential) {
            return Ok((Zeroizing::new(original.to_vec()), true));
        }
        let mut document = Document::parse(original)?;
        if let Value::Object(object) = &mut document.0 {
            update(object, credential);
            return Ok((document.to_bytes()?, false));
        }
    }
    Ok((Document(fresh(credential)?).to_bytes()?, false))
}

/// Reports whether two credentials hold the same secrets and end at the same time.
fn same(one: &Credential, other: &Credential) -> bool {
    match (&one.secret, &other.secret) {
        (Secret::ApiKey(one), Secret::ApiKey(other)) => {
            one.expose_secret() == other.expose_secret()
        }
        (Secret::OAuth(one), Secret::OAuth(other)) => {
            let refresh = |tokens: &TokenSet| {
                tokens
                    .refresh_token
                    .as_ref()
                    .map(|token| token.expose_secret().to_owned())
                    .map(Zeroizing::new)
            };
            one.access_token.expose_secret() == other.access_token.expose_secret()
                && refresh(one) == refresh(other)
                && one.expires_at == other.expires_at
        }
        _ => false,
    }
}

/// Puts new secrets where the old ones stand.
fn update(object: &mut Map<String, Value>, credential: &Credential) {
    match &credential.secret {
        Secret::ApiKey(key) => put(holder_mut(object, KEY), KEY, key.expose_secret().into()),
        // Holds no secret; what came stays as it is.
        Secret::Profile(_) => {}
        Secret::OAuth(tokens) => {
            let map = holder_mut(object, ACCESS);
            put(map, ACCESS, tokens.access_token.expose_secret().into());
            if let Some(token) = &tokens.refresh_token {
                put(map, REFRESH, token.expose_secret().into());
            }
            if let Some(expires_at) = tokens.expires_at {
                // Milliseconds stay milliseconds; a written time becomes seconds, which is read too.
                let millis = EXPIRY.iter().any(|name| {
                    map.get(*name).and_then(Value::as_f64).is_some_and(|n| n.abs() > MAX_SECONDS)
                });
                put(
                    map,
                    EXPIRY,
                    json!(if millis { expires_at.saturating_mul(1000) } else { expires_at }),
                );
            }
        }
    }
}

/// Makes the object for a credential that the former program never saw.
fn fresh(credential: &Credential) -> Result<Value, LegacyError> {
    Ok(match &credential.secret {
        Secret::ApiKey(key) => json!({ "api_key": key.expose_secret() }),
        Secret::Profile(link) => json!({ "profile_file": link.path }),
        Secret::OAuth(tokens) => {
            let mut object = Map::new();
            for (name, value) in &tokens.extra {
                object.insert(name.clone(), value.expose_secret().into());
            }
            object.insert("access_token".into(), tokens.access_token.expose_secret().into());
            if let Some(token) = &tokens.refresh_token {
                object.insert("refresh_token".into(), token.expose_secret().into());
            }
            if let Some(expires_at) = tokens.expires_at {
                object.insert("expires_at".into(), expires_at.into());
            }
            object.insert("token_type".into(), tokens.token_type.as_str().into());
            object.insert("scope".into(), tokens.scopes.join(" ").into());
            Value::Object(object)
        }
    })
}

fn read_tokens(
    whole: &Map<String, Value>,
    map: &Map<String, Value>,
    row_expires_at: Option<i64>,
) -> Option<TokenSet> {
    let access_token = text_of(map, ACCESS).and_then(secret)?;
    let expires_at = EXPIRY.iter().find_map(|name| expiry(map.get(*name)?)).or(row_expires_at);
    let mut tokens = tokens(access_token, expires_at);
    tokens.refresh_token = text_of(map, REFRESH).and_then(secret);
    tokens.scopes = SCOPE.iter().find_map(|name| scopes(map.get(*name)?)).unwrap_or_default();
    if let Some(kind) = text_of(map, &["token_type", "tokenType"]) {
        kind.clone_into(&mut tokens.token_type);
    }
    // What else stands there may be needed again, an account id for example.
    let known = |name: &str| [ACCESS, REFRESH, EXPIRY, SCOPE].iter().any(|all| all.contains(&name));
    let objects = if std::ptr::eq(whole, map) { vec![map] } else { vec![whole, map] };
    for (name, value) in objects.into_iter().flatten() {
        if !known(name) && !value.is_null() && !value.is_object() && name != "token_type" {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            tokens.extra.insert(name.clone(), text.into());
        }
    }
    Some(tokens)
}

fn tokens(access_token: SecretString, expires_at: Option<i64>) -> TokenSet {
    TokenSet { access_token, expires_at, ..TokenSet::default() }
}

/// Finds the object that holds one of the names: this one, else the first inside it.
fn holder<'a>(object: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Map<String, Value>> {
    let has = |map: &&Map<String, Value>| text_of(map, names).is_some();
    Some(object).filter(has).or_else(|| object.values().filter_map(Value::as_object).find(has))
}

fn holder_mut<'a>(
    object: &'a mut Map<String, Value>,
    names: &[&str],
) -> &'a mut Map<String, Value> {
    let inner = match text_of(object, names) {
        Some(_) => None,
        None => object
            .iter()
            .find(|(_, value)| value.as_object().is_some_and(|map| text_of(map, names).is_some()))
            .map(|(name, _)| name.clone()),
    };
    match inner {
        Some(name) if object[&name].is_object() => {
            object.get_mut(&name).and_then(Value::as_object_mut).expect("an object, as just seen")
        }
        _ => object,
    }
}

fn text_of<'a>(map: &'a Map<String, Value>, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| map.get(*name)?.as_str()).filter(|text| !text.trim().is_empty())
}

/// Replaces the value under the name it came with, else adds it under the usual one.
fn put(map: &mut Map<String, Value>, names: &[&str], value: Value) {
    let name = names.iter().find(|name| map.contains_key(**name)).unwrap_or(&names[0]);
    if let Some(mut old) = map.insert((*name).to_owned(), value) {
        wipe(&mut old);
    }
}

fn secret(text: &str) -> Option<SecretString> {
    let text = text.trim();
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.into())
}

fn expiry(value: &Value) -> Option<i64> {
    if let Some(text) = value.as_str() {
        let written = rfc3339_ms(text).and_then(|ms| i64::try_from(ms / 1000).ok());
        return written.or_else(|| seconds(text.trim().parse().ok()?));
    }
    seconds(value.as_f64()?)
}

#[expect(clippy::cast_possible_truncation, reason = "checked against the range just before")]
fn seconds(number: f64) -> Option<i64> {
    let seconds = if number.abs() > MAX_SECONDS { number / 1000.0 } else { number };
    (seconds > 0.0 && seconds < MAX_SECONDS).then_some(seconds as i64)
}

fn scopes(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(text.split_whitespace().map(str::to_owned).collect()),
        Value::Array(all) => all.iter().map(|scope| scope.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

/// A parsed text whose strings are wiped when it is dropped.
struct Document(Value);

impl Document {
    /// Reads JSON; a text that is none is taken as one string, which a bare key is.
    fn parse(bytes: &[u8]) -> Result<Self, LegacyError> {
        match serde_json::from_slice::<Value>(bytes) {
            // A key of digits alone reads as a number.
            Ok(value @ (Value::Object(_) | Value::String(_))) => Ok(Self(value)),
            _ => {
                let text = String::from_utf8_lossy(bytes);
                match text {
                    Cow::Borrowed(text) if !text.starts_with(['{', '[', '"']) => {
                        Ok(Self(Value::String(text.to_owned())))
                    }
                    _ => Err(LegacyError::NoCredential),
                }
            }
        }
    }

    fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, LegacyError> {
        credential::json(&self.0).map_err(|_| LegacyError::NoCredential)
    }
}

impl Drop for Document {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(all) => all.iter_mut().for_each(wipe),
        Value::Object(all) => all.values_mut().for_each(wipe),
        _ => {}
    }
}

const KEY: &[&str] = &["api_key", "apiKey", "key", "token", "access_token", "secret", "value"];
const ACCESS: &[&str] = &["access_token", "accessToken", "access", "token"];
const REFRESH: &[&str] = &["refresh_token", "refreshToken", "refresh"];
const EXPIRY: &[&str] = &["expires_at", "expiresAt", "expires", "expiry", "expiry_date"];
const SCOPE: &[&str] = &["scopes", "scope"];
/// Larger numbers are milliseconds: in seconds they would be past the year 5138.
const MAX_SECONDS: f64 = 100_000_000_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn api_key(text: &str) -> Result<String, LegacyError> {
        read(AuthType::ApiKey, text.as_bytes(), None).map(|c| c.bearer().expose_secret().to_owned())
    }

    fn oauth(text: &str) -> TokenSet {
        match read(AuthType::OAuth, text.as_bytes(), Some(77)).unwrap().secret {
            Secret::OAuth(tokens) => tokens,
            _ => panic!("expected tokens"),
        }
    }

    #[test]
    fn keys_are_found_in_every_form() {
        for text in [
            r#"{"api_key":"k-1"}"#,
            r#"{"apiKey":" k-1\n"}"#,
            r#"{"note":"x","credentials":{"key":"k-1"}}"#,
            r#"{"api_key":"","token":"k-1"}"#.replace("\"api_key\":\"\",", "").as_str(),
            r#""k-1""#,
            "k-1",
            "k-1\n",
        ] {
            assert_eq!(api_key(text).as_deref(), Ok("k-1"), "{text}");
        }
        assert_eq!(api_key("1234567").as_deref(), Ok("1234567"));
        for text in
            ["", "{}", r#"{"api_key":5}"#, r#"{"broken"#, "[]", "\u{1}\u{2}", r#"{"a":{"b":"c"}}"#]
        {
            assert_eq!(api_key(text), Err(LegacyError::NoCredential), "{text:?}");
        }
        assert!(read(AuthType::ApiKey, b"\xff\xfe", None).is_err());
    }

    #[test]
    fn tokens_are_found_in_every_form() {
        for (text, expires_at) in [
            (
                r#"{"access_token":"a","refresh_token":"r","expires_at":1700000000,"x":"y"}"#,
                1_700_000_000,
            ),
            (
                r#"{"accessToken":"a","refreshToken":"r","expiresAt":1700000000000,"x":"y"}"#,
                1_700_000_000,
            ),
            (
                r#"{"access":"a","refresh":"r","expires":"2023-11-14T22:13:20Z","x":"y"}"#,
                1_700_000_000,
            ),
            (r#"{"x":"y","tokens":{"access_token":"a","refresh_token":"r","expiry":null}}"#, 77),
            (
                r#"{"access_token":"a","refresh_token":"r","expires_at":"1700000000.5","x":"y"}"#,
                1_700_000_000,
            ),
        ] {
            let tokens = oauth(text);
            assert_eq!(tokens.access_token.expose_secret(), "a", "{text}");
            assert_eq!(tokens.refresh_token.unwrap().expose_secret(), "r", "{text}");
            assert_eq!(tokens.expires_at, Some(expires_at), "{text}");
            assert_eq!(tokens.extra["x"].expose_secret(), "y", "{text}");
        }
        assert_eq!(oauth("bare-token").access_token.expose_secret(), "bare-token");
        assert_eq!(oauth(r#"{"access_token":"a","scope":"b c"}"#).scopes, ["b", "c"]);
        assert_eq!(oauth(r#"{"access_token":"a","scopes":["b"]}"#).scopes, ["b"]);
    }

    #[test]
    fn an_unchanged_text_goes_back_byte_for_byte() {
        for (auth_type, text) in [
            (AuthType::ApiKey, "{ \"key\" : \"k-1\", \"quota\": 12.50 }"),
            (AuthType::ApiKey, "k-1\n"),
            (AuthType::OAuth, "{\"access\":\"a\",\"odd\":[1,{}]}"),
        ] {
            let credential = read(auth_type, text.as_bytes(), Some(5)).unwrap();
            let (back, unchanged) = write(&credential, Some(text.as_bytes()), Some(5)).unwrap();
            assert_eq!((&**back, unchanged), (text.as_bytes(), true));
        }
    }

    #[test]
    fn renewed_tokens_replace_the_old_ones_in_place() {
        let text = r#"{"odd":[1],"tokens":{"accessToken":"a","refreshToken":"r","expiresAt":1700000000000}}"#;
        let mut credential = read(AuthType::OAuth, text.as_bytes(), None).unwrap();
        let Secret::OAuth(tokens) = &mut credential.secret else { unreachable!() };
        tokens.access_token = "a2".into();
        tokens.refresh_token = Some("r2".into());
        tokens.expires_at = Some(1_700_000_060);
        let (back, unchanged) = write(&credential, Some(text.as_bytes()), None).unwrap();
        assert!(!unchanged);
        assert_eq!(back.capacity(), back.len(), "the buffer never grew");
        assert_eq!(
            String::from_utf8(back.to_vec()).unwrap(),
            r#"{"odd":[1],"tokens":{"accessToken":"a2","refreshToken":"r2","expiresAt":1700000060000}}"#
        );
    }

    #[test]
    fn a_credential_of_ours_reads_back() {
        let mut ours = tokens("a".into(), Some(9));
        ours.refresh_token = Some("r".into());
        ours.scopes = vec!["b".into(), "c".into()];
        ours.extra.insert("account".into(), "7".into());
        let (written, _) = write(&Credential::oauth(ours, Binding::unbound()), None, None).unwrap();
        let read = oauth(std::str::from_utf8(&written).unwrap());
        assert_eq!((read.expires_at, read.scopes.join(" ")), (Some(9), "b c".into()));
        assert_eq!(read.extra["account"].expose_secret(), "7");
        let (key, _) = write(&Credential::api_key("k", Binding::unbound()), None, None).unwrap();
        assert_eq!(&**key, br#"{"api_key":"k"}"#);
    }
}
