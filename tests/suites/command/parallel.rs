//! Five hundred commands, sixteen at a time: each does its work, one after another where they
//! change something, and the end is whole.

use std::collections::VecDeque;
use std::process::{Child, Output, Stdio};
use std::time::Instant;

use super::Desk;

const COMMANDS: usize = 500;
const AT_A_TIME: usize = 16;

const POLICY: &str = r#"
interfaces = ["web0", "web1"]
sources = 4096
[defaults]
source_rate = "7/s"
source_burst = 77
[host]
budget = "777/s"
[service.web]
listen = ["*:80"]
"#;

/// A command by its number.
fn line(number: usize, file: &str) -> String {
    match number % 25 {
        0 => format!("apply {file}"),
        1 | 9 | 17 => {
            format!("set --source-rate {0}/s --source-burst {0}1 --budget {0}00/s", number + 10)
        }
        2 | 10 | 18 => format!("ban add 198.18.{}.{} --for 1h", number / 250, number % 250),
        3 | 11 => format!("ban add 10.{}.{}.0/24", number / 250, number % 250),
        4 => format!("allow add 2001:db8:{number:x}::/48"),
        5 | 13 => "arm".to_owned(),
        6 => "disarm".to_owned(),
        7 | 15 => "policy show".to_owned(),
        8 => "history --last 5".to_owned(),
        12 if number % 100 == 12 => "upgrade".to_owned(),
        14 => "arm --for 1h".to_owned(),
        16 => format!("policy diff {file}"),
        _ => "status --quick --json".to_owned(),
    }
}

#[test]
fn five_hundred_commands_sixteen_at_a_time() {
    let desk = Desk::new();
    let file = desk.policy();
    std::fs::write(&file, POLICY).expect("written");
    let file = file.to_str().expect("a path");
    desk.ok(&format!("apply {file}"));
    let lines: Vec<String> = (0..COMMANDS).map(|number| line(number, file)).collect();
    let spawn = |line: &String| -> Child {
        desk.command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs")
    };
    let mut untold = 0;
    let mut end = |(line, child): (&String, Child)| {
        let mut output = child.wait_with_output().expect("it ends");
        let says =
            |output: &Output, words: &str| String::from_utf8_lossy(&output.stderr).contains(words);
        // It waits for another one for ten seconds, and for the history for two.
        while says(&output, "is changing limiter, and this has waited") {
            output = desk.output(line);
        }
        untold += usize::from(says(&output, "the history does not record it"));
        assert!(
            output.status.success(),
            "limiter {line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        if line.contains("--json") {
            let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
            assert_eq!(
                status["services"].as_array().map(Vec::len),
                Some(1),
                "a status is whole at any time: {status}"
            );
        }
    };
    let (start, mut running) = (Instant::now(), VecDeque::new());
    for line in &lines {
        running.push_back((line, spawn(line)));
        if running.len() == AT_A_TIME
            && let Some(first) = running.pop_front()
        {
            end(first);
        }
    }
    running.into_iter().for_each(&mut end);
    println!("{COMMANDS} commands in {:.1} s", start.elapsed().as_secs_f64());
    whole(&desk, &lines, untold);
}

/// One of the policies, whole; every ban and allowance; both interfaces; one entry of the history
/// for each change, but for those of which a command said that there is none.
fn whole(desk: &Desk, lines: &[String], untold: usize) {
    let status = desk.json("status --quick");
    let limits = (
        status["source_limit"].as_str().expect("a limit"),
        status["budget"].as_str().expect("a budget"),
    );
    let set =
        (0..COMMANDS).filter(|number| lines[*number].starts_with("set")).map(|number| number + 10);
    let mut policies: Vec<(String, String)> = set
        .map(|n| (format!("{n}/s, burst {n}1"), format!("{n}00/s, burst {}", n * 200)))
        .collect();
    policies.push(("7/s, burst 77".to_owned(), "777/s, burst 1554".to_owned()));
    assert!(
        policies.iter().any(|(source, budget)| (source.as_str(), budget.as_str()) == limits),
        "{limits:?}"
    );
    let count = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!(
        (status["banned"].as_u64(), status["allowed"].as_u64()),
        (Some(count("ban add") as u64), Some(count("allow add") as u64))
    );
    assert!(["web0", "web1"].iter().all(|name| desk.has_program(name)));
    let changing = ["apply", "set", "ban add", "allow add", "arm", "disarm", "upgrade"];
    let changes = changing.iter().map(|start| count(start)).sum::<usize>() + 1;
    let history = desk.json("history");
    assert_eq!(history.as_array().map(Vec::len), Some(changes - untold), "one entry a change");
    desk.ok("detach --all");
    assert!(desk.left().is_empty() && desk.becomes_free("web0"), "{:?}", desk.left());
}
