//! Services, and their settings.

use std::net::SocketAddr;

use limiter_common::challenge::Challenge;
use limiter_common::rate::Limit;
use limiter_common::record::{self, Refuse};
use serde::{Serialize, Serializer};

use super::{DEFAULT, Field, Held, Limiting, Setting, Takes, Whole, field, serialize};
use crate::text::{show_challenge, show_refuse};
use crate::{Name, Networks, Policy, Prefixes, Shadow};

/// A named set of local address:port pairs that is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Name, unique in the policy.
    pub name: Name,
    /// Where it listens. An unspecified address stands for every address of its family.
    pub listeners: Vec<SocketAddr>,
    /// Limit of each source, if not the policy's.
    pub source: Option<Limit>,
    /// Prefixes, if not the policy's.
    pub prefixes: Option<Prefixes>,
    /// Limits of the networks that sources are in.
    pub networks: Networks,
    /// Budget of the service.
    pub budget: Limit,
    /// How it lets sources in, beside its limits.
    pub admission: Admission,
    /// Limits that it tries.
    pub shadow: Shadow,
}

impl Service {
    /// A service that listens nowhere and has nothing of its own.
    pub fn bare(name: Name) -> Self {
        Self {
            name,
            listeners: Vec::new(),
            source: None,
            prefixes: None,
            networks: Networks::default(),
            budget: Limit::default(),
            admission: Admission::default(),
            shadow: Shadow::default(),
        }
    }

    /// Sets the limits that it tries, and tries no more. Says whether it tried any.
    pub fn take_over_shadow(&mut self) -> bool {
        let Shadow { source, open } = std::mem::take(&mut self.shadow);
        if !source.is_none() {
            self.source = Some(source);
        }
        if open != 0 {
            self.admission.open = open;
        }
        !Shadow { source, open }.is_none()
    }

    /// The limits that it keeps, and what they are called: not what it tries.
    pub fn limits(&self, defaults: &Policy) -> Vec<(&'static str, Limit)> {
        let limit = |row: &Setting<Self, record::Service>| {
            let limit =
                Limit::of(row.in_effect(self, defaults)).filter(|limit| !limit.is_none())?;
            Some((row.what, limit))
        };
        SERVICE.iter().filter(|row| row.key != SHADOW_SOURCE).filter_map(limit).collect()
    }
}

/// Its settings, by key.
impl Serialize for Service {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        serialize(&SERVICE, self, to)
    }
}

/// How a service lets sources in, beside its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// When attempts are answered with a cookie.
    pub challenge: Challenge,
    /// Whether sources wait in line for a short budget.
    pub line: bool,
    /// Most sources that may be present; 0: any number.
    pub users: u64,
    /// What becomes of what a limit refuses.
    pub refuse: Refuse,
    /// Most open connections of each source; 0: any number.
    pub open: u64,
    /// Most open connections of the service; 0: any number.
    pub open_budget: u64,
    /// Largest segment that answers to challenges offer, in bytes; 0: what the kernel and the device
    /// say.
    pub mss: u64,
}

impl Admission {
    /// Without a line: a budget is for those who come first.
    pub const FIRST_COME: Self = Self {
        challenge: Challenge::Off,
        line: false,
        users: 0,
        refuse: Refuse::Drop,
        open: 0,
        open_budget: 0,
        mss: 0,
    };
}

impl Default for Admission {
    fn default() -> Self {
        Self { line: true, ..Self::FIRST_COME }
    }
}

/// What all source limits have in common.
pub(super) const SOURCE: Limiting = Limiting {
    burst: "source_burst",
    burst_help: "Attempts that one source may make at once after a pause [default: two seconds of \
                 the rate, at least 10]",
    none: "none",
    follows: true,
    keep: |limit| limit.to_source().map(drop),
};

/// What all budgets have in common. The number of CPUs changes the lease, not what can be kept.
pub(super) const BUDGET: Limiting = Limiting {
    burst: "budget_burst",
    burst_help: "New connections that may come at once [default: two seconds of the budget, at \
                 least 10]",
    none: "none",
    follows: false,
    keep: |limit| limit.to_budget(1).map(drop),
};

/// The same of what goes to the waiting room, which is never without a bound: `none` is the default.
pub(super) const DIVERTS: Limiting = Limiting {
    burst: "room_budget_burst",
    burst_help: "Connections diverted to the waiting room at once [default: two seconds of its \
                 budget]",
    none: "none",
    follows: false,
    keep: |limit| limit.to_budget(1).map(drop),
};

