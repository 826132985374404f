//! Owns the web server of the front end, and the crowd and the people that fetch pages from it.
//!
//! Both are as small as they can be and still make the kernel do what it does for real ones: a page is a fresh TCP
//! connection, one request, one answer, a close. Each runs on a thread of its own inside its namespace.

mod crowd;
mod people;
mod server;

pub use crowd::{Crowd, CrowdHandle, PageReport};
pub use people::{People, PeopleHandle, Person, Tally};
pub use server::{PAGE_BYTES, Server, ServerOptions, Workers};

use anyhow::{Context as _, Result};
use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the limit of open files to what is allowed: a connection is one.
fn raise_file_limit() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")
}
