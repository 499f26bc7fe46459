//! Changes a client's own body without reading it.

use serde_json::Value;

use crate::{
    chat::NativeBody,
    http::{Body, Headers, Piece},
};

/// Writes a client's body with top-level fields set and removed; the rest stays byte for byte.
///
/// A field that is there is replaced in its place, another is added at the end. Of a field that stands
/// there twice the first place counts.
#[must_use]
pub fn edit(native: &NativeBody, set: &[(&str, Value)], remove: &[&str]) -> Body {
    let mut body = Body::default();
    let mut written: Vec<&str> = Vec::new();
    let mut comma = "{";
    for field in &native.fields {
        let name = field.name.as_str();
        if remove.contains(&name) || written.contains(&name) {
            continue;
        }
        body.push_bytes(comma.as_bytes());
        comma = ",";
        match set.iter().find(|(set, _)| *set == name) {
            Some((_, value)) => {
                push_field(&mut body, name, value);
                written.push(name);
            }
            None => body.pieces.push(Piece::Native { start: field.key_start, end: field.end }),
        }
    }
    for (name, value) in set {
        if !written.contains(name) {
            body.push_bytes(comma.as_bytes());
            comma = ",";
            push_field(&mut body, name, value);
        }
    }
    body.push_bytes(if comma == "{" { b"{}" } else { b"}" });
    body
}

/// Returns the value of a field, if it is there and small enough to be in the index.
#[must_use]
pub fn value<'a>(native: &'a NativeBody, name: &str) -> Option<&'a Value> {
    native.fields.iter().find(|field| field.name == name)?.value.as_ref()
}

/// Reports whether a field is there, however long.
#[must_use]
pub fn has(native: &NativeBody, name: &str) -> bool {
    native.fields.iter().any(|field| field.name == name)
}

/// Reports whether the client waits for a stream by the field `stream`.
#[must_use]
pub fn streams(native: &NativeBody) -> bool {
    value(native, "stream") == Some(&Value::Bool(true))
}

/// Reports whether the host passes an answer with this head on as it comes: a success, not compressed, in
/// the form that the client waits for. Any other is translated from what the plugin tells of it, so a
/// decoder that only reads along must then tell everything.
#[must_use]
pub fn is_passed_on(streams: bool, status: u16, headers: &Headers) -> bool {
    let expected = if streams { "text/event-stream" } else { "application/json" };
    (200..300).contains(&status)
        && headers.first("content-encoding").is_none_or(|coding| coding == "identity")
        && headers.content_type().eq_ignore_ascii_case(expected)
}

/// Reports whether the body says a word of [`WORDS`] anywhere, as a whole string.
///
/// It may stand where it means something else, say in a text of the user's; then the request is
/// translated although it could have been passed on, and loses nothing.
#[must_use]
pub fn says(native: &NativeBody, word: &str) -> bool {
    native.words.iter().any(|said| said == word)
}

/// Words that a server may not take below the top level of a body: the role `developer`, tools of the
/// type `custom`, pictures at an `image_url`, and marks for the cache.
pub const WORDS: &[&str] = &["developer", "custom", "image_url", "prompt_cache_breakpoint"];

fn push_field(body: &mut Body, name: &str, value: &Value) {
    body.push_bytes(format!("{}:{value}", Value::from(name)).as_bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::chat::NativeField;

    const TEXT: &str = r#"{ "model": "a", "x" : [1.0], "model":"b", "stream":false }"#;

    fn native() -> NativeBody {
        let field = |name: &str, text: &str| {
            let key_start = TEXT.find(text).unwrap() as u64;
            let end = key_start + text.len() as u64;
            NativeField { name: name.into(), key_start, start: 0, end, value: None }
        };
        let fields = vec![
            field("model", r#""model": "a""#),
            field("x", r#""x" : [1.0]"#),
            field("model", r#""model":"b""#),
            field("stream", r#""stream":false"#),
        ];
        NativeBody { len: TEXT.len() as u64, fields, ..NativeBody::default() }
    }

    fn written(set: &[(&str, Value)], remove: &[&str]) -> String {
        let mut text = String::new();
        for piece in edit(&native(), set, remove).pieces {
            match piece {
                Piece::Bytes(bytes) => text.push_str(std::str::from_utf8(&bytes).unwrap()),
                Piece::Native { start, end } => text.push_str(&TEXT[start as usize..end as usize]),
                Piece::Blob { .. } => panic!(),
            }
        }
        text
    }

    #[test]
    fn fields_are_set_in_place_added_and_removed() {
        assert_eq!(
            written(&[("model", json!("c")), ("new", json!(1))], &["stream"]),
            r#"{"model":"c","x" : [1.0],"new":1}"#
        );
        assert_eq!(written(&[], &["model", "x", "stream"]), "{}");
        assert!(has(&native(), "x") && !has(&native(), "y"));
        assert_eq!((value(&native(), "x"), streams(&native())), (None, false));
        assert_eq!(
            written(&[("only", json!(null))], &["model", "x", "stream"]),
            r#"{"only":null}"#
        );
    }
}
