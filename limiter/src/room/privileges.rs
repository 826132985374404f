//! Root is given up once the sockets are registered: what speaks with strangers has no rights.

use anyhow::{Context as _, Result, ensure};
use nix::unistd::{
    Gid, Uid, User, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid, setuid,
};
use tracing::{info, warn};

/// The user that the room runs as, unless the operator names another.
pub const USER: &str = "limiter-room";
/// The one that every system has.
const FALLBACK: &str = "nobody";

/// Becomes the user `name`, or `nobody` where there is none of that name, for good. Without root it
/// only makes sure that no program that it starts gains rights.
///
/// It is called before there are threads: one of its settings is a thread's own.
///
/// # Errors
/// When there is no such user, when the user is root, when the kernel refuses, and when the way
/// back is open.
pub fn give_up(name: &str) -> Result<()> {
    rustix::thread::set_no_new_privs(true)
        .context("cannot keep programs from gaining rights (no_new_privs)")?;
    if !Uid::effective().is_root() {
        return Ok(());
    }
    let user = find(name)?;
    ensure!(
        !user.uid.is_root() && user.gid != Gid::from_raw(0),
        "the user {} has the rights of root: choose another with --user",
        user.name
    );
    become_user(&user)
        .with_context(|| format!("cannot give up root for the user {}", user.name))?;
    info!(user = %user.name, "root is given up");
    Ok(())
}

fn find(name: &str) -> Result<User> {
    let find = |name: &str| {
        User::from_name(name).with_context(|| format!("cannot look up the user {name}"))
    };
    if let Some(user) = find(name)? {
        return Ok(user);
    }
    warn!(
        user = name,
        "there is no such user, so the room runs as {FALLBACK}, which other servers may do too; \
         `useradd --system --shell /usr/sbin/nologin {name}` makes it"
    );
    find(FALLBACK)?
        .with_context(|| format!("there is neither a user {name} nor {FALLBACK}: make the first"))
}

fn become_user(user: &User) -> Result<()> {
    // Groups first: later there is no right to change them.
    setgroups(&[user.gid]).context("groups")?;
    setresgid(user.gid, user.gid, user.gid).context("group")?;
    setresuid(user.uid, user.uid, user.uid).context("user")?;
    let (users, groups) = (getresuid().context("user")?, getresgid().context("group")?);
    ensure!(
        [users.real, users.effective, users.saved] == [user.uid; 3]
            && [groups.real, groups.effective, groups.saved] == [user.gid; 3]
            && getgroups().context("groups")? == [user.gid],
        "the kernel took the change only in part"
    );
    ensure!(setuid(Uid::from_raw(0)).is_err(), "the process can become root again");
    // With the last user of root go all capabilities (capabilities(7)), unless the securebits of
    // whatever started the room keep them.
    let status = std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    for kind in ["CapPrm", "CapEff", "CapAmb"] {
        let set = status.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(':'));
        ensure!(
            set.is_some_and(|set| set.trim().bytes().all(|digit| digit == b'0')),
            "capabilities stay ({kind}): start the room without SecureBits="
        );
    }
    Ok(())
}
