//! Settings: a row each, in the table of what has them. Options, keys of the file, `policy show`,
//! differences, JSON and records are all made of the rows, and all say a setting by one rule.
//!
//! The rule: what is said is as it is said, and what is not said stays as it was.

mod class;
mod host;
mod service;
mod takes;
mod value;

use std::collections::BTreeMap;

use limiter_common::record;
use serde::Serializer;
use serde::ser::SerializeMap as _;

pub use class::{CLASS, Class};
pub use host::{DEFAULTS, HOST};
pub use service::{Admission, SERVICE, Service};
pub use takes::{Limiting, MOST, Part, Takes, Whole, Written};
pub(crate) use value::field;
pub use value::{Field, Held, LimitChange, PrefixChange, Value};

use crate::Policy;
use crate::text::advice;

/// A setting of `T`, which keeps it in a record `R`.
pub struct Setting<T, R> {
    /// Its key in the file, which is also its option; of two keys the first.
    pub key: &'static str,
    /// What it is called where it differs.
    pub what: &'static str,
    /// What it does, for `--help`.
    pub help: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// What counts where nothing is said: the default of that key, unless there is a word for it.
    pub follows: Option<&'static str>,
    /// Whether a file always says it.
    pub always: bool,
    /// Where the model has it.
    pub model: Field<T>,
    /// Where the record has it, as it was said.
    pub record: Field<R>,
    /// Where the record of the networks above has it, if that one does.
    pub network: Field<record::Network>,
}

impl<T, R> Setting<T, R> {
    /// What a row is that does not say otherwise. It is kept nowhere.
    pub(crate) const PLAIN: Self = Self {
        key: "",
        what: "",
        help: "",
        takes: Takes::Yes,
        follows: None,
        always: false,
        model: Field { get: |_| None, set: |_, _| {} },
        record: Field { get: |_| None, set: |_, _| {} },
        network: Field { get: |_| None, set: |_, _| {} },
    };
}

/// The word for a setting that follows the host's default.
const DEFAULT: &str = "default";

/// What is said about something's settings, by key, and nothing that is not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings(pub BTreeMap<&'static str, Value>);

/// How the reader of a message says settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As keys of a file.
    File,
    /// As options of a command.
    Options,
}

/// Something that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The key about which it was said.
    pub key: &'static str,
    /// What is wrong, and what to do.
    pub message: String,
    /// Whether the words themselves make no sense together, whatever was set before.
    pub is_usage: bool,
}

impl Style {
    /// A key, as it is said.
    pub fn key(self, key: &str) -> String {
        match self {
            Self::File => key.to_owned(),
            Self::Options => format!("--{}", option(key)),
        }
    }
}

/// The option of a key, without the dashes before it.
pub fn option(key: &str) -> String {
    key.replace('_', "-")
}

impl Settings {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is said about a setting.
    pub fn get(&self, key: &str) -> Option<Value> {
        self.0.get(key).copied()
    }
}

impl<T, R> Setting<T, R> {
    /// Its keys.
    pub fn parts(&self) -> Vec<Part> {
        self.takes.parts(self.key, self.help)
    }

    /// Says `value`, that of its key `part`, beside what its other key says.
    ///
    /// # Errors
    /// When one of them is the default, which leaves nothing for the other to say.
    pub fn say(
        &self,
        said: &mut Settings,
        part: &Part,
        value: Value,
        style: Style,
    ) -> Result<(), String> {
        let all = said.get(self.key).map_or(Some(value), |before| before.with(value));
        let Some(all) = all else {
            let (what, key) = (self.what, style.key(part.key));
            return Err(format!(
                "the default {what} has its own burst; leave out `{key}`, or give a rate"
            ));
        };
        said.0.insert(self.key, all);
        Ok(())
    }

    /// What is said about it in `model`.
    pub fn get(&self, model: &T) -> Option<Value> {
        (self.model.get)(model)
    }

    /// What counts where nothing is said about it.
    fn inherited(&self, defaults: &Policy) -> Option<Value> {
        DEFAULTS.iter().find(|row| row.key == self.key && self.follows.is_some())?.get(defaults)
    }

    /// What counts.
    pub fn in_effect(&self, model: &T, defaults: &Policy) -> Option<Value> {
        self.get(model).or_else(|| self.inherited(defaults))
    }

    /// The words for what counts. `following` tells it from the same value of its own.
    pub fn words(&self, model: &T, defaults: &Policy, following: bool) -> String {
        let words =
            |value: Option<Value>| value.map_or_else(String::new, |value| self.takes.words(value));
        match (self.get(model), self.follows) {
            (None, Some(DEFAULT)) if following => {
                format!("{} (default)", words(self.inherited(defaults)))
            }
            (None, Some(word)) if word != DEFAULT => word.to_owned(),
            _ => words(self.in_effect(model, defaults)),
        }
    }

    /// What it is after `said`.
    fn change(
        &self,
        said: Value,
        model: &T,
        defaults: &Policy,
        style: Style,
    ) -> Result<Option<Value>, Wrong> {
        let old = self.in_effect(model, defaults);
        match said {
            Value::Default => Ok(None),
            Value::Number(_) => Ok(Some(said)),
            Value::Prefixes(change) => Ok(change.apply(Held::of(old).unwrap_or_default()).value()),
            Value::Limit(change) => {
                let key = match (self.takes, change.rate) {
                    (Takes::Limit(limiting), None) => limiting.burst,
                    _ => self.key,
                };
                let wrong = |message, is_usage| Wrong { key, message, is_usage };
                let limit = change
                    .apply(Held::of(old).unwrap_or_default(), self.key, style)
                    .map_err(|message| wrong(message, true))?;
                match self.takes {
                    Takes::Limit(limiting) => (limiting.keep)(&limit).map_err(|reason| {
                        wrong(advice(limit, &style.key(self.key), reason), false)
                    })?,
                    _ => return Ok(None),
                }
                Ok(limit.value())
            }
        }
    }
}

/// Says `said` about `model`, of which `rows` are the settings. What is wrong is returned, and left
/// as it was.
pub fn apply<T, R>(
    rows: &[Setting<T, R>],
    said: &Settings,
    model: &mut T,
    defaults: &Policy,
    style: Style,
) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    for row in rows {
        let Some(value) = said.get(row.key) else { continue };
        match row.change(value, model, defaults, style) {
            Ok(value) => (row.model.set)(model, value),
            Err(found) => wrong.push(found),
        }
    }
    wrong
}

/// What a file must say to make `model` of `bare`, which has nothing set.
pub fn stated<T, R>(rows: &[Setting<T, R>], model: &T, bare: &T) -> Settings {
    let said = rows.iter().filter_map(|row| {
        let value = row.get(model).filter(|value| row.always || row.get(bare) != Some(*value))?;
        Some((row.key, value))
    });
    Settings(said.collect())
}

/// Every setting by key, as a file would have it.
pub fn serialize<T, R, S: Serializer>(
    rows: &[Setting<T, R>],
    model: &T,
    to: S,
) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(None)?;
    for row in rows {
        let value = row.get(model).unwrap_or(Value::Default);
        for (key, value) in row.takes.written(row.key, value) {
            map.serialize_entry(key, &value)?;
        }
    }
    map.end()
}
