//! What this kernel can do for limiter. Loading the program tells most; it is attached to nothing and gone when the probe is dropped.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use aya::programs::xdp::XdpMode;
use aya::programs::{ProgramType, Xdp};
use aya::sys::{BpfHelper, is_helper_supported};
use aya::{Ebpf, EbpfLoader};
use limiter_common::names;

use super::interface::Interface;
use super::link;
use super::object::{self, OBJECT};

/// Helpers that the program calls and that came late or can be missing, and the kernel that brought them to XDP.
const HELPERS: [(&str, BpfHelper, &str); 6] = [
    ("bpf_skc_lookup_tcp", BpfHelper::BPF_FUNC_skc_lookup_tcp, "5.2"),
    ("bpf_tcp_check_syncookie", BpfHelper::BPF_FUNC_tcp_check_syncookie, "5.2"),
    ("bpf_tcp_gen_syncookie", BpfHelper::BPF_FUNC_tcp_gen_syncookie, "5.4"),
    ("bpf_ktime_get_coarse_ns", BpfHelper::BPF_FUNC_ktime_get_coarse_ns, "5.11"),
    ("bpf_xdp_get_buff_len", BpfHelper::BPF_FUNC_xdp_get_buff_len, "5.18"),
    ("bpf_xdp_store_bytes", BpfHelper::BPF_FUNC_xdp_store_bytes, "5.18"),
];

/// A helper that this kernel does not give to XDP programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its name.
    pub helper: &'static str,
    /// The kernel that brought it.
    pub since: &'static str,
}

/// The helpers that are missing.
///
/// # Errors
/// When the kernel does not let us ask: that needs CAP_BPF.
pub fn missing_helpers() -> Result<Vec<Missing>> {
    let mut missing = Vec::new();
    for (helper, number, since) in HELPERS {
        if !is_helper_supported(ProgramType::Xdp, number)
            .with_context(|| format!("cannot ask for {helper}"))?
        {
            missing.push(Missing { helper, since });
        }
    }
    Ok(missing)
}

/// The program of this command, loaded on trial.
pub struct Trial {
    ebpf: Ebpf,
    /// How long the kernel took to check it.
    pub took: Duration,
}

impl Trial {
    /// Loads it, over tables of the smallest size.
    ///
    /// # Errors
    /// When the kernel refuses: why, and what to do.
    pub fn load() -> Result<Self> {
        let mut ebpf = object::sized(&mut EbpfLoader::new(), 1)
            .load(OBJECT)
            .map_err(|error| object::explain(error.into()))?;
        let start = Instant::now();
        program(&mut ebpf)?.load().map_err(|error| object::explain(error.into()))?;
        Ok(Self { took: start.elapsed(), ebpf })
    }

    /// The kernel's fingerprint of the program's instructions.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn tag(&mut self) -> Result<u64> {
        Ok(program(&mut self.ebpf)?.info()?.tag())
    }

    /// Whether the kernel made machine code of it.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn is_compiled(&mut self) -> Result<bool> {
        Ok(program(&mut self.ebpf)?.info()?.size_jitted() > 0)
    }

    /// Attaches it to an interface for a moment. It has no policy, so it passes everything.
    ///
    /// # Errors
    /// When the driver refuses: the likely reason, and what to do.
    pub fn attach(&mut self, index: u32, name: &str) -> Result<()> {
        let interface = Interface { index, name: name.to_owned(), ..Interface::default() };
        // Dropped at once, and so detached.
        link::create(program(&mut self.ebpf)?, &interface, XdpMode::Driver).map(drop)
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    Ok(ebpf.program_mut(names::PROGRAM).context("the object holds no program")?.try_into()?)
}
