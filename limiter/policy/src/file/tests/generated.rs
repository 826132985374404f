//! Generated documents and mangled files: nothing panics, and what is accepted can be given back.

use limiter_common::challenge::Challenge;
use limiter_common::rate::{Limit, Rate};
use limiter_common::switch::Mode;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::super::{ClassSettings, Document, HostSettings, PrefixChange, Profile, ServiceSettings};
use super::{FULL, SAMPLE, parse};
use crate::decode::decode;
use crate::encode::{Encoded, Known, encode};
use crate::limits::LimitChange;
use crate::prefix::Prefix;
use crate::{Admission, Class, Name, Policy, Prefixes, Service, diff, text};

const SECOND: u64 = 1_000_000_000;

/// Limits that a source table and a budget can keep.
fn limit() -> impl Strategy<Value = Limit> {
    let period = prop::sample::select(vec![SECOND, 10 * SECOND, 60 * SECOND, 1_500_000_000]);
    (1_u64..5000, period, 50_u64..2000).prop_map(|(count, period, burst)| Limit { rate: Rate { count, period }, burst })
}

fn limit_or_none() -> impl Strategy<Value = Limit> {
    prop_oneof![Just(Limit::default()), limit()]
}

fn change() -> impl Strategy<Value = LimitChange> {
    let rate_alone = (1_u64..5000).prop_map(|count| LimitChange { rate: Some(Rate::per_second(count)), burst: None });
    let none = LimitChange { rate: Some(Rate::default()), burst: None };
    let whole = limit().prop_map(|limit| LimitChange { rate: Some(limit.rate), burst: Some(limit.burst) });
    prop_oneof![Just(LimitChange::default()), Just(none), rate_alone, whole]
}

fn prefixes() -> impl Strategy<Value = Prefixes> {
    (1_u8..=32, 1_u8..=128).prop_map(|(v4, v6)| Prefixes { v4, v6 })
}

fn prefix_change() -> impl Strategy<Value = PrefixChange> {
    (option::of(1_u8..=32), option::of(1_u8..=128)).prop_map(|(v4, v6)| PrefixChange { v4, v6 })
}

fn name() -> impl Strategy<Value = Name> {
    "[A-Za-z0-9_-]{1,32}".prop_map(|text| text.parse().expect("a name"))
}

fn challenge() -> impl Strategy<Value = Challenge> {
    prop::sample::select(vec![Challenge::Off, Challenge::Auto, Challenge::Always])
}

fn mode() -> impl Strategy<Value = Mode> {
    prop::sample::select(vec![Mode::Observe, Mode::Enforce])
}

fn admission() -> impl Strategy<Value = Admission> {
    let some = (challenge(), 2_u64..=604_800, 0_u8..=90, limit_or_none(), any::<bool>(), any::<bool>());
    let some = some.prop_map(|(challenge, ticket_seconds, reserve, newcomers, fair_share, reset)| Admission {
        challenge,
        ticket_seconds,
        reserve,
        newcomers,
        fair_share,
        reset,
    });
    prop_oneof![Just(Admission::default()), some]
}

/// A service; `place` is a port that nobody else has, and the family.
fn service() -> impl Strategy<Value = Service> {
    let own = (option::of(limit_or_none()), option::of(prefixes()), limit_or_none(), admission());
    (name(), own).prop_map(|(name, (source, prefixes, budget, admission))| Service {
        source,
        prefixes,
        budget,
        admission,
        ..Service::bare(name)
    })
}

fn place(port: u16, kind: u8) -> String {
    match kind % 4 {
        0 => format!("*:{port}"),
        1 => format!("0.0.0.0:{port}"),
        2 => format!("192.0.2.{kind}:{port}"),
        _ => format!("[2001:db8::{kind:x}]:{port}"),
    }
}

fn class() -> impl Strategy<Value = Class> {
    (name(), limit_or_none(), option::of(prefixes())).prop_map(|(name, source, prefixes)| Class {
        name,
        members: Vec::new(),
        source,
        prefixes,
    })
}

