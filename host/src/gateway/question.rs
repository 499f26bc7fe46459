//! A client's request for a chat: its body as it came, and what is read of it when it is needed.
//!
//! A provider that speaks the client's dialect gets the body itself, of which only the top level is
//! looked at. It is read in full when it has to be translated.

use std::{borrow::Cow, cell::OnceCell, fmt};

use bytes::Bytes;
use dialects::{ClientFields, RequestError};
use http::{HeaderMap, Uri};
use plugin_api::{
    chat::{ChatRequest, NativeBody, NativeField},
    error::ErrorKind,
    kit::native,
};
use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::{Value, json, value::RawValue};

use super::{
    body,
    dialect::{Asked, ChatForm, Dialect},
    failure::explain,
    kept::Shelf,
    route::split_session,
};
use crate::{
    exchange::Native,
    maestro::{Error, Estimate},
    router::Affinity,
};

/// What a request says beside its body and belongs to the dialect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Beside {
    /// Path and query, without a session before it and credentials in it.
    path: String,
    headers: Vec<(String, String)>,
}

/// A request for a chat.
#[derive(Clone)]
pub(super) struct Question {
    pub(super) form: ChatForm,
    /// The model as the client calls it.
    pub(super) model: String,
    /// Whether the client waits for a stream.
    pub(super) stream: bool,
    body: Bytes,
    /// The body with a wish for usage that its client did not have.
    counted: Option<Bytes>,
    /// Of what is passed on.
    index: NativeBody,
    /// What the client may refer to.
    shelf: Option<Shelf>,
}

/// What a client calls what it asked for. Few requests need it, so the body is read anew for it, once.
pub(super) struct Words<'a> {
    question: &'a Question,
    fields: OnceCell<Option<ClientFields>>,
}

impl Words<'_> {
    /// Names the field that a place of the neutral request was read from.
    pub(super) fn name(&self, place: &mut String) {
        if let Some(fields) = self.fields() {
            *place = fields.name(place);
        }
    }

    /// Puts the client's field into a warning that names one.
    pub(super) fn reword(&self, warning: &mut String) {
        if let Some(fields) = self.fields() {
            *warning = fields.reword(warning).into_owned();
        }
    }

    fn fields(&self) -> Option<&ClientFields> {
        self.fields.get_or_init(|| self.question.fields()).as_ref()
    }
}

impl Beside {
    pub(super) fn of(dialect: Dialect, uri: &Uri, headers: &HeaderMap) -> Self {
        let mut path = split_session(uri.path()).1.to_owned();
        let secret = |pair: &&str| !CREDENTIALS.contains(&pair.split('=').next().unwrap_or(""));
        let query: Vec<&str> = uri.query().unwrap_or_default().split('&').filter(secret).collect();
        let query = query.join("&");
        if !query.is_empty() {
            path.push('?');
            path.push_str(&query);
        }
        let own = |name: &str| belongs(dialect, name);
        let headers = headers
            .iter()
            .filter(|(name, _)| own(name.as_str()))
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
            .collect();
        Self { path, headers }
    }
}

impl Beside {
    /// Returns the headers alone, as the index of no body.
    pub(super) fn headers_of(self, dialect: Dialect) -> NativeBody {
        let mut native = NativeBody::default();
        dialect.as_str().clone_into(&mut native.dialect);
        native.headers = self.headers;
        native
    }
}

impl Question {
    /// Reads the top level of a body.
    pub(super) fn of(form: ChatForm, beside: Beside, body: Bytes) -> Result<Self, RequestError> {
        let checked = body::check(&body)?;
        let mut index = NativeBody::default();
        index.dialect = form.dialect().as_str().to_owned();
        (index.path, index.headers) = (beside.path, beside.headers);
        (index.len, index.fields) = (body.len() as u64, checked.fields);
        index.words = checked.words;
        let named = match &form {
            ChatForm::Gemini { model, .. } => Some(model.clone()),
            _ => native::value(&index, "model").and_then(Value::as_str).map(str::to_owned),
        };
        let Some(model) = named.filter(|_| !index.fields.is_empty()) else {
            // What is wrong with it the dialect knows.
            let asked = form.decode(&body, None)?;
            let (model, stream) = (asked.request.model.to_string(), asked.stream);
            return Ok(Self { form, model, stream, body, counted: None, index, shelf: None });
        };
        let stream = match &form {
            ChatForm::Gemini { layout, .. } => layout.is_some(),
            _ => native::streams(&index),
        };
        Ok(Self { form, model, stream, body, counted: None, index, shelf: None })
    }

