//! Bad files: where the problem is, and what is said about it.

use super::parse;

/// A file, the places `line:column` of its problems, and words that must be said.
type Bad<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);

const KEYS: &[Bad<'_>] = &[
    ("sorces = 8", &["1:1"], &["no key `sorces`", "did you mean `sources`?"]),
    ("[services.web]\nlisten = []", &["1:2"], &["did you mean `service`?"]),
    ("[host]\nbudget = \"5/s\"\ninterfaces = [\"eth0\"]", &["3:1"], &["above the first [table]"]),
    ("source_rate = \"5/s\"", &["1:1"], &["belongs in [defaults], [service.NAME]"]),
    ("[defaults]\nbudget = \"5/s\"", &["2:1"], &["belongs in [host] or [service.NAME]"]),
    ("[host]\ncolour = 1", &["2:1"], &["there are budget, budget_burst"]),
    (
        "[service.web]\nlisten = \"*:80\"\nsource_rates = \"5/s\"",
        &["3:1"],
        &["did you mean `source_rate`?"],
    ),
    ("[profile.siege]\ninterfaces = [\"eth0\"]", &["2:1"], &["a profile does not change it"]),
    ("[[service]]\nname = \"web\"", &["1:1"], &["a table, not a list", "[service.NAME]"]),
    ("[service]\nlisten = \"*:80\"", &["2:1"], &["`listen` is not a table", "[service.NAME]"]),
    ("[service.\"a b\"]\nlisten = \"*:80\"", &["1:10"], &["1 to 32 letters"]),
    ("host = 5", &["1:8"], &["a table, not a number", "[host]"]),
];

const VALUES: &[Bad<'_>] = &[
    ("mode = \"drop\"", &["1:8"], &["`drop` is not a mode", "`observe`", "`enforce`"]),
    ("mode = 1", &["1:8"], &["`mode` takes \"observe\" or \"enforce\", in quotes, not a number"]),
    ("generic = \"yes\"", &["1:11"], &["true or false, without quotes"]),
    ("sources = 0", &["1:11"], &["a zero where a number is meant", "8 to 268435456"]),
    ("sources = \"many\"", &["1:11"], &["a whole number", "524288", "not a text"]),
    ("interfaces = [\"eth0\", \"eth0\"]", &["1:23"], &["is listed twice"]),
    (
        "interfaces = [\"eth 0\", \"\", \"..\", \"abcdefghijklmnop\"]",
        &["1:15", "1:24", "1:28", "1:34"],
        &["`ip link`"],
    ),
    ("interfaces = [5]", &["1:15"], &["[\"eth0\", \"eth1\"]"]),
    ("[defaults]\nsource_rate = \"fast\"", &["2:15"], &["`fast` is not a rate", "20/s"]),
    (
        "[defaults]\nsource_rate = 20",
        &["2:15"],
        &["a rate in quotes such as \"20/s\", not a number"],
    ),
    ("[defaults]\nsource_rate = \"0/s\"", &["2:15"], &["would refuse every source", "none"]),
    (
        "[defaults]\nsource_rate = \"5/s\"\nsource_burst = 0",
        &["3:16"],
        &["a zero where a number is meant", "1 or more"],
    ),
    ("[defaults]\nsource_burst = -1", &["2:16"], &["1 or more", "not -1"]),
    ("[defaults]\nsource_burst = 5", &["2:16"], &["a burst needs its rate", "source_rate"]),
    ("[defaults]\nsource_rate = \"none\"\nsource_burst = 5", &["2:15"], &["none takes no burst"]),
    (
        "[defaults]\nprefix_v4 = 33\nprefix_v6 = 0",
        &["2:13", "3:13"],
        &["1 to 32", "1 to 128", "zero"],
    ),
    ("[defaults]\nsource_rate = \"30000/s\"", &["2:15"], &["the highest rate here is 19531/s"]),
    (
        "[defaults]\nsource_rate = \"1/h\"\nsource_burst = 100",
        &["2:15"],
        &["smaller burst or a higher rate"],
    ),
    ("[host]\nbudget = \"1000/s\"\nbudget_burst = 5", &["2:10"], &["a burst of 10 or more"]),
    ("[host]\nbudget = \"50M/s\"", &["2:10"], &["the highest rate here is 20000000/s"]),
];

