//! What failures have in common, whatever form a vendor writes them in.

use plugin_api::{
    error::{ErrorKind, ProviderError},
    exchange::Timestamp,
    http::Headers,
    kit::{call::Response, failure},
};

/// Makes the error for a body that is not what the vendor's format says.
pub(crate) fn malformed(what: &str, body: &[u8]) -> ProviderError {
    failure::malformed(what, &Headers::default(), body)
}

/// Makes the error for an answer with a failed status, before its body is read.
///
/// Unlike [`failure::status`] alone it also believes a server that asks for another try.
pub(crate) fn refused(response: &Response) -> ProviderError {
    let headers = &response.headers;
    let mut error = failure::status(response.status, headers, &response.body, response.now);
    if headers.first("x-should-retry") == Some("true") {
        error.retryable = Some(true);
    }
    error
}

/// Makes the error for a failure that came inside a stream, after HTTP 200, before it is read.
///
/// The connection was good and the server gave up: unless it says more, it may work next time.
pub(crate) fn gave_up(json: &[u8]) -> ProviderError {
    let mut error = failure::status(200, &Headers::default(), json, Timestamp::default());
    (error.kind, error.status) = (ErrorKind::Unavailable, None);
    error
}

/// Refuses a page of HTML where an answer was to come.
pub(crate) fn refuse_html(response: &Response) -> Result<(), ProviderError> {
    if response.headers.content_type() == "text/html" {
        return Err(failure::malformed("a stream", &response.headers, &response.body));
    }
    Ok(())
}

/// Adds the request's id that stands in the headers, unless the body named one.
pub(crate) fn identified(mut error: ProviderError, headers: &Headers) -> ProviderError {
    error.request_id = error.request_id.or_else(|| failure::request_id(headers));
    error
}

/// Joins a vendor's text to one line, bounded, without its final period.
pub(crate) fn one_line(text: &str) -> String {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let joined = joined.strip_suffix('.').unwrap_or(&joined);
    match joined.char_indices().nth(MESSAGE_CHARS) {
        Some((at, _)) => format!("{}…", &joined[..at]),
        None => joined.to_owned(),
    }
}

/// Most characters of a vendor's text that an error carries.
const MESSAGE_CHARS: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vendors_text_is_one_bounded_line() {
        assert_eq!(one_line(" No such\n  model.\n"), "No such model");
        let long = one_line(&"é".repeat(MESSAGE_CHARS + 1));
        assert_eq!(long.chars().count(), MESSAGE_CHARS + 1);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn the_bodys_own_id_comes_before_that_of_the_headers() {
        let headers = Headers(vec![("x-request-id".into(), "h".into())]);
        let mut error = gave_up(b"");
        assert!(error.is_retryable() && error.status.is_none());
        assert_eq!(identified(error.clone(), &headers).request_id.as_deref(), Some("h"));
        error.request_id = Some("b".into());
        assert_eq!(identified(error, &headers).request_id.as_deref(), Some("b"));
    }
}
