//! From the text of a policy file to the document: keys and values first, then what they mean together, then each policy that it can
//! become is encoded for trial, so that nothing is accepted that could not be applied.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;

use limiter_common::class_tree::MOST_CLASSES;
use limiter_common::record::{POLICY_LISTENERS, SERVICES};
use toml::de::DeTable;

use super::members::{self, Members};
use super::problem::{Position, Problems};
use super::settings::{DOCUMENT, Finding, PROFILE, note, path};
use super::table::{Reader, Table};
use super::{Document, Profile, apply_to_host, auto, fleet, keys};
use crate::encode::{Known, encode};
use crate::settings::{CLASS, DEFAULTS, HOST, SERVICE, Setting, Settings, Style, apply};
use crate::{Class, Name, Policy, Service, text};

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
    let top = reader.table(root.get_ref(), String::new(), &keys::top());
    let mut findings = Vec::new();
    let mut document =
        Document { interfaces: interfaces(&mut reader, &top), ..Document::default() };
    let said = reader.said(&top, &DOCUMENT);
    note(
        &mut findings,
        "",
        apply(&DOCUMENT, &said, &mut document, &Policy::default(), Style::File),
    );
    apply_to_host(&host(&mut reader, &top), &mut document.policy, "", &mut findings);
    services(&mut reader, &top, &mut document.policy, &mut findings);
    classes(&mut reader, &top, directory, &mut document.policy, &mut findings);
    document.profiles = profiles(&mut reader, &top);
    document.fleet = fleet::read(&mut reader, &top, &document);
    document.auto = auto::read(&mut reader, &top, &document.policy);
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
        problems.add(Position { file: 0, offset }, syntax(message));
    }
}

/// The parser's words for what is no TOML, and what to do.
fn syntax(message: &str) -> String {
    const ADVICE: [(&str, &str); 8] = [
        ("duplicate key", "the file has it already further up: remove or rename one"),
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
    let advice =
        ADVICE.iter().find(|(known, _)| message.contains(known)).map_or("", |(_, advice)| advice);
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
            reader.problems.add(place, format!("{name} is listed twice; remove one"));
        } else {
            names.push(name.to_owned());
        }
    }
    names
}

/// What `[defaults]` and `[host]` say.
fn host(reader: &mut Reader, around: &Table<'_>) -> Settings {
    let mut all = Settings::default();
    for (rows, key) in [(&DEFAULTS[..], "defaults"), (&HOST, "host")] {
        if let Some(entries) = reader.subtable(around, key) {
            let table = reader.table(entries, path(&around.path, key), &keys::settings(rows));
            all.0.extend(reader.said(&table, rows).0);
        }
    }
    all
}

fn services(
    reader: &mut Reader,
    top: &Table<'_>,
    policy: &mut Policy,
    findings: &mut Vec<Finding>,
) {
    let (mut owners, defaults) = (HashMap::new(), policy.defaults());
    for (name, entries) in reader.named(top, "service") {
        let at = path("service", name.as_str());
        let table = reader.table(entries, at.clone(), &keys::service());
        let mut service = Service::bare(name);
        service.listeners = listeners(reader, &table, &service.name, &mut owners);
        let said = reader.said(&table, &SERVICE);
        note(findings, &at, apply(&SERVICE, &said, &mut service, &defaults, Style::File));
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
type Owners<'t> = HashMap<SocketAddr, (Name, &'t str, Position)>;

fn listeners<'t>(
    reader: &mut Reader,
    table: &Table<'t>,
    name: &Name,
    owners: &mut Owners<'t>,
) -> Vec<SocketAddr> {
    let mut listeners = Vec::new();
    let texts = reader.texts(table, "listen");
    if texts.is_empty() {
        let place = reader.place(&path(&table.path, "listen"));
        reader
            .problems
            .add(place, format!("service {name} listens nowhere; add `listen = [\"*:80\"]`"));
    }
    for (place, text) in texts {
        let places = text::listener(text).unwrap_or_else(|message| {
            reader.problems.add(place, message);
            Vec::new()
        });
        for listener in places {
            let Some((owner, other, first)) = owners.insert(listener, (name.clone(), text, place))
            else {
                continue;
            };
            let line = reader.problems.line(first);
            let message = format!(
                "`{text}` of service {name} and `{other}` of service {owner} ({line}) are the same address and port; take it out of one"
            );
            reader.problems.add(place, message);
        }
        listeners.extend(text::listener(text).unwrap_or_default());
    }
    let most = POLICY_LISTENERS as usize;
    if owners.len() > most && owners.len() - listeners.len() <= most {
        let place = reader.place(&table.path);
        reader
            .problems
            .add(place, format!("a policy holds at most {most} address:port pairs; `*:80` is two"));
    }
    listeners.sort_unstable();
    listeners
}

fn classes(
    reader: &mut Reader,
    top: &Table<'_>,
    directory: &Path,
    policy: &mut Policy,
    findings: &mut Vec<Finding>,
) {
    let (mut all, defaults): (Vec<(Name, Members)>, _) = (Vec::new(), policy.defaults());
    for (name, entries) in reader.named(top, "class") {
        let at = path("class", name.as_str());
        let table = reader.table(entries, at.clone(), &keys::class());
        let members = members::read(reader, &table, directory);
        if !table.has("source_rate") {
            let place = reader.place(&at);
            reader.problems.add(
                place,
                format!("say what a source of class {name} may do: `source_rate = \"400/s\"`, or \"unlimited\""),
            );
        }
        let mut class = Class::bare(name);
        let said = reader.said(&table, &CLASS);
        note(findings, &at, apply(&CLASS, &said, &mut class, &defaults, Style::File));
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
        let table = reader.table(entries, path("profile", name.as_str()), &keys::profile());
        let mut profile = Profile {
            name,
            mode: None,
            host: host(reader, &table),
            services: Vec::new(),
            classes: Vec::new(),
        };
        // Nothing can be wrong with a mode that is one.
        apply(
            &PROFILE,
            &reader.said(&table, &PROFILE),
            &mut profile,
            &Policy::default(),
            Style::File,
        );
        profile.services = changes(reader, &table, "service", &SERVICE);
        profile.classes = changes(reader, &table, "class", &CLASS);
        profiles.push(profile);
    }
    profiles
}

/// What a profile says about services or classes.
fn changes<T, R>(
    reader: &mut Reader,
    table: &Table<'_>,
    key: &str,
    rows: &[Setting<T, R>],
) -> Vec<(Name, Settings)> {
    let named = reader.named(table, key).into_iter();
    let said = named.map(|(name, entries)| {
        let at = path(&path(&table.path, key), name.as_str());
        let table = reader.table(entries, at, &keys::settings(rows));
        (name, reader.said(&table, rows))
    });
    said.collect()
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
        trial(
            &profile.apply(&document.policy, &mut Vec::new()),
            path("profile", profile.name.as_str()),
        );
    }
    for (at, message) in refused {
        let place = reader.place(&at);
        reader.problems.add(place, message);
    }
}
