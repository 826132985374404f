//! `cargo xtask demo`: limiter at work, on this machine alone.
//!
//! Everything happens in network namespaces of this machine. limiter is driven by its own command, as
//! an operator would.

mod flood;

use anyhow::Result;

pub use flood::Arguments;

/// Shows it.
pub fn run(arguments: &Arguments) -> Result<()> {
    flood::run(arguments)
}
