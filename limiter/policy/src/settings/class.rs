//! Classes, and their settings.

use limiter_common::rate::Limit;
use limiter_common::record;

use super::service::{PREFIXES, SOURCE};
use super::{Field, Held, Limiting, Setting, Takes, field};
use crate::prefix::Prefix;
use crate::{Name, Prefixes};

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
}

impl Class {
    /// A class of nobody, without a limit.
    pub fn bare(name: Name) -> Self {
        Self { name, members: Vec::new(), source: Limit::default(), prefixes: None }
    }
}

/// Settings of a class.
pub static CLASS: [Setting<Class, record::Class>; 2] = [
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
];
