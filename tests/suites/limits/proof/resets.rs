//! A reset and an ACK behind it, so close that the first has not reached TCP when the second is
//! looked at.

use lab::frame::flags::{ACK, FIN, RST};
use lab::topology::ATTACK_DEVICE;
use lab::{Frame, Hand, volley};
use limiter_common::challenge::Challenge;

use super::{
    Front, Keeper, PAIRS, all_paid_within_limit, fence, hand, listeners, on_cpu, strict, until_so,
};

/// Volleys of a case.
const ROUNDS: usize = 10;

/// What makes the look run ahead of TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ahead {
    /// A burst that the driver hands on eight by eight.
    Burst,
    /// The same, and the kernel looks for a packet's socket only when TCP has it.
    NoEarlyDemux,
    /// The same, and a packet of the other family between the two ends each list of those that are
    /// delivered together.
    BetweenFamilies,
    /// Packets wait for another CPU.
    Steered,
    /// Reset and ACK come on two CPUs.
    TwoCpus,
}

impl Ahead {
    fn prepare(self, front: &Front) {
        match self {
            Self::NoEarlyDemux => {
                for name in ["ipv4/ip_early_demux", "ipv4/tcp_early_demux"] {
                    front.lab.front.sysctl(name, "0").expect("a setting");
                }
            }
            Self::Steered => steer(front),
            _ => {}
        }
    }

    /// Fifty frames in which every second one is an ACK with the cookie.
    fn frames(self, hand: &Hand) -> Vec<Vec<u8>> {
        let [reset, ack] = [RST, ACK].map(|flags| hand.frame(flags).build());
        let other = if hand.client.is_ipv4() { PAIRS[1] } else { PAIRS[0] };
        let address = |address: &str, port| {
            std::net::SocketAddr::new(address.parse().expect("an address"), port)
        };
        let (from, to) = (address(other.0, 9), std::net::SocketAddr::new(other.1, 9));
        let mac = |at: usize| <[u8; 6]>::try_from(&ack[at..at + 6]).expect("six bytes");
        let between = Frame::udp(from, to).macs(mac(6), mac(0)).build();
        let pair = match self {
            Self::BetweenFamilies => vec![reset, between, ack],
            _ => vec![reset, ack],
        };
        pair.iter().cycle().take(50 / pair.len() * pair.len()).cloned().collect()
    }
}

/// Receive packet steering to the second CPU for what comes from the attacker
/// (Documentation/networking/scaling.rst).
fn steer(front: &Front) {
    let script = format!(
        "for queue in /sys/class/net/{ATTACK_DEVICE}/queues/rx-*; do echo 2 > $queue/rps_cpus; done"
    );
    // `ip netns exec` shows the namespace's own devices in /sys, to that process alone.
    let mut command = std::process::Command::new("ip");
    command.args(["netns", "exec", front.lab.front.name(), "sh", "-c", &script]);
    assert!(command.status().expect("iproute2 is installed").success(), "packets can be steered");
}

/// [RST, ACK] again and again on one cookie: each connection that comes of it is charged.
#[test]
fn a_reset_and_an_ack_close_together_are_charged_each_time() {
    for ahead in
        [Ahead::Burst, Ahead::NoEarlyDemux, Ahead::BetweenFamilies, Ahead::Steered, Ahead::TwoCpus]
    {
        for (client, server) in PAIRS {
            storm(ahead, client, server);
        }
    }
}

fn storm(ahead: Ahead, client: &str, server: std::net::IpAddr) {
    let front = strict(Challenge::Auto);
    ahead.prepare(&front);
    let keeper = Keeper::start(&front.lab);
    let mut hand = hand(&front, client, 40_000, server);
    on_cpu(0, || hand.connect()).expect("a SYN-ACK");
    until_so("the first connection", || keeper.accepted() == 1);
    let (frames, attacker) = (ahead.frames(&hand), &front.lab.attacker);
    for round in 0..ROUNDS {
        if ahead == Ahead::TwoCpus {
            let halves: [Vec<_>; 2] =
                [0, 1].map(|odd| frames.iter().skip(odd).step_by(2).cloned().collect());
            std::thread::scope(|scope| {
                for (cpu, half) in halves.iter().enumerate() {
                    scope.spawn(move || {
                        on_cpu((cpu + round) % 2, || volley(attacker, half)).expect("a volley")
                    });
                }
            });
        } else {
            on_cpu(0, || volley(attacker, &frames)).expect("a volley");
        }
    }
    let strangers = fence(&front, &keeper, server);
    all_paid_within_limit(&front, &keeper, strangers, &format!("{ahead:?}, {client}"));
}

/// A client closes, the server does too, and data with the same cookie comes at once: another
/// connection, and charged.
#[test]
fn an_end_and_data_behind_it_are_charged_each_time() {
    const ROUNDS: usize = 20;
    for (client, server) in PAIRS {
        let front = strict(Challenge::Auto);
        let closer = Keeper::closing(&front.lab);
        let mut hand = hand(&front, client, 40_000, server);
        hand.ask().expect("a SYN-ACK");
        for _ in 0..ROUNDS {
            hand.send(&hand.frame(ACK)).expect("sent");
            hand.send(&hand.frame(ACK | FIN)).expect("sent");
            let Ok(end) = hand.wait(|heard| heard.flags & (FIN | RST) != 0) else { break };
            let (next, theirs) =
                (hand.first.wrapping_add(2), end.sequence.wrapping_add(end.length + 1));
            hand.send(&hand.frame(ACK).numbers(next, theirs)).expect("sent");
            hand.send(&hand.frame(ACK).payload(b"GET / HTTP/1.0")).expect("sent");
            hand.send(&hand.frame(RST).numbers(hand.first.wrapping_add(15), 0)).expect("sent");
        }
        let strangers = fence(&front, &closer, server);
        all_paid_within_limit(&front, &closer, strangers, client);
    }
}

/// The server closes at once, data that comes after that ends what is left of the connection, and
/// the cookie is right behind it: another connection, and charged.
#[test]
fn data_for_a_closed_connection_and_an_ack_behind_it_are_charged_each_time() {
    for (client, server) in PAIRS {
        let front = strict(Challenge::Auto);
        let keeper = Keeper::on(listeners(&front.lab), |stream, _| drop(stream));
        let mut hand = hand(&front, client, 40_000, server);
        on_cpu(0, || hand.connect()).expect("a SYN-ACK");
        hand.wait(|heard| heard.flags & FIN != 0).expect("the server's end");
        // Far enough from the first byte to bring no cookie.
        let data = hand
            .frame(ACK)
            .numbers(hand.first.wrapping_add(9), hand.cookie.wrapping_add(1))
            .payload(b"x");
        let frames = [data.build(), hand.frame(ACK).build()];
        for _ in 0..ROUNDS {
            let before = keeper.accepted();
            on_cpu(0, || volley(&front.lab.attacker, &frames)).expect("a volley");
            if keeper.accepted() > before {
                hand.wait(|heard| heard.flags & FIN != 0).expect("the server's end");
            }
        }
        let strangers = fence(&front, &keeper, server);
        all_paid_within_limit(&front, &keeper, strangers, client);
    }
}
