//! Where most attempts come from, and whether the limits of networks can do what they are for.

use limiter_common::rate::Limit;

use super::Findings;
use crate::observe::concentrated::Finding;
use crate::policy::{Policy, Service, text};
use crate::report::numbers::count;

/// All of it. `found`: of the last two minutes.
pub fn check(policy: &Policy, found: &[Finding], to: &mut Findings) {
    to.area("networks");
    for one in found {
        let what = format!("to {}, {}", one.service, one.words());
        match &one.advice {
            Some(advice) => to.warning(what, advice.clone()),
            None => to.ok(format!(
                "{what}: those are all clients, so a limit on it would be a limit on all"
            )),
        }
    }
    if found.is_empty() {
        to.ok("no service has most of its attempts from one network or from two addresses");
    }
    for service in &policy.services {
        let (name, limit) = (&service.name, service.networks.limit);
        check_open(service, policy, to);
        if limit.is_none() {
            continue;
        }
        let own = service.source.unwrap_or(policy.source);
        if per_second(limit) < per_second(own) {
            to.warning(
                format!(
                    "{name}: the network limit, {}, is lower than the source limit, {}",
                    text::show_limit(limit),
                    text::show_limit(own)
                ),
                format!(
                    "one source can use up the limit of its network; `limiter suggest --service \
                     {name} --networks` shows what networks bring"
                ),
            );
        }
        let budgets = [service.budget, policy.budget].into_iter().filter(|one| !one.is_none());
        let least = budgets.min_by(|one, other| per_second(*one).total_cmp(&per_second(*other)));
        if let Some(budget) = least.filter(|budget| per_second(limit) >= per_second(*budget)) {
            to.warning(
                format!(
                    "{name}: the network limit, {}, is no lower than the budget of all sources, {}",
                    text::show_limit(limit),
                    text::show_limit(budget)
                ),
                "one network can take the whole budget; a network limit of a quarter of the budget \
                 leaves the others their part",
            );
        }
    }
}

/// The number of open connections of a network, if it has one.
fn check_open(service: &Service, policy: &Policy, to: &mut Findings) {
    let (name, open, own) = (&service.name, service.networks.open, service.admission.open);
    if open == 0 {
        return;
    }
    if open < own {
        to.warning(
            format!(
                "{name}: a network may have {} connections open, but one source in it {}",
                count(open),
                count(own)
            ),
            format!(
                "one source can use up the places of its network; `limiter suggest --service \
                 {name} --open --networks` shows what networks hold"
            ),
        );
    }
    let budgets = [service.admission.open_budget, policy.open_budget];
    let least = budgets.into_iter().filter(|most| *most != 0).min();
    if let Some(budget) = least.filter(|budget| open >= *budget) {
        to.warning(
            format!(
                "{name}: a network may have {} connections open, and all sources together no more: {}",
                count(open),
                count(budget)
            ),
            "one network can hold every place; a network limit of a quarter of them leaves the \
             others their part",
        );
    }
}

/// Events per second; without a limit none, so that it is never compared as more.
fn per_second(limit: Limit) -> f64 {
    if limit.is_none() { 0.0 } else { limit.rate.count as f64 * 1e9 / limit.rate.period as f64 }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_networks_number_of_open_connections_is_between_a_sources_and_all() {
        let said = |open, of_source, of_service| {
            let mut policy = Policy {
                services: vec![text::service("web=*:80").expect("a service")],
                ..Policy::default()
            };
            let web = &mut policy.services[0];
            web.networks.open = open;
            web.admission.open = of_source;
            web.admission.open_budget = of_service;
            let mut findings = Findings::default();
            check(&policy, &[], &mut findings);
            findings.worst()
        };
        assert_eq!(said(500, 50, 20_000), Level::Ok);
        assert_eq!(said(0, 50, 20_000), Level::Ok);
        assert_eq!(said(40, 50, 20_000), Level::Warning);
        assert_eq!(said(20_000, 50, 20_000), Level::Warning);
    }
}
