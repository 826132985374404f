//! What measures limiter and shows it: one program, a subcommand for each way to look. `cargo xtask bench`, `soak` and `demo` run it.
//!
//! Each prints a table, or with `--json` the same as JSON. It must be run as root, on a machine that does nothing else.

mod accuracy;
mod bars;
mod busy;
mod crowd;
mod demo;
mod open;
mod output;
mod packets;
mod peers;
mod room;
mod soak;
mod verdict;

use anyhow::Result;
use busy::busy;
use clap::Parser;
use lab::cleanup;

/// Measure limiter, and show what it does.
#[derive(Parser)]
#[command(name = "bench", max_term_width = 100)]
enum Command {
    /// Measure what limiter costs per packet.
    Packets(packets::Arguments),
    /// Compare limiter with nftables, iptables, xdp-filter and the kernel alone, under floods, on this machine.
    Peers(peers::Arguments),
    /// Measure how exactly limiter, nftables and iptables limit.
    Accuracy(accuracy::Arguments),
    /// Compare what a client costs that is shown the waiting room with one that nginx answers with
    /// 503.
    Room(room::Arguments),
    /// Stage a crowd, with and without a flood and cookies, and what arming does for its people.
    Crowd(crowd::Arguments),
    /// Serve users beside slow readers, with limiter, nftables and iptables, and measure what each
    /// costs a packet of a connection.
    Open(open::Arguments),
    /// Measure how often the verdict of `watch` and of `report` is right.
    Verdict(verdict::Arguments),
    /// Everything at once, and then what must be so.
    Soak(soak::Arguments),
    /// Flood a web server on this machine, without limiter and with it, while ordinary clients fetch pages.
    Demo(demo::Arguments),
}

fn main() -> Result<()> {
    let command = Command::parse();
    cleanup::install()?;
    match command {
        Command::Packets(arguments) => packets::run(&arguments),
        Command::Peers(arguments) => peers::run(&arguments),
        Command::Accuracy(arguments) => accuracy::run(&arguments),
        Command::Room(arguments) => room::run(&arguments),
        Command::Crowd(arguments) => crowd::run(&arguments),
        Command::Open(arguments) => open::run(&arguments),
        Command::Soak(arguments) => soak::run(&arguments),
        Command::Verdict(arguments) => verdict::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
    }
}
