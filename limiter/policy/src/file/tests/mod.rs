//! Good and bad policy files.

mod bad;
mod generated;
mod lists;

use std::path::Path;

use limiter_common::challenge::Challenge;
use limiter_common::rate::{Limit, Rate};
use limiter_common::record::Refuse;
use limiter_common::switch::Mode;

use super::Document;
use crate::{Admission, Name, Policy, Prefixes, text};

const SAMPLE: &str = include_str!("../../../../../packaging/policy.toml");

/// Everything that a file can say, apart from lists of prefixes.
pub const FULL: &str = r#"
interfaces = ["eth0", "eth1"]
generic = true
mode = "observe"
sources = 1_048_576
set_syncookies = true

[defaults]
source_rate = "20/s"
source_burst = 40
prefix_v4 = 31
[host]
budget = "5k/s"

[service.web]
listen = ["*:80", "*:443"]
source_rate = "600/min"
source_burst = 60
prefix_v4 = 24
network_rate = "200/s"
network_burst = 300
network_v6 = 44
shadow_source_rate = "5/s"
shadow_open = 30
budget = "1000/s"
budget_burst = 3000
challenge = "auto"
refuse = "reset"
[service.mail]
listen = "192.0.2.1:25"
source_rate = "none"

[class.schools]
prefixes = ["192.0.2.0/24", "2001:db8::/48"]
source_rate = "400/s"
prefix_v4 = 24
network_rate = "900/s"
[class.probe]
prefixes = "198.51.100.7"
source_rate = "unlimited"

[profile.guard]
mode = "enforce"
[profile.siege]
mode = "enforce"
[profile.siege.defaults]
source_burst = 10
[profile.siege.host]
budget = "none"
[profile.siege.service.web]
source_rate = "default"
challenge = "always"
budget_burst = 500
line = false
[profile.siege.class.probe]
source_rate = "1/s"
"#;

pub fn parse(text: &str) -> Result<Document, String> {
    Document::parse(text, "policy.toml", Path::new("/nonexistent"))
        .map_err(|error| format!("{error:#}"))
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn limit(rate: &str, burst: u64) -> Limit {
    Limit { rate: text::rate(rate).expect("a rate"), burst }
}

#[test]
fn what_a_file_says_is_what_it_means() {
    let document = parse(FULL).expect("good");
    assert_eq!((document.mode, document.sources), (Some(Mode::Observe), Some(1 << 20)));
    assert!(document.generic && document.set_syncookies);
    let policy = &document.policy;
    assert_eq!((policy.source, policy.budget), (limit("20/s", 40), limit("5k/s", 10_000)));
    assert_eq!(policy.prefixes, Prefixes { v4: 31, v6: 64 });
    let [web, mail] = &policy.services[..] else {
        panic!("two services, in the order of the file")
    };
    assert_eq!(web.listeners, text::service("web=*:80,*:443").expect("a service").listeners);
    assert_eq!(web.source, Some(limit("600/min", 60)));
    assert_eq!(
        web.prefixes,
        Some(Prefixes { v4: 24, v6: 64 }),
        "the other length is the default's"
    );
    let said =
        Admission { challenge: Challenge::Auto, refuse: Refuse::Reset, ..Admission::default() };
    assert_eq!(web.admission, said);
    assert_eq!(
        (mail.source, mail.budget, mail.admission),
        (Some(Limit::default()), Limit::default(), Admission::default())
    );
    let [schools, probe] = &policy.classes[..] else { panic!("two classes") };
    assert_eq!((schools.members.len(), schools.source), (2, limit("400/s", 800)));
    assert_eq!((probe.source, probe.prefixes), (Limit::default(), None));
}

#[test]
fn a_profile_changes_what_it_says_and_nothing_else() {
    let document = parse(FULL).expect("good");
    assert_eq!(
        document.with_profile(None).expect("none"),
        (document.policy.clone(), Some(Mode::Observe))
    );
    assert_eq!(
        document.with_profile(Some(&name("normal"))).expect("always there").0,
        document.policy
    );
    let (guard, mode) = document.with_profile(Some(&name("guard"))).expect("a profile");
    assert_eq!((&guard, mode), (&document.policy, Some(Mode::Enforce)));
    let (siege, _) = document.with_profile(Some(&name("siege"))).expect("a profile");
    let mut wanted = document.policy.clone();
    (wanted.source.burst, wanted.budget) = (10, Limit::default());
    let web = &mut wanted.services[0];
    (web.source, web.budget.burst) = (None, 500);
    (web.admission.challenge, web.admission.line) = (Challenge::Always, false);
    wanted.classes[1].source = limit("1/s", 10);
    assert_eq!(siege, wanted);
    let error = document.with_profile(Some(&name("sige"))).expect_err("none such").to_string();
    assert_eq!(error, "there is no profile sige; there are: normal, guard, siege");
}

#[test]
fn a_normal_of_its_own_counts() {
    let document = parse("[profile.normal]\nmode = \"enforce\"").expect("good");
    assert_eq!(
        document.with_profile(Some(&name("normal"))).expect("a profile").1,
        Some(Mode::Enforce)
    );
    assert_eq!(document.profile_names(), ["normal"]);
}

#[test]
fn nothing_said_is_nothing_limited() {
    let document = parse("").expect("an empty file is a policy");
    assert_eq!(document, Document::default());
    assert_eq!(document.policy, Policy::default());
    assert_eq!(document.to_toml(), "");
    let document = parse("[service.web]\nlisten = [\"*:80\"]").expect("good");
    assert!(!document.policy.has_limits());
}

#[test]
fn the_written_file_says_the_same() {
    let document = parse(FULL).expect("good");
    let written = document.to_toml();
    assert_eq!(parse(&written).expect("good"), document, "{written}");
}

#[test]
fn the_sample_is_good_and_drops_nothing() {
    let document = parse(SAMPLE).expect("good");
    // Observe mode at first. To apply it in an incident does not disarm.
    assert_eq!(document.mode, None);
    assert!(document.interfaces.is_empty() && document.policy.has_limits());
    assert_eq!(document.policy.source.rate, Rate::per_second(20));
    // What stands in comments is good too.
    let is_key = |line: &&str| {
        line.starts_with("# [")
            || line.split_once(" = ").is_some_and(|(key, _)| key.starts_with("# "))
    };
    let all: Vec<&str> =
        SAMPLE.lines().map(|line| if is_key(&line) { &line[2..] } else { line }).collect();
    let all = all.join("\n").replace("prefixes_from", "# prefixes_from");
    let document = parse(&all).expect("good with every comment taken away");
    assert_eq!((document.policy.classes.len(), document.interfaces.len()), (1, 2));
    let (siege, _) = document.with_profile(Some(&name("siege"))).expect("a profile");
    assert_eq!(siege.services[0].admission.challenge, Challenge::Always);
}
