//! What a packet of a connection costs in each way, and a connection that is made and ended.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use anyhow::{Context as _, Result};
use lab::Lab;
use lab::topology::FRONT_V4;
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use super::ways::Way;

const PORT: u16 = 80;
const BYTES: usize = 64;
/// Of all exchanges, those that nothing else on the machine disturbed.
const FASTEST: usize = 20;

/// For each way microseconds of an exchange, and of a connection.
pub fn measure(rounds: u64, exchanges: u64, connections: u64) -> Result<Vec<[f64; 2]>> {
    let lab = Lab::new()?;
    let mut seen = [const { [const { Vec::new() }; 2] }; Way::ALL.len()];
    for round in 0..rounds as usize {
        for turn in 0..Way::ALL.len() {
            let index = (turn + round) % Way::ALL.len();
            let _way = Way::ALL[index].set_up(&lab)?;
            seen[index][0].push(exchange(&lab, exchanges as usize)?);
            seen[index][1].push(connection(&lab, connections)?);
        }
    }
    let median = |mut all: Vec<f64>| {
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    // What else runs on the machine only adds to its time.
    let least = |all: Vec<f64>| all.into_iter().fold(f64::INFINITY, f64::min);
    let each =
        seen.into_iter().map(|[exchanges, connections]| [median(exchanges), least(connections)]);
    Ok(each.collect())
}

fn listener(lab: &Lab) -> Result<TcpListener> {
    lab.front.run(|| Ok(TcpListener::bind(SocketAddr::new(FRONT_V4, PORT))?))
}

/// A request and its answer on one connection, both ends on one CPU.
fn exchange(lab: &Lab, number: usize) -> Result<f64> {
    let listener = listener(lab)?;
    let one_cpu = || {
        let mut cpus = CpuSet::new();
        cpus.set(0);
        sched_setaffinity(None, &cpus).context("cannot choose a CPU")
    };
    std::thread::scope(|scope| {
        let answering = scope.spawn(move || -> Result<()> {
            one_cpu()?;
            let (mut stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            let mut bytes = [0; BYTES];
            while stream.read_exact(&mut bytes).is_ok() {
                stream.write_all(&bytes)?;
            }
            Ok(())
        });
        let asking = scope.spawn(|| -> Result<Vec<f64>> {
            one_cpu()?;
            let mut stream =
                lab.crowd.run(|| Ok(TcpStream::connect(SocketAddr::new(FRONT_V4, PORT))?))?;
            stream.set_nodelay(true)?;
            let mut bytes = [0; BYTES];
            let mut times = Vec::with_capacity(number);
            for _ in 0..number {
                let begun = Instant::now();
                stream.write_all(&bytes)?;
                stream.read_exact(&mut bytes)?;
                times.push(begun.elapsed().as_secs_f64() * 1e6);
            }
            Ok(times)
        });
        let mut times = asking.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
        answering.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;
        times.sort_by(f64::total_cmp);
        times.truncate((times.len() / FASTEST).max(1));
        Ok(times[times.len() / 2])
    })
}

/// Connections one after the other, each ended by its client, both ends in one thread.
fn connection(lab: &Lab, number: u64) -> Result<f64> {
    let listener = listener(lab)?;
    let target = SocketAddr::new(FRONT_V4, PORT);
    lab.crowd.run(|| {
        let before = spent();
        for _ in 0..number {
            let near = TcpStream::connect(target)?;
            let (far, _) = listener.accept()?;
            drop(near);
            drop(far);
        }
        Ok((spent() - before) / number as f64)
    })
}

/// CPU time of this thread in microseconds. Over veth it receives what it sends.
fn spent() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}
