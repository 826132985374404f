//! From the text of a policy file to the document: keys and values first, then what they mean together, then each policy that it can
//! become is encoded for trial, so that nothing is accepted that could not be applied.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;

use limiter_common::class_tree::MOST_CLASSES;
use limiter_common::rate::Rate;
use limiter_common::record::{LISTENERS, SERVICES};
use toml::de::DeTable;

use super::members::{self, Members};
use super::problem::{Place, Problems};
use super::settings::{ClassSettings, Finding, HostSettings, PrefixChange, Scope, ServiceSettings, path};
use super::table::{Reader, Table};
use super::{Document, Profile, keys};
use crate::encode::{Known, encode};
use crate::limits::LimitChange;
use crate::{Class, Name, Policy, Service, text};

/// Bounds of the table, as `attach --sources` has them.
const SOURCES: std::ops::RangeInclusive<u64> = 8..=1 << 28;

/// Reads `text`. `name` is what the file is called in problems; lists of prefixes are looked for in `directory`.
///
/// # Errors
/// Everything that is wrong in it.
pub fn document(text: &str, name: &str, directory: &Path) -> Result<Document, Problems> {
    let mut reader = Reader::default();
    reader.problems.file(name, text);
    let (root, errors) = DeTable::parse_recoverable(text);
    add_syntax(&mut reader.problems, text, &errors);
    if !errors.is_empty() {
        return Err(reader.problems);
    }
    let top = reader.table(root.get_ref(), String::new(), keys::TOP);
    let mut findings = Vec::new();
    let mut document = Document {
        interfaces: interfaces(&mut reader, &top),
        generic: reader.yes(&top, "generic").unwrap_or(false),
        mode: reader.text(&top, "mode", text::mode),
        sources: reader.number(&top, "sources", SOURCES).and_then(|sources| u32::try_from(sources).ok()),
        set_syncookies: reader.yes(&top, "set_syncookies").unwrap_or(false),
        policy: Policy::default(),
        profiles: Vec::new(),
    };
    host(&mut reader, &top).apply(&mut document.policy, "", &mut findings);
    services(&mut reader, &top, &mut document.policy, &mut findings);
    classes(&mut reader, &top, directory, &mut document.policy, &mut findings);
    document.profiles = profiles(&mut reader, &top);
    for profile in &document.profiles {
        profile.apply(&document.policy, &mut findings);
    }
    for Finding { at, message } in findings {
        let place = reader.place(&at);
        reader.problems.add(place, message);
    }
    if reader.problems.is_empty() {
        encode_for_trial(&mut reader, &document);
    }
    if reader.problems.is_empty() { Ok(document) } else { Err(reader.problems) }
}

/// Notes what is no TOML: the first of each line, because what follows on it is mostly a consequence.
fn add_syntax(problems: &mut Problems, text: &str, errors: &[toml::de::Error]) {
    let mut by_line: BTreeMap<usize, (usize, &str)> = BTreeMap::new();
    for error in errors.iter().take(100) {
        let offset = error.span().map_or(0, |span| span.start).min(text.len());
        let line = text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count();
        let first = by_line.entry(line).or_insert((offset, error.message()));
        *first = (offset, error.message()).min(*first);
    }
    for (offset, message) in by_line.into_values() {
        problems.add(Place { file: 0, offset }, syntax(message));
    }
}

/// The parser's words for what is no TOML, and what to do.
fn syntax(message: &str) -> String {
    const ADVICE: [(&str, &str); 8] = [
        ("duplicate key", "it stands above already: remove or rename one"),
        ("must be quoted", "write texts in quotes, such as \"20/s\""),
        ("unclosed table", "write the name of a table as [service.web]"),
        ("key with no value", "write KEY = VALUE"),
        ("array", "write a list as [\"*:80\", \"*:443\"]"),
        ("string", "a text begins and ends with a quote, on one line"),
        ("unexpected key or value", "write each key on a line of its own"),
        ("", "write KEY = VALUE on each line, or the name of a table as [service.web]"),
    ];
    // What else would have been taken here is the parser's view, such as "expected literal string" for a text without quotes.
    let what = message.split(", expected").next().unwrap_or(message);
    let advice = ADVICE.iter().find(|(known, _)| message.contains(known)).map_or("", |(_, advice)| advice);
    format!("{what}; {advice}")
}

