//! Passes a client's own request on.

use dialects::anthropic_messages::{DIALECT, Decoder, Quirks};
use plugin_api::{chat::NativeBody, kit::native, prelude::*};
use serde_json::json;

use crate::settings;

/// Opens the exchange that sends a client's own body, with the model that was chosen.
///
/// The version and the betas that the client names are its own; those that the configuration or the
/// login need are added.
pub(crate) fn open(
    instance: &Instance,
    quirks: &Quirks,
    request: &ChatRequest,
    native: &NativeBody,
) -> Opened {
    let streams = native::streams(native);
    if native.dialect != DIALECT || (streams && !quirks.stream) {
        let what = format!("passing on this body of `{}`", native.dialect);
        return Err(ProviderError::not_supported(what));
    }
    let mut url = instance.url("/v1/messages");
    // Clients of betas say `?beta=true`.
    if let Some((_, query)) = native.path.split_once('?') {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(query);
    }
    let body = native::edit(native, &[("model", json!(request.model))], &[]);
    let accept = if streams { "text/event-stream" } else { "application/json" };
    let mut http = HttpRequest::post_json(url, body).header("accept", accept);
    for (name, value) in &native.headers {
        http = http.header(name, value);
    }
    let http = settings::decorate(instance, quirks, http)?;
    Ok(Box::new(kit::SseStream::new(http, Decoder::passed_on(streams))))
}
