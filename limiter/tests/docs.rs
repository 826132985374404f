//! Man pages and completions: one page for every command, and nothing that the tools that read them complain about.
//!
//! The tools are those that `cargo xtask setup` installs.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use clap::CommandFactory as _;

/// A directory with all pages, removed when dropped.
struct Pages(PathBuf);

impl Pages {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("limiter-docs-{name}-{}", std::process::id()));
        let output = limiter(&["docs", "man", path.to_str().expect("a path")]);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).lines().count(),
            fs::read_dir(&path).expect("made").count()
        );
        Self(path)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(&self.0).expect("a directory");
        entries
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect()
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the command, which must succeed. 1,000,000,000 seconds after 1970 is 9 September 2001.
fn limiter(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_limiter"));
    let output =
        command.args(arguments).env("SOURCE_DATE_EPOCH", "1000000000").output().expect("runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Runs a tool of this machine.
fn tool(command: &mut Command) -> Output {
    let output = command.output();
    output.unwrap_or_else(|error| {
        panic!("{}: {error}; `cargo xtask setup` installs it", command.get_program().display())
    })
}

/// The pages that there should be: of this command and of all below it that an operator types.
fn expected(command: &clap::Command, prefix: &str, names: &mut BTreeSet<String>) {
    let name = format!("{prefix}{}", command.get_name());
    names.insert(format!("{name}.8"));
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        expected(below, &format!("{name}-"), names);
    }
}

#[test]
fn every_command_has_a_page() {
    let pages = Pages::new("pages");
    let mut names = BTreeSet::new();
    expected(&limiter::cli::Command::command(), "", &mut names);
    assert!(names.contains("limiter-ban-add.8"), "{names:?}");
    assert_eq!(pages.names(), names);
    for name in &names {
        let page = pages.read(name);
        assert!(page.contains(".TH LIMITER") && page.contains("2001-09-09"), "{name}");
        assert!(
            [".SH NAME", ".SH SYNOPSIS", ".SH OPTIONS"]
                .iter()
                .all(|section| page.contains(section)),
            "{name}"
        );
    }
}

#[test]
fn the_main_page_tells_what_clap_does_not_know() {
    let page = Pages::new("main").read("limiter.8").replace('\\', "");
    for section in ["EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES"] {
        assert!(page.contains(&format!(".SH {section}\n")), "{section}");
    }
    for text in [
        limiter::history::PATH,
        "/sys/fs/bpf/limiter",
        "/etc/limiter/policy.toml",
        "limiter arm --for",
    ] {
        assert!(page.contains(text), "{text}");
    }
    let mut variables = BTreeSet::new();
    environment(&limiter::cli::Command::command(), &mut variables);
    assert!(variables.contains("LIMITER_PINS"), "{variables:?}");
    for name in variables {
        assert!(page.contains(&format!("fB{name}fR")), "{name} is not told");
    }
}

/// The variables that set an option of this command or of one below it.
fn environment(command: &clap::Command, names: &mut BTreeSet<String>) {
    let variables = command.get_arguments().filter_map(|argument| argument.get_env()?.to_str());
    names.extend(variables.map(ToOwned::to_owned));
    command.get_subcommands().for_each(|below| environment(below, names));
}

#[test]
fn the_tools_that_read_pages_do_not_complain() {
    let pages = Pages::new("lint");
    for name in pages.names() {
        let path = pages.0.join(&name);
        for mut command in [Command::new("mandoc"), Command::new("man")] {
            match command.get_program().to_str() {
                Some("mandoc") => command.args(["-Tlint", "-W", "warning"]),
                _ => command
                    .args(["--warnings", "-E", "UTF-8", "-l"])
                    .env("LC_ALL", "C.UTF-8")
                    .env("MANWIDTH", "100"),
            };
            let output = tool(command.arg(&path));
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{command:?}: {said}");
            if command.get_program() == "mandoc" {
                assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
            }
        }
    }
}

#[test]
fn completions_load_and_complete() {
    let file = std::env::temp_dir().join(format!("limiter-completions-{}", std::process::id()));
    for shell in ["bash", "zsh", "fish"] {
        let script = limiter(&["docs", "completions", shell]).stdout;
        let text = String::from_utf8_lossy(&script);
        assert!(
            text.contains("detach") && !text.contains("settle"),
            "{shell}: what is hidden is not completed"
        );
        fs::write(&file, &script).expect("written");
        let output = tool(Command::new(shell).arg("-n").arg(&file));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{shell} -n: {said}");
    }
    fs::write(&file, limiter(&["docs", "completions", "bash"]).stdout).expect("written");
    for (words, expected) in
        [("ar", "arm"), ("ban ad", "add"), ("docs completions z", "zsh"), ("arm --fo", "--for")]
    {
        let last = words.split(' ').next_back().unwrap_or_default();
        let count = words.split(' ').count();
        let script = format!(
            "source {}; COMP_WORDS=(limiter {words}); COMP_CWORD={count}; _limiter limiter {last} limiter; echo ${{COMPREPLY[*]}}",
            file.display()
        );
        let output = tool(Command::new("bash").args(["--norc", "-c", &script]));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected, "limiter {words}");
    }
    fs::remove_file(&file).expect("removed");
}

#[test]
fn where_the_pages_are_as_json() {
    let pages = Pages::new("json");
    let output = limiter(&["--json", "docs", "man", pages.0.to_str().expect("a path")]);
    let paths: Vec<PathBuf> = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(!paths.is_empty() && paths.iter().all(|path| path.is_file()));
}