/// What all limits of networks have in common.
pub(super) const NETWORK: Limiting = Limiting {
    burst: "network_burst",
    burst_help: "Attempts that one network may make at once after a pause [default: two seconds of \
                 the rate, at least 10]",
    none: "none",
    follows: false,
    keep: |limit| limit.to_source().map(drop),
};

/// What all limits of sources have in common that are tried.
pub(super) const SHADOW: Limiting = Limiting {
    burst: "shadow_source_burst",
    burst_help: "Attempts that one source may make at once after a pause, under the limit in the \
                 shadow [default: two seconds of the rate, at least 10]",
    none: "none",
    follows: false,
    keep: |limit| limit.to_source().map(drop),
};

/// Key of a limit that is tried.
const SHADOW_SOURCE: &str = "shadow_source_rate";

/// Lengths of the prefixes of networks.
pub(super) const NETWORK_PREFIXES: Takes = Takes::Prefixes {
    v6: "network_v6",
    v6_help: "Bits of an IPv6 address that make a network, 1 to 128 [default: 48]",
};

/// Where the record of networks has their limit.
pub(super) const NETWORK_LIMIT: Field<record::Network> = field!(stated);

/// Where it has their prefixes; in a record that was never written they are the default ones.
pub(super) const NETWORK_BITS: Field<record::Network> = Field {
    get: |network| match network.prefix_v4 {
        0 => Networks::default().prefixes.value(),
        v4 => Prefixes { v4, v6: network.prefix_v6 }.value(),
    },
    set: |network, value| {
        if let Some(Prefixes { v4, v6 }) = Held::of(value) {
            (network.prefix_v4, network.prefix_v6) = (v4, v6);
        }
    },
};

/// Lengths of prefixes.
pub(super) const PREFIXES: Takes = Takes::Prefixes {
    v6: "prefix_v6",
    v6_help: "Bits of an IPv6 address that make a source, 1 to 128",
};

/// Numbers of open connections, as many as a count holds.
pub(super) const fn open(example: &'static str) -> Takes {
    Takes::Number(Whole { least: 0, most: limiter_common::open::MOST, example, name: "N" })
}

