//! limiter beside Debian's xdp-filter, as components of one dispatcher: in both orders of arrival,
//! under frames, with answers, and beside what it must leave alone.
//!
//! Emulated machines must take components, and say so with `LIMITER_COMPONENTS`; they also keep what
//! is written to their file systems to themselves. Other kernels may refuse: then that leaves nothing.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};

use aya::EbpfLoader;
use aya::programs::{Xdp, XdpMode};
use lab::topology::{CROWD_DEVICE, FAR_DEVICE, FRONT_V4};
use lab::wait::until_so;
use lab::{Desk, Frame, Lab, LabOptions, Trivial, socket};
use serde_json::Value;

/// Connections that one source has at once. Within a test it gets no more.
const BURST: u64 = 40;
/// Frames of one source that are sent at a time.
const FRAMES: usize = 200;
/// Debian's, of libxdp 1.3.
const DISPATCHER: &str = "/usr/lib/x86_64-linux-gnu/bpf/xdp-dispatcher.o";
/// By such a file limiter knows the libxdp that is installed.
const LATER_LIBXDP: &str = "/usr/lib/x86_64-linux-gnu/libxdp.so.1.6.0";

#[test]
fn limiter_runs_beside_others() {
    let stage = Stage::new();
    stage.ok(&format!(
        "attach attack0 --enforce --service web=*:80 --source-rate 2/h --source-burst {BURST}"
    ));
    let alone = stage.limiter("attach crowd0 --dispatcher");
    if std::env::var_os("LIMITER_COMPONENTS").is_none() && !alone.status.success() {
        return stage.a_kernel_that_takes_none(&alone);
    }
    assert!(alone.status.success(), "{alone:?}");
    stage.runs(&["limiter"]);
    stage.one_source_is_limited(1);
    stage.a_neighbour_comes_and_goes();
    stage.limiter_comes_second();
    stage.challenges_are_answered();
    stage.the_program_is_replaced();
    stage.the_dispatcher_is_taken_away();
    stage.what_is_not_known_stays();
    stage.version_3_is_made();
    stage.ok("detach --all");
    assert_eq!((stage.xdp(), stage.pinned()), (None, Vec::new()));
}

struct Stage {
    lab: Lab,
    desk: Desk,
}

impl Stage {
    fn new() -> Self {
        let lab = Lab::with(LabOptions { clients: 5, ..LabOptions::default() }).expect("a lab");
        let desk = Desk::new(&lab.front).expect("a desk");
        Self { lab, desk }
    }

    /// The BPF file system that limiter and libxdp share here.
    fn bpffs(&self) -> &Path {
        self.desk.pins().parent().expect("a file system of its own")
    }

    fn limiter(&self, line: &str) -> Output {
        self.output(self.desk.command(line))
    }

    fn output(&self, mut command: Command) -> Output {
        command.env("LIBXDP_BPFFS", self.bpffs()).output().expect("it runs")
    }

