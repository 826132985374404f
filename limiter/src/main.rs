//! The command. Its exit code is all that this file decides: 0 done, 1 failed, 2 wrong usage (clap's own).

use std::process::ExitCode;

use clap::Parser as _;
use limiter::cli::Command;

fn main() -> ExitCode {
    match Command::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<limiter::cli::Said>() => ExitCode::FAILURE,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let advice = if is_denied(&error) { "; run it as root" } else { "" };
            eprintln!("limiter: {error:#}{advice}");
            ExitCode::from(if error.is::<limiter::cli::Usage>() { 2 } else { 1 })
        }
    }
}

/// Something was not allowed, and nobody said yet what to do.
fn is_denied(error: &anyhow::Error) -> bool {
    let io = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    let denied = io.into_iter().any(|io| io.kind() == std::io::ErrorKind::PermissionDenied);
    denied && !format!("{error:#}").contains("root")
}

/// `limiter status | head` is no failure.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    kinds.into_iter().any(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}
