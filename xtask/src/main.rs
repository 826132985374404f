//! `cargo xtask`: set-up, tests, benches, the demo, packages. One module per command.
//!
//! Depends on nothing that needs the BPF toolchain, because it is what installs that.

mod bench;
mod cargo;
mod dist;
mod kernels;
mod lab;
#[cfg(test)]
mod markdown;
#[cfg(test)]
mod pages;
mod performance;
mod picture;
mod setup;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// What a developer of limiter runs.
#[derive(Parser)]
#[command(name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find the BPF compiler and linker, or install them (on Debian as root) or say what to install.
    Setup,
    /// Run everything: formatting, lints, unprivileged and privileged tests, other kernels, the soak. As root.
    Test(test::Test),
    /// Boot other kernels in QEMU and run the tests of programs, tables, limits and floods there. On Debian as root.
    Kernels {
        /// Write down what the verifiers walked as the new budget, rather than hold it against the old one.
        #[arg(long)]
        write_budget: bool,
    },
    /// Measure what limiter costs per packet; with --peers, beside nftables, iptables, xdp-filter
    /// and the kernel alone, under floods; with --accuracy, how exactly they limit; with --room,
    /// what a client costs that is shown the waiting room; with --open, who is served beside slow
    /// readers, and what each way to bound open connections costs; with --crowd, what arming does
    /// for the people of a crowd; with --readme, the first three, and docs/performance.md made of
    /// them. As root.
    #[command(disable_help_flag = true)]
    Bench {
        /// For the bench itself; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run everything at once for ten minutes, or as long as `--minutes` says, and then check that all is as it must be. As root.
    #[command(disable_help_flag = true)]
    Soak {
        /// For the soak itself; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Flood a web server with and without limiter, on this machine. As root.
    #[command(disable_help_flag = true)]
    Demo {
        /// For the demo itself; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Draw the captured screens of `limiter watch` (docs/watch) as pictures.
    Pictures,
    /// Build a Debian package and a tar archive.
    Dist(dist::Dist),
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().command {
        Command::Setup => {
            setup::ensure(setup::EVERYTHING)?;
            println!("toolchain: {}: nothing to install", setup::describe());
            Ok(ExitCode::SUCCESS)
        }
        Command::Test(test) => test.run(),
        Command::Kernels { write_budget } => kernels::run(write_budget),
        Command::Bench { arguments } => bench::run(arguments),
        Command::Soak { arguments } => lab::run("soak", &arguments),
        Command::Demo { arguments } => lab::run("demo", &arguments),
        Command::Pictures => picture::run().map(|()| ExitCode::SUCCESS),
        Command::Dist(dist) => dist.run().map(|()| ExitCode::SUCCESS),
    }
}
