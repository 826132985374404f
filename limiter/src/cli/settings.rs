//! Options made of the rows of settings: what `attach` says of the host, and what `set` says of the
//! host or a service.

use anyhow::{Result, anyhow};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use limiter_common::record;

use super::Usage;
use crate::policy::file::{DOCUMENT, Document};
use crate::policy::settings::{
    DEFAULTS, HOST, SERVICE, Setting, Settings, Style, Value, Wrong, apply, option,
};
use crate::policy::{Name, Policy, Service};

/// Settings at the top of a policy file that `set` changes, and one that counts when limiter is
/// loaded.
const LIVE: &str = "set_syncookies";
const LOADED: &str = "sources";
/// Says that everything that can follow the default does.
const FOLLOW: &str = "follow_default";

/// What was typed about settings: of the host, and where `OF_A_SERVICE` of a service too.
#[derive(Clone, Debug)]
pub struct Typed<const OF_A_SERVICE: bool>(pub Settings);

impl<const OF_A_SERVICE: bool> Args for Typed<OF_A_SERVICE> {
    fn augment_args(command: Command) -> Command {
        if !OF_A_SERVICE {
            return options(options(command, host(), |arg| arg), top(LOADED), |arg| arg);
        }
        let of_the_host = keys(host());
        let command =
            options(command, &SERVICE, |arg| match of_the_host.contains(&arg.get_id().as_str()) {
                true => arg,
                false => arg.requires("service"),
            });
        let command = options(command, only_host(), |arg| arg.conflicts_with("service"));
        let follow =
            Arg::new(FOLLOW).long(option(FOLLOW)).action(ArgAction::SetTrue).requires("service");
        let help = "Make the service follow the default source limit and prefixes again";
        options(
            command.arg(follow.help(help).conflicts_with_all(keys(following()))),
            top(LIVE),
            |arg| arg,
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const OF_A_SERVICE: bool> FromArgMatches for Typed<OF_A_SERVICE> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut said = Settings::default();
        if !OF_A_SERVICE {
            read(matches, host(), &mut said)?;
            read(matches, top(LOADED), &mut said)?;
            return Ok(Self(said));
        }
        read(matches, &SERVICE, &mut said)?;
        read(matches, only_host(), &mut said)?;
        read(matches, top(LIVE), &mut said)?;
        if matches.get_flag(FOLLOW) {
            said.0.extend(following().map(|row| (row.key, Value::Default)));
        }
        Ok(Self(said))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn host() -> impl Iterator<Item = &'static Setting<Policy, record::Host>> {
    DEFAULTS.iter().chain(&HOST)
}

/// Settings of the host that no service has.
fn only_host() -> impl Iterator<Item = &'static Setting<Policy, record::Host>> {
    host().filter(|row| SERVICE.iter().all(|one| one.key != row.key))
}

/// Settings of a service that follow the host's.
fn following() -> impl Iterator<Item = &'static Setting<Service, record::Service>> {
    SERVICE.iter().filter(|row| row.follows.is_some())
}

fn keys<T: 'static, R: 'static>(
    rows: impl Iterator<Item = &'static Setting<T, R>>,
) -> Vec<&'static str> {
    rows.flat_map(Setting::parts).map(|part| part.key).collect()
}

fn top(key: &str) -> impl Iterator<Item = &'static Setting<Document, ()>> {
    DOCUMENT.iter().filter(move |row| row.key == key)
}

/// Adds the options of settings.
fn options<'r, T: 'r, R: 'r>(
    command: Command,
    rows: impl IntoIterator<Item = &'r Setting<T, R>>,
    with: impl Fn(Arg) -> Arg,
) -> Command {
    let parts = rows.into_iter().flat_map(Setting::parts);
    let options = parts.map(|part| {
        let option =
            Arg::new(part.key).long(option(part.key)).value_name(part.value_name()).help(part.help);
        with(option.value_parser(move |text: &str| part.text(text)))
    });
    command.args(options)
}

/// What was typed of them.
fn read<'r, T: 'r, R: 'r>(
    matches: &ArgMatches,
    rows: impl IntoIterator<Item = &'r Setting<T, R>>,
    said: &mut Settings,
) -> Result<(), Error> {
    for row in rows {
        for part in row.parts() {
            let Some(value) = matches.get_one::<Value>(part.key) else { continue };
            row.say(said, &part, *value, Style::Options)
                .map_err(|message| Error::raw(ErrorKind::ArgumentConflict, message + "\n"))?;
        }
    }
    Ok(())
}

/// Says `said` about the defaults and the budget of the host.
///
/// # Errors
/// What cannot be, and what to do.
pub fn apply_to_host(said: &Settings, policy: &mut Policy) -> Result<()> {
    let around = Policy::default();
    let mut wrong = apply(&DEFAULTS, said, policy, &around, Style::Options);
    wrong.extend(apply(&HOST, said, policy, &around, Style::Options));
    refuse("host", &wrong)
}

