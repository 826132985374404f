//! What the room answers: a page that comes again by itself, the same as an object for programs, or
//! a line. No script, and nothing from elsewhere: the page has to do without a server.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::accept::{self, Form};
use super::head::Head;
use super::words::{Languages, Sentences};

/// A page is smaller than this, in bytes: with its header it arrives in one flight, for a first
/// window of TCP holds ten segments (RFC 6928).
pub const PAGE_BYTES: usize = 4096;
/// Longest text of the operator in bytes.
pub const TEXT_BYTES: usize = 1000;
/// After how many seconds a page comes again. A place is forgotten after 20 s without an attempt,
/// and a crowd that was told one time would come again at one time.
const AGAIN: std::ops::RangeInclusive<u64> = 6..=15;
/// The same for whom the line's head has passed or nearly has. Else luck would decide who at the
/// head of the line comes when there is room: at twice the budget 0.22 of those who wait were
/// overtaken, and with this 0.08 (`limiter-common/tests/crowd`). For others no page comes again
/// later than it may be let in, or the budget would have room and nobody there.
const SOON: std::ops::RangeInclusive<u64> = 1..=3;
/// How languages are written that run from right to left.
const RIGHT_TO_LEFT: [&str; 9] = ["ar", "ckb", "dv", "fa", "he", "ps", "sd", "ur", "yi"];

const STYLE: &str = "\
*{box-sizing:border-box}\
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1rem;\
font:1.125rem/1.5 system-ui,sans-serif;background:#f3f4f6;color:#1b1f24}\
main{width:100%;max-width:34rem;padding:1.75rem;background:#fff;border:1px solid #d5d9df;\
border-radius:.75rem;overflow-wrap:anywhere}\
h1{margin:0 0 .75rem;font-size:1.6rem;line-height:1.25}\
p{margin:0 0 1rem}\
.text{white-space:pre-line;padding-bottom:1rem;border-bottom:1px solid #d5d9df}\
.keep{margin:0;color:#4a525c;font-size:1rem}\
@media(prefers-color-scheme:dark){body{background:#14171b;color:#eceff3}\
main{background:#1e2329;border-color:#3a424c}.text{border-color:#3a424c}\
.keep{color:#b6bec8}}";

/// The place of a client in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// How long it has waited.
    pub waited: Duration,
    /// How long it has still to wait, if that can be told.
    pub wait: Option<Duration>,
    /// After what time it may be let in at the earliest, if that can be told: so long its page need
    /// not come again.
    pub least: Option<Duration>,
}

/// An answer, without its status, which is always 503.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub body: String,
    /// `Content-Type`.
    pub kind: &'static str,
    /// `Content-Language`, where the answer is for people.
    pub language: Option<String>,
    /// `Retry-After` in seconds.
    pub again: u64,
}

/// Everything that pages are made of.
#[derive(Clone, Debug)]
pub struct Pages {
    languages: Languages,
    /// The operator's text, escaped.
    text: Option<String>,
}

impl Pages {
    /// Pages in these languages, with the operator's plain text above, if there is any.
    ///
    /// # Errors
    /// When the text has more than [`TEXT_BYTES`], or a page would not be smaller than
    /// [`PAGE_BYTES`], which characters that HTML escapes may cause.
    pub fn new(languages: Languages, text: Option<&str>) -> Result<Self> {
        let text = text.map(str::trim).filter(|text| !text.is_empty());
        if let Some(text) = text {
            let length = text.len();
            ensure!(length <= TEXT_BYTES, "it has {length} bytes: shorten it to {TEXT_BYTES}");
        }
        let pages = Self { languages, text: text.map(escape) };
        for (tag, sentences) in pages.languages.all() {
            let time = Duration::from_secs(90);
            let turn = Turn { waited: time, wait: Some(time), least: None };
            for turn in [None, Some(turn)] {
                let length = pages.html(tag, sentences, turn, *AGAIN.end()).len();
                ensure!(
                    length < PAGE_BYTES,
                    "the page would have {length} bytes in [{tag}], and {} are the most: shorten \
                     the text, or its characters & < > \", each of which takes four to six bytes",
                    PAGE_BYTES - 1
                );
            }
        }
        Ok(pages)
    }

    /// The same with the text of a file.
    ///
    /// # Errors
    /// As [`Pages::new`], and when the file cannot be read.
    pub fn with_text_of(languages: Languages, path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Self::new(languages, None) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the text in {}", path.display()))?;
        Self::new(languages, Some(&text))
            .with_context(|| format!("the text in {} does not fit", path.display()))
    }

