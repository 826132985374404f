//! What the rest rests on: every counter, the policies, what doctor found, and where it was recorded.

use limiter_common::reason::{Reason, Verdict};
use serde_json::Value;

use super::super::archive::Found;
use super::super::points::Point;
use super::super::story::Totals;
use super::Subject;
use super::page::{Block, Table};
use crate::report::numbers::count;

/// Bytes of a policy that are shown.
const LONGEST: usize = 20_000;
/// Policies that are shown.
const POLICIES: usize = 12;

/// The section.
pub fn section(subject: &Subject<'_>) -> Vec<Block> {
    let mut blocks = vec![
        Block::Heading(2, "Appendix".to_owned()),
        Block::Table(reasons(subject)),
        Block::Table(environment(subject)),
    ];
    blocks.extend(doctor(subject));
    let policies = &subject.record.policies;
    for policy in policies.iter().take(POLICIES) {
        let time = policy.time.map_or_else(String::new, |time| {
            subject.clock.time((time.millis() as f64 - subject.record.series.began as f64) / 1e3)
        });
        let mut text: String = policy.text.chars().take(LONGEST).collect();
        if text.len() < policy.text.len() {
            text.push_str("\n... the rest is in the record\n");
        }
        blocks.push(Block::Code(
            format!("Policy number {}, in force at {time}", policy.generation),
            text,
        ));
    }
    if policies.len() > POLICIES {
        blocks.push(Block::Paragraph(format!(
            "{} more policies are in the record.",
            policies.len() - POLICIES
        )));
    }
    blocks
}

fn reasons(subject: &Subject<'_>) -> Table {
    let all = Totals::of(&subject.record.series.points.iter().collect::<Vec<&Point>>());
    let head = ["Reason", "#Carried out", "#Only counted (observe)", "What it means"];
    let mut table =
        Table::new("Packets to protected services by reason, over the whole record", &head);
    for reason in Reason::ALL {
        let counts = [&all.counted.decided, &all.counted.observed]
            .map(|counts| counts[*reason as usize].round() as u64);
        if counts != [0, 0] {
            let verdict = match reason.verdict() {
                Verdict::Pass => "passes",
                Verdict::Drop => "dropped",
                Verdict::Answer => "answered",
            };
            let text = format!("{verdict}: {}", reason.text());
            table.row([reason.name().to_owned(), count(counts[0]), count(counts[1]), text]);
        }
    }
    table
}

fn environment(subject: &Subject<'_>) -> Table {
    let record = subject.record;
    let mut table = Table::new("Where and how it was recorded", &["What", "Value"]);
    let mut row = |what: &str, value: String| table.row([what.to_owned(), value]);
    if let Some(meta) = &record.meta {
        row("Machine", meta.host.clone());
        row("Kernel", meta.kernel.clone());
        row("CPUs", meta.cpus.to_string());
        row("limiter", meta.limiter.clone());
        row("Command", format!("limiter {}", meta.command.join(" ")));
        row(
            "Addresses",
            if meta.anonymous { "cut to /24 and /48" } else { "as they were" }.to_owned(),
        );
    }
    row("Recorded", subject.clock.span(record.series.length()));
    row(
        "Ended",
        record.end.as_ref().map_or_else(|| "not properly".to_owned(), |end| end.why.clone()),
    );
    if let Some(status) = record.status[0].as_ref().filter(|status| status.is_object()) {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let interfaces: Vec<String> = list(&status["interfaces"])
            .iter()
            .take(32)
            .map(|one| format!("{} ({})", text(&one["name"]), text(&one["attachment"])))
            .collect();
        row("Interfaces at the start", interfaces.join(", "));
        row("Host's budget at the start", text(&status["budget"]));
        for service in list(&status["services"]).iter().take(64) {
            let listeners: Vec<String> =
                list(&service["listeners"]).iter().take(16).map(text).collect();
            let what = format!("Service {} at the start", text(&service["name"]));
            let (limit, budget) = (text(&service["source_limit"]), text(&service["budget"]));
            row(&what, format!("{}; source limit {limit}; budget {budget}", listeners.join(" ")));
        }
    }
    table
}

fn doctor(subject: &Subject<'_>) -> Vec<Block> {
    let mut blocks = Vec::new();
    let [start, end] = &subject.record.doctor;
    for (found, when) in [(start, "start"), (end, "end")] {
        let Some(found) = found else { continue };
        if when == "end" && start.as_ref() == Some(found) {
            blocks.push(Block::Paragraph(
                "At the end `limiter doctor` found the same as at the start.".to_owned(),
            ));
            continue;
        }
        let bad: Vec<&Found> = found.iter().filter(|found| found.level != "ok").collect();
        if bad.is_empty() {
            blocks.push(Block::Paragraph(format!(
                "At the {when}, `limiter doctor` found {} things in order and nothing else.",
                found.len()
            )));
            continue;
        }
        let caption = format!(
            "What `limiter doctor` found at the {when} beside {} things in order",
            found.len() - bad.len()
        );
        let mut table = Table::new(&caption, &["Area", "Level", "What", "Advice"]);
        for found in bad.into_iter().take(100) {
            table.row([
                found.area.clone(),
                found.level.clone(),
                found.what.clone(),
                found.advice.clone().unwrap_or_default(),
            ]);
        }
        blocks.push(Block::Table(table));
    }
    blocks
}
