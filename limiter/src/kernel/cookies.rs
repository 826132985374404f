//! The kernel's own settings that a challenge depends on: what they are, the one that limiter may set, and putting it back.
//!
//! The kernel makes cookies for the challenge only while `net.ipv4.tcp_syncookies` is 2. limiter sets that only if the operator said so
//! (`--set-syncookies`), only while it enforces a policy that may challenge, and remembers in a pinned map what it was: first the note,
//! then the setting, so that a command that is killed in between leaves something that the next one puts right.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData};
use limiter_common::challenge::Challenge;
use limiter_common::names;
use limiter_common::record::{Kernel, SERVICES, SLOTS};
use limiter_common::switch::{Mode, Regime, Selection};
use serde::Serialize;

use super::clock;
use super::maps::{Maps, Raw};
use super::pins::Pins;
use crate::policy::{Name, text};

const SYNCOOKIES: &str = "net/ipv4/tcp_syncookies";
/// With this value the kernel answers every SYN with a cookie, and so will make one for us.
const ALWAYS: u32 = 2;
/// With this value it makes none, and takes none.
const NEVER: u32 = 0;
/// The kernel's own default: what is put back where the note is no value that the setting can have.
const DEFAULT: u32 = 1;

/// How long the kernel takes a cookie after it was made, in seconds: two minutes, and some.
const GOOD_FOR: u32 = 128;

/// What the challenge finds, for `status`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cookies {
    /// `net.ipv4.tcp_syncookies` now.
    pub syncookies: u32,
    /// What it was before limiter set it, if limiter did.
    pub syncookies_before: Option<u32>,
    /// Whether limiter may set it while it enforces.
    pub may_set: bool,
    /// Whether challenged connections keep window scaling, SACK and timestamps (`net.ipv4.tcp_timestamps` is 2).
    pub keeps_options: bool,
    /// What pays for a connection on this host now.
    pub charged: Charged,
}

/// What pays for a connection: [`Regime`], in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Charged {
    /// Attempts, as they come.
    Attempts,
    /// Both, for two minutes after the kernel stopped making cookies.
    Both,
    /// Proofs: attempts cost nothing.
    Proofs,
}

impl From<Regime> for Charged {
    fn from(regime: Regime) -> Self {
        match regime {
            Regime::Attempts => Self::Attempts,
            Regime::Ending => Self::Both,
            Regime::Proofs => Self::Proofs,
        }
    }
}

impl Charged {
    /// For a person.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Attempts => "attempts (net.ipv4.tcp_syncookies is not 2)",
            Self::Both => {
                "attempts, and for two minutes proofs of which the attempt has not paid: their cookies \
                 are out still"
            }
            Self::Proofs => "proofs; an attempt costs nothing (net.ipv4.tcp_syncookies is 2)",
        }
    }
}

impl Cookies {
    /// Whether the kernel makes cookies for a challenge.
    pub const fn works(&self) -> bool {
        self.syncookies == ALWAYS
    }
}

/// Whether the kernel makes cookies for a challenge as it is set now.
///
/// # Errors
/// When the setting cannot be read.
pub fn works() -> Result<bool> {
    Ok(read(SYNCOOKIES)? == ALWAYS)
}

impl Maps {
    /// What the challenge finds.
    ///
    /// # Errors
    /// When the map or the setting cannot be read.
    pub fn cookies(&self) -> Result<Cookies> {
        let kernel = self.kernel_record()?;
        Ok(Cookies {
            syncookies: read(SYNCOOKIES)?,
            syncookies_before: before(&kernel),
            may_set: kernel.may_set_syncookies != 0,
            keeps_options: kernel.timestamps != 0,
            charged: self.switch()?.regime().into(),
        })
    }

    /// Whether the settings that a challenge writes into its answers are still those that were
    /// noted, and what pays for a connection follows from what the kernel does.
    ///
    /// # Errors
    /// When the map or a setting cannot be read.
    pub fn has_noted_settings(&self) -> Result<bool> {
        let kernel = self.kernel_record()?;
        let asks = read(SYNCOOKIES)? == ALWAYS;
        Ok(asks == self.switch()?.asks() && with_options(kernel)? == kernel)
    }

