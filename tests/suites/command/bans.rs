//! Bans as operators and their tools make them: one by one, by file, from fail2ban and CrowdSec,
//! saved and loaded.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use lab::wait::until_so;
use rustix::fs::{FlockOperation, flock};
use serde_json::json;

use super::{Desk, binary};

const ATTACH: &str = "attach web0 --service web=*:80 --source-rate 20/s --sources 4096";

fn desk() -> Desk {
    let desk = Desk::new();
    desk.front.ip(&["addr", "add", "10.79.0.1/24", "dev", "web0"]).expect("an address");
    desk.ok(ATTACH);
    desk
}

fn with_input(desk: &Desk, line: &str, input: &str) -> Output {
    let mut command = desk.command(line);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("written");
    child.wait_with_output().expect("it ends")
}

fn banned(desk: &Desk) -> Vec<String> {
    let list = desk.json("ban list");
    let prefix = |entry: &serde_json::Value| entry["prefix"].as_str().expect("a prefix").to_owned();
    list.as_array().expect("a list").iter().map(prefix).collect()
}

#[test]
fn from_a_file_and_from_standard_input() {
    let desk = desk();
    let file = desk.file("bans");
    fs::write(&file, "# two\n192.0.2.7\n\n2001:db8::/48  # one more\n").expect("written");
    desk.ok(&format!("ban add --from {} --for 1h", file.display()));
    assert_eq!(banned(&desk), ["192.0.2.7", "2001:db8::/48"]);
    let output = with_input(&desk, "ban add - --for 1h", "192.0.2.8:443\n[2001:db8:1::1]:80\n");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(banned(&desk), ["192.0.2.7", "192.0.2.8", "2001:db8::/48", "2001:db8:1::1"]);
    // One wrong line, and nothing is done.
    let output = with_input(&desk, "ban add -", "192.0.2.9\nnobody\n");
    desk.refused(&output, 1, &["standard input:2", "`nobody`", "nothing was changed"]);
    assert_eq!(banned(&desk).len(), 4);
    desk.fails("ban add - 192.0.2.9", 2, &["stands alone"]);
    desk.fails("ban add --from nowhere", 1, &["cannot read nowhere"]);
}

#[test]
fn addresses_as_logs_write_them() {
    let desk = desk();
    desk.ok("ban add 192.0.2.1,192.0.2.2 192.0.2.3:443 [2001:db8::1] [2001:db8::2]:443");
    assert_eq!(
        banned(&desk),
        ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"]
    );
    desk.ok("ban del 192.0.2.1:9 192.0.2.2,192.0.2.3");
    desk.fails("ban del 192.0.2.1", 1, &["is not on the ban list"]);
    desk.ok("ban del --missing-ok 192.0.2.1 [2001:db8::1]");
    assert_eq!(banned(&desk), ["2001:db8::2"]);
}

