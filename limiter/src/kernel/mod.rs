//! The host's side of the kernel: pins, maps, programs, interfaces. On the host only this module knows aya.

pub mod batch;
pub mod capability;
pub mod classes;
pub mod clock;
pub mod cookies;
pub mod dispatcher;
pub mod ethtool;
pub mod interface;
pub mod inventory;
pub mod link;
pub mod link_events;
pub mod listener;
pub mod lists;
pub mod lock;
pub mod maps;
mod netlink;
pub mod object;
pub mod open;
pub mod own;
pub mod pins;
pub mod probe;
mod refusal;
pub mod room;
pub mod route;
pub mod share;
pub mod slots;
pub mod trace;
pub mod tracked;
pub mod upgrade;
pub mod words;

pub use maps::Maps;
pub use pins::Pins;
