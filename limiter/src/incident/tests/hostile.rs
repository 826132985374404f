//! Records from anybody: cut off, damaged, put together to mislead. They are read in part or refused; nothing panics, and nothing of them
//! is more than words in the page.

use proptest::prelude::*;

use super::super::archive::{Record, read};
use super::super::names;
use super::super::report::Report;
use super::super::series::{Heavy, Line, Note, Service, Tick, Top};
use super::{Second, Told, archive};

fn told() -> Told {
    let mut told = Told::new("enforce");
    let flood = Second {
        decided: &[("challenged", 9000), ("proven", 10)],
        tcp: &[("PassiveOpens", 10)],
        ..Second::default()
    };
    told.seconds(10, Second { decided: &[("admitted", 10)], ..Second::default() })
        .seconds(10, flood);
    told
}

/// Everything that a report is, which must not panic; the page must be well-formed.
#[track_caller]
fn report(record: &Record) -> String {
    let report = Report::of(record);
    let (text, page) = (report.text(), report.html());
    assert!(
        !text.chars().any(|c| c.is_control() && c != '\n'),
        "nothing that a terminal would obey"
    );
    let options =
        roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() };
    let parsed = roxmltree::Document::parse_with_options(&page, options).map(|_| ());
    assert_eq!(parsed, Ok(()));
    assert!(!page.contains("NaN") && !page.contains("inf "), "coordinates are numbers");
    serde_json::to_string(&report).expect("JSON");
    page
}

fn read_bytes(bytes: &[u8]) -> Record {
    let mut record = Record::default();
    record.read_archive(bytes);
    record
}

#[test]
fn what_is_cut_off_is_read_as_far_as_it_goes() {
    let whole = archive(&[(names::SERIES, &told().series())]);
    for length in [0, 1, 10, 20, whole.len() / 2, whole.len() - 1] {
        let record = read_bytes(&whole[..length]);
        assert!(!record.problems.is_empty() || record.series.lines == 21, "{length}");
        report(&record);
    }
    assert!(read_bytes(&whole[..whole.len() / 2]).series.lines > 1, "half of it is something");
}

#[test]
fn broken_lines_are_counted() {
    let mut series = told().series();
    series.extend(
        b"{\"kind\":\"tick\",\"monotonic\":\"soon\"}\nnot JSON\n\xff\xfe\n{\"kind\":\"later\"}\n{\"kind\":\"ti",
    );
    let record = read_bytes(&archive(&[(names::SERIES, &series)]));
    assert_eq!(record.series.lines, 21);
    assert!(
        record.problems.iter().any(|problem| problem.contains("left out 5 lines")),
        "{:?}",
        record.problems
    );
}

#[test]
fn foreign_files_are_left_out() {
    let series = told().series();
    let files: [(&str, &[u8]); 4] = [
        ("../../etc/passwd", b"root"),
        (names::SERIES, &series),
        (names::SERIES, b"{}"),
        ("more.txt", b"hello"),
    ];
    let record = read_bytes(&archive(&files));
    assert_eq!(record.series.lines, 21);
    assert!(
        record.problems.iter().any(|problem| problem.contains("left out 3 files")),
        "{:?}",
        record.problems
    );
}

#[test]
fn what_is_no_record_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let refused = |path: &std::path::Path| read(path).expect_err("refused").to_string();
    assert!(refused(directory.path()).contains("holds no record of limiter"));
    assert!(refused(&directory.path().join("nowhere")).contains("cannot read"));
    assert!(refused(std::path::Path::new("/dev/zero")).contains("neither an archive"));
    let file = directory.path().join("file.tar.gz");
    for bytes in [b"hello".to_vec(), archive(&[("more.txt", b"hello")])] {
        std::fs::write(&file, bytes).expect("written");
        assert!(refused(&file).contains("holds no record of limiter"));
    }
    std::os::unix::fs::symlink("/etc/passwd", directory.path().join(names::SERIES))
        .expect("linked");
    assert!(
        refused(directory.path()).contains("not an ordinary file"),
        "a link leads out of the directory"
    );
}

