//! OpenID Connect id tokens: whose login it was, in the vendor's signed words.
//!
//! The signature is checked with `ring`, the one cryptography of this program, because the common
//! crates for JWTs bring a second one. Two algorithms are enough: RS256, which every OpenID provider
//! must know, and ES256.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::{Map, Value};

use crate::oauth::state;

/// What an id token must say.
pub(crate) struct Check<'a> {
    /// Who issued it.
    pub(crate) issuer: &'a str,
    /// For which client.
    pub(crate) client_id: &'a str,
    /// For which login; `None` where no nonce was sent.
    pub(crate) nonce: Option<&'a str>,
    /// The vendor's time, in Unix seconds.
    pub(crate) now_s: i64,
}

/// The claims of a verified id token.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims(Map<String, Value>);

/// Why an id token is not believed. Holds nothing of the token but what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdTokenError {
    /// The answer holds none.
    #[error("the token answer holds no id token")]
    Missing,
    /// It is no signed JWT.
    #[error("the id token is no signed JWT")]
    Form,
    /// It is signed in a way that proves nothing, or that is not known here.
    #[error("the id token is signed with `{found}`, expected `RS256` or `ES256`")]
    Algorithm {
        /// What it names.
        found: String,
    },
    /// The issuer does not list the key.
    #[error("the id token is signed with a key that the issuer does not list")]
    UnknownKey,
    /// The signature is not the key's.
    #[error("the signature of the id token is wrong")]
    Signature,
    /// It says something else than it must.
    #[error("the id token has another `{claim}` than this login")]
    Claim {
        /// Which claim.
        claim: &'static str,
    },
    /// Its time is over, or has not come.
    #[error("the id token is not valid now")]
    Time,
}

impl IdTokenError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Time => "check this machine's clock, then log in again".into(),
            _ => "nothing was stored; log in again, and if it stays so, tell whoever runs the \
                  server"
                .into(),
        }
    }
}

/// Verifies an id token against the issuer's keys.
pub(crate) fn verify(token: &str, jwks: &Value, check: &Check<'_>) -> Result<Claims, IdTokenError> {
    let (signed, signature) = token.rsplit_once('.').ok_or(IdTokenError::Form)?;
    let (header, payload) = signed.split_once('.').ok_or(IdTokenError::Form)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| IdTokenError::Form)?;
    let header = object(header)?;
    let algorithm = header.get("alg").and_then(Value::as_str).unwrap_or_default();
    let kind = match algorithm {
        "RS256" => "RSA",
        "ES256" => "EC",
        found => {
            let found = found.chars().take(20).collect();
            return Err(IdTokenError::Algorithm { found });
        }
    };
    let wanted = header.get("kid").and_then(Value::as_str);
    let keys = jwks.get("keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let usable = |key: &&Value| {
        let is = |name: &str, value: &str| key.get(name).and_then(Value::as_str) == Some(value);
        let may = |name: &str, value: &str| key.get(name).is_none() || is(name, value);
        is("kty", kind)
            && may("use", "sig")
            && may("alg", algorithm)
            && wanted.is_none_or(|id| is("kid", id))
    };
    let mut candidates = keys.iter().filter(usable).peekable();
    if candidates.peek().is_none() {
        return Err(IdTokenError::UnknownKey);
    }
    if !candidates.any(|key| is_signed(key, kind, signed.as_bytes(), &signature)) {
        return Err(IdTokenError::Signature);
    }
    let claims = object(payload)?;
    compare(&claims, check)?;
    Ok(Claims(claims))
}

fn object(part: &str) -> Result<Map<String, Value>, IdTokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| IdTokenError::Form)?;
    serde_json::from_slice(&bytes).map_err(|_| IdTokenError::Form)
}

