//! JSON written straight into bytes.

use serde::Serialize;

/// Appends a value to `out`.
pub(crate) fn push<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Writing our own texts, numbers and JSON values to memory cannot fail.
    let _ = serde_json::to_writer(out, value);
}
