//! What a service with a challenge costs: answers, proofs, and packets that are neither. In a namespace whose kernel makes cookies, with
//! a listening socket and a connection, because both are looked up.

use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context as _, Result};
use aya::maps::Array;
use lab::frame::flags::ACK;
use lab::{Frame, Namespace};
use limiter::kernel::slots::Origin;
use limiter::policy::Policy;
use limiter::policy::prefix::Prefix;
use limiter_common::challenge::Challenge;
use limiter_common::names;
use limiter_common::reason::Reason;
use limiter_common::record::List;
use serde::Serialize;

use super::Arguments;
use super::measure::{Bench, policy, program};

const SERVER: &str = "127.0.0.1:80";
/// Bytes of the frame that `table_anew` writes: Ethernet, IPv4, TCP with one option.
const ANEW: usize = 14 + 20 + 24;
/// The MSS option, 1460.
const MSS: [u8; 4] = [2, 4, 0x05, 0xb4];

/// One kind of packet.
#[derive(Serialize)]
pub struct Row {
    /// What it is.
    pub name: &'static str,
    /// Nanoseconds above an empty program that writes the same frame.
    pub ns: f64,
    /// How far the rounds are apart.
    pub ns_spread: f64,
}

/// Measures all kinds.
pub fn rows(arguments: &Arguments) -> Result<Vec<Row>> {
    let namespace = Namespace::new()?;
    namespace.ip(&["link", "set", "lo", "up"])?;
    namespace.sysctl("ipv4/tcp_syncookies", "2")?;
    namespace.run(|| {
        let _listener = TcpListener::bind(SERVER)?;
        let connection = TcpStream::connect(SERVER)?;
        let mut bench = Bench::new(arguments)?;
        let switch = bench.maps.stage_policy(&challenged()?, &Origin::default())?;
        bench.maps.set_switch(switch)?;
        bench.maps.settle_cookies()?;
        bench.challenge_rows(connection.local_addr()?)
    })
}

fn challenged() -> Result<Policy> {
    let mut policy = policy((20, 40), (0, 0))?;
    for service in &mut policy.services {
        service.admission.challenge = Challenge::Always;
    }
    Ok(policy)
}

impl Bench {
    fn challenge_rows(&mut self, connected: SocketAddr) -> Result<Vec<Row>> {
        let server = SERVER.parse()?;
        let stranger = "11.0.0.1:40000".parse()?;
        let syn = Frame::syn(stranger, server).tcp_options(&MSS).build();
        let established = Frame::syn(connected, server).tcp_options(&[]).flags(ACK).build();
        let wrong = Frame::syn(stranger, server).tcp_options(&[]).flags(ACK).build();
        let frame: [u8; ANEW] =
            syn.as_slice().try_into().context("the bench's SYN has another length")?;
        let map = self.compare.map_mut("ANEW").context("the object holds no map ANEW")?;
        Array::<_, [u8; ANEW]>::try_from(map)?.set(0, frame, 0)?;
        let shipped = program(&self.shipped, names::PROGRAM)?;
        let empty = program(&self.compare, "empty")?;
        let mut rows = Vec::new();
        let mut row = |name, mine, base, frame: &[u8], reason| -> Result<()> {
            eprintln!("measuring {name} ...");
            let [ns] = self.above([mine], base, frame, reason).context(name)?;
            rows.push(Row { name, ns: ns.median, ns_spread: ns.spread });
            Ok(())
        };
        row("established_in_calm", shipped, empty, &established, Reason::NotAttempt)?;
        let (flows, empty_flows) =
            (program(&self.compare, "table_flows")?, program(&self.compare, "empty_flows")?);
        row("established_in_calm_10000_flows", flows, empty_flows, &wrong, Reason::NotAttempt)?;
        let (anew, empty_anew) =
            (program(&self.compare, "table_anew")?, program(&self.compare, "empty_anew")?);
        row("challenged_random_sources", anew, empty_anew, &syn, Reason::Challenged)?;
        row("established_cookies_out", shipped, empty, &established, Reason::NotAttempt)?;
        row("established_cookies_out_10000_flows", flows, empty_flows, &wrong, Reason::NotAttempt)?;
        row("no_cookie", shipped, empty, &wrong, Reason::NotAttempt)?;
        let (random, empty_random) =
            (program(&self.compare, "table_random")?, program(&self.compare, "empty_random")?);
        row("no_cookie_random_sources", random, empty_random, &wrong, Reason::NotAttempt)?;
        let banned: Prefix = "192.0.2.9".parse().map_err(anyhow::Error::msg)?;
        self.maps.add(List::Ban, &[banned], None)?;
        let (shipped, empty) =
            (program(&self.shipped, names::PROGRAM)?, program(&self.compare, "empty")?);
        let name = "established_with_a_ban";
        eprintln!("measuring {name} ...");
        let [ns] = self.above([shipped], empty, &established, Reason::NotAttempt).context(name)?;
        rows.push(Row { name, ns: ns.median, ns_spread: ns.spread });
        Ok(rows)
    }
}
