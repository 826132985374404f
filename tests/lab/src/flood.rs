//! Owns floods of SYNs: what to send, for how long, how fast, and the thread that does it.
//!
//! The frames are made in the kernel by the program `flood` (BPF_PROG_TEST_RUN with live frames), from the attacker's
//! namespace. One flood is one thread; two of them fill two CPUs.

mod template;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    TestRunAttrs, TestRunOptions,
    programs::{TestRun as _, XdpMode},
};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::{
    frame,
    netns::Namespace,
    programs::{Loaded, record::SENT},
    topology::{FAR_DEVICE, Lab},
    wait::coarse,
};

/// Frames between two flushes: a veth's ring has 256 places, and softirqs only empty it between batches.
const BATCH: u32 = 64;
/// Frames in one system call: 6 ms or so, the time a stop may take.
const CALL: u64 = 32_768;
/// Pauses between two frames that count as none.
pub const DENSE: Duration = Duration::from_millis(40);
/// Shortest pause of a paced flood.
const PAUSE: Duration = Duration::from_micros(500);
/// What XDP_TX is to a program's caller.
const XDP_TX: u32 = 3;

/// Where a flood's frames say they come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sources {
    /// One address.
    One(IpAddr),
    /// Addresses in turn.
    Many {
        /// The first.
        base: IpAddr,
        /// How many.
        count: u32,
    },
    /// As `Many`, each in a network of its own that is as large as a source: an IPv4 address, or a /64.
    Networks {
        /// The first.
        base: IpAddr,
        /// How many.
        count: u32,
    },
    /// Any address the stack would accept, but 10/8 (IPv4), or any in 2001:db8::/32 (IPv6).
    Random,
}

/// A flood of SYNs, bounded by frames and by time, whichever comes first.
#[derive(Clone, Debug)]
pub struct Flood {
    /// The address and port that the SYNs ask for.
    pub target: SocketAddr,
    /// Where they say they come from.
    pub sources: Sources,
    /// Most frames to send.
    pub frames: u64,
    /// Longest time to send, in seconds.
    pub seconds: f64,
    /// Frames per second, or as fast as it goes.
    pub rate: Option<u64>,
    /// The CPU to send from, or any.
    pub cpu: Option<usize>,
    /// The id of a VLAN tag to put on the frames.
    pub vlan: Option<u16>,
    /// Source ports (from 1024) and sequence numbers count up instead of being random.
    pub counting: bool,
    /// This source port and sequence number instead.
    pub fixed: Option<(u16, u32)>,
    /// TCP's flags.
    pub flags: u8,
    /// TCP's acknowledgment number.
    pub acknowledgment: u32,
    /// TCP's options instead of an MSS; they are padded with zeros.
    pub options: Option<Vec<u8>>,
    /// Each is the first of several IPv4 fragments, of which no other comes.
    pub fragments: bool,
    /// The frames leave by bpf_redirect instead of XDP_TX.
    pub redirect: bool,
}

/// What a flood did.
#[derive(Clone, Copy, Debug)]
pub struct FloodReport {
    /// Frames sent.
    pub sent: u64,
    /// When it began.
    pub began: Instant,
    /// From the first frame to the last, at most.
    pub elapsed: Duration,
    /// The same, at least, by the kernel's coarse clock: between the ends of the first call and the beginning of the last.
    pub within: Duration,
    /// Of this, what was more than [`DENSE`] between two frames, at most: the thread had no CPU.
    pub idle: Duration,
    /// CPU time of the sending thread, which includes softirqs that received the frames on its time.
    pub cpu: Duration,
}

impl FloodReport {
    /// Frames per second.
    pub fn rate(&self) -> f64 {
        self.sent as f64 / self.elapsed.as_secs_f64()
    }
}

/// A flood that runs; dropping it stops it.
pub struct FloodHandle {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<FloodReport>>>,
}

impl FloodHandle {
    /// Stops the flood and returns what it did.
    pub fn stop(self) -> Result<FloodReport> {
        self.stop.store(true, Ordering::Relaxed);
        self.wait()
    }

    /// Waits for the flood to reach a bound and returns what it did.
    pub fn wait(mut self) -> Result<FloodReport> {
        let thread = self.thread.take().context("the flood was waited for twice")?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for FloodHandle {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Whoever dropped it does not want the report, nor a second panic.
            let _ = thread.join();
        }
    }
}

impl Flood {
    /// A flood at full speed of at most a million frames and ten seconds.
    pub fn new(target: SocketAddr, sources: Sources) -> Self {
        Self {
            target,
            sources,
            frames: 1_000_000,
            seconds: 10.0,
            rate: None,
            cpu: None,
            vlan: None,
            counting: false,
            fixed: None,
            flags: frame::flags::SYN,
            acknowledgment: 0,
            options: None,
            fragments: false,
            redirect: false,
        }
    }

    /// Sends from the lab's attacker until a bound is reached.
    pub fn run(&self, lab: &Lab) -> Result<FloodReport> {
        self.spawn(lab)?.wait()
    }

    /// Starts sending from the lab's attacker.
    pub fn spawn(&self, lab: &Lab) -> Result<FloodHandle> {
        self.spawn_in(&lab.attacker)
    }

