//! Ways to bound the connections that a source has open, each set up in the front end and taken
//! away when it is dropped.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use lab::{Desk, Lab};

use super::MOST;

/// What bounds them, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Nothing,
    Nftables,
    Iptables,
    /// limiter, which bounds nothing.
    Limiter,
    LimiterOpen,
}

impl Way {
    pub const ALL: [Self; 5] =
        [Self::Nothing, Self::Nftables, Self::Iptables, Self::Limiter, Self::LimiterOpen];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Nftables => "nftables ct count",
            Self::Iptables => "iptables connlimit",
            Self::Limiter => "limiter, open not bounded",
            Self::LimiterOpen => "limiter, open = 50",
        }
    }

    pub fn set_up(self, lab: &Lab) -> Result<InForce<'_>> {
        let desk = match self {
            Self::Nothing => None,
            Self::Nftables => {
                let rules = format!(
                    "table ip slow {{\n\
                     set held {{ type ipv4_addr; size 65536; flags dynamic; }}\n\
                     chain in {{\n\
                     type filter hook input priority 0; policy accept;\n\
                     tcp dport 80 ct state new add @held {{ ip saddr ct count over {MOST} }} counter drop\n\
                     }}\n}}\n"
                );
                feed(lab.front.command("nft")?.args(["-f", "-"]), &rules)?;
                None
            }
            Self::Iptables => {
                iptables(lab, 'A')?;
                None
            }
            Self::Limiter => Some(limiter(lab, 0)?),
            Self::LimiterOpen => Some(limiter(lab, MOST)?),
        };
        Ok(InForce { lab, way: self, desk })
    }
}

/// A way that is set up.
pub struct InForce<'a> {
    lab: &'a Lab,
    way: Way,
    desk: Option<Desk>,
}

impl InForce<'_> {
    fn take_away(&mut self) -> Result<()> {
        match (self.way, self.desk.take()) {
            (Way::Nftables, _) => {
                feed(self.lab.front.command("nft")?.args(["delete", "table", "ip", "slow"]), "")
            }
            (Way::Iptables, _) => iptables(self.lab, 'D'),
            // A desk detaches limiter as it goes.
            _ => Ok(()),
        }
    }
}

impl Drop for InForce<'_> {
    fn drop(&mut self) {
        // The namespace goes with the lab; what follows in it would be measured behind these rules.
        if let Err(error) = self.take_away() {
            eprintln!("{} is still there: {error:#}", self.way.name());
        }
    }
}

fn limiter(lab: &Lab, open: u64) -> Result<Desk> {
    let desk = Desk::new(&lab.front)?;
    let policy = format!(
        "interfaces = [\"crowd0\"]\nmode = \"enforce\"\n[service.web]\nlisten = [\"*:80\"]\nopen = {open}\n"
    );
    std::fs::write(desk.policy(), policy).context("cannot write the policy")?;
    desk.run("apply")?;
    Ok(desk)
}

fn iptables(lab: &Lab, what: char) -> Result<()> {
    let line = format!(
        "-{what} INPUT -p tcp --syn --dport 80 -m connlimit --connlimit-above {MOST} --connlimit-mask 32 -j DROP"
    );
    let mut tool = lab.front.command("iptables-legacy")?;
    feed(tool.arg("--wait").args(line.split_whitespace()), "")
}

/// Runs a tool with a text on its standard input.
fn feed(command: &mut Command, input: &str) -> Result<()> {
    let shown = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn();
    let mut child = child
        .with_context(|| format!("cannot run {shown}: `cargo xtask bench --open` installs it"))?;
    if let Some(mut pipe) = child.stdin.take() {
        // One that does not read is no failure; its own words say what is.
        let _ = pipe.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().with_context(|| format!("cannot wait for {shown}"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{shown} failed: {}", words.trim());
    Ok(())
}
