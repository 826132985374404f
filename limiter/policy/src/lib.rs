//! The policy as people think of it: services, limits, budgets. Units and map layouts are `encode`'s business.

pub mod auto;
mod classes;
pub mod decode;
pub mod diff;
pub mod encode;
pub mod file;
pub mod fleet;
pub mod prefix;
pub mod settings;
pub mod text;

use std::net::SocketAddr;

use limiter_common::challenge::Challenge;
use limiter_common::rate::Limit;
use limiter_common::record::NAME;
use limiter_common::source_table::WAYS;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use prefix::Prefix;
pub use settings::{Admission, Class, Service};

/// Everything that decides, apart from the mode and the allow and ban lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Limit of each source to each service that has none of its own.
    pub source: Limit,
    /// Prefixes that make a source, for services that have none of their own.
    pub prefixes: Prefixes,
    /// The global budget.
    pub budget: Limit,
    /// What may go to the waiting room, if not [`encode::DIVERTS`].
    pub diverts: Option<Limit>,
    /// Most open connections of all services; 0: any number.
    pub open_budget: u64,
    /// What is protected.
    pub services: Vec<Service>,
    /// Prefixes with limits of their own. No prefix is in two classes; of nested ones the longest counts.
    pub classes: Vec<Class>,
}

/// How many leading bits of a client address make a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Prefixes {
    /// IPv4, 1 to 32.
    pub v4: u8,
    /// IPv6, 1 to 128.
    pub v6: u8,
}

impl Default for Prefixes {
    fn default() -> Self {
        Self { v4: 32, v6: 64 }
    }
}

/// The limits of the networks above sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Networks {
    /// Rate and burst of all sources of one network together, at one service.
    pub limit: Limit,
    /// How many leading bits of a client address make a network.
    pub prefixes: Prefixes,
    /// Most open connections of one network to one service; 0: any number.
    pub open: u64,
}

impl Default for Networks {
    fn default() -> Self {
        Self { limit: Limit::default(), prefixes: Prefixes { v4: 24, v6: 48 }, open: 0 }
    }
}

/// The limits of each source that a service tries in the shadow of those in force: what they would
/// refuse is counted and let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shadow {
    /// Rate and burst of each source.
    pub source: Limit,
    /// Most open connections of each source; 0: none is tried.
    pub open: u64,
}

impl Shadow {
    /// Whether nothing is tried.
    pub const fn is_none(&self) -> bool {
        self.source.is_none() && self.open == 0
    }
}

/// Name of a service or a class: 1 to 32 letters, digits, `-` or `_`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if text.is_empty() || text.len() > NAME || !text.chars().all(good) {
            return Err(format!(
                "a name is 1 to {NAME} letters, digits, '-' or '_'; `{text}` is not"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.pad(&self.0)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'d> Deserialize<'d> for Name {
    fn deserialize<D: Deserializer<'d>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Policy {
    /// The service of that name.
    pub fn service(&self, name: &Name) -> Option<&Service> {
        self.services.iter().find(|service| service.name == *name)
    }

    /// The service at a local address: one that names it before one that has every address.
    pub fn service_at(&self, local: SocketAddr) -> Option<&Service> {
        let listens = |any: bool| {
            self.services.iter().find(|service| {
                service.listeners.iter().any(|listener| {
                    let ip = listener.ip();
                    listener.port() == local.port()
                        && ip.is_ipv4() == local.is_ipv4()
                        && if any { ip.is_unspecified() } else { ip == local.ip() }
                })
            })
        };
        listens(false).or_else(|| listens(true))
    }

    /// The service of that name, to be changed.
    pub fn service_mut(&mut self, name: &Name) -> Option<&mut Service> {
        self.services.iter_mut().find(|service| service.name == *name)
    }

    /// The class of that name.
    pub fn class(&self, name: &Name) -> Option<&Class> {
        self.classes.iter().find(|class| class.name == *name)
    }

    /// The class of an address: of the prefixes that hold it the longest counts.
    pub fn class_of(&self, host: &Prefix) -> Option<&Class> {
        let members = self
            .classes
            .iter()
            .flat_map(|class| class.members.iter().map(move |prefix| (prefix, class)));
        let holding = members.filter(|(prefix, _)| prefix.covers(host));
        holding.max_by_key(|(prefix, _)| prefix.length).map(|(_, class)| class)
    }

    /// Whether anything could ever be refused.
    pub fn has_limits(&self) -> bool {
        !self.budget.is_none()
            || self.bounds_open()
            || self
                .services
                .iter()
                .any(|service| service.admission.users != 0 || !service.limits(self).is_empty())
    }

    /// Whether a budget or a number of users bounds how many come in to a service.
    pub fn is_bounded(&self, service: &Service) -> bool {
        service.admission.users != 0 || !service.budget.is_none() || !self.budget.is_none()
    }

    /// Whether anything is bounded by the connections that are open.
    pub fn bounds_open(&self) -> bool {
        let of_service =
            |one: &Service| one.admission.open | one.admission.open_budget | one.networks.open != 0;
        let of_class =
            |one: &Class| one.networks.open != 0 || one.open.is_some_and(|most| most != 0);
        self.open_budget != 0
            || self.services.iter().any(of_service)
            || self.classes.iter().any(of_class)
    }

    /// Whether open connections are counted, for a bound or for one that is tried.
    pub fn counts_open(&self) -> bool {
        self.bounds_open() || self.services.iter().any(|one| one.shadow.open != 0)
    }

    /// Whether sources wait in line at a service.
    pub fn has_line(&self, service: &Service) -> bool {
        let Admission { line, users, .. } = service.admission;
        users != 0 || line && self.is_bounded(service)
    }

    /// What services follow that do not say otherwise.
    pub fn defaults(&self) -> Self {
        Self { source: self.source, prefixes: self.prefixes, ..Self::default() }
    }

    /// Whether some service may answer attempts with a challenge.
    pub fn may_challenge(&self) -> bool {
        self.services.iter().any(|service| service.admission.challenge != Challenge::Off)
    }
}

/// Sets for a table that holds at least `sources` sources.
pub fn sets_for(sources: u32) -> u32 {
    sources.div_ceil(WAYS as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is tried refuses nothing: it is no limit, and no bound for what is open.
    #[test]
    fn what_is_tried_is_no_limit() {
        let mut policy = Policy::default();
        policy.services.push(text::service("web=*:80").expect("a service"));
        let limit = Limit { rate: limiter_common::rate::Rate::per_second(10), burst: 20 };
        policy.services[0].shadow = Shadow { source: limit, open: 30 };
        assert!(!policy.has_limits() && !policy.bounds_open() && policy.counts_open());
        assert!(policy.services[0].limits(&policy).is_empty());
        assert!(policy.services[0].take_over_shadow());
        assert_eq!(policy.services[0].limits(&policy), [("source limit", limit)]);
        assert!(policy.has_limits() && policy.bounds_open());
        assert_eq!(policy.services[0].shadow, Shadow::default());
    }
}
