//! Shares of budgets, which end in the kernel: a word for each, written with one store.

use anyhow::{Context as _, Result};
use limiter_common::share::Share;

use super::maps::Maps;
use super::words::Access;

impl Maps {
    /// The share at the index of a budget: a service's id, or
    /// [`limiter_common::record::HOST_BUDGET`]. It may have ended.
    ///
    /// # Errors When the map cannot be mapped.
    pub fn share(&self, index: u32) -> Result<Share> {
        let words = self.share.words(Access::Read).context("cannot read the shares")?;
        Ok(Share(words.get(index as usize).unwrap_or(0)))
    }

    /// Puts a share into force, at once for every CPU; [`Share::NONE`] puts the stated rate back.
    ///
    /// # Errors
    /// When the map cannot be mapped.
    pub fn set_share(&self, index: u32, share: Share) -> Result<()> {
        let words = self.share.words(Access::Write).context("cannot write a share")?;
        words.store(index as usize, share.0);
        Ok(())
    }
}
