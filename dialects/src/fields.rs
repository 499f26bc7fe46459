//! The fields of an object that a client wrote, taken out one by one, so that each can be named when
//! it is at fault and kept as it came when it is unknown.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use plugin_api::chat::ContentPart;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use crate::{
    lenient::Count,
    loss::{Loss, RequestError},
};

/// An object's fields, and its place for errors.
///
/// A name in camel case also finds the field in snake case, which vendors that write the one accept
/// too. `null` is as good as absent, except where a method says otherwise.
pub(crate) struct Fields<'a> {
    place: String,
    all: BTreeMap<Cow<'a, str>, &'a RawValue>,
}

impl<'a> Fields<'a> {
    /// Reads the body as a whole; its error says where in the body it is.
    pub(crate) fn of_body(body: &'a [u8]) -> Result<Self, RequestError> {
        let json =
            str::from_utf8(body).map_err(|error| RequestError::new("", error.to_string()))?;
        let Members(list) =
            serde_json::from_str(json).map_err(|error| RequestError::new("", error.to_string()))?;
        Ok(Self { place: String::new(), all: list.into_iter().collect() })
    }

    /// Reads an object that stands at `place`; of a field that is there twice the last counts.
    pub(crate) fn new(json: &'a str, place: impl Into<String>) -> Result<Self, RequestError> {
        let place = place.into();
        let Members(list) = parse(json, || place.clone())?;
        Ok(Self { place, all: list.into_iter().collect() })
    }

    /// Returns the place of a field.
    pub(crate) fn at(&self, name: &str) -> String {
        if self.place.is_empty() { name.to_owned() } else { format!("{}.{name}", self.place) }
    }

    /// Makes an error about a field.
    pub(crate) fn error(&self, name: &str, message: impl Into<String>) -> RequestError {
        RequestError::new(self.at(name), message)
    }

    /// Makes the error about a field that is not there.
    pub(crate) fn missing(&self, name: &str) -> RequestError {
        self.error(name, "is missing")
    }

    /// Reports whether a field is there, be it `null`.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.all.contains_key(name)
    }

    /// Looks at a field as it came, unless it is `null`.
    pub(crate) fn look(&self, name: &str) -> Option<&'a RawValue> {
        self.all.get(name).copied().filter(|raw| raw.get() != "null")
    }

    /// Looks at a field that is a text.
    pub(crate) fn peek(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.all.get(name)?.get()).ok()
    }

    /// Takes a field out as it came, be it `null`.
    pub(crate) fn remove(&mut self, name: &str) -> Option<&'a RawValue> {
        self.all.remove(name)
    }

    /// Takes a field out as JSON.
    pub(crate) fn raw(&mut self, name: &str) -> Option<&'a RawValue> {
        let found = self.all.remove(name);
        let other = snake(name).and_then(|name| self.all.remove(&*name));
        let there = |raw: &&RawValue| raw.get() != "null";
        found.filter(there).or(other.filter(there))
    }

    /// Takes a field out.
    pub(crate) fn take<T: Deserialize<'a>>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, RequestError> {
        self.raw(name).map(|raw| parse(raw.get(), || self.at(name))).transpose()
    }

    /// Takes out a field that must be there.
    pub(crate) fn require<T: Deserialize<'a>>(&mut self, name: &str) -> Result<T, RequestError> {
        self.take(name)?.ok_or_else(|| self.missing(name))
    }

    /// Takes a whole number out, which clients also write with a fraction (`40.0`) or as a text.
    pub(crate) fn count(&mut self, name: &str) -> Result<Option<u64>, RequestError> {
        let Some(Count(count)) = self.take(name)? else { return Ok(None) };
        count.map(Some).ok_or_else(|| self.error(name, "expected a whole number"))
    }

    /// Takes an object out.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Self>, RequestError> {
        let place = self.at(name);
        self.raw(name).map(|raw| Fields::new(raw.get(), place)).transpose()
    }

    /// Takes a list out, or a single item where a list belongs.
    pub(crate) fn list(&mut self, name: &str) -> Result<Vec<&'a RawValue>, RequestError> {
        let Some(raw) = self.raw(name) else { return Ok(Vec::new()) };
        if raw.get().starts_with('[') { parse(raw.get(), || self.at(name)) } else { Ok(vec![raw]) }
    }

    /// Names what was not taken out as left out.
    pub(crate) fn name_rest(self, losses: &mut Vec<Loss>) {
        let place = self.place.clone();
        for (name, value) in self.rest() {
            if !ECHOED.contains(&&*name) && !says_nothing(&value) {
                losses.push(Loss::dropped(format!("{place}.{name}"), "is not known here"));
            }
        }
    }

    /// Returns what was not taken out.
    pub(crate) fn rest(self) -> impl Iterator<Item = (String, Value)> {
        self.all.into_iter().filter_map(|(name, raw)| {
            let value: Value = serde_json::from_str(raw.get()).unwrap_or_default();
            (!value.is_null()).then(|| (name.into_owned(), value))
        })
    }
}

/// The members of an object, in order, each value as it came.
pub(crate) struct Members<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Ordered;
        impl<'de> Visitor<'de> for Ordered {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Ordered)
    }
}

/// A member's name, borrowed where it holds no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads a value that stands at `place`.
pub(crate) fn parse<'a, T: Deserialize<'a>>(
    json: &'a str,
    place: impl FnOnce() -> String,
) -> Result<T, RequestError> {
    serde_json::from_str(json).map_err(|error| unreadable(&error, place()))
}

