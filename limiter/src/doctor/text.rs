//! What doctor found, for somebody who is tired: by area, a line each, the advice below, the worst last.

use std::fmt::Write as _;

use super::{Finding, Level};

/// Columns of an ordinary terminal.
const WIDTH: usize = 80;
/// Columns before what was found.
const MARGIN: usize = 11;

/// The text of `limiter doctor`.
pub fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    let mut area = None;
    for finding in findings {
        if area != Some(&finding.area) {
            let gap = if area.is_some() { "\n" } else { "" };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{gap}{}", finding.area);
            area = Some(&finding.area);
        }
        let label = match finding.level {
            Level::Ok => "  ok",
            Level::Warning => "  warning",
            Level::Problem => "  problem",
        };
        for (row, line) in wrapped(&finding.what, WIDTH - MARGIN).iter().enumerate() {
            let _ = writeln!(text, "{:<MARGIN$}{line}", if row == 0 { label } else { "" });
        }
        for (row, line) in
            wrapped(finding.advice.as_deref().unwrap_or_default(), WIDTH - MARGIN - 3)
                .iter()
                .enumerate()
        {
            let _ = writeln!(text, "{:<MARGIN$}{}{line}", "", if row == 0 { "-> " } else { "   " });
        }
    }
    if findings
        .iter()
        .any(|finding| finding.advice.as_ref().is_some_and(|advice| advice.contains("sysctl -w")))
    {
        text.push_str(
            "\n`sysctl -w` lasts until the next boot; /etc/sysctl.d keeps settings for good.\n",
        );
    }
    let _ = writeln!(text, "\n{}", summary(findings));
    text
}

/// The last line, which is what a tired reader sees.
fn summary(findings: &[Finding]) -> String {
    let number = |level| findings.iter().filter(|finding| finding.level == level).count();
    let say = |count: usize, what: &str| match count {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    let (problems, warnings) =
        (say(number(Level::Problem), "problem"), say(number(Level::Warning), "warning"));
    let mut areas: Vec<&str> = Vec::new();
    for finding in findings.iter().filter(|finding| finding.level == Level::Problem) {
        if !areas.contains(&finding.area.as_str()) {
            areas.push(&finding.area);
        }
    }
    let place = if areas.is_empty() { String::new() } else { format!(" ({})", areas.join(", ")) };
    format!("{problems}{place}, {warnings}, {} ok", number(Level::Ok))
}

/// Lines of at most `width` columns. A command between backticks stays on one line if it fits on one, so that it can be copied.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words(text, width) {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// Words, with commands in one.
fn words(text: &str, width: usize) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut open = false;
    for word in text.split_whitespace() {
        match words
            .last_mut()
            .filter(|last| open && last.chars().count() + 1 + word.chars().count() <= width)
        {
            Some(last) => {
                last.push(' ');
                last.push_str(word);
            }
            None => words.push(word.to_owned()),
        }
        open ^= word.matches('`').count() % 2 == 1;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(area: &str, level: Level, what: &str, advice: Option<&str>) -> Finding {
        Finding {
            area: area.to_owned(),
            level,
            what: what.to_owned(),
            advice: advice.map(str::to_owned),
        }
    }

    #[test]
    fn areas_lines_and_advice() {
        let found = [
            finding("kernel", Level::Ok, "Linux 6.18", None),
            finding("kernel", Level::Problem, "no JIT", Some("switch it on")),
            finding("settings", Level::Warning, "small", Some("raise it")),
        ];
        let expected = "kernel\n  ok       Linux 6.18\n  problem  no JIT\n           -> switch it on\n\n\
                        settings\n  warning  small\n           -> raise it\n\n\
                        1 problem (kernel), 1 warning, 1 ok\n";
        assert_eq!(text(&found), expected);
    }

    #[test]
    fn nothing_is_wider_than_a_terminal() {
        let long = "word ".repeat(60);
        let command = format!("{long}`sysctl -w net.ipv4.tcp_syncookies=2` {long}");
        let said = text(&[finding("settings", Level::Warning, &long, Some(&command))]);
        assert!(said.lines().all(|line| line.chars().count() <= WIDTH), "{said}");
        assert!(
            said.contains("`sysctl -w net.ipv4.tcp_syncookies=2`"),
            "a command stays on one line: {said}"
        );
        assert!(said.contains("/etc/sysctl.d"), "and how to keep it: {said}");
    }

    #[test]
    fn a_command_longer_than_a_line_is_broken() {
        let lines = wrapped(&format!("`{}`", "long ".repeat(30).trim()), 40);
        assert!(
            lines.len() > 1 && lines.iter().all(|line| line.chars().count() <= 40),
            "{lines:?}"
        );
    }
}
