//! Embeddings: texts in, vectors out, one or several in a request.

use plugin_api::{
    error::{ErrorKind, ProviderError},
    http::Body,
    kit::body,
    operation::{EmbedRequest, Embeddings},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use super::{
    error,
    route::{resource, short},
    usage::WireUsage,
};
use crate::{failure, fields::Fields, lenient::or_default, loss::RequestError};

/// Most texts of one batch.
pub const MAX_BATCH: usize = 100;

/// Writes a batch of some of a request's inputs.
///
/// # Errors
///
/// `InvalidRequest` for no inputs or an empty one, which the vendor refuses less clearly.
pub fn encode_batch(request: &EmbedRequest, inputs: &[String]) -> Result<Body, ProviderError> {
    if inputs.is_empty() || inputs.iter().any(String::is_empty) {
        let message = "every text to embed must hold something";
        return Err(ProviderError::new(ErrorKind::InvalidRequest, message));
    }
    let model = resource(request.model.as_str());
    body::object(|o| {
        o.array("requests", |out| {
            for input in inputs {
                out.object(|o| {
                    o.field("model", &model);
                    o.object("content", |o| {
                        o.array("parts", |out| out.item(&json!({"text": input})));
                    });
                    o.optional("taskType", request.task.as_ref());
                    o.optional("outputDimensionality", request.dimensions.as_ref());
                    for (name, value) in &request.options {
                        if !matches!(
                            &**name,
                            "model" | "content" | "taskType" | "outputDimensionality"
                        ) {
                            o.field(name, value);
                        }
                    }
                });
            }
        });
    })
}

/// Reads the vectors of a batch, in the order of its inputs, or the one of a single request.
///
/// # Errors
///
/// The failure that the body reports, or `Protocol`, also when there are not as many vectors as
/// `inputs`.
pub fn decode(body: &[u8], inputs: usize) -> Result<Embeddings, ProviderError> {
    let answer: Answer = match serde_json::from_slice(body) {
        Ok(answer) => answer,
        Err(_) => return Err(failure::malformed("embeddings", body)),
    };
    if !answer.error.is_null() {
        return Err(error::in_stream(body));
    }
    let vectors: Vec<Vec<f32>> =
        answer.embeddings.into_iter().chain(answer.embedding).map(|vector| vector.values).collect();
    if vectors.len() != inputs {
        let message = format!("expected {inputs} vectors, found {}", vectors.len());
        return Err(ProviderError::new(ErrorKind::Protocol, message));
    }
    let usage = answer.usage_metadata.counts();
    Ok(Embeddings::new(vectors, usage.and_then(|usage| usage.input_tokens)))
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Answer {
    #[serde(deserialize_with = "or_default")]
    embeddings: Vec<Vector>,
    embedding: Option<Vector>,
    #[serde(deserialize_with = "or_default")]
    usage_metadata: WireUsage,
    error: Value,
}

#[derive(Deserialize)]
struct Vector {
    values: Vec<f32>,
}

/// Reads a client's request: one of `embedContent`, or a batch. `model` stands in its path.
///
/// # Errors
///
/// Names the field at fault; what has no text is refused, and so are requests of one batch that differ
/// in more than their text.
pub fn decode_request(model: &str, body: &[u8]) -> Result<EmbedRequest, RequestError> {
    let mut fields = Fields::of_body(body)?;
    let list = fields.list("requests")?;
    if list.is_empty() {
        return one(model, Fields::of_body(body)?);
    }
    let mut whole: Option<EmbedRequest> = None;
    for (at, raw) in list.into_iter().enumerate() {
        let mut next = one(model, Fields::new(raw.get(), format!("requests[{at}]"))?)?;
        match &mut whole {
            None => whole = Some(next),
            Some(whole) => {
                whole.inputs.append(&mut next.inputs);
                next.inputs.clone_from(&whole.inputs);
                if next != *whole {
                    let message = "differs from the first in more than its text";
                    return Err(RequestError::new(format!("requests[{at}]"), message));
                }
            }
        }
    }
    whole.ok_or_else(|| RequestError::new("requests", "is empty"))
}

fn one(model: &str, mut fields: Fields<'_>) -> Result<EmbedRequest, RequestError> {
    let named: Option<String> = fields.take("model")?;
    if let Some(named) = named.filter(|named| short(named) != short(model)) {
        return Err(fields.error("model", format!("`{}` is not the path's", named.escape_debug())));
    }
    let mut content = fields.object("content")?.ok_or_else(|| fields.missing("content"))?;
    let mut text = String::new();
    for (at, raw) in content.list("parts")?.iter().enumerate() {
        text.push_str(&part(raw, content.at(&format!("parts[{at}]")))?);
    }
    let mut request = EmbedRequest::new(short(model), vec![text]);
    request.task = fields.take("taskType")?;
    request.dimensions = fields.count("outputDimensionality")?;
    request.options = fields.rest().collect();
    Ok(request)
}

fn part(raw: &RawValue, place: String) -> Result<String, RequestError> {
    let mut part = Fields::new(raw.get(), place)?;
    part.require("text")
}

/// Writes the vectors of a batch.
#[must_use]
pub fn encode(embeddings: &Embeddings) -> Vec<u8> {
    let all = embeddings.vectors.iter().map(|values| Values { values }).collect();
    Told { embeddings: Some(all), embedding: None, usage_metadata: used(embeddings) }.written()
}

/// Writes the vector of a single request.
#[must_use]
pub fn encode_one(embeddings: &Embeddings) -> Vec<u8> {
    let values = embeddings.vectors.first().map_or(&[][..], Vec::as_slice);
    let (embedding, usage_metadata) = (Some(Values { values }), used(embeddings));
    Told { embeddings: None, embedding, usage_metadata }.written()
}

/// An answer as it is written; not by way of a [`Value`], which would make 0.10000000149011612 of 0.1.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    embeddings: Option<Vec<Values<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding: Option<Values<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_metadata: Option<Value>,
}

#[derive(Serialize)]
struct Values<'a> {
    values: &'a [f32],
}