fn unreadable(error: &serde_json::Error, place: String) -> RequestError {
    // The place inside the value says little once the field is named.
    let text = error.to_string();
    RequestError::new(place, text.split(" at line ").next().unwrap_or_default())
}

/// The fields of a value that its type does not know.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Unread(Vec<String>);

impl Unread {
    /// Names them as left out, except those that say nothing and those that answers hold and clients
    /// only send back.
    pub(crate) fn name(self, json: &str, place: impl Fn() -> String, losses: &mut Vec<Loss>) {
        if self.0.is_empty() {
            return;
        }
        let value: Value = serde_json::from_str(json).unwrap_or_default();
        for path in self.0 {
            // A question mark stands for an optional value.
            let steps: Vec<&str> = path.split('.').filter(|step| *step != "?").collect();
            let found = steps.iter().try_fold(&value, |value, step| match value {
                Value::Array(list) => list.get(step.parse::<usize>().ok()?),
                _ => value.get(step),
            });
            let is_echo = steps.last().is_some_and(|name| ECHOED.contains(name));
            if is_echo || found.is_some_and(says_nothing) {
                continue;
            }
            let mut field = place();
            for step in steps {
                match step.parse::<usize>() {
                    Ok(index) => field.push_str(&format!("[{index}]")),
                    Err(_) => field.push_str(&format!(".{step}")),
                }
            }
            losses.push(Loss::dropped(field, "is not known here"));
        }
    }
}

/// Fields of answers.
const ECHOED: [&str; 5] = ["id", "index", "logprobs", "status", "type"];

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Parses a value as [`parse`] does; also returns the fields that its type does not know.
pub(crate) fn parse_all<'a, T: Deserialize<'a>>(
    json: &'a str,
    place: impl FnOnce() -> String,
) -> Result<(T, Unread), RequestError> {
    let mut unread = Vec::new();
    let mut reader = serde_json::Deserializer::from_str(json);
    let read = serde_ignored::deserialize(&mut reader, |path| unread.push(path.to_string()));
    let read = read.and_then(|value| reader.end().map(|()| value));
    let value = read.map_err(|error| unreadable(&error, place()))?;
    Ok((value, Unread(unread)))
}

/// What is wrong with a part: the name of the field, and why.
pub(crate) type Fault = (&'static str, &'static str);

/// Reads content of OpenAI's formats: a text, or parts, each of which `part` makes of its wire form.
pub(crate) fn text_or_parts<'a, T: Deserialize<'a>>(
    field: impl Fn() -> String,
    raw: Option<&'a RawValue>,
    part: impl Fn(T) -> Result<ContentPart, Fault>,
    losses: &mut Vec<Loss>,
) -> Result<Vec<ContentPart>, RequestError> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    let json = raw.get();
    if json == "null" || json == "\"\"" {
        return Ok(Vec::new());
    }
    if json.starts_with('"') {
        return Ok(vec![ContentPart::text(parse::<String>(json, field)?)]);
    }
    let list: Vec<&RawValue> = parse(json, &field)?;
    let mut parts = Vec::with_capacity(list.len());
    for (nth, raw) in list.into_iter().enumerate() {
        let place = || format!("{}[{nth}]", field());
        let (wire, unread) = parse_all(raw.get(), place)?;
        unread.name(raw.get(), place, losses);
        let wrong = |(name, why)| RequestError::new(format!("{}.{name}", place()), why);
        parts.push(part(wire).map_err(wrong)?);
    }
    Ok(parts)
}

/// Returns the other spelling of a name in camel case.
fn snake(camel: &str) -> Option<String> {
    if !camel.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut name = String::with_capacity(camel.len() + 4);
    for c in camel.chars() {
        if c.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_one_field_and_null_is_none() {
        let json = r#"{"top_k":40.0,"topP":null,"top_p":1,"mime_type":"a","odd":[1],"none":null}"#;
        let mut fields = Fields::new(json, "x").unwrap();
        assert_eq!(fields.count("topK").unwrap(), Some(40));
        assert_eq!(fields.take::<f64>("topP").unwrap(), Some(1.0));
        let error = fields.count("mimeType").unwrap_err();
        assert_eq!(error.to_string(), "`x.mimeType`: expected a whole number");
        assert_eq!(fields.rest().collect::<Vec<_>>(), [("odd".to_owned(), serde_json::json!([1]))]);
    }

    #[test]
    fn a_name_in_snake_case_is_one_spelling() {
        let mut fields = Fields::of_body(br#"{"topP":1,"n":null,"kind":"a"}"#).unwrap();
        assert_eq!(fields.take::<f64>("top_p").unwrap(), None);
        assert_eq!(fields.require::<u64>("n").unwrap_err().to_string(), "`n`: is missing");
        assert_eq!(fields.peek("kind").as_deref(), Some("a"));
        assert!(fields.contains("topP") && !fields.contains("n"));
    }

    #[test]
    fn a_fault_of_the_body_says_where_it_is_and_one_of_a_field_which() {
        let fault = |body: &[u8]| Fields::of_body(body).err().unwrap().to_string();
        assert_eq!(fault(b"[]"), "invalid type: sequence, expected a map at line 1 column 0");
        assert!(fault(b"{\"a\":\xff}").starts_with("invalid utf-8"));
        let mut fields = Fields::of_body(br#"{"n":"x"}"#).unwrap();
        let error = fields.take::<u64>("n").unwrap_err();
        assert_eq!(error.to_string(), "`n`: invalid type: string \"x\", expected u64");
    }
}
