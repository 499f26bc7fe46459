//! One event of a stream, or one whole answer, as servers write them.
//!
//! Texts are borrowed from the event. Only fields that are read stand here; all others are skipped
//! without being built.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::usage::WireUsage;
use crate::lenient::{Count, Text, or_default};

/// The data of an event.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    pub(super) index: Count,
    #[serde(borrow)]
    pub(super) message: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) content_block: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) delta: Delta<'a>,
    #[serde(borrow, deserialize_with = "or_ignore")]
    pub(super) usage: WireUsage<'a>,
    #[serde(borrow)]
    pub(super) context_management: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

/// What an event adds: to a block, or to the message.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Delta<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) text: Text<'a>,
    #[serde(borrow)]
    pub(super) thinking: Text<'a>,
    #[serde(borrow)]
    pub(super) signature: Text<'a>,
    #[serde(borrow)]
    pub(super) partial_json: Text<'a>,
    #[serde(borrow)]
    pub(super) content: Text<'a>,
    #[serde(borrow)]
    pub(super) citation: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) stop_reason: Text<'a>,
    #[serde(borrow)]
    pub(super) stop_sequence: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) stop_details: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) container: Option<&'a RawValue>,
}

/// Why an answer ended: the fields that a `message_delta` and a whole answer share.
pub(super) struct End<'a> {
    pub(super) stop_reason: &'a Text<'a>,
    /// Facts about the end, by the vendor's names.
    pub(super) facts: [(&'static str, Option<&'a RawValue>); 4],
}

impl Event<'_> {
    pub(super) fn end(&self) -> End<'_> {
        End {
            stop_reason: &self.delta.stop_reason,
            facts: [
                ("stop_sequence", self.delta.stop_sequence),
                ("stop_details", self.delta.stop_details),
                ("container", self.delta.container),
                ("context_management", self.context_management),
            ],
        }
    }
}

impl Message<'_> {
    pub(super) fn end(&self) -> End<'_> {
        End {
            stop_reason: &self.stop_reason,
            facts: [
                ("stop_sequence", self.stop_sequence),
                ("stop_details", self.stop_details),
                ("container", self.container),
                ("context_management", self.context_management),
            ],
        }
    }
}

/// A message, at its start without content or whole.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    pub(super) model: Text<'a>,
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "or_ignore")]
    pub(super) usage: WireUsage<'a>,
    #[serde(borrow)]
    pub(super) context_management: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) stop_reason: Text<'a>,
    #[serde(borrow)]
    pub(super) stop_sequence: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) stop_details: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) container: Option<&'a RawValue>,
}

/// A block, at its start or whole.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Block<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) text: Text<'a>,
    #[serde(borrow)]
    pub(super) thinking: Text<'a>,
    #[serde(borrow)]
    pub(super) signature: Text<'a>,
    #[serde(borrow)]
    pub(super) data: Text<'a>,
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) citations: Option<&'a RawValue>,
}

/// Reads what does not have the form that it should as absent.
pub(super) fn or_ignore<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    let raw = <&RawValue>::deserialize(from)?;
    Ok(serde_json::from_str(raw.get()).unwrap_or_default())
}
