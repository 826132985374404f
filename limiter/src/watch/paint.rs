//! Signs and colours. Colour is only ever an addition: words and signs say the same without it.

use std::env;

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::bar;

/// What the terminal can show.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    /// Colours.
    pub colour: bool,
    /// The block elements of Unicode.
    pub blocks: bool,
}

/// Eight heights that every terminal has.
const ASCII: bar::Set<'static> = bar::Set {
    empty: " ",
    one_eighth: ".",
    one_quarter: ":",
    three_eighths: "-",
    half: "=",
    five_eighths: "+",
    three_quarters: "*",
    seven_eighths: "%",
    full: "#",
};

impl Paint {
    /// Bars of eight heights.
    pub fn bars(self) -> bar::Set<'static> {
        if self.blocks { bar::NINE_LEVELS } else { ASCII }
    }

    /// Where nobody looked.
    pub const fn unseen(self) -> &'static str {
        if self.blocks { "·" } else { "_" }
    }

    /// A rule between panels.
    pub const fn rule(self) -> &'static str {
        if self.blocks { "─" } else { "-" }
    }

    /// A change on the axis of time.
    pub const fn change(self) -> &'static str {
        if self.blocks { "▲" } else { "^" }
    }

    /// The filled and the empty part of a gauge.
    pub const fn gauge(self) -> [&'static str; 2] {
        if self.blocks { ["█", "░"] } else { ["#", "."] }
    }

    fn coloured(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    /// What is refused, and what needs a look now.
    pub fn alarm(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What to know.
    pub fn notice(self) -> Style {
        self.coloured(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    /// What is well.
    pub fn good(self) -> Style {
        self.coloured(Color::Green)
    }

    /// What arrives.
    pub fn plain(self) -> Style {
        self.coloured(Color::Cyan)
    }

    /// What the eye may skip.
    pub fn quiet(self) -> Style {
        self.coloured(Color::DarkGray)
    }

    /// What the eye should find.
    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }
}

/// Whether block elements will be seen: the locale is UTF-8, and this is not the Linux console, whose fonts lack most of them.
pub fn has_blocks() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .filter_map(|name| env::var(name).ok())
        .find(|it| !it.is_empty());
    let utf8 =
        locale.is_some_and(|name| name.to_ascii_lowercase().replace('-', "").contains("utf8"));
    utf8 && env::var("TERM").is_ok_and(|term| term != "linux")
}
