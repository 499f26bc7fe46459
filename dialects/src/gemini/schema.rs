//! The vendor's older schemas: a subset of OpenAPI's, read as JSON Schema.

use serde_json::{Map, Value, json};

/// Turns a schema of the OpenAPI subset (`parameters`, `responseSchema`) into JSON Schema.
///
/// Types lose their capitals, `nullable` becomes a second type, counts that came as texts become
/// numbers, and `propertyOrdering`, which only the vendor knows, goes.
pub(super) fn from_openapi(schema: Value) -> Value {
    let Value::Object(fields) = schema else { return schema };
    let mut nullable = false;
    let mut out = Map::new();
    for (name, value) in fields {
        let name = camel(&name);
        let value = match (&*name, value) {
            ("nullable", value) => {
                nullable = value == true;
                continue;
            }
            ("propertyOrdering", _) => continue,
            ("type", Value::String(word)) if word == "TYPE_UNSPECIFIED" => continue,
            ("type", Value::String(word)) => word.to_ascii_lowercase().into(),
            ("items" | "additionalProperties" | "not", value) => from_openapi(value),
            ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(list)) => {
                list.into_iter().map(from_openapi).collect()
            }
            ("properties" | "$defs" | "definitions", Value::Object(map)) => {
                let each = map.into_iter().map(|(key, value)| (key, from_openapi(value)));
                Value::Object(each.collect())
            }
            (count, Value::String(text)) if COUNTS.contains(&count) => {
                text.parse::<u64>().map_or(Value::String(text), Value::from)
            }
            (_, value) => value,
        };
        out.insert(name.into_owned(), value);
    }
    if nullable {
        match out.get_mut("type") {
            Some(kind @ Value::String(_)) => *kind = json!([kind.take(), "null"]),
            Some(_) => {}
            None => {
                if let Some(Value::Array(any)) = out.get_mut("anyOf") {
                    any.push(json!({"type": "null"}));
                }
            }
        }
        if let Some(Value::Array(words)) = out.get_mut("enum")
            && !words.contains(&Value::Null)
        {
            words.push(Value::Null);
        }
    }
    Value::Object(out)
}

/// Reads the few names that clients also write in snake case.
fn camel(name: &str) -> std::borrow::Cow<'_, str> {
    match name {
        "any_of" => "anyOf".into(),
        "property_ordering" => "propertyOrdering".into(),
        "max_items" => "maxItems".into(),
        "min_items" => "minItems".into(),
        "max_length" => "maxLength".into(),
        "min_length" => "minLength".into(),
        "additional_properties" => "additionalProperties".into(),
        _ => name.into(),
    }
}

const COUNTS: [&str; 6] =
    ["maxItems", "minItems", "maxLength", "minLength", "maxProperties", "minProperties"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_form_becomes_json_schema() {
        let older = json!({
            "type": "OBJECT", "propertyOrdering": ["b", "a"],
            "properties": {
                "a": {"type": "STRING", "nullable": true, "enum": ["x"]},
                "type": {"type": "ARRAY", "items": {"type": "INTEGER"}, "min_items": "2"},
                "c": {"anyOf": [{"type": "NUMBER"}], "nullable": true},
            },
            "required": ["a"],
        });
        assert_eq!(
            from_openapi(older),
            json!({
                "type": "object",
                "properties": {
                    "a": {"type": ["string", "null"], "enum": ["x", null]},
                    "type": {"type": "array", "items": {"type": "integer"}, "minItems": 2},
                    "c": {"anyOf": [{"type": "number"}, {"type": "null"}]},
                },
                "required": ["a"],
            })
        );
        assert_eq!(from_openapi(json!(true)), json!(true));
    }
}