    /// Whether [`Maps::settle_cookies`] would change nothing.
    ///
    /// # Errors
    /// When a map or a setting cannot be read.
    pub fn is_settled(&self) -> Result<bool> {
        let kernel = self.kernel_record()?;
        let selection = self.selection()?;
        let challenges = self
            .services(selection.slot)?
            .into_values()
            .any(|service| Challenge::from_number(service.admission.challenge) != Challenge::Off);
        let wanted =
            selection.mode == Mode::Enforce && challenges && kernel.may_set_syncookies != 0;
        let now = read(SYNCOOKIES)?;
        let is_set = if wanted { now == ALWAYS } else { kernel.syncookies_before == 0 };
        let regime = regime(with_cookies(kernel, now, selection.mode));
        Ok(is_set && regime == self.switch()?.regime() && with_options(kernel)? == kernel)
    }

    /// What is noted of the settings that a challenge writes into its answers, in words.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn noted_options(&self) -> Result<String> {
        let kernel = self.kernel_record()?;
        let yes = |number: u32| if number != 0 { "yes" } else { "no" };
        let scale = match kernel.window_scale {
            scale @ 0..=14 => scale.to_string(),
            _ => "off".to_owned(),
        };
        let (timestamps, sack) = (yes(kernel.timestamps), yes(kernel.sack));
        Ok(format!(
            "options in timestamps {timestamps}, window scale {scale}, selective acknowledgments {sack}"
        ))
    }

    /// For how long both attempts and proofs pay still, if they do.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn both_pay_for(&self) -> Result<Option<Duration>> {
        let left = match self.kernel_record()?.cookies_until {
            Kernel::MAKES_COOKIES | Kernel::UNPAID => 0,
            until => until.saturating_sub(seconds()),
        };
        Ok(self.switch()?.charges_both().then(|| Duration::from_secs(left.into())))
    }

    /// Notes whether limiter may set `tcp_syncookies`.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn let_set_syncookies(&mut self, may: bool) -> Result<()> {
        let kernel = Kernel { may_set_syncookies: may.into(), ..self.kernel_record()? };
        self.write_kernel(kernel)
    }

    /// Brings the settings in line with what decides now, and tells the kernel side what they are.
    /// Between one setting and another both attempts and proofs pay, so that no connection passes
    /// unpaid.
    ///
    /// # Errors
    /// When a setting cannot be read or written, or the map.
    pub fn settle_cookies(&mut self) -> Result<()> {
        let Selection { slot, mode } = self.selection()?;
        let wanted = mode == Mode::Enforce && self.policy(slot)?.may_challenge();
        let mut kernel = self.kernel_record()?;
        let mut now = read(SYNCOOKIES)?;
        if wanted && kernel.may_set_syncookies != 0 {
            if now != ALWAYS {
                kernel.syncookies_before = now.saturating_add(1);
                self.write_kernel(kernel)?;
                write(SYNCOOKIES, ALWAYS)?;
                now = ALWAYS;
            }
        } else if let Some(before) = before(&kernel) {
            // Somebody else's later change is theirs.
            if now == ALWAYS {
                self.pay(with_cookies(with_cookies(kernel, ALWAYS, mode), before, mode))?;
                write(SYNCOOKIES, before)?;
                now = before;
            }
            kernel.syncookies_before = 0;
        }
        kernel = with_options(with_cookies(kernel, now, mode))?;
        self.write_kernel(kernel)?;
        self.pay(kernel)
    }

    /// Ends the challenge of these services, in every slot, so that no policy brings it back: one
    /// number of each record. Those that could challenge.
    ///
    /// # Errors
    /// When a map cannot be read or written.
    pub fn end_challenges(&mut self, names: &[Name]) -> Result<Vec<Name>> {
        let mut ended = Vec::new();
        for slot in 0..SLOTS {
            for (id, mut service) in self.services(slot)? {
                let off = Challenge::Off as u32;
                let name = text::name(&service.name).filter(|name| names.contains(name));
                if let Some(name) = name
                    && service.admission.challenge != off
                {
                    service.admission.challenge = off;
                    self.service
                        .set(slot * SERVICES + id, Raw(service), 0)
                        .context("cannot write a service")?;
                    if !ended.contains(&name) {
                        ended.push(name);
                    }
                }
            }
        }
        Ok(ended)
    }

    /// Tells the kernel side what pays for a connection.
    fn pay(&self, kernel: Kernel) -> Result<()> {
        let switch = self.switch()?;
        let new = switch.with_regime(regime(kernel));
        if new == switch { Ok(()) } else { self.set_switch(new) }
    }

    fn kernel_record(&self) -> Result<Kernel> {
        Ok(self.kernel.get(&0, 0).context("cannot read the kernel's settings")?.0)
    }

    fn write_kernel(&mut self, kernel: Kernel) -> Result<()> {
        self.kernel.set(0, Raw(kernel), 0).context("cannot note the kernel's settings")
    }
}

