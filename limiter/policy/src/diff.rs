//! What differs between two policies, in words: for `set`, `policy diff`, `apply` and the history.
//!
//! Two policies without a line between them decide alike; only the order of services and classes may differ.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::file::{DOCUMENT, Document};
use super::prefix::Prefix;
use super::settings::{CLASS, DEFAULTS, HOST, SERVICE, Setting};
use super::{Class, Name, Policy, Service, text};

/// Prefixes of a class that a line names; of more it tells the number.
const NAMED: usize = 3;

/// A value that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What it is.
    pub what: &'static str,
    /// What it was.
    pub from: String,
    /// What it is now.
    pub to: String,
}

impl fmt::Display for Change {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}: {} -> {}", self.what, self.from, self.to)
    }
}

/// Everything that differs, a line each: the host first, then services, then classes.
pub fn changes(old: &Policy, new: &Policy) -> Vec<String> {
    let mut lines: Vec<String> =
        host(old, new).iter().map(|change| format!("host {change}")).collect();
    let names =
        |policy: &Policy| policy.services.iter().map(|service| service.name.clone()).collect();
    for name in both(names(old), names(new)) {
        match (old.service(&name), new.service(&name)) {
            (Some(was), Some(is)) => {
                lines.extend(
                    service(old, was, new, is)
                        .iter()
                        .map(|change| format!("service {name} {change}")),
                );
            }
            (None, Some(is)) => {
                lines.push(format!("service {name}: new, {}", new_service(new, is)))
            }
            (Some(was), None) => {
                lines.push(format!("service {name}: removed, was on {}", listens(was)))
            }
            (None, None) => {}
        }
    }
    let names = |policy: &Policy| policy.classes.iter().map(|class| class.name.clone()).collect();
    for name in both(names(old), names(new)) {
        let (was, is) = (old.class(&name), new.class(&name));
        lines.extend(class(was, is).iter().map(|line| format!("class {name}{line}")));
    }
    lines
}

/// What differs of the defaults and the global budget.
pub fn host(old: &Policy, new: &Policy) -> Vec<Change> {
    let (old, new) = ((old, old), (new, new));
    between(&DEFAULTS, old, new, By::Said).chain(between(&HOST, old, new, By::Said)).collect()
}

/// What differs beside the policy. Interfaces are not looked at.
pub fn document(old: &Document, new: &Document) -> Vec<Change> {
    between(&DOCUMENT, (old, &old.policy), (new, &new.policy), By::Said).collect()
}

/// What differs of a service in effect, whether by its own settings or by the defaults that it follows.
pub fn service_in_effect(old: &Policy, was: &Service, new: &Policy, is: &Service) -> Vec<Change> {
    let settings = between(&SERVICE, (was, old), (is, new), By::InEffect);
    settings.chain(change("listens on", listens(was), listens(is))).collect()
}

/// What differs of a service itself. Following the default is a value; that the default differs is no news here.
fn service(old: &Policy, was: &Service, new: &Policy, is: &Service) -> Vec<Change> {
    let settings = between(&SERVICE, (was, old), (is, new), By::Said);
    settings.chain(change("listens on", listens(was), listens(is))).collect()
}

/// Whether a setting is seen as it was said, or by what counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Said,
    InEffect,
}

/// The settings that differ between two models, each with what it follows.
fn between<T, R>(
    rows: &[Setting<T, R>],
    (was, old): (&T, &Policy),
    (is, new): (&T, &Policy),
    seen: By,
) -> impl Iterator<Item = Change> {
    let said = seen == By::Said;
    rows.iter()
        .filter(move |row| !said || row.get(was).is_some() || row.get(is).is_some())
        .filter_map(move |row| {
            change(row.what, row.words(was, old, said), row.words(is, new, said))
        })
}

fn change(what: &'static str, from: String, to: String) -> Option<Change> {
    (from != to).then_some(Change { what, from, to })
}

fn new_service(policy: &Policy, is: &Service) -> String {
    let bare = Service { listeners: is.listeners.clone(), ..Service::bare(is.name.clone()) };
    let own = service(policy, &bare, policy, is);
    let said = own.iter().map(|change| format!("; {} {}", change.what, change.to));
    format!("on {}{}", listens(is), said.collect::<String>())
}

fn listens(service: &Service) -> String {
    text::show_listeners(&service.listeners).join(" ")
}

fn class(was: Option<&Class>, is: Option<&Class>) -> Vec<String> {
    // What a class does not say is no default of the policy's.
    let around = Policy::default();
    let settings = |was: &Class, is: &Class| -> Vec<Change> {
        between(&CLASS, (was, &around), (is, &around), By::Said).collect()
    };
    match (was, is) {
        (Some(was), Some(is)) => {
            let changes = settings(was, is);
            let changes = changes.iter().map(|change| format!(" {change}"));
            members(&was.members, &is.members).into_iter().chain(changes).collect()
        }
        (None, Some(is)) => {
            let bare = Class::bare(is.name.clone());
            // Its source limit is always told, and what else it has that a class has not by itself.
            let [limit, others @ ..] = &CLASS;
            let others = others.iter().filter(|row| row.get(is) != row.get(&bare));
            let said = std::iter::once(limit)
                .chain(others)
                .map(|row| format!("; {} {}", row.what, row.words(is, &around, true)));
            vec![format!(": new, of {}{}", count(&is.members, ""), said.collect::<String>())]
        }
        (Some(was), None) => vec![format!(": removed, was of {}", count(&was.members, ""))],
        (None, None) => Vec::new(),
    }
}

