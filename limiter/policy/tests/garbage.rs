//! Records of any bytes: whatever stands in the maps is read without a panic, and shown, compared, or refused.

use std::collections::BTreeMap;

use limiter_common::address::Address;
use limiter_common::record::{self, ClassPrefix, Host, List, ListKey, ListenerKey};
use proptest::collection::vec;
use proptest::prelude::*;

use limiter_policy::decode::decode;
use limiter_policy::encode::{Encoded, Known, encode};
use limiter_policy::file::Document;
use limiter_policy::prefix::Prefix;
use limiter_policy::{Policy, diff, text};

/// Records of `limiter_common` that come from maps.
trait Record: Copy + std::fmt::Debug {}
impl Record for Host {}
impl Record for record::Service {}
impl Record for record::Class {}
impl Record for record::Network {}
impl Record for ClassPrefix {}
impl Record for ListenerKey {}
impl Record for ListKey {}

fn record<T: Record>(bytes: &[u8]) -> T {
    assert_eq!(bytes.len(), size_of::<T>());
    // SAFETY: there are as many bytes as the record has, and it is made of numbers only: any bytes are a value.
    unsafe { bytes.as_ptr().cast::<T>().read_unaligned() }
}

/// Bytes of a record: all over the place, and often at the ends.
fn bytes<T: Record>() -> impl Strategy<Value = T> {
    let byte = prop_oneof![3 => Just(0), 1 => Just(0xff), 2 => any::<u8>()];
    let mixed = vec(byte, size_of::<T>());
    let all = vec(any::<u8>(), size_of::<T>());
    prop_oneof![mixed, all, Just(vec![0xff; size_of::<T>()])].prop_map(|bytes| record(&bytes))
}

/// The same for what has a name: a good one more often than not, or nobody would look at the rest.
fn name() -> impl Strategy<Value = Option<[u8; 32]>> {
    let good = "[a-z]{1,32}".prop_map(|text| {
        let mut name = [0; 32];
        name[..text.len()].copy_from_slice(text.as_bytes());
        Some(name)
    });
    prop_oneof![3 => good, 1 => Just(None)]
}

fn services() -> impl Strategy<Value = BTreeMap<u32, record::Service>> {
    let service = (bytes::<record::Service>(), name())
        .prop_map(|(record, name)| record::Service { name: name.unwrap_or(record.name), ..record });
    proptest::collection::btree_map(0_u32..64, service, 0..5)
}

fn classes() -> impl Strategy<Value = BTreeMap<u32, record::Class>> {
    let class = (bytes::<record::Class>(), name())
        .prop_map(|(record, name)| record::Class { name: name.unwrap_or(record.name), ..record });
    proptest::collection::btree_map(1_u32..256, class, 0..5)
}

fn networks() -> impl Strategy<Value = BTreeMap<u32, record::Network>> {
    proptest::collection::btree_map(0_u32..record::NETWORKS, bytes::<record::Network>(), 0..8)
}

fn listeners() -> impl Strategy<Value = Vec<(ListenerKey, u32)>> {
    let key = (bytes::<ListenerKey>(), 0_u16..3, 0_u32..70);
    vec(key.prop_map(|(key, slot, id)| (ListenerKey { slot, ..key }, id)), 0..8)
}

fn prefixes() -> impl Strategy<Value = Vec<ClassPrefix>> {
    vec(
        (bytes::<ClassPrefix>(), 0_u16..300)
            .prop_map(|(prefix, class)| ClassPrefix { class, ..prefix }),
        0..8,
    )
}

/// Everything that commands do with a policy that they read.
fn use_policy(policy: &Policy) {
    let document = Document { policy: policy.clone(), ..Document::default() };
    let file = document.to_toml();
    // What was garbage is refused with its place, or is a policy after all.
    if let Ok(again) = Document::parse(&file, "garbage.toml", std::path::Path::new("")) {
        assert!(encode(&again.policy, 0, 2, &Known::default()).is_ok(), "{file}");
    }
    let _ = encode(policy, 1, u64::MAX, &Known::default());
    let _ = diff::changes(&Policy::default(), policy);
    let _ = diff::changes(policy, &Policy::default());
    let _ = (
        policy.has_limits(),
        policy.may_challenge(),
        policy.class_of(&Prefix::from(std::net::IpAddr::from([192, 0, 2, 1]))),
    );
    for service in &policy.services {
        let _ = (text::show_listeners(&service.listeners), text::show_limit(service.budget));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn a_policy_of_any_bytes_is_read(
        slot in 0_u32..2, host in bytes::<Host>(), services in services(), listeners in listeners(),
        classes in classes(), prefixes in prefixes(), networks in networks(),
    ) {
        use_policy(&decode(slot, &host, &services, &listeners, &classes, &prefixes, &networks));
    }

    /// A record that was good, with one byte of another value.
    #[test]
    fn a_policy_with_one_wrong_byte_is_read(at in 0_usize..4096, value in any::<u8>(), which in 0_u8..5) {
        let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/policy.toml");
        let policy = Document::read(std::path::Path::new(sample)).expect("the sample is good").policy;
        let mut encoded = encode(&policy, 0, 2, &Known::default()).expect("the sample is kept");
        match which {
            0 => spoil(&mut encoded.host, at, value),
            1 => encoded.services.values_mut().for_each(|record| spoil(record, at, value)),
            2 => encoded.listeners.iter_mut().for_each(|(key, _)| spoil(key, at, value)),
            3 => encoded.networks.values_mut().for_each(|record| spoil(record, at, value)),
            _ => encoded.classes.values_mut().for_each(|record| spoil(record, at, value)),
        }
        let Encoded { host, services, listeners, classes, prefixes, networks, .. } = &encoded;
        use_policy(&decode(0, host, services, listeners, classes, prefixes, networks));
    }

    #[test]
    fn keys_of_lists_of_any_bytes_are_shown(key in bytes::<ListKey>(), length in any::<u8>()) {
        let prefix = Prefix { address: Address::from_bytes(key.address), length };
        prop_assert!(!prefix.to_string().is_empty());
        let host = Prefix { length: 128, ..prefix };
        let _ = (prefix.covers(&host), host.covers(&prefix), prefix.written_length(), ListKey::new(List::Ban, prefix.address));
    }
}

fn spoil<T: Record>(to: &mut T, at: usize, value: u8) {
    // SAFETY: the offset is within the record, and any byte is good in a number.
    unsafe { std::ptr::from_mut(to).cast::<u8>().add(at % size_of::<T>()).write(value) };
}
