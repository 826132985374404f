//! The command. Its exit code is all that this file decides: 0 done, 1 failed, 2 wrong usage (clap's own).

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

use std::process::ExitCode;

use clap::Parser as _;
use limiter::cli::{Command, Said, Usage, failure};
use limiter::output;

fn main() -> ExitCode {
    let command = match Command::try_parse() {
        Ok(command) => command,
        Err(help) => return print_help(&failure::usage(help)),
    };
    match command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Said>() => ExitCode::FAILURE,
        Err(error) => {
            output::note(format_args!("{}", failure::said(&error)));
            ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
        }
    }
}

/// Help that was asked for, or what is wrong with the words.
fn print_help(help: &clap::Error) -> ExitCode {
    let code = ExitCode::from(u8::try_from(help.exit_code()).unwrap_or(2));
    match help.print() {
        Err(error) if !help.use_stderr() && error.kind() != std::io::ErrorKind::BrokenPipe => {
            output::note(format_args!("limiter: cannot write to standard output: {error}"));
            ExitCode::FAILURE
        }
        _ => {
            if let Some(tip) = failure::tip(help) {
                output::note(format_args!("\n  tip: {tip}"));
            }
            code
        }
    }
}
