//! `limiter suggest --open`: what numbers of open connections would leave out of those that are
//! open now.

use anyhow::Result;
use serde::Serialize;

use crate::cli::Context;
use crate::kernel::Maps;
use crate::observe::open::{self, By, Holder};
use crate::policy::{Name, Policy};
use crate::report::{self, numbers};

/// Numbers that are tried.
const LADDER: [u64; 9] = [5, 10, 20, 50, 100, 200, 500, 1000, 2000];

/// What is open to a service, and what limits would leave out.
#[derive(Debug, PartialEq, Serialize)]
struct Answer {
    service: String,
    /// Connections that are open, but of sources in classes that have a number of their own.
    connections: u64,
    /// Sources that hold them.
    sources: usize,
    limits: Vec<Tried>,
    /// The lowest that would leave out no more than `--allow`.
    suggested: Option<Tried>,
}

/// A number that was tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Tried {
    open: u64,
    /// Percent of the connections that are beyond it.
    beyond_percent: f64,
    /// Sources that hold more.
    sources: usize,
}

/// Judges what is open now, of one service or of each: of sources, or of `networks`. `allow`:
/// percent.
pub fn run(
    context: &Context,
    maps: &Maps,
    service: Option<&Name>,
    networks: bool,
    allow: f64,
) -> Result<()> {
    let policy = maps.policy(maps.selection()?.slot)?;
    let by = if networks { By::Networks } else { By::Sources };
    let holders = open::read(maps, by, service.map(Name::as_str), usize::MAX)?;
    let asked = policy.services.iter().map(|one| &one.name);
    let asked = asked.filter(|name| service.is_none_or(|service| service == *name));
    let answers: Vec<_> = asked.map(|name| answer(&policy, name, by, &holders, allow)).collect();
    report::print(context.format, &answers, |answers| {
        answers.iter().map(|answer| describe(answer, by, allow)).collect()
    })
}

fn answer(policy: &Policy, service: &Name, by: By, holders: &[Holder], allow: f64) -> Answer {
    // A class with a number of its own has no use for the service's, nor any class for networks.
    let has_own = |holder: &Holder| {
        let mut classes = policy.classes.iter();
        classes.any(|one| {
            let is_its = holder.class.as_deref() == Some(one.name.as_str());
            is_its && (by == By::Networks || one.open.is_some())
        })
    };
    let counts = holders.iter().filter(|one| one.service == service.as_str() && !has_own(one));
    let counts: Vec<u64> = counts.map(|one| one.count).collect();
    let connections: u64 = counts.iter().sum();
    let tried = |open: u64| {
        let beyond: u64 = counts.iter().map(|count| count.saturating_sub(open)).sum();
        Tried {
            open,
            beyond_percent: 100.0 * beyond as f64 / connections.max(1) as f64,
            sources: counts.iter().filter(|count| **count > open).count(),
        }
    };
    let limits: Vec<Tried> = match connections {
        0 => Vec::new(),
        _ => LADDER.map(tried).to_vec(),
    };
    let suggested = limits.iter().find(|tried| tried.beyond_percent <= allow).cloned();
    Answer { service: service.to_string(), connections, sources: counts.len(), limits, suggested }
}

fn describe(answer: &Answer, by: By, allow: f64) -> String {
    let Answer { service, connections, sources, limits, suggested } = answer;
    if limits.is_empty() {
        return format!("{service}: no connection is open now, so there is nothing to suggest\n");
    }
    let (one, many) = match by {
        By::Networks => ("network", "networks"),
        _ => ("source", "sources"),
    };
    let head = format!("open of a {one}");
    let mut text = format!(
        "{service}: {} are open now, of {}\n  {head:<17}  beyond it   {many} with more\n",
        numbers::plural(*connections, ["connection", "connections"]),
        numbers::plural(*sources as u64, [one, many]),
    );
    for Tried { open, beyond_percent, sources } in limits {
        let percent = format!("{beyond_percent:.2}%");
        text.push_str(&format!("  {:<17}  {percent:<10}  {sources}\n", numbers::count(*open)));
    }
    match suggested {
        Some(Tried { open, .. }) if by == By::Networks => text.push_str(&format!(
            "  the lowest that leaves out at most {allow}%: limiter set --service {service} \
             --network-open {open}\n  this is a snapshot of now\n",
        )),
        Some(Tried { open, .. }) => text.push_str(&format!(
            "  the lowest that leaves out at most {allow}%: limiter set --service {service} --open \
             {open}\n  this is a snapshot of now; to try it for longer: limiter set --service \
             {service} --shadow-open {open}\n",
        )),
        None => text.push_str(&format!(
            "  each of these leaves out more than {allow}%: allow more with --allow, or give the \
             large {many} a class of their own\n",
        )),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Class, text};

    fn holder(source: &str, class: Option<&str>, count: u64) -> Holder {
        let (source, class) = (source.to_owned(), class.map(str::to_owned));
        Holder { source, service: "web".to_owned(), class, count }
    }

    #[test]
    fn what_is_beyond_a_number_is_counted() {
        let class = |name: &str, open| Class { open, ..Class::bare(name.parse().expect("a name")) };
        let policy = Policy {
            services: vec![text::service("web=*:80").expect("a service")],
            classes: vec![class("probes", Some(0)), class("schools", None)],
            ..Policy::default()
        };
        let holders = [
            holder("192.0.2.1", None, 60),
            holder("192.0.2.2", Some("schools"), 30),
            holder("192.0.2.3", Some("probes"), 5000),
            holder("192.0.2.4", None, 10),
            Holder { service: "mail".to_owned(), ..holder("192.0.2.1", None, 900) },
        ];
        let of = |by| answer(&policy, &policy.services[0].name, by, &holders, 10.0);
        let answer = of(By::Sources);
        assert_eq!((answer.connections, answer.sources), (100, 3));
        let beyond: Vec<_> = answer.limits[..5]
            .iter()
            .map(|one| (one.open, one.beyond_percent, one.sources))
            .collect();
        let expected = [(5, 85.0, 3), (10, 70.0, 2), (20, 50.0, 2), (50, 10.0, 1), (100, 0.0, 0)];
        assert_eq!(beyond, expected);
        assert_eq!(answer.suggested.as_ref().map(|one| one.open), Some(50));
        let text = describe(&answer, By::Sources, 10.0);
        assert!(text.contains("100 connections are open now, of 3 sources"), "{text}");
        assert!(text.contains("--service web --open 50\n"), "{text}");
        let networks = of(By::Networks);
        assert_eq!((networks.connections, networks.sources), (70, 2), "none of a class");
        let text = describe(&networks, By::Networks, 10.0);
        assert!(text.contains("open of a network  beyond it   networks with more"), "{text}");
        assert!(text.contains("--service web --network-open 100\n"), "{text}");
    }
}