    #[track_caller]
    fn ok(&self, line: &str) -> String {
        let output = self.limiter(line);
        assert!(output.status.success(), "limiter {line}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    #[track_caller]
    fn fails(&self, line: &str, words: &[&str]) {
        let output = self.limiter(line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "limiter {line} succeeded");
        assert!(words.iter().all(|word| said.contains(word)), "{said}: expected {words:?}");
    }

    /// A program of xdp-tools.
    fn tool(&self, line: &str) -> Output {
        let mut words = line.split_whitespace();
        let mut command = self.desk.program(words.next().expect("a program"));
        command.args(words);
        self.output(command)
    }

    #[track_caller]
    fn tool_ok(&self, line: &str) -> String {
        let output = self.tool(line);
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// What doctor says of the device, on one line.
    fn doctor(&self) -> String {
        let said = self.limiter("doctor crowd0").stdout;
        String::from_utf8_lossy(&said).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// That xdp-loader shows these programs on the device, in this order, and no other.
    #[track_caller]
    fn runs(&self, programs: &[&str]) {
        let status = self.tool_ok(&format!("xdp-loader status {CROWD_DEVICE}"));
        let lines = status.lines().filter_map(|line| line.trim().strip_prefix("=>"));
        let shown: Vec<_> = lines.filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(shown, programs, "{status}");
    }

    /// The id of the program on the device.
    fn xdp(&self) -> Option<u32> {
        let here = self.lab.front.run(limiter::kernel::interface::all).expect("the interfaces");
        here.into_iter().find(|one| one.name == CROWD_DEVICE)?.program.map(|(id, _)| id)
    }

    /// Dispatchers that have pins.
    fn pinned(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.bpffs().join("xdp")).into_iter().flatten();
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }

    /// Frames that limiter decided on, by reason, and frames that the device received.
    fn decided(&self) -> (Value, u64) {
        let status: Value = serde_json::from_str(&self.ok("status --quick --json")).expect("JSON");
        assert_eq!(status["observed"], serde_json::json!({}), "it enforces");
        let text = self.lab.front.run(|| Ok(std::fs::read_to_string("/proc/thread-self/net/dev")?));
        let text = text.expect("devices");
        let received = text.lines().filter_map(|line| {
            let (name, numbers) = line.trim().split_once(':')?;
            let count = numbers.split_whitespace().nth(1)?.parse::<u64>().ok()?;
            ["crowd0", "attack0"].contains(&name).then_some(count)
        });
        (status["decided"].clone(), received.sum())
    }

    /// What moved while `work` was done and all that it sent was decided: frames admitted, over the
    /// source limit, and all.
    #[track_caller]
    fn moved(&self, work: impl FnOnce()) -> [u64; 3] {
        let of = |(decided, received): (Value, u64)| {
            let count = |name: &str| decided[name].as_u64().unwrap_or(0);
            let all = decided.as_object().expect("counts").values().filter_map(Value::as_u64);
            ([count("admitted"), count("source_limit"), all.sum()], received)
        };
        let (before, received) = of(self.decided());
        work();
        let mut moved = [0; 3];
        until_so("every frame that arrives is decided on, once", || {
            let (after, arrived) = of(self.decided());
            moved = [0, 1, 2].map(|at| after[at] - before[at]);
            moved[2] == arrived - received
        });
        moved
    }

    /// SYNs of a source of its own. They are for another's MAC address, so that no stack answers.
    fn send(&self, source: u8, count: usize) {
        let from = SocketAddr::new(Ipv4Addr::new(11, 1, 2, source).into(), 1234);
        let macs = [[2, 0, 0, 0, 9, 1], [2, 0, 0, 0, 9, 2]];
        let frame = Frame::syn(from, (FRONT_V4, 80).into()).macs(macs[0], macs[1]).build();
        socket::send(&self.lab.crowd, FAR_DEVICE, &[frame], count).expect("sent");
    }

    #[track_caller]
    fn one_source_is_limited(&self, source: u8) {
        let moved = self.moved(|| self.send(source, FRAMES));
        let [admitted, refused, all] = moved;
        assert!(admitted == BURST && all >= admitted + refused && refused > 0, "{moved:?}");
    }

    fn filtered(&self) -> u64 {
        let status = self.tool_ok("xdp-filter status");
        let line = status.lines().find(|line| line.trim().starts_with("XDP_PASS"));
        let count = line.and_then(|line| line.split_whitespace().nth(1)).expect("a count");
        count.parse().expect("a number")
    }

    /// xdp-filter sees what limiter passes, and nothing that it drops; while it comes and goes, no
    /// frame passes undecided.
    fn a_neighbour_comes_and_goes(&self) {
        self.tool_ok("xdp-filter load crowd0");
        self.runs(&["limiter", "xdpfilt_alw_all"]);
        let before = self.filtered();
        let [admitted, refused, all] = self.moved(|| self.send(2, FRAMES));
        assert!(admitted == BURST && refused > 0, "{admitted} {refused}");
        let passed = self.filtered() - before;
        assert!((BURST..=all - refused).contains(&passed), "{passed} of {all} less {refused}");
        self.fails("attach crowd0", &["already attached to crowd0"]);
        self.fails("attach crowd0 --dispatcher", &["already attached to crowd0"]);
        let ends = AtomicBool::new(false);
        let [admitted, refused, all] = self.moved(|| {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !ends.load(Ordering::Relaxed) {
                        self.send(3, 20);
                    }
                });
                for _ in 0..3 {
                    self.tool_ok("xdp-filter unload crowd0");
                    self.tool_ok("xdp-filter load crowd0");
                }
                ends.store(true, Ordering::Relaxed);
            });
        });
        println!(
            "neighbour in and out 3 times: {admitted} admitted, {refused} refused, {all} in all"
        );
        assert!(admitted == BURST && refused > BURST, "{admitted} {refused}");
        self.tool_ok("xdp-filter unload crowd0");
        self.runs(&["limiter"]);
        self.one_source_is_limited(4);
        self.tool_ok("xdp-filter load crowd0");
        self.ok("detach crowd0");
        self.runs(&["xdpfilt_alw_all"]);
        assert_eq!(self.pinned().len(), 1, "{:?}", self.pinned());
    }

    /// The dispatcher is libxdp's own, with its own functions.
    fn limiter_comes_second(&self) {
        self.tool_ok("xdp-filter unload crowd0");
        self.tool_ok("xdp-filter load crowd0");
        let theirs = self.xdp();
        self.fails(
            "attach crowd0",
            &["version 2, 1 program", "`limiter attach crowd0 --dispatcher`"],
        );
        self.fails(
            "attach crowd0 --dispatcher --generic",
            &["in its driver", "without `--generic`"],
        );
        assert_eq!(self.xdp(), theirs);
        let doctor = self.doctor();
        assert!(doctor.contains("and limiter is not in it"), "{doctor}");
        self.ok("attach crowd0 --dispatcher");
        self.runs(&["limiter", "xdpfilt_alw_all"]);
        self.one_source_is_limited(5);
        let doctor = self.doctor();
        assert!(doctor.contains("in a dispatcher that others may join"), "{doctor}");
        assert!(
            self.ok("status --quick").contains("crowd0  native (in the driver), in a dispatcher")
        );
    }

    /// Answers are longer than what they say, and clients take them.
    fn challenges_are_answered(&self) {
        self.lab.front.sysctl("ipv4/tcp_syncookies", "2").expect("the namespace's own setting");
        self.ok("set --service web --challenge always");
        let listener = self.lab.front.run(|| Ok(TcpListener::bind((FRONT_V4, 80))?));
        let listener = listener.expect("a server");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..5 {
                    drop(listener.accept().expect("a client"));
                }
            });
            for _ in 0..5 {
                let client = || Ok(TcpStream::connect((FRONT_V4, 80))?.read(&mut [0])?);
                let read = self.lab.crowd.run(client).expect("a connection");
                assert_eq!(read, 0, "the server closed it");
            }
        });
        let (decided, _) = self.decided();
        let count = |name: &str| decided[name].as_u64().unwrap_or(0);
        assert!(count("challenged") >= 5 && count("proven") >= 5, "{decided}");
        // Attempts pay again.
        self.lab.front.sysctl("ipv4/tcp_syncookies", "1").expect("the namespace's own setting");
        self.ok("set --service web --challenge off");
    }

    /// Another program over the same maps: what was counted is kept.
    fn the_program_is_replaced(&self) {
        let (before, _) = self.decided();
        let id = self.xdp();
        assert!(self.ok("upgrade").contains("2 interfaces"));
        assert_ne!(self.xdp(), id, "it is another dispatcher");
        self.runs(&["limiter", "xdpfilt_alw_all"]);
        assert_eq!(self.decided().0["source_limit"], before["source_limit"]);
        self.one_source_is_limited(6);
    }

    /// By what knows nothing of it.
    fn the_dispatcher_is_taken_away(&self) {
        self.lab.front.ip(&["link", "set", "dev", CROWD_DEVICE, "xdp", "off"]).expect("off");
        let shown = self.ok("status --quick");
        assert!(shown.contains("another tool took the dispatcher away"), "{shown}");
        assert_eq!(self.pinned().len(), 1);
        self.ok("attach crowd0 --dispatcher");
        self.runs(&["limiter"]);
        assert_eq!(self.pinned().len(), 1, "what was left is taken away");
        self.one_source_is_limited(7);
        self.ok("detach crowd0");
        assert_eq!((self.xdp(), self.pinned()), (None, Vec::new()));
        self.tool("xdp-filter unload crowd0");
    }

    /// Other programs, and dispatchers of other versions.
    fn what_is_not_known_stays(&self) {
        let refused = |words: &[&str]| {
            let there = self.xdp();
            assert!(there.is_some());
            self.fails("attach crowd0 --dispatcher", words);
            self.fails("attach crowd0", &["already runs the XDP program"]);
            assert_eq!((self.xdp(), self.pinned()), (there, Vec::new()));
        };
        let foreign = Trivial::Pass.attach(&self.lab.front, CROWD_DEVICE).expect("attached");
        refused(&["`pass`", "which is no dispatcher of libxdp"]);
        drop(foreign);
        for version in [1, 4] {
            let mut conf = [0_u8; 124];
            conf[..3].copy_from_slice(&[236, version, 1]);
            let mut loader = EbpfLoader::new();
            loader.override_global("conf", &conf, true);
            let mut object = loader.load_file(DISPATCHER).expect("Debian's dispatcher");
            let program: &mut Xdp =
                object.program_mut("xdp_dispatcher").expect("it").try_into().expect("XDP");
            program.load().expect("it loads");
            let attached =
                self.lab.front.run(|| Ok(program.attach(CROWD_DEVICE, XdpMode::Driver)?));
            attached.expect("it attaches");
            refused(&[&format!("of version {version}"), "it stays as it is"]);
        }
        until_so("the device is free", || self.xdp().is_none());
    }

    /// What a later libxdp joins, and this one leaves alone.
    fn version_3_is_made(&self) {
        if std::env::var_os("LIMITER_COMPONENTS").is_none() {
            return;
        }
        std::fs::write(LATER_LIBXDP, "").expect("a file");
        self.ok("attach crowd0 --dispatcher");
        std::fs::remove_file(LATER_LIBXDP).expect("the file");
        let id = self.xdp().expect("a dispatcher");
        let said = limiter::kernel::dispatcher::described(id);
        assert_eq!(said, Some(Ok("version 3, 1 program".to_owned())));
        assert!(!self.tool("xdp-filter load crowd0").status.success());
        assert_eq!(self.xdp(), Some(id));
        self.one_source_is_limited(8);
    }

    /// Nothing of what was asked for is there, and nothing else instead.
    fn a_kernel_that_takes_none(&self, refusal: &Output) {
        let said = String::from_utf8_lossy(&refusal.stderr);
        assert!(said.contains("takes no program as a component of a dispatcher"), "{said}");
        assert_eq!((self.xdp(), self.pinned()), (None, Vec::new()), "{said}");
        self.ok("attach crowd0");
        self.one_source_is_limited(1);
    }
}
