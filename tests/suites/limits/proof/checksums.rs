//! Checksums that are wrong: the kernel drops such packets, so nobody pays for them.

use lab::frame::flags::{ACK, SYN};
use limiter_common::challenge::Challenge;
use limiter_common::reason::Reason;

use super::{Keeper, PAIRS, agree, decided, fence, hand, proofs, strict, until_so};

/// A packet with a good cookie that was changed on its way is charged to nobody, and the next one
/// makes the connection.
#[test]
fn a_broken_proof_is_not_charged() {
    for challenge in [Challenge::Always, Challenge::Auto] {
        for (client, server) in PAIRS {
            let front = strict(challenge);
            let keeper = Keeper::start(&front.lab);
            let mut hand = hand(&front, client, 40_000, server);
            hand.ask().expect("a SYN-ACK");
            for frame in [hand.frame(ACK), hand.frame(ACK).payload(b"GET / HTTP/1.0\r\n\r\n")] {
                for _ in 0..10 {
                    hand.send(&frame.clone().wrong_checksum()).expect("sent");
                }
            }
            let strangers = fence(&front, &keeper, server);
            assert_eq!(
                proofs(&front),
                strangers,
                "{challenge:?}, {client}: {:?}",
                front.service(0)
            );
            hand.send(&hand.frame(ACK)).expect("sent");
            until_so("the connection", || keeper.accepted() == strangers + 1);
            agree(&front, &keeper, &format!("{challenge:?}, {client}"));
        }
    }
}

/// An attempt that was changed on its way is not answered either.
#[test]
fn a_broken_attempt_is_not_answered() {
    for (client, server) in PAIRS {
        let front = strict(Challenge::Always);
        let keeper = Keeper::start(&front.lab);
        let broken = hand(&front, client, 40_000, server);
        for _ in 0..20 {
            broken.send(&broken.frame(SYN).wrong_checksum()).expect("sent");
        }
        let strangers = fence(&front, &keeper, server);
        let answered = std::iter::from_fn(|| broken.next())
            .filter(|heard| heard.destination == broken.client)
            .count();
        assert_eq!(answered, 0, "{client}: {:?}", front.service(0));
        assert_eq!(
            decided(&front.service(0), Reason::Challenged),
            strangers,
            "{client}: {:?}",
            front.service(0)
        );
    }
}
