//! From where a request comes: the peer of its connection, or whom the proxies that are trusted have seen.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::{HeaderMap, HeaderName, header, request::Parts};

use super::Standings;
use super::gcra::Key;
use crate::{
    error::{Code, Error},
    openapi::{Operation, Part},
    state::Api,
};

/// Each proxy appends the address from which it was asked.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Who has one address of IPv6 has all that begin with these bits.
const NETWORK_BITS: u32 = 64;

/// Who asks without being signed in. A handler that takes one counts it against limits per address.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    address: IpAddr,
    /// What it calls itself.
    pub(crate) user_agent: Option<String>,
    pub(super) standings: Option<Standings>,
}

impl Client {
    /// As a sign-in remembers it.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// An address of IPv4, or the network of one of IPv6.
    pub(super) fn key(&self) -> Key {
        let network = match self.address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - NETWORK_BITS))),
        };
        Key(network.octets())
    }
}

impl Part for Client {
    fn describe(operation: &mut Operation<'_>) {
        operation.fails(&[Code::RateLimited]);
    }
}

impl FromRequestParts<Api> for Client {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Error> {
        // A request without a socket comes from nowhere.
        let peer = parts.extensions.get().map(|ConnectInfo(peer): &ConnectInfo<SocketAddr>| peer.ip());
        let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let address = address(peer, &parts.headers, api.inner.rate_limits.trusted_proxies());
        let user_agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).map(Into::into);
        Ok(Self { address, user_agent, standings: parts.extensions.get().cloned() })
    }
}

/// The peer, or what as many proxies as are trusted say: counted from the right, where they append. What stands further
/// left may be anybody's invention, and a list that is shorter than that did not come through all of them.
fn address(peer: IpAddr, headers: &HeaderMap, trusted_proxies: usize) -> IpAddr {
    let lines = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|line| line.to_str().ok());
    let hops: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    let told = hops.len().checked_sub(trusted_proxies).and_then(|first| hops.get(first)).copied();
    told.and_then(parse).unwrap_or(peer).to_canonical()
}

/// An address, by some proxies with its port.
fn parse(hop: &str) -> Option<IpAddr> {
    let bare = hop.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(|| Some(hop.parse::<SocketAddr>().ok()?.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn of(peer: &str, lines: &[&str], trusted_proxies: usize) -> String {
        let headers = lines.iter().map(|line| (X_FORWARDED_FOR, line.parse().unwrap())).collect();
        address(peer.parse().unwrap(), &headers, trusted_proxies).to_string()
    }

    #[test]
    fn without_a_trusted_proxy_it_is_the_peer_whatever_is_told() {
        assert_eq!(of(PROXY, &[], 0), PROXY);
        assert_eq!(of(PROXY, &["192.0.2.7", "198.51.100.1, 203.0.113.9"], 0), PROXY);
        assert_eq!(of("::ffff:192.0.2.7", &[], 0), "192.0.2.7");
    }

    #[test]
    fn trusted_proxies_are_counted_from_the_right() {
        let lines = ["6.6.6.6", "192.0.2.7, 198.51.100.1"];
        assert_eq!(of(PROXY, &lines, 1), "198.51.100.1");
        assert_eq!(of(PROXY, &lines, 2), "192.0.2.7");
        assert_eq!(of(PROXY, &["192.0.2.7:4711"], 1), "192.0.2.7");
        assert_eq!(of(PROXY, &["[2001:db8::1]:443"], 1), "2001:db8::1");
        assert_eq!(of(PROXY, &["[2001:db8::1]"], 1), "2001:db8::1");
    }

    #[test]
    fn a_list_that_is_too_short_or_no_address_is_not_believed() {
        assert_eq!(of(PROXY, &[], 1), PROXY);
        assert_eq!(of(PROXY, &["192.0.2.7"], 2), PROXY);
        for nonsense in ["", "unknown", "192.0.2.7, ", "192.0.2.7, _hidden", "192.0.2.7, 999.1.1.1"] {
            assert_eq!(of(PROXY, &[nonsense], 1), PROXY, "{nonsense}");
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_each_address_of_ipv4_too() {
        let key = |text: &str| Client { address: text.parse().unwrap(), user_agent: None, standings: None }.key();
        assert_eq!(key("2001:db8:0:1::1"), key("2001:db8:0:1:ffff::2"));
        assert_ne!(key("2001:db8:0:1::1"), key("2001:db8:0:2::1"));
        assert_ne!(key("192.0.2.7"), key("192.0.2.8"));
    }
}