/// A ban of this host needs --force; one of whom the allow list keeps in is made, and said to have
/// no effect.
#[test]
fn bans_that_are_not_meant() {
    let desk = desk();
    for prefix in ["10.79.0.1", "10.79.0.0/24"] {
        desk.fails(
            &format!("ban add {prefix}"),
            1,
            &[prefix, "10.79.0.1", "an address of this host", "--force"],
        );
        assert!(banned(&desk).is_empty());
        desk.ok(&format!("ban add {prefix} --force"));
        desk.ok(&format!("ban del {prefix}"));
    }
    desk.ok("allow add 192.0.2.0/24 198.51.100.7");
    for (prefixes, word) in [
        ("192.0.2.7", "192.0.2.7 is on the allow list"),
        ("192.0.2.0/25", "192.0.2.0/25 is on"),
        ("198.51.100.7 192.0.2.9 203.0.113.1", "198.51.100.7 and 1 more are on"),
    ] {
        let output = desk.output(&format!("ban add {prefixes}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.contains(word) && said.contains("no effect"),
            "{said}"
        );
    }
    for prefix in ["203.0.113.1", "192.0.0.0/16"] {
        let output = desk.output(&format!("ban add {prefix}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("no effect"), "{output:?}");
        assert!(said.contains("observe mode drops nothing"), "what it does not do now: {said}");
    }
}

#[test]
fn saved_and_loaded() {
    let desk = desk();
    desk.ok("ban add 192.0.2.7 192.0.2.0/24");
    desk.ok("ban add 198.51.100.7 --for 1h");
    desk.ok("allow add 203.0.113.7");
    for list in ["ban", "allow"] {
        desk.ok(&format!("{list} save {list}s"));
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(desk.file("bans")).expect("it is there").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600, "it holds addresses");
    let before = banned(&desk);
    let said = desk.ok("detach --all");
    assert!(
        said.contains("forgotten with it: 3 bans, 1 allowed") && said.contains("limiter ban save"),
        "{said}"
    );
    desk.ok(ATTACH);
    assert!(banned(&desk).is_empty());
    let passed = "192.0.2.99 until 2001-09-09T01:46:40Z\n";
    let text = fs::read_to_string(desk.file("bans")).expect("a file") + passed;
    fs::write(desk.file("bans"), text).expect("written");
    let said = desk.ok("ban load bans");
    assert!(
        said.contains("banned 3 addresses and prefixes until its time; 1 had expired"),
        "{said}"
    );
    desk.ok("allow load allows");
    assert_eq!(banned(&desk), before);
    let list = desk.json("ban list");
    let left = list
        .as_array()
        .expect("a list")
        .iter()
        .find(|one| one["prefix"] == "198.51.100.7")
        .expect("it is");
    assert!(
        left["expires_in_seconds"].as_f64().is_some_and(|left| left > 0.0 && left <= 3602.0),
        "{left}"
    );
    assert!(list.as_array().expect("a list").iter().any(|one| one["expires_in_seconds"].is_null()));
    // Nothing of the lists is told where nothing was on them.
    desk.ok("detach --all");
    desk.ok(ATTACH);
    assert!(!desk.ok("detach web0").contains("forgotten"));
}

/// `arm` and `ban` wait for different locks, and neither takes back what the other said in the
/// switch.
#[test]
fn arm_waits_for_no_list() {
    let desk = desk();
    let lists = fs::File::open(desk.pins().join(format!("v{}", limiter_common::names::LAYOUT)))
        .expect("the pins");
    flock(&lists, FlockOperation::LockExclusive).expect("locked");
    desk.ok("arm");
    desk.ok("disarm");
    drop(lists);
    let all = fs::File::open(desk.pins()).expect("the pins");
    flock(&all, FlockOperation::LockExclusive).expect("locked");
    desk.ok("ban add 192.0.2.7");
    desk.ok("ban del 192.0.2.7");
    desk.ok("allow add 192.0.2.7");
    drop(all);
    // Both at once: each has done all that it said.
    for _ in 0..10 {
        let lines = [
            "arm",
            "ban add 192.0.2.9",
            "allow add 192.0.2.10",
            "ban add 198.18.0.0/24",
            "allow add 198.18.1.0/24",
        ];
        let children: Vec<_> =
            lines.iter().map(|line| desk.command(line).spawn().expect("it starts")).collect();
        for mut child in children {
            assert!(child.wait().expect("it ends").success());
        }
        let status = desk.json("status --quick");
        assert_eq!(
            (&status["mode"], &status["banned"], &status["allowed"]),
            (&json!("enforce"), &json!(2), &json!(3))
        );
        let maps = limiter::kernel::Maps::open(
            &desk.pins().join(format!("v{}", limiter_common::names::LAYOUT)),
        );
        let lists = maps.expect("the maps").switch().expect("the switch").lists();
        assert!(
            lists.ban_hosts && lists.ban_prefixes && lists.allow_hosts && lists.allow_prefixes,
            "{lists:?}"
        );
        desk.ok("ban del 192.0.2.9 198.18.0.0/24");
        desk.ok("allow del 192.0.2.10 198.18.1.0/24");
        desk.ok("disarm");
    }
}

/// Bans fill a history of their own.
#[test]
fn bans_push_no_other_change_out_of_the_history() {
    let desk = desk();
    desk.ok("arm");
    let addresses: Vec<String> = (0..250).map(|n| format!("198.18.0.{n}")).collect();
    let line = format!("ban add {}", addresses.join(" "));
    // Until it is nearly full, and on.
    let length = |name: &str| fs::metadata(desk.file(name)).map_or(0, |file| file.len());
    while length("history.jsonl.lists") < limiter::history::BOUND * 9 / 10 {
        desk.ok(&line);
    }
    (0..20).for_each(|_| drop(desk.ok(&line)));
    assert!(
        length("history.jsonl.lists") < limiter::history::BOUND * 9 / 10,
        "the older half went"
    );
    let history = desk.json("history");
    let commands: Vec<_> =
        history.as_array().expect("a list").iter().map(|one| one["command"][0].clone()).collect();
    assert_eq!(commands[..2], ["attach", "arm"], "and they come first");
    assert_eq!(desk.json("history --last 1")[0]["command"][0], "ban");
}

/// Debian's fail2ban with the action file of the package: what its log names is banned until
/// fail2ban or the kernel ends it.
#[test]
fn fail2ban() {
    let desk = desk();
    let directory = desk.file("fail2ban");
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::write(path, text).expect("written");
    };
    let log = desk.file("auth.log");
    fs::write(&log, "").expect("written");
    let place = |name: &str| directory.join(name).display().to_string();
    write(
        "fail2ban.conf",
        &format!(
            "[Definition]\nloglevel = INFO\nlogtarget = {}\nsyslogsocket = auto\nsocket = {}\npidfile = {}\ndbfile = None\n\
             dbpurgeage = 1d\ndbmaxmatches = 10\n[Thread]\nstacksize = 0\n",
            place("log"),
            place("socket"),
            place("pid")
        ),
    );
    write(
        "jail.conf",
        &format!(
            "[DEFAULT]\nbackend = polling\nusedns = no\nmaxretry = 1\nfindtime = 1h\nbantime = 1h\nignoreself = false\n[web]\n\
             enabled = true\nfilter = web\nlogpath = {}\naction = limiter[limiter={}]\n",
            log.display(),
            binary().display()
        ),
    );
    write("filter.d/web.conf", "[Definition]\nfailregex = ^\\s*refused <HOST>\\s*$\n");
    let action =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/fail2ban-limiter.conf");
    write("action.d/limiter.conf", &fs::read_to_string(action).expect("the action file"));
    let with = |program: &str, words: &[&str]| -> Command {
        let mut command = desk.program(program);
        command
            .arg("-c")
            .arg(&directory)
            .args(["-s", &place("socket"), "-p", &place("pid")])
            .args(words);
        command
    };
    let mut server = with("fail2ban-server", &["-xf", "start"]);
    let server = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut server = Ended(server.expect("fail2ban is there: `cargo xtask setup` installs it"));
    let client = |words: &[&str]| with("fail2ban-client", words).output().expect("the client runs");
    until_so("fail2ban answers", || client(&["ping"]).status.success());
    until_so("the jail is there", || client(&["status", "web"]).status.success());
    let line = |address: &str| {
        let now =
            String::from_utf8(Command::new("date").arg("+%F %T").output().expect("date").stdout)
                .expect("text");
        let mut file = fs::File::options().append(true).open(&log).expect("the log");
        file.write_all(format!("{} refused {address}\n", now.trim()).as_bytes()).expect("written");
    };
    line("192.0.2.7");
    line("2001:db8::7");
    until_so("both are banned", || banned(&desk) == ["192.0.2.7", "2001:db8::7"]);
    let left = desk.json("ban list")[0]["expires_in_seconds"].as_f64().expect("an end");
    assert!(left > 3000.0 && left <= 3600.0, "the kernel ends it too: {left}");
    assert!(client(&["set", "web", "unbanip", "192.0.2.7"]).status.success());
    until_so("one is not any more", || banned(&desk) == ["2001:db8::7"]);
    // What has ended by itself is no failure for fail2ban, and what it still holds goes with it.
    desk.ok("ban del 2001:db8::7");
    assert!(client(&["set", "web", "banip", "192.0.2.8"]).status.success());
    until_so("one more", || banned(&desk) == ["192.0.2.8"]);
    assert!(client(&["stop"]).status.success());
    assert!(server.0.wait().expect("it ends").success());
    assert!(banned(&desk).is_empty());
    let said = fs::read_to_string(place("log")).expect("its log");
    assert!(!said.contains("ERROR") && said.contains("Ban 192.0.2.7"), "{said}");
}

/// Ends a server that a failing test leaves behind.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The script of the package, called as CrowdSec's custom bouncer does.
#[test]
fn crowdsec() {
    let desk = desk();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/crowdsec-limiter");
    let call = |words: &[&str]| {
        let mut command = desk.program(&script);
        command.env("LIMITER", binary()).args(words).output().expect("it runs")
    };
    let json = r#"{"value":"192.0.2.7"}"#;
    for (address, duration) in [
        ("192.0.2.7", "3h59m57.512345678s"),
        ("2001:db8::/64", "59m59.9s"),
        ("192.0.2.8", "24h0m0s"),
    ] {
        let output = call(&["add", address, duration, "crowdsecurity/http-probing", json]);
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(banned(&desk), ["192.0.2.7", "192.0.2.8", "2001:db8::/64"]);
    for address in ["192.0.2.7", "192.0.2.7"] {
        assert!(call(&["del", address, "0s", "x", json]).status.success(), "twice is no failure");
    }
    assert_eq!(banned(&desk), ["192.0.2.8", "2001:db8::/64"]);
    assert_eq!(call(&["stop", "x"]).status.code(), Some(2));
}

mod measured {
    use std::time::{Duration, Instant};

    use super::{ATTACH, Desk, with_input};

    /// Bans one by one, each by a process of its own: none is dearer at the end than at the start,
    /// and `arm` beside them waits for none.
    #[test]
    fn twenty_thousand_bans_one_by_one() {
        const BANS: usize = 20_000;
        let desk = Desk::new();
        desk.ok(ATTACH);
        desk.ok("arm");
        let (mut thousands, mut arms) = (Vec::new(), Vec::new());
        for thousand in 0..BANS / 1000 {
            let start = Instant::now();
            let mut aside = Duration::ZERO;
            for number in thousand * 1000..(thousand + 1) * 1000 {
                desk.ok(&format!(
                    "ban add 198.{}.{}.{} --for 4h",
                    18 + number / 65_536,
                    number / 256 % 256,
                    number % 256
                ));
                if number % 100 == 99 {
                    let mut ban = desk.command("ban add 192.0.2.7").spawn().expect("it starts");
                    let began = Instant::now();
                    desk.ok("arm");
                    arms.push(began.elapsed());
                    assert!(ban.wait().expect("it ends").success());
                    aside += began.elapsed();
                }
            }
            thousands.push((start.elapsed() - aside) / 1000);
        }
        arms.sort_unstable();
        let (first, last) = (thousands[0], thousands[thousands.len() - 1]);
        println!(
            "a ban takes {first:?} in the first thousand and {last:?} in the last; all: {thousands:?}"
        );
        println!(
            "arm beside them: median {:?}, longest {:?}",
            arms[arms.len() / 2],
            arms[arms.len() - 1]
        );
        assert!(first.max(last) <= Duration::from_millis(10), "{thousands:?}");
        assert!(arms[arms.len() * 99 / 100] <= Duration::from_millis(100), "{arms:?}");
        assert_eq!(
            desk.json("history")[1]["command"][0],
            "arm",
            "the first arm is in the history still"
        );
    }

    #[test]
    fn a_million_by_file() {
        let desk = Desk::new();
        desk.ok(ATTACH);
        let address = |n: u32| format!("198.{}.{}.{}\n", 18 + n / 65_536, n / 256 % 256, n % 256);
        let lines = |count: u32| (0..count).map(address).collect::<String>();
        let most = limiter_common::record::LIST_HOSTS;
        for (count, code) in [(1_000_000, 0), (most, 0), (most + 1, 1)] {
            let lines = lines(count);
            let start = Instant::now();
            let output = with_input(&desk, "ban add - --for 4h", &lines);
            let taken = start.elapsed();
            println!("{count} bans by one command: {:?} in {taken:?}", output.status);
            assert_eq!(output.status.code(), Some(code), "{output:?}");
            assert!(taken < Duration::from_secs(5), "{taken:?}");
        }
        let start = Instant::now();
        assert_eq!(desk.json("status --quick")["banned"], most);
        println!("status --quick of that in {:?}", start.elapsed());
        let start = Instant::now();
        desk.ok("ban add 198.18.0.7 --for 4h");
        println!("one that is there already, in {:?}", start.elapsed());
    }
}
