//! `limiter room`: the waiting room, in the foreground.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tracing::info;

use super::{Context, Usage};
use crate::kernel::Pins;
use crate::report::Format;
use crate::room::{self, Adoption, Door, Languages, Options, Pages};
use crate::run::log::{self, Form};
use crate::run::notify::Manager;

/// Threads that serve, at most: the server that clients wait for needs the CPUs.
const THREADS: usize = 8;

/// Arguments of `room`.
#[derive(Args, Debug)]
pub struct Room {
    /// Answer for the service at this port with HTTP.
    #[arg(long, value_name = "PORT", num_args = 1.., required_unless_present_any = ["https", "adopt"])]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    http: Vec<u16>,
    /// Answer for the service at this port with HTTPS.
    #[arg(long, value_name = "PORT", num_args = 1.., requires = "cert", requires = "key")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    https: Vec<u16>,
    /// Serve no clients: keep the listening socket of another server, such as nginx, as the waiting
    /// room of the service at SERVICE_PORT.
    ///
    /// That server shows the page. ADDRESS:PORT is where it listens, as `ss -ltn` shows it. Once a
    /// second the command checks that the kernel still has the socket, and adopts the new one after
    /// the server restarts. It stays root for that, because it looks for the new socket among the
    /// open files of all processes (CAP_SYS_PTRACE); nothing that a client sends reaches the
    /// command. When the command ends, the room stays open until that server closes its socket.
    ///
    /// An IPv6 socket serves both families, unless it is for IPv6 alone, as one bound to [::1]
    /// always is. If a server's workers use reuseport, the socket of any one of them stands for
    /// all.
    #[arg(long, value_name = "ADDRESS:PORT=SERVICE_PORT", num_args = 1..)]
    #[arg(conflicts_with_all = ["http", "https", "text", "languages", "user", "connections"])]
    adopt: Vec<Adoption>,
    /// The certificate chain for HTTPS, in PEM, the service's own certificate first.
    #[arg(long, value_name = "FILE", requires = "https")]
    cert: Option<PathBuf>,
    /// The key of that certificate, in PEM, without a passphrase.
    #[arg(long, value_name = "FILE", requires = "https")]
    key: Option<PathBuf>,
    /// Show the plain text of this file above everything else, 1000 bytes at most.
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// A TOML file with a table such as `[de]` for each language: it adds languages, or replaces
    /// sentences of the built-in English and French.
    #[arg(long, value_name = "FILE")]
    languages: Option<PathBuf>,
    /// The user to run as once the ports are registered. If there is no user of that name, it is
    /// `nobody`.
    #[arg(long, value_name = "NAME", default_value = room::USER)]
    user: String,
    /// Connections that the room keeps open at once; for one more it closes the oldest.
    #[arg(long, value_name = "N", default_value_t = room::CONNECTIONS)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
}

impl Room {
    /// Serves until SIGTERM or SIGINT.
    pub fn run(self, context: &Context) -> Result<()> {
        log::start(if context.format == Format::Json { Form::Json } else { Form::Text });
        self.check()?;
        if !self.adopt.is_empty() {
            return keep(&context.pins, &self.adopt);
        }
        let languages =
            self.languages.as_deref().map_or_else(|| Ok(Languages::default()), Languages::read)?;
        let pages = Pages::with_text_of(languages, self.text.as_deref())?;
        let tls = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some(room::tls_config(cert, key)?),
            _ => None,
        };
        let options = Options {
            connections: room::allow_open_files(self.connections.try_into()?),
            ..Options::default()
        };
        let ports = self.http.iter().chain(&self.https).copied();
        let listeners = ports
            .map(|port| Ok((port, room::listener()?)))
            .collect::<Result<Vec<(u16, TcpListener)>>>()?;
        let places = room::register(
            &context.pins,
            &listeners.iter().map(|(port, listener)| (*port, listener)).collect::<Vec<_>>(),
        )?;
        // Before there are threads.
        room::give_up(&self.user)?;
        let doors = listeners.into_iter().map(|(port, listener)| Door {
            listener,
            tls: tls.as_ref().filter(|_| self.https.contains(&port)).map(Arc::clone),
        });
        let doors = doors.collect();
        let room = room::Room::new(pages, places, options);
        let threads =
            std::thread::available_parallelism().map_or(1, |cpus| cpus.get().min(THREADS));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build()
            .context("cannot start threads that serve")?;
        info!(http = ?self.http, https = ?self.https, "the waiting room is open");
        runtime.block_on(serve(&room, doors))
    }

    /// What clap cannot see.
    fn check(&self) -> Result<()> {
        let mut ports = BTreeSet::new();
        let twice = self.http.iter().chain(&self.https).find(|port| !ports.insert(**port));
        if let Some(twice) = twice {
            return Err(Usage(format!(
                "port {twice} is given twice: give each port once, with --http or with --https"
            ))
            .into());
        }
        let mut sockets = BTreeSet::new();
        match self.adopt.iter().find(|one| !sockets.insert((one.port, one.is_v6()))) {
            Some(Adoption { port, .. }) => Err(Usage(format!(
                "port {port} has two sockets of one family: name one of each family, also for \
                 workers with reuseport"
            ))
            .into()),
            None => Ok(()),
        }
    }
}

