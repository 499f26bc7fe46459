//! Generated pieces that every dialect can carry, and how its properties are tried.

use plugin_api::chat::*;
use proptest::{
    collection::vec,
    option,
    prelude::*,
    strategy::ValueTree,
    test_runner::{FileFailurePersistence, TestRunner},
};
use serde_json::json;

/// The bytes behind the blobs that [`bytes`] points to.
pub(crate) const BLOBS: &[(u32, &[u8])] = &[(0, b"\x00\x01\x02"), (1, b"hello"), (2, b"")];

/// A failing case prints its seed and leaves it beside its file, to be run first from then on.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    let beside = FileFailurePersistence::WithSource("regressions");
    let failure_persistence = Some(Box::new(beside) as _);
    ProptestConfig { cases, failure_persistence, ..ProptestConfig::default() }
}

/// Looks at 1000 samples, always the same; counts those for which `look` has an answer, and those for
/// which it is yes.
///
/// A property that passes over samples with a loss holds for nothing if nearly every one has one.
pub(crate) fn census<T: std::fmt::Debug>(
    samples: impl Strategy<Value = T>,
    look: impl Fn(&T) -> Option<bool>,
) -> (u32, u32) {
    let mut runner = TestRunner::deterministic();
    let mut counts = (0, 0);
    for _ in 0..1000 {
        if let Some(yes) = look(&samples.new_tree(&mut runner).unwrap().current()) {
            counts = (counts.0 + 1, counts.1 + u32::from(yes));
        }
    }
    counts
}

/// Reports whether a part of a request's messages is of a kind.
pub(crate) fn holds(request: &ChatRequest, kind: fn(&Content) -> bool) -> bool {
    request.messages.iter().flat_map(|message| &message.parts).any(|part| kind(&part.content))
}

pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{1,12}", "\\PC{1,6}", Just("a\n\"\\\u{0}é\u{2028}".to_owned())]
}

pub(crate) fn name() -> impl Strategy<Value = String> {
    "[a-z_][a-z0-9_]{0,8}"
}

pub(crate) fn number() -> impl Strategy<Value = Option<f64>> {
    option::of((-20..20i32).prop_map(|number| f64::from(number) / 8.0))
}

pub(crate) fn part(content: Content) -> ContentPart {
    content.into()
}

pub(crate) fn plain_text() -> impl Strategy<Value = ContentPart> {
    text().prop_map(ContentPart::text)
}

pub(crate) fn bytes() -> impl Strategy<Value = DataSource> {
    prop_oneof![
        vec(any::<u8>(), 0..7).prop_map(|data| DataSource::Inline { data }),
        (0..3u32).prop_map(|id| DataSource::Blob { id, len: BLOBS[id as usize].1.len() as u64 }),
    ]
}

/// A tool of any kind; `hosted` is one that the vendor runs.
pub(crate) fn tool(hosted: Opaque) -> impl Strategy<Value = ToolDefinition> {
    let schema =
        option::of(Just(json!({"type": "object", "properties": {"a": {"type": "string"}}})));
    let strict = option::of(any::<bool>());
    prop_oneof![
        (name(), option::of(text()), schema, strict).prop_map(
            |(name, description, schema, strict)| {
                let mut tool = FunctionTool::new(name, schema);
                (tool.description, tool.strict) = (description, strict);
                ToolDefinition::Function(tool)
            }
        ),
        (name(), option::of(text())).prop_map(|(name, description)| {
            let mut tool = CustomTool::new(name);
            tool.description = description;
            tool.format = Some(json!({"type": "text"}));
            ToolDefinition::Custom(tool)
        }),
        Just(ToolDefinition::Provider(hosted)),
    ]
}

/// A choice among functions and custom tools.
pub(crate) fn choice() -> impl Strategy<Value = ToolChoice> {
    let kind = || prop_oneof![Just(ToolKind::Function), Just(ToolKind::Custom)];
    prop_oneof![
        Just(ToolChoice::Auto),
        Just(ToolChoice::None),
        Just(ToolChoice::Required),
        (name(), kind()).prop_map(|(name, kind)| ToolChoice::Tool { name, kind }),
        (vec(name(), 1..3), any::<bool>())
            .prop_map(|(names, required)| ToolChoice::Allowed { names, required }),
    ]
}

/// A form of the answer, described and strict or not.
pub(crate) fn format() -> impl Strategy<Value = ResponseFormat> {
    prop_oneof![
        Just(ResponseFormat::Text),
        Just(ResponseFormat::JsonObject),
        (name(), option::of(text()), option::of(any::<bool>())).prop_map(|(name, text, strict)| {
            let mut schema = JsonSchema::new(name, json!({"type": "object"}));
            (schema.description, schema.strict) = (text, strict);
            ResponseFormat::JsonSchema(schema)
        }),
    ]
}
