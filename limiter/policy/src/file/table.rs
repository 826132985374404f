//! Reading TOML tables key by key. A key that nobody knows and a value of the wrong kind are noted with their place and advice, and
//! reading goes on, so that one run finds everything.

use std::collections::HashMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys;
use super::problem::{Position, Problems};
use super::settings::path;
use crate::Name;
use crate::settings::{Part, Setting, Settings, Style, Value, Whole};

/// A table and the keys that lead to it.
pub struct Table<'t> {
    /// Keys from the top of the file, joined by dots; empty for the top.
    pub path: String,
    entries: &'t DeTable<'t>,
}

/// What reading has found so far.
#[derive(Default)]
pub struct Reader {
    /// What is wrong.
    pub problems: Problems,
    /// Where every key with a meaning stands, by path.
    places: HashMap<String, Position>,
}

impl Reader {
    /// Starts reading a table that may have the keys `known`.
    pub fn table<'t>(
        &mut self,
        entries: &'t DeTable<'t>,
        path: String,
        known: &[&str],
    ) -> Table<'t> {
        for (key, value) in entries {
            let (name, place) = (key.get_ref().as_ref(), at(key));
            if known.contains(&name) {
                let place = if value.get_ref().is_table() { place } else { at(value) };
                self.places.insert(self::path(&path, name), place);
            } else {
                self.problems.add(place, keys::unknown(name, &path, known));
            }
        }
        Table { path, entries }
    }

    /// The place of a path, or of the nearest table around it that stands in the file.
    pub fn place(&self, path: &str) -> Position {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return *place;
            }
            let Some((around, _)) = path.rsplit_once('.') else { return Position::default() };
            path = around;
        }
    }

    /// The tables below `key`, by name: `[service.web]`, `[service.mail]`.
    pub fn named<'t>(&mut self, table: &Table<'t>, key: &str) -> Vec<(Name, &'t DeTable<'t>)> {
        let Some(all) = self.subtable(table, key) else { return Vec::new() };
        let mut found = Vec::new();
        for (name, value) in all {
            let text = name.get_ref().as_ref();
            match (text.parse::<Name>(), value.get_ref().as_table()) {
                (Ok(parsed), Some(entries)) => {
                    self.places.insert(path(&path(&table.path, key), text), at(name));
                    found.push((parsed, entries));
                }
                (Err(message), _) => self.problems.add(at(name), message),
                (Ok(_), None) => {
                    let path = path(&table.path, key);
                    self.problems.add(
                        at(name),
                        format!(
                            "`{text}` is not a table; write [{path}.NAME] above the keys of each \
                             {key}"
                        ),
                    );
                }
            }
        }
        found
    }

    /// The table at `key`.
    pub fn subtable<'t>(&mut self, table: &Table<'t>, key: &str) -> Option<&'t DeTable<'t>> {
        let value = table.entries.get(key)?;
        let entries = value.get_ref().as_table();
        if entries.is_none() {
            let path = path(&table.path, key);
            let header = if keys::NAMED.contains(&key) {
                format!("[{path}.NAME]")
            } else {
                format!("[{path}]")
            };
            let kind = kind(value);
            self.problems.add(
                at(value),
                format!("`{key}` is a table, not {kind}; write {header} above its keys"),
            );
        }
        entries
    }

    /// What the table says about the settings of `rows`.
    pub fn said<T, R>(&mut self, table: &Table<'_>, rows: &[Setting<T, R>]) -> Settings {
        let mut said = Settings::default();
        for row in rows {
            for part in row.parts() {
                let Some(value) = table.entries.get(part.key) else { continue };
                let said = read(&part, value)
                    .and_then(|value| row.say(&mut said, &part, value, Style::File));
                if let Err(message) = said {
                    self.problems.add(at(value), message);
                }
            }
        }
        said
    }

    /// The texts of a table of them, each with its place and its key.
    pub fn words<'t>(&mut self, table: &Table<'t>, key: &str) -> Vec<(Position, &'t str, &'t str)> {
        let Some(value) = table.entries.get(key) else { return Vec::new() };
        let mut words = Vec::new();
        let wrong = |reader: &mut Self, value: &Spanned<DeValue<'_>>| {
            let message = format!("`{key}` takes {}, not {}", keys::example(key), kind(value));
            reader.problems.add(at(value), message);
        };
        let Some(entries) = value.get_ref().as_table() else {
            wrong(self, value);
            return words;
        };
        for (name, value) in entries {
            match value.get_ref().as_str() {
                Some(text) => words.push((at(value), name.get_ref().as_ref(), text)),
                None => wrong(self, value),
            }
        }
        words
    }

    /// A list of texts, or one text, each with its place.
    pub fn texts<'t>(&mut self, table: &Table<'t>, key: &str) -> Vec<(Position, &'t str)> {
        let Some(value) = table.entries.get(key) else { return Vec::new() };
        let one = std::slice::from_ref(value);
        let all = value.get_ref().as_array().map_or(one, |array| &array[..]);
        let mut texts = Vec::with_capacity(all.len());
        for value in all {
            match value.get_ref().as_str() {
                Some(text) => texts.push((at(value), text)),
                None => self.problems.add(
                    at(value),
                    format!("`{key}` takes {}, not {}", keys::example(key), kind(value)),
                ),
            }
        }
        texts
    }
}

impl Table<'_> {
    /// Whether the key stands in it.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }
}

/// What `value` says of a key.
fn read(part: &Part, value: &Spanned<DeValue<'_>>) -> Result<Value, String> {
    let takes = || Err(format!("`{}` takes {}, not {}", part.key, part.example(), kind(value)));
    let found = value.get_ref();
    match part.whole() {
        Some(whole) => number(part, whole, value),
        None if part.is_yes() => {
            found.as_bool().map_or_else(takes, |yes| Ok(part.number(yes.into())))
        }
        None => found.as_str().map_or_else(takes, |text| part.text(text)),
    }
}

fn number(part: &Part, wants: Whole, value: &Spanned<DeValue<'_>>) -> Result<Value, String> {
    let key = part.key;
    let number = value
        .get_ref()
        .as_integer()
        .and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok());
    match (number, value.get_ref()) {
        (Some(number), _) if (wants.least..=wants.most).contains(&number) => {
            Ok(part.number(number))
        }
        (Some(0), _) => {
            Err(format!("`{key}` is 0, a zero where a number is meant: it takes {wants}"))
        }
        (_, DeValue::Integer(number)) => Err(format!("`{key}` takes {wants}, not {number}")),
        _ => Err(format!("`{key}` takes {wants}, such as {}, not {}", wants.example, kind(value))),
    }
}

fn at<T>(value: &Spanned<T>) -> Position {
    Position { file: 0, offset: value.span().start }
}

fn kind(value: &Spanned<DeValue<'_>>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
