//! The vendors' wire formats, both directions, without I/O.
//!
//! Each dialect lives once, in a folder of its own. A plugin uses the client's half (encode a
//! request, decode the answer), the gateway uses the server's half (decode a request, encode the
//! answer), and a property test holds the two together: what one half writes the other reads back
//! unchanged, wherever no [`Loss`] was reported.
//!
//! Nothing here opens a connection, knows a URL's host or sees a credential.
#![forbid(unsafe_code)]

pub mod anthropic_messages;
pub mod gemini;
pub mod openai_chat;
pub mod openai_responses;

mod base64;
mod failure;
mod fields;
mod foreign;
mod head;
mod json;
mod lenient;
mod loss;
mod models;
mod places;
mod sound;
mod untold;

pub use foreign::{leave_foreign, leave_foreign_of_vectors};
pub use loss::{Encoded, Loss, RequestError};
pub use places::ClientFields;
pub use untold::untold;