/// A name of four megabytes, by an extension of tar, is not read into memory; nor is a file that unpacks to gigabytes.
#[test]
fn bombs_do_not_go_off() {
    let zeros = vec![0; 64 << 20];
    let record = read_bytes(&archive(&[(names::META, &zeros), (names::SERIES, &told().series())]));
    assert_eq!(record.series.lines, 21);
    assert!(
        record.meta.is_none()
            && record.problems.iter().any(|problem| problem.contains(names::META))
    );
    let line = read_bytes(&archive(&[(names::SERIES, &zeros)]));
    assert_eq!(line.series.lines, 0, "a line without an end");
}

#[test]
fn words_of_others_stay_words() {
    let mut told = told();
    let evil = "<script>alert(1)</script>\" onload='x' `code`` \u{1b}[2J\u{202e}&amp;".to_owned();
    let heavy = Heavy {
        source: evil.clone(),
        service: evil.clone(),
        class: Some(evil.clone()),
        count: 9,
        ..Heavy::default()
    };
    told.line(Line::Top(Top { time: None, refused: vec![heavy] }))
        .line(Line::Note(Note { time: None, text: evil.clone() }));
    told.change(|tick| {
        tick.limiter
            .as_mut()
            .expect("loaded")
            .services
            .push(Service { name: evil.clone(), ..Service::default() })
    });
    told.seconds(1, Second::default());
    let page = report(&told.record());
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"), "{page}");
    assert!(!page.contains("onload='"), "{page}");
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), Just(u64::MAX), any::<u64>(), 0..100_000u64]
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(0.0),
        Just(1e308),
        Just(-1e308),
        Just(f64::MIN_POSITIVE),
        -10.0..1e6,
        any::<f64>().prop_filter("JSON", |n| n.is_finite())
    ]
}

prop_compose! {
    fn tick()(monotonic in number(), counts in proptest::collection::vec(count(), 12), share in number(), time in 0..u64::MAX / 2_000_000) -> Tick {
        let mut told = Told::new("enforce");
        told.change(|tick| {
            tick.monotonic = monotonic;
            tick.time = Some((std::time::UNIX_EPOCH + std::time::Duration::from_millis(time)).into());
            tick.tcp.values_mut().zip(&counts).for_each(|(to, count)| *to = *count);
            tick.cpu = super::Cpu { total: counts[6], busy: counts[7], softirq: counts[8] };
            let limiter = tick.limiter.as_mut().expect("loaded");
            for (name, count) in ["admitted", "challenged", "proven", "source_limit", "who knows"].iter().zip(&counts) {
                limiter.services[0].decided.insert((*name).to_owned(), *count);
            }
            limiter.services[0].observed.insert("global_budget".to_owned(), counts[5]);
            limiter.budget_used = Some(share);
            limiter.distinct = Some(super::Distinct {
                seconds: share, sources: counts[9], prefixes_24: counts[10], prefixes_48: counts[11],
                returning_percent: Some(share), standard_error_percent: share,
            });
        });
        told.tick
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_numbers_make_a_report(ticks in proptest::collection::vec(tick(), 0..12)) {
        let mut series = Vec::new();
        for tick in ticks {
            series.extend(serde_json::to_vec(&Line::Tick(Box::new(tick))).expect("JSON"));
            series.push(b'\n');
        }
        report(&read_bytes(&archive(&[(names::SERIES, &series)])));
    }

    #[test]
    fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        report(&read_bytes(&bytes));
        report(&read_bytes(&archive(&[(names::SERIES, &bytes), (names::META, &bytes), (names::DOCTOR[0], &bytes)])));
    }

    #[test]
    fn a_damaged_archive_is_read(flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = archive(&[(names::SERIES, &told().series())]);
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        report(&read_bytes(&bytes));
    }

    #[test]
    fn a_damaged_series_is_read(flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let mut series = told().series();
        for (at, byte) in flips {
            let at = at.index(series.len());
            series[at] = byte;
        }
        report(&read_bytes(&archive(&[(names::SERIES, &series)])));
    }
}
