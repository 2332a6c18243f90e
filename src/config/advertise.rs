//! [`Advertise`]: the address that clients are given, as a person writes it.

use std::net::Ipv6Addr;
use std::str::FromStr;

/// The address by which clients reach this server, when it is not the one they used for the NameServer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// Host name or IP address; IPv6 without brackets.
    pub host: String,
    /// Port of the broker as clients see it; `None` is the port it listens on.
    pub port: Option<u16>,
}

impl Advertise {
    fn read(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, behind)) => (host, Some(behind.strip_prefix(':')?)),
            None if text.parse::<Ipv6Addr>().is_ok() => (text, None),
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map(|port| port.parse().ok().filter(|port| *port > 0));
        let legal = !host.is_empty() && !host.contains(char::is_whitespace) && port != Some(None);
        legal.then(|| Self { host: host.to_owned(), port: port.flatten() })
    }
}

impl FromStr for Advertise {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::read(text)
            .ok_or_else(|| "allowed is HOST or HOST:PORT, with IPv6 addresses as [::1]:10911".to_owned())
    }
}
