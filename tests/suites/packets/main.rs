//! The shipped program, one frame at a time: reason, action, and exact counters both ways.
//!
//! A counter that was expected to move moved by one, and no other moved. The frames are run with BPF_PROG_TEST_RUN. Needs root.

mod beside;
mod challenge;
mod frames;
mod full;
mod garbage;
mod limits;
mod lists;
mod object;
mod reuse;

use aya::Ebpf;
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use lab::{Frame, PrivateBpffs};
use limiter::kernel::slots::Origin;
use limiter::kernel::{Maps, object as shipped};
use limiter::policy::{Admission, Policy, Service, text};
use limiter::report::Sample;
use limiter_common::names;
use limiter_common::rate::{Limit, Rate};
use limiter_common::reason::Reason;
use limiter_common::record::{Counters, REASONS};
use limiter_common::switch::{Mode, Selection};

const PASS: u32 = 2;
const DROP: u32 = 1;

/// A frame's client and server, and flags.
const CLIENT: &str = "192.0.2.1:40000";
const CLIENT_V6: &str = "[2001:db8:1:2::3]:40000";
const WEB: &str = "198.51.100.7:80";
const WEB_V6: &str = "[2001:db8:ffff::7]:80";

/// The program, its maps, and what they are pinned in.
struct Judge {
    /// Only while it is dropped there is none.
    ebpf: Option<Ebpf>,
    maps: Maps,
    bpffs: PrivateBpffs,
}

impl Judge {
    fn new(policy: &Policy) -> Self {
        let bpffs = PrivateBpffs::new().expect("a bpffs");
        let ebpf = reuse::take();
        let maps = shipped::prepare(&ebpf, bpffs.path(), policy, &Origin::default(), Mode::Enforce)
            .expect("a policy");
        Self { ebpf: Some(ebpf), maps, bpffs }
    }

    fn ebpf(&self) -> &Ebpf {
        self.ebpf.as_ref().expect("it is loaded")
    }

    fn ebpf_mut(&mut self) -> &mut Ebpf {
        self.ebpf.as_mut().expect("it is loaded")
    }

    fn program(&self) -> &Xdp {
        self.ebpf().program(names::PROGRAM).expect("the program").try_into().expect("XDP")
    }

    fn action(&self, frame: &[u8]) -> u32 {
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::default() };
        self.program().test_run(options).expect("a test run").return_value
    }

    fn counters(&self) -> Vec<Counters> {
        Sample::take(&self.maps).expect("counters can be read").counters
    }

    /// Runs a frame; checks the action; and that exactly one counter moved, by one: `reason` of `service` (0: of none).
    #[track_caller]
    fn says(&self, frame: &[u8], service: usize, reason: Reason, action: u32) {
        let observed = action == PASS && reason.drops();
        let mut expected = self.counters();
        let counters = &mut expected[service];
        let cell = if observed { &mut counters.observed } else { &mut counters.decided };
        cell[reason as usize] += 1;
        let done = self.action(frame);
        let after = self.counters();
        for (index, (expected, after)) in expected.iter().zip(&after).enumerate() {
            for number in 0..REASONS {
                let name = Reason::ALL
                    .iter()
                    .find(|reason| **reason as usize == number)
                    .map_or("?", |reason| reason.name());
                let (was, is) = (
                    (expected.decided[number], expected.observed[number]),
                    (after.decided[number], after.observed[number]),
                );
                assert_eq!(
                    was, is,
                    "(decided, observed) of {name} at counter {index}; expected {reason:?} of {service}"
                );
            }
        }
        assert_eq!(done, action, "action of {reason:?}");
    }

    /// Runs a frame so many times, which does not change it; each time it is counted as `reason`.
    #[track_caller]
    fn repeats(&self, frame: &[u8], times: u32, service: usize, reason: Reason) {
        let count = || self.counters()[service].decided[reason as usize];
        let before = count();
        let options =
            TestRunOptions { data_in: Some(frame), repeat: times, ..TestRunOptions::default() };
        self.program().test_run(options).expect("a test run");
        assert_eq!(count() - before, u64::from(times), "{reason:?} of {service}");
    }

    fn set(&mut self, policy: &Policy) {
        let switch = self.maps.stage_policy(policy, &Origin::default()).expect("a policy");
        self.maps.set_switch(switch).expect("switched");
    }

    fn mode(&self, mode: Mode) {
        let switch = self.maps.switch().expect("the switch");
        let now = Selection { mode, ..switch.fallback() };
        self.maps.set_switch(switch.select(now)).expect("switched");
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        reuse::give_back(self.ebpf.take().expect("it is loaded"), self.bpffs.path());
    }
}

fn syn(client: &str, server: &str) -> Frame {
    Frame::syn(client.parse().expect("a client"), server.parse().expect("a server"))
}

/// Without a line: what a budget lets in is exact for single connections.
fn policy(services: &[&str]) -> Policy {
    let services = services.iter().map(|service| Service {
        admission: Admission::FIRST_COME,
        ..text::service(service).expect("a service")
    });
    Policy { services: services.collect(), ..Policy::default() }
}

fn limit(count: u64, seconds: u64, burst: u64) -> Limit {
    Limit { rate: Rate { count, period: seconds * 1_000_000_000 }, burst }
}
