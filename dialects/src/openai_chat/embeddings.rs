//! Embeddings: texts in, vectors out.

use plugin_api::{
    error::{ErrorKind, ProviderError},
    http::Body,
    kit::body,
    operation::{EmbedRequest, Embeddings},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error;
use crate::{
    base64, failure,
    fields::Fields,
    lenient::{Count, or_default},
    loss::RequestError,
};

/// Writes a request for vectors.
///
/// With `base64` the vectors come as little-endian floats, a third of the size, which OpenAI's own
/// clients ask for; local servers know only numbers. A task has no field here.
///
/// # Errors
///
/// `InvalidRequest` for no inputs or an empty one, which the vendor refuses less clearly.
pub fn encode_request(request: &EmbedRequest, base64: bool) -> Result<Body, ProviderError> {
    if request.inputs.is_empty() || request.inputs.iter().any(String::is_empty) {
        let message = "every text to embed must hold something";
        return Err(ProviderError::new(ErrorKind::InvalidRequest, message));
    }
    body::object(|o| {
        o.field("model", &request.model);
        o.field("input", &request.inputs);
        o.optional("dimensions", request.dimensions.as_ref());
        o.field("encoding_format", if base64 { "base64" } else { "float" });
        let typed = ["model", "input", "dimensions", "encoding_format"];
        for (name, value) in request.options.iter().filter(|(name, _)| !typed.contains(&&***name)) {
            o.field(name, value);
        }
    })
}

/// Reads the vectors, numbers or Base64, in the order of the inputs.
///
/// # Errors
///
/// The failure that the body reports (some servers send it with status 200), or `Protocol`, also
/// when there are not as many vectors as `inputs`.
pub fn decode(body: &[u8], inputs: usize) -> Result<Embeddings, ProviderError> {
    let malformed = || failure::malformed("embeddings", body);
    let Ok(answer) = serde_json::from_slice::<Answer>(body) else {
        return Err(match serde_json::from_slice::<Value>(body) {
            Ok(value) if value["error"].is_object() || value["error"].is_string() => {
                error::in_stream(body)
            }
            _ => malformed(),
        });
    };
    let mut data = answer.data;
    data.sort_by_key(|item| item.index.0.unwrap_or(0));
    if data.len() != inputs {
        let message = format!("expected {inputs} vectors, found {}", data.len());
        return Err(ProviderError::new(ErrorKind::Protocol, message));
    }
    let vectors = data
        .into_iter()
        .map(|item| match item.embedding {
            Vector::Numbers(numbers) => Some(numbers),
            Vector::Base64(text) => floats(&text),
        })
        .collect::<Option<_>>()
        .ok_or_else(malformed)?;
    Ok(Embeddings::new(vectors, answer.usage.prompt_tokens.0.or(answer.usage.total_tokens.0)))
}

/// A client's request for vectors.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DecodedEmbed {
    /// What is asked.
    pub request: EmbedRequest,
    /// Whether the vectors are wanted as Base64.
    pub base64: bool,
}

/// Reads a client's request for vectors. What is not known here goes to a server of the same format.
///
/// # Errors
///
/// Names the field at fault; arrays of tokens are refused, because they mean something to one model
/// only.
pub fn decode_request(body: &[u8]) -> Result<DecodedEmbed, RequestError> {
    let mut fields = Fields::of_body(body)?;
    let model: String = fields.require("model")?;
    let inputs = match fields.take("input")? {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(list)) => list
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or_else(|| fields.error("input", "tokens are not taken, only texts"))?,
        _ => return Err(fields.error("input", "expected a text or an array of texts")),
    };
    let mut request = EmbedRequest::new(model, inputs);
    request.dimensions = fields.count("dimensions")?;
    let base64 = match fields.take::<String>("encoding_format")?.as_deref() {
        Some("base64") => true,
        Some("float") | None => false,
        Some(_) => return Err(fields.error("encoding_format", "expected `float` or `base64`")),
    };
    request.options = fields.rest().collect();
    Ok(DecodedEmbed { request, base64 })
}

/// Writes vectors as OpenAI does.
#[must_use]
pub fn encode(embeddings: &Embeddings, model: &str, base64: bool) -> Vec<u8> {
    let item = |(index, vector): (usize, &Vec<f32>)| {
        let embedding = match base64 {
            true => Encoded::Base64(base64::encode(
                vector.iter().flat_map(|float| float.to_le_bytes()).collect::<Vec<u8>>(),
            )),
            false => Encoded::Floats(vector.clone()),
        };
        Written { object: "embedding", index, embedding }
    };
    let data = embeddings.vectors.iter().enumerate().map(item).collect();
    let tokens = embeddings.input_tokens.unwrap_or(0);
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    serde_json::to_vec(&Told { object: "list", model, data, usage }).unwrap_or_default()
}

