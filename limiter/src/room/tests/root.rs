//! Root is given up for good. It needs a process of its own, for there is no way back.

use std::process::Command;

use nix::unistd::Uid;

use super::*;

const NAME: &str = "room::tests::root::root_is_given_up";
const VARIABLE: &str = "LIMITER_TEST_GIVE_UP";

#[test]
fn root_is_given_up() {
    if let Ok(user) = std::env::var(VARIABLE) {
        give_up(&user).expect("given up");
        assert!(!Uid::effective().is_root());
        return;
    }
    if !Uid::effective().is_root() {
        // Then there is nothing to give up, and the user is not looked for.
        give_up("no-such-user").expect("nothing to do");
        return;
    }
    for user in ["nobody", "no-such-user-of-limiter", "root"] {
        let mut test = Command::new(std::env::current_exe().expect("this test"));
        let test = test.args(["--exact", NAME, "--test-threads=1"]).env(VARIABLE, user);
        let output = test.output().expect("runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("running 1 test"), "{said}");
        assert_eq!(output.status.success(), user != "root", "{user}: {said}");
    }
}
