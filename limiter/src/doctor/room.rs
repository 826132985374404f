//! The waiting room: whether it is open for every port that sends somebody there, and who can fill
//! it.

use super::Findings;
use crate::combinations::{self, Combination};
use crate::kernel::room::Standing;
use crate::report::Room;

/// What is asked of the waiting room.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// Its ports.
    pub room: &'a Room,
    /// Where the program that hands connections over is attached.
    pub standing: Standing,
    /// Services that send sources there and ask nobody for a proof.
    pub unproven: Vec<String>,
    /// Whether the kernel makes cookies, or will when limiter is armed.
    pub cookies: bool,
}

/// The room of the loaded policy.
pub fn check(facts: &Facts<'_>, to: &mut Findings) {
    to.area("waiting room");
    let list = |ports: &[u16]| ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    let Room { open, closed } = facts.room;
    if let Some(Combination { what, advice }) = combinations::closed(closed) {
        to.problem(what, advice);
    }
    if !open.is_empty() && facts.standing != Standing::Nowhere {
        to.ok(format!("open for port {}", list(open)));
    } else if !open.is_empty() {
        to.problem(
            format!(
                "a waiting room listens for port {}, but the program that diverts connections to \
                 it is not attached: refused clients reach the server",
                list(open)
            ),
            "start `limiter room` again: it attaches the program",
        );
    }
    if facts.standing == Standing::Elsewhere {
        to.warning(
            "the waiting room is in another network namespace: if the interfaces that limiter limits \
             are in this one, refused clients reach the server",
            "start `limiter room` in the network namespace of the interfaces",
        );
    }
    match facts.unproven.first() {
        Some(first) => to.warning(
            format!(
                "forged addresses can use up the room budget from {}: no source is asked for a \
                 proof there",
                facts.unproven.join(", ")
            ),
            format!("`limiter set --service {first} --challenge auto`"),
        ),
        None if !facts.cookies => to.warning(
            "forged addresses can use up the room budget: the kernel makes no cookies, so no \
             source is asked for a proof",
            "`limiter set --set-syncookies yes`",
        ),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn facts(room: &Room) -> Facts<'_> {
        Facts { room, standing: Standing::Here, unproven: Vec::new(), cookies: true }
    }

    #[test]
    fn a_room_of_all_kinds() {
        let open = Room { open: vec![80, 443], closed: Vec::new() };
        let mut findings = Findings::default();
        check(&facts(&open), &mut findings);
        assert_eq!((findings.worst(), findings.all.len()), (Level::Ok, 1));

        let half = Room { open: vec![80], closed: vec![443] };
        let mut findings = Findings::default();
        check(&facts(&half), &mut findings);
        assert_eq!(findings.one("listens for port 443").level, Level::Problem);
        assert_eq!(findings.one("open for port 80").level, Level::Ok);

        let mut findings = Findings::default();
        check(&Facts { standing: Standing::Nowhere, ..facts(&open) }, &mut findings);
        assert_eq!(findings.one("not attached").level, Level::Problem);
        let mut findings = Findings::default();
        check(&Facts { standing: Standing::Elsewhere, ..facts(&open) }, &mut findings);
        assert_eq!(findings.one("another network namespace").level, Level::Warning);
        for (unproven, cookies, words) in
            [(vec!["web".to_owned()], true, "from web"), (Vec::new(), false, "makes no cookies")]
        {
            let mut findings = Findings::default();
            check(&Facts { unproven, cookies, ..facts(&open) }, &mut findings);
            assert_eq!(findings.one(words).level, Level::Warning);
        }
    }
}
