//! Any bytes in the maps: the program still answers each frame with one of its verdicts, and connections that exist pass.

use aya::maps::{MapData, MapType};
use fastrand::Rng;
use lab::{Namespace, raw};
use limiter_common::names;
use limiter_common::record::REASONS;

use super::beside::drawn::frame;
use super::beside::number;
use super::{CLIENT, DROP, Judge, PASS, WEB, policy, syn};

const TX: u32 = 3;

/// Any bytes in every array; lists and listeners stay empty, so that nobody is banned.
fn spoil(judge: &Judge, random: &mut Rng) {
    for row in names::MAPS {
        let map = MapData::from_pin(judge.bpffs.path().join(row.name)).expect("a map");
        let info = map.info().expect("a description");
        if !matches!(info.map_type().expect("a type"), MapType::Array | MapType::PerCpuArray) {
            continue;
        }
        let size = raw::value_size(&map).expect("a size");
        let kind = random.u64(..4);
        let words = (size * info.max_entries() as usize).div_ceil(8);
        let word = |random: &mut Rng| match kind {
            0 => random.u64(..),
            1 => random.u64(..) & random.u64(..) & random.u64(..) & random.u64(..),
            2 => random.u64(..80) << (8 * random.u64(..8)),
            _ => u64::MAX,
        };
        let mut bytes: Vec<u8> = (0..words).flat_map(|_| word(random).to_ne_bytes()).collect();
        bytes.truncate(size * info.max_entries() as usize);
        raw::write_all(&map, &bytes).expect("written");
    }
}

#[test]
fn the_program_over_any_bytes() {
    // Nobody listens there, so no cookie is asked for.
    let namespace = Namespace::anonymous().expect("a namespace");
    let work = || {
        let judge = Judge::new(&policy(&["web=*:80"]));
        let mut random = Rng::with_seed(0xbad_c0de);
        let mut actions = [0_u64; 5];
        let established = syn(CLIENT, WEB).flags(0x10).build();
        for _ in 0..10 {
            spoil(&judge, &mut random);
            for _ in 0..number("LIMITER_GARBAGE_FRAMES", 2000) {
                let action = judge.action(&frame(&mut random));
                assert!([PASS, DROP, TX].contains(&action), "XDP's number {action}");
                actions[action as usize] += 1;
            }
            assert_eq!(judge.action(&established), PASS, "a connection that exists");
        }
        println!("{} dropped, {} passed, {} answered", actions[1], actions[2], actions[3]);
        assert!(judge.counters().len() > 1 && judge.counters()[0].decided.len() == REASONS);
        Ok(())
    };
    namespace.run(work).expect("a namespace");
}
