//! Arguments of a call that arrive as values at paths (`streamFunctionCallArguments`).

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::lenient::{Text, or_default};

/// One value of the arguments, or a piece of a text.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PartialArg<'a> {
    #[serde(borrow)]
    json_path: Text<'a>,
    #[serde(borrow)]
    string_value: Option<Text<'a>>,
    number_value: Option<Value>,
    bool_value: Option<bool>,
    #[serde(deserialize_with = "or_default")]
    will_continue: bool,
}

/// Arguments as far as they came.
#[derive(Debug, Default)]
pub(super) struct Partial {
    arguments: Map<String, Value>,
    /// The path whose text goes on.
    open: Option<String>,
}

impl Partial {
    /// Takes arguments that came whole.
    pub(super) fn merge(&mut self, arguments: Map<String, Value>) {
        self.arguments.extend(arguments);
    }

    /// Takes a value. A path that cannot be followed is left out; says whether it could.
    pub(super) fn take(&mut self, piece: &PartialArg<'_>) -> bool {
        let path = &*piece.json_path.0;
        let continues = self.open.as_deref() == Some(path);
        self.open = piece.will_continue.then(|| path.to_owned());
        let Some(steps) = steps(path) else { return false };
        let Some(slot) = follow(&mut self.arguments, &steps) else { return false };
        let value = match (&piece.string_value, &piece.number_value, piece.bool_value) {
            (Some(text), ..) => Value::from(&*text.0),
            (None, Some(number), _) => number.clone(),
            (None, None, Some(flag)) => Value::Bool(flag),
            // The last piece of a text may be empty and hold no value at all.
            (None, None, None) if continues => return true,
            (None, None, None) => Value::Null,
        };
        match (slot, value) {
            (Value::String(text), Value::String(more)) if continues => text.push_str(&more),
            (slot, value) => *slot = value,
        }
        true
    }

    /// Returns the arguments as JSON.
    pub(super) fn json(&self) -> String {
        Value::Object(self.arguments.clone()).to_string()
    }
}

#[derive(Debug, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

/// Reads a path such as `$.stops[0].city` or `$['a key']`.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() && steps.len() < MAX_STEPS {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            steps.push(Step::Key(after[..end].to_owned()));
            rest = &after[end..];
            continue;
        }
        let after = rest.strip_prefix('[')?;
        if let Some(quote) = after.chars().next().filter(|c| matches!(c, '\'' | '"')) {
            let (key, tail) = after[1..].split_once(&format!("{quote}]"))?;
            steps.push(Step::Key(key.to_owned()));
            rest = tail;
        } else {
            let (index, tail) = after.split_once(']')?;
            steps.push(Step::Index(index.parse().ok()?));
            rest = tail;
        }
    }
    (rest.is_empty() && matches!(steps.first(), Some(Step::Key(_)))).then_some(steps)
}

/// Finds the place of a path, making what leads to it.
fn follow<'a>(root: &'a mut Map<String, Value>, steps: &[Step]) -> Option<&'a mut Value> {
    let (Step::Key(first), rest) = steps.split_first()? else { return None };
    let mut at = root.entry(first).or_insert(Value::Null);
    for step in rest {
        at = match step {
            Step::Key(key) => {
                if at.is_null() {
                    *at = Value::Object(Map::new());
                }
                at.as_object_mut()?.entry(key).or_insert(Value::Null)
            }
            Step::Index(index) => {
                if at.is_null() {
                    *at = Value::Array(Vec::new());
                }
                let list = at.as_array_mut()?;
                // Items come in order; a gap would be a made-up one.
                if *index == list.len() {
                    list.push(Value::Null);
                }
                list.get_mut(*index)?
            }
        };
    }
    Some(at)
}

/// Longest path; arguments are not nested deeper than JSON may be.
const MAX_STEPS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_find_their_places() {
        let mut partial = Partial::default();
        for (json, followed) in [
            (r#"{"jsonPath":"$.city","stringValue":"Rī","willContinue":true}"#, true),
            (r#"{"jsonPath":"$.city","stringValue":"ga","willContinue":true}"#, true),
            (r#"{"jsonPath":"$.city"}"#, true),
            (r#"{"jsonPath":"$.stops[0].n","numberValue":1.5}"#, true),
            (r#"{"jsonPath":"$.stops[1]['a b']","boolValue":true}"#, true),
            (r#"{"jsonPath":"$.none","nullValue":"NULL_VALUE"}"#, true),
            (r#"{"jsonPath":"$.stops[9].n","numberValue":1}"#, false),
            (r#"{"jsonPath":"$.city.x","numberValue":1}"#, false),
            (r#"{"jsonPath":"$[0]","numberValue":1}"#, false),
            (r#"{"jsonPath":"city","numberValue":1}"#, false),
            (r#"{"jsonPath":"$.a[","numberValue":1}"#, false),
        ] {
            let piece: PartialArg<'_> = serde_json::from_str(json).unwrap();
            assert_eq!(partial.take(&piece), followed, "{json}");
        }
        assert_eq!(
            partial.json(),
            r#"{"city":"Rīga","stops":[{"n":1.5},{"a b":true}],"none":null}"#
        );
    }
}
