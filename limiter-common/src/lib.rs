//! The contract between the kernel side and the user side of limiter, and all of its arithmetic.
//!
//! What is here runs in the kernel as BPF and on the host under test, from the same source: decision code takes
//! the frame, the clock and the state as arguments. Nothing here knows aya, a map or a system call.
#![no_std]

pub mod address;
pub mod admission;
pub mod auto;
pub mod bases;
pub mod budget;
pub mod challenge;
pub mod checksum;
pub mod class_tree;
pub mod distinct;
pub mod flow;
pub mod hash;
pub mod heavy;
pub mod line;
pub mod names;
pub mod open;
pub mod packet;
pub mod purse;
pub mod rate;
pub mod reason;
pub mod record;
pub mod reply;
pub mod room;
pub mod shadow;
pub mod share;
pub mod sighting;
pub mod source_table;
pub mod switch;
pub mod tried;
pub mod turn;
pub mod word;
