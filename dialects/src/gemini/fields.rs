//! The fields of an object that a client wrote: in camel or snake case, `null` as good as absent.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use crate::{lenient::Count, loss::RequestError};

/// An object's fields, to be taken out one by one, and its place for errors.
pub(super) struct Fields<'a> {
    place: String,
    fields: BTreeMap<Cow<'a, str>, &'a RawValue>,
}

impl<'a> Fields<'a> {
    /// Reads an object; `place` is empty for the body as a whole.
    pub(super) fn new(json: &'a str, place: impl Into<String>) -> Result<Self, RequestError> {
        let place = place.into();
        let fields = read(json, &place)?;
        Ok(Self { place, fields })
    }

    /// Returns the place of a field.
    pub(super) fn at(&self, name: &str) -> String {
        if self.place.is_empty() { name.to_owned() } else { format!("{}.{name}", self.place) }
    }

    /// Makes an error about a field.
    pub(super) fn error(&self, name: &str, message: impl Into<String>) -> RequestError {
        RequestError::new(self.at(name), message)
    }

    /// Takes a field out as JSON.
    pub(super) fn raw(&mut self, camel: &str) -> Option<&'a RawValue> {
        let found = self.fields.remove(camel);
        let other = self.fields.remove(&*snake(camel));
        let there = |raw: &&RawValue| raw.get() != "null";
        found.filter(there).or(other.filter(there))
    }

    /// Takes a field out.
    pub(super) fn take<T: DeserializeOwned>(
        &mut self,
        camel: &str,
    ) -> Result<Option<T>, RequestError> {
        self.raw(camel).map(|raw| read(raw.get(), &self.at(camel))).transpose()
    }

    /// Takes a whole number out, which clients also write with a fraction (`40.0`) or as a text.
    pub(super) fn count(&mut self, camel: &str) -> Result<Option<u64>, RequestError> {
        let Some(Count(count)) = self.take(camel)? else { return Ok(None) };
        count.map(Some).ok_or_else(|| self.error(camel, "expected a whole number"))
    }

    /// Takes an object out.
    pub(super) fn object(&mut self, camel: &str) -> Result<Option<Self>, RequestError> {
        let place = self.at(camel);
        self.raw(camel).map(|raw| Fields::new(raw.get(), place)).transpose()
    }

    /// Takes a list out, or a single item where a list belongs.
    pub(super) fn list(&mut self, camel: &str) -> Result<Vec<&'a RawValue>, RequestError> {
        let Some(raw) = self.raw(camel) else { return Ok(Vec::new()) };
        if raw.get().starts_with('[') { read(raw.get(), &self.at(camel)) } else { Ok(vec![raw]) }
    }

    /// Returns what was not taken out.
    pub(super) fn rest(self) -> impl Iterator<Item = (String, Value)> {
        self.fields.into_iter().filter_map(|(name, raw)| {
            let value: Value = serde_json::from_str(raw.get()).unwrap_or_default();
            (!value.is_null()).then(|| (name.into_owned(), value))
        })
    }
}

/// Reads a value of a place.
pub(super) fn read<'a, T: Deserialize<'a>>(json: &'a str, place: &str) -> Result<T, RequestError> {
    serde_json::from_str(json).map_err(|error| {
        let text = error.to_string();
        // The line inside a value says little once the field is named.
        let named = text.split(" at line ").next().unwrap_or_default();
        RequestError::new(place, if place.is_empty() { &text } else { named })
    })
}

fn snake(camel: &str) -> String {
    let mut name = String::with_capacity(camel.len() + 4);
    for c in camel.chars() {
        if c.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
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
        assert!(Fields::new("[]", "").is_err());
    }
}