fn member(bits: u32, length: u8, v4: bool) -> Prefix {
    let text = match v4 {
        true => {
            let length = 8 + length % 25;
            format!("{}/{length}", std::net::Ipv4Addr::from_bits(bits & (u32::MAX << (32 - length))))
        }
        false => format!("2001:db8:{:x}:{:x}::/64", bits >> 16, bits & 0xffff),
    };
    text.parse().expect("a prefix")
}

/// Services with ports of their own, classes with prefixes of their own.
fn policy() -> impl Strategy<Value = Policy> {
    let services = vec((service(), vec(any::<u8>(), 1..4)), 0..5);
    let classes = vec((class(), vec((any::<u32>(), any::<u8>(), any::<bool>()), 1..8)), 0..4);
    (limit_or_none(), prefixes(), limit_or_none(), services, classes).prop_map(
        |(source, prefixes, budget, services, classes)| {
            let mut policy = Policy { source, prefixes, budget, services: Vec::new(), classes: Vec::new() };
            let mut port = 0;
            for (mut service, kinds) in services {
                for kind in kinds {
                    port += 1;
                    service.listeners.extend(text::listener(&place(port, kind)).expect("a place"));
                }
                service.listeners.sort_unstable();
                if policy.service(&service.name).is_none() {
                    policy.services.push(service);
                }
            }
            for (mut class, members) in classes {
                class.members = members.into_iter().map(|(bits, length, v4)| member(bits, length, v4)).collect();
                class.members.sort_unstable();
                class.members.dedup();
                let taken = |prefix: &Prefix| policy.classes.iter().any(|other| other.members.contains(prefix));
                class.members.retain(|prefix| !taken(prefix));
                if policy.class(&class.name).is_none() && !class.members.is_empty() {
                    policy.classes.push(class);
                }
            }
            policy
        },
    )
}

fn host_settings() -> impl Strategy<Value = HostSettings> {
    (change(), prefix_change(), change()).prop_map(|(source, prefixes, budget)| HostSettings {
        source,
        prefixes,
        budget,
    })
}

fn service_settings() -> impl Strategy<Value = ServiceSettings> {
    let limits = (change(), any::<bool>(), prefix_change(), change(), change());
    let rest = (
        option::of(challenge()),
        2_u64..=604_800,
        option::of(0_u8..=90),
        option::of(any::<bool>()),
        option::of(any::<bool>()),
    );
    (limits, rest).prop_map(
        |((source, follow, prefixes, budget, newcomers), (challenge, life, reserve, fair_share, reset))| {
            ServiceSettings {
                follow_default: follow,
                source: if follow { LimitChange::default() } else { source },
                prefixes,
                budget,
                challenge,
                tickets: Some(life),
                reserve,
                newcomers,
                fair_share,
                reset,
            }
        },
    )
}

/// A profile for each of the policy's services and classes that was drawn.
fn profiles(policy: &Policy) -> impl Strategy<Value = Vec<Profile>> + use<> {
    let services: Vec<Name> = policy.services.iter().map(|service| service.name.clone()).collect();
    let classes: Vec<Name> = policy.classes.iter().map(|class| class.name.clone()).collect();
    let services = vec(option::of(service_settings()), services.len()).prop_map(move |drawn| {
        services.iter().cloned().zip(drawn).filter_map(|(name, one)| Some((name, one?))).collect()
    });
    let class = (change(), prefix_change()).prop_map(|(source, prefixes)| ClassSettings { source, prefixes });
    let classes = vec(option::of(class), classes.len()).prop_map(move |drawn| {
        classes.iter().cloned().zip(drawn).filter_map(|(name, one)| Some((name, one?))).collect()
    });
    let one = (option::of(mode()), host_settings(), services, classes);
    btree_map(name(), one, 0..4).prop_map(|all| {
        let profile = |(name, (mode, host, services, classes))| Profile { name, mode, host, services, classes };
        all.into_iter().map(profile).collect()
    })
}