/// Settings of a service.
pub static SERVICE: [Setting<Service, record::Service>; 15] = [
    Setting {
        key: "source_rate",
        what: "source limit",
        help: "Rate of attempts of one source to one service: `20/s`, `600/min`, `none`, or \
               `default`",
        takes: Takes::Limit(&SOURCE),
        follows: Some(DEFAULT),
        model: field!(source),
        record: Field {
            get: |service| {
                (service.stated.own_source != 0).then_some(service.stated.source).value()
            },
            set: |service, value| {
                service.stated.own_source = value.is_some().into();
                service.stated.source.hold(value);
            },
        },
        ..Setting::PLAIN
    },
    Setting {
        key: "prefix_v4",
        what: "source prefixes",
        help: "Bits of an IPv4 address that make a source, 1 to 32",
        takes: PREFIXES,
        follows: Some(DEFAULT),
        model: field!(prefixes),
        record: Field {
            get: |service| {
                let Prefixes { v4, v6 } =
                    Prefixes { v4: service.stated.prefix_v4, v6: service.stated.prefix_v6 };
                (service.stated.own_prefix != 0).then_some(Prefixes { v4, v6 }).value()
            },
            set: |service, value| {
                service.stated.own_prefix = value.is_some().into();
                if let Some(Prefixes { v4, v6 }) = Held::of(value) {
                    (service.stated.prefix_v4, service.stated.prefix_v6) = (v4, v6);
                }
            },
        },
        ..Setting::PLAIN
    },
    Setting {
        key: "network_rate",
        what: "network limit",
        help: "Rate of attempts of all sources of one network together, in addition to each \
               source's own limit: `200/s`, or `none`",
        takes: Takes::Limit(&NETWORK),
        model: field!(networks.limit),
        network: NETWORK_LIMIT,
        ..Setting::PLAIN
    },
    Setting {
        key: "network_v4",
        what: "network prefixes",
        help: "Bits of an IPv4 address that make a network, 1 to 32 [default: 24]",
        takes: NETWORK_PREFIXES,
        model: field!(networks.prefixes),
        network: NETWORK_BITS,
        ..Setting::PLAIN
    },
    Setting {
        key: "network_open",
        what: "open connections of a network",
        help: "Connections that all sources of one network together may have open to the service. 0 for any number",
        takes: open("500"),
        model: field!(networks.open),
        network: field!(open),
        ..Setting::PLAIN
    },
    Setting {
        key: "budget",
        what: "budget",
        help: "Rate of new connections to the service, or to the whole host: `1000/s`, or `none`",
        takes: Takes::Limit(&BUDGET),
        model: field!(budget),
        record: field!(stated.budget),
        ..Setting::PLAIN
    },
    Setting {
        key: "challenge",
        what: "challenge",
        help: "Answer attempts with a SYN cookie: `off`, `auto` (while more come than a budget \
               allows) or `always`. Sources that are present in the line are not challenged",
        takes: Takes::Choice {
            noun: "way to challenge",
            words: &[
                (show_challenge(Challenge::Off), ""),
                (show_challenge(Challenge::Auto), ""),
                (show_challenge(Challenge::Always), ""),
            ],
        },
        model: field!(admission.challenge),
        record: field!(admission.challenge),
        ..Setting::PLAIN
    },
    Setting {
        key: "line",
        what: "line",
        help: "While a budget is short, let sources in by turns, whole pages at a time: the source \
               that was refused first goes first, and each gets an equal part. With `no`, the \
               budget goes to the attempts that come first [default: yes]",
        takes: Takes::Yes,
        model: field!(admission.line),
        record: field!(stated.line),
        ..Setting::PLAIN
    },
    Setting {
        key: "users",
        what: "users",
        help: "Sources that may be present (let in, and seen within 30 s) at once; others wait in \
               line. 0 for any number",
        takes: Takes::Number(Whole { least: 0, most: 1 << 40, example: "2000", name: "N" }),
        model: field!(admission.users),
        record: field!(stated.users),
        ..Setting::PLAIN
    },
    Setting {
        key: "refuse",
        what: "refuse",
        help: "What to do with attempts that a limit refuses: `drop`, `reset` (answers at most \
               1,000 per second), or `room`: a client that a budget refuses, or that waits in \
               line, sees the page of `limiter room`",
        takes: Takes::Choice {
            noun: "way to refuse",
            words: &[
                (show_refuse(Refuse::Drop), ""),
                (show_refuse(Refuse::Reset), ""),
                (show_refuse(Refuse::Room), ""),
            ],
        },
        model: field!(admission.refuse),
        record: field!(admission.refuse),
        ..Setting::PLAIN
    },
    Setting {
        key: "open",
        what: "open connections of a source",
        help: "Connections that one source may have open to the service, or each source of the class; more are \
               refused until one ends. 0 for any number",
        takes: open("50"),
        model: field!(admission.open),
        record: field!(open),
        ..Setting::PLAIN
    },
    Setting {
        key: "open_budget",
        what: "open connections",
        help: "Connections that may be open to the service, or to all services of the host; more are refused, or \
               wait in line, until one ends. 0 for any number",
        takes: open("20000"),
        model: field!(admission.open_budget),
        record: field!(open_budget),
        ..Setting::PLAIN
    },
    Setting {
        key: "mss",
        what: "MSS of answers to challenges",
        help: "MSS that answers to challenges offer, in bytes, for paths with a hop that takes \
               less than the kernel's MSS. 0 for the MSS of the kernel and the device",
        takes: Takes::Number(Whole { least: 0, most: 8960, example: "1220", name: "BYTES" }),
        model: field!(admission.mss),
        record: field!(mss),
        ..Setting::PLAIN
    },
    Setting {
        key: SHADOW_SOURCE,
        what: "source limit in the shadow",
        help: "A source limit to try in the shadow: limiter counts what it would refuse of the \
               attempts that the limits in force let in, and lets them in. `10/s`, or `none`",
        takes: Takes::Limit(&SHADOW),
        model: field!(shadow.source),
        network: field!(shadow.stated),
        ..Setting::PLAIN
    },
    Setting {
        key: "shadow_open",
        what: "open connections of a source in the shadow",
        help: "A number of open connections of one source to try in the shadow, in the same way. 0 \
               to try none",
        takes: open("30"),
        model: field!(shadow.open),
        network: field!(shadow.open),
        ..Setting::PLAIN
    },
];
