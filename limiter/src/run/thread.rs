//! A thread of the daemon for what waits for others, so that one that does not answer holds up
//! nothing.

use anyhow::{Context as _, Result};
use tokio::sync::oneshot;

/// A thread that ends when this is dropped.
#[derive(Debug)]
pub struct Thread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Thread {
    /// Starts one that does `work`.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start<W: Future<Output = ()>>(
        name: &str,
        work: impl FnOnce() -> W + Send + 'static,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        () = work() => {}
                    }
                });
                // A name that is being looked up must not hold up the daemon's end.
                runtime.shutdown_background();
            })
            .context("cannot start a thread")?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
