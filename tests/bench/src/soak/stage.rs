//! The scene: the lab, a web server, and limiter by its command, in a state directory of its own.

use anyhow::{Context as _, Result, ensure};
use lab::{Desk, Lab, Server};
use limiter::kernel::{Maps, Pins};
use limiter::report::{self, Sample};
use limiter_common::reason::{Reason, Verdict};

/// The policy, with two profiles to switch to. The crowd is a class without a source limit; under the floods it proves itself.
const POLICY: &str = r#"
interfaces = ["attack0", "crowd0"]
mode = "enforce"
sources = 65536
set_syncookies = true

[defaults]
source_rate = "20/s"

[service.web]
listen = ["*:80"]
budget = "20000/s"
challenge = "auto"

[service.talk]
listen = ["*:81"]

[class.crowd]
prefixes = ["10.78.0.0/16", "fd78::/64"]
source_rate = "unlimited"

[profile.siege.defaults]
source_rate = "2/s"
[profile.siege.service.web]
line = false

[profile.calm]
mode = "observe"
"#;

/// The service that floods and pages go to, and its port.
pub const WEB: u16 = 80;
/// The port of connections that stay.
pub const TALK: u16 = 81;

/// Everything around the actors.
pub struct Stage {
    /// The namespaces.
    pub lab: Lab,
    server: Server,
    /// Where limiter is typed.
    pub desk: Desk,
}

impl Stage {
    /// Sets it: limiter enforces when this returns.
    pub fn set() -> Result<Self> {
        let lab = Lab::new()?;
        let server = Server::start(&lab)?;
        let stage = Self { desk: Desk::new(&lab.front)?, lab, server };
        std::fs::write(stage.desk.policy(), POLICY)?;
        stage.desk.run("apply")?;
        Ok(stage)
    }

    /// Runs the command; it may refuse, in one line that holds `words`.
    pub fn run_or(&self, line: &str, words: &[&str]) -> Result<bool> {
        let output = self.desk.output(line);
        let said = String::from_utf8_lossy(&output.stderr);
        let refused = output.status.code() == Some(1)
            && said.trim().lines().count() == 1
            && words.iter().any(|word| said.contains(word));
        ensure!(output.status.success() || refused, "limiter {line}: {}", said.trim());
        Ok(output.status.success())
    }

    /// Connections that the web server took.
    pub fn accepted(&self) -> u64 {
        self.server.accepted()
    }

    /// Interfaces on which the program runs in the driver.
    pub fn attached(&self) -> Result<usize> {
        let status: serde_json::Value =
            serde_json::from_str(&self.desk.run("status --quick --json")?)?;
        let interfaces = status["interfaces"].as_array().context("status has interfaces")?;
        Ok(interfaces.iter().filter(|one| one["attachment"] == "native").count())
    }

    /// Processes of limiter that work on these pins: `settle` goes by itself.
    pub fn processes(&self) -> Vec<String> {
        let pins = self.desk.pins().to_string_lossy();
        let commands = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let commands =
            commands.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        let commands = commands.map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
        commands.filter(|command| command.contains(pins.as_ref())).collect()
    }

    /// SYNs that the crowd's kernel sent again.
    pub fn sent_again(&self) -> Result<u64> {
        let text =
            self.lab.crowd.run(|| Ok(std::fs::read_to_string("/proc/thread-self/net/netstat")?))?;
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        let mut pairs = lines.chunks_exact(2).flat_map(|pair| pair[0].iter().zip(&pair[1]));
        let found =
            pairs.find(|(name, _)| **name == "TCPSynRetrans").context("the kernel counts SYNs")?;
        Ok(found.1.parse()?)
    }

    /// Waits until no frame is on its way any more.
    pub fn quiet(&self) -> Result<()> {
        let mut before = u64::MAX;
        loop {
            let now = self
                .counted()?
                .iter()
                .flat_map(|counters| counters.decided)
                .fold(0, u64::wrapping_add);
            if now == before {
                return Ok(());
            }
            before = now;
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    }

    fn counted(&self) -> Result<Vec<limiter_common::record::Counters>> {
        Ok(Sample::take(&Maps::open(&Pins::at(self.desk.pins()).root())?)?.counters)
    }

    /// Every one of `attempts` was let in or refused (in observe mode, counted as one that would be), and counted once.
    pub fn exact(&self, attempts: u64) -> Result<()> {
        let (mut judged, mut admitted, mut refused, mut banned) = (0, 0, 0, 0);
        for counters in &self.counted()?[1..] {
            judged += report::attempts(counters);
            let attempts = Reason::ALL.iter().filter(|reason| reason.is_attempt());
            for reason in attempts {
                let index = *reason as usize;
                match reason.verdict() {
                    Verdict::Pass => admitted += counters.decided[index],
                    _ => refused += counters.decided[index] + counters.observed[index],
                }
            }
            // The allow list passes attempts before any limit, the ban list drops them.
            banned += counters.decided[Reason::Banned as usize]
                + counters.observed[Reason::Banned as usize];
            admitted += counters.decided[Reason::Allowed as usize];
            judged += counters.decided[Reason::Allowed as usize];
        }
        println!(
            "attempts   {attempts}: {admitted} admitted, {refused} refused, {banned} of banned sources"
        );
        ensure!(
            judged == admitted + refused,
            "{judged} judged, but {admitted} admitted and {refused} refused"
        );
        ensure!(
            judged + banned == attempts,
            "{attempts} attempts were made, and {} counted",
            judged + banned
        );
        Ok(())
    }
}
