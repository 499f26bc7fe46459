//! Bodies: requests read whole under a cap, answers in one piece or as a stream.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use dialects::RequestError;
use futures_core::Stream;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use plugin_api::{chat::NativeField, error::ErrorKind};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Gateway, failure::Refusal, record::Record, scan};

/// The body of an answer.
pub(super) struct Body {
    content: Content,
    /// Written when the body is dropped: sent to its end, or given up by the client.
    record: Option<Record>,
}

enum Content {
    Whole(Option<Bytes>),
    Stream(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

impl Body {
    pub(super) fn empty() -> Self {
        Self { content: Content::Whole(None), record: None }
    }

    pub(super) fn text(text: &'static str) -> Response<Self> {
        Self::whole(Bytes::from_static(text.as_bytes()), "text/plain; charset=utf-8")
    }

    pub(super) fn json(body: impl Into<Bytes>) -> Response<Self> {
        Self::whole(body.into(), "application/json")
    }

    fn whole(body: Bytes, content_type: &'static str) -> Response<Self> {
        let mut response =
            Response::new(Self { content: Content::Whole(Some(body)), record: None });
        let value = HeaderValue::from_static(content_type);
        response.headers_mut().insert(header::CONTENT_TYPE, value);
        response
    }

    pub(super) fn stream(
        stream: impl Stream<Item = Bytes> + Send + 'static,
        content_type: &'static str,
    ) -> Response<Self> {
        let content = Content::Stream(Box::pin(stream));
        let mut response = Response::new(Self { content, record: None });
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // nginx and its like would otherwise collect the events.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        response
    }

    /// Has the record written when the body ends.
    pub(super) fn attach(&mut self, mut record: Record) {
        if matches!(self.content, Content::Whole(None)) || record.is_head() {
            // Nobody will ask for a piece.
            record.complete();
        }
        self.record = Some(record);
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let (piece, last) = match &mut self.content {
            Content::Whole(body) => (body.take(), true),
            Content::Stream(stream) => {
                let piece = ready!(stream.as_mut().poll_next(cx));
                let last = piece.is_none();
                (piece, last)
            }
        };
        if let Some(record) = &mut self.record {
            if let Some(bytes) = &piece {
                record.sent(bytes.len());
            }
            if last {
                record.complete();
            }
        }
        Poll::Ready(piece.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(body) => {
                SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64))
            }
            Content::Stream(_) => SizeHint::default(),
        }
    }
}

impl Gateway {
    /// Reads a request's body whole, under the cap and the deadline.
    pub(super) async fn read(&self, request: Request<Incoming>) -> Result<Bytes, Refusal> {
        if request.headers().get_all(header::CONTENT_ENCODING).iter().any(is_compressed) {
            let refusal = Refusal::invalid("compressed bodies are not read; send it as it is");
            return Err(refusal.status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let cap = self.settings.max_body_bytes;
        let deadline = Duration::from_millis(self.settings.body_timeout_ms);
        match tokio::time::timeout(deadline, collect(request.into_body(), cap)).await {
            Ok(read) => read,
            Err(_) => {
                let message =
                    format!("the body did not arrive within {} s", deadline.as_secs_f32());
                Err(Refusal::new(ErrorKind::Timeout, message).status(StatusCode::REQUEST_TIMEOUT))
            }
        }
    }
}

/// Reports whether a value of `content-encoding` names anything but the body as it is.
fn is_compressed(value: &HeaderValue) -> bool {
    let is_plain = |coding: &str| {
        let coding = coding.trim();
        coding.is_empty() || coding.eq_ignore_ascii_case("identity")
    };
    !value.to_str().is_ok_and(|codings| codings.split(',').all(is_plain))
}

async fn collect(mut body: Incoming, cap: usize) -> Result<Bytes, Refusal> {
    let too_long = || {
        let refusal = Refusal::invalid(format!("the body is longer than {cap} bytes"));
        Err(refusal.status(StatusCode::PAYLOAD_TOO_LARGE))
    };
    let declared = http_body::Body::size_hint(&body).exact();
    if declared.is_some_and(|length| length > cap as u64) {
        return too_long();
    }
    let (mut first, mut whole) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::invalid("the body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + whole.len() + data.len() > cap {
            return too_long();
        }
        if first.is_empty() && whole.is_empty() {
            // Mostly the only one; then nothing is copied.
            first = data;
            continue;
        }
        if whole.is_empty() {
            // What was declared may never come; it costs no more than what did.
            whole.reserve((first.len() + data.len()) * 2);
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// What a look at a body shows.
pub(super) struct Checked {
    /// Where each top-level field stands; none of what is no object, which the dialect tells better.
    pub(super) fields: Vec<NativeField>,
    /// The words of [`native::WORDS`](plugin_api::kit::native::WORDS) that it says somewhere.
    pub(super) words: Vec<String>,
}

/// Refuses what no honest client sends, before anything of it is believed.
pub(super) fn check(body: &[u8]) -> Result<Checked, RequestError> {
    let words = scan::scan(body)?;
    let Ok(Fields(list)) = serde_json::from_slice(body) else {
        return Ok(Checked { fields: Vec::new(), words });
    };
    let fields = list.into_iter().map(|(key, value)| {
        let mut field = NativeField::default();
        field.name = serde_json::from_str(key.get()).unwrap_or_default();
        field.key_start = offset(body, key.get()) as u64;
        let start = offset(body, value.get());
        (field.start, field.end) = (start as u64, (start + value.get().len()) as u64);
        let small = value.get().len() <= SMALL;
        field.value = small.then(|| serde_json::from_str(value.get()).ok()).flatten();
        field
    });
    Ok(Checked { fields: fields.collect(), words })
}

/// Returns where a part of the body begins.
fn offset(body: &[u8], part: &str) -> usize {
    part.as_ptr() as usize - body.as_ptr() as usize
}

/// Values up to this many bytes stand in the index.
const SMALL: usize = 256;

/// The fields at the top of a body, as they stand there.
struct Fields<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(member) = map.next_entry()? {
            list.push(member);
        }
        Ok(Fields(list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_as_it_is_is_not_compressed() {
        for (value, compressed) in [
            ("identity", false),
            ("Identity", false),
            ("", false),
            ("gzip", true),
            ("identity, br", true),
        ] {
            assert_eq!(is_compressed(&HeaderValue::from_static(value)), compressed, "{value}");
        }
    }

    #[test]
    fn of_what_is_no_object_there_are_no_fields() {
        for no_object in [&b"[]"[..], b"{", b"\xff"] {
            assert_eq!(check(no_object).unwrap().fields, []);
        }
    }

    #[test]
    fn the_index_says_where_fields_stand() {
        let long = format!("\"{}\"", "x".repeat(SMALL));
        let body =
            format!(r#" {{ "model" : "a\u0062", "\u0078" :[1, 2] ,"long":{long},"n":null}}"#);
        let fields = check(body.as_bytes()).unwrap().fields;
        let shown: Vec<_> = fields
            .iter()
            .map(|field| {
                let text = |from: u64, to: u64| &body[from as usize..to as usize];
                (&*field.name, text(field.key_start, field.end), text(field.start, field.end))
            })
            .collect();
        assert_eq!(shown[0], ("model", r#""model" : "a\u0062""#, r#""a\u0062""#));
        assert_eq!(shown[1], ("x", r#""\u0078" :[1, 2]"#, "[1, 2]"));
        assert_eq!(shown[2].2, long);
        assert_eq!(fields[0].value, Some("ab".into()));
        assert_eq!((&fields[2].value, &fields[3].value), (&None, &Some(serde_json::Value::Null)));
    }
}
