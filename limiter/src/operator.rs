//! Whether the operator could lock himself out: the ssh connection that a command is typed over, held against a policy.
//!
//! Limits never touch an established connection. What they could refuse is the next one, when this one breaks.

use std::net::{IpAddr, SocketAddr};

use limiter_common::rate::Limit;

use crate::policy::prefix::Prefix;
use crate::policy::{Policy, Service, text};

/// An ssh connection, as `SSH_CONNECTION` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The operator's address.
    pub client: IpAddr,
    /// Where it leads to on this machine.
    pub server: SocketAddr,
}

/// The connection that this command is typed over, if it is one of ssh. `sudo` drops the variable, so the processes above are asked too.
pub fn connection() -> Option<Connection> {
    if let Some(found) = std::env::var("SSH_CONNECTION").ok().and_then(|text| parse(&text)) {
        return Some(found);
    }
    let mut process = std::os::unix::process::parent_id();
    // A chain of processes is short; a loop cannot be.
    for _ in 0..64 {
        if process <= 1 {
            return None;
        }
        let environment = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        let variables = environment
            .split(|byte| *byte == 0)
            .filter_map(|entry| std::str::from_utf8(entry).ok());
        let found =
            variables.filter_map(|entry| entry.strip_prefix("SSH_CONNECTION=")).find_map(parse);
        if found.is_some() {
            return found;
        }
        process = parent(process)?;
    }
    None
}

/// The parent of a process: the second number behind its name, which may hold anything but ends with the last bracket.
fn parent(process: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// `CLIENT PORT SERVER PORT`.
fn parse(text: &str) -> Option<Connection> {
    let mut words = text.split_whitespace();
    let client: IpAddr = words.next()?.parse().ok()?;
    let server: IpAddr = words.nth(1)?.parse().ok()?;
    let port = words.next()?.parse().ok()?;
    Some(Connection {
        client: client.to_canonical(),
        server: SocketAddr::new(server.to_canonical(), port),
    })
}

/// What to know before `policy` is enforced by an operator who is not on the allow list: that it
/// could refuse his next connection.
pub fn warning(policy: &Policy, connection: Connection) -> Option<String> {
    let Connection { client, server } = connection;
    let host = Prefix::from(client);
    let service = service(policy, server)?;
    let mut limits = Vec::new();
    let mut note = |what: String, limit: Limit| {
        if !limit.is_none() {
            limits.push(format!("{what} {}", text::show_limit(limit)));
        }
    };
    let mut service = service.clone();
    if let Some(class) = policy.class_of(&host) {
        note(format!("source limit of class {}", class.name), class.source);
        service.source = Some(Limit::default());
        service.networks = class.networks;
    }
    for (what, limit) in service.limits(policy) {
        note(what.to_owned(), limit);
    }
    note("global budget".to_owned(), policy.budget);
    if limits.is_empty() {
        return None;
    }
    Some(format!(
        "your own ssh connection comes from {client} to port {}, which is in service {} ({}): it stays, but when a limit is spent you \
         could not open another; `limiter allow add {client}` first keeps you in",
        server.port(),
        service.name,
        limits.join("; ")
    ))
}

/// The service that protects an address and port: by the address itself, else by every address of its family.
fn service(policy: &Policy, server: SocketAddr) -> Option<&Service> {
    let any: IpAddr = if server.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
    let at = |place: SocketAddr| {
        policy.services.iter().find(|service| service.listeners.contains(&place))
    };
    at(server).or_else(|| at(SocketAddr::new(any, server.port())))
}

#[cfg(test)]
mod tests {
    use limiter_common::rate::Rate;

    use super::*;
    use crate::policy::Class;

    fn policy() -> Policy {
        let limit = Limit { rate: Rate::per_second(20), burst: 40 };
        let ssh = text::service("ssh=*:22").expect("a service");
        Policy { source: limit, services: vec![ssh], ..Policy::default() }
    }

    fn ssh(text: &str) -> Connection {
        parse(text).expect("a connection")
    }

    #[test]
    fn who_could_be_refused_is_told() {
        let policy = policy();
        let text = warning(&policy, ssh("192.0.2.7 50000 198.51.100.1 22")).expect("a warning");
        assert!(
            text.contains("192.0.2.7") && text.contains("service ssh") && text.contains("20/s"),
            "{text}"
        );
        assert!(warning(&policy, ssh("2001:db8::7 50000 2001:db8::1 22")).is_some());
        assert!(warning(&policy, ssh("::ffff:192.0.2.7 50000 ::ffff:198.51.100.1 22")).is_some());
    }

    #[test]
    fn who_cannot_is_not_bothered() {
        let mut policy = policy();
        let mine = ssh("192.0.2.7 50000 198.51.100.1 22");
        assert_eq!(
            warning(&policy, ssh("192.0.2.7 50000 198.51.100.1 2222")),
            None,
            "another port"
        );
        policy.classes = vec![Class {
            name: "admins".parse().expect("a name"),
            members: vec!["192.0.2.0/24".parse().expect("a prefix")],
            source: Limit::default(),
            prefixes: None,
            open: None,
            networks: Default::default(),
        }];
        assert_eq!(warning(&policy, mine), None, "a class without limit");
        policy.budget = Limit { rate: Rate::per_second(1000), burst: 2000 };
        assert!(warning(&policy, mine).expect("a warning").contains("global budget"));
        for broken in ["", "192.0.2.7", "192.0.2.7 1 198.51.100.1", "a b c d"] {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }
}
