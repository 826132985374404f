//! The runbooks in docs/runbooks: every command in them is run as it is typed there, by a shell, one after the other, and succeeds.
//!
//! What stands in for the operator's machine: namespaces, a bpffs and a history of the test, and a directory for /etc/limiter.

use std::path::Path;

use super::{Desk, binary};

/// What /etc/limiter/policy.toml says on this machine: the sample, with an interface and a list of schools.
const POLICY: &str = r#"
interfaces = ["web0"]

[defaults]
source_rate = "20/s"

[host]
budget = "5000/s"

[service.web]
listen = ["*:80", "*:443"]

[service.ssh]
listen = ["*:22"]

[class.schools]
prefixes_from = "schools.txt"
source_rate = "400/s"

[profile.siege]
mode = "enforce"

[profile.siege.defaults]
source_rate = "5/s"
"#;

/// Where a runbook speaks of a machine on which limiter is not loaded.
const NOT_ATTACHED: &str = "\n## Not attached\n";

fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/runbooks").join(name);
    std::fs::read_to_string(&path).expect("a runbook")
}

/// Runs the commands in `text` after those of `before`; what each of them said.
fn run(text: &str, before: &[&str]) -> String {
    let desk = Desk::new();
    let directory = desk.state();
    std::fs::write(directory.join("policy.toml"), POLICY).expect("a file");
    std::fs::write(directory.join("schools.txt"), "198.18.0.0/15\n").expect("a file");
    let typed = text.lines().filter_map(|line| line.strip_prefix("    # "));
    let mut said = String::new();
    let mut count = 0;
    for line in before.iter().copied().chain(typed) {
        count += 1;
        let here = line.replace("/etc/limiter", directory.to_str().expect("a path"));
        let mut command = desk.front.command("sh").expect("a shell");
        let path = format!(
            "{}:/usr/sbin:/usr/bin:/sbin:/bin",
            binary().parent().expect("a directory").display()
        );
        let command =
            desk.furnish(command.args(["-c", &here])).env("PATH", path).current_dir(directory);
        let output = command
            .env("LIMITER_POLICY", directory.join("policy.toml"))
            .output()
            .expect("a shell runs");
        let (out, error) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        // The machine of a test is not what doctor would have it be; that it answers is what counts here.
        let may_find = line == "limiter doctor" && output.status.code() == Some(1);
        assert!(output.status.success() || may_find, "`{line}`: {out}{error}");
        said.push_str(&format!("# {line}\n{out}{error}"));
    }
    assert!(count >= before.len() + 4, "{count} commands");
    said
}

#[test]
fn it_is_on_fire() {
    let text = text("on-fire.md");
    let (attached, not_attached) = text.split_once(NOT_ATTACHED).expect("two parts");
    let said = run(attached, &["limiter apply"]);
    assert!(said.contains("mode enforce") && said.contains("goes back by itself in 1h"), "{said}");
    let said = run(not_attached, &[]);
    assert!(said.contains("attached to web0") && said.contains("it stays as it is"), "{said}");
}

#[test]
fn a_school_is_cut_off() {
    let said =
        run(&text("a-school-is-cut-off.md"), &["limiter apply", "limiter ban add 192.0.2.10"]);
    assert!(said.contains("class schools") && said.contains("192.0.2.0/24"), "{said}");
}

#[test]
fn back_to_normal() {
    let before = [
        "limiter apply",
        "limiter allow add 198.51.100.7",
        "limiter ban add 203.0.113.0/24 --for 30m",
        "limiter profile use siege",
    ];
    let said = run(&text("back-to-normal.md"), &before);
    assert!(
        said.contains("5/s, burst 10 -> 20/s, burst 40") && said.contains("mode observe"),
        "{said}"
    );
    // Within the hour of on-fire.md, with what the text says of that.
    let hour = [
        "limiter apply",
        "limiter profile use siege --confirm 2m --for 1h",
        "limiter confirm",
        "limiter confirm",
    ];
    let lists = ["limiter allow add 198.51.100.7", "limiter ban add 203.0.113.0/24 --for 30m"];
    let said = run(&text("back-to-normal.md"), &[&hour[..], &lists].concat());
    assert!(said.contains("5/s, burst 10 -> 20/s, burst 40"), "{said}");
}