    /// Lets the client refer to what it was told earlier.
    pub(super) fn referring_to(mut self, shelf: Shelf) -> Self {
        self.shelf = Some(shelf);
        self
    }

    /// Reports whether the body can be sent on as it is, where it is understood.
    pub(super) fn may_pass(&self) -> bool {
        self.form.is_native()
    }

    /// Has the answer say what it uses, also where its client did not ask: a stream of OpenAI's chats
    /// says so only then. Reports whether it will.
    pub(super) fn count(&mut self) -> bool {
        const FIELD: &str = "stream_options";
        if self.form != ChatForm::OpenAiChat || !self.stream {
            return true;
        }
        let usage = json!({"include_usage": true});
        let there = self.index.fields.iter().position(|field| field.name == FIELD);
        let (start, end, text, wish) = match there.map(|at| &self.index.fields[at]) {
            None => {
                let Some(first) = self.index.fields.first() else { return false };
                let text = format!("\"{FIELD}\":{usage},");
                (first.key_start, first.key_start, text, usage)
            }
            Some(field) => {
                let mut wish = match &field.value {
                    Some(Value::Null) => json!({}),
                    Some(value @ Value::Object(_)) => value.clone(),
                    _ => return false,
                };
                if wish["include_usage"] == true {
                    return true;
                }
                wish["include_usage"] = true.into();
                (field.start, field.end, wish.to_string(), wish)
            }
        };
        let body = self.passed();
        let at = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let (Some(before), Some(after)) = (body.get(..at(start)), body.get(at(end)..)) else {
            return false;
        };
        let counted = [before, text.as_bytes(), after].concat();
        let moved = |at: u64| at + text.len() as u64 - (end - start);
        for field in &mut self.index.fields {
            for place in [&mut field.key_start, &mut field.start, &mut field.end] {
                *place = if *place >= end { moved(*place) } else { *place };
            }
        }
        match there {
            Some(at) => self.index.fields[at].value = Some(wish),
            None => {
                let mut field = NativeField::default();
                field.name = FIELD.into();
                field.key_start = start;
                field.start = start + FIELD.len() as u64 + 3;
                field.end = start + text.len() as u64 - 1;
                field.value = Some(wish);
                self.index.fields.insert(0, field);
            }
        }
        self.index.len = counted.len() as u64;
        self.counted = Some(counted.into());
        true
    }

    /// Reports whether the answer, passed on, says what it used to us alone.
    pub(super) fn hides_usage(&self) -> bool {
        self.counted.is_some()
    }

    /// Returns the body as it is passed on.
    fn passed(&self) -> &Bytes {
        self.counted.as_ref().unwrap_or(&self.body)
    }

    /// Reports whether it leaves traces at the vendor, so that it is not sent twice.
    pub(super) fn stores(&self) -> bool {
        self.form == ChatForm::OpenAiResponses
            && native::value(&self.index, "store") != Some(&Value::Bool(false))
    }

    /// Returns the request that passes the body on. Nobody asks for it again after the last time.
    pub(super) fn native(&mut self, is_last: bool) -> (ChatRequest, Native) {
        let mut request = ChatRequest::default();
        if self.form == ChatForm::OpenAiResponses {
            request.store = Some(self.stores());
        }
        let index = &mut self.index;
        request.native = Some(if is_last { std::mem::take(index) } else { index.clone() });
        (request, Native { body: self.passed().clone(), streams: self.stream })
    }

    /// Returns what the conversation is known by: the cache key that its client gives, else all that
    /// stands up to the end of the user's first turn, which every later request repeats.
    pub(super) fn affinity(&self) -> Affinity {
        if let Some(key) = native::value(&self.index, "prompt_cache_key").and_then(Value::as_str) {
            return Affinity::named(key);
        }
        let mut hash = Affinity::hasher();
        for field in &self.index.fields {
            let at = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            let Some(text) = self.passed().get(at(field.start)..at(field.end)) else { continue };
            match &*field.name {
                "system" | "systemInstruction" | "system_instruction" | "instructions" => {
                    hash.update(text);
                }
                "messages" | "input" | "contents" => first_turn(text, &mut hash),
                _ => {}
            }
        }
        Affinity::from(hash)
    }

