//! Turns failed answers into typed errors.

use crate::{
    error::{ErrorKind, ProviderError},
    exchange::Timestamp,
    http::{Headers, TransportErrorKind},
};

/// Most characters of a body that an error message quotes.
const QUOTE: usize = 300;

/// Makes the error for a request that got no answer, or whose answer broke off.
#[must_use]
pub fn transport(kind: TransportErrorKind, message: &str) -> ProviderError {
    let kind = match kind {
        TransportErrorKind::Timeout => ErrorKind::Timeout,
        TransportErrorKind::Refused => ErrorKind::InvalidRequest,
        _ => ErrorKind::Connection,
    };
    ProviderError::new(kind, message)
}

/// Makes the error for an answer of which only the status is understood.
///
/// The body's beginning is quoted; HTML is not, because an error page says nothing in its first
/// lines.
#[must_use]
pub fn status(status: u16, headers: &Headers, body: &[u8], now: Timestamp) -> ProviderError {
    let kind = ErrorKind::from_status(status);
    let quote = quote(headers, body);
    let message = match (headers.first("location"), quote) {
        (Some(place), _) if (300..400).contains(&status) => {
            format!("it redirects to `{}`, which is not followed", place.escape_debug())
        }
        (_, quote) if quote.is_empty() => "no reason given".to_owned(),
        (_, quote) => quote,
    };
    let mut error = ProviderError::new(kind, message)
        .status(status)
        .retry_after_ms(retry_after_ms(headers, now));
    error.request_id = request_id(headers);
    if headers.first("x-should-retry") == Some("false") {
        error.retryable = Some(false);
    }
    error
}

/// Makes the error for an answer that is not what the vendor's format says.
#[must_use]
pub fn malformed(what: &str, headers: &Headers, body: &[u8]) -> ProviderError {
    let found = match (headers.content_type(), quote(headers, body)) {
        ("", quote) if quote.is_empty() => "an empty answer".to_owned(),
        (kind, quote) if quote.is_empty() => format!("`{kind}`"),
        (_, quote) => format!("`{quote}`"),
    };
    ProviderError::new(ErrorKind::Protocol, format!("expected {what}, found {found}"))
}

/// Returns the vendor's id of the request, under the names that vendors use.
#[must_use]
pub fn request_id(headers: &Headers) -> Option<String> {
    ["x-request-id", "request-id", "x-generation-id"]
        .iter()
        .find_map(|name| headers.first(name))
        .map(str::to_owned)
}

/// Returns how long the vendor asks to wait, in milliseconds.
///
/// Reads `retry-after-ms`, then `retry-after` as seconds (with or without a fraction) or as an HTTP
/// date (RFC 9110 section 10.2.3).
#[must_use]
pub fn retry_after_ms(headers: &Headers, now: Timestamp) -> Option<u64> {
    if let Some(ms) = headers.first("retry-after-ms").and_then(|v| v.trim().parse::<f64>().ok()) {
        return millis(ms);
    }
    let value = headers.first("retry-after")?.trim();
    match value.parse::<f64>() {
        Ok(seconds) => millis(seconds * 1000.0),
        Err(_) => http_date(value).map(|at| (at * 1000).saturating_sub(now.0)),
    }
}

/// Reads a duration such as `34s`, `0.5s`, `120ms`, `1m30s` or `6m0s`, in milliseconds.
#[must_use]
pub fn duration_ms(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_len = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += number
            * match &rest[..unit_len] {
                "ms" => 1.0,
                "s" => 1000.0,
                "m" => 60_000.0,
                "h" => 3_600_000.0,
                "d" => 86_400_000.0,
                _ => return None,
            };
        rest = &rest[unit_len..];
    }
    millis(total)
}

fn millis(ms: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked in the same line"
    )]
    (ms.is_finite() && (0.0..1e15).contains(&ms)).then_some(ms.ceil() as u64)
}

/// Reads an IMF-fixdate, for example `Sun, 06 Nov 1994 08:49:37 GMT`, as Unix seconds.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(',')?.1.split_ascii_whitespace();
    let day: i64 = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|month| *month == name)? as i64 + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let days = super::time::days(year, month, day);
    u64::try_from(((days * 24 + hour) * 60 + minute) * 60 + second).ok()
}

fn quote(headers: &Headers, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if headers.content_type() == "text/html" || text.starts_with("<!") || text.starts_with("<html")
    {
        return String::new();
    }
    let mut quoted: String = text.chars().take(QUOTE).collect();
    if quoted.len() < text.len() {
        quoted.push('…');
    }
    quoted.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&str, &str)]) -> Headers {
        Headers(list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn retry_after_is_read_in_each_form() {
        let now = Timestamp(784_111_770_000);
        for (name, value, expected) in [
            ("retry-after-ms", "1500", Some(1500)),
            ("retry-after", "2", Some(2000)),
            ("retry-after", "0.5", Some(500)),
            ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT", Some(7000)),
            ("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("retry-after", "soon", None),
            ("retry-after", "-1", None),
            ("retry-after", "nan", None),
        ] {
            assert_eq!(retry_after_ms(&headers(&[(name, value)]), now), expected, "{value}");
        }
        assert_eq!(http_date("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
    }

    #[test]
    fn durations_are_read_in_each_form() {
        for (text, expected) in [
            ("34s", Some(34_000)),
            ("0.5s", Some(500)),
            ("120ms", Some(120)),
            ("1m30s", Some(90_000)),
            ("6m0s", Some(360_000)),
            ("1d", Some(86_400_000)),
            ("", None),
            ("5", None),
            ("5 parsecs", None),
        ] {
            assert_eq!(duration_ms(text), expected, "{text}");
        }
    }

    #[test]
    fn a_page_of_html_is_not_quoted() {
        let html = headers(&[("content-type", "text/html; charset=utf-8")]);
        let error = status(502, &html, b"<html><body>Bad Gateway</body></html>", Timestamp(0));
        assert_eq!(error.message, "no reason given");
        assert_eq!(error.kind, ErrorKind::Unavailable);
        let error = malformed("JSON", &html, b"<!doctype html>");
        assert_eq!(error.message, "expected JSON, found `text/html`");
        let error = malformed("JSON", &Headers::default(), b"  ");
        assert_eq!(error.message, "expected JSON, found an empty answer");
    }

    #[test]
    fn a_long_body_is_cut_and_its_lines_are_joined() {
        let body = format!("a\n  b {}", "x".repeat(1000));
        let error = status(400, &Headers::default(), body.as_bytes(), Timestamp(0));
        assert!(error.message.starts_with("a b xxx") && error.message.ends_with('…'));
        assert!(error.message.chars().count() <= QUOTE + 1);
    }

    #[test]
    fn the_vendor_may_forbid_another_try() {
        let error = status(429, &headers(&[("x-should-retry", "false")]), b"slow", Timestamp(0));
        assert!(!error.is_retryable());
    }
}
