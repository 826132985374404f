//! Shares of a budget end in the kernel, with no process alive to end them.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use lab::topology::FRONT_V4;
use lab::wait::{tick_past, until_so};
use lab::{Flood, Sources};
use limiter::kernel::{Maps, clock};
use limiter_common::reason::Reason;
use limiter_common::share::Share;
use limiter_common::switch::Mode;

use super::{Front, decided, limit, policy};

/// What the policy states, and its burst.
const STATED: u64 = 20;
/// What the share is.
const SHARE: u64 = 2000;
const TERM: Duration = Duration::from_secs(4);
/// Tells the process that renews the share where the pins are.
const PINS: &str = "LIMITER_TEST_PINS";

/// Not a test: the process that renews the share until it is killed.
#[test]
fn renews_until_it_is_killed() {
    let Some(pins) = std::env::var_os(PINS) else { return };
    let maps = Maps::open(&PathBuf::from(pins)).expect("the maps");
    loop {
        let share = Share::new(1_000_000_000 / SHARE, clock::after(TERM)).expect("a share");
        maps.set_share(0, share).expect("it is written");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_share_ends_in_the_kernel_when_its_process_is_killed() {
    let mut policy = policy(&["web=*:80"]);
    policy.services[0].budget = limit(STATED, 2 * STATED);
    let front = Front::new(&policy, Mode::Enforce);
    let admitted = || decided(&front.service(0), Reason::Admitted);
    let start = clock::now();
    let mut renews = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "share::renews_until_it_is_killed"])
        .env(PINS, front.root())
        .stdout(Stdio::null())
        .spawn()
        .expect("a process");
    let flood = Flood {
        frames: u64::MAX,
        seconds: 600.0,
        rate: Some(50_000),
        ..Flood::new((FRONT_V4, 80).into(), Sources::Random)
    };
    let flood = flood.spawn(&front.lab).expect("a flood");
    // By what is stated this would take minutes.
    until_so("the share is in force", || admitted() >= 3 * SHARE);
    let came = admitted();
    let took = (clock::now() - start) as f64 / 1e9;
    // Two seconds of either rate at once, and a lease of each CPU.
    let most = SHARE as f64 * (took + 2.0) + 2.0 * STATED as f64 + 64.0 * clock::cpus() as f64;
    assert!(came as f64 <= most, "{came} admitted in {took} s");
    renews.kill().expect("it is killed");
    renews.wait().expect("it ends");
    let killed = clock::now();
    let ends = front.maps.share(0).expect("the share").ends();
    assert!(ends <= killed + TERM.as_nanos() as u64, "it outlives its term");
    // By the kernel's coarse clock.
    tick_past(ends);
    let (from, before) = (clock::now(), admitted());
    until_so("a while by what is stated", || {
        clock::now() > from + 3_000_000_000 && admitted() >= before + STATED
    });
    let (more, time) = (admitted() - before, (clock::now() - from) as f64 / 1e9);
    let most = STATED as f64 * (time + 0.1) + 64.0 * clock::cpus() as f64;
    assert!(more as f64 <= most, "{more} admitted in {time} s");
    flood.stop().expect("the flood ends");
}
