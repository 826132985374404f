//! Generated documents and mangled files: nothing panics, and what is accepted can be given back.

use limiter_common::rate::{Limit, Rate};
use limiter_common::switch::Mode;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::super::{DOCUMENT, Document, Profile};
use super::{FULL, SAMPLE, parse};
use crate::decode::decode;
use crate::encode::{Encoded, Known, encode};
use crate::prefix::Prefix;
use crate::settings::{
    CLASS, DEFAULTS, HOST, LimitChange, PrefixChange, SERVICE, Setting, Settings, Style, Takes,
    Value, apply,
};
use crate::{Class, Name, Policy, Service, diff, text};

const SECOND: u64 = 1_000_000_000;

/// Limits that a source table and a budget can keep: a full burst is back within a day.
fn limit() -> impl Strategy<Value = Limit> {
    let period = prop::sample::select(vec![SECOND, 10 * SECOND, 60 * SECOND, 1_500_000_000]);
    (2_u64..5000, period, 50_u64..2000)
        .prop_map(|(count, period, burst)| Limit { rate: Rate { count, period }, burst })
}

fn change() -> impl Strategy<Value = LimitChange> {
    let rate_alone = (1_u64..5000)
        .prop_map(|count| LimitChange { rate: Some(Rate::per_second(count)), burst: None });
    let none = LimitChange { rate: Some(Rate::default()), burst: None };
    let whole =
        limit().prop_map(|limit| LimitChange { rate: Some(limit.rate), burst: Some(limit.burst) });
    prop_oneof![Just(none), rate_alone, whole]
}

/// Something that may be said about a setting, whatever is said about others.
fn value(takes: Takes) -> BoxedStrategy<Value> {
    let bits = |most| option::of(1_u8..=most);
    match takes {
        Takes::Limit(limiting) if limiting.follows => {
            prop_oneof![3 => change().prop_map(Value::Limit), 1 => Just(Value::Default)].boxed()
        }
        Takes::Limit(_) => change().prop_map(Value::Limit).boxed(),
        Takes::Prefixes { .. } => (bits(32), bits(128))
            .prop_filter("neither is nothing", |(v4, v6)| v4.is_some() || v6.is_some())
            .prop_map(|(v4, v6)| Value::Prefixes(PrefixChange { v4, v6 }))
            .boxed(),
        Takes::Choice { words, .. } => (0..words.len() as u64).prop_map(Value::Number).boxed(),
        Takes::Number(whole) => (whole.least..=whole.most).prop_map(Value::Number).boxed(),
        Takes::Yes => (0_u64..2).prop_map(Value::Number).boxed(),
    }
}

/// Something about some of the settings.
fn said<T, R>(rows: &'static [Setting<T, R>]) -> impl Strategy<Value = Settings> + use<T, R> {
    let values: Vec<_> = rows.iter().map(|row| option::of(value(row.takes))).collect();
    values.prop_map(move |values| {
        Settings(
            rows.iter().zip(values).filter_map(|(row, value)| Some((row.key, value?))).collect(),
        )
    })
}

/// The model with something said about it.
fn told<T: Clone, R>(rows: &[Setting<T, R>], said: &Settings, mut model: T) -> T {
    assert_eq!(apply(rows, said, &mut model, &Policy::default(), Style::File), [], "{said:?}");
    model
}

fn name() -> impl Strategy<Value = Name> {
    "[A-Za-z0-9_-]{1,32}".prop_map(|text| text.parse().expect("a name"))
}

fn mode() -> impl Strategy<Value = Mode> {
    prop::sample::select(vec![Mode::Observe, Mode::Enforce])
}

fn service() -> impl Strategy<Value = Service> {
    (name(), said(&SERVICE)).prop_map(|(name, said)| told(&SERVICE, &said, Service::bare(name)))
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
    (name(), said(&CLASS)).prop_map(|(name, said)| told(&CLASS, &said, Class::bare(name)))
}

fn member(bits: u32, length: u8, v4: bool) -> Prefix {
    let text = match v4 {
        true => {
            let length = 8 + length % 25;
            format!(
                "{}/{length}",
                std::net::Ipv4Addr::from_bits(bits & (u32::MAX << (32 - length)))
            )
        }
        false => format!("2001:db8:{:x}:{:x}::/64", bits >> 16, bits & 0xffff),
    };
    text.parse().expect("a prefix")
}

