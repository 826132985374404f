//! What is told of a flow's segments without asking the kernel, beside all the cookies that it
//! would take.

#[path = "proof/cookie.rs"]
mod cookie;
#[path = "proof/packet.rs"]
#[expect(dead_code, reason = "the model of the kernel uses the rest")]
mod packet;

use std::num::NonZero;

use cookie::Secret;
use limiter_common::bases::{Bases, Said, Tuple, line};

const TUPLE: Tuple = ([0x0a00_0001_0a00_0002, 0, 0, 0], 0x9c40_0050);
const OTHER: Tuple = ([0x0a00_0001_0a00_0002, 0, 0, 0], 0x9c41_0050);

/// Jiffies in a minute, at 250 a second.
const PERIOD: u64 = 15_000;

/// A jiffy of a minute.
const fn at(minute: u32) -> u64 {
    minute as u64 * PERIOD + 1_000
}

/// The difference of the kernel's own cookie in a minute, and whether the kernel takes a segment
/// with another.
struct Kernel(Secret);

impl Kernel {
    fn difference(&self, minute: u32) -> u32 {
        self.0.cookie(3, 0, minute, 0)
    }

    fn takes(&self, difference: u32, minute: u32) -> bool {
        self.0.class(3, 1, difference.wrapping_add(1), minute).is_some()
    }
}

/// Whatever a line has learnt, in whatever minute, it never says of a good cookie that it is none;
/// and of other differences it nearly always does.
#[test]
fn no_cookie_is_missed() {
    let mut random = fastrand::Rng::with_seed(7);
    let (mut asked, mut told) = (0, 0);
    for seed in 0..200_000 {
        let kernel = Kernel(Secret(random.u64(..)));
        let (mut bases, minute) = (Bases::default(), 1_000 + random.u32(..300));
        // It learnt now, or now and a minute ago, or had a gap.
        for ago in [[9, 1, 0], [9, 9, 0], [2, 1, 0], [1, 0, 0]][seed % 4] {
            for _ in 0..2 {
                if bases.ask(&TUPLE, 0, at(minute - ago)) == Said::AskAndLearn {
                    bases.learn(
                        &TUPLE,
                        at(minute - ago),
                        NonZero::new(PERIOD).expect("jiffies"),
                        || Some(kernel.difference(minute - ago)),
                    );
                }
            }
        }
        let own = [kernel.difference(minute), kernel.difference(minute - 1)];
        let near = |base: u32| (-5_i32..=5).map(move |off| base.wrapping_add_signed(off));
        let far = [0_u32, 1, 1 << 24, 1 << 25, 3 << 24].map(|off| own[0].wrapping_add(off));
        let any = [random.u32(..), random.u32(..)];
        let all = near(own[0]).chain(near(own[1])).chain(far.into_iter().flat_map(near)).chain(any);
        for difference in all {
            let said = bases.ask(&TUPLE, difference, at(minute));
            assert!(
                said != Said::None || !kernel.takes(difference, minute),
                "{seed}: {difference:#x} of {own:x?}"
            );
        }
        // A connection in which the server has sent something.
        let said = bases.ask(&TUPLE, own[0].wrapping_add(random.u32(4..1 << 23)), at(minute));
        (asked, told) = (asked + u32::from(said != Said::None), told + 1);
    }
    assert!(asked * 1000 < told, "{asked} of {told} are asked");
}

#[test]
fn a_line_is_its_flows_while_that_is_in_use() {
    let mut bases = Bases::default();
    let now = at(9);
    let ask = |bases: &mut Bases, tuple: &Tuple, jiffies| {
        let said = bases.ask(tuple, 5, jiffies);
        if said == Said::AskAndLearn {
            bases.learn(tuple, jiffies, NonZero::new(PERIOD).expect("jiffies"), || Some(1 << 30));
        }
        said
    };
    assert_eq!(ask(&mut bases, &TUPLE, now), Said::AskAndLearn, "the line is free");
    assert_eq!(ask(&mut bases, &TUPLE, now + 1), Said::AskAndLearn, "it is its own, and learns");
    assert_eq!(ask(&mut bases, &TUPLE, now + 10), Said::None);
    assert_eq!(ask(&mut bases, &OTHER, now + 20), Said::Ask);
    assert_eq!(ask(&mut bases, &TUPLE, now + 30), Said::None, "it is still there");
    assert_eq!(ask(&mut bases, &TUPLE, now + PERIOD), Said::AskAndLearn, "a minute later");
    assert_eq!(ask(&mut bases, &TUPLE, now + PERIOD), Said::None);
    assert_eq!(ask(&mut bases, &OTHER, now + PERIOD + 33), Said::AskAndLearn);
    assert_eq!(ask(&mut bases, &TUPLE, now + PERIOD + 33), Said::Ask, "it is the other's now");
}

#[test]
fn flows_are_spread_over_the_lines() {
    let mut lines: Vec<u32> = (0..10_000_u64)
        .map(|flow| {
            line(&(
                [0x0a00_0001_0a00_0000 + (flow >> 6 << 32), 0, 0, 0],
                0x9c40_0050 + ((flow as u32 & 63) << 16),
            ))
        })
        .collect();
    lines.sort_unstable();
    lines.dedup();
    // Of 10,000 that fall at random 7,490 have one of 16,384 lines or share it as the first.
    assert!(lines.len() > 7_000, "{}", lines.len());
}
