//! What this broker calls itself: at the NameServer, towards each client, and inside the messages it stores.
//!
//! A client is told the address by which it reached us, so that localhost, containers, port maps and a LAN work
//! without configuration; `--advertise` and `brokerIP1` say otherwise. Apache always says `brokerIP1`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use crate::remoting::Peer;

/// The names of one broker.
#[derive(Clone, Debug)]
pub struct Address {
    /// Host that everybody is told (`--advertise` or `brokerIP1`); `None` lets the client's connection decide.
    fixed: Option<String>,
    /// Host registered at NameServers where no client's connection can decide.
    registered: String,
    /// Port that clients are told.
    port: u16,
    /// The machine that port-mapped container traffic seems to come from.
    gateway: Option<IpAddr>,
}

impl Address {
    /// Makes the names of a broker that listens on `bound`.
    pub fn new(fixed: Option<String>, bound: SocketAddr, port: u16) -> Self {
        let registered = fixed.clone().unwrap_or_else(|| {
            let host = if bound.ip().is_unspecified() { outward_ip() } else { bound.ip() };
            host.to_string()
        });
        Self { fixed, registered, port, gateway: default_gateway() }
    }

    /// Returns these names with another fixed host, another port or both, as an administrator wants them registered;
    /// what is `None` stays.
    #[must_use]
    pub fn changed(&self, fixed: Option<String>, port: Option<u16>) -> Self {
        let registered = fixed.clone().unwrap_or_else(|| self.registered.clone());
        let fixed = fixed.or_else(|| self.fixed.clone());
        Self { fixed, registered, port: port.unwrap_or(self.port), gateway: self.gateway }
    }

    /// Returns the address registered at NameServers, `host:port`.
    pub fn registered(&self) -> String {
        join(&self.registered, self.port)
    }

    /// Returns the registered host alone.
    pub fn host(&self) -> &str {
        &self.registered
    }

    /// Returns the address by which this client can reach the broker, `host:port`.
    pub fn for_peer(&self, peer: &Peer) -> String {
        match &self.fixed {
            Some(host) => join(host, self.port),
            None => join(&self.seen_by(peer).to_string(), self.port),
        }
    }

    /// Returns the store host of a message that came from this client.
    ///
    /// Clients dial it again when they view a message by its offset id.
    pub fn store_host(&self, peer: &Peer) -> SocketAddr {
        let fixed = self.fixed.as_ref().and_then(|host| host.parse().ok());
        SocketAddr::new(fixed.unwrap_or_else(|| self.seen_by(peer)), self.port)
    }

    fn seen_by(&self, peer: &Peer) -> IpAddr {
        self.seen_from(peer.address().ip(), peer.local_address().ip())
    }

    /// Returns where a client at `remote` that reached us at `local` finds us.
    fn seen_from(&self, remote: IpAddr, local: IpAddr) -> IpAddr {
        if self.gateway == Some(remote.to_canonical()) {
            // A container's own address means nothing to a client outside; its mapped port on localhost does.
            return Ipv4Addr::LOCALHOST.into();
        }
        local.to_canonical()
    }
}

fn join(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Returns the address this machine would use towards others; asking sends nothing.
fn outward_ip() -> IpAddr {
    let asked = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        // An address kept for documentation: only the routing table is looked at.
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    asked.map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}

fn default_gateway() -> Option<IpAddr> {
    gateway_of(&std::fs::read_to_string("/proc/net/route").ok()?)
}

/// Finds the default route's gateway in the kernel's table, whose addresses are little-endian hexadecimal.
fn gateway_of(table: &str) -> Option<IpAddr> {
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let (destination, gateway) = (columns.next()?, columns.next()?);
        let bits = u32::from_str_radix(gateway, 16).ok()?;
        (destination == "00000000" && bits != 0).then(|| Ipv4Addr::from(bits.swap_bytes()).into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's table as it looks in a container.
    #[test]
    fn finds_the_gateway() {
        let table = "Iface\tDestination\tGateway\tFlags\neth0\t000011AC\t00000000\t0001\neth0\t00000000\t010011AC\t0003\n";
        assert_eq!(gateway_of(table), Some(Ipv4Addr::new(172, 17, 0, 1).into()));
        assert_eq!(gateway_of("Iface\n"), None);
    }

    /// A client is told the address that it reached us by, in its own family; one that comes by a port map, through the
    /// gateway of our container, is told its own localhost.
    #[test]
    fn is_seen_by_the_connection() {
        let gateway = Some("172.17.0.1".parse().unwrap());
        let address = Address { fixed: None, registered: "h".to_owned(), port: 1, gateway };
        for (remote, local, seen) in [
            ("192.168.1.9", "192.168.1.5", "192.168.1.5"),
            ("::ffff:192.168.1.9", "::ffff:192.168.1.5", "192.168.1.5"),
            ("172.17.0.3", "172.17.0.2", "172.17.0.2"),
            ("172.17.0.1", "172.17.0.2", "127.0.0.1"),
            ("::ffff:172.17.0.1", "::ffff:172.17.0.2", "127.0.0.1"),
            ("::1", "::1", "::1"),
        ] {
            let found = address.seen_from(remote.parse().unwrap(), local.parse().unwrap());
            assert_eq!(found, seen.parse::<IpAddr>().unwrap(), "{remote} to {local}");
        }
    }

    /// IPv6 hosts need brackets before a port.
    #[test]
    fn joins_hosts_and_ports() {
        assert_eq!((join("::1", 5), join("h", 5)), ("[::1]:5".to_owned(), "h:5".to_owned()));
    }
}
