//! `-o key=value` and `--schema`: what a request carries beside its messages.

use std::{fs, path::Path};

use anyhow::Context;
use plugin_api::chat::{ChatRequest, JsonSchema, ReasoningSettings, ResponseFormat};
use serde_json::Value;

use crate::cli::failure::Failure;

/// The settings of all requests of one command.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    options: Vec<Setting>,
    schema: Option<JsonSchema>,
}

/// One `-o key=value`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setting {
    key: String,
    /// The value as it was typed.
    text: String,
}

impl Setting {
    /// Splits at the first `=`; for clap.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(Self { key: key.trim().to_owned(), text: value.to_owned() })
            }
            _ => Err("expected `key=value`".to_owned()),
        }
    }

    /// Reads the value as JSON, and as text if it is none.
    fn value(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| Value::from(self.text.as_str()))
    }

    /// Reads the value as text; JSON's quotes may stand around it or not.
    fn string(&self) -> String {
        match self.value() {
            Value::String(text) => text,
            _ => self.text.clone(),
        }
    }

    fn wrong(&self, expected: &str) -> Failure {
        Failure::usage(
            format!("option `{}`: expected {expected}, found `{}`", self.key, self.text),
            "`maestro chat --help` lists the options that are checked",
        )
    }

    fn number(&self) -> Result<Option<f64>, Failure> {
        self.value().as_f64().map(Some).ok_or_else(|| self.wrong("a number"))
    }

    fn count(&self) -> Result<Option<u64>, Failure> {
        self.value().as_u64().map(Some).ok_or_else(|| self.wrong("a whole number"))
    }

    fn texts(&self) -> Result<Vec<String>, Failure> {
        let Value::Array(items) = self.value() else { return Ok(vec![self.string()]) };
        let text = |item: Value| item.as_str().map(str::to_owned);
        items.into_iter().map(text).collect::<Option<_>>().ok_or_else(|| self.wrong("texts"))
    }

    fn apply(&self, request: &mut ChatRequest) -> Result<(), Failure> {
        let sampling = &mut request.sampling;
        match self.key.as_str() {
            "temperature" => sampling.temperature = self.number()?,
            "top_p" => sampling.top_p = self.number()?,
            "top_k" => sampling.top_k = self.count()?,
            "frequency_penalty" => sampling.frequency_penalty = self.number()?,
            "presence_penalty" => sampling.presence_penalty = self.number()?,
            "seed" => {
                let seed = self.value().as_i64().ok_or_else(|| self.wrong("a whole number"))?;
                sampling.seed = Some(seed);
            }
            "max_tokens" | "max_output_tokens" => request.max_output_tokens = self.count()?,
            "stop" => request.stop.extend(self.texts()?),
            "reasoning_effort" => {
                let reasoning = request.reasoning.get_or_insert_with(ReasoningSettings::default);
                reasoning.effort = Some(self.string());
            }
            "parallel_tool_calls" => {
                let flag = self.value().as_bool().ok_or_else(|| self.wrong("true or false"))?;
                request.parallel_tool_calls = Some(flag);
            }
            _ => {
                request.options.insert(self.key.clone(), self.value());
            }
        }
        Ok(())
    }
}

impl Settings {
    /// Takes the options and reads the schema; mistakes in either show here, not at the first turn.
    pub(super) fn new(options: Vec<Setting>, schema: Option<&Path>) -> Result<Self, Failure> {
        let schema = schema.map(read_schema).transpose()?;
        let settings = Self { options, schema };
        settings.apply(&mut ChatRequest::default())?;
        Ok(settings)
    }

    /// Says which options are passed on as they are though they look like one that is checked.
    pub(super) fn slips(&self) -> Vec<String> {
        let passed = self.options.iter().filter(|setting| !KNOWN.contains(&setting.key.as_str()));
        passed
            .filter_map(|Setting { key, .. }| {
                let near = KNOWN.into_iter().find(|known| is_slip(key, known))?;
                Some(format!(
                    "option `{key}` is passed to the provider by that name; did you mean `{near}`?"
                ))
            })
            .collect()
    }

    /// Puts everything into a request. A later option of one name counts.
    pub(super) fn apply(&self, request: &mut ChatRequest) -> Result<(), Failure> {
        self.options.iter().try_for_each(|setting| setting.apply(request))?;
        if let Some(schema) = &self.schema {
            request.response_format = Some(ResponseFormat::JsonSchema(schema.clone()));
        }
        Ok(())
    }
}

/// Reports whether `key` is another spelling of `known`.
///
/// Vendors have options of their own with short names such as `top_a`, so that a short one must be
/// the same but for case and hyphens.
fn is_slip(key: &str, known: &str) -> bool {
    let plain = |text: &str| text.to_lowercase().replace(['_', '-', '.'], "");
    let (key, known) = (plain(key), plain(known));
    key == known || (known.len() > 5 && strsim::osa_distance(&key, &known) <= 2)
}

