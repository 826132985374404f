//! Settings: a row each, in the table of what has them. Options, keys of the file, `policy show`,
//! differences, JSON and records are all made of the rows, and all say a setting by one rule.
//!
//! The rule: what is said is as it is said, and what is not said stays as it was. A setting that is
//! turned on brings those that make it worth having ([`Setting::brings`]), unless something is said
//! about them, and takes those that need it with it when it is turned off. What then still lacks
//! something that it needs is refused.

mod class;
mod host;
mod service;
mod takes;
mod value;

use std::collections::BTreeMap;

use serde::Serializer;
use serde::ser::SerializeMap as _;

pub use class::{CLASS, Class};
pub use host::{DEFAULTS, HOST};
pub use service::{Admission, SERVICE, Service};
pub use takes::{Limiting, MOST, Part, Takes, Whole, Written};
pub(crate) use value::field;
pub use value::{Field, Held, LimitChange, PrefixChange, Value};

use crate::Policy;
use crate::text::{advice, show_seconds};

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
    /// What it is when another setting brings it.
    pub usual: Option<Value>,
    /// What turning it on turns on, unless something is said about it.
    pub brings: &'static [&'static str],
    /// What it cannot do without, and why.
    pub needs: Option<(&'static str, &'static str)>,
    /// Where the model has it.
    pub model: Field<T>,
    /// Where the record has it, as it was said.
    pub record: Field<R>,
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
        usual: None,
        brings: &[],
        needs: None,
        model: Field { get: |_| None, set: |_, _| {} },
        record: Field { get: |_| None, set: |_, _| {} },
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

    fn say(self, key: &str, value: &Written) -> String {
        match self {
            Self::File => format!("{key} = {value}"),
            Self::Options => format!("{} {}", self.key(key), value.to_string().trim_matches('"')),
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
                "the default {what} has its burst; leave `{key}` away, or give a rate"
            ));
        };
        said.0.insert(self.key, all);
        Ok(())
    }

    /// What is said about it in `model`.
    pub fn get(&self, model: &T) -> Option<Value> {
        (self.model.get)(model)
    }

    fn is_on(&self, model: &T) -> bool {
        self.get(model).is_some_and(Value::is_on)
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

    /// A number that is none of those that it takes. Records of any bytes hold such.
    fn unsayable(&self, model: &T) -> Option<Wrong> {
        let Some(Value::Number(number)) = self.get(model) else { return None };
        let what = match self.takes {
            Takes::Number(whole) if !(whole.least..=whole.most).contains(&number) => {
                format!("it takes {whole}, not {number}")
            }
            Takes::Time(parse) => parse(&show_seconds(number)).err()?,
            _ => return None,
        };
        Some(Wrong { key: self.key, message: format!("{}: {what}", self.key), is_usage: false })
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
pub fn apply<T: Clone, R>(
    rows: &[Setting<T, R>],
    said: &Settings,
    model: &mut T,
    defaults: &Policy,
    style: Style,
) -> Vec<Wrong> {
    let (old, mut wrong) = (model.clone(), Vec::new());
    for row in rows {
        let Some(value) = said.get(row.key) else { continue };
        match row.change(value, model, defaults, style) {
            Ok(value) => (row.model.set)(model, value),
            Err(found) => wrong.push(found),
        }
    }
    bring(rows, said, &old, model);
    wrong.extend(check(rows, said, model, style));
    wrong
}

/// Turns on what is brought by what was turned on; what is brought and needed by what was turned
/// off, ends with it.
fn bring<T, R>(rows: &[Setting<T, R>], said: &Settings, old: &T, model: &mut T) {
    let brought = |by: &Setting<T, R>| {
        let brings = by.brings;
        rows.iter().filter(move |row| brings.contains(&row.key) && said.get(row.key).is_none())
    };
    let mut turned: Vec<_> = rows.iter().filter(|row| row.is_on(model) != row.is_on(old)).collect();
    while let Some(row) = turned.pop() {
        let is_on = row.is_on(model);
        for other in brought(row) {
            let needs_it = other.needs.is_some_and(|(needed, _)| needed == row.key);
            if is_on && !other.is_on(model) {
                (other.model.set)(model, other.usual);
                turned.push(other);
            } else if !is_on && needs_it {
                (other.model.set)(model, Some(Value::Number(0)));
            }
        }
    }
}

/// What cannot work: values that nobody can say, and what lacks something that it needs.
pub fn check<T, R>(rows: &[Setting<T, R>], said: &Settings, model: &T, style: Style) -> Vec<Wrong> {
    rows.iter()
        .filter_map(|row| row.unsayable(model).or_else(|| lacks(row, rows, said, model, style)))
        .collect()
}

fn lacks<T, R>(
    row: &Setting<T, R>,
    rows: &[Setting<T, R>],
    said: &Settings,
    model: &T,
    style: Style,
) -> Option<Wrong> {
    let (key, why) = row.needs.filter(|_| row.is_on(model))?;
    let needed = rows.iter().find(|other| other.key == key && !other.is_on(model))?;
    let key = if said.get(key).is_some() { key } else { row.key };
    let usual =
        needed.usual.map(|value| needed.takes.written(needed.key, value)).unwrap_or_default();
    let usual: Vec<_> = usual.iter().map(|(key, value)| style.say(key, value)).collect();
    let (wants, needed) = (style.key(row.key), needed.what);
    let message = format!("`{wants}` needs {needed}: {why}; add `{}`", usual.join(" "));
    Some(Wrong { key, message, is_usage: false })
}

/// What a file must say to make `model` of `bare`, which has nothing set: what differs, and what
/// would be brought and is off.
pub fn stated<T: Clone, R>(rows: &[Setting<T, R>], model: &T, bare: T) -> Settings {
    let mut said = Settings::default();
    let differ = |from: &T, said: &mut Settings| {
        for row in rows {
            if let Some(value) =
                row.get(model).filter(|value| row.always || row.get(from) != Some(*value))
            {
                said.0.insert(row.key, value);
            }
        }
    };
    differ(&bare, &mut said);
    let mut made = bare.clone();
    for row in rows {
        if let Some(value) = said.get(row.key) {
            (row.model.set)(&mut made, Some(value));
        }
    }
    bring(rows, &said, &bare, &mut made);
    differ(&made, &mut said);
    said
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