fn is_signed(key: &Value, kind: &str, message: &[u8], signature: &[u8]) -> bool {
    let part = |name: &str| {
        let text = key.get(name).and_then(Value::as_str)?;
        URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
    };
    let verified = if kind == "RSA" {
        let (Some(n), Some(e)) = (part("n"), part("e")) else { return false };
        RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
    } else {
        let p256 = key.get("crv").and_then(Value::as_str) == Some("P-256");
        let (true, Some(x), Some(y)) = (p256, part("x"), part("y")) else { return false };
        let point = [&[UNCOMPRESSED], x.as_slice(), y.as_slice()].concat();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
    };
    verified.is_ok()
}

fn compare(claims: &Map<String, Value>, check: &Check<'_>) -> Result<(), IdTokenError> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let other = |claim| Err(IdTokenError::Claim { claim });
    if text("iss") != Some(check.issuer) {
        return other("iss");
    }
    let audiences: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !audiences.contains(&check.client_id) {
        return other("aud");
    }
    // For several audiences somebody must say for whom it was made.
    let azp = text("azp");
    if azp.is_some_and(|azp| azp != check.client_id) || (audiences.len() > 1 && azp.is_none()) {
        return other("azp");
    }
    if let Some(nonce) = check.nonce
        && !text("nonce").is_some_and(|found| state::same(found, nonce))
    {
        return other("nonce");
    }
    #[expect(clippy::cast_possible_truncation, reason = "a cast saturates, and any time is fine")]
    let time = |name: &str| claims.get(name).and_then(Value::as_f64).map(|seconds| seconds as i64);
    let Some(exp) = time("exp") else { return Err(IdTokenError::Time) };
    let over = exp.saturating_add(SKEW_S) <= check.now_s;
    let early = time("nbf").is_some_and(|nbf| nbf.saturating_sub(SKEW_S) > check.now_s);
    if over || early { Err(IdTokenError::Time) } else { Ok(()) }
}

impl Claims {
    /// Returns a claim as text, by a path of names that are joined by periods. Names may hold
    /// periods themselves, as those that are URLs do.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        find(&self.0, path)
    }
}

fn find(object: &Map<String, Value>, path: &str) -> Option<String> {
    match object.get(path) {
        Some(Value::String(text)) if !text.is_empty() => return Some(text.clone()),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => return Some(value.to_string()),
        _ => {}
    }
    path.match_indices('.').find_map(|(at, _)| {
        let inner = object.get(&path[..at])?.as_object()?;
        find(inner, &path[at + 1..])
    })
}

/// How far clocks may be apart, after the vendor's `Date` was taken into account.
const SKEW_S: i64 = 120;
/// First byte of an uncompressed point.
const UNCOMPRESSED: u8 = 4;

