//! Records back into the policy that they were made from, without loss: limits are kept as they were stated.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use limiter_common::address::Address;
use limiter_common::record::{self, ClassPrefix, ListenerKey, Network};

use super::prefix::{Prefix, ip};
use super::settings::{CLASS, DEFAULTS, HOST, SERVICE, Setting};
use super::text::name;
use super::{Class, Policy, Service};

/// The policy of a slot, from its host record, its services by id, the listeners of every slot, its
/// classes by id, their prefixes, and the limits of networks by [`Network::index`].
pub fn decode(
    slot: u32,
    host: &record::Host,
    services: &BTreeMap<u32, record::Service>,
    listeners: &[(ListenerKey, u32)],
    classes: &BTreeMap<u32, record::Class>,
    prefixes: &[ClassPrefix],
    networks: &BTreeMap<u32, Network>,
) -> Policy {
    let network = |id, class| networks.get(&Network::index(id, class)).unwrap_or(&Network::NONE);
    let services = services.iter().filter_map(|(id, record)| {
        let mine = |(key, owner): &(ListenerKey, u32)| u32::from(key.slot) == slot && owner == id;
        let mut places: Vec<_> =
            listeners.iter().filter(|entry| mine(entry)).map(|(key, _)| place(key)).collect();
        places.sort_unstable();
        service(record, network(*id, 0), places)
    });
    let classes = self::classes(classes, prefixes, |id| network(0, id));
    let mut policy = Policy { classes, ..Policy::default() };
    restate(&DEFAULTS, (host, &Network::NONE), &mut policy);
    restate(&HOST, (host, &Network::NONE), &mut policy);
    policy.services = services.collect();
    policy
}

/// What was said, from a record and that of the networks above.
fn restate<T, R>(rows: &[Setting<T, R>], (record, network): (&R, &Network), model: &mut T) {
    for row in rows {
        let said = (row.record.get)(record).or_else(|| (row.network.get)(network));
        (row.model.set)(model, said);
    }
}

fn classes<'a>(
    records: &BTreeMap<u32, record::Class>,
    prefixes: &[ClassPrefix],
    network: impl Fn(u32) -> &'a Network,
) -> Vec<Class> {
    let mut members: BTreeMap<u32, Vec<Prefix>> = BTreeMap::new();
    for prefix in prefixes {
        let address = Address::from_bytes(prefix.address);
        members
            .entry(prefix.class.into())
            .or_default()
            .push(Prefix { address, length: prefix.length });
    }
    let classes = records.iter().filter_map(|(id, record)| {
        let mut class = Class::bare(name(&record.name)?);
        class.members = members.remove(id).unwrap_or_default();
        restate(&CLASS, (record, network(*id)), &mut class);
        Some(class)
    });
    classes.collect()
}

fn service(
    record: &record::Service,
    network: &Network,
    listeners: Vec<SocketAddr>,
) -> Option<Service> {
    let mut service = Service { listeners, ..Service::bare(name(&record.name)?) };
    restate(&SERVICE, (record, network), &mut service);
    Some(service)
}

fn place(key: &ListenerKey) -> SocketAddr {
    SocketAddr::new(ip(Address::from_bytes(key.address)), key.port)
}

#[cfg(test)]
mod tests {
    use limiter_common::challenge::Challenge;
    use limiter_common::rate::{Limit, Rate};
    use limiter_common::record::{Port, Refuse};

    use super::*;
    use crate::encode::{Encoded, Ids, Known, encode};
    use crate::{Admission, Networks, Prefixes, Shadow, text};

    fn policy() -> Policy {
        let limit = |count, burst| Limit { rate: Rate::per_second(count), burst };
        let mut web = text::service("web=*:80,*:443").expect("a service");
        web.budget = limit(1000, 2000);
        web.admission = Admission {
            challenge: Challenge::Auto,
            refuse: Refuse::Reset,
            open: 50,
            open_budget: 3000,
            mss: 1220,
            ..Admission::default()
        };
        let mut mail = text::service("mail=192.0.2.1:443,[::]:25").expect("a service");
        mail.source = Some(Limit::default());
        mail.networks.limit = limit(200, 400);
        mail.networks.open = 500;
        mail.shadow = Shadow { source: limit(10, 20), open: 30 };
        mail.prefixes = Some(Prefixes { v4: 24, v6: 48 });
        let prefixes =
            |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a prefix")).collect();
        let schools = Class {
            name: "schools".parse().expect("a name"),
            members: prefixes(&["192.0.2.0/24", "2001:db8::/48", "10.0.0.0/8"]),
            source: limit(400, 800),
            prefixes: Some(Prefixes { v4: 24, v6: 56 }),
            open: None,
            networks: Networks {
                limit: limit(900, 1800),
                prefixes: Prefixes { v4: 16, v6: 32 },
                open: 5000,
            },
        };
        let probes = Class {
            name: "probes".parse().expect("a name"),
            members: prefixes(&["10.1.2.3"]),
            source: Limit::default(),
            prefixes: None,
            open: Some(500),
            networks: Networks::default(),
        };
        Policy {
            source: limit(20, 40),
            prefixes: Prefixes::default(),
            budget: limit(5000, 10_000),
            diverts: Some(limit(300, 600)),
            open_budget: 20_000,
            services: vec![web, mail],
            classes: vec![schools, probes],
        }
    }

