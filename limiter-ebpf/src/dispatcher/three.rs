//! A dispatcher of version 3.
#![no_std]
#![no_main]

#[macro_use]
mod program;

dispatcher!("xdp", 32);
