//! `cargo xtask bench`: the bench, or one of the larger ones, or all of them for docs/performance.md.

use std::process::ExitCode;

use anyhow::Result;

use crate::{lab, performance};

/// Runs the bench, or one of the larger ones that have a program of their own, or all of them for docs/performance.md.
pub fn run(mut arguments: Vec<String>) -> Result<ExitCode> {
    if let Some(place) = arguments.iter().position(|argument| argument == "--readme") {
        arguments.remove(place);
        return performance::run(&arguments);
    }
    let programs = ["peers", "accuracy", "room", "open", "crowd"];
    for (flag, program) in programs.map(|program| (format!("--{program}"), program)) {
        if let Some(place) = arguments.iter().position(|argument| *argument == flag) {
            arguments.remove(place);
            lab::require_root(program)?;
            return lab::run(program, &arguments);
        }
    }
    // It touches no kernel.
    if let Some(place) = arguments.iter().position(|argument| argument == "--verdict") {
        arguments.remove(place);
        return lab::run("verdict", &arguments);
    }
    lab::run("packets", &arguments)
}
