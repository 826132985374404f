//! Owns what a sysadmin could use against floods of SYNs, limiter among them: setting each up in the front end as its users do,
//! reading its own counters, and taking it away again.
//!
//! One file a peer. Each is a value that takes itself away when dropped. All get the same limits and stand on both of the front end's
//! devices, so that flood and clients meet the same rules.

mod hashlimit;
mod kernel;
mod limiter;
mod nftables;
mod shell;
mod xdp_filter;

use anyhow::Result;

use crate::topology::Lab;

pub use limiter::status;

/// What to set up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Peer {
    /// No filter, and the kernel's defaults.
    Nothing,
    /// No filter, and `net.ipv4.tcp_syncookies` at this.
    Syncookies(u8),
    /// nftables in the ingress hook of the devices.
    NftablesNetdev,
    /// nftables in the input hook.
    NftablesInput,
    /// iptables-legacy with hashlimit, in INPUT.
    Hashlimit,
    /// xdp-filter of xdp-tools, which denies the port on the attacker's device: the least that an XDP program can cost.
    XdpFilter,
    /// limiter, which charges SYNs: first come, first served, as with the others.
    Limiter,
    /// limiter as `attach --set-syncookies` sets it up: with a challenge, and a line.
    LimiterChallenge,
}

/// IP's version.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Family {
    /// 4.
    V4,
    /// 6.
    V6,
}

/// Sources that the examples for nftables and hashlimit remember.
pub const ENTRIES: u32 = 262_144;

/// A rate in events per second, and a burst.
pub type Allowance = (u64, u64);

/// The same limits for all.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of one source.
    pub source: Option<Allowance>,
    /// Of all together.
    pub budget: Option<Allowance>,
    /// Sources to remember; none: as many as limiter does by itself, and as the examples for the others do ([`ENTRIES`]).
    pub entries: Option<u32>,
}

/// What a peer keeps in the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Bytes, where it can be told.
    pub bytes: Option<u64>,
    /// Sources that it holds, where it can be told.
    pub entries: Option<u64>,
    /// Where the figures are from.
    pub how: &'static str,
}

/// A peer that is set up; dropping it takes it away.
pub trait InForce {
    /// SYNs that it refused since it was set up, by its own count; none if it has none.
    ///
    /// # Errors
    /// When its own tool fails.
    fn refused(&self) -> Result<Option<u64>>;

    /// What it keeps in the kernel now.
    ///
    /// # Errors
    /// When its own tool fails.
    fn memory(&self) -> Result<Memory>;
}

impl Peer {
    /// All of them, in the order of a table.
    pub const ALL: [Self; 10] = [
        Self::Nothing,
        Self::Syncookies(0),
        Self::Syncookies(1),
        Self::Syncookies(2),
        Self::NftablesNetdev,
        Self::NftablesInput,
        Self::Hashlimit,
        Self::XdpFilter,
        Self::Limiter,
        Self::LimiterChallenge,
    ];

    /// Its name in tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Syncookies(0) => "tcp_syncookies=0",
            Self::Syncookies(1) => "tcp_syncookies=1",
            Self::Syncookies(_) => "tcp_syncookies=2",
            Self::NftablesNetdev => "nftables-netdev",
            Self::NftablesInput => "nftables-input",
            Self::Hashlimit => "iptables-hashlimit",
            Self::XdpFilter => "xdp-filter-deny",
            Self::Limiter => "limiter",
            Self::LimiterChallenge => "limiter-challenge",
        }
    }

    /// Sets it up for floods of this family.
    ///
    /// # Errors
    /// When its tool is missing or refuses.
    pub fn set_up<'a>(
        self,
        lab: &'a Lab,
        family: Family,
        limits: &Limits,
    ) -> Result<Box<dyn InForce + 'a>> {
        Ok(match self {
            Self::Nothing => Box::new(kernel::Nothing),
            Self::Syncookies(value) => Box::new(kernel::Syncookies::set(lab, value)?),
            Self::NftablesNetdev => Box::new(nftables::Nftables::netdev(lab, family, limits)?),
            Self::NftablesInput => Box::new(nftables::Nftables::input(lab, family, limits)?),
            Self::Hashlimit => Box::new(hashlimit::Hashlimit::add(lab, family, limits)?),
            Self::XdpFilter => Box::new(xdp_filter::XdpFilter::load(lab)?),
            Self::Limiter => Box::new(limiter::Limiter::attach(lab, limits, false)?),
            Self::LimiterChallenge => Box::new(limiter::Limiter::attach(lab, limits, true)?),
        })
    }
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// 4 or 6.
    pub const fn number(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }
}
