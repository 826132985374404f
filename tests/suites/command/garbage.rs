//! Any bytes in every map, as a bug or an attacker with root might leave them: no command panics, and a policy file or `detach --all`
//! makes it good again.

use aya::maps::{MapData, MapType};
use fastrand::Rng;
use lab::raw;
use limiter::kernel::{Maps, Pins, maps::Raw};
use limiter_common::names::{self, Row};
use limiter_common::record::{CLASSES, NAME, SERVICES, SLOTS};

use super::Desk;
use super::pins::sound;

const POLICY: &str =
    "interfaces = [\"web0\"]\nsources = 512\n[service.web]\nlisten = \"*:80\"\nbudget = \"9/s\"\n";

/// How often everything is spoiled; each time takes a second or two.
const ROUNDS: usize = 4;

/// Bytes of one of three characters: anything, mostly zeros, or all ones.
fn fill(random: &mut Rng, bytes: &mut [u8]) {
    let character = random.u8(..3);
    for byte in bytes {
        *byte = match character {
            0 => random.u8(..),
            1 if random.u8(..5) != 0 => 0,
            1 => random.u8(..),
            _ => 0xff,
        };
    }
}

/// Fills every map of a loaded limiter. INSTANCE is left out: it is made once, and there is no command that writes it.
fn spoil(root: &std::path::Path, random: &mut Rng) {
    for Row { name, key, .. } in names::MAPS {
        let map = MapData::from_pin(root.join(name)).expect("a map");
        let size = raw::value_size(&map).expect("a size");
        let info = map.info().expect("a description");
        match info.map_type().expect("a type") {
            _ if *name == names::INSTANCE => {}
            MapType::Array | MapType::PerCpuArray => {
                let mut values = vec![0; size * info.max_entries() as usize];
                values.chunks_exact_mut(size).for_each(|value| fill(random, value));
                raw::write_all(&map, &values).expect("written");
            }
            _ => {
                for _ in 0..200 {
                    let (mut key, mut value) = (vec![0; *key as usize], vec![0; size]);
                    fill(random, &mut key);
                    fill(random, &mut value);
                    // A trie refuses keys that are longer than they can be, and a full map more of them.
                    let _ = raw::insert(&map, &key, &value);
                }
            }
        }
    }
    // What has no name is not shown, so some get one.
    let mut maps = Maps::open(root).expect("the maps have their shapes");
    let named = |number: u64| {
        let mut name = [0; NAME];
        name[..4].copy_from_slice(&[
            b'a' + (number % 26) as u8,
            b'-',
            b'x',
            b'0' + (number >> 8) as u8 % 10,
        ]);
        name
    };
    for index in (0..SLOTS * SERVICES).step_by(3) {
        let Raw(mut service) = maps.service.get(&index, 0).expect("a service");
        service.name = named(random.u64(..));
        maps.service.set(index, Raw(service), 0).expect("written");
    }
    for index in (0..SLOTS * CLASSES).step_by(7) {
        let Raw(mut class) = maps.class.get(&index, 0).expect("a class");
        class.name = named(random.u64(..));
        maps.class.set(index, Raw(class), 0).expect("written");
    }
}

#[test]
fn any_bytes_in_every_map() {
    let desk = Desk::new();
    let file = desk.policy();
    std::fs::write(&file, POLICY).expect("written");
    let apply = format!("apply {}", file.display());
    desk.ok(&apply);
    let root = Pins::at(desk.pins()).root();
    let diff = format!("policy diff {}", file.display());
    let lines = [
        "status --quick",
        "status --quick --json",
        "policy show",
        "policy show --json",
        &diff,
        "ban list",
        "allow list",
        "set --budget 5/s",
        "arm",
        "ban add 192.0.2.1 192.0.2.0/24 --for 1h",
        "confirm",
        "rollback",
        "upgrade",
        "disarm",
        "set --service a-x0 --budget 7/s",
        "allow add 2001:db8::/48",
        "ban del 192.0.2.1",
        "arm --for 1h",
        "history",
        "top",
        "top --by attempts --prefix 24 --json",
        "suggest",
        "suggest --json --source-rate 5/s",
        "events -n 50",
        "events --json",
        "metrics",
        &apply,
    ];
    let (mut random, mut worked) = (Rng::with_seed(0x6a7b_a6e5), 0);
    for round in 0..ROUNDS {
        spoil(&root, &mut random);
        // The program is the same whatever the maps hold, and takes long to load: once.
        for line in lines.into_iter().filter(|line| round == 0 || *line != "upgrade") {
            worked += usize::from(sound(line, &desk.output(line)));
        }
        if round == 0 {
            let output = desk.output("doctor");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(matches!(output.status.code(), Some(0 | 1)) && said.is_empty(), "{said}");
        }
        assert!(desk.has_program("web0"), "what enforces goes on");
    }
    println!("{worked} of {} commands worked", ROUNDS * (lines.len() - 1) + 1);
    desk.ok("detach --all");
    assert!(desk.becomes_free("web0") && desk.left().is_empty());
    desk.ok(&apply);
    assert_eq!(desk.json("status --quick")["services"][0]["budget"], "9/s, burst 18");
}

/// A good policy file is the way back: a trial that garbage pretends is rolled back first.
#[test]
fn a_policy_file_makes_it_good() {
    let desk = Desk::new();
    let file = desk.policy();
    std::fs::write(&file, POLICY).expect("written");
    desk.ok(&format!("apply {}", file.display()));
    let root = Pins::at(desk.pins()).root();
    let mut random = Rng::with_seed(0x5eed);
    for _ in 0..3 {
        spoil(&root, &mut random);
        let apply = format!("apply {}", file.display());
        // What the bytes make of the switch may be a trial, and behind it the end of a profile.
        let applied = (0..3).any(|_| {
            let applied = desk.sound(&apply);
            if !applied {
                desk.sound("confirm");
            }
            applied
        });
        assert!(applied, "confirmed twice");
        let status = desk.json("status --quick");
        assert_eq!(status["services"].as_array().map(Vec::len), Some(1), "{status}");
        assert_eq!(status["services"][0]["budget"], "9/s, burst 18");
    }
}
