//! Where requests go, and what every one of them carries.

use dialects::gemini::route::{self, Action};
use plugin_api::{instance::AuthKind, prelude::*};

use crate::manifest::{API_VERSION, PROJECT};

/// Makes a `GET` of a resource below the version.
pub(crate) fn get(instance: &Instance, segments: &[&str]) -> Result<HttpRequest, ProviderError> {
    Ok(decorate(instance, HttpRequest::get(url(instance, segments)?)))
}

/// Makes a `DELETE` of a resource below the version.
pub(crate) fn delete(instance: &Instance, segments: &[&str]) -> Result<HttpRequest, ProviderError> {
    let request = HttpRequest::new(Method::Delete, url(instance, segments)?);
    Ok(decorate(instance, request.header("accept", "application/json")))
}

/// Makes the request for an action of a model.
pub(crate) fn act(
    instance: &Instance,
    model: &str,
    action: Action,
    body: Body,
) -> Result<HttpRequest, ProviderError> {
    if model.is_empty() {
        let error = ProviderError::new(ErrorKind::InvalidRequest, "`model` is missing");
        return Err(error.code("model"));
    }
    let resource = route::resource(model);
    let mut url = match resource.split_once('/') {
        Some((collection, name)) => url(instance, &[collection, name])?,
        None => url(instance, &[&resource])?,
    };
    // Behind a colon that is not encoded, or it would be part of the model's name.
    url.push(':');
    url.push_str(action.as_str());
    let request = HttpRequest::post_json(url, body);
    let request = if action == Action::Stream {
        request.query("alt", "sse").header("accept", "text/event-stream")
    } else {
        request.header("accept", "application/json")
    };
    Ok(decorate(instance, request))
}

fn url(instance: &Instance, segments: &[&str]) -> Result<String, ProviderError> {
    let version = match instance.text(API_VERSION) {
        "" => "v1beta",
        version => version,
    };
    let mut all = vec![version];
    all.extend_from_slice(segments);
    instance.url_of(&all)
}

/// Adds the configured headers and, under OAuth, the project that the call counts for; a key belongs to
/// a project by itself.
fn decorate(instance: &Instance, mut request: HttpRequest) -> HttpRequest {
    for (name, value) in instance.table("headers") {
        request = request.header(name, value);
    }
    if let (AuthKind::OAuth, Some(project)) =
        (instance.session.auth, instance.session.attributes.get(PROJECT))
    {
        request = request.header("x-goog-user-project", project);
    }
    request
}