fn interfaces(reader: &mut Reader, top: &Table<'_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (place, name) in reader.texts(top, "interfaces") {
        // What dev_valid_name of the kernel takes (net/core/dev.c), and nothing that a terminal would act upon.
        let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.contains(bad) {
            let shown = name.escape_debug();
            reader.problems.add(
                place,
                format!("`{shown}` cannot be an interface: a name has 1 to 15 bytes, no space, `/` or `:`; `ip link` shows them"),
            );
        } else if names.iter().any(|known| known == name) {
            reader.problems.add(place, format!("{name} stands here twice; remove one"));
        } else {
            names.push(name.to_owned());
        }
    }
    names
}

fn rate(text: &str) -> Result<Rate, String> {
    if text == "unlimited" { Ok(Rate::default()) } else { text::rate(text) }
}

fn limit(reader: &mut Reader, table: &Table<'_>, rate_key: &str, burst_key: &str) -> LimitChange {
    LimitChange { rate: reader.text(table, rate_key, rate), burst: reader.number(table, burst_key, 1..=keys::MOST) }
}

fn prefixes(reader: &mut Reader, table: &Table<'_>) -> PrefixChange {
    let mut bits = |key, most| reader.number(table, key, 1..=most).and_then(|bits| u8::try_from(bits).ok());
    PrefixChange { v4: bits("prefix_v4", 32), v6: bits("prefix_v6", 128) }
}

fn host(reader: &mut Reader, around: &Table<'_>) -> HostSettings {
    let mut settings = HostSettings::default();
    if let Some(entries) = reader.subtable(around, "defaults") {
        let table = reader.table(entries, path(&around.path, "defaults"), keys::DEFAULTS);
        settings.source = limit(reader, &table, "source_rate", "source_burst");
        settings.prefixes = prefixes(reader, &table);
    }
    if let Some(entries) = reader.subtable(around, "host") {
        let table = reader.table(entries, path(&around.path, "host"), keys::HOST);
        settings.budget = limit(reader, &table, "budget", "budget_burst");
    }
    settings
}

fn service_settings(reader: &mut Reader, table: &Table<'_>) -> ServiceSettings {
    let own = |text: &str| if text == "default" { Ok(None) } else { rate(text).map(Some) };
    let source_rate = reader.text(table, "source_rate", own);
    let source_burst = reader.number(table, "source_burst", 1..=keys::MOST);
    let follow_default = source_rate == Some(None);
    if follow_default && source_burst.is_some() {
        let place = reader.place(&path(&table.path, "source_burst"));
        reader.problems.add(place, "the default source limit has its burst; leave `source_burst` away, or give a rate");
    }
    let percent = reader.number(table, "reserve", 0..=90);
    ServiceSettings {
        follow_default,
        source: LimitChange { rate: source_rate.flatten(), burst: source_burst },
        prefixes: prefixes(reader, table),
        budget: limit(reader, table, "budget", "budget_burst"),
        challenge: reader.text(table, "challenge", text::challenge),
        tickets: reader.text(table, "tickets", text::ticket),
        reserve: percent.and_then(|percent| u8::try_from(percent).ok()),
        newcomers: limit(reader, table, "newcomers", "newcomers_burst"),
        fair_share: reader.yes(table, "fair_share"),
        reset: reader.yes(table, "reset"),
    }
}

fn services(reader: &mut Reader, top: &Table<'_>, policy: &mut Policy, findings: &mut Vec<Finding>) {
    let mut owners = HashMap::new();
    for (name, entries) in reader.named(top, "service") {
        let at = path("service", name.as_str());
        let table = reader.table(entries, at.clone(), keys::SERVICE);
        let mut service = Service::bare(name);
        service.listeners = listeners(reader, &table, &service.name, &mut owners);
        let scope = Scope::new(at.clone(), findings);
        service_settings(reader, &table).apply(&mut service, policy.source, policy.prefixes, scope);
        policy.services.push(service);
        if policy.services.len() == SERVICES as usize + 1 {
            let place = reader.place(&at);
            reader
                .problems
                .add(place, format!("a policy holds at most {SERVICES} services; join some that have the same limits"));
        }
    }
}

/// Who listens where, as it was written.
type Owners<'t> = HashMap<SocketAddr, (Name, &'t str, Place)>;

