//! Fragments that wait: the kernel makes of them what it finds when the last one comes.

use lab::frame::flags::{ACK, RST};
use limiter_common::challenge::Challenge;

use super::{Keeper, PAIRS, agree_within_limit, fence, hand, strict, until_so};

/// Datagrams that wait at once.
const PARKED: u32 = 20;
/// Bytes of data of each, and how many bytes of TCP the first fragment shows.
const DATA: [u8; 12] = *b"GET / HTTP/1";
const FIRST: usize = 24;

/// While a connection exists its client parks first fragments of more packets with its cookie; then
/// it resets the connection and sends a last one, again and again. Each would be a connection, and
/// none is charged when it is made.
#[test]
fn parked_fragments_make_no_connections() {
    for challenge in [Challenge::Always, Challenge::Auto] {
        for (client, server) in PAIRS {
            let front = strict(challenge);
            let keeper = Keeper::start(&front.lab);
            let mut hand = hand(&front, client, 40_000, server);
            hand.connect().expect("a SYN-ACK");
            until_so("the first connection", || keeper.accepted() == 1);
            let parked: Vec<_> = (0..PARKED)
                .map(|number| {
                    hand.frame(ACK).payload(&DATA).identification(100 + number).fragments(FIRST)
                })
                .collect();
            for [first, _] in &parked {
                hand.send(first).expect("sent");
            }
            let mut strangers = fence(&front, &keeper, server);
            let mut next = hand.first.wrapping_add(1);
            for [_, last] in &parked {
                hand.send(&hand.frame(RST).numbers(next, 0)).expect("sent");
                hand.send(last).expect("sent");
                next = hand.first.wrapping_add(1 + DATA.len() as u32);
            }
            strangers += fence(&front, &keeper, server);
            agree_within_limit(&front, &keeper, strangers, &format!("{challenge:?}, {client}"));
        }
    }
}
