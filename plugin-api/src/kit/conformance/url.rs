//! As much of URLs as the rules need; a host has a real parser and is stricter.

/// The pieces of an absolute http or https URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    scheme: &'static str,
    host: String,
    port: Option<u16>,
    /// Whether a user name or password stands before the host.
    pub(super) has_user: bool,
    /// Whether there is a fragment.
    pub(super) has_fragment: bool,
    /// Whether something follows the origin, beyond one slash.
    pub(super) has_path: bool,
}

impl Url {
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return None;
        }
        let (scheme, rest) = text.split_once("://")?;
        let (scheme, usual) = match scheme.to_ascii_lowercase().as_str() {
            "https" => ("https", 443),
            "http" => ("http", 80),
            _ => return None,
        };
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, behind) = rest.split_at(end);
        let (has_user, at) = match authority.rsplit_once('@') {
            Some((_, at)) => (true, at),
            None => (false, authority),
        };
        // An IPv6 address has colons of its own.
        let split = at.rfind(':').filter(|colon| at.rfind(']').is_none_or(|end| end < *colon));
        let (host, port) = match split {
            Some(colon) => (&at[..colon], Some(at[colon + 1..].parse::<u16>().ok()?)),
            None => (at, None),
        };
        if host.is_empty() {
            return None;
        }
        Some(Self {
            scheme,
            host: host.to_ascii_lowercase(),
            port: port.filter(|port| *port != usual),
            has_user,
            has_fragment: behind.contains('#'),
            has_path: !matches!(behind, "" | "/"),
        })
    }

    /// Returns the origin as text.
    pub(super) fn origin(&self) -> String {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}", self.scheme, self.host)
    }

    /// Reports whether nobody between can read along.
    pub(super) fn is_private(&self) -> bool {
        let loopback = self.host == "localhost"
            || self.host.ends_with(".localhost")
            || self.host == "[::1]"
            || self.host.strip_prefix("127.").is_some_and(|rest| rest.split('.').count() == 3);
        self.scheme == "https" || loopback
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_as_a_host_would() {
        let origin = |text: &str| Url::parse(text).map(|url| url.origin());
        assert_eq!(origin("HTTPS://A.test:443/v1?x#y").as_deref(), Some("https://a.test"));
        assert_eq!(origin("http://me:pw@127.0.0.1:9/").as_deref(), Some("http://127.0.0.1:9"));
        assert_eq!(origin("https://[::1]:8080").as_deref(), Some("https://[::1]:8080"));
        assert_eq!(origin("https://a.test\\@b.test/").as_deref(), Some("https://a.test"));
        for bad in ["ftp://a.test", "https://", "a.test", "https://a b", "https://a:x/"] {
            assert_eq!(origin(bad), None, "{bad}");
        }
        assert!(Url::parse("http://127.0.0.1/").unwrap().is_private());
        assert!(!Url::parse("http://127.evil.test/").unwrap().is_private());
        assert!(Url::parse("https://u@a.test/").unwrap().has_user);
    }
}
