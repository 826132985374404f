//! The emulated machine: QEMU without KVM, four virtio NICs in two wires, and a serial line on which it says what it did.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Signal, set_parent_process_death_signal};

/// Several times what it takes on two busy cores.
const TIMEOUT: Duration = Duration::from_secs(3_600);
/// What the kernel is told.
///
/// `no_timer_check`: without it the kernel expects ticks of the timer while it counts turns of a
/// loop, and panics when QEMU had no CPU meanwhile.
///
/// The others are only about time: no emulated CPU suffers from what retpolines are for, and pages
/// need not be cleared twice. The clock stays the HPET. Each look at that is a call of QEMU's, but
/// on a busy machine the kernel measures the TSC wrongly: its seconds were a twentieth of ours.
const KERNEL: &str =
    "console=ttyS0 quiet panic=-1 oops=panic no_timer_check mitigations=off init_on_alloc=0";
/// Lines that are shown of a machine that did not come to its end.
const LAST: usize = 40;
/// What its init says first and last.
const BEGIN: &str = "== begin";
const END: &str = "== end";
/// Addresses of the ends of each wire: where the lab looks for them (`tests/lab/src/topology.rs`).
const WIRES: [[&str; 2]; 2] =
    [["02:00:00:77:01:01", "02:00:00:77:01:02"], ["02:00:00:77:02:01", "02:00:00:77:02:02"]];
/// Off: what a driver must not do under XDP (checksums and segmentation by the host), and a filter that drops VLAN tags.
const OFF: &str = "csum=off,gso=off,guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,\
                   host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off,ctrl_vlan=off,romfile=";

/// Boots `image` with `initramfs` and returns what it said between its begin and its end. A machine that does not come as far as its init,
/// so that nothing of limiter has run, has a second try.
///
/// # Errors
/// When it does not come to its end: the last that it said.
pub fn run(image: &Path, initramfs: &Path) -> Result<Vec<String>> {
    let mut heard = boot(image, initramfs)?;
    let mut said = Vec::new();
    if let Heard::NoBegin(why) = heard {
        said.push(format!("(the second try; at the first {why})"));
        heard = boot(image, initramfs)?;
    }
    match heard {
        Heard::All(lines) => said.extend(lines),
        Heard::NoBegin(why) | Heard::NoEnd(why) => bail!(why),
    }
    Ok(said)
}

/// What was heard of a machine.
enum Heard {
    /// All that it said between its begin and its end.
    All(Vec<String>),
    /// Its init did not begin, and why that is known.
    NoBegin(String),
    /// Its init did not come to its end.
    NoEnd(String),
}

fn boot(image: &Path, initramfs: &Path) -> Result<Heard> {
    let (output, input) = std::io::pipe().context("cannot make a pipe")?;
    let mut command = command(image, initramfs);
    command.stdout(input.try_clone().context("cannot duplicate a pipe")?).stderr(input);
    let machine = Machine(command.spawn().context("cannot run qemu-system-x86_64")?);
    // It holds our writing ends.
    drop(command);
    let (sender, lines) = channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let heard = listen(&lines);
    drop((lines, machine));
    let _ = reader.join();
    Ok(heard)
}

/// QEMU, ended when dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // It has ended, or is to.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(image: &Path, initramfs: &Path) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(
        "-accel tcg,thread=single -cpu max -smp 2 -m 1024 -nodefaults -no-reboot -display none -serial stdio"
            .split(' '),
    );
    command.arg("-kernel").arg(image).arg("-initrd").arg(initramfs);
    command.args(["-append", KERNEL]);
    for (hub, ends) in WIRES.iter().enumerate() {
        for (end, mac) in ends.iter().enumerate() {
            let id = format!("wire{hub}end{end}");
            command.arg("-netdev").arg(format!("hubport,id={id},hubid={hub}"));
            command.arg("-device").arg(format!("virtio-net-pci,netdev={id},mac={mac},{OFF}"));
        }
    }
    command.stdin(Stdio::null());
    // A run that is killed leaves no machine behind.
    let end_with_us = || Ok(set_parent_process_death_signal(Some(Signal::KILL))?);
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(end_with_us) };
    command
}

fn listen(lines: &Receiver<String>) -> Heard {
    let deadline = Instant::now() + TIMEOUT;
    let (mut said, mut has_begun) = (Vec::<String>::new(), false);
    let why = loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) if line == END => return Heard::All(said),
            Ok(line) if line == BEGIN => {
                has_begun = true;
                said.clear();
            }
            Ok(line) => said.push(line),
            Err(RecvTimeoutError::Timeout) => {
                break format!("was not done after {} s", TIMEOUT.as_secs());
            }
            Err(RecvTimeoutError::Disconnected) => break "ended too early".to_owned(),
        }
    };
    let last = said.split_off(said.len().saturating_sub(LAST));
    let why = format!("the machine {why}; the last that it said:\n{}", last.join("\n"));
    if has_begun { Heard::NoEnd(why) } else { Heard::NoBegin(why) }
}