/// What pays for a connection now.
fn regime(kernel: Kernel) -> Regime {
    match kernel.cookies_until {
        Kernel::MAKES_COOKIES => Regime::Proofs,
        Kernel::UNPAID => Regime::Attempts,
        until if seconds() < until => Regime::Ending,
        _ => Regime::Attempts,
    }
}

/// With `tcp_syncookies` at `setting`: until when cookies may come back of which nobody has paid.
fn with_cookies(kernel: Kernel, setting: u32, mode: Mode) -> Kernel {
    let cookies_until = match (setting, kernel.cookies_until, mode) {
        (ALWAYS, _, _) => Kernel::MAKES_COOKIES,
        (_, Kernel::MAKES_COOKIES, _) => seconds() + GOOD_FOR,
        (NEVER, until, _) => until,
        (_, _, Mode::Observe) => Kernel::UNPAID,
        (_, Kernel::UNPAID | 0, Mode::Enforce) => seconds() + GOOD_FOR,
        (_, until, Mode::Enforce) => until,
    };
    Kernel { cookies_until, ..kernel }
}

/// CLOCK_MONOTONIC.
fn seconds() -> u32 {
    u32::try_from(clock::now() / 1_000_000_000).unwrap_or(0)
}

/// Puts back what limiter set, before it goes. It needs no more than the one map that notes it, of this layout or an older one: what else is
/// broken or foreign must not keep the setting as it is.
///
/// # Errors
/// When the setting cannot be written.
pub fn put_back(pins: &Pins) -> Result<()> {
    for path in pins.every(names::KERNEL) {
        let Some(mut map) = note(&path) else { continue };
        let Ok(Raw(kernel)) = map.get(&0, 0) else { continue };
        if let Some(before) = before(&kernel) {
            // Somebody else's later change is theirs.
            if read(SYNCOOKIES)? == ALWAYS {
                write(SYNCOOKIES, before)?;
            }
            let kernel = Kernel { syncookies_before: 0, may_set_syncookies: 0, ..kernel };
            map.set(0, Raw(kernel), 0)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

/// The map behind a pin, if it is of the kind that notes the setting.
fn note(pin: &Path) -> Option<Array<MapData, Raw<Kernel>>> {
    let data = MapData::from_pin(pin).ok()?;
    let is_note = data.info().is_ok_and(|info| info.value_size() as usize == size_of::<Kernel>());
    if is_note { Map::from_map_data(data).ok()?.try_into().ok() } else { None }
}

/// What the setting was before limiter changed it, if it did.
fn before(kernel: &Kernel) -> Option<u32> {
    let noted = kernel.syncookies_before.checked_sub(1)?;
    Some(if noted <= ALWAYS { noted } else { DEFAULT })
}

/// What the kernel will decode from the timestamp of an ACK that brings a cookie, and the scale that it will compute then
/// (`tcp_select_initial_window` in net/ipv4/tcp_output.c, for sockets without SO_RCVBUF).
fn with_options(kernel: Kernel) -> Result<Kernel> {
    const NO_SCALE: u32 = 15;
    let timestamps = read("net/ipv4/tcp_timestamps")? == 2;
    let largest = read_all("net/ipv4/tcp_rmem")?.get(2).copied().unwrap_or(0);
    // Not every network namespace shows this one.
    let largest = largest.max(read("net/core/rmem_max").unwrap_or(0));
    let scale = largest.checked_ilog2().unwrap_or(0).saturating_sub(15).min(14);
    let scaling = read("net/ipv4/tcp_window_scaling")? != 0;
    Ok(Kernel {
        timestamps: timestamps.into(),
        window_scale: if scaling { scale } else { NO_SCALE },
        sack: u32::from(read("net/ipv4/tcp_sack")? != 0),
        ..kernel
    })
}

fn read(name: &str) -> Result<u32> {
    read_all(name)?.first().copied().with_context(|| format!("{} is empty", path(name)))
}

fn read_all(name: &str) -> Result<Vec<u32>> {
    let text =
        fs::read_to_string(path(name)).with_context(|| format!("cannot read {}", path(name)))?;
    text.split_whitespace()
        .map(|word| word.parse().with_context(|| format!("{} holds `{word}`", path(name))))
        .collect()
}

fn write(name: &str, value: u32) -> Result<()> {
    fs::write(path(name), value.to_string()).with_context(|| {
        format!(
            "cannot write {value} to {}; run it as root or with CAP_NET_ADMIN, or set it yourself \
             and leave out --set-syncookies",
            path(name)
        )
    })
}

fn path(name: &str) -> String {
    format!("/proc/sys/{name}")
}
