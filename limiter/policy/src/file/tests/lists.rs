//! Prefixes in files of their own.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use super::Document;

const POLICY: &str = "[class.schools]\nprefixes_from = \"schools.txt\"\nsource_rate = \"400/s\"\n";

/// A directory that goes away again.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("limiter-file-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("written");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_list_is_read_from_beside_the_policy_file() {
    let directory = Directory::new("beside");
    directory.write(
        "schools.txt",
        "# schools\n\n192.0.2.0/24\r\n  2001:db8::/48  # one more\n198.51.100.7",
    );
    let document = Document::read(&directory.write("policy.toml", POLICY)).expect("good");
    let members: Vec<String> =
        document.policy.classes[0].members.iter().map(ToString::to_string).collect();
    assert_eq!(members, ["192.0.2.0/24", "198.51.100.7", "2001:db8::/48"]);
    let written = document.to_toml();
    let again = Document::parse(&written, "policy.toml", &directory.0).expect("good");
    assert_eq!(again, document, "with every prefix in it");
}

#[test]
fn a_bad_line_of_a_list_is_named() {
    let directory = Directory::new("bad");
    directory.write("schools.txt", "192.0.2.0/24\n\n  10.1.0.0/8 # no\n192.0.2.0/24\n");
    let said =
        Document::read(&directory.write("policy.toml", POLICY)).expect_err("two").to_string();
    assert!(
        said.contains("schools.txt:3:3: `10.1.0.0/8` has bits set")
            && said.contains("`10.0.0.0/8`"),
        "{said}"
    );
    assert!(said.contains("schools.txt:4:1: 192.0.2.0/24 is in class schools already"), "{said}");
    assert!(said.contains("schools.txt:1); remove one"), "{said}");
    directory.write("schools.txt", "# none yet\n");
    let said = Document::read(&directory.0.join("policy.toml")).expect_err("empty").to_string();
    assert!(said.contains("policy.toml:1:8: a class has prefixes"), "{said}");
    directory.write("schools.txt", b"\xff\n");
    let said = Document::read(&directory.0.join("policy.toml")).expect_err("bytes").to_string();
    assert!(said.contains("policy.toml:2:17: cannot read") && said.contains("UTF-8"), "{said}");
}

#[test]
fn what_cannot_be_read_is_said() {
    let directory = Directory::new("unread");
    let said =
        format!("{:#}", Document::read(&directory.0.join("none.toml")).expect_err("missing"));
    assert!(said.contains("none.toml") && said.contains("limiter policy show"), "{said}");
    let said = Document::read(&directory.write("latin.toml", b"# fine\n# \xe9t\xe9\n"))
        .expect_err("bytes")
        .to_string();
    assert!(said.contains("latin.toml:2: this is not UTF-8"), "{said}");
}

#[test]
fn fifty_thousand_prefixes_are_read() {
    let directory = Directory::new("many");
    let line = |n: u32| {
        format!("{}\n", std::net::Ipv4Addr::from_bits(0x0a00_0000 + n * 256).to_string() + "/24")
    };
    let lines = |count| (0..count).map(line).collect::<String>();
    directory.write("schools.txt", lines(50_000));
    let policy = directory.write("policy.toml", POLICY);
    let start = Instant::now();
    let document = Document::read(&policy).expect("good");
    let read = start.elapsed();
    assert_eq!(document.policy.classes[0].members.len(), 50_000);
    let start = Instant::now();
    let written = document.to_toml();
    assert_eq!(Document::parse(&written, "policy.toml", &directory.0).expect("good"), document);
    println!(
        "50,000 prefixes: read from a list in {read:?}, written and read inline in {:?}",
        start.elapsed()
    );
    directory.write("schools.txt", lines(65_536));
    assert!(Document::read(&policy).is_ok(), "as many as there may be");
    directory.write("schools.txt", lines(65_537));
    let said = Document::read(&policy).expect_err("one too many").to_string();
    assert!(
        said.contains("policy.toml:1:8: with class schools there are more than 65536 prefixes"),
        "{said}"
    );
}