fn listeners<'t>(reader: &mut Reader, table: &Table<'t>, name: &Name, owners: &mut Owners<'t>) -> Vec<SocketAddr> {
    let mut listeners = Vec::new();
    let texts = reader.texts(table, "listen");
    if texts.is_empty() {
        let place = reader.place(&path(&table.path, "listen"));
        reader.problems.add(place, format!("service {name} listens nowhere; add `listen = [\"*:80\"]`"));
    }
    for (place, text) in texts {
        let places = text::listener(text).unwrap_or_else(|message| {
            reader.problems.add(place, message);
            Vec::new()
        });
        for listener in places {
            let Some((owner, other, first)) = owners.insert(listener, (name.clone(), text, place)) else { continue };
            let line = reader.problems.line(first);
            let message = format!(
                "`{text}` of service {name} and `{other}` of service {owner} ({line}) are the same address and port; take it out of one"
            );
            reader.problems.add(place, message);
        }
        listeners.extend(text::listener(text).unwrap_or_default());
    }
    let most = LISTENERS as usize / 2;
    if owners.len() > most && owners.len() - listeners.len() <= most {
        let place = reader.place(&table.path);
        reader.problems.add(place, format!("a policy holds at most {most} address:port pairs; `*:80` is two"));
    }
    listeners.sort_unstable();
    listeners
}

fn class_settings(reader: &mut Reader, table: &Table<'_>) -> ClassSettings {
    ClassSettings { source: limit(reader, table, "source_rate", "source_burst"), prefixes: prefixes(reader, table) }
}

fn classes(reader: &mut Reader, top: &Table<'_>, directory: &Path, policy: &mut Policy, findings: &mut Vec<Finding>) {
    let mut all: Vec<(Name, Members)> = Vec::new();
    for (name, entries) in reader.named(top, "class") {
        let at = path("class", name.as_str());
        let table = reader.table(entries, at.clone(), keys::CLASS);
        let members = members::read(reader, &table, directory);
        if !table.has("source_rate") {
            let place = reader.place(&at);
            reader.problems.add(
                place,
                format!("say what a source of class {name} may do: `source_rate = \"400/s\"`, or \"unlimited\""),
            );
        }
        let mut class = Class { name, members: Vec::new(), source: Default::default(), prefixes: None };
        class_settings(reader, &table).apply(&mut class, policy.prefixes, Scope::new(at.clone(), findings));
        class.members = members.iter().map(|(prefix, _)| *prefix).collect();
        class.members.sort_unstable();
        all.push((class.name.clone(), members));
        policy.classes.push(class);
        if policy.classes.len() == usize::from(MOST_CLASSES) + 1 {
            let place = reader.place(&at);
            reader.problems.add(
                place,
                format!("a policy holds at most {MOST_CLASSES} classes; join some that have the same limit"),
            );
        }
    }
    members::check(reader, &all);
}

fn profiles(reader: &mut Reader, top: &Table<'_>) -> Vec<Profile> {
    let mut profiles = Vec::new();
    for (name, entries) in reader.named(top, "profile") {
        let table = reader.table(entries, path("profile", name.as_str()), keys::PROFILE);
        let mode = reader.text(&table, "mode", text::mode);
        let host = host(reader, &table);
        let mut profile = Profile { name, mode, host, services: Vec::new(), classes: Vec::new() };
        for (name, entries) in reader.named(&table, "service") {
            let at = path(&path(&table.path, "service"), name.as_str());
            let table = reader.table(entries, at, keys::SERVICE_CHANGES);
            profile.services.push((name, service_settings(reader, &table)));
        }
        for (name, entries) in reader.named(&table, "class") {
            let at = path(&path(&table.path, "class"), name.as_str());
            let table = reader.table(entries, at, keys::CLASS_CHANGES);
            profile.classes.push((name, class_settings(reader, &table)));
        }
        profiles.push(profile);
    }
    profiles
}

/// The last word is `encode`'s: what it refuses is no policy, whatever the checks before it thought.
fn encode_for_trial(reader: &mut Reader, document: &Document) {
    let mut refused: Vec<(String, String)> = Vec::new();
    let mut trial = |policy: &Policy, at: String| {
        if let Err(error) = encode(policy, 0, 1, &Known::default()) {
            refused.push((at, format!("{error:#}")));
        }
    };
    trial(&document.policy, String::new());
    for profile in &document.profiles {
        trial(&profile.apply(&document.policy, &mut Vec::new()), path("profile", profile.name.as_str()));
    }
    for (at, message) in refused {
        let place = reader.place(&at);
        reader.problems.add(place, message);
    }
}
