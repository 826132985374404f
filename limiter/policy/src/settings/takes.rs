//! What a setting takes, and how that is written: in a file, as an option, and in words.

use std::fmt;

use limiter_common::rate::{Limit, Rate, Unkeepable};
use serde::{Serialize, Serializer};

use super::{LimitChange, PrefixChange, Value};
use crate::text::{self, show_limit, show_rate, show_yes};

/// The largest number that every TOML parser reads.
pub const MOST: u64 = i64::MAX as u64;

/// What a setting takes. Most have one key; a limit and a pair of prefixes have two.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    /// A rate and its burst.
    Limit(&'static Limiting),
    /// How many bits of an IPv4 address and of an IPv6 address; the key of the latter.
    Prefixes {
        /// Key of the length of IPv6.
        v6: &'static str,
        /// What that does, for `--help`.
        v6_help: &'static str,
    },
    /// One of some words.
    Choice {
        /// What such a word is.
        noun: &'static str,
        /// The words, and what they do where that is to be said. The first is off.
        words: &'static [(&'static str, &'static str)],
    },
    /// A whole number.
    Number(Whole),
    /// Yes or no.
    Yes,
}

/// What is particular about a limit.
#[derive(Debug)]
pub struct Limiting {
    /// Key of the burst.
    pub burst: &'static str,
    /// What the burst does, for `--help`.
    pub burst_help: &'static str,
    /// The word for no limit.
    pub none: &'static str,
    /// Whether the word `default` is taken.
    pub follows: bool,
    /// Whether it can be kept.
    pub keep: fn(&Limit) -> Result<(), Unkeepable>,
}

/// The whole numbers that a setting takes.
#[derive(Clone, Copy, Debug)]
pub struct Whole {
    /// The least.
    pub least: u64,
    /// The most.
    pub most: u64,
    /// One of them.
    pub example: &'static str,
    /// What such a number is called in `--help`.
    pub name: &'static str,
}

/// A key of a setting.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// In the file; as an option it has dashes.
    pub key: &'static str,
    /// For `--help`.
    pub help: &'static str,
    takes: Takes,
    /// The burst of a limit, or the length of IPv6.
    is_second: bool,
}

/// A value as a file or JSON has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// In quotes. It is made of letters, digits and a few signs that need no escape.
    Text(String),
    /// A number.
    Number(u64),
    /// `true` or `false`.
    Yes(bool),
}

impl fmt::Display for Written {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(to, "\"{text}\""),
            Self::Number(number) => write!(to, "{number}"),
            Self::Yes(yes) => write!(to, "{yes}"),
        }
    }
}

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => to.serialize_str(text),
            Self::Number(number) => to.serialize_u64(*number),
            Self::Yes(yes) => to.serialize_bool(*yes),
        }
    }
}

impl Takes {
    /// The keys of a setting of this kind, of which the first is `key`.
    pub fn parts(self, key: &'static str, help: &'static str) -> Vec<Part> {
        let second = match self {
            Self::Limit(limiting) => Some((limiting.burst, limiting.burst_help)),
            Self::Prefixes { v6, v6_help } => Some((v6, v6_help)),
            _ => None,
        };
        let second = second.map(|(key, help)| Part { key, help, takes: self, is_second: true });
        [Part { key, help, takes: self, is_second: false }].into_iter().chain(second).collect()
    }

    /// `value` as a file has it, by key.
    pub fn written(self, key: &'static str, value: Value) -> Vec<(&'static str, Written)> {
        let text = |text: &str| Written::Text(text.to_owned());
        match (self, value) {
            (Self::Limit(limiting), Value::Limit(change)) => {
                let show = |rate: Rate| {
                    if rate.count == 0 { limiting.none.to_owned() } else { show_rate(rate) }
                };
                let rate = change.rate.map(|rate| (key, Written::Text(show(rate))));
                rate.into_iter()
                    .chain(change.burst.map(|burst| (limiting.burst, Written::Number(burst))))
                    .collect()
            }
            (Self::Limit(limiting), Value::Default) if limiting.follows => {
                vec![(key, text("default"))]
            }
            (Self::Prefixes { v6, .. }, Value::Prefixes(change)) => {
                let said = [(key, change.v4), (v6, change.v6)].into_iter();
                said.filter_map(|(key, bits)| Some((key, Written::Number(bits?.into())))).collect()
            }
            (Self::Choice { words, .. }, Value::Number(number)) => {
                vec![(key, text(word(words, number)))]
            }
            (Self::Number(_), Value::Number(number)) => vec![(key, Written::Number(number))],
            (Self::Yes, Value::Number(yes)) => vec![(key, Written::Yes(yes != 0))],
            _ => Vec::new(),
        }
    }

