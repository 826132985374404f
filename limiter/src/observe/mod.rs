//! What the kernel side saw: how many sources there are, which come most, and how near they come to their limits.

mod distinct;
mod heavy;

pub use distinct::Distinct;
pub use heavy::{Heavy, Kind};
