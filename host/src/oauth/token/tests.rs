use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread::{self, JoinHandle},
};

use serde_json::{Value, json};

use super::*;
use crate::config::Timeouts;

const NOW: i64 = 1_700_000_000;
const URL: &str = "https://auth.acme.test/token";

fn scheme(fields: Value) -> OAuthScheme {
    serde_json::from_value(fields).unwrap()
}

fn at(url: &str, scheme: &OAuthScheme, client: Client) -> TokenEndpoint {
    let (settings, facts) = (BTreeMap::new(), BTreeMap::from([("state".into(), "st-1".into())]));
    let places = Places { settings: &settings, facts: &facts };
    TokenEndpoint::new(scheme, url, client, places, TlsOptions::default()).unwrap()
}

fn endpoint(fields: Value) -> TokenEndpoint {
    at(URL, &scheme(fields), Client::public("client-1"))
}

fn previous() -> TokenSet {
    TokenSet {
        access_token: "at-old".into(),
        refresh_token: Some("rt-old".into()),
        scopes: vec!["old".into()],
        extra: BTreeMap::from([("id_token".into(), "id-old".into())]),
        client_secret: Some("issued".into()),
        revocation_endpoint: "https://auth.acme.test/revoke".into(),
        expires_at: Some(5),
        earliest_refresh_at: Some(4),
        ..TokenSet::default()
    }
}

