//! Classes, and their settings.

use limiter_common::rate::Limit;
use limiter_common::record;

use super::service::{
    NETWORK, NETWORK_BITS, NETWORK_LIMIT, NETWORK_PREFIXES, PREFIXES, SOURCE, open,
};
use super::{Field, Held, Limiting, Setting, Takes, field};
use crate::prefix::Prefix;
use crate::{Name, Networks, Prefixes};

/// A named set of prefixes with a source limit of its own, to every service: a school, a carrier's
/// NAT, a monitoring probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Name, unique among the classes of the policy.
    pub name: Name,
    /// What belongs to it.
    pub members: Vec<Prefix>,
    /// Limit of each source in place of the service's; none: sources of the class have no source
    /// limit and do not wait in line.
    pub source: Limit,
    /// Prefixes that make a source of the class, if not the service's.
    pub prefixes: Option<Prefixes>,
    /// Most open connections of each source to each service, if not the service's; 0: any number.
    pub open: Option<u64>,
    /// Limits of the networks that its sources are in, at every service. Not the service's: that is
    /// for networks that the operator has not named.
    pub networks: Networks,
}

impl Class {
    /// A class of nobody, without a limit.
    pub fn bare(name: Name) -> Self {
        Self {
            name,
            members: Vec::new(),
            source: Limit::default(),
            prefixes: None,
            networks: Networks::default(),
            open: None,
        }
    }
}

/// Settings of a class.
pub static CLASS: [Setting<Class, record::Class>; 6] = [
    Setting {
        key: "source_rate",
        what: "source limit",
        help: "Attempts of one source of the class to one service: `400/s`, or `unlimited`",
        takes: Takes::Limit(&Limiting { follows: false, none: "unlimited", ..SOURCE }),
        always: true,
        model: field!(source),
        record: field!(stated),
        ..Setting::PLAIN
    },
    Setting {
        key: "prefix_v4",
        what: "source prefixes",
        help: "Bits of an IPv4 address that make a source of the class, 1 to 32",
        takes: PREFIXES,
        follows: Some("the service's"),
        model: field!(prefixes),
        record: Field {
            get: |class| {
                (class.own_mask != 0)
                    .then_some(Prefixes { v4: class.prefix_v4, v6: class.prefix_v6 })
                    .value()
            },
            set: |class, value| {
                class.own_mask = value.is_some().into();
                let Prefixes { v4, v6 } = Held::of(value).unwrap_or_default();
                (class.prefix_v4, class.prefix_v6) = (v4, v6);
            },
        },
        ..Setting::PLAIN
    },
    Setting {
        key: "open",
        what: "open connections of a source",
        help: "Connections that one source of the class may have open to one service. 0 for any number",
        takes: open("500"),
        follows: Some("the service's"),
        model: field!(open),
        record: Field {
            get: |class| (class.own_open != 0).then_some(class.open).value(),
            set: |class, value| {
                class.own_open = value.is_some().into();
                class.open = Held::of(value).unwrap_or_default();
            },
        },
        ..Setting::PLAIN
    },
    Setting {
        key: "network_rate",
        what: "network limit",
        help: "Attempts of all sources of one network of the class to one service: `200/s`, or `none`",
        takes: Takes::Limit(&NETWORK),
        model: field!(networks.limit),
        network: NETWORK_LIMIT,
        ..Setting::PLAIN
    },
    Setting {
        key: "network_v4",
        what: "network prefixes",
        help: "Bits of an IPv4 address that make a network of the class, 1 to 32 [default: 24]",
        takes: NETWORK_PREFIXES,
        model: field!(networks.prefixes),
        network: NETWORK_BITS,
        ..Setting::PLAIN
    },
    Setting {
        key: "network_open",
        what: "open connections of a network",
        help: "Connections that all sources of one network of the class may have open to one service. 0 for any number",
        takes: open("500"),
        model: field!(networks.open),
        network: field!(open),
        ..Setting::PLAIN
    },
];