    /// The answer to a request.
    pub(super) fn answer(&self, head: &Head, turn: Option<Turn>) -> Answer {
        let again = again(turn);
        let form = accept::form(head.forms.as_deref(), head.reads);
        if form == Form::Json {
            let body = json(turn, again);
            return Answer { body, kind: "application/json", language: None, again };
        }
        let all = self.languages.all();
        let tags = || -> accept::Tags<'_> { Box::new(all.iter().map(|(tag, _)| tag.as_str())) };
        let (tag, sentences) = &all[accept::language(head.languages.as_deref(), tags)];
        let (body, kind) = match form {
            Form::Html => (self.html(tag, sentences, turn, again), "text/html; charset=utf-8"),
            _ => (line(sentences, turn, again), "text/plain; charset=utf-8"),
        };
        Answer { body, kind, language: Some(tag.clone()), again }
    }

    fn html(&self, tag: &str, words: &Sentences, turn: Option<Turn>, again: u64) -> String {
        let primary = tag.split('-').next().unwrap_or(tag).to_ascii_lowercase();
        let direction = if RIGHT_TO_LEFT.contains(&primary.as_str()) { " dir=rtl" } else { "" };
        let title = escape(heading(words, turn));
        let status = escape(&status(words, turn, again));
        let keep = escape(if turn.is_some() { &words.keep } else { &words.stay });
        let text = self
            .text
            .as_ref()
            .map_or_else(String::new, |text| format!("<p class=text dir=auto>{text}</p>"));
        format!(
            "<!doctype html><html lang={tag}{direction}><head><meta charset=utf-8>\
             <meta name=viewport content=\"width=device-width,initial-scale=1\">\
             <meta name=color-scheme content=\"light dark\"><meta name=robots content=noindex>\
             <meta http-equiv=refresh content={again}><link rel=\"icon\" href=\"data:,\">\
             <title>{title}</title><style>{STYLE}</style></head><body><main>{text}\
             <h1>{title}</h1><div role=status><p>{status}</p></div>\
             <p class=keep>{keep}</p></main></body></html>\n"
        )
    }
}

fn heading(words: &Sentences, turn: Option<Turn>) -> &str {
    if turn.is_some() { &words.line } else { &words.full }
}

/// How things stand for a client.
fn status(words: &Sentences, turn: Option<Turn>, again: u64) -> String {
    let Some(turn) = turn else { return words.again.replace("{seconds}", &again.to_string()) };
    let mut status = words.waited.replace("{time}", &time(words, turn.waited));
    if let Some(wait) = turn.wait {
        status.push(' ');
        status.push_str(&match Rounded::of(wait) {
            Rounded::Moments => words.soon.clone(),
            Rounded::Hours => words.long.clone(),
            _ => words.wait.replace("{time}", &time(words, wait)),
        });
    }
    status
}

fn line(words: &Sentences, turn: Option<Turn>, again: u64) -> String {
    let comes = words.again.replace("{seconds}", &again.to_string());
    match turn {
        None => format!("{}. {comes}\n", words.full),
        Some(_) => format!("{}. {}\n", words.line, status(words, turn, again)),
    }
}

fn json(turn: Option<Turn>, again: u64) -> String {
    let seconds = |time: Duration| time.as_secs();
    let object = serde_json::json!({
        "error": "full",
        "retry_after": again,
        "waited_seconds": turn.map(|turn| seconds(turn.waited)),
        "wait_seconds": turn.and_then(|turn| turn.wait).map(seconds),
    });
    format!("{object}\n")
}

/// A time as a person says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rounded {
    /// Below 10 s.
    Moments,
    /// Up to 90 s, in tens.
    Seconds(u64),
    /// Up to an hour.
    Minutes(u64),
    /// Longer.
    Hours,
}

impl Rounded {
    fn of(time: Duration) -> Self {
        let seconds = time.as_secs();
        match seconds {
            0..10 => Self::Moments,
            10..=90 => Self::Seconds((seconds + 5) / 10 * 10),
            91..=3600 => Self::Minutes((seconds + 30) / 60),
            _ => Self::Hours,
        }
    }
}

fn time(words: &Sentences, time: Duration) -> String {
    match Rounded::of(time) {
        Rounded::Moments => words.moments.clone(),
        Rounded::Seconds(n) => words.seconds.replace("{n}", &n.to_string()),
        Rounded::Minutes(n) => words.minutes.replace("{n}", &n.to_string()),
        Rounded::Hours => words.hours.clone(),
    }
}

/// A random number of seconds of those after which a page may come again.
fn again(turn: Option<Turn>) -> u64 {
    let times = times(turn.and_then(|turn| turn.least));
    // The keys of the standard library's hash come from the kernel's random numbers.
    let random = RandomState::new().build_hasher().finish();
    times.start() + random % (times.end() - times.start() + 1)
}

/// After how many seconds the page comes again of one that may be let in after `least`.
fn times(least: Option<Duration>) -> std::ops::RangeInclusive<u64> {
    let Some(least) = least else { return AGAIN };
    let seconds = least.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX);
    let from = (seconds / 2).clamp(*SOON.start(), *AGAIN.start());
    from..=seconds.clamp(*SOON.end(), *AGAIN.end())
}

/// Plain text in HTML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // Windows' ends of lines, and what no page may hold.
            '\r' | '\0' => {}
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
