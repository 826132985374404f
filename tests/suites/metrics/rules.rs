//! The packaged rules by themselves: promtool's own checks, their unit tests, the names that they use, the runbooks that they name.

use std::path::Path;

use super::{World, families, names, packaged, promtool};

fn rules() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/limiter.rules.yml");
    path.to_str().expect("a path").to_owned()
}

#[test]
fn promtool_takes_them() {
    let said = promtool(&["check", "rules", "--lint=all", "--lint-fatal", &rules()], "");
    assert!(said.contains("SUCCESS: 20 rules found"), "{said}");
}

/// Each alert with series that make it fire, and some that must not, with its own times.
#[test]
fn each_fires_when_it_should() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("metrics/rules.test.yml");
    let said = promtool(&["test", "rules", tests.to_str().expect("a path")], "");
    assert!(said.contains("SUCCESS"), "{said}");
    let tested = std::fs::read_to_string(&tests).expect("the tests");
    for alert in packaged("limiter.rules.yml")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
    {
        assert!(tested.contains(&format!("{{alertname=\"{alert}\"}}")), "{alert} is not tested");
    }
}

#[test]
fn they_name_what_there_is() {
    let (text, known) = (packaged("limiter.rules.yml"), families(&World::new().applied()));
    let used = names(&text);
    assert!(used.len() > 15, "{used:?}");
    for name in used {
        assert!(known.iter().any(|one| one == name), "limiter has no {name}");
    }
    let runbooks = text.lines().filter_map(|line| line.trim().strip_prefix("runbook: "));
    for runbook in runbooks {
        let name = runbook
            .strip_prefix("/usr/share/doc/limiter/docs/runbooks/")
            .expect("where the package has them");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/runbooks").join(name);
        assert!(path.is_file(), "there is no {name}");
    }
    let alerts = text.matches("- alert: ").count();
    for word in ["\n        for: ", "severity: ", "summary: ", "description: "] {
        let count = text.matches(word).count();
        // The head of the file speaks of severity once.
        assert!(
            count == alerts || word == "severity: " && count == alerts + 1,
            "{word}: {count} of {alerts}"
        );
    }
}

impl World {
    /// The metrics of a limiter that is loaded.
    fn applied(&self) -> String {
        self.desk.ok("apply");
        self.desk.ok("metrics")
    }
}
