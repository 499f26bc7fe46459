//! Where an answer's claims come from.
//!
//! A citation keeps its own form beside the typed fields, because Anthropic wants it back as it was:
//! a place in a document, or an encrypted index into a search.

use plugin_api::chat::Citation;
use serde_json::{Value, json};

/// Reads a citation.
pub(super) fn citation(value: Value) -> Citation {
    let text =
        |names: [&str; 2]| names.iter().find_map(|name| value[*name].as_str()).map(str::to_owned);
    let place = |side: &str| {
        let names = ["char_index", "page_number", "block_index"];
        names.iter().find_map(|name| value[format!("{side}_{name}")].as_u64())
    };
    let mut citation = Citation::default();
    citation.url = text(["url", "source"]);
    citation.title = text(["title", "document_title"]);
    citation.quote = text(["cited_text", "cited_text"]);
    citation.source_start = place("start");
    citation.source_end = place("end");
    citation.native = Some(value);
    citation
}

/// Returns a citation's own form, unless it is of another vendor.
pub(super) fn native(citation: &Citation) -> Option<&Value> {
    let kind = |native: &&Value| native["type"].as_str().is_some_and(|k| k.ends_with("_location"));
    citation.native.as_ref().filter(kind)
}

/// Writes a citation for a client; another vendor's as a result of a search, which is the form that
/// holds an address.
pub(super) fn for_client(citation: &Citation) -> Value {
    native(citation).cloned().unwrap_or_else(|| {
        json!({
            "type": "web_search_result_location",
            "url": citation.url.as_deref().unwrap_or_default(),
            "title": citation.title,
            "cited_text": citation.quote.as_deref().unwrap_or_default(),
            "encrypted_index": "",
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_place_is_typed_and_kept() {
        for (native, start, url) in [
            (json!({"type": "char_location", "cited_text": "x", "start_char_index": 3}), 3, None),
            (json!({"type": "page_location", "cited_text": "x", "start_page_number": 4}), 4, None),
            (
                json!({"type": "search_result_location", "cited_text": "x", "source": "u",
                    "start_block_index": 0}),
                0,
                Some("u"),
            ),
        ] {
            let read = citation(native.clone());
            assert_eq!((read.source_start, read.url.as_deref()), (Some(start), url));
            assert_eq!(read.quote.as_deref(), Some("x"));
            assert_eq!(super::native(&read), Some(&native));
            assert_eq!(for_client(&read), native);
        }
    }

    #[test]
    fn another_vendors_citation_is_written_with_its_address() {
        let mut foreign = Citation::default();
        foreign.url = Some("https://a.test/".into());
        foreign.native = Some(json!({"type": "url_citation"}));
        assert_eq!(native(&foreign), None);
        assert_eq!(for_client(&foreign)["url"], "https://a.test/");
    }
}
