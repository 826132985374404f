//! limiter: the library behind the command.
//!
//! The way of a setting: `cli` (what was typed) -> `policy` (what it means) -> `policy::encode` (records) -> `kernel` (maps).

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod apply;
pub mod assess;
pub mod auto;
pub mod cli;
pub mod combinations;
pub mod doctor;
pub mod fleet;
pub mod hindrance;
pub mod history;
pub mod incident;
pub mod kernel;
pub mod markup;
pub mod observe;
pub mod operator;
pub mod output;
pub use limiter_policy as policy;
pub mod report;
pub mod room;
pub mod run;
pub mod svg;
pub mod tcp;
pub mod tree;
pub mod watch;
