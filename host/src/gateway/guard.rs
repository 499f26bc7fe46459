//! Who may call at all: checks against pages in a browser that were never meant to reach this machine.
//!
//! A page of another origin can send requests to a gateway on loopback, and by rebinding its own name
//! to 127.0.0.1 even read the answers. The first carries `origin`, the second a foreign `host`.

use http::{HeaderMap, Uri, header};
use plugin_api::error::ErrorKind;

use super::failure::Refusal;
use crate::config::ServeConfig;

/// Refuses pages of origins that the configuration does not name.
pub(super) fn check_origin(headers: &HeaderMap, settings: &ServeConfig) -> Result<(), Refusal> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    if settings.origins.iter().any(|known| known.as_bytes() == origin.as_bytes()) {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorKind::Permission,
        "pages of this origin may not call the gateway; hint: name it in `[serve] origins`",
    ))
}

/// Refuses, for a client without a key, names that do not mean this machine, and what came through a
/// proxy: its client is not the one on this machine that needs no key.
pub(super) fn check_keyless(
    headers: &HeaderMap,
    uri: &Uri,
    settings: &ServeConfig,
) -> Result<(), Refusal> {
    if let Some(name) = headers.keys().find(|name| tells_of_a_proxy(name.as_str())) {
        let message = format!(
            "`{name}` tells of a proxy, and behind one every client needs a key; \
             hint: run `maestro keys create --name NAME`"
        );
        return Err(Refusal::new(ErrorKind::Authentication, message));
    }
    if headers.get_all(header::HOST).iter().nth(1).is_some() {
        return Err(Refusal::invalid("the request names more than one `host`"));
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    // A request line may hold the whole URL; then that is what counts.
    let host = uri.authority().map(http::uri::Authority::as_str).or(host);
    match host {
        Some(host) if is_this_machine(host, settings) => Ok(()),
        _ => Err(Refusal::new(
            ErrorKind::Permission,
            "this name does not mean this machine; hint: call `127.0.0.1` or `localhost`, or name \
             the host in `[serve] hosts`",
        )),
    }
}

fn tells_of_a_proxy(header: &str) -> bool {
    header.starts_with("x-forwarded-") || matches!(header, "forwarded" | "via" | "x-real-ip")
}

fn is_this_machine(host: &str, settings: &ServeConfig) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    if bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()) {
        return true;
    }
    settings.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn checked(host: &str, more: &[(&'static str, &str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        for (name, value) in more {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let settings = ServeConfig {
            hosts: vec!["box.lan".into()],
            origins: vec!["http://localhost:3000".into()],
            ..ServeConfig::default()
        };
        let origin = check_origin(&headers, &settings);
        let checked =
            origin.and_then(|()| check_keyless(&headers, &"/".parse().unwrap(), &settings));
        checked.err().map(|refusal| refusal.error.message)
    }

    #[test]
    fn names_of_this_machine_are_let_through() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:4141",
            "localhost:1",
            "LOCALHOST",
            "[::1]:4141",
            "[::1]",
            "box.lan:4141",
        ] {
            assert_eq!(checked(host, &[]), None, "{host}");
        }
        for host in [
            "evil.test",
            "evil.test:4141",
            "10.0.0.1:4141",
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "",
        ] {
            assert!(checked(host, &[]).is_some(), "{host}");
        }
        let absolute: Uri = "http://evil.test/v1/models".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        assert!(check_keyless(&headers, &absolute, &ServeConfig::default()).is_err());
        let own: Uri = "/v1/models".parse().unwrap();
        assert!(check_keyless(&headers, &own, &ServeConfig::default()).is_ok());
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        assert!(
            check_keyless(&headers, &own, &ServeConfig::default()).is_err(),
            "which one counts?"
        );
    }

    #[test]
    fn proxies_and_foreign_pages_are_not() {
        for header in ["forwarded", "x-forwarded-for", "x-forwarded-host", "via", "x-real-ip"] {
            let refused = checked("localhost", &[(header, "x")]).unwrap();
            assert!(refused.starts_with(&format!("`{header}` tells of a proxy")), "{refused}");
        }
        assert!(checked("localhost", &[("origin", "https://evil.test")]).is_some());
        assert!(checked("localhost", &[("origin", "null")]).is_some());
        assert_eq!(checked("localhost", &[("origin", "http://localhost:3000")]), None);
        // Node sends this from programs, which are no pages.
        assert_eq!(checked("localhost", &[("sec-fetch-mode", "cors")]), None);
    }
}
