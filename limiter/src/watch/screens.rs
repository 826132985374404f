//! What the screens look like: each fixture is drawn and held against the file of its name in `screens/`.
//!
//! LIMITER_SCREENS=write writes the files anew; look at what changed before it is committed.

mod fixtures;

use std::fs;
use std::path::{Path, PathBuf};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;

use super::choices::{Choices, window};
use super::model::Model;
use super::paint::Paint;
use super::view;
use crate::assess::Cause;

pub use fixtures::bare;

const PAINT: Paint = Paint { colour: true, blocks: true };
const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (200, 50);

fn choices() -> Choices {
    Choices { window: window("5m").expect("a window"), service: None, help: false }
}

fn drawn(
    model: &Model,
    choices: &Choices,
    held: Option<f64>,
    paint: Paint,
    size: (u16, u16),
) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).expect("a terminal");
    terminal.draw(|frame| view::draw(frame, model, choices, held, paint)).expect("drawn");
    terminal.backend().buffer().clone()
}

/// The rows of a screen, without the blanks at their ends.
fn rows(buffer: &Buffer) -> String {
    let width = buffer.area.width as usize;
    let line = |row: &[ratatui::buffer::Cell]| {
        let text: String = row.iter().map(|cell| cell.symbol()).collect();
        format!("{}\n", text.trim_end())
    };
    buffer.content.chunks(width).map(line).collect()
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/watch/screens").join(format!("{name}.txt"))
}

#[track_caller]
fn holds(name: &str, buffer: &Buffer) {
    let (file, screen) = (file(name), rows(buffer));
    if std::env::var_os("LIMITER_SCREENS").is_some_and(|value| value == "write") {
        fs::write(&file, &screen).expect("written");
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        screen == expected,
        "{name} is drawn as\n{screen}\nand was\n{expected}\n(LIMITER_SCREENS=write keeps it)"
    );
}

#[track_caller]
fn both(name: &str, model: &Model, choices: &Choices) {
    for (size, label) in [(SMALL, "80x24"), (LARGE, "200x50")] {
        holds(&format!("{name}-{label}"), &drawn(model, choices, None, PAINT, size));
    }
}

#[test]
fn calm() {
    both("calm", &fixtures::calm(), &choices());
}

#[test]
fn crowd() {
    both("crowd", &fixtures::crowd(), &choices());
}

#[test]
fn flood() {
    both("flood", &fixtures::flood(), &choices());
}

#[test]
fn observe() {
    both("observe", &fixtures::observe(), &choices());
}

#[test]
fn countdown() {
    both("countdown", &fixtures::trial(), &choices());
}

/// Most who come see the waiting room: a crowd at first, and after ten minutes want of capacity.
#[test]
fn a_waiting_room_that_answers_most() {
    let words = |seconds| {
        let model = fixtures::waiting_room(seconds);
        model.assessment(None).expect("rates")
    };
    let (soon, late) = (words(120), words(700));
    assert!(soon.what.starts_with("DIVERTING 8"), "{soon:?}");
    assert!(soon.likely.contains("come in by turns"), "{soon:?}");
    assert!(late.likely.contains("capacity is missing"), "{late:?}");
}

/// Nothing but a limit changed: the screen says whose doing it is.
#[test]
fn a_limit_that_is_too_tight() {
    let model = fixtures::tightened();
    let cause = |model: &Model| model.assessment(None).expect("rates").cause;
    assert_eq!(cause(&model), Cause::OwnLimit);
    both("tightened", &model, &choices());
    let armed = fixtures::flood();
    assert_eq!(cause(&armed), Cause::Few, "arming drops what was over the limits before");
}

#[test]
fn challenge() {
    both("challenge", &fixtures::challenge(), &choices());
}

#[test]
fn many_services_and_warnings() {
    both("full", &fixtures::full(), &choices());
}

#[test]
fn not_loaded() {
    both("not-loaded", &fixtures::not_loaded(), &choices());
    both("unloaded", &fixtures::unloaded(), &choices());
}

#[test]
fn one_service_and_a_short_window() {
    let choices = Choices {
        window: window("1m").expect("a window"),
        service: Some("web".to_owned()),
        help: false,
    };
    both("one-service", &fixtures::flood(), &choices);
}

#[test]
fn paused_and_help() {
    holds("paused-80x24", &drawn(&fixtures::flood(), &choices(), Some(12.3), PAINT, SMALL));
    let help = Choices { help: true, ..choices() };
    holds("help-80x24", &drawn(&fixtures::flood(), &help, None, PAINT, SMALL));
}

/// Words and signs say everything; colours only say it again.
#[test]
fn without_colour_nothing_is_missing() {
    for model in [
        fixtures::calm(),
        fixtures::crowd(),
        fixtures::flood(),
        fixtures::observe(),
        fixtures::unloaded(),
    ] {
        let plain = drawn(&model, &choices(), None, Paint { colour: false, ..PAINT }, SMALL);
        assert_eq!(rows(&plain), rows(&drawn(&model, &choices(), None, PAINT, SMALL)));
        assert!(
            plain.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset)
        );
    }
}

#[test]
fn ascii_is_enough() {
    let paint = Paint { colour: false, blocks: false };
    let screen = drawn(&fixtures::flood(), &choices(), None, paint, SMALL);
    assert!(rows(&screen).is_ascii());
    holds("ascii-80x24", &screen);
}

/// Whatever its size, a terminal is drawn on or told what is needed.
#[test]
fn no_size_breaks_it() {
    for model in [Model::default(), fixtures::not_loaded(), fixtures::full()] {
        for (width, height) in [
            (1, 1),
            (20, 5),
            (79, 24),
            (80, 23),
            (80, 24),
            (81, 25),
            (120, 40),
            (119, 80),
            (500, 200),
        ] {
            let screen = rows(&drawn(&model, &choices(), None, PAINT, (width, height)));
            assert!(
                width < 20 || width >= 80 && height >= 24 || screen.contains("needs 80x24"),
                "{screen}"
            );
        }
    }
}