fn read_schema(path: &Path) -> Result<JsonSchema, Failure> {
    let what = || format!("failed to read the schema `{}`", path.display());
    let text = fs::read_to_string(path).with_context(what)?;
    let schema: Value = serde_json::from_str(&text).with_context(what)?;
    if !schema.is_object() {
        return Err(Failure::usage(
            format!("`{}` is not a JSON Schema: expected an object", path.display()),
            "see https://json-schema.org",
        ));
    }
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let title = schema.get("title").and_then(Value::as_str).map(str::to_owned);
    let name = schema_name(&title.or(stem).unwrap_or_default());
    Ok(JsonSchema::new(name, schema))
}

/// Makes a name that every vendor accepts.
fn schema_name(text: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let name: String =
        text.chars().map(|c| if fits(c) { c } else { '_' }).take(MAX_SCHEMA_NAME).collect();
    if name.is_empty() { "answer".to_owned() } else { name }
}

/// The options that mean the same for every provider.
const KNOWN: [&str; 11] = [
    "temperature",
    "top_p",
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "max_tokens",
    "max_output_tokens",
    "stop",
    "reasoning_effort",
    "parallel_tool_calls",
];

/// OpenAI's limit, the tightest.
const MAX_SCHEMA_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(options: &[&str]) -> Result<ChatRequest, Failure> {
        let options = options.iter().map(|text| Setting::parse(text).unwrap()).collect();
        let mut request = ChatRequest::default();
        Settings::new(options, None)?.apply(&mut request)?;
        Ok(request)
    }

    #[test]
    fn known_options_are_typed() {
        let request = request(&[
            "temperature=0.5",
            "top_p=1",
            "top_k=40",
            "max_tokens=99",
            "seed=-3",
            "stop=END",
            "stop=[\"a\",\"b\"]",
            "stop=5",
            "reasoning_effort=low",
            "frequency_penalty=0.1",
            "presence_penalty=0.2",
            "parallel_tool_calls=false",
        ])
        .unwrap();
        assert_eq!(request.sampling.temperature, Some(0.5));
        assert_eq!(request.sampling.top_p, Some(1.0));
        assert_eq!(request.sampling.top_k, Some(40));
        assert_eq!(request.sampling.seed, Some(-3));
        assert_eq!(request.sampling.frequency_penalty, Some(0.1));
        assert_eq!(request.sampling.presence_penalty, Some(0.2));
        assert_eq!(request.max_output_tokens, Some(99));
        assert_eq!(request.stop, ["END", "a", "b", "5"]);
        assert_eq!(request.reasoning.unwrap().effort.as_deref(), Some("low"));
        assert_eq!(request.parallel_tool_calls, Some(false));
        assert!(request.options.is_empty());
    }

    #[test]
    fn other_options_are_passed_on_as_json_or_text() {
        let request = request(&["tier=flex", "n=2", "x={\"a\":[1]}", "q=\"2\"", "e="]).unwrap();
        assert_eq!(
            serde_json::to_value(&request.options).unwrap(),
            json!({"tier": "flex", "n": 2, "x": {"a": [1]}, "q": "2", "e": ""})
        );
    }

    #[test]
    fn a_misspelt_option_is_pointed_out_and_a_vendors_own_is_not() {
        let slips = |key: &str| {
            let option = Setting::parse(&format!("{key}=1")).unwrap();
            Settings { options: vec![option], schema: None }.slips()
        };
        for (slip, known) in [
            ("temprature", "temperature"),
            ("maxTokens", "max_tokens"),
            ("top-p", "top_p"),
            ("Reasoning_Effrot", "reasoning_effort"),
        ] {
            let expected = format!(
                "option `{slip}` is passed to the provider by that name; did you mean `{known}`?"
            );
            assert_eq!(slips(slip), [expected]);
        }
        let own = ["top_a", "min_p", "tier", "step", "max_completion_tokens", "top_logprobs", "n"];
        for own in own.into_iter().chain(KNOWN) {
            assert!(slips(own).is_empty(), "{own}");
        }
    }

    #[test]
    fn every_known_option_is_checked() {
        for known in KNOWN {
            let mut request = ChatRequest::default();
            let _ = Setting::parse(&format!("{known}=1")).unwrap().apply(&mut request);
            assert!(request.options.is_empty(), "{known}");
        }
    }

    #[test]
    fn a_wrong_value_is_a_usage_error() {
        for bad in ["temperature=hot", "top_k=-1", "max_tokens=1.5", "parallel_tool_calls=2"] {
            let failure = request(&[bad]).unwrap_err();
            assert_eq!(failure.exit_code(), 2, "{bad}");
            assert!(failure.to_string().starts_with("option `"), "{failure}");
        }
        assert!(Setting::parse("novalue").is_err() && Setting::parse("=x").is_err());
    }

    #[test]
    fn a_schema_is_read_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my cat.json");
        fs::write(&path, r#"{"type":"object"}"#).unwrap();
        let settings = Settings::new(Vec::new(), Some(&path)).unwrap();
        assert_eq!(settings.schema.unwrap().name, "my_cat");
        fs::write(&path, r#"{"title":"A Pet!"}"#).unwrap();
        assert_eq!(read_schema(&path).unwrap().name, "A_Pet_");
        fs::write(&path, "[]").unwrap();
        assert_eq!(read_schema(&path).unwrap_err().exit_code(), 2);
        fs::write(&path, "{").unwrap();
        assert_eq!(read_schema(&path).unwrap_err().exit_code(), 1);
    }
}
