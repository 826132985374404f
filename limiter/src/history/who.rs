//! Who typed a command, as far as the machine knows.

use std::fs;

use nix::unistd::{Uid, User};
use serde::{Deserialize, Serialize};

/// The login uid of processes that nobody logged in for.
const NOBODY: u32 = u32::MAX;

/// Who typed a command. Several administrators are all root; the rest tells them apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// The user that the command ran as.
    pub uid: u32,
    /// Its name, if it has one here.
    pub user: Option<String>,
    /// SUDO_USER: what sudo says who called it. Root can set it to anything.
    #[serde(default)]
    pub sudo_user: Option<String>,
    /// The user that logged in, which the kernel remembers through su and sudo, where PAM tells it.
    #[serde(default)]
    pub login_uid: Option<u32>,
    /// Its name, if it has one here.
    #[serde(default)]
    pub login_user: Option<String>,
}

impl Who {
    /// Who runs this process.
    pub fn now() -> Self {
        let uid = Uid::current().as_raw();
        let login = fs::read_to_string("/proc/self/loginuid")
            .ok()
            .and_then(|text| text.trim().parse().ok());
        let login_uid = login.filter(|login| *login != NOBODY);
        Self {
            uid,
            user: name(uid),
            sudo_user: std::env::var("SUDO_USER").ok().filter(|user| !user.is_empty()),
            login_uid,
            login_user: login_uid.and_then(name),
        }
    }
}

impl std::fmt::Display for Who {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show =
            |user: &Option<String>, uid: u32| user.clone().unwrap_or_else(|| format!("uid {uid}"));
        let user = show(&self.user, self.uid);
        let login = self.login_uid.map(|uid| show(&self.login_user, uid));
        match self.sudo_user.clone().or(login) {
            Some(person) if person != user => to.pad(&format!("{person} as {user}")),
            _ => to.pad(&user),
        }
    }
}

fn name(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_person_behind_root_is_shown() {
        let root = Who { uid: 0, user: Some("root".to_owned()), ..Who::default() };
        assert_eq!(root.to_string(), "root");
        let logged_in =
            Who { login_uid: Some(1000), login_user: Some("ada".to_owned()), ..root.clone() };
        assert_eq!(logged_in.to_string(), "ada as root");
        let sudo = Who { sudo_user: Some("bob".to_owned()), ..logged_in.clone() };
        assert_eq!(sudo.to_string(), "bob as root");
        let unknown = Who { login_user: None, ..logged_in };
        assert_eq!(unknown.to_string(), "uid 1000 as root");
        let own = Who { login_uid: Some(0), login_user: Some("root".to_owned()), ..root };
        assert_eq!(own.to_string(), "root");
    }

    #[test]
    fn the_user_of_this_process() {
        assert_eq!(Who::now().uid, Uid::current().as_raw());
    }
}