fn document() -> impl Strategy<Value = Document> {
    let around = (
        prop::collection::btree_set("[a-z\"\\\\é$]{1,7}", 0..3),
        any::<bool>(),
        option::of(mode()),
        option::of(8_u32..=1 << 28),
        any::<bool>(),
    );
    let inside = policy().prop_flat_map(|policy| (profiles(&policy), Just(policy)));
    (around, inside).prop_map(|((interfaces, generic, mode, sources, set_syncookies), (profiles, policy))| Document {
        interfaces: interfaces.into_iter().collect(),
        generic,
        mode,
        sources,
        set_syncookies,
        policy,
        profiles,
    })
}

/// Bytes of a good file, some of them changed, taken away, or moved.
fn mangled() -> impl Strategy<Value = String> {
    let file =
        prop_oneof![Just(FULL.to_owned()), Just(SAMPLE.to_owned()), document().prop_map(|document| document.to_toml())];
    let piece = prop_oneof![
        "[\\x00-\\x7f]{0,3}",
        prop::sample::select(vec![
            "\"",
            "[",
            "]",
            "\n",
            "=",
            "0",
            "none",
            "default",
            "service",
            ".",
            "{",
            "\u{1f600}",
            "#",
            "1_0"
        ])
        .prop_map(str::to_owned),
    ];
    (file, vec((any::<prop::sample::Index>(), 0_usize..12, piece), 1..5)).prop_map(|(file, edits)| {
        let mut letters: Vec<char> = file.chars().collect();
        for (at, gone, piece) in edits {
            let at = at.index(letters.len() + 1);
            let end = (at + gone).min(letters.len());
            letters.splice(at..end, piece.chars());
        }
        letters.into_iter().collect()
    })
}

/// Lines of good files in any order.
fn shuffled() -> impl Strategy<Value = String> {
    let lines: Vec<String> = FULL.lines().chain(SAMPLE.lines()).map(str::to_owned).collect();
    vec(prop::sample::select(lines), 0..20).prop_map(|lines| lines.join("\n"))
}

/// What `policy show` would find after applying it.
fn through_records(policy: &Policy) -> Policy {
    let Encoded { host, services, listeners, classes, prefixes, .. } =
        encode(policy, 1, 2, &Known::default()).expect("what is accepted can be encoded");
    decode(1, &host, &services, &listeners, &classes, &prefixes)
}

/// What is accepted says the same when it is written, and when it has been through the records of the kernel side.
fn accepted_is_given_back(text: &str) -> Result<(), TestCaseError> {
    let Ok(document) = parse(text) else { return Ok(()) };
    let written = document.to_toml();
    let again = parse(&written);
    prop_assert_eq!(again.as_ref(), Ok(&document), "{}", written);
    for name in document.profile_names() {
        let name = name.parse().expect("a name");
        let (policy, _) = document.with_profile(Some(&name)).expect("a profile of the file");
        let shown = Document { policy: through_records(&policy), profiles: Vec::new(), ..document.clone() };
        prop_assert_eq!(&shown.policy, &policy);
        prop_assert_eq!(parse(&shown.to_toml()).map(|again| again.policy), Ok(policy));
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_document_survives_being_written(document in document()) {
        let written = document.to_toml();
        prop_assert_eq!(parse(&written), Ok(document), "{}", written);
        accepted_is_given_back(&written)?;
    }

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        accepted_is_given_back(&text)?;
    }

    #[test]
    fn a_mangled_file(text in mangled()) {
        accepted_is_given_back(&text)?;
    }

    #[test]
    fn lines_of_good_files(text in shuffled()) {
        accepted_is_given_back(&text)?;
    }

    #[test]
    fn policies_differ_where_there_is_a_line(old in policy(), new in policy()) {
        prop_assert_eq!(diff::changes(&old, &new).is_empty(), old == new);
        prop_assert!(diff::changes(&old, &old).is_empty());
    }

    #[test]
    fn a_profile_differs_where_there_is_a_line(document in document()) {
        for profile in &document.profiles {
            let changed = profile.apply(&document.policy, &mut Vec::new());
            prop_assert_eq!(diff::changes(&document.policy, &changed).is_empty(), changed == document.policy);
        }
    }
}