/// Keeps sockets of other servers in the kernel until SIGTERM or SIGINT.
fn keep(pins: &Pins, adoptions: &[Adoption]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot wait for signals")?;
    runtime.block_on(async {
        let mut manager = Manager::of_environment();
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        let mut adopted = room::Adopted::new(pins, adoptions)?;
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        manager.ready();
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    adopted.keep();
                    manager.status(adopted.to_string());
                    manager.alive();
                }
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        manager.stopping();
        info!("sockets stay in the waiting room until their servers close them");
        Ok(())
    })
}

async fn serve(room: &room::Room, doors: Vec<Door>) -> Result<()> {
    let mut manager = Manager::of_environment();
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let serving = room.serve(doors);
    tokio::pin!(serving);
    manager.ready();
    let ended = loop {
        tokio::select! {
            ended = &mut serving => break ended,
            _ = ticks.tick() => {
                manager.status(room.stats().to_string());
                manager.alive();
            }
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
        }
    };
    manager.stopping();
    info!(stats = %room.stats(), "the waiting room is closed");
    ended
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Action, Command};
    use super::*;

    fn parsed(line: &str) -> std::result::Result<Room, String> {
        let command = Command::try_parse_from(format!("limiter room {line}").split_whitespace());
        match command.map_err(|error| error.to_string())?.action {
            Action::Room(room) => Ok(room),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn ports_and_files() {
        let room = parsed("--http 80 8080 --http 81 --https 443 --cert a --key b").expect("a room");
        assert_eq!(
            (room.http.as_slice(), room.https.as_slice()),
            (&[80, 8080, 81][..], &[443][..])
        );
        assert_eq!((room.user.as_str(), room.connections), (room::USER, room::CONNECTIONS));
        room.check().expect("each port once");
        parsed("--https 443 --cert a --key b").expect("a room of HTTPS alone");
    }

    #[test]
    fn sockets_of_another_server() {
        let room = parsed("--adopt 127.0.0.1:8080=80 [::1]:8080=80 --adopt [::]:8443=443");
        let room = room.expect("a room");
        assert_eq!(room.adopt.iter().map(|one| one.port).collect::<Vec<_>>(), [80, 80, 443]);
        room.check().expect("each port once of each family");
        let twice = "--adopt 127.0.0.1:8080=80 127.0.0.1:8081=80";
        let error = parsed(twice).expect("words").check().expect_err(twice);
        assert!(error.is::<Usage>() && error.to_string().contains("port 80 "), "{error}");
    }

    #[test]
    fn wrong_usage() {
        for (line, word) in [
            ("", "--http"),
            ("--http", "--http"),
            ("--http 0", "'0'"),
            ("--http 65536", "'65536'"),
            ("--https 443", "--cert"),
            ("--https 443 --cert a", "--key"),
            ("--https 443 --key a", "--cert"),
            ("--http 80 --cert a --key b", "--https"),
            ("--http 80 --connections 0", "'0'"),
            ("--adopt 8080=80", "[::1]:8080=80"),
            ("--adopt 0.0.0.0:80=80", "the same port"),
            ("--adopt 127.0.0.1:8080=80 --http 443", "--http"),
            ("--adopt 127.0.0.1:8080=80 --user nobody", "--user"),
        ] {
            let said = parsed(line).expect_err(line);
            assert!(said.contains(word), "{line}: {said}");
        }
        for line in ["--http 80 80", "--http 80 --https 80 --cert a --key b"] {
            let error = parsed(line).expect("words").check().expect_err(line);
            assert!(error.is::<Usage>() && error.to_string().contains("port 80 "), "{error}");
        }
    }
}
