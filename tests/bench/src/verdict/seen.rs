//! What a command of limiter would have read: the same readers over what the simulation holds.

use limiter::assess::{Facts, Last, Service, Sources};
use limiter::incident::series::{Counts as Named, Distinct, Limiter, Service as Line, Tick};
use limiter::observe::{Ranking, distinct, heavy};
use limiter::report::{Counts, Rates};
use limiter_common::heavy as heavy_kind;
use limiter_common::reason::Reason;
use limiter_common::record::REASONS;

use super::cases::Case;

/// One look, as `watch` takes one every second.
pub struct Look {
    at: f64,
    counts: Counts,
    pub tick: Tick,
}

impl Look {
    /// Looks at the simulation.
    pub fn of(case: &Case) -> Self {
        let (door, kernel, now) = (&case.world.door, case.world.kernel, case.world.now);
        let distinct = distinct::of(|index| door.notes.word(index), now);
        let named = |counts: &[u64; REASONS]| {
            let all = Reason::ALL.iter().map(|reason| (reason, counts[*reason as usize]));
            let some = all.filter(|(_, count)| *count > 0);
            some.map(|(reason, count)| (reason.name().to_owned(), count)).collect::<Named>()
        };
        let tcp = [
            ("PassiveOpens", kernel.opened),
            ("ListenOverflows", kernel.overflows),
            ("ListenDrops", kernel.drops),
            ("RetransSegs", kernel.sent_again),
            ("InSegs", kernel.segments),
            ("CurrEstab", kernel.established),
            ("SyncookiesSent", kernel.cookies[0]),
            ("SyncookiesRecv", kernel.cookies[1]),
        ];
        let tcp: Named = tcp.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        let service = Line {
            name: "web".to_owned(),
            decided: named(&door.decided),
            observed: named(&door.observed),
            challenging: door.is_challenging(now),
            ..Line::default()
        };
        let json = serde_json::to_value(&distinct).ok();
        let recorded: Option<Distinct> = json.and_then(|json| serde_json::from_value(json).ok());
        let counts = Counts::of_numbers(&door.decided, &door.observed).with_kernel(&tcp);
        Self {
            at: now as f64 / 1e9,
            counts,
            tick: Tick {
                monotonic: now as f64 / 1e9,
                tcp,
                limiter: Some(Limiter {
                    mode: if door.enforces { "enforce" } else { "observe" }.to_owned(),
                    generation: 1,
                    services: vec![service],
                    distinct: recorded,
                    sources: Some(sources(case)),
                    ..Limiter::default()
                }),
                ..Tick::default()
            },
        }
    }
}

fn sources(case: &Case) -> Sources {
    let (door, now) = (&case.world.door, case.world.now);
    let number = u64::from(door.service.number);
    let counted = |kind| {
        let kinds: &[heavy_kind::Tallied] = match kind {
            Ranking::Refused => &[heavy_kind::Tallied::Refused],
            Ranking::Budget => &[heavy_kind::Tallied::Budget],
            Ranking::Attempts => &[heavy_kind::Tallied::Refused, heavy_kind::Tallied::Others],
        };
        heavy::of(door.notes.counters(kinds), &door.policy, number, now)
    };
    Sources::of(counted, &door.notes.sample, now)
}

/// What `watch` judges: the rates of the last three seconds, and what stands now.
pub fn facts(case: &Case, looks: &[Look]) -> Option<Facts> {
    let last = looks.last()?;
    let before = looks.iter().rev().find(|look| look.at <= last.at - 2.9)?;
    let limiter = last.tick.limiter.clone()?;
    let door = &case.world.door;
    let settings = &door.policy.services[0];
    let distinct = limiter.distinct.unwrap_or_default();
    Some(Facts {
        enforces: door.enforces,
        attached: 1,
        services: vec![Service {
            name: "web".to_owned(),
            listens: true,
            has_source_limit: settings.source.is_some(),
            is_bounded: door.policy.is_bounded(settings),
            may_challenge: door.policy.may_challenge(),
            challenges: door.is_challenging(case.world.now),
            ..Service::default()
        }],
        cookies: door.asks,
        now: last
            .counts
            .since(&before.counts)
            .map(|counts| Rates { counts, seconds: last.at - before.at }),
        distinct: limiter::observe::Distinct {
            seconds: distinct.seconds,
            sources: distinct.sources,
            prefixes_24: distinct.prefixes_24,
            prefixes_48: distinct.prefixes_48,
            returning_percent: distinct.returning_percent,
            standard_error_percent: distinct.standard_error_percent,
        },
        sources: limiter.sources?,
        queue: Some(case.world.queue()),
        usual: case.usual,
        last: case.changed.then(|| Last {
            seconds_ago: 60.0,
            who: "root".to_owned(),
            what: "service web budget: 500/s, burst 1000 -> 5/s, burst 10".to_owned(),
            of_limits: true,
            before: None,
        }),
        ..Facts::default()
    })
}
