//! What single servers say when they fail.

use plugin_api::error::ErrorKind;
use serde_json::json;

use super::failed;

#[test]
fn d1_failures_are_classified_by_code_then_status_then_text() {
    use ErrorKind::*;
    for (status, body, kind, code, retryable) in [
        (
            429,
            r#"{"error":{"message":"You exceeded your current quota.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
            Quota,
            Some("insufficient_quota"),
            false,
        ),
        (
            429,
            r#"{"error":{"message":"slow","type":"requests","code":"rate_limit_exceeded"}}"#,
            RateLimited,
            Some("rate_limit_exceeded"),
            true,
        ),
        (
            429,
            r#"{"error":{"type":"usage_limit_reached","message":"limit","plan_type":"plus","resets_at":1790003600}}"#,
            Quota,
            Some("usage_limit_reached"),
            false,
        ),
        (
            401,
            r#"{"error":{"message":"bad key","type":"invalid_request_error","code":"invalid_api_key"}}"#,
            Authentication,
            Some("invalid_api_key"),
            false,
        ),
        (401, r#"{"detail":"Unauthorized"}"#, Authentication, None, false),
        (
            403,
            r#"{"error":{"message":"no","code":"unsupported_country_region_territory"}}"#,
            Permission,
            Some("unsupported_country_region_territory"),
            false,
        ),
        (
            403,
            r#"{"error":{"code":403,"message":"flagged","metadata":{"reasons":["violence"],"flagged_input":"x"}}}"#,
            ContentPolicy,
            Some("403"),
            false,
        ),
        (
            404,
            r#"{"error":{"message":"no model","type":"invalid_request_error","code":"model_not_found"}}"#,
            NotFound,
            Some("model_not_found"),
            false,
        ),
        (
            404,
            r#"{"error":{"message":"model \"x\" not found","type":"not_found_error","param":null,"code":null}}"#,
            NotFound,
            Some("not_found_error"),
            false,
        ),
        (
            400,
            r#"{"error":{"message":"too long","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
            ContextLength,
            Some("context_length_exceeded"),
            false,
        ),
        (
            400,
            r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}"#,
            ContextLength,
            Some("exceed_context_size_error"),
            false,
        ),
        (
            400,
            r#"{"object":"error","message":"This model's maximum context length is 8 tokens.","type":"BadRequestError","param":null,"code":400}"#,
            ContextLength,
            Some("BadRequestError"),
            false,
        ),
        (
            400,
            r#"{"error":{"message":"filtered","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#,
            ContentPolicy,
            Some("content_filter"),
            false,
        ),
        (
            400,
            r#"{"error":{"message":"Failed to call a function.","type":"invalid_request_error","code":"tool_use_failed","failed_generation":"{"}}"#,
            InvalidRequest,
            Some("tool_use_failed"),
            true,
        ),
        (
            400,
            r#"[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}]"#,
            Authentication,
            Some("INVALID_ARGUMENT"),
            false,
        ),
        (
            400,
            r#"{"error":{"message":"bad","type":"invalid_request_error","code":"invalid_value"}}"#,
            InvalidRequest,
            Some("invalid_value"),
            false,
        ),
        (
            402,
            r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}"#,
            Quota,
            Some("invalid_request_error"),
            false,
        ),
        (
            402,
            r#"{"error":{"code":402,"message":"Insufficient credits"}}"#,
            Quota,
            Some("402"),
            false,
        ),
        (
            422,
            r#"{"detail":[{"loc":["body","messages",0],"msg":"field required","type":"missing"}]}"#,
            InvalidRequest,
            None,
            false,
        ),
        (
            498,
            r#"{"error":{"message":"flex capacity","type":"server_error"}}"#,
            Overloaded,
            Some("server_error"),
            true,
        ),
        (
            503,
            r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
            Overloaded,
            Some("unavailable_error"),
            true,
        ),
        (
            503,
            r#"{"error":{"message":"busy","code":"slow_down"}}"#,
            Overloaded,
            Some("slow_down"),
            true,
        ),
        (500, r#"{"error":"model crashed"}"#, Unavailable, None, true),
        (
            500,
            r#"{"error":{"message":"oops","type":"server_error"}}"#,
            Unavailable,
            Some("server_error"),
            true,
        ),
        (408, "", Timeout, None, true),
        (409, "{}", Unavailable, None, true),
        (
            400,
            r#"{"error":"invalid_grant","error_description":"expired"}"#,
            InvalidRequest,
            Some("invalid_grant"),
            false,
        ),
        (400, "7", InvalidRequest, None, false),
        (400, r#"{"error":{"message":{"detail":"nested"}}}"#, InvalidRequest, None, false),
    ] {
        let error = failed(status, &[("x-request-id", "r")], body);
        assert_eq!((error.kind, error.code.as_deref()), (kind, code), "{body}");
        assert_eq!((error.is_retryable(), error.status), (retryable, Some(status)), "{body}");
        assert_eq!(error.request_id.as_deref(), Some("r"));
    }
}

#[test]
fn d1_the_wait_is_read_from_headers_then_from_the_body() {
    let limited = |headers: &[(&str, &str)], message: &str| {
        let body = json!({"error": {"message": message, "code": "rate_limit_exceeded"}});
        failed(429, headers, &body.to_string()).retry_after_ms
    };
    assert_eq!(limited(&[("retry-after", "2")], "try again in 9s"), Some(2000));
    assert_eq!(limited(&[("retry-after-ms", "150")], "x"), Some(150));
    assert_eq!(limited(&[], "Please try again in 1.3s. Visit"), Some(1300));
    assert_eq!(limited(&[], "try again in 6m0s."), Some(360_000));
    assert_eq!(limited(&[], "Please retry after 20 seconds."), Some(20_000));
    assert_eq!(limited(&[], "retry in 2 minutes"), Some(120_000));
    assert_eq!(limited(&[], "retry in 1 hour"), Some(3_600_000));
    assert_eq!(limited(&[], "try again in 20 milliseconds"), Some(20));
    assert_eq!(limited(&[], "try again in a while"), None);
    assert_eq!(limited(&[], "slow down"), None);
    let plan =
        r#"{"error":{"type":"usage_limit_reached","message":"limit","resets_at":1790003600}}"#;
    assert_eq!(failed(429, &[], plan).retry_after_ms, Some(3_600_000));
    let plan =
        r#"{"error":{"type":"usage_limit_reached","message":"limit","resets_in_seconds":60}}"#;
    assert_eq!(failed(429, &[], plan).retry_after_ms, Some(60_000));
    let error = failed(400, &[("x-should-retry", "true")], "{}");
    assert!(error.is_retryable());
}

#[test]
fn d1_openrouter_shows_the_text_of_the_provider_behind_it() {
    let error = failed(
        400,
        &[],
        r#"{"error":{"code":400,"message":"Provider returned error","metadata":{"raw":"bad image","provider_name":"X"}}}"#,
    );
    assert_eq!(error.message, "Provider returned error: bad image");
}
