//! Where an answer's claims come from, in the flat form of this dialect.

use plugin_api::chat::Citation;
use serde_json::{Value, json};

/// Reads one annotation. A `url_citation` is typed fully; whatever says more keeps its own form
/// beside the typed fields.
pub(super) fn read(value: Value) -> Citation {
    let mut citation = Citation::default();
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    citation.url = text("url");
    citation.title = text("title").or_else(|| text("filename"));
    citation.answer_start = value["start_index"].as_u64();
    citation.answer_end = value["end_index"].as_u64();
    if write(&citation) != value {
        citation.native = Some(value);
    }
    citation
}

/// Writes a citation. An official client wants all fields of a `url_citation`.
pub(super) fn write(citation: &Citation) -> Value {
    let known = ["url_citation", "file_citation", "container_file_citation", "file_path"];
    if let Some(native) = citation.native.as_ref()
        && known.iter().any(|kind| native["type"] == *kind)
        // The nested form of Chat Completions has the same name.
        && native["url_citation"].is_null()
    {
        return native.clone();
    }
    json!({
        "type": "url_citation",
        "url": citation.url.as_deref().unwrap_or_default(),
        "title": citation.title.as_deref().unwrap_or_default(),
        "start_index": citation.answer_start.unwrap_or(0),
        "end_index": citation.answer_end.unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_read_back_as_they_were_written() {
        for value in [
            json!({"type": "url_citation", "url": "https://a.test/", "title": "A", "start_index": 1, "end_index": 4}),
            json!({"type": "url_citation", "url": "https://a.test/"}),
            json!({"type": "file_citation", "file_id": "f", "filename": "n.txt", "index": 3}),
        ] {
            assert_eq!(write(&read(value.clone())), value);
        }
        let typed = read(
            json!({"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}),
        );
        assert_eq!((typed.native, typed.answer_end), (None, Some(1)));
        let nested = json!({"type": "url_citation", "url_citation": {"url": "u"}});
        let mut citation = Citation::default();
        (citation.url, citation.native) = (Some("u".into()), Some(nested));
        assert_eq!(write(&citation)["url"], "u");
    }
}