    /// The first frames that this flood might send, made without sending them.
    pub fn sample(&self, count: usize) -> Result<Vec<Vec<u8>>> {
        let (loaded, frame) = self.prepare(0)?;
        let program = loaded.xdp()?;
        let make = |_| {
            let mut out = vec![0; frame.len()];
            let result = program.test_run(TestRunOptions {
                data_in: Some(&frame),
                data_out: Some(&mut out),
                ..TestRunOptions::new()
            })?;
            ensure!(
                result.return_value == XDP_TX,
                "the generator returned {}",
                result.return_value
            );
            Ok(out)
        };
        (0..count).map(make).collect()
    }

    fn spawn_in(&self, namespace: &Namespace) -> Result<FloodHandle> {
        ensure!(
            self.seconds >= 0.0 && self.rate != Some(0),
            "a flood needs a time and a rate above 0"
        );
        let device = namespace.run(|| device_index(FAR_DEVICE))?;
        let redirect = if self.redirect { device } else { 0 };
        let (mut loaded, frame) = self.prepare(redirect)?;
        // A test run of a program that is attached nowhere changes the kernel's XDP dispatcher before and after
        // (`bpf_prog_change_xdp`), and each change waits for an RCU grace period: 24 ms a call where it now is 14 us.
        let anchor = Namespace::anonymous()?;
        loaded.attach(&anchor, "lo", XdpMode::Skb)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (flood, thread_stop) = (self.clone(), Arc::clone(&stop));
        let work = move || {
            let report = flood.send(&loaded, &frame, device, &thread_stop);
            drop((loaded, anchor));
            report
        };
        Ok(FloodHandle { stop, thread: Some(namespace.spawn("lab-flood", work)?) })
    }

    /// `redirect`: the device to redirect to, or 0.
    fn prepare(&self, redirect: u32) -> Result<(Loaded, Vec<u8>)> {
        let (record, frame) = template::record(self, redirect)?;
        let mut loaded = Loaded::new("flood")?;
        loaded.set_flood(record)?;
        Ok((loaded, frame))
    }

    fn send(
        &self,
        loaded: &Loaded,
        frame: &[u8],
        device: u32,
        stop: &AtomicBool,
    ) -> Result<FloodReport> {
        if let Some(cpu) = self.cpu {
            ensure!(cpu < CpuSet::MAX_CPU, "no CPU {cpu}");
            let mut cpus = CpuSet::new();
            cpus.set(cpu);
            sched_setaffinity(None, &cpus).with_context(|| format!("cannot run on CPU {cpu}"))?;
        }
        let context = live_context(frame.len(), device);
        let program = loaded.xdp()?;
        let (start, cpu_start) = (Instant::now(), thread_cpu_time());
        let (mut sent, mut pace) = (0, Pace::default());
        while sent < self.frames && !stop.load(Ordering::Relaxed) {
            let elapsed = start.elapsed().as_secs_f64();
            let time = elapsed.min(self.seconds);
            let due = self.rate.map_or(u64::MAX, |rate| (time * rate as f64) as u64);
            let batch = due.saturating_sub(sent).min(self.frames - sent).min(CALL);
            // A thread that had no CPU all the while sends once.
            if elapsed >= self.seconds && (sent > 0 || batch == 0) {
                break;
            }
            if batch == 0 {
                thread::sleep(PAUSE);
                continue;
            }
            pace.begin();
            let result = program.test_run(TestRunOptions {
                data_in: Some(frame),
                ctx_in: Some(&context),
                repeat: batch as u32,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::new()
            });
            result.context(
                "the kernel refused to send live frames: is XDP attached to the attacker's device?",
            )?;
            pace.end();
            sent += batch;
        }
        Ok(FloodReport {
            // The kernel's own count, not what we asked for.
            sent: loaded.counter(SENT)?,
            began: start,
            elapsed: start.elapsed(),
            within: pace.within(),
            idle: pace.idle,
            cpu: thread_cpu_time().saturating_sub(cpu_start),
        })
    }
}

/// When frames were sent, as far as the calls that sent them say.
#[derive(Default)]
struct Pace {
    /// The end of the first call and the beginning of the last, by the coarse clock.
    first: Option<Duration>,
    last: Duration,
    /// The beginning of this call, and of the one before.
    begin: Option<Instant>,
    before: Option<Instant>,
    idle: Duration,
}

impl Pace {
    fn begin(&mut self) {
        self.last = coarse();
        self.before = self.begin.replace(Instant::now());
    }

    /// A call's frames may all have been its first, and those of the next its last.
    fn end(&mut self) {
        self.first.get_or_insert_with(coarse);
        self.idle +=
            self.before.map_or(Duration::ZERO, |before| before.elapsed().saturating_sub(DENSE));
    }

    fn within(&self) -> Duration {
        self.last.saturating_sub(self.first.unwrap_or(self.last))
    }
}

impl fmt::Display for FloodReport {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wall, cpu) = (self.elapsed.as_secs_f64(), self.cpu.as_secs_f64());
        write!(
            to,
            "{} frames in {wall:.3} s ({cpu:.3} s of CPU): {:.0} frames/s",
            self.sent,
            self.rate()
        )
    }
}

/// `struct xdp_md` for a live frame: XDP_TX goes out by the ingress device, in the caller's namespace.
pub(crate) fn live_context(length: usize, device: u32) -> Vec<u8> {
    // data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
    [0, length as u32, 0, device, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// The index of a device of this thread's namespace.
///
/// # Errors
/// When there is none of that name.
pub fn device_index(name: &str) -> Result<u32> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").context("cannot make a socket")?;
    rustix::net::netdevice::name_to_index(&socket, name)
        .with_context(|| format!("no device {name}"))
}

fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
