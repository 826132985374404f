//! A dispatcher of version 3, for frames of several buffers.
#![no_std]
#![no_main]

#[macro_use]
mod program;

dispatcher!("xdp.frags", 32);
