//! What stands beside an answer: sources, safety ratings, probabilities.
//!
//! The vendor repeats some of it in every chunk, so the last word counts and is reported at the end.

use plugin_api::{chat::Citation, event::ChatEvent, exchange::Outbox};
use serde_json::{Value, json, value::RawValue};

use super::{detail, wire::Candidate};

/// The facts of one answer, as far as they came.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Names and last values.
    held: Vec<(&'static str, Value)>,
    citations: Vec<Citation>,
}

impl Facts {
    /// Takes what stands beside a candidate's content.
    pub(super) fn candidate(&mut self, candidate: &Candidate<'_>) {
        for (name, raw) in [
            (detail::SAFETY_RATINGS, candidate.safety_ratings),
            (detail::GROUNDING, candidate.grounding_metadata),
            (detail::URL_CONTEXT, candidate.url_context_metadata),
            (detail::AVG_LOGPROBS, candidate.avg_logprobs),
        ] {
            self.hold(name, raw);
        }
        for (name, text) in [
            (detail::FINISH_MESSAGE, &candidate.finish_message),
            (detail::CONTINUATION_TOKEN, &candidate.continuation_token),
        ] {
            if let Some(text) = text.filled() {
                self.set(name, text.into());
            }
        }
        if let Some(raw) = candidate.citation_metadata {
            let value: Value = serde_json::from_str(raw.get()).unwrap_or_default();
            let list = value["citationSources"].as_array().or(value["citations"].as_array());
            for source in list.into_iter().flatten() {
                self.cite(citation(source));
            }
        }
    }

    /// Takes a fact; an empty one says nothing.
    pub(super) fn hold(&mut self, name: &'static str, raw: Option<&RawValue>) {
        let Some(raw) = raw.filter(|raw| !matches!(raw.get(), "{}" | "[]")) else { return };
        if let Ok(value) = serde_json::from_str(raw.get()) {
            self.set(name, value);
        }
    }

    fn set(&mut self, name: &'static str, value: Value) {
        match self.held.iter_mut().find(|(have, _)| *have == name) {
            Some((_, held)) => *held = value,
            None => self.held.push((name, value)),
        }
    }

    fn cite(&mut self, citation: Citation) {
        if !self.citations.contains(&citation) {
            self.citations.push(citation);
        }
    }

    /// Reports all; `text` is the part that sources belong to.
    pub(super) fn report(&mut self, text: Option<u32>, out: &mut Outbox<'_>) {
        if let Some((_, grounding)) = self.held.iter().find(|(name, _)| *name == detail::GROUNDING)
        {
            for citation in grounded(grounding) {
                self.cite(citation);
            }
        }
        if let Some(part) = text {
            for citation in self.citations.drain(..) {
                out.event(&ChatEvent::Citation { part, citation: Box::new(citation) });
            }
        }
        for (name, value) in self.held.drain(..) {
            out.event(&ChatEvent::Detail { part: None, name: name.to_owned(), value });
        }
    }
}

/// Reads one source of `citationMetadata`; what says more than the typed fields keeps its own form.
fn citation(source: &Value) -> Citation {
    let mut citation = Citation::default();
    let text = |name: &str| source[name].as_str().map(str::to_owned);
    citation.url = text("uri");
    citation.title = text("title");
    citation.answer_start = source["startIndex"].as_u64();
    citation.answer_end = source["endIndex"].as_u64();
    if typed(&citation) != *source {
        citation.native = Some(source.clone());
    }
    citation
}

/// Writes a source of `citationMetadata`; `None` for one that stands in the grounding.
pub(super) fn citation_source(citation: &Citation) -> Option<Value> {
    match &citation.native {
        Some(native) if !native[GROUNDED].is_null() => None,
        Some(native) if native["uri"].is_string() || native["startIndex"].is_u64() => {
            Some(native.clone())
        }
        _ => Some(typed(citation)),
    }
}

fn typed(citation: &Citation) -> Value {
    let mut source = json!({});
    for (name, value) in [
        ("startIndex", citation.answer_start.map(Value::from)),
        ("endIndex", citation.answer_end.map(Value::from)),
        ("uri", citation.url.as_deref().map(Value::from)),
        ("title", citation.title.as_deref().map(Value::from)),
    ] {
        if let Some(value) = value {
            source[name] = value;
        }
    }
    source
}

/// Reads the sources of `groundingMetadata`: each with the stretches of the answer that it supports.
fn grounded(metadata: &Value) -> Vec<Citation> {
    let mut citations = Vec::new();
    let chunks = metadata["groundingChunks"].as_array().map_or(&[][..], Vec::as_slice);
    let supports = metadata["groundingSupports"].as_array().map_or(&[][..], Vec::as_slice);
    for (at, chunk) in chunks.iter().enumerate() {
        let inner = ["web", "retrievedContext", "maps"].iter().find_map(|kind| chunk.get(*kind));
        let Some(inner) = inner else { continue };
        let mut citation = Citation::default();
        citation.url = inner["uri"].as_str().map(str::to_owned);
        citation.title = inner["title"].as_str().map(str::to_owned);
        citation.quote = inner["text"].as_str().map(str::to_owned);
        citation.native = Some(json!({ GROUNDED: chunk }));
        let names = |support: &&Value| {
            let indices = support["groundingChunkIndices"].as_array();
            indices.is_some_and(|list| list.iter().any(|index| index.as_u64() == Some(at as u64)))
        };
        let mut supported = false;
        for support in supports.iter().filter(names) {
            supported = true;
            let mut citation = citation.clone();
            // A segment at the very beginning has no start.
            citation.answer_start = Some(support["segment"]["startIndex"].as_u64().unwrap_or(0));
            citation.answer_end = support["segment"]["endIndex"].as_u64();
            citations.push(citation);
        }
        if !supported {
            citations.push(citation);
        }
    }
    citations
}

/// Marks the native form of a source that stands in `groundingMetadata`.
const GROUNDED: &str = "groundingChunk";