fn headers(pairs: &[(&str, &str)]) -> Headers {
    Headers(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

fn login(fields: Value, body: &str) -> Result<Issued, TokenError> {
    let (endpoint, device_code) = (endpoint(fields), "d-1".into());
    let grant = Grant::DeviceCode { device_code: &device_code };
    endpoint.read(200, &headers(&[]), body.as_bytes(), &grant, NOW)
}

fn renewal(
    scheme: Value,
    status: u16,
    head: &[(&str, &str)],
    body: &str,
) -> Result<Issued, TokenError> {
    let (previous, refresh_token) = (previous(), "rt-old".into());
    let grant = Grant::RefreshToken { previous: &previous, refresh_token: &refresh_token };
    endpoint(scheme).read(status, &headers(head), body.as_bytes(), &grant, NOW)
}

fn form(endpoint: &TokenEndpoint, grant: &Grant<'_>) -> String {
    String::from_utf8(endpoint.written(grant).1.to_vec()).unwrap()
}

#[test]
fn each_grant_is_written_as_the_scheme_says() {
    let params = json!({"token_params": ["resource=https://api.test/v1", "state={state}",
        "nonce={nonce}", "grant_type=evil"], "scopes": ["a", "b"]});
    let form_like = endpoint(params);
    let (code, verifier, device) = ("c&1".into(), "v-1".into(), "d-1".into());
    let redirect_uri = "http://127.0.0.1:9/callback";
    let grant = Grant::AuthorizationCode { code: &code, redirect_uri, verifier: Some(&verifier) };
    assert_eq!(
        form(&form_like, &grant),
        "grant_type=authorization_code&code=c%261&redirect_uri=http%3A%2F%2F127.0.0.1%3A9%2Fcallback\
         &code_verifier=v-1&client_id=client-1&resource=https%3A%2F%2Fapi.test%2Fv1&state=st-1"
    );
    let request = form_like.written(&grant).0;
    assert_eq!((request.method, request.url.as_str()), (Method::Post, URL));
    let grant = Grant::DeviceCode { device_code: &device };
    assert!(form(&form_like, &grant).starts_with(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&device_code=d-1&client_id="
    ));

    let json_like = endpoint(json!({"refresh_request": "json", "token_headers": ["X-Beta: b 1"]}));
    let (previous, refresh_token) = (previous(), "rt-old".into());
    let grant = Grant::RefreshToken { previous: &previous, refresh_token: &refresh_token };
    let (request, body) = json_like.written(&grant);
    let expected =
        r#"{"grant_type":"refresh_token","refresh_token":"rt-old","client_id":"client-1"}"#;
    assert_eq!(body, expected);
    assert!(request.headers.contains(&("content-type".into(), "application/json".into())));
    assert!(request.headers.contains(&("x-beta".into(), "b 1".into())));
    assert_eq!(request.auth, Auth::None);
    let token_like = json_like.written(&Grant::DeviceCode { device_code: &device }).1;
    assert!(token_like.starts_with(b"grant_type=urn"), "only refresh is json");
}

#[test]
fn a_secret_is_shown_as_the_client_says() {
    let client =
        |auth| Client { id: "a b".into(), secret: Some("s:ü".into()), secret_issued: false, auth };
    let scheme = scheme(json!({}));
    let device_code = "d-1".into();
    let grant = Grant::DeviceCode { device_code: &device_code };
    let post = at(URL, &scheme, client(ClientAuth::Post));
    assert!(form(&post, &grant).ends_with("&client_id=a+b&client_secret=s%3A%C3%BC"));
    let basic = at(URL, &scheme, client(ClientAuth::Basic));
    assert!(form(&basic, &grant).ends_with("&device_code=d-1"));
    let request = basic.written(&grant).0;
    let header = request.headers.iter().find(|(name, _)| name == "authorization").unwrap();
    assert_eq!(header.1, format!("Basic {}", STANDARD.encode("a+b:s%3A%C3%BC")));
}

#[test]
fn endpoints_that_would_leak_are_refused() {
    for (url, problem) in [
        ("", "the provider declares none"),
        ("auth", "expected a URL, found `auth`"),
        ("http://auth.acme.test/t", "`http://auth.acme.test` is plain http beyond this machine"),
        ("https://u:p@auth.acme.test/", "a URL must not carry a user name or password"),
    ] {
        let error = endpoint_url(url).unwrap_err();
        assert_eq!(error, TokenError::Endpoint { problem: problem.into() }, "{url}");
    }
    for url in ["https://auth.acme.test/t#x", "http://127.0.0.1:9/t", "http://localhost:9/t"] {
        assert_eq!(endpoint_url(url).unwrap().fragment(), None);
    }
}

#[test]
fn a_full_answer_is_kept_whole() {
    let scheme = json!({"id": "plan", "scopes": ["x"], "required_scopes": ["chat"],
        "earliest_refresh_field": "earliest_refresh_at",
        "attributes": ["organization.uuid", "n", "id_token.email", "id_token", "no.such", "account"]});
    let body = r#"{"access_token":"at-\u0041","token_type":"bEaReR","expires_in":3600,
        "refresh_token":"rt","scope":"chat models","id_token":"e.y.j","n":3,"none":null,
        "organization":{"uuid":"o-1","name":"Demo"},"account":{"uuid":"a"},
        "id_token.sub":"someone else","token_endpoint_auth_method":"client_secret_basic",
        "earliest_refresh_at":"2023-11-14T22:43:20Z"}"#;
    let issued = login(scheme, body).unwrap();
    let tokens = &issued.tokens;
    assert_eq!(tokens.access_token.expose_secret(), "at-A");
    assert_eq!(tokens.refresh_token.as_ref().unwrap().expose_secret(), "rt");
    assert_eq!((tokens.expires_at, tokens.obtained_at), (Some(NOW + 3600), Some(NOW)));
    assert_eq!(tokens.earliest_refresh_at, Some(NOW + 1800));
    assert_eq!(tokens.scopes, ["chat", "models"]);
    assert_eq!((tokens.scheme.as_str(), tokens.client_id.as_str()), ("plan", "client-1"));
    assert_eq!((tokens.token_endpoint.as_str(), tokens.token_type.as_str()), (URL, "Bearer"));
    let extra: Vec<&str> = tokens.extra.keys().map(String::as_str).collect();
    assert_eq!(extra, ["account", "earliest_refresh_at", "id_token", "n", "organization"]);
    assert_eq!(tokens.extra["organization"].expose_secret(), r#"{"uuid":"o-1","name":"Demo"}"#);
    let expected = [("n", "3"), ("organization.uuid", "o-1")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(issued.attributes, BTreeMap::from(expected));
}

#[test]
fn lifetimes_are_read_in_every_form() {
    for (expires_in, lifetime) in [
        ("3600", Some(3600)),
        ("\"3600\"", Some(3600)),
        ("\" 60 \"", Some(60)),
        ("3599.9", Some(3599)),
        ("1", Some(1)),
        ("315359999", Some(315_359_999)),
        // These say nothing: the token is used until the server refuses it.
        ("0", None),
        ("-1", None),
        ("\"0\"", None),
        ("0.4", None),
        ("1e300", None),
        ("99999999999999999999999", None),
        ("\"soon\"", None),
        ("\"NaN\"", None),
        ("null", None),
        ("true", None),
        ("[60]", None),
    ] {
        let body = format!(r#"{{"access_token":"at","expires_in":{expires_in}}}"#);
        let tokens = login(json!({}), &body).unwrap().tokens;
        assert_eq!(tokens.expires_at, lifetime.map(|seconds: i64| NOW + seconds), "{expires_in}");
    }
    let absent = login(json!({}), r#"{"access_token":"at"}"#).unwrap().tokens;
    assert_eq!((absent.expires_at, absent.obtained_at), (None, Some(NOW)));
}

#[test]
fn the_servers_clock_counts() {
    // NOW is 22:13:20.
    for (date, skew) in [
        ("Tue, 14 Nov 2023 22:23:20 GMT", 600),
        ("Tue, 14 Nov 2023 22:03:20 GMT", -600),
        ("Tue, 14 Nov 2023 22:13:23 GMT", 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("yesterday", 0),
    ] {
        let body = r#"{"access_token":"at","expires_in":60}"#;
        let tokens = renewal(json!({}), 200, &[("date", date)], body).unwrap().tokens;
        assert_eq!(tokens.clock_skew_s, skew, "{date}");
        assert_eq!(tokens.obtained_at, Some(NOW + skew), "{date}");
        assert_eq!(tokens.expires_at, Some(NOW + skew + 60), "{date}");
    }
}

#[test]
fn answers_without_a_usable_token_are_refused() {
    for (body, what) in [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("<html>at-secret</html>", "expected a JSON object"),
        ("[]", "expected a JSON object"),
        ("\u{0}", "expected a JSON object"),
        ("{}", "it has no `access_token`"),
        (r#"{"access_token":null}"#, "`access_token` is no text"),
        (r#"{"access_token":{"value":"at"}}"#, "`access_token` is no text"),
        (
            r#"{"access_token":""}"#,
            "`access_token` is empty or holds characters that no header can carry",
        ),
        (
            r#"{"access_token":"a\r\nx: y"}"#,
            "`access_token` is empty or holds characters that no header can carry",
        ),
        (
            r#"{"access_token":"at","token_type":"mac"}"#,
            "expected `token_type` `Bearer`, found `mac`",
        ),
        (
            r#"{"access_token":"at","token_type":"DPoP"}"#,
            "expected `token_type` `Bearer`, found `DPoP`",
        ),
    ] {
        let error = login(json!({}), body).err().unwrap();
        assert_eq!(error, TokenError::Invalid { what: what.into() }, "{body}");
    }
    let head = [("content-type", "text/html; charset=utf-8")];
    let error = renewal(json!({}), 200, &head, "<html>").err().unwrap();
    let what =
        "the token endpoint's answer cannot be used: expected a JSON object, found `text/html`";
    assert_eq!(error.to_string(), what);
}

#[test]
fn what_an_answer_leaves_out_stays() {
    let tokens =
        renewal(json!({"id": "plan"}), 200, &[], r#"{"access_token":"at-new"}"#).unwrap().tokens;
    assert_eq!(tokens.access_token.expose_secret(), "at-new");
    assert_eq!(tokens.refresh_token.unwrap().expose_secret(), "rt-old");
    assert_eq!(tokens.scopes, ["old"]);
    assert_eq!(tokens.extra["id_token"].expose_secret(), "id-old");
    assert_eq!(tokens.client_secret.unwrap().expose_secret(), "issued");
    assert_eq!(tokens.revocation_endpoint, "https://auth.acme.test/revoke");
    // These are facts about one access token, so the old ones say nothing about the new one.
    assert_eq!((tokens.expires_at, tokens.earliest_refresh_at), (None, None));

    let body = r#"{"access_token":"at","refresh_token":"","scope":""}"#;
    let tokens = renewal(json!({}), 200, &[], body).unwrap().tokens;
    assert_eq!(tokens.refresh_token.unwrap().expose_secret(), "rt-old");
    assert_eq!(tokens.scopes, ["old"]);
    let body =
        r#"{"access_token":"at","refresh_token":"rt-new","scope":["a"],"id_token":"id-new"}"#;
    let tokens = renewal(json!({}), 200, &[], body).unwrap().tokens;
    assert_eq!(tokens.refresh_token.unwrap().expose_secret(), "rt-new");
    assert_eq!(tokens.extra["id_token"].expose_secret(), "id-new");
    assert_eq!(tokens.scopes, ["a"]);
}

#[test]
fn a_login_needs_its_scopes_and_a_renewal_does_not() {
    let scheme = json!({"scopes": ["a", "b"], "required_scopes": ["b"]});
    let less = r#"{"access_token":"at","scope":"a"}"#;
    let error = login(scheme.clone(), less).err().unwrap();
    assert_eq!(error, TokenError::Invalid { what: "the scope `b` was not granted".into() });
    assert_eq!(renewal(scheme.clone(), 200, &[], less).unwrap().tokens.scopes, ["a"]);
    // Without a word about scopes, they are as asked.
    let silent = login(scheme, r#"{"access_token":"at"}"#).unwrap().tokens;
    assert_eq!(silent.scopes, ["a", "b"]);
}

#[test]
fn refusals_are_told_apart() {
    let rejected = |code: &str, description: &str, permanent| TokenError::Rejected {
        code: code.into(),
        description: description.into(),
        permanent,
    };
    for (status, body, expected) in [
        (
            400,
            r#"{"error":"invalid_grant","error_description":"Token has been expired or revoked."}"#,
            rejected("invalid_grant", "Token has been expired or revoked.", true),
        ),
        (
            400,
            r#"{"error":{"code":"refresh_token_reused","message":"again"}}"#,
            rejected("refresh_token_reused", "again", true),
        ),
        (401, r#"{"code":"token_expired"}"#, rejected("token_expired", "", true)),
        (400, r#"{"code":"token_expired"}"#, rejected("token_expired", "", false)),
        (401, r#"{"error":"invalid_client"}"#, rejected("invalid_client", "", true)),
        (400, r#"{"error":"unauthorized_client"}"#, rejected("unauthorized_client", "", true)),
        (400, r#"{"error":"authorization_pending"}"#, rejected("authorization_pending", "", false)),
        (
            400,
            r#"{"error":"invalid_request","error_description":"rt-old\nis\u0007 odd"}"#,
            rejected("invalid_request", "… is  odd", false),
        ),
        (
            403,
            r#"{"detail":{"code":"not_eligible","message":"m"}}"#,
            rejected("not_eligible", "m", false),
        ),
        (403, r#"{"detail":"nope"}"#, rejected("http_403", "nope", false)),
        (404, "<html>", rejected("http_404", "", false)),
        (401, "", rejected("http_401", "", false)),
        // A success that is none.
        (200, r#"{"error":"invalid_grant"}"#, rejected("invalid_grant", "", true)),
        (302, "", TokenError::Endpoint { problem: "it redirects elsewhere".into() }),
    ] {
        let scheme = json!({"login_again_codes": ["refresh_token_reused"]});
        assert_eq!(renewal(scheme, status, &[], body).err().unwrap(), expected, "{body}");
    }
    for (status, head, body, wait) in [
        (500, vec![], r#"{"error":"invalid_grant"}"#, None),
        (503, vec![("retry-after", "7")], "", Some(7000)),
        (429, vec![("retry-after-ms", "20")], "<html>", Some(20)),
        (400, vec![], r#"{"error":"temporarily_unavailable"}"#, None),
    ] {
        let error = renewal(json!({}), status, &head, body).err().unwrap();
        let TokenError::Transient { status: found, retry_after, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!((found, retry_after), (Some(status), wait.map(Duration::from_millis)), "{body}");
    }
    let long =
        format!(r#"{{"error":"{}","error_description":"{}"}}"#, "c".repeat(99), "d".repeat(999));
    let text = renewal(json!({}), 400, &[], &long).err().unwrap().to_string();
    assert!(text.len() < 350, "{text}");
}

#[test]
fn each_refusal_names_its_remedy() {
    let hint = |code: &str, permanent| {
        let (code, description) = (code.to_owned(), String::new());
        TokenError::Rejected { code, description, permanent }.hint("acme")
    };
    let configure = "check `client_id` in `[providers.acme.oauth]`";
    assert_eq!(hint("invalid_client", true).unwrap(), configure);
    assert_eq!(hint("invalid_grant", true).unwrap(), "run `maestro login acme --replace`");
    assert_eq!(hint("invalid_request", false), None);
}

/// Serves one connection on this machine: reads the request, writes `answer`, closes.
fn server(answer: impl AsRef<[u8]> + Send + 'static) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
        // The body is a form that ends with the client's id.
        while !seen.ends_with(b"client_id=client-1") {
            match stream.read(&mut buffer).unwrap() {
                0 => break,
                n => seen.extend_from_slice(&buffer[..n]),
            }
        }
        // The client may hang up on an answer that is too long.
        let _ = stream.write_all(answer.as_ref());
        String::from_utf8(seen).unwrap()
    });
    (url, served)
}

async fn ask(url: &str, patience: Duration) -> Result<Issued, TokenError> {
    let mut endpoint = at(url, &scheme(json!({})), Client::public("client-1"));
    endpoint.patience = patience;
    let (transport, device_code) = (Arc::new(Transport::new(Timeouts::default())), "d-1".into());
    endpoint.request(&transport, Grant::DeviceCode { device_code: &device_code }).await
}

#[tokio::test]
async fn tokens_come_over_the_wire() {
    let body = r#"{"access_token":"at-1","expires_in":60}"#;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    let (url, served) = server(head + body);
    let issued = ask(&url, PATIENCE).await.unwrap();
    assert_eq!(issued.tokens.access_token.expose_secret(), "at-1");
    let seen = served.join().unwrap();
    assert!(seen.starts_with("POST /token HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("content-type: application/x-www-form-urlencoded\r\n"), "{seen}");
}

#[tokio::test]
async fn redirects_are_not_followed_and_bodies_are_bounded() {
    let (url, served) = server(
        "HTTP/1.1 307 Over There\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
    );
    let error = ask(&url, PATIENCE).await.err().unwrap();
    assert_eq!(error, TokenError::Endpoint { problem: "it redirects elsewhere".into() });
    served.join().unwrap();

    let mut endless = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n".to_vec();
    endless.resize(MAX_BODY * 4, b' ');
    let (url, served) = server(endless);
    let error = ask(&url, PATIENCE).await.err().unwrap();
    assert_eq!(error, TokenError::Invalid { what: "it is longer than 262144 bytes".into() });
    served.join().unwrap();
}

#[tokio::test]
async fn what_was_sent_and_not_answered_is_unknown() {
    for answer in ["", "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"] {
        let (url, served) = server(answer);
        let error = ask(&url, PATIENCE).await.err().unwrap();
        assert!(matches!(error, TokenError::Unknown { .. }), "{error:?}");
        served.join().unwrap();
    }
    // A failure is one, however little of it arrives.
    let (url, served) = server("HTTP/1.1 503 No\r\ncontent-length: 99\r\n\r\n{");
    let error = ask(&url, PATIENCE).await.err().unwrap();
    assert!(matches!(error, TokenError::Transient { status: Some(503), .. }), "{error:?}");
    served.join().unwrap();

    let (listener, patience) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), Duration::from_millis(50));
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let error = ask(&url, patience).await.err().unwrap();
    assert!(matches!(error, TokenError::Unknown { .. }), "{error:?}");
    drop(listener);
    let error = ask(&url, PATIENCE).await.err().unwrap();
    assert!(matches!(error, TokenError::Transient { status: None, .. }), "{error:?}");
}
