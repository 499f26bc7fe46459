//! What a request's line and headers ask for.
//!
//! A table of patterns would not do: in Google's paths the last `:` splits, models hold slashes,
//! `/s/NAME` may stand before everything, and `/v1/models` has three shapes.

use dialects::gemini::{
    Layout,
    route::{self as google_path, Action},
};
use http::{HeaderMap, Method, Uri};

use super::dialect::{ChatForm, Dialect};

/// A request's line, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// What the client speaks, also when its path means nothing.
    pub(super) dialect: Dialect,
    /// The session that `/s/NAME` names.
    pub(super) session: Option<String>,
    pub(super) endpoint: Endpoint,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Root,
    Alive,
    Ready,
    Chat(ChatForm),
    Models,
    Model(String),
    /// The model, where the path holds it.
    CountTokens(Option<String>),
    Embed(EmbedForm),
    /// The path is known with another method.
    WrongMethod(&'static str),
    Unknown,
}

/// How vectors are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EmbedForm {
    /// `POST /v1/embeddings`.
    OpenAi,
    /// `POST /v1beta/models/{model}:embedContent`, or `:batchEmbedContents`.
    Gemini { model: String, batch: bool },
}

impl Route {
    /// Reads a request's line. The query only tells dialects apart; its `key` is a credential.
    pub(super) fn of(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let (session, path) = split_session(uri.path());
        let session = session.map(decode);
        let dialect = dialect(path, uri, headers);
        let endpoint = endpoint(method, path, uri.query().unwrap_or_default());
        let dialect = endpoint.dialect().unwrap_or(dialect);
        Self { dialect, session, endpoint }
    }
}

impl Endpoint {
    /// Returns the dialect that the path alone tells.
    fn dialect(&self) -> Option<Dialect> {
        match self {
            Self::Chat(form) => Some(form.dialect()),
            Self::Embed(EmbedForm::OpenAi) => Some(Dialect::OpenAiChat),
            Self::Embed(EmbedForm::Gemini { .. }) | Self::CountTokens(Some(_)) => {
                Some(Dialect::Gemini)
            }
            _ => None,
        }
    }
}

/// Tells the dialect by what each vendor's clients send.
fn dialect(path: &str, uri: &Uri, headers: &HeaderMap) -> Dialect {
    let has_key = uri.query().is_some_and(|query| query.split('&').any(|p| p.starts_with("key=")));
    if path.starts_with("/v1beta/") || headers.contains_key("x-goog-api-key") || has_key {
        Dialect::Gemini
    } else if path.starts_with("/v1/messages") || headers.contains_key("anthropic-version") {
        Dialect::AnthropicMessages
    } else if path.starts_with("/v1/responses") {
        Dialect::OpenAiResponses
    } else {
        Dialect::OpenAiChat
    }
}

fn endpoint(method: &Method, path: &str, query: &str) -> Endpoint {
    let reading = method == Method::GET || method == Method::HEAD;
    let only = |fits: bool, allowed: &'static str, endpoint: Endpoint| {
        if fits { endpoint } else { Endpoint::WrongMethod(allowed) }
    };
    let get = |endpoint| only(reading, "GET, HEAD", endpoint);
    let post = |endpoint| only(method == Method::POST, "POST", endpoint);
    match path {
        "" | "/" => return get(Endpoint::Root),
        "/healthz" => return get(Endpoint::Alive),
        "/readyz" => return get(Endpoint::Ready),
        _ => {}
    }
    if let Some((model, action)) = google_path::parse(path).or_else(|| without_models(path)) {
        return post(google(decode(model), action, query));
    }
    // Base URLs are given with and without the version; both are understood.
    let versions = ["/v1beta/", "/v1alpha/", "/v1/"];
    let rest = versions.iter().find_map(|version| path.strip_prefix(version));
    let Some(rest) = rest.or_else(|| path.strip_prefix('/')) else { return Endpoint::Unknown };
    match rest.trim_end_matches('/') {
        "chat/completions" => post(Endpoint::Chat(ChatForm::OpenAiChat)),
        "completions" => post(Endpoint::Chat(ChatForm::OpenAiCompletion)),
        "responses" => post(Endpoint::Chat(ChatForm::OpenAiResponses)),
        "responses/input_tokens" => post(Endpoint::CountTokens(None)),
        "messages" => post(Endpoint::Chat(ChatForm::AnthropicMessages)),
        "messages/count_tokens" => post(Endpoint::CountTokens(None)),
        "embeddings" => post(Endpoint::Embed(EmbedForm::OpenAi)),
        "models" => get(Endpoint::Models),
        rest => match rest.strip_prefix("models/") {
            // An action that Google does not have either.
            Some(_) if !reading && path.starts_with("/v1beta/") => Endpoint::Unknown,
            Some(model) => get(Endpoint::Model(decode(model))),
            None => Endpoint::Unknown,
        },
    }
}