    /// Estimates the tokens that it and its answer may use.
    pub(super) fn estimate(&self) -> Estimate {
        let number = |name: &str| native::value(&self.index, name)?.as_u64();
        let google =
            || native::value(&self.index, "generationConfig")?.get("maxOutputTokens")?.as_u64();
        let most = ["max_tokens", "max_completion_tokens", "max_output_tokens"];
        Estimate::of(self.body.len(), most.into_iter().find_map(number).or_else(google))
    }

    /// Makes a refusal that names the client's own field, if it is one field that a provider does not
    /// understand; `None` for all else that may go wrong.
    pub(super) fn unsupported(&self, error: &Error) -> Option<RequestError> {
        let place = match error {
            Error::NotUnderstood { place, .. } => place,
            // What a plugin refused before anything was sent.
            error => {
                let said = error.provider_error()?;
                let is_its_own = said.kind == ErrorKind::NotSupported && said.status.is_none();
                said.code.as_ref().filter(|_| is_its_own)?
            }
        };
        let field = self.fields()?.name(place);
        // The neutral place means nothing to the client.
        let message = explain(error).message.replacen(&format!("`{place}` "), "", 1);
        Some(RequestError::unsupported(field, message))
    }

    /// Returns what the client calls its fields; `None` of a body that cannot be read.
    fn fields(&self) -> Option<ClientFields> {
        let request = self.read().ok()?.request;
        Some(ClientFields::new(self.form.dialect().as_str(), &self.body, request))
    }

    /// Puts what was left out into the client's own words.
    pub(super) fn words(&self) -> Words<'_> {
        Words { question: self, fields: OnceCell::new() }
    }

    /// Reads the body in full.
    pub(super) fn read(&self) -> Result<Asked, RequestError> {
        self.form.decode(&self.body, self.shelf.as_ref())
    }
}

/// Hashes a list of turns up to the user's first one; nothing behind it is looked at.
fn first_turn(turns: &[u8], hash: &mut blake3::Hasher) {
    struct Turns<'a>(&'a mut blake3::Hasher);

    impl<'de> Visitor<'de> for Turns<'_> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("turns")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut turns: A) -> Result<(), A::Error> {
            #[derive(serde::Deserialize)]
            struct Turn<'a> {
                #[serde(borrow, default)]
                role: Option<Cow<'a, str>>,
            }

            while let Some(turn) = turns.next_element::<&'de RawValue>()? {
                self.0.update(turn.get().as_bytes());
                let role = serde_json::from_str::<Turn<'_>>(turn.get()).ok().and_then(|t| t.role);
                // Google's single turn needs no role.
                if role.is_none_or(|role| role == "user") {
                    break;
                }
            }
            Ok(())
        }
    }

    let mut reader = serde_json::Deserializer::from_slice(turns);
    if turns.first() != Some(&b'[') {
        hash.update(turns);
        return;
    }
    // Stopping in the middle is an error to the reader, and all we wanted.
    let _ = reader.deserialize_seq(Turns(hash));
}

/// Reports whether a client's header belongs to its dialect. Those that name an account do not: whose
/// account it is says the session.
fn belongs(dialect: Dialect, name: &str) -> bool {
    let account = ["organization", "workspace", "project", "dangerous"];
    if account.iter().any(|word| name.contains(word)) {
        return false;
    }
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    match dialect {
        Dialect::AnthropicMessages => starts(&["anthropic-", "x-claude-code-"]),
        Dialect::OpenAiChat => starts(&["openai-", "idempotency-key"]),
        Dialect::OpenAiResponses => {
            starts(&["openai-", "x-codex-", "idempotency-key", "x-client-request-id"])
                || ["originator", "version", "session-id", "session_id", "thread-id"]
                    .contains(&name)
        }
        Dialect::Gemini => name == "x-server-timeout",
    }
}

