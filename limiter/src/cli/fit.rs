//! The burst that goes with a budget where none is said: what is let in at once and does not fit
//! into the server's accept queue is thrown away by the kernel.

use std::net::SocketAddr;

use limiter_common::rate::Limit;
use serde::Serialize;

use crate::combinations;
use crate::kernel::clock;
use crate::kernel::listener::{self, Listener};
use crate::policy::settings::{LimitChange, Settings, Value};
use crate::policy::{Name, Policy, text};

/// Key of a budget.
pub const BUDGET: &str = "budget";

/// A burst that was chosen for an accept queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fitted {
    /// The burst.
    pub burst: u64,
    /// Connections that may wait to be accepted.
    pub queue: u64,
}

/// Adds the burst to a budget that is said without one. `service`: whose it is, or the host's. The
/// usual burst stays where it fits, and where no process listens.
pub fn fit(said: &mut Settings, policy: &Policy, service: Option<&Name>) -> Option<Fitted> {
    let listeners = listener::all().unwrap_or_default();
    fit_into(said, &addresses(policy, service), &listeners)
}

fn addresses(policy: &Policy, service: Option<&Name>) -> Vec<SocketAddr> {
    let services =
        policy.services.iter().filter(|one| service.is_none_or(|name| one.name == *name));
    services.flat_map(|one| one.listeners.iter().copied()).collect()
}

fn fit_into(
    said: &mut Settings,
    addresses: &[SocketAddr],
    listeners: &[Listener],
) -> Option<Fitted> {
    let Some(Value::Limit(LimitChange { rate: Some(rate), burst: None })) = said.get(BUDGET) else {
        return None;
    };
    let queue = listener::queues(addresses, listeners).iter().map(|queue| queue.room).min()?;
    let burst = combinations::fitting(queue);
    // A lease of a large budget is more than a short queue holds.
    let keeps = Limit { rate, burst }.to_budget(clock::cpus()).is_ok();
    if rate.count == 0 || text::usual_burst(rate) <= burst || !keeps {
        return None;
    }
    let change = LimitChange { rate: Some(rate), burst: Some(burst) };
    said.0.insert(BUDGET, Value::Limit(change));
    Some(Fitted { burst, queue })
}

#[cfg(test)]
mod tests {
    use crate::combinations::LEAST;
    use limiter_common::rate::Rate;

    use super::*;

    fn fitted(rate: u64, burst: Option<u64>, rooms: &[(u16, u32)]) -> Option<u64> {
        let change = LimitChange { rate: Some(Rate::per_second(rate)), burst };
        let mut said = Settings::default();
        said.0.insert(BUDGET, Value::Limit(change));
        let listeners: Vec<_> = rooms
            .iter()
            .map(|(port, room)| Listener {
                address: ([0; 4], *port).into(),
                only_v6: false,
                waiting: 0,
                room: *room,
                inode: 0,
                device: 0,
            })
            .collect();
        let addresses = [([0; 4], 80).into(), ([0; 4], 443).into()];
        let fitted = fit_into(&mut said, &addresses, &listeners)?;
        let burst = Some(fitted.burst);
        let change = LimitChange { rate: Some(Rate::per_second(rate)), burst };
        assert_eq!(said.get(BUDGET), Some(Value::Limit(change)));
        burst
    }

    #[test]
    fn it_fits_into_the_smallest_accept_queue() {
        assert_eq!(fitted(500, None, &[(80, 511), (443, 128)]), Some(102));
        assert_eq!(fitted(500, None, &[(80, 64), (80, 64)]), Some(102), "workers share an address");
        assert_eq!(fitted(500, None, &[(80, 5)]), Some(LEAST));
        assert_eq!(fitted(500, None, &[(80, 4096), (81, 5)]), None, "the usual one fits");
        assert_eq!(fitted(20, None, &[(80, 128)]), None);
        assert_eq!(fitted(500, None, &[]), None);
        assert_eq!(fitted(1_000_000, None, &[(80, 128)]), None, "it could not be kept");
        assert_eq!(fitted(500, Some(1000), &[(80, 128)]), None, "it was said");
    }
}