impl Told<'_> {
    fn written(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

fn used(embeddings: &Embeddings) -> Option<Value> {
    embeddings.input_tokens.map(|tokens| json!({ "promptTokenCount": tokens }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> EmbedRequest {
        let mut request = EmbedRequest::new("embed-demo", vec!["alpha".into(), "beta".into()]);
        request.task = Some("RETRIEVAL_DOCUMENT".into());
        request.dimensions = Some(2);
        request.options.insert("title".into(), json!("t"));
        request
    }

    #[test]
    fn a_batch_reads_back_as_it_was_written() {
        let request = request();
        let body = encode_batch(&request, &request.inputs).unwrap();
        let bytes = body.as_bytes().unwrap();
        assert!(bytes.starts_with(br#"{"requests":[{"model":"models/embed-demo","content":{"parts":[{"text":"alpha"}]},"taskType":"RETRIEVAL_DOCUMENT","outputDimensionality":2,"title":"t"},"#));
        assert_eq!(decode_request("models/embed-demo", bytes).unwrap(), request);
        assert!(encode_batch(&request, &[]).is_err());
        assert!(encode_batch(&request, &[String::new()]).is_err());
    }

    #[test]
    fn a_single_request_is_read_and_odd_ones_are_refused() {
        let one = br#"{"content":{"parts":[{"text":"a"},{"text":"b"}]},"task_type":"CLUSTERING"}"#;
        let one = decode_request("m", one).unwrap();
        assert_eq!((one.inputs, one.task.as_deref()), (vec!["ab".into()], Some("CLUSTERING")));
        for (body, field) in [
            (r#"{"content":{"parts":[{"inlineData":{}}]}}"#, "content.parts[0].text"),
            ("{}", "content"),
            (r#"{"model":"models/x","content":{}}"#, "model"),
            (
                r#"{"requests":[{"content":{"parts":[{"text":"a"}]}},{"content":{"parts":[{"text":"a"}]},"taskType":"X"}]}"#,
                "requests[1]",
            ),
        ] {
            assert_eq!(decode_request("m", body.as_bytes()).unwrap_err().field, field);
        }
    }

    #[test]
    fn vectors_read_back_as_they_were_written() {
        for usage in [None, Some(7)] {
            let embeddings = Embeddings::new(vec![vec![0.1, -1.0], vec![2.5, 0.0]], usage);
            assert_eq!(decode(&encode(&embeddings), 2).unwrap(), embeddings);
            let written = String::from_utf8(encode(&embeddings)).unwrap();
            assert!(written.contains(r#"{"values":[0.1,-1.0]}"#), "{written}");
            let one = Embeddings::new(vec![vec![0.1, -1.0]], usage);
            assert_eq!(decode(&encode_one(&one), 1).unwrap(), one);
        }
        assert_eq!(decode(b"{}", 2).unwrap_err().message, "expected 2 vectors, found 0");
        assert_eq!(decode(br#"{"embeddings":[{}]}"#, 1).unwrap_err().kind, ErrorKind::Protocol);
        let failed = br#"{"error":{"code":503,"message":"Full.","status":"UNAVAILABLE"}}"#;
        assert_eq!(decode(failed, 1).unwrap_err().kind, ErrorKind::Overloaded);
    }
}
