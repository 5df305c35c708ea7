// SPDX-License-Identifier: BSD-2-Clause
//! Where a dump is sent to, in words: `HOST[:PORT][/PATH]`; an address of IPv6
//! is in brackets if a port follows.

use super::wire::MAX_PATH;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// A host, and the path that it is asked to keep a dump below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    host: String,
    port: Option<u16>,
    /// Empty if there is none.
    pub path: String,
}

/// Why a word is no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// It has no host.
    #[error("not HOST or HOST/PATH")]
    Host,
    /// Servers would not take it.
    #[error("the path has control characters, or more than 1023 bytes")]
    Path,
}

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(word: &str) -> Result<Self, NoPlace> {
        let (host, path) = word.split_once('/').unwrap_or((word, ""));
        let (host, port) = match host.strip_prefix('[') {
            Some(v6) => {
                let (v6, port) = v6.split_once(']').ok_or(NoPlace::Host)?;
                // With the interface of a link-local one.
                let address = v6.split('%').next().unwrap_or(v6);
                let _: Ipv6Addr = address.parse().map_err(|_| NoPlace::Host)?;
                let port = port.is_empty().then_some(None);
                (v6, port.or(port_of(host)).ok_or(NoPlace::Host)?)
            }
            None if host.matches(':').count() == 1 => {
                let (name, _) = host.split_once(':').unwrap_or((host, ""));
                (name, port_of(host).ok_or(NoPlace::Host)?)
            }
            None => (host, None),
        };
        if host.is_empty() || host.chars().any(char::is_control) {
            return Err(NoPlace::Host);
        }
        if path.chars().any(char::is_control) || path.len() >= MAX_PATH {
            return Err(NoPlace::Path);
        }
        Ok(Self { host: host.into(), port, path: path.into() })
    }
}

/// What follows the last colon.
fn port_of(host: &str) -> Option<Option<u16>> {
    let (before, port) = host.rsplit_once(':')?;
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    let bracket = !before.starts_with('[') || before.ends_with(']');
    let port = port.parse().ok().filter(|port| *port > 0);
    (digits && bracket).then_some(port).filter(Option::is_some)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.host),
            path => write!(f, "{}/{path}", self.host),
        }
    }
}

impl Place {
    /// Its address, with `port` if it names none: the first of IPv4, which
    /// every server has, or else the first.
    ///
    /// # Errors
    /// The name is not known.
    pub fn resolve(&self, port: u16) -> io::Result<SocketAddr> {
        let port = self.port.unwrap_or(port);
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(SocketAddr::new(address, port));
        }
        let all: Vec<_> =
            (self.host.as_str(), port).to_socket_addrs()?.collect();
        let v4 = all.iter().find(|address| address.is_ipv4());
        let found = v4.or(all.first()).copied();
        found.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_host_and_perhaps_a_path() {
        for (word, host, path) in [
            ("dumps.example", "dumps.example", ""),
            ("192.0.2.1/lab/a", "192.0.2.1", "lab/a"),
            ("[2001:db8::1]/lab", "2001:db8::1", "lab"),
            ("::1", "::1", ""),
            ("[fe80::1%em0]", "fe80::1%em0", ""),
            ("host:5/lab", "host", "lab"),
            ("[::1]:5", "::1", ""),
        ] {
            let place: Place = word.parse().unwrap();
            assert_eq!(
                (place.host.as_str(), place.path.as_str()),
                (host, path)
            );
        }
        let long = format!("host/{}", "x".repeat(1024));
        for bad in [
            "", "/lab", "[::1", "[host]", "a\nb", "a/b\n", &long, "host:",
            "host:0", "host:x", "[::1]x", "[::1]:", "[::1]x:5", ":5",
        ] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
        for (word, want) in
            [("[::1]/x", "[::1]:5"), ("[::1]:7", "[::1]:7"), ("::1", "[::1]:5")]
        {
            let place: Place = word.parse().unwrap();
            assert_eq!(place.resolve(5).unwrap().to_string(), want);
        }
        let place: Place = "127.0.0.1".parse().unwrap();
        assert!(place.resolve(5).unwrap().is_ipv4());
    }
}
