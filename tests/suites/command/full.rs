//! Policies and lists at their largest: they are taken, twice over, and one more is refused by its number before anything changes.

use std::fmt::Write as _;

use limiter_common::class_tree::MOST_CLASSES;
use limiter_common::record::{CLASS_PREFIXES, POLICY_LISTENERS, SERVICES};

use super::Desk;

/// How many of everything.
#[derive(Clone, Copy)]
pub(super) struct Size {
    services: u32,
    listeners: u32,
    classes: u32,
    prefixes: u32,
}

pub(super) const FULL: Size = Size {
    services: SERVICES,
    listeners: POLICY_LISTENERS,
    classes: MOST_CLASSES as u32,
    prefixes: CLASS_PREFIXES,
};

/// A policy of that size; `variant` makes another one of it.
pub(super) fn policy(size: Size, variant: u32) -> String {
    let mut text =
        "interfaces = [\"web0\"]\nmode = \"enforce\"\nsources = 4096\n[defaults]\nsource_rate = \"20/s\"\n".to_owned();
    let part = |all: u32, of: u32, number: u32| (all * number / of)..(all * (number + 1) / of);
    for service in 0..size.services {
        let _ = writeln!(text, "[service.s{variant}-{service}]\nlisten = [");
        for listener in part(size.listeners, size.services, service) {
            let _ = writeln!(
                text,
                "  \"10.{}.{}.1:{}\",",
                listener / 256,
                listener % 256,
                1000 + listener % 100
            );
        }
        let _ = writeln!(text, "]");
    }
    for class in 0..size.classes {
        let _ = writeln!(
            text,
            "[class.c{variant}-{class}]\nsource_rate = \"{}/s\"\nprefixes = [",
            class + 1
        );
        for prefix in part(size.prefixes, size.classes, class) {
            let _ = writeln!(
                text,
                "  \"{}.{}.{}.0/25\",",
                20 + prefix / 65_536,
                prefix / 256 % 256,
                prefix % 256
            );
        }
        let _ = writeln!(text, "]");
    }
    text
}

/// A new service takes the id of one that goes, and when that one comes back, neither finds itself under the id of the other.
#[test]
fn every_service_has_an_id_of_its_own() {
    let desk = Desk::new();
    let service = |name: &str, port: u32| format!("[service.{name}]\nlisten = [\"*:{port}\"]\n");
    let many = |range: std::ops::Range<u32>| -> String {
        range.map(|n| service(&format!("s{n}"), 1000 + n)).collect()
    };
    let last = SERVICES - 1;
    for services in [
        many(0..SERVICES),
        many(0..last) + &service("another", 9000),
        many(0..last - 1) + &service(&format!("s{last}"), 1000 + last) + &service("another", 9000),
        many(0..SERVICES),
    ] {
        let file = desk.policy();
        std::fs::write(&file, "interfaces = [\"web0\"]\nsources = 4096\n".to_owned() + &services)
            .expect("written");
        desk.ok(&format!("apply {}", file.display()));
        let said = desk.ok(&format!("policy diff {}", file.display()));
        assert!(said.contains("nothing would change"), "{said}");
    }
}

#[test]
fn the_largest_policy_and_one_more() {
    let desk = Desk::new();
    let write = |text: String| {
        let file = desk.policy();
        std::fs::write(&file, text).expect("written");
        format!("apply {}", file.display())
    };
    // Every slot and every id, and a fourth that takes the place of the first.
    for variant in 0..4 {
        desk.ok(&write(policy(FULL, variant)));
        let status = desk.json("status --quick");
        assert_eq!(status["services"].as_array().map(Vec::len), Some(SERVICES as usize));
        assert_eq!(status["classes"].as_array().map(Vec::len), Some(MOST_CLASSES.into()));
        let listeners = status["services"]
            .as_array()
            .expect("services")
            .iter()
            .map(|one| one["listeners"].as_array().map_or(0, Vec::len));
        assert_eq!(listeners.sum::<usize>(), POLICY_LISTENERS as usize);
        let prefixes = status["classes"]
            .as_array()
            .expect("classes")
            .iter()
            .filter_map(|one| one["prefixes"].as_u64());
        assert_eq!(prefixes.sum::<u64>(), u64::from(CLASS_PREFIXES));
    }
    let before = desk.ok("policy show");
    for (size, word) in [
        (Size { services: FULL.services + 1, ..FULL }, "64 services"),
        (Size { listeners: FULL.listeners + 1, ..FULL }, "4096 address:port pairs"),
        (Size { classes: FULL.classes + 1, ..FULL }, "255 classes"),
        (Size { prefixes: FULL.prefixes + 1, ..FULL }, "65536 prefixes"),
    ] {
        desk.fails(&write(policy(size, 5)), 1, &[word]);
        assert!(desk.has_program("web0"));
    }
    assert_eq!(desk.ok("policy show"), before, "nothing was changed");
    assert_eq!(desk.json("status --quick")["generation"], 4);
}
