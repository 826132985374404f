//! The lab: everything the privileged tests, the benches and the demo need around limiter.
//!
//! Namespaces and veth pairs (`topology`), frames one at a time (`frame`), floods at line rate (`flood`), web
//! pages as a crowd would fetch them (`http`), and what else could limit them (`peer`). It knows nothing of limiter itself but its command.
//! All of it needs root.
//!
//! A run that was killed leaves namespaces behind; the next one takes them away with [`netns::sweep`],
//! [`bpffs::sweep`] and [`directory::sweep`], which [`Lab::new`] calls.

pub mod bpffs;
pub mod calls;
pub mod cleanup;
pub mod desk;
pub mod directory;
pub mod flood;
pub mod frame;
pub mod hand;
pub mod http;
pub mod leftovers;
pub mod netns;
pub mod nginx;
mod nic;
pub mod peer;
pub mod programs;
pub mod raw;
pub mod socket;
pub mod topology;
pub mod wait;

pub use bpffs::{Disk, PrivateBpffs};
pub use desk::Desk;
pub use directory::Directory;
pub use flood::{Flood, FloodHandle, FloodReport, Sources};
pub use frame::Frame;
pub use hand::{Hand, Heard, volley};
pub use http::{
    Crowd, CrowdHandle, PageReport, People, PeopleHandle, Person, Server, ServerOptions, Tally,
    Workers,
};
pub use netns::Namespace;
pub use nginx::Nginx;
pub use programs::{Attached, Loaded, Trivial};
pub use topology::{Lab, LabOptions};