fn google(model: String, action: Action, query: &str) -> Endpoint {
    let sse = query.split('&').any(|pair| pair == "alt=sse");
    let chat = |layout| Endpoint::Chat(ChatForm::Gemini { model: model.clone(), layout });
    match action {
        Action::Generate => chat(None),
        Action::Stream => chat(Some(if sse { Layout::Sse } else { Layout::Array })),
        Action::Count => Endpoint::CountTokens(Some(model)),
        Action::Embed => Endpoint::Embed(EmbedForm::Gemini { model, batch: false }),
        Action::BatchEmbed => Endpoint::Embed(EmbedForm::Gemini { model, batch: true }),
        _ => Endpoint::Unknown,
    }
}

/// Reads `/v1beta/PROVIDER/MODEL:generateContent`: the AI SDK takes an id with a `/` for a whole resource
/// name and leaves `models/` away.
fn without_models(path: &str) -> Option<(&str, Action)> {
    let (model, word) = path.strip_prefix("/v1beta/")?.rsplit_once(':')?;
    let action = Action::ALL.iter().copied().find(|action| action.as_str() == word)?;
    model.contains('/').then_some((model, action))
}

/// Splits off the session that `/s/NAME` names. A base URL that ends in `/` makes two of the next one:
/// they count as one.
pub(super) fn split_session(path: &str) -> (Option<&str>, &str) {
    let (session, path) = match path.strip_prefix("/s/").map(split_first) {
        Some((name, rest)) if !name.is_empty() => (Some(name), rest),
        _ => (None, path),
    };
    let slashes = path.bytes().take_while(|byte| *byte == b'/').count();
    (session, &path[slashes.saturating_sub(1)..])
}

/// Splits at the first `/`, which stays with the second piece.
fn split_first(text: &str) -> (&str, &str) {
    text.find('/').map_or((text, ""), |at| text.split_at(at))
}

