//! A budget that follows its server: the bounds, and how its health is asked for.

use std::time::Duration;

use limiter_common::rate::Rate;

use crate::Name;

/// One table `[auto.NAME]` of a policy file. The daemon acts on it; the kernel side has no part in
/// it but the rate that results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auto {
    /// The service whose budget it is.
    pub service: Name,
    /// The least that the budget falls to: at most what the service's budget says.
    pub least: Rate,
    /// The most that it rises to: at least what the service's budget says.
    pub most: Rate,
    /// What is asked once a second; `None`: only the accept queue tells how the server fares.
    pub probe: Option<Probe>,
}

/// A page of the server that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The address and port of this machine.
    pub authority: String,
    /// The path, with a `/` before it.
    pub path: String,
    /// An answer that takes longer says that the server cannot keep up: 10 ms to 5 s.
    pub slow: Duration,
}

impl Probe {
    /// How long an answer may take where the file does not say.
    pub const SLOW: Duration = Duration::from_millis(500);
    /// The bounds of that.
    pub const BOUNDS: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(5)];

    /// Reads `http://127.0.0.1:8080/ping`.
    ///
    /// # Errors
    /// What is wrong, and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let shown = text.escape_debug();
        let wrong = || format!("`{shown}` is not a probe; write `http://127.0.0.1:80/ping`");
        let rest = text.strip_prefix("http://").ok_or_else(|| {
            format!(
                "`{shown}` is not a probe, which asks this machine over http://, as \
                 `http://127.0.0.1:80/ping`"
            )
        })?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let address: std::net::SocketAddr = match authority.parse() {
            Ok(address) => address,
            Err(_) => format!("{authority}:80").parse().map_err(|_| wrong())?,
        };
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong());
        }
        if address.ip().is_unspecified() || address.port() == 0 {
            return Err(wrong());
        }
        Ok(Self { authority: address.to_string(), path: path.to_owned(), slow: Self::SLOW })
    }
}

impl std::fmt::Display for Probe {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "http://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_read_and_shown() {
        for (text, shown) in [
            ("http://127.0.0.1/ping", "http://127.0.0.1:80/ping"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
            ("http://[::1]:8080/a?b=c", "http://[::1]:8080/a?b=c"),
            ("http://[::1]/", "http://[::1]:80/"),
        ] {
            assert_eq!(Probe::parse(text).map(|probe| probe.to_string()), Ok(shown.to_owned()));
        }
        for text in [
            "127.0.0.1:80",
            "https://127.0.0.1/",
            "http://",
            "http://web/",
            "http://0.0.0.0/",
            "http://127.0.0.1/a b",
        ] {
            assert!(Probe::parse(text).is_err(), "{text}");
        }
    }
}