/// Parameters of a query that hold a credential.
const CREDENTIALS: &[&str] = &["", "key", "api_key", "api-key", "access_token"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_the_dialect_comes_along_and_credentials_stay() {
        let headers: HeaderMap = [
            ("anthropic-beta", "a-1, b-2"),
            ("anthropic-version", "2023-06-01"),
            ("anthropic-workspace-id", "w"),
            ("authorization", "Bearer x"),
            ("x-api-key", "x"),
            ("cookie", "x"),
        ]
        .into_iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect::<HeaderMap>();
        let uri: Uri = "/s/work/v1/messages?key=x&beta=true".parse().unwrap();
        let beside = Beside::of(Dialect::AnthropicMessages, &uri, &headers);
        assert_eq!(beside.path, "/v1/messages?beta=true");
        let doubled: Uri = "/s/work//v1/messages".parse().unwrap();
        assert_eq!(Beside::of(Dialect::AnthropicMessages, &doubled, &headers).path, "/v1/messages");
        let mut names: Vec<&str> = beside.headers.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        assert_eq!(names, ["anthropic-beta", "anthropic-version"]);
        assert_eq!(Beside::of(Dialect::Gemini, &uri, &headers).headers, []);
    }

    #[test]
    fn a_conversation_keeps_its_affinity_as_it_grows() {
        let of = |form: &ChatForm, body: &str| {
            let body = Bytes::copy_from_slice(body.as_bytes());
            Question::of(form.clone(), Beside::default(), body).unwrap().affinity()
        };
        let messages = |form: ChatForm, list: &str| {
            let first = of(&form, &format!(r#"{{"model":"m",{list}]}}"#));
            let more = r#"{"role":"assistant","content":"hi"},{"role":"user","content":"and?"}"#;
            assert_eq!(first, of(&form, &format!(r#"{{"model":"m",{list},{more}]}}"#)));
            let other = list.replace("hello", "hullo");
            assert_ne!(first, of(&form, &format!(r#"{{"model":"m",{other}]}}"#)));
        };
        let turn = r#"{"role":"user","content":"hello"}"#;
        messages(
            ChatForm::OpenAiChat,
            &format!(r#""messages":[{{"role":"system","content":"s"}},{turn}"#),
        );
        messages(ChatForm::OpenAiResponses, &format!(r#""instructions":"s","input":[{turn}"#));
        let said = |input: &str| {
            of(&ChatForm::OpenAiResponses, &format!(r#"{{"model":"m","input":"{input}"}}"#))
        };
        assert_ne!(said("hello"), said("hullo"));
        let keyed = r#"{"model":"m","prompt_cache_key":"k","messages":[]}"#;
        assert_eq!(of(&ChatForm::OpenAiChat, keyed), Affinity::named("k"));
    }

    #[test]
    fn a_wish_for_usage_is_written_into_the_body_and_its_index() {
        for (rest, wish) in [
            ("", r#"{"include_usage":true}"#),
            (r#","stream_options": null"#, r#"{"include_usage":true}"#),
            (
                r#", "stream_options": {"include_usage":false,"x":1}"#,
                r#"{"include_usage":true,"x":1}"#,
            ),
        ] {
            let body = format!(r#" {{"model":"m"{rest} , "stream":true,"messages":[ ] }} "#);
            let body = Bytes::from(body);
            let mut question =
                Question::of(ChatForm::OpenAiChat, Beside::default(), body.clone()).unwrap();
            assert!(question.count() && question.hides_usage(), "{rest}");
            let plain = Question::of(ChatForm::OpenAiChat, Beside::default(), body).unwrap();
            assert_eq!(question.read().unwrap().request, plain.read().unwrap().request);
            let (request, native) = question.native(true);
            let again =
                Question::of(ChatForm::OpenAiChat, Beside::default(), native.body.clone()).unwrap();
            assert_eq!(request.native, Some(again.index), "{rest}");
            let text: Value = serde_json::from_slice(&native.body).unwrap();
            assert_eq!(text["stream_options"], serde_json::from_str::<Value>(wish).unwrap());
        }
        let asked = br#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;
        let asked = Bytes::from_static(asked);
        let mut question = Question::of(ChatForm::OpenAiChat, Beside::default(), asked).unwrap();
        assert!(question.count() && !question.hides_usage());
    }

    #[test]
    fn only_the_top_is_read() {
        let ask = |body: &'static str| {
            Question::of(
                ChatForm::OpenAiChat,
                Beside::default(),
                Bytes::from_static(body.as_bytes()),
            )
        };
        let question = ask(r#"{"model":"m","stream":true,"messages":7}"#).unwrap();
        assert_eq!((&*question.model, question.stream), ("m", true));
        assert!(question.read().is_err());
        for bad in ["{}", "[]", "{", r#"{"messages":[]}"#, r#"{"model":1,"messages":[]}"#] {
            assert!(ask(bad).is_err(), "{bad}");
        }
    }
}
