//! Lines of the history of any bytes: the good ones are shown, the others left out and counted, and nothing panics.

use std::io::Write as _;
use std::process::Command;

use limiter::history::{Entry, History, Moment, back};
use proptest::collection::vec;
use proptest::prelude::*;

fn lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(prop_oneof![vec(any::<u8>(), 0..80), line().prop_map(String::into_bytes), torn()], 0..12)
}

/// A line of the right form, with any values.
fn line() -> impl Strategy<Value = String> {
    let time = prop_oneof![
        Just("1970-01-01T00:00:00Z".to_owned()),
        Just("9999-12-31T23:59:59.999Z".to_owned()),
        Just("2026-02-30T24:60:60Z".to_owned()),
        "[0-9]{4}-[0-1][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](\\.[0-9]{1,9})?Z",
    ];
    let text = prop_oneof![Just(String::new()), ".{0,30}", "(limiter|arm|--for|é|\\u{202e}){1,40}"];
    let number = prop_oneof![Just(0), Just(u64::MAX), any::<u64>()];
    (time.clone(), time, vec(text, 4), number, any::<bool>()).prop_map(|(time, back, texts, number, known)| {
        let state =
            if known { serde_json::json!({ "mode": texts[0], "profile": texts[1] }) } else { serde_json::Value::Null };
        let value = serde_json::json!({
            "time": time, "who": { "uid": number as u32, "user": texts[1], "sudo_user": texts[2], "login_uid": 0 },
            "command": texts, "changed": [texts[3]], "before": state, "after": state, "goes_back_at": back,
            "decides": ["switch", texts[2]], "counters": { "attempts": number, "admitted": number, "refused": number },
        });
        value.to_string()
    })
}

/// A good line with one byte of another value, or cut off.
fn torn() -> impl Strategy<Value = Vec<u8>> {
    (line(), any::<prop::sample::Index>(), any::<u8>(), any::<bool>()).prop_map(
        |(line, at, byte, cut)| {
            let mut bytes = line.into_bytes();
            let at = at.index(bytes.len());
            if cut {
                bytes.truncate(at)
            } else {
                bytes[at] = byte
            }
            bytes
        },
    )
}

fn write(lines: &[Vec<u8>]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    lines.iter().for_each(|line| file.write_all(&[line, &b"\n"[..]].concat()).expect("written"));
    file
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn any_lines_are_read(lines in lines()) {
        let file = write(&lines);
        let read = History::at(file.path()).read(usize::MAX).expect("it is read");
        let all: usize = lines.iter().map(|line| line.split(|byte| *byte == b'\n').filter(|part| !part.is_empty()).count()).sum();
        prop_assert_eq!(read.entries.len() + read.skipped, all);
        for (number, entry) in read.entries.iter().enumerate() {
            let _ = (back(entry, &read.entries[number + 1..], Moment::now()), entry.time.local(), entry.who.to_string());
            let again: Entry = serde_json::from_str(&serde_json::to_string(entry).expect("JSON")).expect("an entry");
            prop_assert_eq!(&again, entry);
        }
    }
}

/// The command over many such lines at once, as text and as JSON.
#[test]
fn the_command_shows_what_is_whole() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut lines = Vec::new();
    for _ in 0..100 {
        lines.extend(self::lines().new_tree(&mut runner).expect("lines").current());
    }
    let file = write(&lines);
    let read = History::at(file.path()).read(usize::MAX).expect("it is read");
    assert!(
        read.entries.len() > 50 && read.skipped > 50,
        "{} whole, {} not",
        read.entries.len(),
        read.skipped
    );
    for json in [false, true] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_limiter"));
        command.arg("history").arg("--history").arg(file.path()).args(json.then_some("--json"));
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert_eq!(
            (said.lines().count(), said.contains(&format!("left out {} lines", read.skipped))),
            (1, true),
            "{said}"
        );
        let shown = match json {
            true => serde_json::from_slice::<Vec<serde_json::Value>>(&output.stdout)
                .expect("JSON")
                .len(),
            false => String::from_utf8(output.stdout).expect("text").lines().count(),
        };
        assert_eq!(shown, read.entries.len(), "a line each");
    }
}
