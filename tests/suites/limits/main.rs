//! Limits under real floods: exactness, fairness under random sources, and traffic that must not be touched.
//!
//! Needs root. Everything happens in namespaces of the test.

mod adopted;
mod answers;
mod auto;
mod browser;
mod bulk;
mod challenge;
mod clients;
mod crowded;
mod driver;
mod ends;
mod established;
mod exact;
mod fleet;
mod held;
mod hindered;
mod interop;
mod line;
mod many;
mod matrix;
mod measured;
mod networks;
mod older;
mod open;
mod page;
mod proof;
mod room;
mod seen;
mod servers;
mod shadow;
mod share;
mod small;
mod spoofed;
mod storms;
mod stuck;
mod switching;
mod waiting;

use std::path::PathBuf;

use anyhow::Result;
use lab::wait::until_so;
use lab::{Lab, PrivateBpffs};
use limiter::kernel::slots::Origin;
use limiter::kernel::{Maps, Pins, link, object};
use limiter::policy::{Admission, Policy, Service, text};
use limiter::report::Sample;
use limiter_common::rate::{Limit, Rate};
use limiter_common::reason::{Reason, Verdict};
use limiter_common::record::{Counters, DEFAULT_SETS};
use limiter_common::source_table::WAYS;
use limiter_common::switch::Mode;

/// limiter on both of the front end's interfaces, through its own library.
struct Front {
    lab: Lab,
    maps: Maps,
    pins: Pins,
    _bpffs: PrivateBpffs,
}

impl Front {
    fn new(policy: &Policy, mode: Mode) -> Self {
        Self::try_new(policy, mode).expect("limiter attaches in the lab")
    }

    fn try_new(policy: &Policy, mode: Mode) -> Result<Self> {
        Self::in_lab(Lab::new()?, policy, mode)
    }

    fn in_lab(lab: Lab, policy: &Policy, mode: Mode) -> Result<Self> {
        Self::with_sources(lab, policy, mode, DEFAULT_SETS * WAYS as u32)
    }

    /// With a table for so many sources.
    fn with_sources(lab: Lab, policy: &Policy, mode: Mode, sources: u32) -> Result<Self> {
        let bpffs = PrivateBpffs::new()?;
        let pins = Pins::at(bpffs.path().join("limiter"));
        let _lock = pins.lock_for_change()?;
        object::load(&pins, sources, policy, &Origin::default(), mode, false)?;
        let names = ["attack0".to_owned(), "crowd0".to_owned()];
        lab.front.run(|| link::attach(&pins, &names, false))?;
        Ok(Self { maps: Maps::open(&pins.root())?, lab, pins, _bpffs: bpffs })
    }

    /// Counters of the service with `id`, since the start.
    fn service(&self, id: usize) -> Counters {
        Sample::take(&self.maps).expect("counters can be read").counters[id + 1]
    }

    /// Packets that were decided, whatever they were.
    fn seen(&self) -> u64 {
        let counters = Sample::take(&self.maps).expect("counters can be read").counters;
        counters.iter().flat_map(|counters| counters.decided).sum()
    }

    /// Waits until so many packets were decided: a flood is under way.
    #[track_caller]
    fn floods(&self, packets: u64) {
        until_so("a flood worth the name", || self.seen() >= packets);
    }

    /// SYNs that clients of the crowd sent again, because no answer came in time. Each of them is an attempt.
    fn sent_again(&self) -> u64 {
        challenge::netstat(&self.lab.crowd, "TCPSynRetrans")
    }

    fn root(&self) -> PathBuf {
        self.pins.root()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.pins.remove();
    }
}

fn limit(count: u64, burst: u64) -> Limit {
    Limit { rate: Rate::per_second(count), burst }
}

/// Without a line: what a budget lets in is exact for single connections.
fn policy(services: &[&str]) -> Policy {
    let services = services.iter().map(|service| Service {
        admission: Admission::FIRST_COME,
        ..text::service(service).expect("a service")
    });
    Policy { services: services.collect(), ..Policy::default() }
}

fn decided(counters: &Counters, reason: Reason) -> u64 {
    counters.decided[reason as usize]
}

/// What was dropped, under whichever reason.
fn dropped(counters: &Counters) -> u64 {
    let drops = Reason::ALL.iter().filter(|reason| reason.verdict() == Verdict::Drop);
    drops.map(|reason| decided(counters, *reason)).sum()
}
