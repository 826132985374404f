//! The programs are in bin.
#![no_std]
