//! From the document to the text of a policy file that says the same. What is as it would be without a word is left away.

use std::fmt::{Display, Write as _};

use limiter_common::challenge::Challenge;
use limiter_common::rate::{Limit, Rate};

use super::settings::{ClassSettings, HostSettings, PrefixChange, ServiceSettings};
use super::{Document, Profile};
use crate::limits::LimitChange;
use crate::text::{show_challenge, show_listeners, show_mode, show_rate, show_seconds};
use crate::{Class, Policy, Prefixes, Service};

/// The text of `document`.
pub fn document(document: &Document) -> String {
    let mut file = File::default();
    if !document.interfaces.is_empty() {
        let names = document.interfaces.iter().map(|name| toml::Value::String(name.clone()).to_string());
        file.list("interfaces", names.collect());
    }
    if document.generic {
        file.line("generic", true);
    }
    file.say("mode", document.mode.map(show_mode).map(quoted));
    file.say("sources", document.sources);
    if document.set_syncookies {
        file.line("set_syncookies", true);
    }
    file.host("", &base(&document.policy));
    for service in &document.policy.services {
        file.service(service);
    }
    for class in &document.policy.classes {
        file.class(class);
    }
    for profile in &document.profiles {
        file.profile(profile);
    }
    file.0
}

/// What the file says of the host, to make the policy's part of it of nothing.
fn base(policy: &Policy) -> HostSettings {
    HostSettings {
        source: stated(policy.source),
        prefixes: if policy.prefixes == Prefixes::default() { PrefixChange::default() } else { both(policy.prefixes) },
        budget: stated(policy.budget),
    }
}

fn stated(limit: Limit) -> LimitChange {
    if limit.is_none() { LimitChange::default() } else { own(limit) }
}

/// The same, where no limit is something to say too.
fn own(limit: Limit) -> LimitChange {
    LimitChange { rate: Some(limit.rate), burst: (!limit.is_none()).then_some(limit.burst) }
}

fn both(prefixes: Prefixes) -> PrefixChange {
    PrefixChange { v4: Some(prefixes.v4), v6: Some(prefixes.v6) }
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

    fn say(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.line(key, value);
        }
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

    fn limit(&mut self, key: &str, burst: &str, change: LimitChange, none: &str) {
        let show = |rate: Rate| if rate.count == 0 { none.to_owned() } else { show_rate(rate) };
        self.say(key, change.rate.map(show).map(quoted));
        self.say(burst, change.burst);
    }

    fn source(&mut self, change: LimitChange) {
        self.limit("source_rate", "source_burst", change, "none");
    }

    fn prefixes(&mut self, change: PrefixChange) {
        self.say("prefix_v4", change.v4);
        self.say("prefix_v6", change.v6);
    }

    fn host(&mut self, around: &str, settings: &HostSettings) {
        if !settings.source.is_empty() || !settings.prefixes.is_empty() {
            self.header(&format!("{around}defaults"));
            self.source(settings.source);
            self.prefixes(settings.prefixes);
        }
        if !settings.budget.is_empty() {
            self.header(&format!("{around}host"));
            self.limit("budget", "budget_burst", settings.budget, "none");
        }
    }

    fn service(&mut self, service: &Service) {
        self.header(&format!("service.{}", service.name));
        self.list("listen", show_listeners(&service.listeners).iter().map(quoted).collect());
        let admission = service.admission;
        self.service_settings(&ServiceSettings {
            follow_default: false,
            source: service.source.map(own).unwrap_or_default(),
            prefixes: service.prefixes.map(both).unwrap_or_default(),
            budget: stated(service.budget),
            challenge: (admission.challenge != Challenge::Off).then_some(admission.challenge),
            tickets: (admission.ticket_seconds != 0).then_some(admission.ticket_seconds),
            reserve: (admission.reserve != 0).then_some(admission.reserve),
            newcomers: stated(admission.newcomers),
            fair_share: admission.fair_share.then_some(true),
            reset: admission.reset.then_some(true),
        });
    }

    fn service_settings(&mut self, settings: &ServiceSettings) {
        if settings.follow_default {
            self.line("source_rate", quoted("default"));
        }
        self.source(settings.source);
        self.prefixes(settings.prefixes);
        self.limit("budget", "budget_burst", settings.budget, "none");
        self.say("challenge", settings.challenge.map(show_challenge).map(quoted));
        self.say("tickets", settings.tickets.map(show_seconds).map(quoted));
        self.say("reserve", settings.reserve);
        self.limit("newcomers", "newcomers_burst", settings.newcomers, "none");
        self.say("fair_share", settings.fair_share);
        self.say("reset", settings.reset);
    }

    fn class(&mut self, class: &Class) {
        self.header(&format!("class.{}", class.name));
        self.list("prefixes", class.members.iter().map(quoted).collect());
        let prefixes = class.prefixes.map(both).unwrap_or_default();
        self.class_settings(&ClassSettings { source: own(class.source), prefixes });
    }

    fn class_settings(&mut self, settings: &ClassSettings) {
        self.limit("source_rate", "source_burst", settings.source, "unlimited");
        self.prefixes(settings.prefixes);
    }

    fn profile(&mut self, profile: &Profile) {
        let at = format!("profile.{}", profile.name);
        self.header(&at);
        self.say("mode", profile.mode.map(show_mode).map(quoted));
        self.host(&format!("{at}."), &profile.host);
        for (name, settings) in &profile.services {
            self.header(&format!("{at}.service.{name}"));
            self.service_settings(settings);
        }
        for (name, settings) in &profile.classes {
            self.header(&format!("{at}.class.{name}"));
            self.class_settings(settings);
        }
    }
}
