//! The sentences of the page, by language: English and French, and what the operator's file adds to
//! them or puts in their place. A sentence is plain text; what it must hold is checked here.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

/// Longest sentence in bytes.
const SENTENCE_BYTES: usize = 200;

/// Declares the sentences: name, what stands for a number or a time in it, English, French.
macro_rules! sentences {
    ($($(#[$doc:meta])* $name:ident ($($mark:literal)?): $english:literal, $french:literal;)*) => {
        /// All sentences of one language.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(super) struct Sentences {
            $($(#[$doc])* pub $name: String,)*
        }

        /// Names and marks, in the order of the declaration.
        const KEYS: &[(&str, Option<&str>)] = &[$((stringify!($name), mark!($($mark)?)),)*];

        impl Sentences {
            fn english() -> Self {
                Self { $($name: $english.to_owned(),)* }
            }

            fn french() -> Self {
                Self { $($name: $french.to_owned(),)* }
            }

            fn empty() -> Self {
                Self { $($name: String::new(),)* }
            }

            fn get_mut(&mut self, name: &str) -> Option<&mut String> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)*
                    _ => None,
                }
            }
        }
    };
}

macro_rules! mark {
    () => {
        None
    };
    ($mark:literal) => {
        Some($mark)
    };
}

sentences! {
    /// The heading for a client that has no place.
    full (): "The site is full", "Le site est complet";
    /// The heading for a client that has one.
    line (): "You are in line", "Vous êtes dans la file d’attente";
    /// When a page without a place comes again.
    again ("{seconds}"): "This page tries again by itself in {seconds} seconds.",
        "Cette page réessaie toute seule dans {seconds} secondes.";
    /// How long the client has waited.
    waited ("{time}"): "You have waited for {time}.", "Vous attendez depuis {time}.";
    /// How long it has still to wait.
    wait ("{time}"): "About {time} to go.", "Encore {time} environ.";
    /// The same, below ten seconds.
    soon (): "A few seconds to go.", "Encore quelques secondes.";
    /// The same, beyond an hour.
    long (): "More than an hour to go.", "Encore plus d’une heure.";
    /// What not to do, for a client that has a place.
    keep (): "Do not reload: the page does it by itself and keeps your place.",
        "N’actualisez pas : la page le fait toute seule et garde votre place.";
    /// The same for one that has none.
    stay (): "Do not reload: the page does it by itself.",
        "N’actualisez pas : la page le fait toute seule.";
    /// A time below ten seconds.
    moments (): "a few seconds", "quelques secondes";
    /// A time of 10 to 90 seconds.
    seconds ("{n}"): "{n} seconds", "{n} secondes";
    /// A time of 2 to 60 minutes.
    minutes ("{n}"): "{n} minutes", "{n} minutes";
    /// A time beyond an hour.
    hours (): "more than an hour", "plus d’une heure";
}

/// The languages that the room speaks; the first one is for clients that speak none of them.
#[derive(Clone, Debug)]
pub struct Languages(Vec<(String, Sentences)>);

impl Default for Languages {
    /// English and French.
    fn default() -> Self {
        Self(vec![("en".to_owned(), Sentences::english()), ("fr".to_owned(), Sentences::french())])
    }
}

impl Languages {
    /// The built-in ones, with what a file says: a table for each language, a key for each sentence.
    ///
    /// # Errors
    /// When the file cannot be read or something in it is wrong: which language, which key.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the languages in {}", path.display()))?;
        let mut languages = Self::default();
        languages.add(&text).with_context(|| format!("in {}", path.display()))?;
        Ok(languages)
    }

    /// Adds what the text of a file says.
    pub(super) fn add(&mut self, text: &str) -> Result<()> {
        let tables: BTreeMap<String, toml::Value> =
            toml::from_str(text).context("it is no TOML")?;
        for (tag, table) in tables {
            ensure!(
                is_tag(&tag),
                "`[{tag}]` is no language: write its tag, such as `[de]` or `[pt-BR]`"
            );
            let toml::Value::Table(table) = table else {
                bail!("`{tag}` stands in no language: write `[en]` or another above it");
            };
            self.add_language(&tag, &table)?;
        }
        Ok(())
    }

    fn add_language(&mut self, tag: &str, table: &toml::Table) -> Result<()> {
        let known = self.0.iter().position(|(known, _)| known.eq_ignore_ascii_case(tag));
        let mut sentences = known.map_or_else(Sentences::empty, |at| self.0[at].1.clone());
        for (name, value) in table {
            let names = || KEYS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            let (Some(place), Some((_, mark))) =
                (sentences.get_mut(name), KEYS.iter().find(|(key, _)| key == name))
            else {
                bail!("[{tag}] `{name}` is no sentence of the page; there are: {}", names());
            };
            let value = value.as_str().with_context(|| {
                format!("[{tag}] `{name}` is no text: write it in quotation marks")
            })?;
            check(value, *mark).with_context(|| format!("[{tag}] `{name}` {value:?}"))?;
            value.clone_into(place);
        }
        if let Some(at) = known {
            self.0[at].1 = sentences;
            return Ok(());
        }
        let missing: Vec<&str> =
            KEYS.iter().map(|(name, _)| *name).filter(|name| !table.contains_key(*name)).collect();
        ensure!(
            missing.is_empty(),
            "[{tag}] lacks {}: a new language needs every sentence",
            missing.join(", ")
        );
        self.0.push((tag.to_owned(), sentences));
        Ok(())
    }

    /// Tags and sentences; never empty.
    pub(super) fn all(&self) -> &[(String, Sentences)] {
        &self.0
    }
}

/// A tag as the room takes it: letters, then parts of letters and digits (RFC 5646, 2.1).
fn is_tag(tag: &str) -> bool {
    let mut parts = tag.split('-');
    let first = parts.next().unwrap_or_default();
    (2..=8).contains(&first.len())
        && first.bytes().all(|byte| byte.is_ascii_alphabetic())
        && parts.all(|part| {
            (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

/// Whether a sentence holds what it must and nothing else in braces.
fn check(sentence: &str, mark: Option<&str>) -> Result<()> {
    ensure!(!sentence.trim().is_empty(), "is empty: write a sentence");
    ensure!(
        sentence.len() <= SENTENCE_BYTES,
        "has {} bytes: {SENTENCE_BYTES} at most",
        sentence.len()
    );
    ensure!(!sentence.contains(char::is_control), "must be one line, without control characters");
    let rest = mark.map_or_else(|| sentence.to_owned(), |mark| sentence.replacen(mark, "", 1));
    if let Some(mark) = mark {
        ensure!(rest != sentence, "must hold {mark}, in whose place the page puts it");
    }
    ensure!(
        !rest.contains(['{', '}']),
        "may hold {} in braces, and nothing else",
        mark.map_or_else(|| "nothing".to_owned(), |mark| format!("{mark} once"))
    );
    Ok(())
}

#[cfg(test)]
mod tests;