    fn decoded(slot: u32, encoded: &Encoded) -> Policy {
        let Encoded { host, services, listeners, classes, prefixes, networks, .. } = encoded;
        decode(slot, host, services, listeners, classes, prefixes, networks)
    }

    #[test]
    fn a_policy_survives_encoding() {
        let policy = policy();
        let encoded = encode(&policy, 1, 2, &Known::default()).expect("encodes");
        assert_eq!(decoded(1, &encoded), policy);
        assert_eq!(encoded.ports[&80], [1, 1]);
        assert_eq!(
            encoded.ports[&443],
            [Port::BY_ADDRESS, 1],
            "an address of its own sends IPv4 to the listeners"
        );
        assert_eq!(encoded.ports[&25], [Port::NONE, 2]);
    }

    #[test]
    fn services_keep_their_ids() {
        let mut policy = policy();
        let known = Known {
            services: Ids::of(
                [(policy.services[1].name.clone(), 7), ("gone".parse().expect("a name"), 0)],
                [],
            ),
            numbers: [(7, 0x1007)].into(),
            classes: Ids::of([(policy.classes[1].name.clone(), 1)], []),
        };
        let encoded = encode(&policy, 0, 2, &known).expect("encodes");
        assert_eq!(encoded.services.keys().copied().collect::<Vec<_>>(), [1, 7]);
        assert_eq!((encoded.services[&1].number, encoded.services[&7].number), (1, 0x1007));
        assert_eq!(name(&encoded.classes[&2].name), Some(policy.classes[0].name.clone()));
        policy.services.push(policy.services[0].clone());
        assert!(encode(&policy, 0, 2, &known).is_err(), "the same name twice");
    }

    /// With all ids in use a new service takes that of one that goes, and nobody finds itself under the id of another afterwards.
    #[test]
    fn an_id_has_one_owner() {
        let name = |text: &str| -> crate::Name { text.parse().expect("a name") };
        let known = Known {
            services: Ids::of(
                [(name("new"), 63), (name("web"), 1)],
                [
                    (name("old"), 63),
                    (name("web"), 1),
                    (name("idle"), 5),
                    (name("older"), 5),
                    (name("idle"), 6),
                ],
            ),
            ..Known::default()
        };
        assert_eq!(
            (known.services.get(&name("old")), known.services.get(&name("new"))),
            (None, Some(63))
        );
        assert_eq!(
            (known.services.get(&name("web")), known.services.get(&name("idle"))),
            (Some(1), Some(5))
        );
        assert_eq!(known.services.get(&name("older")), None, "of a third slot");
        // All ids are taken: what only the idle slot holds goes first.
        let all = |range: std::ops::Range<u32>, what: &str| -> Vec<_> {
            range.map(|id| (name(&format!("{what}{id}")), id)).collect()
        };
        let known =
            Known { services: Ids::of(all(0..63, "s"), all(0..64, "t")), ..Known::default() };
        let mut policy = policy();
        policy.services.truncate(1);
        policy.services[0].name = name("another");
        let encoded = encode(&policy, 0, 2, &known).expect("encodes");
        assert_eq!(encoded.services.keys().copied().collect::<Vec<_>>(), [63]);
    }

    #[test]
    fn a_prefix_in_two_classes_is_refused() {
        let mut policy = policy();
        policy.classes[1].members.push("10.0.0.0/8".parse().expect("a prefix"));
        let error = encode(&policy, 0, 2, &Known::default()).err().expect("refused").to_string();
        assert!(
            error.contains("10.0.0.0/8") && error.contains("schools") && error.contains("probes"),
            "{error}"
        );
        policy.classes[1].members.clear();
        assert!(encode(&policy, 0, 2, &Known::default()).is_err(), "a class of nobody");
    }

    #[test]
    fn an_address_in_two_services_is_refused() {
        let mut policy = policy();
        policy.services.push(text::service("other=0.0.0.0:80").expect("a service"));
        let error = encode(&policy, 0, 2, &Known::default()).err().expect("refused").to_string();
        assert!(
            error.contains("0.0.0.0:80") && error.contains("web") && error.contains("other"),
            "{error}"
        );
    }
}
