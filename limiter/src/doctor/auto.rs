//! Budgets that follow their servers: whether what they follow can be seen at all.

use std::net::SocketAddr;
use std::time::Duration;

use super::Findings;
use crate::kernel::listener::Listener;
use crate::policy::auto::Auto;
use crate::policy::{Policy, text};

/// One budget, and what its probe met.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// What the policy file says.
    pub said: &'a Auto,
    /// How long the page took, or why it did not come; `None`: none is asked for.
    pub answer: Option<Result<Duration, String>>,
}

/// All of them.
pub fn check(all: &[Facts<'_>], policy: &Policy, listeners: &[Listener], to: &mut Findings) {
    for Facts { said, answer } in all {
        let name = &said.service;
        to.area(format!("auto budget of {name}"));
        let Some(service) = policy.service(name).filter(|one| !one.budget.is_none()) else {
            to.warning(
                format!("service {name} of the policy in force has no budget, so nothing follows"),
                "`limiter apply` brings the policy file into force",
            );
            continue;
        };
        let takes = |address: &SocketAddr| listeners.iter().any(|one| one.takes(*address));
        let seen = service.listeners.iter().any(takes);
        let budget = text::show_rate(service.budget.rate);
        match (answer, &said.probe) {
            (Some(Err(error)), Some(probe)) => to.problem(
                format!(
                    "{probe} has no answer ({error}): the budget falls to {}",
                    text::show_rate(said.least)
                ),
                "start the server, or name a page that it has in `probe` of the policy file",
            ),
            (Some(Ok(took)), Some(probe)) if *took > probe.slow => to.warning(
                format!(
                    "{probe} takes {} ms, and {} are slow: the budget falls",
                    took.as_millis(),
                    probe.slow.as_millis()
                ),
                "name a page in `probe` that takes as long as others do while the server is idle, \
                 or raise `slow`",
            ),
            (Some(Ok(took)), Some(probe)) => {
                to.ok(format!("{probe} takes {} ms", took.as_millis()));
            }
            _ if !seen => to.warning(
                format!(
                    "no server listens on {} here, and no probe is named: the budget stays \
                     {budget}",
                    text::show_listeners(&service.listeners).join(", ")
                ),
                "name a page in `probe` of the policy file",
            ),
            _ if said.most != service.budget.rate => to.warning(
                "only the accept queue shows how busy the server is, and servers such as nginx \
                 keep it empty however slow they are",
                "in `probe` of the policy file, name a page that the slowest part of the server \
                 answers; or leave out `most`, so that the budget only falls",
            ),
            _ => to.ok(format!("it follows the accept queue, down from {budget}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;
    use crate::policy::file::Document;
    use std::path::Path;

    fn found(extra: &str, answer: Option<Result<Duration, String>>, listens: bool) -> Level {
        let file = format!(
            "[service.web]\nlisten = \"*:80\"\nbudget = \"100/s\"\n[auto.web]\nleast = \"10/s\"\n{extra}\n"
        );
        let document = Document::parse(&file, "policy.toml", Path::new("")).expect("a good file");
        let listener = Listener {
            address: ([0; 4], 80).into(),
            only_v6: false,
            waiting: 0,
            room: 128,
            inode: 0,
            device: 0,
        };
        let listeners = if listens { vec![listener] } else { Vec::new() };
        let mut findings = Findings::default();
        let facts = [Facts { said: &document.auto[0], answer }];
        check(&facts, &document.policy, &listeners, &mut findings);
        findings.worst()
    }

    #[test]
    fn what_cannot_be_followed_is_said() {
        let probe = "probe = \"http://127.0.0.1/\"";
        assert_eq!(found(probe, Some(Ok(Duration::from_millis(3))), true), Level::Ok);
        assert_eq!(found(probe, Some(Ok(Duration::from_secs(3))), true), Level::Warning);
        assert_eq!(found(probe, Some(Err("refused".to_owned())), true), Level::Problem);
        assert_eq!(found("", None, true), Level::Ok);
        assert_eq!(found("most = \"500/s\"", None, true), Level::Warning);
        assert_eq!(found("", None, false), Level::Warning);
    }
}