/// What `said` makes of the settings around the policy, which are `before`.
pub fn applied_around(said: &Settings, before: &Document) -> Document {
    let mut around = before.clone();
    // Whatever can be said about these can be: nothing is wrong.
    apply(&DOCUMENT, said, &mut around, &Policy::default(), Style::Options);
    around
}

/// Says `said` about a service of `policy`.
///
/// # Errors
/// What cannot be, and what to do.
pub fn apply_to_service(said: &Settings, policy: &mut Policy, name: &Name) -> Result<()> {
    let (defaults, names) =
        (policy.defaults(), policy.services.iter().map(|service| service.name.to_string()));
    let names = names.collect::<Vec<_>>().join(", ");
    let service = policy.service_mut(name).ok_or_else(|| match names.as_str() {
        "" => anyhow!("there is no service {name}: the policy in force has no services"),
        names => anyhow!("there is no service {name}; there are: {names}"),
    })?;
    refuse(&format!("service {name}"), &apply(&SERVICE, said, service, &defaults, Style::Options))
}

fn refuse(scope: &str, wrong: &[Wrong]) -> Result<()> {
    let messages: Vec<_> = wrong.iter().map(|wrong| wrong.message.as_str()).collect();
    match messages.is_empty() {
        true => Ok(()),
        false if wrong.iter().any(|wrong| wrong.is_usage) => Err(Usage(messages.join("; ")).into()),
        false => Err(anyhow!("{scope}: {}", messages.join("; "))),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;
    use proptest::prelude::*;

    use super::*;
    use crate::policy::settings::{LimitChange, PrefixChange, Takes};
    use crate::policy::text;

    #[derive(Parser)]
    struct Line {
        #[arg(long)]
        service: Option<Name>,
        #[command(flatten)]
        said: Typed<true>,
    }

    /// Values of a setting: off, on, and another one.
    fn values(takes: Takes) -> Vec<Value> {
        let rate = |text| Value::Limit(LimitChange { rate: text::rate(text).ok(), burst: None });
        match takes {
            Takes::Limit(_) => vec![rate("none"), rate("20/s"), rate("600/min")],
            Takes::Prefixes { .. } => [1, 24]
                .map(|bits| Value::Prefixes(PrefixChange { v4: Some(bits), v6: None }))
                .to_vec(),
            Takes::Choice { words, .. } => (0..words.len() as u64).map(Value::Number).collect(),
            Takes::Number(whole) => [whole.least, whole.most].map(Value::Number).to_vec(),
            Takes::Yes => [0, 1].map(Value::Number).to_vec(),
        }
    }

    fn said() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
        let one = |row: &Setting<Service, record::Service>| {
            let key = row.key;
            let value = prop::sample::select(values(row.takes)).prop_map(move |value| (key, value));
            prop::option::weighted(0.4, value)
        };
        SERVICE
            .iter()
            .map(one)
            .collect::<Vec<_>>()
            .prop_map(|said| said.into_iter().flatten().collect())
    }

    fn written(
        said: &[(&'static str, Value)],
        form: impl Fn(&str, String) -> String,
    ) -> Vec<String> {
        let kind = |key: &str| SERVICE.iter().find(|row| row.key == key).map(|row| row.takes);
        let all = said.iter().filter_map(|(key, value)| Some(kind(key)?.written(key, *value)));
        all.flatten().map(|(key, value)| form(key, value.to_string())).collect()
    }

    fn of_the_file(before: &[String], change: &[String]) -> Result<Policy> {
        let (before, change) = (before.concat(), change.concat());
        let text = format!(
            "[service.web]\nlisten = \"*:80\"\n{before}[profile.siege.service.web]\n{change}"
        );
        let document = Document::parse(&text, "policy.toml", Path::new(""))?;
        Ok(document.with_profile(Some(&"siege".parse().map_err(anyhow::Error::msg)?))?.0)
    }

    fn typed(policy: &mut Policy, change: &[String]) -> Result<()> {
        let words = ["limiter".to_owned(), "--service=web".to_owned()]
            .into_iter()
            .chain(change.iter().cloned());
        let line = Line::try_parse_from(words)?;
        apply_to_service(&line.said.0, policy, &line.service.expect("typed"))
    }

    proptest! {
        /// What a file says, `set` makes of it too: the same policy, or both refuse it.
        #[test]
        fn set_and_the_file_obey_one_rule(before in said(), change in said()) {
            let line = |key: &str, value: String| format!("{key} = {value}\n");
            let word = |key: &str, value: String| {
                let value = value.trim_matches('"').replace("true", "yes").replace("false", "no");
                format!("--{}={value}", option(key))
            };
            let before_line = written(&before, line);
            let Ok(base) = of_the_file(&before_line, &[]) else { return Ok(()) };
            let file = of_the_file(&before_line, &written(&change, line));
            let mut policy = base;
            let set = typed(&mut policy, &written(&change, word));
            prop_assert_eq!(file.is_ok(), set.is_ok(), "{:?} and {:?}", file, set);
            if let Ok(file) = file {
                prop_assert_eq!(file, policy);
            }
        }
    }
}
