//! The kernel alone: no filter, with its own SYN cookies off (0), when a queue is full (1, the default), or always (2).

use std::fs;

use anyhow::{Context as _, Result};

use super::{InForce, Memory};
use crate::topology::Lab;

const SETTING: &str = "ipv4/tcp_syncookies";

/// Nothing at all.
pub struct Nothing;

/// The setting, put back when dropped.
pub struct Syncookies<'a> {
    lab: &'a Lab,
    before: String,
}

impl<'a> Syncookies<'a> {
    pub fn set(lab: &'a Lab, value: u8) -> Result<Self> {
        let path = format!("/proc/sys/net/{SETTING}");
        let before = lab
            .front
            .run(|| fs::read_to_string(&path).with_context(|| format!("cannot read {path}")))?;
        lab.front.sysctl(SETTING, &value.to_string())?;
        Ok(Self { lab, before })
    }
}

impl InForce for Nothing {
    fn refused(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    fn memory(&self) -> Result<Memory> {
        Ok(Memory { how: "the queue of the listener, bounded by its backlog", ..Memory::default() })
    }
}

impl InForce for Syncookies<'_> {
    fn refused(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    fn memory(&self) -> Result<Memory> {
        Nothing.memory()
    }
}

impl Drop for Syncookies<'_> {
    fn drop(&mut self) {
        // The namespace goes with the lab; what follows in it would be measured with the wrong setting.
        if let Err(error) = self.lab.front.sysctl(SETTING, self.before.trim()) {
            eprintln!("tcp_syncookies was not put back: {error:#}");
        }
    }
}