const SERVICES: &[Bad<'_>] = &[
    ("[service.web]", &["1:10"], &["listens nowhere", "listen = [\"*:80\"]"]),
    ("[service.web]\nlisten = []", &["2:10"], &["listens nowhere"]),
    (
        "[service.web]\nlisten = [\"80\", \"*:0\"]",
        &["2:11", "2:17"],
        &["not an ADDR:PORT", "1 to 65535"],
    ),
    ("[service.web]\nlisten = [\"[fe80::1%2]:80\"]", &["2:11"], &["leave out `%2`"]),
    (
        "[service.web]\nlisten = [\"*:80\"]\n[service.app]\nlisten = [\"*:81\", \"0.0.0.0:80\"]",
        &["4:19"],
        &[
            "`0.0.0.0:80` of service app",
            "`*:80` of service web",
            "policy.toml:2",
            "take it out of one",
        ],
    ),
    ("[service.web]\nlisten = [\"*:80\", \"[::]:80\"]", &["2:19"], &["the same address and port"]),
    (
        "[service.web]\nlisten = [\"192.0.2.1:80\", \"[::ffff:192.0.2.1]:80\"]",
        &["2:27"],
        &["the same address"],
    ),
    (
        "[service.web]\nlisten = \"*:80\"\n[service.web]\nlisten = \"*:81\"",
        &["3:10", "4:1"],
        &["duplicate key", "remove or rename"],
    ),
    (
        "[service.web]\nlisten = \"*:80\"\nreserve = 50",
        &["3:1"],
        &["no key `reserve` in [service.web] any more", "in line", "remove it"],
    ),
    (
        "[service.web]\nlisten = \"*:80\"\nchallenge = \"maybe\"",
        &["3:13"],
        &["`off`, `auto` or `always`"],
    ),
    (
        "[service.web]\nlisten = \"*:80\"\nsource_rate = \"default\"\nsource_burst = 4",
        &["4:16"],
        &["leave out `source_burst`"],
    ),
    ("[service.web]\nlisten = \"*:80\"\nsource_burst = 4", &["3:16"], &["a burst needs its rate"]),
];

const CLASSES: &[Bad<'_>] = &[
    (
        "[class.schools]\nsource_rate = \"5/s\"",
        &["1:8"],
        &["a class has prefixes", "prefixes_from"],
    ),
    ("[class.schools]\nsource_rate = \"5/s\"\nprefixes = []", &["1:8"], &["a class has prefixes"]),
    (
        "[class.schools]\nprefixes = [\"192.0.2.0/24\"]",
        &["1:8"],
        &["source_rate = \"400/s\"", "unlimited"],
    ),
    (
        "[class.a]\nprefixes = [\"192.0.2.1/24\"]\nsource_rate = \"5/s\"",
        &["2:13"],
        &["did you mean `192.0.2.0/24`?"],
    ),
    (
        "[class.a]\nprefixes = [\"192.0.2.0/24\"]\nsource_rate = \"5/s\"\n[class.b]\nprefixes = [\"10.0.0.0/8\",\n\"192.0.2.0/24\"]\nsource_rate = \"5/s\"",
        &["6:1"],
        &["192.0.2.0/24 is in class a (policy.toml:2) and in class b", "take it out of one"],
    ),
    (
        "[class.a]\nprefixes = [\"::1\", \"::1/128\"]\nsource_rate = \"5/s\"",
        &["2:20"],
        &["is in class a already", "remove one"],
    ),
    (
        "[class.a]\nprefixes_from = \"gone.txt\"\nsource_rate = \"5/s\"",
        &["2:17"],
        &["cannot read /nonexistent/gone.txt", "counts from the policy file"],
    ),
    (
        "[class.a]\nprefixes_from = \"/dev/zero\"\nsource_rate = \"5/s\"",
        &["2:17"],
        &["not a regular file"],
    ),
];

const PROFILES: &[Bad<'_>] = &[
    (
        "[service.web]\nlisten = \"*:80\"\n[profile.siege.service.wbe]\nbudget = \"5/s\"",
        &["3:24"],
        &["there is no service wbe; did you mean web?"],
    ),
    (
        "[profile.siege.service.web]\nbudget = \"5/s\"",
        &["1:24"],
        &["there is no service web; add [service.web]"],
    ),
    (
        "[profile.siege.class.schools]\nsource_rate = \"5/s\"",
        &["1:22"],
        &["there is no class schools"],
    ),
    (
        "[service.web]\nlisten = \"*:80\"\n[profile.siege.service.web]\nlisten = \"*:81\"",
        &["4:1"],
        &["a profile does not change it"],
    ),
    (
        "[profile.siege.host]\nbudget_burst = 5",
        &["2:16"],
        &["a burst needs its rate: give budget too"],
    ),
    (
        "[defaults]\nsource_rate = \"1000/s\"\n[profile.siege.defaults]\nsource_burst = 5",
        &["4:16"],
        &["a burst of 10 or more"],
    ),
];

