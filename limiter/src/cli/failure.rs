//! What an operator reads of a failure: one line, with what to do where the kernel's reason is the
//! same whatever was tried; and of wrong words, what clap cannot know.

use std::io::ErrorKind;

use clap::error::{ContextKind, ContextValue, ErrorKind as Wrong};
use clap::{CommandFactory as _, Parser as _};

use super::Command;
use crate::fleet::http::Unreached;
use crate::policy::text;

/// The same mistake as clap tells it where no variable of the environment sets an option: else it
/// shows those as if they were required, and does not show the help to whoever types nothing.
pub fn usage(error: clap::Error) -> clap::Error {
    if !matches!(error.kind(), Wrong::MissingRequiredArgument | Wrong::MissingSubcommand) {
        return error;
    }
    let mut names = Vec::new();
    variables(&Command::command(), &mut names);
    for name in names {
        // SAFETY: the command has one thread until it knows what to do, and it ends with this
        // error.
        unsafe { std::env::remove_var(name) };
    }
    Command::try_parse().err().unwrap_or(error)
}

fn variables(command: &clap::Command, names: &mut Vec<std::ffi::OsString>) {
    names.extend(
        command.get_arguments().filter_map(|argument| argument.get_env().map(ToOwned::to_owned)),
    );
    command.get_subcommands().for_each(|below| variables(below, names));
}

/// What was probably meant: a time stands behind its option.
pub fn tip(error: &clap::Error) -> Option<String> {
    let kind = match error.kind() {
        Wrong::UnknownArgument => ContextKind::InvalidArg,
        Wrong::ValueValidation => ContextKind::InvalidValue,
        _ => return None,
    };
    let Some(ContextValue::String(word)) = error.get(kind) else { return None };
    text::duration(word).ok().map(|_| format!("give a time with its option: `--for {word}`"))
}

/// The line. Of causes that repeat what stands before them, once.
pub fn said(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.ends_with(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    let advice = advice(error, &line).map_or_else(String::new, |advice| format!("; {advice}"));
    format!("limiter: {line}{advice}")
}

/// What to do, where no sentence of the line says so yet.
fn advice(error: &anyhow::Error, line: &str) -> Option<&'static str> {
    let errors = || error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    let is = |kind: ErrorKind| errors().any(|error| error.kind() == kind);
    let code = |code: i32| errors().any(|error| error.raw_os_error() == Some(code));
    if is(ErrorKind::PermissionDenied) && !line.contains("root") {
        return Some("run it as root");
    }
    if is(ErrorKind::OutOfMemory) {
        return Some(
            "limiter needs about 80 MiB to load: free memory, or raise the limit of the memory cgroup that this \
             runs in (systemd's MemoryMax=, a container's limit; `cat /proc/self/cgroup` names it), or of `ulimit -v`",
        );
    }
    if code(libc::EMFILE) {
        return Some("limiter needs up to 128 open files: `ulimit -n 1024`");
    }
    if error.chain().any(|cause| cause.is::<Unreached>()) {
        return Some(crate::fleet::GONE);
    }
    None
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;
    use std::io::Error;

    use super::*;

    #[test]
    fn a_time_stands_behind_its_option() {
        let tip_of = |line: &str| tip(&Command::try_parse_from(line.split(' ')).expect_err(line));
        for line in ["limiter arm 30m", "limiter ban add 192.0.2.7 30m", "limiter trace 5s"] {
            assert!(tip_of(line).is_some_and(|tip| tip.contains("`--for ")), "{line}");
        }
        for line in ["limiter arm now", "limiter ban add host", "limiter arm --for soon"] {
            assert_eq!(tip_of(line), None, "{line}");
        }
    }

    fn os(code: i32) -> anyhow::Error {
        anyhow::Error::new(Error::from_raw_os_error(code))
    }

    #[test]
    fn advice_by_kind() {
        assert!(said(&os(libc::EACCES).context("cannot open a")).ends_with("; run it as root"));
        assert!(!said(&os(libc::EACCES).context("be root to open a")).contains("run it"));
        assert!(said(&os(libc::ENOMEM).context("cannot load")).contains("memory cgroup"));
        assert!(said(&os(libc::EMFILE).context("cannot load")).contains("ulimit -n"));
        assert_eq!(said(&anyhow!("no such thing")), "limiter: no such thing");
    }

    #[test]
    fn a_reason_is_said_once() {
        let inner = os(libc::ENOENT);
        let text = inner.to_string();
        let twice = inner.context(format!("cannot make a map: {text}")).context("cannot load");
        assert_eq!(said(&twice), format!("limiter: cannot load: cannot make a map: {text}"));
    }
}
