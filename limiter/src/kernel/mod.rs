//! The host's side of the kernel: pins, maps, programs, interfaces. On the host only this module knows aya.

pub mod classes;
pub mod clock;
pub mod cookies;
pub mod interface;
pub mod link;
pub mod lists;
pub mod lock;
pub mod mapped;
pub mod maps;
pub mod object;
pub mod pins;
pub mod slots;
pub mod trace;

pub use maps::Maps;
pub use pins::Pins;
