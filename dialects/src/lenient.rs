//! Readers for fields whose type servers disagree on.
//!
//! A stream must not break because a server writes a number as text or an id as `null`. These types
//! accept every JSON value and keep what makes sense.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// A text, borrowed from the input where it holds no escapes. Numbers read as their digits,
/// anything else as empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl Text<'_> {
    /// Returns the text unless it is empty.
    pub(crate) fn filled(&self) -> Option<&str> {
        Some(&*self.0).filter(|text| !text.is_empty())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TextVisitor).map(Self)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(number.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(""))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(""))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Cow::Borrowed(""))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Cow::Borrowed(""))
    }
}

/// A count. Texts of digits and whole floats read as numbers; anything else, below zero too, as
/// unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) Option<u64>);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(from)?;
        let text = text.0.trim();
        Ok(Self(text.parse().ok().or_else(|| {
            let number: f64 = text.parse().ok()?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the range is checked in the same line"
            )]
            (0.0..1e15).contains(&number).then_some(number as u64)
        })))
    }
}

/// Reads `null` as the default, for fields that are absent, null or there.
pub(crate) fn or_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Puts U+FFFD in the place of each half of a surrogate pair that is escaped alone, which some servers
/// write where a character was cut in two and which no text can hold; `None` where there is none.
pub(crate) fn without_half_pairs(json: &str) -> Option<String> {
    let mut fixed: Option<String> = None;
    let (mut at, mut copied) = (0, 0);
    while let Some(step) = memchr::memchr(b'\\', &json.as_bytes()[at..]) {
        at += step;
        let unit = |at: usize| {
            let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
            u16::from_str_radix(digits, 16).ok()
        };
        match (unit(at), unit(at + 6)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => at += 12,
            (Some(0xd800..0xe000), _) => {
                let fixed = fixed.get_or_insert_default();
                fixed.push_str(&json[copied..at]);
                fixed.push_str("\\ufffd");
                at += 6;
                copied = at;
            }
            // Another escape, of which the second byte may be a backslash.
            _ => at = (at + 2).min(json.len()),
        }
    }
    fixed.map(|fixed| fixed + &json[copied..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_value_reads_as_a_text() {
        for (json, expected) in [
            (r#""a""#, "a"),
            (r#""\u00e9\n""#, "é\n"),
            ("7", "7"),
            ("-7", "-7"),
            ("1.5", "1.5"),
            ("null", ""),
            ("true", ""),
            ("[1,[2]]", ""),
            (r#"{"a":{}}"#, ""),
        ] {
            assert_eq!(serde_json::from_str::<Text<'_>>(json).unwrap().0, expected, "{json}");
        }
        let owned = Text::deserialize(serde_json::json!("x")).unwrap();
        assert_eq!(owned.filled(), Some("x"));
        let plain = serde_json::from_str::<Text<'_>>(r#""plain""#).unwrap();
        assert!(matches!(plain.0, Cow::Borrowed(_)));
    }

    #[test]
    fn any_value_reads_as_a_count() {
        for (json, expected) in [
            ("3", Some(3)),
            (r#"" 4 ""#, Some(4)),
            ("5.0", Some(5)),
            ("-1", None),
            ("null", None),
            ("{}", None),
            (r#""many""#, None),
        ] {
            assert_eq!(serde_json::from_str::<Count>(json).unwrap().0, expected, "{json}");
        }
    }

    #[test]
    fn halves_of_pairs_are_replaced_where_they_stand_alone() {
        for (json, fixed) in [
            (r#""plain é \n""#, None),
            (r#""\ud83d\ude00""#, None),
            (r#""\\ud83d""#, None),
            (r#""a\ud83d""#, Some(r#""a\ufffd""#)),
            (r#""\ude00b\uD83D\ud83d\ude00é""#, Some(r#""\ufffdb\ufffd\ud83d\ude00é""#)),
            (r#""\ud83"#, None),
        ] {
            assert_eq!(without_half_pairs(json).as_deref(), fixed, "{json}");
        }
    }
}
