//! `limiter run`: the daemon, in the foreground.

use std::net::SocketAddr;

use anyhow::Result;
use clap::Args;

use super::Context;
use super::apply::File;
use crate::policy::Name;
use crate::report::Format;
use crate::run::log::{self, Form};
use crate::run::{self, Options};

/// Arguments of `run`.
#[derive(Args, Debug)]
pub struct Run {
    #[command(flatten)]
    file: File,
    /// The profile of the file to load. If limiter is already loaded, the profile in force stays.
    #[arg(long, value_name = "NAME")]
    profile: Option<Name>,
    /// The format of the log on standard error: `text` or `json`. With --json it is JSON.
    #[arg(long, value_name = "FORM", value_enum, default_value_t, hide_possible_values = true)]
    log: Form,
    /// Serve metrics for Prometheus at this address, under /metrics. Choose an address that only
    /// Prometheus reaches, such as 127.0.0.1:PORT.
    #[arg(long, value_name = "ADDR:PORT", env = "LIMITER_LISTEN")]
    listen: Option<SocketAddr>,
    /// Unload limiter when SIGTERM or SIGINT ends the daemon: from then on nothing is limited, and
    /// all state is lost.
    #[arg(long)]
    detach_on_exit: bool,
}

impl Run {
    /// Runs until SIGTERM or SIGINT.
    pub fn run(self, context: &Context) -> Result<()> {
        log::start(if context.format == Format::Json { Form::Json } else { self.log });
        let options = Options {
            file: self.file.file,
            profile: self.profile,
            listen: self.listen,
            detach_on_exit: self.detach_on_exit,
            command: context.typed.clone(),
        };
        run::run(&context.pins, context.history.clone(), options)
    }
}