/// An answer as it is written; not by way of a [`Value`], which would make 0.10000000149011612 of 0.1.
#[derive(Serialize)]
struct Told<'a> {
    object: &'static str,
    model: &'a str,
    data: Vec<Written>,
    usage: Value,
}

#[derive(Serialize)]
struct Written {
    object: &'static str,
    index: usize,
    embedding: Encoded,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Encoded {
    Floats(Vec<f32>),
    Base64(String),
}

fn floats(text: &str) -> Option<Vec<f32>> {
    let bytes = base64::decode(text)?;
    let (floats, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| floats.iter().map(|float| f32::from_le_bytes(*float)).collect())
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
    #[serde(default, deserialize_with = "or_default")]
    usage: Tokens,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    index: Count,
    embedding: Vector,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Vector {
    Numbers(Vec<f32>),
    Base64(String),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tokens {
    prompt_tokens: Count,
    total_tokens: Count,
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE64: &[u8] = br#"{"object":"list","model":"embed-demo","data":[{"object":"embedding","index":1,"embedding":"zczMPQAAgL8="},{"object":"embedding","index":0,"embedding":"AACAPwAAAAA="}],"usage":{"prompt_tokens":2,"total_tokens":2}}"#;

    #[test]
    fn vectors_are_read_in_both_forms_and_sorted() {
        let embeddings = decode(BASE64, 2).unwrap();
        assert_eq!(embeddings.vectors, [[1.0, 0.0], [0.1, -1.0]]);
        assert_eq!(embeddings.input_tokens, Some(2));
        let floats = br#"{"data":[{"embedding":[0.01,-0.2,0.3]}],"usage":null}"#;
        assert_eq!(decode(floats, 1).unwrap().vectors, [[0.01, -0.2, 0.3]]);
    }

    #[test]
    fn wrong_answers_are_errors() {
        assert_eq!(decode(BASE64, 3).unwrap_err().message, "expected 3 vectors, found 2");
        for bad in [
            &br#"{"data":[{"embedding":"AAA="}]}"#[..],
            br#"{"data":[{"embedding":"!"}]}"#,
            b"{}",
            b"no",
        ] {
            assert_eq!(decode(bad, 1).unwrap_err().kind, ErrorKind::Protocol);
        }
        let error = decode(br#"{"error":"no embedding model is loaded"}"#, 1).unwrap_err();
        assert_eq!(error.message, "no embedding model is loaded");
    }

    #[test]
    fn a_request_reads_back_as_it_was_written() {
        let mut request = EmbedRequest::new("m", vec!["a".into(), "b".into()]);
        request.dimensions = Some(2);
        request.options.insert("input_type".into(), json!("query"));
        for base64 in [true, false] {
            let body = encode_request(&request, base64).unwrap();
            let decoded = decode_request(body.as_bytes().unwrap()).unwrap();
            assert_eq!(decoded, DecodedEmbed { request: request.clone(), base64 });
        }
        assert!(encode_request(&EmbedRequest::new("m", vec![]), true).is_err());
        let one = decode_request(br#"{"model":"m","input":"x"}"#).unwrap();
        assert_eq!(one.request.inputs, ["x"]);
        for (body, field) in [
            (&br#"{"input":"x"}"#[..], "model"),
            (br#"{"model":"m"}"#, "input"),
            (br#"{"model":"m","input":[[1,2]]}"#, "input"),
            (br#"{"model":"m","input":"x","dimensions":"many"}"#, "dimensions"),
            (br#"{"model":"m","input":"x","encoding_format":"binary"}"#, "encoding_format"),
            (b"{", ""),
        ] {
            assert_eq!(decode_request(body).unwrap_err().field, field);
        }
    }

    #[test]
    fn vectors_read_back_as_they_were_written() {
        let embeddings = Embeddings::new(vec![vec![0.1, -1.0], vec![2.5, 0.0]], Some(7));
        for base64 in [true, false] {
            assert_eq!(decode(&encode(&embeddings, "m", base64), 2).unwrap(), embeddings);
        }
        let written = String::from_utf8(encode(&embeddings, "m", false)).unwrap();
        assert!(written.contains(r#""embedding":[0.1,-1.0]"#), "{written}");
    }
}
