//! A dispatcher of version 2.
#![no_std]
#![no_main]

#[macro_use]
mod program;

dispatcher!("xdp", 31);
