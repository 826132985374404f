//! A crowd in simulated time: pages of several connections, and a server that cannot take them all.

use fastrand::Rng;
use limiter_common::challenge::Challenge;
use limiter_common::reason::Reason;

use super::world::{SECOND, START, World, is};

/// What became of a crowd.
pub struct Crowd {
    /// Pages of which all connections got through.
    pub whole_pages: usize,
    /// From coming to the last connection, seconds.
    pub median_wait: f64,
}

/// Connections of a page.
pub const CONNECTIONS: u32 = 6;
/// All users come within so many seconds.
pub const SECONDS: u64 = 20;

/// Connections per second that the server can take: a fifth of what the users want.
pub fn budget(users: u32) -> u64 {
    u64::from(users * CONNECTIONS) / SECONDS / 5
}

/// `users` come within 20 seconds, each with six connections at once, to a server that can take a fifth of them. A SYN that is refused
/// is sent again after 1, 3, 7 and 15 seconds, as TCP does; a page is whole if all six get through.
pub fn crowd(users: u32, tickets: bool) -> Crowd {
    const TRIES: [u64; 5] = [0, 1, 3, 7, 15];
    let budget = budget(users);
    let mut world = World::new(budget, 2 * budget, Challenge::Off, false);
    if !tickets {
        (world.service.admission.ticket_life, world.service.admission.floor) = (0, 0);
    }
    let mut random = Rng::with_seed(0xc0de);
    let mut queue = std::collections::BTreeSet::new();
    let mut came = vec![0; users as usize];
    for user in 0..users {
        came[user as usize] = START + random.u64(..SECONDS * SECOND);
        queue.extend((0..CONNECTIONS).map(|connection| (came[user as usize], user, connection, 0)));
    }
    let mut left = vec![CONNECTIONS; users as usize];
    let mut waits = Vec::new();
    while let Some((now, user, connection, tried)) = queue.pop_first() {
        let index = user as usize;
        if world.syn(user, now) == is(Reason::Admitted) {
            left[index] -= 1;
            if left[index] == 0 {
                waits.push((now - came[index]) as f64 / 1e9);
            }
        } else if let Some(after) = TRIES.get(tried + 1) {
            // A little apart, as timers are.
            let again = came[index] + after * SECOND + random.u64(..SECOND / 20);
            queue.insert((again, user, connection, tried + 1));
        }
    }
    waits.sort_by(f64::total_cmp);
    Crowd {
        whole_pages: waits.len(),
        median_wait: waits.get(waits.len() / 2).copied().unwrap_or(f64::NAN),
    }
}