#[cfg(test)]
mod tests {
    use ring::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
    };
    use serde_json::json;

    use super::*;

    /// An issuer with one key of the curve.
    struct Issuer {
        pair: EcdsaKeyPair,
        random: SystemRandom,
    }

    impl Issuer {
        fn new() -> Self {
            let random = SystemRandom::new();
            let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
            Self { pair, random }
        }

        fn jwks(&self) -> Value {
            let point = self.pair.public_key().as_ref();
            let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
            json!({ "keys": [
                { "kty": "RSA", "kid": "k1", "n": "AQAB", "e": "AQAB" },
                { "kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "alg": "ES256",
                  "x": part(&point[1..33]), "y": part(&point[33..]) },
            ] })
        }

        fn sign(&self, header: &Value, claims: &Value) -> String {
            let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
            let message = format!("{}.{}", part(header), part(claims));
            let signature = self.pair.sign(&self.random, message.as_bytes()).unwrap();
            format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
        }
    }

    fn header() -> Value {
        json!({ "alg": "ES256", "kid": "k1" })
    }

    fn claims() -> Value {
        json!({ "iss": "https://a.test", "aud": "me", "sub": "u1", "exp": 1000, "nonce": "n" })
    }

    fn check() -> Check<'static> {
        Check { issuer: "https://a.test", client_id: "me", nonce: Some("n"), now_s: 900 }
    }

    /// Signs the claims after a change and verifies them.
    fn verified(change: impl FnOnce(&mut Value)) -> Result<Claims, IdTokenError> {
        let issuer = Issuer::new();
        let mut claims = claims();
        change(&mut claims);
        verify(&issuer.sign(&header(), &claims), &issuer.jwks(), &check())
    }

    #[test]
    fn a_good_token_gives_its_claims() {
        let claims = verified(|claims| {
            claims["email"] = "ada@a.test".into();
            claims["https://a.test/auth"] = json!({ "plan": "plus", "seats": 3 });
        })
        .unwrap();
        assert_eq!(claims.text("email").as_deref(), Some("ada@a.test"));
        assert_eq!(claims.text("https://a.test/auth.plan").as_deref(), Some("plus"));
        assert_eq!(claims.text("https://a.test/auth.seats").as_deref(), Some("3"));
        for missing in ["none", "email.x", "https://a.test/auth", "."] {
            assert_eq!(claims.text(missing), None, "{missing}");
        }
    }

    #[test]
    fn every_claim_must_be_of_this_login() {
        type Change = fn(&mut Value);
        let cases: &[(&str, Change)] = &[
            ("iss", |c| c["iss"] = "https://a.test/".into()),
            ("aud", |c| c["aud"] = "other".into()),
            ("aud", |c| c["aud"] = json!([])),
            ("azp", |c| c["aud"] = json!(["me", "other"])),
            ("azp", |c| c["azp"] = "other".into()),
            ("nonce", |c| c["nonce"] = "m".into()),
            ("nonce", |c| c["nonce"] = Value::Null),
        ];
        for (claim, change) in cases {
            assert_eq!(verified(change).unwrap_err(), IdTokenError::Claim { claim });
        }
        assert!(verified(|c| c["aud"] = json!(["me"])).is_ok());
        assert!(
            verified(|c| {
                c["aud"] = json!(["me", "o"]);
                c["azp"] = "me".into();
            })
            .is_ok()
        );
        for (exp, good) in [(900, true), (781, true), (780, false), (0, false)] {
            let result = verified(|c| c["exp"] = exp.into());
            assert_eq!(result.is_ok(), good, "{exp}");
        }
        assert_eq!(verified(|c| c["exp"] = "1000".into()).unwrap_err(), IdTokenError::Time);
        assert_eq!(verified(|c| c["nbf"] = 1100.into()).unwrap_err(), IdTokenError::Time);
    }

    #[test]
    fn only_the_issuers_signature_counts() {
        let (issuer, thief) = (Issuer::new(), Issuer::new());
        let jwks = issuer.jwks();
        let verify = |token: &str| verify(token, &jwks, &check()).map(drop);
        assert_eq!(verify(&issuer.sign(&header(), &claims())), Ok(()));
        assert_eq!(verify(&issuer.sign(&json!({ "alg": "ES256" }), &claims())), Ok(()));
        assert_eq!(verify(&thief.sign(&header(), &claims())), Err(IdTokenError::Signature));
        let unknown = json!({ "alg": "ES256", "kid": "k2" });
        assert_eq!(verify(&issuer.sign(&unknown, &claims())), Err(IdTokenError::UnknownKey));
        for algorithm in ["none", "HS256", "RS1", ""] {
            let token = issuer.sign(&json!({ "alg": algorithm, "kid": "k1" }), &claims());
            let found = algorithm.to_owned();
            assert_eq!(verify(&token), Err(IdTokenError::Algorithm { found }));
        }
        // The key of the other kind is never tried.
        let rsa = issuer.sign(&json!({ "alg": "RS256", "kid": "k1" }), &claims());
        assert_eq!(verify(&rsa), Err(IdTokenError::Signature));
        for token in ["", "a", "a.b", "a.b.c", "..", "e30.e30.!"] {
            assert!(matches!(
                verify(token),
                Err(IdTokenError::Form | IdTokenError::Algorithm { .. })
            ));
        }
        let token = issuer.sign(&header(), &claims());
        let (start, end) = token.split_at(token.len() / 2);
        assert!(verify(&format!("{start}A{end}")).is_err());
    }
}
