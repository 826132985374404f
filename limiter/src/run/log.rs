//! How the daemon's log looks: lines of text or JSON on standard error, in the journal's own form where that is the journal.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;

use clap::ValueEnum;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::output;

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// A sentence, and what it is about as KEY=VALUE.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// From now on, what the daemon has to say is written to standard error. Only the first call counts.
pub fn start(form: Form) {
    let journal = std::env::var("JOURNAL_STREAM").is_ok_and(|stream| is_standard_error(&stream));
    let lines = tracing_subscriber::fmt()
        .with_writer(|| output::Log)
        // What a failed write would be told with is a print that panics.
        .log_internal_errors(false)
        .with_ansi(false)
        .with_target(false);
    // A second start, which only a test can make, keeps what is there.
    let _ = match (form, journal) {
        (Form::Text, false) => lines.try_init(),
        (Form::Json, false) => lines.json().flatten_event(true).try_init(),
        // The journal has the time, and takes the level from the beginning of the line.
        (Form::Text, true) => {
            lines.without_time().with_level(false).map_event_format(Leveled).try_init()
        }
        (Form::Json, true) => {
            lines.json().flatten_event(true).without_time().map_event_format(Leveled).try_init()
        }
    };
}

/// Whether a stream that is called `DEVICE:INODE` is our standard error.
fn is_standard_error(stream: &str) -> bool {
    let here =
        std::fs::metadata("/proc/self/fd/2").map(|file| format!("{}:{}", file.dev(), file.ino()));
    here.is_ok_and(|here| here == stream)
}

/// Lines with the level as sd-daemon(3) wants it: `<4>` and so on.
struct Leveled<F>(F);

impl<S, N, F> FormatEvent<S, N> for Leveled<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(to, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, to, event)
    }
}

/// The level as syslog counts it.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}
