//! The kernel side: thin glue from maps, helpers and packet pointers to the algorithms of `limiter-common`.
//!
//! A library, so that a measurement copy can run the same way over another source table; the shipped program is `main.rs`.
//! The way of a packet is `way`, and each of its steps is a file.
#![no_std]
#![expect(
    internal_features,
    reason = "the BPF target has no atomic types; the intrinsics are the only way"
)]
#![feature(core_intrinsics)]

pub mod answer;
pub mod checksum;
pub mod clock;
pub mod cookie;
pub mod exit;
pub mod frame;
pub mod held;
pub mod limits;
pub mod line;
pub mod listener;
pub mod lists;
pub mod maps;
pub mod observe;
pub mod open;
pub mod proof;
pub mod room;
pub mod service;
mod shadow;
pub mod source;
pub mod subprograms;
#[cfg(feature = "trace")]
pub mod trace;
pub mod way;
pub mod what;
