//! What attaching costs those who send and receive in bulk over a veth: nothing attached, a program
//! that only passes, and limiter, in turns.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use lab::wait::PATIENCE;
use lab::{Attached, Desk, Namespace, Trivial};

/// What runs on the front end's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum On {
    Nothing,
    Pass,
    Limiter,
    LimiterGro,
    LimiterGeneric,
}

const ALL: [On; 5] = [On::Nothing, On::Pass, On::Limiter, On::LimiterGro, On::LimiterGeneric];

struct Wire {
    front: Namespace,
    far: Namespace,
    desk: Desk,
}

impl Wire {
    fn new() -> Self {
        let [front, far] = [0, 1].map(|_| Namespace::new().expect("a namespace"));
        front
            .ip(&[
                "link",
                "add",
                "web0",
                "type",
                "veth",
                "peer",
                "name",
                "far0",
                "netns",
                far.name(),
            ])
            .expect("a veth");
        front.ip_batch("address add 10.81.0.1/24 dev web0\nlink set web0 up\n").expect("up");
        far.ip_batch("address add 10.81.0.2/24 dev far0\nlink set far0 up\n").expect("up");
        Self { desk: Desk::new(&front).expect("a desk"), front, far }
    }

    fn gro(&self, state: &str) {
        let mut ethtool = self.front.command("ethtool").expect("ethtool");
        let status = ethtool.args(["-K", "web0", "gro", state]).status();
        assert!(status.expect("ethtool runs").success());
    }

    fn put(&self, on: On) -> Option<Attached> {
        let attach = "attach web0 --service web=*:80 --source-rate 20/s --sources 4096 --enforce";
        match on {
            On::Nothing => None,
            On::Pass => Some(Trivial::Pass.attach(&self.front, "web0").expect("a program")),
            On::Limiter => {
                self.desk.ok(attach);
                None
            }
            On::LimiterGro => {
                self.desk.ok(attach);
                self.gro("on");
                None
            }
            On::LimiterGeneric => {
                self.desk.ok(&format!("{attach} --generic"));
                None
            }
        }
    }

    fn take_away(&self, on: On, program: Option<Attached>) {
        drop(program);
        if on >= On::Limiter {
            self.desk.ok("detach --all");
        }
        self.gro("off");
    }

    /// Bits per second of one stream to `to`, over `time`.
    fn stream(from: &Namespace, to: &Namespace, address: &str, time: Duration) -> f64 {
        let listener = to.run(|| Ok(TcpListener::bind((address, 80))?)).expect("a listener");
        let place = listener.local_addr().expect("an address");
        let sending = from.spawn("sender", move || {
            let mut stream = TcpStream::connect_timeout(&place, PATIENCE)?;
            let bytes = vec![7; 256 << 10];
            // Until the other end has enough.
            while stream.write_all(&bytes).is_ok() {}
            Ok(())
        });
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut bytes = vec![0; 1 << 20];
        let (start, mut received) = (Instant::now(), 0);
        while start.elapsed() < time {
            received += stream.read(&mut bytes).expect("they come");
        }
        let rate = received as f64 * 8.0 / start.elapsed().as_secs_f64();
        drop(stream);
        sending.expect("a thread").join().expect("a sender").expect("it sends");
        rate
    }
}

mod measured {
    use super::*;

    /// The best of each in its rounds counts, because other work on the machine only makes one
    /// slower.
    #[test]
    fn limiter_costs_bulk_no_more_than_a_program_that_only_passes() {
        const ROUNDS: usize = 3;
        /// Of which the first is beside what the kernel does after attaching.
        const STREAMS: usize = 5;
        let time = Duration::from_millis(150);
        let wire = Wire::new();
        let mut best: BTreeMap<On, [f64; 2]> = BTreeMap::new();
        for _ in 0..ROUNDS {
            for on in ALL {
                let program = wire.put(on);
                let best = best.entry(on).or_default();
                for _ in 0..STREAMS {
                    let received = Wire::stream(&wire.far, &wire.front, "10.81.0.1", time);
                    let sent = Wire::stream(&wire.front, &wire.far, "10.81.0.2", time);
                    *best = [best[0].max(received), best[1].max(sent)];
                }
                wire.take_away(on, program);
            }
        }
        println!("Gbit/s over a veth, the best of {ROUNDS} times {STREAMS}: received, sent");
        for (on, [received, sent]) in &best {
            println!("{on:?}: {:.1} {:.1}", received / 1e9, sent / 1e9);
        }
        for (way, name) in ["received", "sent"].into_iter().enumerate() {
            let ratio = best[&On::Limiter][way] / best[&On::Pass][way];
            assert!(ratio >= 0.95, "{name}: {ratio:.2} of what a program that passes lets through");
        }
    }
}
