//! From the document to the text of a policy file that says the same. What is as it would be without a
//! word is left away.

use std::fmt::{Display, Write as _};

use super::settings::{DOCUMENT, PROFILE};
use super::{Document, Profile, auto, fleet};
use crate::settings::{CLASS, DEFAULTS, HOST, SERVICE, Setting, Settings, stated};
use crate::text::show_listeners;
use crate::{Class, Policy, Service};

/// The text of `document`.
pub fn document(document: &Document) -> String {
    let mut file = File::default();
    if !document.interfaces.is_empty() {
        let names =
            document.interfaces.iter().map(|name| toml::Value::String(name.clone()).to_string());
        file.list("interfaces", names.collect());
    }
    file.settings(&DOCUMENT, &stated(&DOCUMENT, document, &Document::default()));
    let policy = &document.policy;
    file.table("defaults", &DEFAULTS, &stated(&DEFAULTS, policy, &Policy::default()));
    file.table("host", &HOST, &stated(&HOST, policy, &Policy::default()));
    for service in &document.policy.services {
        file.service(service);
    }
    for class in &document.policy.classes {
        file.class(class);
    }
    for profile in &document.profiles {
        file.profile(profile);
    }
    for said in &document.auto {
        file.header(&format!("auto.{}", said.service));
        auto::lines(said).into_iter().for_each(|(key, value)| file.line(key, value));
    }
    if let Some(said) = &document.fleet {
        file.header("fleet");
        fleet::lines(said).into_iter().for_each(|(key, value)| file.line(key, value));
    }
    file.0
}

/// Only for texts of letters, digits and a few signs that need no escape.
fn quoted(text: impl Display) -> String {
    format!("\"{text}\"")
}

#[derive(Default)]
struct File(String);

impl File {
    fn line(&mut self, key: &str, value: impl Display) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "{key} = {value}");
    }

    fn header(&mut self, path: &str) {
        let space = if self.0.is_empty() { "" } else { "\n" };
        let _ = writeln!(self.0, "{space}[{path}]");
    }

    /// A list on one line, or a long one with an item on each.
    fn list(&mut self, key: &str, items: Vec<String>) {
        match items.len() {
            0..=4 => self.line(key, format_args!("[{}]", items.join(", "))),
            _ => self.line(key, format_args!("[\n  {},\n]", items.join(",\n  "))),
        }
    }

    fn settings<T, R>(&mut self, rows: &[Setting<T, R>], said: &Settings) {
        let said =
            rows.iter().filter_map(|row| Some(row.takes.written(row.key, said.get(row.key)?)));
        said.flatten().for_each(|(key, value)| self.line(key, value));
    }

    /// A table that is not there when it says nothing.
    fn table<T, R>(&mut self, path: &str, rows: &[Setting<T, R>], said: &Settings) {
        if rows.iter().any(|row| said.get(row.key).is_some()) {
            self.header(path);
            self.settings(rows, said);
        }
    }

    fn service(&mut self, service: &Service) {
        self.header(&format!("service.{}", service.name));
        self.list("listen", show_listeners(&service.listeners).iter().map(quoted).collect());
        self.settings(&SERVICE, &stated(&SERVICE, service, &Service::bare(service.name.clone())));
    }

    fn class(&mut self, class: &Class) {
        self.header(&format!("class.{}", class.name));
        self.list("prefixes", class.members.iter().map(quoted).collect());
        self.settings(&CLASS, &stated(&CLASS, class, &Class::bare(class.name.clone())));
    }

    fn profile(&mut self, profile: &Profile) {
        let at = format!("profile.{}", profile.name);
        self.header(&at);
        self.settings(
            &PROFILE,
            &stated(&PROFILE, profile, &Profile { mode: None, ..profile.clone() }),
        );
        self.table(&format!("{at}.defaults"), &DEFAULTS, &profile.host);
        self.table(&format!("{at}.host"), &HOST, &profile.host);
        for (name, said) in &profile.services {
            self.header(&format!("{at}.service.{name}"));
            self.settings(&SERVICE, said);
        }
        for (name, said) in &profile.classes {
            self.header(&format!("{at}.class.{name}"));
            self.settings(&CLASS, said);
        }
    }
}
