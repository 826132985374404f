//! Rules of nftables that would take a challenged connection from its server. They are read with
//! `nft`, if it is here; those of iptables are among them where iptables is nft's.

use std::process::{Command, Stdio};

use serde_json::Value;

/// A rule, and what it does to a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where it stands: `the rule with handle 4 in chain input of table inet filter`.
    pub place: String,
    /// What it does.
    pub does: Does,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// Hands connections to another address or port, or to a socket.
    Moves,
    /// Keeps out what is new and no SYN.
    Judges,
}

/// The rules that matter for services on `ports`. `None`: they cannot be read.
pub fn rules(ports: &[u16]) -> Option<Vec<Rule>> {
    let mut nft = Command::new("nft");
    nft.args(["-j", "list", "ruleset"]).stdin(Stdio::null()).stderr(Stdio::null());
    let output = nft.output().ok().filter(|output| output.status.success())?;
    Some(of(&serde_json::from_slice(&output.stdout).ok()?, ports))
}

fn of(ruleset: &Value, ports: &[u16]) -> Vec<Rule> {
    let objects = || ruleset["nftables"].as_array().into_iter().flatten();
    let drops = |rule: &Value| {
        let chains = objects().map(|object| &object["chain"]);
        let same = |chain: &Value| {
            [("family", "family"), ("table", "table"), ("name", "chain")]
                .iter()
                .all(|(of_chain, of_rule)| chain[of_chain] == rule[of_rule])
        };
        chains.into_iter().any(|chain| same(chain) && chain["policy"] == "drop")
    };
    let rules = objects().map(|object| &object["rule"]);
    rules.filter_map(|one| rule(one, drops(one), ports)).collect()
}

/// `is_closed`: what no rule of its chain accepts is dropped.
fn rule(rule: &Value, is_closed: bool, ports: &[u16]) -> Option<Rule> {
    let expressions = rule["expr"].as_array()?;
    let is = |name: &str| expressions.iter().any(|one| one.get(name).is_some());
    let matches = || expressions.iter().filter_map(|one| one.get("match"));
    let elsewhere = |port: u64| ports.iter().all(|ours| u64::from(*ours) != port);
    if matches().any(|one| {
        one["left"]["payload"]["field"] == "dport" && one["right"].as_u64().is_some_and(elsewhere)
    }) {
        return None;
    }
    // Of iptables: its targets have names of their own.
    let targets = || expressions.iter().filter_map(|one| one["xt"]["name"].as_str());
    let moves = ["dnat", "redirect", "tproxy"].into_iter().any(is)
        || targets().any(|name| ["DNAT", "REDIRECT", "TPROXY"].contains(&name));
    let flags = matches().any(|one| one["left"].to_string().contains(r#""field":"flags""#));
    let new = matches()
        .any(|one| one["left"]["ct"]["key"] == "state" && one["right"].to_string().contains("new"));
    let does = match (moves, new && flags && (is_closed || is("drop") || is("reject"))) {
        (true, _) => Does::Moves,
        (_, true) => Does::Judges,
        _ => return None,
    };
    let text = |key: &str| rule[key].as_str().unwrap_or_default();
    Some(Rule {
        place: format!(
            "the rule with handle {} in chain {} of table {} {}",
            rule["handle"],
            text("chain"),
            text("family"),
            text("table"),
        ),
        does,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As nft 1.0.6 prints them.
    #[test]
    fn what_matters() {
        let dport = |port: u16| {
            format!(
                r#"{{"match":{{"op":"==","left":{{"payload":{{"protocol":"tcp","field":"dport"}}}},"right":{port}}}}}"#
            )
        };
        let new = r#"{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":"new"}}"#;
        let flags = r#"{"match":{"op":"!=","left":{"payload":{"protocol":"tcp","field":"flags"}},"right":"syn"}}"#;
        let within = |expressions: &[&str], policy: &str| {
            let text = format!(
                r#"{{"nftables":[{{"metainfo":{{}}}},
                {{"chain":{{"family":"ip","table":"t","name":"c","policy":"{policy}"}}}},
                {{"rule":{{"family":"ip","table":"t","chain":"c","handle":7,"expr":[{}]}}}}]}}"#,
                expressions.join(",")
            );
            let found = of(&serde_json::from_str(&text).expect("JSON"), &[80, 443]);
            found.first().map(|rule| {
                assert_eq!(rule.place, "the rule with handle 7 in chain c of table ip t");
                rule.does
            })
        };
        let does = |expressions: &[&str]| within(expressions, "accept");
        let redirect = r#"{"redirect":{"port":8080}}"#;
        assert_eq!(does(&[&dport(80), redirect]), Some(Does::Moves));
        assert_eq!(does(&[redirect]), Some(Does::Moves));
        assert_eq!(does(&[&dport(25), redirect]), None, "no service is there");
        assert_eq!(does(&[r#"{"xt":{"type":"target","name":"DNAT"}}"#]), Some(Does::Moves));
        let (drop, accept) = (r#"{"drop":null}"#, r#"{"accept":null}"#);
        assert_eq!(does(&[flags, new, drop]), Some(Does::Judges));
        assert_eq!(does(&[new, flags, accept]), None, "and so is the rest");
        assert_eq!(within(&[new, flags, accept], "drop"), Some(Does::Judges));
        assert_eq!(within(&[new, accept], "drop"), None, "an ACK may be new");
        assert_eq!(does(&[r#"{"counter":{}}"#]), None);
    }
}