/// Services with ports of their own, classes with prefixes of their own.
fn policy() -> impl Strategy<Value = Policy> {
    let services = vec((service(), vec(any::<u8>(), 1..4)), 0..5);
    let classes = vec((class(), vec((any::<u32>(), any::<u8>(), any::<bool>()), 1..8)), 0..4);
    (said(&DEFAULTS), said(&HOST), services, classes).prop_map(
        |(defaults, host, services, classes)| {
            let mut policy = told(&HOST, &host, told(&DEFAULTS, &defaults, Policy::default()));
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
                class.members = members
                    .into_iter()
                    .map(|(bits, length, v4)| member(bits, length, v4))
                    .collect();
                class.members.sort_unstable();
                class.members.dedup();
                let taken = |prefix: &Prefix| {
                    policy.classes.iter().any(|other| other.members.contains(prefix))
                };
                class.members.retain(|prefix| !taken(prefix));
                if policy.class(&class.name).is_none() && !class.members.is_empty() {
                    policy.classes.push(class);
                }
            }
            policy
        },
    )
}

/// A profile for each of the policy's services and classes that was drawn.
fn profiles(policy: &Policy) -> impl Strategy<Value = Vec<Profile>> + use<> {
    let services: Vec<Name> = policy.services.iter().map(|service| service.name.clone()).collect();
    let classes: Vec<Name> = policy.classes.iter().map(|class| class.name.clone()).collect();
    let services = vec(option::of(said(&SERVICE)), services.len()).prop_map(move |drawn| {
        services.iter().cloned().zip(drawn).filter_map(|(name, one)| Some((name, one?))).collect()
    });
    let classes = vec(option::of(said(&CLASS)), classes.len()).prop_map(move |drawn| {
        classes.iter().cloned().zip(drawn).filter_map(|(name, one)| Some((name, one?))).collect()
    });
    let host = (said(&DEFAULTS), said(&HOST))
        .prop_map(|(defaults, host)| Settings(defaults.0.into_iter().chain(host.0).collect()));
    let one = (option::of(mode()), host, services, classes);
    btree_map(name(), one, 0..4).prop_map(|all| {
        let profile = |(name, (mode, host, services, classes))| Profile {
            name,
            mode,
            host,
            services,
            classes,
        };
        all.into_iter().map(profile).collect()
    })
}

fn document() -> impl Strategy<Value = Document> {
    let interfaces = prop::collection::btree_set("[a-z\"\\\\é$]{1,7}", 0..3);
    let inside = policy().prop_flat_map(|policy| (profiles(&policy), Just(policy)));
    (interfaces, said(&DOCUMENT), inside).prop_map(|(interfaces, said, (profiles, policy))| {
        let interfaces = interfaces.into_iter().collect();
        Document { interfaces, policy, profiles, ..told(&DOCUMENT, &said, Document::default()) }
    })
}

/// Bytes of a good file, some of them changed, taken away, or moved.
fn mangled() -> impl Strategy<Value = String> {
    let file = prop_oneof![
        Just(FULL.to_owned()),
        Just(SAMPLE.to_owned()),
        document().prop_map(|document| document.to_toml())
    ];
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
    (file, vec((any::<prop::sample::Index>(), 0_usize..12, piece), 1..5)).prop_map(
        |(file, edits)| {
            let mut letters: Vec<char> = file.chars().collect();
            for (at, gone, piece) in edits {
                let at = at.index(letters.len() + 1);
                let end = (at + gone).min(letters.len());
                letters.splice(at..end, piece.chars());
            }
            letters.into_iter().collect()
        },
    )
}

/// Lines of good files in any order.
fn shuffled() -> impl Strategy<Value = String> {
    let lines: Vec<String> = FULL.lines().chain(SAMPLE.lines()).map(str::to_owned).collect();
    vec(prop::sample::select(lines), 0..20).prop_map(|lines| lines.join("\n"))
}

/// What `policy show` would find after applying it.
fn through_records(policy: &Policy) -> Policy {
    let Encoded { host, services, listeners, classes, prefixes, networks, .. } =
        encode(policy, 1, 2, &Known::default()).expect("what is accepted can be encoded");
    decode(1, &host, &services, &listeners, &classes, &prefixes, &networks)
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
        let shown =
            Document { policy: through_records(&policy), profiles: Vec::new(), ..document.clone() };
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