fn members(was: &[Prefix], is: &[Prefix]) -> Option<String> {
    let (was, is): (BTreeSet<_>, BTreeSet<_>) =
        (was.iter().copied().collect(), is.iter().copied().collect());
    let part =
        |prefixes: Vec<Prefix>, done: &str| (!prefixes.is_empty()).then(|| count(&prefixes, done));
    let added = part(is.difference(&was).copied().collect(), " added");
    let removed = part(was.difference(&is).copied().collect(), " removed");
    let parts: Vec<String> = added.into_iter().chain(removed).collect();
    (!parts.is_empty()).then(|| format!(": {}", parts.join(", ")))
}

/// `5 prefixes added (192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24 ...)`.
fn count(prefixes: &[Prefix], done: &str) -> String {
    let named: Vec<String> = prefixes.iter().take(NAMED).map(Prefix::to_string).collect();
    let noun = if prefixes.len() == 1 { "prefix" } else { "prefixes" };
    let more = if prefixes.len() > NAMED { " ..." } else { "" };
    format!("{} {noun}{done} ({}{more})", prefixes.len(), named.join(", "))
}

/// The names of both, each once, in the order of the first and then of the second.
fn both(old: Vec<Name>, new: Vec<Name>) -> Vec<Name> {
    let added: Vec<Name> = new.into_iter().filter(|name| !old.contains(name)).collect();
    old.into_iter().chain(added).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use limiter_common::rate::Limit;

    use super::*;

    fn policy(text: &str) -> Policy {
        Document::parse(text, "policy.toml", Path::new("")).expect("good").policy
    }

    #[test]
    fn lines_say_what_differs() {
        let old = policy(
            r#"
            [defaults]
            source_rate = "20/s"
            [service.web]
            listen = "*:80"
            [service.shop]
            listen = "192.0.2.1:443"
            source_rate = "5/s"
            [class.schools]
            prefixes = ["192.0.2.0/24", "198.51.100.0/24"]
            source_rate = "400/s"
            [class.probe]
            prefixes = "203.0.113.9"
            source_rate = "unlimited""#,
        );
        let new = policy(
            r#"
            [defaults]
            source_rate = "10/s"
            [class.schools]
            prefixes = ["192.0.2.0/24", "10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16", "10.4.0.0/16"]
            source_rate = "unlimited"
            prefix_v4 = 24
            [class.carrier]
            prefixes = "100.64.0.0/10"
            source_rate = "50/s"
            [service.mail]
            listen = "*:25"
            budget = "50/s"
            [service.web]
            listen = ["*:80", "*:443"]
            line = false
            source_rate = "10/s""#,
        );
        let wanted = [
            "host source limit: 20/s, burst 40 -> 10/s, burst 20",
            "service web source limit: 20/s, burst 40 (default) -> 10/s, burst 20",
            "service web line: yes -> no",
            "service web listens on: *:80 -> *:80 *:443",
            "service shop: removed, was on 192.0.2.1:443",
            "service mail: new, on *:25; budget 50/s, burst 100",
            "class schools: 4 prefixes added (10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16 ...), 1 prefix removed (198.51.100.0/24)",
            "class schools source limit: 400/s, burst 800 -> unlimited",
            "class schools source prefixes: the service's -> /24 and /64",
            "class probe: removed, was of 1 prefix (203.0.113.9)",
            "class carrier: new, of 1 prefix (100.64.0.0/10); source limit 50/s, burst 100",
        ];
        assert_eq!(changes(&old, &new), wanted);
    }

    #[test]
    fn the_order_is_no_difference() {
        let one = "[service.web]\nlisten = \"*:80\"\n";
        let two = "[service.mail]\nlisten = \"*:25\"\n";
        assert!(
            changes(&policy(&format!("{one}{two}")), &policy(&format!("{two}{one}"))).is_empty()
        );
    }

    #[test]
    fn a_default_that_others_follow_is_said_once() {
        let old = policy("[defaults]\nsource_rate = \"5/s\"\n[service.web]\nlisten = \"*:80\"");
        let new = Policy { source: Limit::default(), ..old.clone() };
        assert_eq!(changes(&old, &new), ["host source limit: 5/s, burst 10 -> none"]);
        let seen = service_in_effect(&old, &old.services[0], &new, &new.services[0]);
        assert_eq!(
            seen[0].to_string(),
            "source limit: 5/s, burst 10 -> none",
            "`set --service` tells what came out"
        );
    }
}