/// Undoes percent-encoding; what is none stays.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let hex = behind.get(..2).and_then(|two| str::from_utf8(two).ok());
        let code = hex.filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| byte == b'%') {
            Some(code) => {
                bytes.push(code);
                rest = &behind[2..];
            }
            None => {
                bytes.push(byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(line: &str, headers: &[&'static str]) -> Route {
        let (method, uri) = line.split_once(' ').unwrap();
        let headers: HeaderMap = headers
            .iter()
            .map(|name| (http::HeaderName::from_static(name), http::HeaderValue::from_static("x")))
            .collect();
        Route::of(&method.parse().unwrap(), &uri.parse().unwrap(), &headers)
    }

    fn endpoint_of(line: &str) -> Endpoint {
        route(line, &[]).endpoint
    }

    #[test]
    fn paths_are_understood_with_and_without_a_version() {
        let chat = Endpoint::Chat(ChatForm::OpenAiChat);
        assert_eq!(endpoint_of("POST /v1/chat/completions"), chat);
        assert_eq!(endpoint_of("POST /chat/completions?x=1"), chat);
        assert_eq!(endpoint_of("GET /v1/chat/completions"), Endpoint::WrongMethod("POST"));
        let legacy = Endpoint::Chat(ChatForm::OpenAiCompletion);
        assert_eq!(endpoint_of("POST /v1/completions"), legacy);
        assert_eq!(endpoint_of("GET /v1/models"), Endpoint::Models);
        assert_eq!(endpoint_of("GET /v1/models/a%2Fb:8b"), Endpoint::Model("a/b:8b".into()));
        assert_eq!(endpoint_of("GET /v1/models/a/b"), Endpoint::Model("a/b".into()));
        assert_eq!(endpoint_of("POST /v1/embeddings"), Endpoint::Embed(EmbedForm::OpenAi));
        assert_eq!(endpoint_of("HEAD /"), Endpoint::Root);
        assert_eq!(endpoint_of("GET /healthz"), Endpoint::Alive);
        assert_eq!(endpoint_of("GET /v1/nothing"), Endpoint::Unknown);
        assert_eq!(endpoint_of("GET /v1"), Endpoint::Unknown);
        assert_eq!(endpoint_of("POST //v1/chat/completions"), chat, "a base URL that ends in `/`");
        assert_eq!(endpoint_of("POST /s/work//v1/chat/completions"), chat);
        assert_eq!(route("POST //v1/messages/no", &[]).dialect, Dialect::AnthropicMessages);
    }

    #[test]
    fn the_other_vendors_paths_are_understood() {
        let messages = Endpoint::Chat(ChatForm::AnthropicMessages);
        assert_eq!(endpoint_of("POST /v1/messages?beta=true"), messages);
        let counting = route("POST /v1/messages/count_tokens", &[]);
        assert_eq!(counting.endpoint, Endpoint::CountTokens(None));
        assert_eq!(counting.dialect, Dialect::AnthropicMessages);
        let responses = Endpoint::Chat(ChatForm::OpenAiResponses);
        assert_eq!(endpoint_of("POST /v1/responses"), responses);
        let counting = route("POST /v1/responses/input_tokens", &[]);
        assert_eq!(counting.endpoint, Endpoint::CountTokens(None));
        assert_eq!(counting.dialect, Dialect::OpenAiResponses);
    }

    #[test]
    fn in_googles_paths_the_last_colon_splits() {
        let chat = |model: &str, layout| {
            Endpoint::Chat(ChatForm::Gemini { model: model.to_owned(), layout })
        };
        for (line, expected) in [
            ("POST /v1beta/models/g-1:generateContent", chat("g-1", None)),
            ("POST /v1beta/lab/org/m:8b:generateContent", chat("lab/org/m:8b", None)),
            ("POST /v1beta/g-1:generateContent", Endpoint::Unknown),
            ("POST /v1/models/lab/x:8b:generateContent", chat("lab/x:8b", None)),
            ("POST /v1beta/models/g:streamGenerateContent?alt=sse", chat("g", Some(Layout::Sse))),
            ("POST /v1beta/models/g:streamGenerateContent", chat("g", Some(Layout::Array))),
            ("POST /v1/models/g:countTokens", Endpoint::CountTokens(Some("g".into()))),
            (
                "POST /v1/models/a%2Fg:batchEmbedContents",
                Endpoint::Embed(EmbedForm::Gemini { model: "a/g".into(), batch: true }),
            ),
            ("GET /v1beta/models/g:generateContent", Endpoint::WrongMethod("POST")),
            ("GET /v1/models/x:8b", Endpoint::Model("x:8b".into())),
            ("POST /v1/models/x:dream", Endpoint::WrongMethod("GET, HEAD")),
            ("POST /v1beta/models/x:dream", Endpoint::Unknown),
        ] {
            assert_eq!(endpoint_of(line), expected, "{line}");
        }
        assert_eq!(route("POST /v1/models/g:generateContent", &[]).dialect, Dialect::Gemini);
        assert_eq!(route("POST /v1/models/g:countTokens", &[]).dialect, Dialect::Gemini);
    }

    #[test]
    fn a_path_may_name_the_session() {
        let found = route("POST /s/work/v1/chat/completions", &[]);
        assert_eq!(found.session.as_deref(), Some("work"));
        assert_eq!(found.endpoint, Endpoint::Chat(ChatForm::OpenAiChat));
        assert_eq!(endpoint_of("HEAD /s/work"), Endpoint::Root);
        assert_eq!(endpoint_of("GET /s//v1/models"), Endpoint::Unknown);
    }

    #[test]
    fn the_shape_of_a_list_follows_the_client() {
        for (line, headers, expected) in [
            ("GET /v1/models", &[][..], Dialect::OpenAiChat),
            ("GET /v1/models", &["anthropic-version"], Dialect::AnthropicMessages),
            ("GET /v1/models", &["x-goog-api-key"], Dialect::Gemini),
            ("GET /v1beta/models?key=k", &[], Dialect::Gemini),
            ("GET /v1/models?key=k", &[], Dialect::Gemini),
            ("POST /v1/messages/nothing", &[], Dialect::AnthropicMessages),
            ("POST /v1/chat/completions", &["anthropic-version"], Dialect::OpenAiChat),
        ] {
            assert_eq!(route(line, headers).dialect, expected, "{line} {headers:?}");
        }
    }

    #[test]
    fn percent_signs_that_encode_nothing_stay() {
        assert_eq!(decode("a%2fb%zz%4"), "a/b%zz%4");
        assert_eq!(decode("%+1%e4"), "%+1\u{fffd}");
    }
}
