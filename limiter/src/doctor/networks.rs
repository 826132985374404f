//! Where most attempts come from, and whether the limits of networks can do what they are for.

use limiter_common::rate::Limit;

use super::Findings;
use crate::observe::networks::Finding;
use crate::policy::{Policy, text};

/// All of it. `found`: of the last two minutes.
pub fn check(policy: &Policy, found: &[Finding], to: &mut Findings) {
    to.area("networks");
    for one in found {
        to.warning(format!("to {}, {}", one.service, one.words()), one.advice.clone());
    }
    if found.is_empty() {
        to.ok("no service has most of its attempts from one network or from two addresses");
    }
    for service in &policy.services {
        let (name, limit) = (&service.name, service.networks.limit);
        if limit.is_none() {
            continue;
        }
        let own = service.source.unwrap_or(policy.source);
        if per_second(limit) < per_second(own) {
            to.warning(
                format!(
                    "{name}: a network has {}, which is less than one source of it has: {}",
                    text::show_limit(limit),
                    text::show_limit(own)
                ),
                format!("one source of a network takes all of it; `limiter suggest --service {name} --networks` shows what networks bring"),
            );
        }
        let budgets = [service.budget, policy.budget].into_iter().filter(|one| !one.is_none());
        let least = budgets.min_by(|one, other| per_second(*one).total_cmp(&per_second(*other)));
        if let Some(budget) = least.filter(|budget| per_second(limit) >= per_second(*budget)) {
            to.warning(
                format!(
                    "{name}: a network has {}, and all sources together have no more: {}",
                    text::show_limit(limit),
                    text::show_limit(budget)
                ),
                "one network may take the whole budget; a quarter of the budget leaves others their part",
            );
        }
    }
}

/// Events per second; without a limit none, so that it is never compared as more.
fn per_second(limit: Limit) -> f64 {
    if limit.is_none() { 0.0 } else { limit.rate.count as f64 * 1e9 / limit.rate.period as f64 }
}