const SYNTAX: &[Bad<'_>] = &[
    (
        "[defaults]\nsource_rate = 20/s",
        &["2:15"],
        &["must be quoted; write texts in quotes, such as \"20/s\""],
    ),
    ("mode = observe", &["1:8"], &["write texts in quotes"]),
    ("[defaults\nsource_rate = \"20/s\"", &["1:10"], &["as [service.web]"]),
    ("mode = \"observe\"\nmode = \"enforce\"", &["2:1"], &["duplicate key"]),
    (
        "[service.web]\nlisten = [\"*:80\"\nbudget = \"5/s\"",
        &["3:1"],
        &["missing comma", "[\"*:80\", \"*:443\"]"],
    ),
    ("mode \"observe\"", &["1:6"], &["write KEY = VALUE"]),
    ("mode = \"observe\n", &["1:16"], &["begins and ends with a quote"]),
    ("mode = \"observe\" generic = true", &["1:18"], &["a line of its own"]),
    ("mode: observe", &["1:5"], &["invalid unquoted key", "write KEY = VALUE"]),
];

#[track_caller]
fn check(bad: &[Bad<'_>]) {
    for (text, places, words) in bad {
        let said = parse(text).expect_err(text);
        let found: Vec<&str> = said
            .lines()
            .filter_map(|line| line.strip_prefix("policy.toml:")?.split_once(": "))
            .map(|(place, _)| place)
            .collect();
        assert_eq!(found, *places, "{text}\n{said}");
        assert!(
            words.iter().all(|word| said.contains(word)),
            "{text}\n{said}\nshould say {words:?}"
        );
    }
}

#[test]
fn keys() {
    check(KEYS);
}

#[test]
fn values() {
    check(VALUES);
}

#[test]
fn services() {
    check(SERVICES);
}

#[test]
fn classes() {
    check(CLASSES);
}

#[test]
fn profiles() {
    check(PROFILES);
}

#[test]
fn syntax() {
    check(SYNTAX);
}

#[test]
fn too_many_services_classes_and_listeners() {
    let service = |n: usize| format!("[service.s{n}]\nlisten = \"*:{}\"\n", n + 1);
    let services = |count| (0..count).map(service).collect::<String>();
    parse(&services(64)).expect("as many as there may be");
    let said = parse(&services(65)).expect_err("one too many");
    assert!(said.starts_with("policy.toml:129:10: a policy holds at most 64 services"), "{said}");
    let class =
        |n: usize| format!("[class.c{n}]\nprefixes = \"10.0.{n}.0/24\"\nsource_rate = \"1/s\"\n");
    let classes = |count| (0..count).map(class).collect::<String>();
    parse(&classes(255)).expect("as many as there may be");
    let said = parse(&classes(256)).expect_err("one too many");
    assert!(said.starts_with("policy.toml:766:8: a policy holds at most 255 classes"), "{said}");
    let listen = |count| {
        let places: Vec<String> = (1..=count).map(|port| format!("\"192.0.2.1:{port}\"")).collect();
        format!("[service.web]\nlisten = [{}]", places.join(", "))
    };
    parse(&listen(4096)).expect("as many as there may be");
    let said = parse(&listen(4097)).expect_err("one too many");
    assert!(said.starts_with("policy.toml:1:10: a policy holds at most 4096"), "{said}");
}

#[test]
fn every_problem_is_told_but_not_a_thousand() {
    let said = parse("mode = 1\ngeneric = 1\n[host]\nbudget = 1").expect_err("three");
    assert_eq!(said.lines().count(), 4, "{said}");
    assert!(said.starts_with("3 problems\npolicy.toml:1:8: "), "{said}");
    let many: String = (0..1000).map(|n| format!("key{n} = 1\n")).collect();
    let said = parse(&many).expect_err("a thousand");
    assert_eq!((said.lines().count(), said.lines().last()), (22, Some("and 980 more")));
}
