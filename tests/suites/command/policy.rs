//! The policy file: what is enforced can be written as one, and a file can be compared with it.

use std::path::PathBuf;

use super::Desk;

impl Desk {
    /// A file beside the bpffs that goes away with it; its path has no space in it.
    fn file(&self, text: &str) -> PolicyFile {
        let name = format!("limiter-policy-{}-{}.toml", std::process::id(), self.front.name());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("written");
        PolicyFile(path)
    }
}

struct PolicyFile(PathBuf);

impl Drop for PolicyFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn checking_a_file_needs_no_kernel() {
    let desk = Desk::new();
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/policy.toml");
    let said = desk.ok(&format!("policy check {sample}"));
    assert!(
        said.contains(
            "is good\nmode        not said: stays as it is, observe at first\nservice     web on *:80 *:443\n"
        ),
        "{said}"
    );
    assert!(said.contains("host source limit: 20/s, burst 40 -> 5/s, burst 10"), "{said}");
    let good = desk.json(&format!("policy check {sample}"));
    assert_eq!(
        (&good["profiles"][1]["name"], &good["services"][0]["listeners"][1]),
        (&"siege".into(), &"*:443".into())
    );
    let bad = desk.file("mode = \"observe\"\nsorces = 8\n");
    let path = bad.0.display();
    desk.fails(
        &format!("policy check {path}"),
        1,
        &[&format!("{path}:2:1: "), "did you mean `sources`?"],
    );
    desk.fails(
        "policy check /nonexistent/policy.toml",
        1,
        &["/nonexistent/policy.toml", "limiter policy show"],
    );
    desk.fails("policy show", 1, &["not loaded", "limiter attach"]);
    desk.fails(&format!("policy diff {sample}"), 1, &["not loaded"]);
    assert!(desk.left().is_empty());
}

#[test]
fn what_is_enforced_can_be_shown_checked_and_compared() {
    let desk = Desk::new();
    desk.ok("attach web0 web1 --service web=*:80,*:443 --service mail=192.0.2.1:25,[2001:db8::1]:25 --source-rate 20/s --budget 5k/s --sources 4096");
    desk.ok("set --set-syncookies yes");
    desk.ok("set --service web --source-rate 600/min --prefix-v4 24 --challenge always --line no --refuse reset");
    desk.ok("set --service mail --source-rate none --budget 3/10s");
    let shown = desk.ok("policy show");
    let file = desk.file(&shown);
    let path = file.0.display();
    desk.ok(&format!("policy check {path}"));
    assert_eq!(desk.ok(&format!("policy diff {path}")), "nothing would change\n", "{shown}");
    assert_eq!(desk.json(&format!("policy diff {path}"))["changes"], serde_json::json!([]));
    let json = desk.json("policy show");
    assert_eq!((&json["mode"], &json["sources"]), (&"observe".into(), &4096.into()));
    assert_eq!(json["interfaces"], serde_json::json!(["web0", "web1"]));
    assert_eq!(
        json["service"]["mail"]["listen"],
        serde_json::json!(["192.0.2.1:25", "[2001:db8::1]:25"])
    );

    desk.ok("set --service web --source-rate 5/s --source-burst 10");
    desk.ok("set --budget none");
    desk.ok("arm");
    desk.ok("detach web1");
    let differs = desk.ok(&format!("policy diff {path}"));
    let wanted = "mode: enforce -> observe\n\
                  interface web1: not attached\n\
                  host budget: none -> 5000/s, burst 10000\n\
                  service web source limit: 5/s, burst 10 -> 600/min, burst 20\n";
    assert_eq!(differs, wanted);
}

#[test]
fn a_profile_is_compared_too() {
    let desk = Desk::new();
    desk.ok("attach web0 --generic --service web=*:80 --source-rate 20/s");
    let shown = desk.ok("policy show");
    assert!(shown.contains("generic = true\n"), "{shown}");
    let more = "[service.mail]\nlisten = \"*:25\"\nbudget = \"5/s\"\n[profile.siege]\nmode = \"enforce\"\n\
                [profile.siege.service.web]\nsource_rate = \"5/s\"\n";
    let file = desk.file(&format!("{shown}\n{more}"));
    let path = file.0.display();
    let new = "service mail: new, on *:25; budget 5/s, burst 10\n";
    assert_eq!(desk.ok(&format!("policy diff {path}")), new);
    assert_eq!(desk.ok(&format!("policy diff {path} --profile normal")), new);
    let siege = "mode: observe -> enforce\nservice web source limit: 20/s, burst 40 (default) -> 5/s, burst 10\n";
    assert_eq!(desk.ok(&format!("policy diff {path} --profile siege")), format!("{siege}{new}"));
    desk.fails(
        &format!("policy diff {path} --profile sieg"),
        1,
        &["no profile sieg", "normal, siege"],
    );
}