    /// `value` in words, such as `20/s, burst 40`.
    pub fn words(self, value: Value) -> String {
        match (self, value) {
            (Self::Limit(limiting), Value::Limit(LimitChange { rate, .. }))
                if rate.is_none_or(|rate| rate.count == 0) =>
            {
                limiting.none.to_owned()
            }
            (_, Value::Limit(LimitChange { rate, burst })) => show_limit(Limit {
                rate: rate.unwrap_or_default(),
                burst: burst.unwrap_or_default(),
            }),
            (_, Value::Prefixes(PrefixChange { v4, v6 })) => {
                format!("/{} and /{}", v4.unwrap_or_default(), v6.unwrap_or_default())
            }
            (Self::Choice { words, .. }, Value::Number(number)) => word(words, number).to_owned(),
            (Self::Number(_), Value::Number(number)) => number.to_string(),
            (_, Value::Number(yes)) => show_yes(yes != 0).to_owned(),
            (_, Value::Default) => "default".to_owned(),
        }
    }
}

fn word(words: &[(&'static str, &'static str)], number: u64) -> &'static str {
    let index = usize::try_from(number).unwrap_or(usize::MAX);
    words.get(index).or_else(|| words.first()).map_or("", |(word, _)| word)
}

/// `a, b or c`.
fn any_of(words: &[String]) -> String {
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

impl Part {
    /// What stands for a value in `--help`.
    pub fn value_name(&self) -> String {
        match (self.takes, self.whole()) {
            (_, Some(whole)) => whole.name.to_owned(),
            (Takes::Choice { words, .. }, _) => {
                words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join("|")
            }
            (Takes::Yes, _) => "yes|no".to_owned(),
            _ => "RATE".to_owned(),
        }
    }

    /// A value as a file has it.
    pub fn example(&self) -> String {
        match (self.takes, self.whole()) {
            (_, Some(whole)) => whole.example.to_owned(),
            (Takes::Choice { words, .. }, _) => {
                let quoted: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                format!("{}, in quotes", any_of(&quoted))
            }
            (Takes::Yes, _) => "true or false, without quotes".to_owned(),
            _ => "a rate in quotes such as \"20/s\"".to_owned(),
        }
    }

    /// The numbers that it takes, if it takes numbers.
    pub const fn whole(&self) -> Option<Whole> {
        match (self.takes, self.is_second) {
            (Takes::Limit(_), true) => {
                Some(Whole { least: 1, most: MOST, example: "40", name: "N" })
            }
            (Takes::Prefixes { .. }, false) => Some(Whole { most: 32, example: "24", ..BITS }),
            (Takes::Prefixes { .. }, true) => Some(BITS),
            (Takes::Number(whole), _) => Some(whole),
            _ => None,
        }
    }

    /// Whether it takes yes or no.
    pub const fn is_yes(&self) -> bool {
        matches!(self.takes, Takes::Yes)
    }

    /// What a number says; it is one of [`Self::whole`], or 0 or 1 for no and yes.
    pub fn number(&self, number: u64) -> Value {
        let bits = u8::try_from(number).ok();
        match (self.takes, self.is_second) {
            (Takes::Limit(_), _) => Value::Limit(LimitChange { burst: Some(number), rate: None }),
            (Takes::Prefixes { .. }, false) => Value::Prefixes(PrefixChange { v4: bits, v6: None }),
            (Takes::Prefixes { .. }, true) => Value::Prefixes(PrefixChange { v6: bits, v4: None }),
            _ => Value::Number(number),
        }
    }

    /// What a text says: in quotes in a file, or as the value of an option.
    ///
    /// # Errors
    /// A sentence that says what it looks like.
    pub fn text(&self, text: &str) -> Result<Value, String> {
        match (self.takes, self.whole()) {
            (_, Some(whole)) => match text.parse() {
                Ok(number) if (whole.least..=whole.most).contains(&number) => {
                    Ok(self.number(number))
                }
                _ => Err(format!("it takes {whole}, not `{text}`")),
            },
            (Takes::Limit(limiting), _) if limiting.follows && text == "default" => {
                Ok(Value::Default)
            }
            (Takes::Choice { noun, words }, _) => choose(noun, words, text),
            (Takes::Yes, _) => text::yes(text).map(|yes| Value::Number(yes.into())),
            _ => {
                let rate = if text == "unlimited" { Rate::default() } else { text::rate(text)? };
                Ok(Value::Limit(LimitChange { rate: Some(rate), burst: None }))
            }
        }
    }
}

fn choose(noun: &str, words: &[(&str, &str)], text: &str) -> Result<Value, String> {
    let known = words.iter().position(|(word, _)| *word == text);
    known.map(|index| Value::Number(index as u64)).ok_or_else(|| {
        let meant = |(word, does): &(&str, &str)| match *does {
            "" => format!("`{word}`"),
            does => format!("`{word}` ({does})"),
        };
        format!(
            "`{text}` is not a {noun}; write {}",
            any_of(&words.iter().map(meant).collect::<Vec<_>>())
        )
    })
}

/// Lengths of a prefix of IPv6.
const BITS: Whole = Whole { least: 1, most: 128, example: "56", name: "BITS" };

impl fmt::Display for Whole {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.most {
            MOST => write!(to, "a whole number, {} or more", self.least),
            most => write!(to, "a whole number, {} to {most}", self.least),
        }
    }
}
