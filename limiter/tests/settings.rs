//! A setting is one row. Each is an option, a key of the file, in `policy show`, in differences and
//! in JSON, and the kernel side's records give it back; what is no row is none of these.

use std::path::Path;

use clap::CommandFactory as _;
use limiter::policy::decode::decode;
use limiter::policy::encode::{Encoded, Known, encode};
use limiter::policy::file::{DOCUMENT, Document};
use limiter::policy::settings::{
    CLASS, DEFAULTS, HOST, LimitChange, PrefixChange, SERVICE, Setting, Takes, Value, option,
};
use limiter::policy::{Policy, diff, text};

/// Values of which the setting has not all by default.
fn samples(takes: Takes) -> Vec<Value> {
    match takes {
        Takes::Limit(_) => {
            vec![Value::Limit(LimitChange { rate: text::rate("7/s").ok(), burst: Some(77) })]
        }
        Takes::Prefixes { .. } => {
            vec![Value::Prefixes(PrefixChange { v4: Some(23), v6: Some(45) })]
        }
        Takes::Choice { words, .. } => vec![Value::Number(words.len() as u64 - 1)],
        Takes::Number(whole) => vec![Value::Number(whole.most)],
        Takes::Yes => [1, 0].map(Value::Number).to_vec(),
    }
}

/// A policy file with `lines` in `table`, which is one of these or the top.
fn file(table: &str, lines: &str) -> String {
    let rest = [
        ("", String::new()),
        ("[defaults]", String::new()),
        ("[host]", String::new()),
        ("[service.web]", "listen = [\"*:80\"]\n".to_owned()),
        ("[class.probe]", "prefixes = [\"192.0.2.7\"]\n".to_owned()),
    ];
    let class = if table == "[class.probe]" && lines.contains("source_rate") {
        ""
    } else {
        "source_rate = \"5/s\"\n"
    };
    let tables = rest.into_iter().map(|(name, mut own)| {
        own.push_str(if name == "[class.probe]" { class } else { "" });
        format!("{name}\n{own}{}", if name == table { lines } else { "" })
    });
    tables.collect()
}

fn parse(text: &str) -> Document {
    Document::parse(text, "policy.toml", Path::new(""))
        .unwrap_or_else(|error| panic!("{error:#}\n{text}"))
}

fn given_back(policy: &Policy) -> Policy {
    let Encoded { host, services, listeners, classes, prefixes, networks, .. } =
        encode(policy, 0, 2, &Known::default()).expect("it can be kept");
    decode(0, &host, &services, &listeners, &classes, &prefixes, &networks)
}

/// What is true of a row, wherever it stands.
fn walk<T, R>(table: &str, rows: &[Setting<T, R>], json: impl Fn(&Document) -> serde_json::Value) {
    let bare = parse(&file(table, ""));
    for row in rows {
        let said = samples(row.takes).into_iter().map(|value| {
            let written = row.takes.written(row.key, value);
            let lines = written.iter().map(|(key, value)| format!("{key} = {value}\n"));
            let lines: Vec<_> = lines.collect();
            let document = parse(&file(table, &lines.concat()));
            (written, lines, document)
        });
        let mut others = said.filter(|(.., document)| *document != bare);
        let (written, lines, document) =
            others.next().unwrap_or_else(|| panic!("{}: the file says it", row.key));
        let shown = document.to_toml();
        assert!(lines.iter().all(|line| shown.contains(line)), "{}: shown\n{shown}", row.key);
        assert_eq!(
            given_back(&document.policy),
            document.policy,
            "{}: given back by the records",
            row.key
        );
        let around = diff::document(&bare, &document);
        let mut differs = diff::changes(&bare.policy, &document.policy);
        differs.extend(around.iter().map(ToString::to_string));
        assert!(differs.iter().any(|line| line.contains(row.what)), "{}: {differs:?}", row.key);
        let json = json(&document);
        for (key, value) in &written {
            assert_eq!(json[key], serde_json::json!(value), "{key}: {json}");
            let text = file(table, &format!("{key}s = 1\n"));
            let said = Document::parse(&text, "policy.toml", Path::new(""))
                .expect_err("no such key")
                .to_string();
            assert!(said.contains(&format!("did you mean `{key}`?")), "{said}");
        }
    }
}

/// The file as JSON, as `policy show --json` prints it.
fn shown(document: &Document, path: &str) -> serde_json::Value {
    let file: toml::Table = toml::from_str(&document.to_toml()).expect("a file");
    serde_json::to_value(file).expect("JSON").pointer(path).expect("a table").clone()
}

#[test]
fn every_setting_is_everywhere() {
    walk("", &DOCUMENT, |document| shown(document, ""));
    walk("[defaults]", &DEFAULTS, |document| shown(document, "/defaults"));
    walk("[host]", &HOST, |document| shown(document, "/host"));
    walk("[class.probe]", &CLASS, |document| shown(document, "/class/probe"));
    walk("[service.web]", &SERVICE, |document| shown(document, "/service/web"));
    // As `status --json` has it.
    walk("[service.web]", &SERVICE, |document| {
        serde_json::to_value(&document.policy.services[0]).expect("JSON")
    });
}

/// Options have the name and the text of their keys, and `set` has nothing that no row says.
#[test]
fn every_setting_is_an_option() {
    let command = limiter::cli::Command::command();
    let find = |name: &str| command.find_subcommand(name).expect("a command").clone();
    let has = |command: &clap::Command, key: &str, help: &str| {
        let mut all = command.get_arguments().filter(|one| one.get_long() == Some(&option(key)));
        let found =
            all.next().unwrap_or_else(|| panic!("{} has no option for {key}", command.get_name()));
        assert_eq!(found.get_help().map(ToString::to_string).as_deref(), Some(help), "{key}");
    };
    let (set, attach) = (find("set"), find("attach"));
    let of_services = SERVICE.iter().flat_map(Setting::parts);
    let of_the_host = DEFAULTS.iter().chain(&HOST).flat_map(Setting::parts);
    of_services.clone().for_each(|part| has(&set, part.key, part.help));
    of_the_host.clone().for_each(|part| has(&attach, part.key, part.help));
    of_the_host.clone().for_each(|part| {
        assert!(set.get_arguments().any(|one| one.get_id() == part.key), "{}", part.key)
    });
    let known: Vec<String> = of_services.chain(of_the_host).map(|part| option(part.key)).collect();
    let mut others: Vec<_> = set.get_arguments().filter_map(|one| one.get_long()).collect();
    others.retain(|one| !known.iter().any(|known| known == one));
    assert_eq!(others, ["service", "from-shadow", "confirm", "follow-default", "set-syncookies"]);
    assert!(attach.get_arguments().any(|one| one.get_long() == Some("sources")));
}
