//! Traced decisions, a line each, as they come out of the kernel's log.

use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Result, bail};
use limiter_common::reason::Reason;

use super::Format;
use crate::kernel::Maps;
use crate::output::{self, Reader};
use crate::policy::text;

/// Prints what the tracing program logs: `reason R service S mode M frame F`, by number.
#[derive(Debug)]
pub struct Lines {
    format: Format,
    /// Names of services by counter index; 0 is none.
    services: Mutex<Vec<String>>,
    /// Why no line is printed any more: the reader is gone, or the reason.
    ended: OnceLock<Option<String>>,
}

impl Lines {
    /// With the names of the services that decide now.
    ///
    /// # Errors
    /// When the policy cannot be read.
    pub fn new(format: Format, maps: &Maps) -> Result<Self> {
        Ok(Self { format, services: Mutex::new(Self::names(maps)?), ended: OnceLock::new() })
    }

    /// Names are those of the services that decide now.
    ///
    /// # Errors
    /// When the policy cannot be read.
    pub fn follow(&self, maps: &Maps) -> Result<()> {
        *self.services.lock().unwrap_or_else(PoisonError::into_inner) = Self::names(maps)?;
        Ok(())
    }

    /// Whether somebody may read the lines still.
    ///
    /// # Errors
    /// When standard output did not take one.
    pub fn reader(&self) -> Result<Reader> {
        match self.ended.get() {
            None => Ok(output::reader()),
            Some(None) => Ok(Reader::Gone),
            Some(Some(error)) => bail!("{error}"),
        }
    }

    fn names(maps: &Maps) -> Result<Vec<String>> {
        let mut services = vec!["-".to_owned()];
        for (id, record) in maps.services(maps.selection()?.slot)? {
            services.resize(services.len().max(id as usize + 2), "-".to_owned());
            services[id as usize + 1] =
                text::name(&record.name).map(|name| name.to_string()).unwrap_or_default();
        }
        Ok(services)
    }

    fn line(&self, message: &str) -> Option<String> {
        let words: Vec<&str> = message.split(' ').collect();
        let [_, reason, _, service, _, mode, _, frame] = words[..] else { return None };
        let reason = Reason::ALL.iter().find(|known| (**known as u8).to_string() == reason)?.name();
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let service = services.get(service.parse::<usize>().ok()?)?;
        let mode = if mode == "1" { "enforce" } else { "observe" };
        Some(match self.format {
            Format::Json => {
                let frame: u32 = frame.parse().ok()?;
                serde_json::json!({ "reason": reason, "service": service, "mode": mode, "frame_bytes": frame })
                    .to_string()
            }
            Format::Human => {
                format!("{reason:<20} service {service:<12} {mode:<8} frame of {frame} bytes")
            }
        })
    }
}

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let message = record.args().to_string();
        let line = self.line(&message).unwrap_or(message);
        let ended = match output::data(format!("{line}\n").as_bytes()) {
            Ok(Reader::There) => return,
            Ok(Reader::Gone) => None,
            Err(error) => Some(format!("{error:#}")),
        };
        // The first reason is the one.
        let _ = self.ended.set(ended);
    }

    fn flush(&self) {}
}
