//! What the lists of models of all dialects share.

use plugin_api::{error::ProviderError, operation::Model};
use serde_json::Value;

use crate::failure;

/// One page of a list of models.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Page {
    /// The models, in the vendor's order. Entries without an id are left out.
    pub models: Vec<Model>,
    /// What the next page is asked for with; absent on the last.
    pub next: Option<String>,
}

/// Reads the body that tells of one model.
pub(crate) fn decode_one(
    body: &[u8],
    model: fn(Value) -> Option<Model>,
) -> Result<Model, ProviderError> {
    let read = serde_json::from_slice(body).ok().and_then(model);
    read.ok_or_else(|| failure::malformed("a model", body))
}
