//! Owns the lab's own BPF programs: loading them, and attaching the trivial ones to a device.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, MapData, PerCpuArray},
    programs::{Xdp, XdpMode},
};

use crate::netns::Namespace;

#[path = "../../ebpf/src/record.rs"]
pub mod record;

// SAFETY: integers and arrays of them in C layout, with explicit padding: any bytes are a value.
unsafe impl aya::Pod for record::FloodRecord {}

/// The object with the generator and the trivial programs.
static GENERATE: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/generate"));

/// limiter over an LRU hash, and what it is measured against: see `compare.rs` of lab-ebpf.
pub static COMPARE: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/compare"));

/// A program that looks at nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trivial {
    /// Passes and counts.
    Pass,
    /// Drops and counts.
    DropAll,
    /// Drops, and does not even count: the baseline of benches.
    Empty,
}

impl Trivial {
    fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::DropAll => "drop_all",
            Self::Empty => "empty",
        }
    }

    /// Loads the program, for BPF_PROG_TEST_RUN.
    pub fn load(self) -> Result<Loaded> {
        Loaded::new(self.name())
    }

    /// Attaches the program in native mode to a device of the namespace.
    pub fn attach(self, namespace: &Namespace, device: &str) -> Result<Attached> {
        let mut loaded = self.load()?;
        loaded.attach(namespace, device, XdpMode::Driver)?;
        Ok(Attached { loaded })
    }
}

/// A program of the lab in the kernel, unloaded when dropped.
pub struct Loaded {
    object: Ebpf,
    name: &'static str,
}

impl Loaded {
    pub(crate) fn new(name: &'static str) -> Result<Self> {
        let mut object = Ebpf::load(GENERATE).context("cannot load the lab's BPF object")?;
        program(&mut object, name)?
            .load()
            .with_context(|| format!("cannot load the program `{name}`"))?;
        Ok(Self { object, name })
    }

    /// The program.
    pub fn xdp(&self) -> Result<&Xdp> {
        let program = self
            .object
            .program(self.name)
            .with_context(|| format!("no program `{}`", self.name))?;
        Ok(program.try_into()?)
    }

    pub(crate) fn attach(
        &mut self,
        namespace: &Namespace,
        device: &str,
        mode: XdpMode,
    ) -> Result<()> {
        let program = program(&mut self.object, self.name)?;
        namespace.run(|| {
            program
                .attach(device, mode)
                .with_context(|| format!("cannot attach `{}` to {device}", self.name))?;
            Ok(())
        })
    }

    /// Frames that the program saw; 0 for `Empty`, which does not count.
    pub fn frames(&self) -> Result<u64> {
        self.counter(record::SEEN)
    }

    /// One of the counters of `record`, summed over the CPUs.
    pub(crate) fn counter(&self, counter: u32) -> Result<u64> {
        let map = self.object.map("FRAMES").context("the object has no map FRAMES")?;
        let counters: PerCpuArray<&MapData, u64> = map.try_into()?;
        Ok(counters.get(&counter, 0).context("cannot read a counter")?.iter().sum())
    }

    pub(crate) fn set_flood(&mut self, flood: record::FloodRecord) -> Result<()> {
        let map = self.object.map_mut("FLOOD").context("the object has no map FLOOD")?;
        let mut records: Array<&mut MapData, record::FloodRecord> = map.try_into()?;
        records.set(0, flood, 0).context("cannot write the flood's record")
    }
}

impl Loaded {
    /// Writes the frames of a volley.
    pub(crate) fn set_volley(&mut self, frames: &[[u64; record::VOLLEY_WORDS]]) -> Result<()> {
        let map = self.object.map_mut("VOLLEY").context("the object has no map VOLLEY")?;
        let mut records: Array<&mut MapData, [u64; record::VOLLEY_WORDS]> = map.try_into()?;
        let mut numbered = (0..).zip(frames);
        numbered
            .try_for_each(|(at, frame)| records.set(at, *frame, 0))
            .context("cannot write a volley")
    }
}

fn program<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = object.program_mut(name).with_context(|| format!("no program `{name}`"))?;
    Ok(program.try_into()?)
}

/// A trivial program on a device, detached when dropped.
pub struct Attached {
    loaded: Loaded,
}

impl Attached {
    /// Frames that the program saw since it was attached.
    pub fn frames(&self) -> Result<u64> {
        self.loaded.frames()
    }
}
