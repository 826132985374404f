//! The host's side of the kernel: pins, maps, programs, interfaces. On the host only this module knows aya.

pub mod capability;
pub mod classes;
pub mod clock;
pub mod cookies;
pub mod device;
pub mod ethtool;
pub mod interface;
pub mod link;
pub mod listener;
pub mod lists;
pub mod lock;
pub mod mapped;
pub mod maps;
pub mod netdev;
mod netlink;
pub mod news;
pub mod object;
pub mod pinned;
pub mod pins;
pub mod probe;
pub mod slots;
pub mod trace;
pub mod upgrade;

pub use maps::Maps;
pub use pins::Pins;
