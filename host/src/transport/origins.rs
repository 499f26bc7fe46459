//! Where a provider may be reached, and nowhere else.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// Scheme, host and port. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(Arc<Parts>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Parts {
    scheme: String,
    host: String,
    port: u16,
    /// What follows from the host; each request asks for it.
    address: Option<IpAddr>,
    is_loopback: bool,
}

/// Why a URL has no origin that may be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// It is no URL.
    #[error("expected a URL, found `{found}`")]
    NotAUrl {
        /// What it is.
        found: String,
    },
    /// It is not http.
    #[error("expected `https://` or `http://`, found `{found}`")]
    Scheme {
        /// What it is.
        found: String,
    },
    /// It carries a name and password, which would end up in logs.
    #[error("a URL must not carry a user name or password")]
    UserInfo,
}

impl Origin {
    /// Takes the origin of a URL.
    ///
    /// # Errors
    ///
    /// [`OriginError`] when it is no http URL.
    pub fn parse(url: &str) -> Result<Self, OriginError> {
        let parsed = Url::parse(url)
            .map_err(|_| OriginError::NotAUrl { found: url.escape_debug().to_string() })?;
        Self::of(&parsed)
    }

    /// Takes the origin of a parsed URL.
    ///
    /// # Errors
    ///
    /// [`OriginError`] when it is no http URL.
    pub fn of(url: &Url) -> Result<Self, OriginError> {
        let scheme = url.scheme();
        if scheme != "https" && scheme != "http" {
            return Err(OriginError::Scheme { found: url.as_str().escape_debug().to_string() });
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(OriginError::UserInfo);
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        let port = url.port_or_known_default().unwrap_or_default();
        let (address, is_loopback) = match Host::parse(&host) {
            Ok(Host::Domain(name)) => (None, name == "localhost" || name.ends_with(".localhost")),
            Ok(Host::Ipv4(ip)) => (Some(IpAddr::V4(ip)), is_loopback(IpAddr::V4(ip))),
            Ok(Host::Ipv6(ip)) => (Some(IpAddr::V6(ip)), is_loopback(IpAddr::V6(ip))),
            Err(_) => (None, false),
        };
        let scheme = scheme.to_owned();
        Ok(Self(Arc::new(Parts { scheme, host, port, address, is_loopback })))
    }

    /// Reports whether it is the origin of a URL.
    #[must_use]
    pub fn is_of(&self, url: &Url) -> bool {
        self.0.scheme == url.scheme()
            && url.host_str() == Some(&*self.0.host)
            && url.port_or_known_default() == Some(self.0.port)
            && url.username().is_empty()
            && url.password().is_none()
    }

    /// Returns its address, if its host is one and no name.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.0.address
    }

    /// Reports whether it is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.0.is_loopback
    }

    /// Reports whether traffic to it can be read on the way: plain http beyond this machine.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        self.0.scheme == "http" && !self.is_loopback()
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[0] == Ipv4Addr::LOCALHOST.octets()[0],
        IpAddr::V6(ip) => {
            ip == Ipv6Addr::LOCALHOST || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback())
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { scheme, host, port, .. } = &*self.0;
        let usual = if scheme == "https" { 443 } else { 80 };
        write!(f, "{scheme}://{host}")?;
        if *port == usual { Ok(()) } else { write!(f, ":{port}") }
    }
}

impl TryFrom<String> for Origin {
    type Error = OriginError;

    fn try_from(text: String) -> Result<Self, OriginError> {
        Self::parse(&text)
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_places_are_equal_however_they_are_written() {
        for (a, b) in [
            ("https://API.Acme.test/v1", "https://api.acme.test:443"),
            ("http://127.0.0.1:8089/v1", "http://127.0.0.1:8089"),
            ("http://[::1]:80/", "http://[::1]"),
        ] {
            assert_eq!(Origin::parse(a), Origin::parse(b));
            assert!(Origin::parse(a).unwrap().is_of(&Url::parse(b).unwrap()));
        }
        let origin = Origin::parse("https://a.test").unwrap();
        for other in [
            "http://a.test",
            "https://a.test:8443",
            "https://b.test",
            "https://a.test.b.test",
            "https://x@a.test",
            "https://:x@a.test",
            "data:a.test",
        ] {
            assert!(!origin.is_of(&Url::parse(other).unwrap()), "{other}");
        }
        assert_ne!(Origin::parse("http://a.test"), Origin::parse("https://a.test"));
        assert_ne!(Origin::parse("https://a.test"), Origin::parse("https://a.test:8443"));
    }

    #[test]
    fn what_is_not_http_has_no_origin() {
        for (url, error) in [
            ("acme", "expected a URL, found `acme`"),
            ("file:///etc/passwd", "expected `https://` or `http://`, found `file:///etc/passwd`"),
            ("https://me:pw@a.test", "a URL must not carry a user name or password"),
        ] {
            assert_eq!(Origin::parse(url).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (url, loopback) in [
            ("http://127.8.9.1", true),
            ("http://localhost:1", true),
            ("http://x.localhost", true),
            ("http://[::1]", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("http://2130706433", true),
            ("http://127.0.0.1.evil.test", false),
            ("http://localhost.evil.test", false),
            ("http://10.0.0.1", false),
        ] {
            let origin = Origin::parse(url).unwrap();
            assert_eq!(origin.is_loopback(), loopback, "{url}");
            assert_eq!(origin.is_exposed(), !loopback, "{url}");
        }
        assert!(!Origin::parse("https://a.test").unwrap().is_exposed());
    }

    #[test]
    fn an_origin_is_written_without_its_usual_port() {
        assert_eq!(Origin::parse("https://a.test:443/x").unwrap().to_string(), "https://a.test");
        assert_eq!(Origin::parse("http://a.test:8080").unwrap().to_string(), "http://a.test:8080");
    }
}
