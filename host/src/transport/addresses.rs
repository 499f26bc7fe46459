//! Addresses that no provider has: those at which clouds hand out credentials of the machine itself.
//!
//! A base URL that leads there, by its host or by what a name resolves to at the moment, would have the
//! host send a prompt and bring back keys. The check is made where the connection is, on the very
//! addresses that it is tried with, so that a name cannot mean something else between look and use.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;

/// Reports whether an address belongs to the machine's own surroundings: link-local, or a cloud's
/// metadata service.
pub(super) fn is_metadata(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local() || METADATA_V4.contains(&ip),
        IpAddr::V6(ip) => {
            let link_local = ip.segments()[0] & 0xffc0 == 0xfe80;
            let inside = embedded(ip).is_some_and(|ip| is_metadata(IpAddr::V4(ip)));
            link_local || inside || METADATA_V6.contains(&ip)
        }
    }
}

/// Returns the IPv4 address that an IPv6 address leads to: mapped, compatible, or through NAT64 or 6to4.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, high, low] = ip.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0 | 0xffff] | [0x64, 0xff9b, ..] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

/// Resolves names, and refuses those of which one address is no provider's.
#[derive(Debug)]
pub(super) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = lookup_host((name.as_str(), 0)).await?.collect();
            if let Some(bad) = found.iter().find(|address| is_metadata(address.ip())) {
                return Err(Blocked { address: bad.ip() }.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// A name resolved to an address that is not connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocked {
    pub(super) address: IpAddr,
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is link-local or a metadata service", self.address)
    }
}

impl std::error::Error for Blocked {}

impl Blocked {
    /// Finds it among an error's causes.
    pub(super) fn among(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(blocked) = error.downcast_ref::<Self>() {
                return Some(*blocked);
            }
            cause = error.source();
        }
        None
    }
}

/// Those of Alibaba, Oracle and Azure, which are not link-local.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];

/// Those of Amazon and Google.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_known_however_it_is_written() {
        for (text, blocked) in [
            ("169.254.169.254", true),
            ("169.254.170.2", true),
            ("100.100.100.200", true),
            ("fd00:ec2::254", true),
            ("fe80::1", true),
            ("febf::1", true),
            ("::ffff:169.254.169.254", true),
            ("::a9fe:a9fe", true),
            ("64:ff9b::a9fe:a9fe", true),
            ("2002:a9fe:a9fe::1", true),
            ("127.0.0.1", false),
            ("10.0.0.1", false),
            ("::1", false),
            ("fd00:ec2::1", false),
            ("fec0::1", false),
            ("2606:4700::1111", false),
        ] {
            assert_eq!(is_metadata(text.parse().unwrap()), blocked, "{text}");
        }
    }

    #[tokio::test]
    async fn names_are_judged_by_what_they_mean_now() {
        // An address resolves to itself, without a server.
        let resolve = |name: &str| Resolver.resolve(name.parse().unwrap());
        let error = resolve("169.254.169.254").await.err().unwrap();
        let blocked = Blocked::among(error.as_ref()).unwrap();
        assert_eq!(blocked.to_string(), "`169.254.169.254` is link-local or a metadata service");
        assert_eq!(resolve("127.0.0.1").await.unwrap().count(), 1);
    }
}
