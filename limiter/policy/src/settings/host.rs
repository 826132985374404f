//! Settings of the host: what holds for services that do not say otherwise, and the budget of all.

use limiter_common::rate::Limit;
use limiter_common::record;

use super::service::{BUDGET, DIVERTS, PREFIXES, SOURCE, open};
use super::{Field, Held, Limiting, Setting, Takes, field};
use crate::{Policy, Prefixes};

/// Settings of `[defaults]`.
pub static DEFAULTS: [Setting<Policy, record::Host>; 2] = [
    Setting {
        key: "source_rate",
        what: "source limit",
        help: "Rate of attempts of one source to one service: `20/s`, `600/min`, or `none`",
        takes: Takes::Limit(&Limiting { follows: false, ..SOURCE }),
        model: field!(source),
        record: field!(stated.source),
        ..Setting::PLAIN
    },
    Setting {
        key: "prefix_v4",
        what: "source prefixes",
        help: "Bits of an IPv4 address that make a source, 1 to 32",
        takes: PREFIXES,
        model: field!(prefixes),
        record: Field {
            get: |host| Prefixes { v4: host.stated.prefix_v4, v6: host.stated.prefix_v6 }.value(),
            set: |host, value| {
                let Prefixes { v4, v6 } = Held::of(value).unwrap_or_default();
                (host.stated.prefix_v4, host.stated.prefix_v6) = (v4, v6);
            },
        },
        ..Setting::PLAIN
    },
];

/// Settings of `[host]`.
pub static HOST: [Setting<Policy, record::Host>; 3] = [
    Setting {
        key: "budget",
        what: "budget",
        help: "Rate of new connections to the whole host: `1000/s`, or `none`",
        takes: Takes::Limit(&BUDGET),
        model: field!(budget),
        record: field!(stated.budget),
        ..Setting::PLAIN
    },
    Setting {
        key: "room_budget",
        what: "room budget",
        help: "Rate of connections diverted to the waiting room, of all services together \
               [default: 2000/s]",
        takes: Takes::Limit(&DIVERTS),
        follows: Some("2000/s"),
        model: Field {
            get: |policy| policy.diverts.value(),
            set: |policy, value| {
                let said: Option<Option<Limit>> = Held::of(value);
                policy.diverts = said.flatten().filter(|limit| !limit.is_none());
            },
        },
        record: Field {
            get: |host| (!host.stated_diverts.is_none()).then_some(host.stated_diverts).value(),
            set: |host, value| host.stated_diverts = Held::of(value).unwrap_or_default(),
        },
        ..Setting::PLAIN
    },
    Setting {
        key: "open_budget",
        what: "open connections",
        help: "Connections that may be open to all services together; more are refused, or wait in line, until one \
               ends. 0 for any number",
        takes: open("20000"),
        model: field!(open_budget),
        record: field!(open_budget),
        ..Setting::PLAIN
    },
];
