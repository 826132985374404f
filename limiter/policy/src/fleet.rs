//! What a node says about its fleet: where that is kept, and what the node takes of it.

use std::time::Duration;

use limiter_common::rate::Rate;

use crate::Name;

/// The host's budget among those of a fleet; the others go by the names of their services.
pub const HOST: &str = "host";

/// The table `[fleet]` of a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// Its name: fleets with different names may be kept by one engine.
    pub name: Name,
    /// The name of this node; `None`: that of the machine.
    pub node: Option<Name>,
    /// Where the engine answers, in the order in which it is asked. At least one.
    pub endpoints: Vec<Endpoint>,
    /// What shows who is who: all three files, or none where every endpoint is plain.
    pub certificates: Option<Certificates>,
    /// The most that is taken of a budget, whatever is granted.
    pub most: Vec<(Name, Rate)>,
    /// What is taken of the fleet at all.
    pub takes: Takes,
    /// Profiles of this file that the fleet may put into force here.
    pub profiles: Vec<Name>,
}

/// What a node takes of its fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Takes {
    /// Shares of budgets.
    pub budgets: bool,
    /// Bans.
    pub bans: bool,
    /// Entries of the allow list.
    pub allow: bool,
    /// Least length of a prefix of these two, IPv4 and IPv6.
    pub widest: (u8, u8),
    /// The longest that one of them may last, or a profile of the fleet.
    pub longest: Duration,
}

impl Default for Takes {
    fn default() -> Self {
        let longest = Duration::from_secs(86_400);
        Self { budgets: true, bans: false, allow: false, widest: (16, 32), longest }
    }
}

/// Where an engine answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// With TLS; without it only on this machine.
    pub tls: bool,
    /// Its name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Files in PEM. A relative name counts from where the policy file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificates {
    /// Whose certificates the engine may have.
    pub authority: String,
    /// This node's own.
    pub own: String,
    /// The key to it.
    pub key: String,
}

impl Endpoint {
    /// Reads `https://HOST:PORT`, or `http://` and this machine.
    ///
    /// # Errors
    /// What is wrong, and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{}` is not an endpoint; write `https://10.1.0.1:2379`", text.escape_debug())
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(wrong()),
        };
        let (host, port) = rest.trim_end_matches('/').rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let good = match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                let part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
                !host.is_empty() && host.chars().all(part)
            }
        };
        if !good {
            return Err(wrong());
        }
        let host = bare.unwrap_or(host).to_owned();
        let here = host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        if !tls && !here {
            return Err(format!(
                "`{text}` is not on this machine, so use https:// to reach the engine"
            ));
        }
        Ok(Self { tls, host, port })
    }

    /// Its name or address as it stands before a port.
    fn shown(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    /// `HOST:PORT`.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.shown(), self.port)
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "http{}://{}", if self.tls { "s" } else { "" }, self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_shown() {
        for text in [
            "https://10.1.0.1:2379",
            "https://[2001:db8::1]:2379",
            "https://etcd-1.example.org:2379",
            "http://127.0.0.1:2379",
            "http://[::1]:1",
            "http://localhost:65535",
        ] {
            assert_eq!(Endpoint::parse(text).map(|one| one.to_string()), Ok(text.to_owned()));
        }
        for text in [
            "10.1.0.1:2379",
            "http://10.1.0.1:2379",
            "https://10.1.0.1",
            "https://:2379",
            "https://a:0",
            "https://a b:1",
            "https://[x]:1",
            "ftp://localhost:1",
            "https://u@h:1",
            "https://h/p:1",
        ] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }
}
