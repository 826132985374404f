//! Kinds of packets that meet limits and budgets alone: each beside the same limiter over an LRU
//! hash, and beside one that notes nobody.

use anyhow::Result;
use lab::Frame;
use lab::frame::Extension;
use limiter_common::names;
use limiter_common::reason::Reason;
use serde::Serialize;

use super::measure::{Bench, limit, policy, program};

/// One kind of packet under one policy.
pub(super) struct Case {
    pub(super) name: &'static str,
    frame: Vec<u8>,
    /// Suffix of the programs that change the source, or nothing for the shipped program as it is.
    sources: &'static str,
    source: (u64, u64),
    budget: (u64, u64),
    /// A source limit in the shadow.
    shadow: (u64, u64),
    /// What nearly all packets of the case must be counted as, or it measured something else.
    reason: Reason,
}

#[derive(Serialize)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) ns: f64,
    pub(super) ns_spread: f64,
    pub(super) ns_lru: f64,
    pub(super) ratio: f64,
    /// Without noting who came: what is above it is the price of `top`, `status` and `suggest`.
    pub(super) ns_blind: f64,
    /// Million packets a second that one CPU takes, the empty program's time among theirs.
    pub(super) mpps: f64,
}

pub(super) fn cases() -> Result<Vec<Case>> {
    let client = "11.0.0.1:40000".parse()?;
    let syn = |port: u16| -> Result<Frame> {
        Ok(Frame::syn(client, format!("10.77.0.1:{port}").parse()?))
    };
    let case = |name, frame: Frame, sources, source, budget, reason| Case {
        name,
        frame: frame.build(),
        sources,
        source,
        budget,
        shadow: (0, 0),
        reason,
    };
    let v6 = || {
        Ok::<_, anyhow::Error>(Frame::syn("[2001:db8::1]:40000".parse()?, "[fd77::1]:80".parse()?))
    };
    let none = (0, 0);
    let usual = (20, 40);
    Ok(vec![
        case(
            "not_tcp",
            Frame::udp(client, "10.77.0.1:80".parse()?),
            "",
            usual,
            none,
            Reason::NotTcp,
        ),
        case("established", syn(80)?.flags(0x10), "", usual, none, Reason::NotAttempt),
        case("established_v6", v6()?.flags(0x10), "", usual, none, Reason::NotAttempt),
        case(
            "established_v6_long_header",
            v6()?.flags(0x10).extension(Extension::Destination(0)),
            "",
            usual,
            none,
            Reason::NotAttempt,
        ),
        case("not_protected", syn(81)?, "", usual, none, Reason::NotProtected),
        case("refused_hot_source", syn(80)?, "", usual, none, Reason::SourceLimit),
        case("refused_hot_source_v6", v6()?, "", usual, none, Reason::SourceLimit),
        case(
            "refused_hot_source_with_budget",
            syn(80)?,
            "",
            usual,
            (1000, 2000),
            Reason::SourceLimit,
        ),
        case(
            "admitted_65536_sources",
            syn(80)?,
            "_many",
            (15_000, 1 << 20),
            none,
            Reason::Admitted,
        ),
        Case {
            shadow: (15_000, 1 << 20),
            ..case(
                "admitted_and_tried_65536_sources",
                syn(80)?,
                "_many",
                (15_000, 1 << 20),
                none,
                Reason::Admitted,
            )
        },
        case("random_sources", syn(80)?, "_random", usual, none, Reason::Admitted),
        case("refused_spent_budget", syn(80)?, "_random", usual, (100, 100), Reason::GlobalBudget),
    ])
}

impl Bench {
    pub(super) fn row(&mut self, case: &Case) -> Result<Row> {
        let mut policy = policy(case.source, case.budget)?;
        policy.services[0].shadow.source = limit(case.shadow);
        self.enforce(&policy)?;
        let suffix = case.sources;
        let mine = if suffix.is_empty() {
            program(&self.shipped, names::PROGRAM)?
        } else {
            program(&self.compare, &format!("table{suffix}"))?
        };
        let blind = program(&self.compare, &format!("blind{suffix}"))?;
        let lru = program(&self.compare, &format!("lru{suffix}"))?;
        let empty = program(&self.compare, &format!("empty{suffix}"))?;
        let [ns, ns_lru, ns_blind] =
            self.above([mine, lru, blind], empty, &case.frame, case.reason)?;
        let (ns_lru, ns_blind) = (ns_lru.median, ns_blind.median);
        Ok(Row {
            name: case.name,
            ns: ns.median,
            ns_spread: ns.spread,
            ns_lru,
            ratio: ns.median / ns_lru,
            ns_blind,
            mpps: 1e3 / (ns.median + self.run(empty, &case.frame)?),
        })
    }
}
