//! Prefixes of classes, from the policy file itself and from lists beside it, and the rule that each is in one class only.

use std::fs;
use std::path::Path;

use super::LARGEST;
use super::problem::{Position, Problems};
use super::settings::path;
use super::table::{Reader, Table};
use crate::prefix::Prefix;
use limiter_common::record::CLASS_PREFIXES;

use crate::Name;

/// Prefixes and where each of them stands.
pub type Members = Vec<(Prefix, Position)>;

/// What `prefixes` and `prefixes_from` of a class hold.
pub fn read(reader: &mut Reader, table: &Table<'_>, directory: &Path) -> Members {
    let mut members = Vec::new();
    for (place, text) in reader.texts(table, "prefixes") {
        match text.parse() {
            Ok(prefix) => members.push((prefix, place)),
            Err(message) => reader.problems.add(place, message),
        }
    }
    let before = reader.problems.is_empty();
    for (place, name) in reader.texts(table, "prefixes_from") {
        let file = directory.join(name);
        match list(&file) {
            Ok(text) => {
                parse(&mut reader.problems, &file.display().to_string(), &text, &mut members)
            }
            Err(error) => reader.problems.add(
                place,
                format!(
                    "cannot read {}: {error}; a relative path counts from the policy file's \
                     directory",
                    file.display()
                ),
            ),
        }
    }
    if members.is_empty() && before && reader.problems.is_empty() {
        let place = reader.place(&table.path);
        reader.problems.add(
            place,
            "a class has prefixes; give it `prefixes = [\"192.0.2.0/24\"]`, or `prefixes_from = \"FILE\"` with one on each line",
        );
    }
    members
}

fn list(file: &Path) -> std::io::Result<String> {
    let meta = fs::metadata(file)?;
    // Before opening: a pipe would wait for ever, and a device never end.
    if !meta.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    if meta.len() > LARGEST {
        return Err(std::io::Error::other("it is larger than 16 MiB"));
    }
    fs::read_to_string(file)
}

/// A prefix on each line; `#` begins a comment.
fn parse(problems: &mut Problems, name: &str, text: &str, members: &mut Members) {
    let file = problems.file(name, text);
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let said = line.split_once('#').map_or(line, |(said, _)| said);
        let place = Position { file, offset: offset + said.len() - said.trim_start().len() };
        offset += line.len();
        match said.trim() {
            "" => {}
            said => match said.parse() {
                Ok(prefix) => members.push((prefix, place)),
                Err(message) => problems.add(place, message),
            },
        }
    }
}

/// Refuses prefixes that stand twice, and more than a policy holds.
pub fn check(reader: &mut Reader, classes: &[(Name, Members)]) {
    let mut all: Vec<(Prefix, Position, &Name)> = Vec::new();
    for (name, members) in classes {
        let most = CLASS_PREFIXES as usize;
        if all.len() <= most && all.len() + members.len() > most {
            let place = reader.place(&path("class", name.as_str()));
            let message = format!(
                "with class {name} there are more than {most} prefixes, which is the most that all classes together hold; join neighbours into shorter prefixes"
            );
            reader.problems.add(place, message);
        }
        all.extend(members.iter().map(|(prefix, place)| (*prefix, *place, name)));
    }
    all.sort_unstable();
    for pair in all.windows(2) {
        let [(prefix, first, one), (second, place, other)] = pair else { continue };
        if prefix == second {
            let line = reader.problems.line(*first);
            let message = match one == other {
                true => format!("{prefix} is in class {one} already ({line}); remove one"),
                false => format!(
                    "{prefix} is in class {one} ({line}) and in class {other}; take it out of one"
                ),
            };
            reader.problems.add(*place, message);
        }
    }
}
