//! Reads the members of a JSON object one by one, so that each can be named when it is at fault and
//! kept as it came when it is unknown.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use plugin_api::chat::CacheControl;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use crate::loss::RequestError;

/// The members of an object, in order, each value as it came.
pub(super) struct Members<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Ordered;
        impl<'de> Visitor<'de> for Ordered {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
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

/// The members of an object, to be taken out one by one.
pub(super) struct Fields<'a> {
    place: String,
    all: BTreeMap<Cow<'a, str>, &'a RawValue>,
}

impl<'a> Fields<'a> {
    /// Reads an object that stands at `place`; of a member that is there twice the last counts.
    pub(super) fn of(json: &'a str, place: impl Into<String>) -> Result<Self, RequestError> {
        let place = place.into();
        let Members(list) = read(json, || place.clone())?;
        Ok(Self { place, all: list.into_iter().collect() })
    }

    /// Returns where a member stands.
    pub(super) fn place(&self, name: &str) -> String {
        match &*self.place {
            "" => name.to_owned(),
            place => format!("{place}.{name}"),
        }
    }

    /// Takes a member as it came; `null` is as good as absent.
    pub(super) fn raw(&mut self, name: &str) -> Option<&'a str> {
        self.all.remove(name).map(RawValue::get).filter(|json| *json != "null")
    }

    /// Looks at a member that is a text.
    pub(super) fn word(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.all.get(name)?.get()).ok()
    }

    /// Takes a member.
    pub(super) fn take<T: DeserializeOwned>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, RequestError> {
        let json = self.raw(name);
        json.map(|json| read(json, || self.place(name))).transpose()
    }

    /// Takes a member that must be there.
    pub(super) fn require<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, RequestError> {
        self.take(name)?.ok_or_else(|| RequestError::new(self.place(name), "is missing"))
    }

    /// Takes the mark that ends a prefix worth caching.
    pub(super) fn cache(&mut self) -> Result<Option<CacheControl>, RequestError> {
        let wire: Option<Value> = self.take("cache_control")?;
        Ok(wire.map(|wire| {
            let mut cache = CacheControl::default();
            cache.ttl_seconds = match wire["ttl"].as_str() {
                Some("1h") => Some(3600),
                Some("5m") => Some(300),
                _ => None,
            };
            cache
        }))
    }

    /// Takes all that is left, as options; `null` is as good as absent.
    pub(super) fn rest(self) -> BTreeMap<String, Value> {
        let value = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).unwrap_or_default();
        let all = self.all.into_iter().map(|(name, raw)| (name.into_owned(), value(raw)));
        all.filter(|(_, value)| !value.is_null()).collect()
    }
}

/// Reads a value that stands at `place`.
pub(super) fn read<'a, T: Deserialize<'a>>(
    json: &'a str,
    place: impl FnOnce() -> String,
) -> Result<T, RequestError> {
    serde_json::from_str(json).map_err(|error| {
        // The place inside the value says little once the field is named.
        let text = error.to_string();
        let text = text.split(" at line ").next().unwrap_or_default();
        RequestError::new(place(), text)
    })
}
