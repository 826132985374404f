//! The parts of a report, in the order of the questions that a reader has.

use limiter_common::reason::Reason;

use super::super::points::Point;
use super::super::story::{Pattern, Speaks, Totals};
use super::Subject;
use super::clock::length;
use super::page::{Block, Table};
use super::plots::Plots;
use super::words::{self, about_number};
use crate::report::numbers::count;

/// Changes that are named below the first plot.
const MARKS: usize = 8;
/// Rows of the table that follows the plots.
const ROWS: usize = 24;

fn heading(text: &str) -> Block {
    Block::Heading(2, text.to_owned())
}

/// What happened, in short.
pub fn first(subject: &Subject<'_>, summary: &[String]) -> Vec<Block> {
    let (story, during) = (subject.story, &subject.story.during);
    let mut blocks = vec![heading("In short")];
    blocks.extend(summary.iter().take(2).cloned().map(Block::Lead));
    blocks.extend(summary.iter().skip(2).cloned().map(Block::Paragraph));
    let per_second =
        |totals: &Totals| format!("{}/s", about_number(totals.kernel_rate(totals.tcp.opened)));
    let mut figures = vec![
        (format!("{}/s", about_number(during.peak)), "attempts at the peak".to_owned()),
        (
            format!("{}/s", about_number(story.calm_rate.unwrap_or(0.0))),
            "attempts in calm".to_owned(),
        ),
        (
            count(during.counted.held_back() as u64),
            "attempts that limiter kept from the server".to_owned(),
        ),
        (per_second(during), "connections opened by the server meanwhile".to_owned()),
    ];
    figures.extend(
        story
            .before
            .as_ref()
            .map(|before| (per_second(before), "connections opened before".to_owned())),
    );
    figures.push((
        count(during.tcp.overflows as u64),
        "turned away by a full accept queue".to_owned(),
    ));
    blocks.push(Block::Figures(figures));
    if !subject.record.problems.is_empty() {
        blocks.push(Block::Paragraph("What is missing in this record:".to_owned()));
        blocks.push(Block::List(subject.record.problems.clone()));
    }
    blocks
}

/// How it went.
pub fn course(subject: &Subject<'_>) -> Vec<Block> {
    let plots = Plots::of(subject);
    let mut blocks = vec![heading("How it went"), plots.overview()];
    blocks.extend(marks(subject));
    blocks.extend([plots.fates(), plots.machine(), Block::Table(steps(subject))]);
    blocks
}

/// What the numbers in the plots are.
fn marks(subject: &Subject<'_>) -> Option<Block> {
    let changes = subject.story.changes.iter().enumerate().take(MARKS).map(|(number, change)| {
        let what = if change.typed.is_empty() {
            change.what.clone()
        } else {
            format!("`{}`", change.typed)
        };
        format!("{} at {}: {what}", number + 1, subject.clock.time(change.at))
    });
    let changes: Vec<String> = changes.collect();
    let more = if subject.story.changes.len() > MARKS {
        "; the others are in the table below"
    } else {
        ""
    };
    (!changes.is_empty()).then(|| Block::Paragraph(format!("{}{more}.", changes.join("; "))))
}

/// The words that somebody who does not know limiter needs.
pub fn glossary() -> Vec<Block> {
    let items = [
        "Attempt: the first packet of a connection (a SYN). Anybody can send one, also from an address that is not theirs.",
        "Handshake: server and client confirm each other. Only then there is a connection; a forged address never gets that far.",
        "Challenge: limiter answers an attempt itself, with a number (a cookie) that the client must send back. It costs the server nothing, and \
         shows who is really there.",
        "Source limit, budget: how many attempts a second one source, or all together, may make.",
        "Observe, enforce: in observe mode limiter only counts what it would do; in enforce mode it does it.",
        "Accept queue: finished connections that wait for the server program. When it is full, the server is too slow.",
    ];
    vec![heading("Words"), Block::List(items.map(str::to_owned).to_vec())]
}

fn steps(subject: &Subject<'_>) -> Table {
    let points = &subject.record.series.points;
    let size = points.len().div_ceil(ROWS).max(1);
    let caption = format!(
        "The same in numbers: rates per second, averaged over {}; of the CPU the busiest second",
        length(size as f64)
    );
    let head = [
        "From",
        "#Attempts/s",
        "#Let through/s",
        "#Kept from the server/s",
        "#Opened by the server/s",
        "#Queue full/s",
        "#CPU busy",
        "Mode",
    ];
    let mut table = Table::new(&caption, &head);
    for chunk in points.chunks(size) {
        let totals = Totals::of(&chunk.iter().collect::<Vec<&Point>>());
        let known = |text: String| if totals.counted_seconds > 0.0 { text } else { "-".to_owned() };
        let rate = |value: f64| known(about_number(totals.rate(value)));
        let kernel = |value: f64| {
            if totals.kernel_seconds > 0.0 {
                about_number(totals.kernel_rate(value))
            } else {
                "-".to_owned()
            }
        };
        let first = &chunk[0];
        table.row([
            subject.clock.time(first.at - first.seconds),
            rate(totals.counted.attempts()),
            rate(totals.counted.let_through()),
            rate(totals.counted.held_back()),
            kernel(totals.tcp.opened),
            kernel(totals.tcp.overflows),
            format!("{:.0}%", totals.cpu[0]),
            match first.enforces {
                Some(true) => "enforce".to_owned(),
                Some(false) => "observe".to_owned(),
                None => "not loaded".to_owned(),
            },
        ]);
    }
    table
}

/// Crowd or flood.
pub fn evidence(subject: &Subject<'_>) -> Vec<Block> {
    let verdict = &subject.story.verdict;
    if verdict.kind == Pattern::NoSurge {
        return Vec::new();
    }
    let mut blocks = vec![heading("Crowd or flood?")];
    blocks.extend(words::verdict(subject).map(Block::Paragraph));
    let mut table = Table::new(
        "What tells, in calm and in the surge",
        &["Indicator", "In calm", "In the surge", "Speaks for", "Why"],
    );
    for indicator in &verdict.indicators {
        let speaks = match indicator.speaks {
            Speaks::Flood => "a flood",
            Speaks::Crowd => "real clients",
            Speaks::Few => "few sources",
            Speaks::Many => "many sources",
            Speaks::Neither => "-",
        };
        table.row([
            indicator.what.to_owned(),
            indicator.before.clone(),
            indicator.during.clone(),
            speaks.to_owned(),
            indicator.why.to_owned(),
        ]);
    }
    blocks.push(Block::Table(table));
    blocks.push(Block::Paragraph(
        "The first indicator decides between flood and real clients: under 20% finished is a flood, over 60% real clients, between them both. \
         Few or many sources is decided by attempts for each source, or, where sources are not counted, by whose limit refused."
            .to_owned(),
    ));
    blocks
}

/// What was changed.
pub fn changes(subject: &Subject<'_>) -> Vec<Block> {
    let changes = &subject.story.changes;
    let mut blocks = vec![heading("What was changed, and what was different after it")];
    if changes.is_empty() {
        blocks.push(Block::Paragraph("Nothing was changed while this was recorded.".to_owned()));
        return blocks;
    }
    let head = [
        "#No.",
        "#Time",
        "By whom",
        "What",
        "#Kept from the server/s before",
        "#after",
        "What differs after it",
    ];
    let mut table = Table::new(
        "Averages of up to ten seconds before and after, and not beyond the next change, or the edge of a surge",
        &head,
    );
    for (number, change) in changes.iter().enumerate() {
        let typed =
            if change.typed.is_empty() { String::new() } else { format!("`{}`: ", change.typed) };
        let held_back = |rates: Option<super::super::story::Rates>| {
            rates.map_or_else(|| "-".to_owned(), |rates| about_number(rates.held_back))
        };
        let differs: Vec<String> = change
            .differs()
            .into_iter()
            .map(|(what, was, is)| {
                format!("{what} {}/s -> {}/s", about_number(was), about_number(is))
            })
            .collect();
        table.row([
            (number + 1).to_string(),
            subject.clock.time(change.at),
            change.who.clone(),
            format!("{typed}{}", change.what),
            held_back(change.before),
            held_back(change.after),
            match (change.before, change.after) {
                (Some(_), Some(_)) if differs.is_empty() => {
                    "nothing, beyond chance and a quarter".to_owned()
                }
                (Some(_), Some(_)) => differs.join("; "),
                _ => "too close to another change, or to an end of the record".to_owned(),
            },
        ]);
    }
    blocks.push(Block::Table(table));
    blocks.push(Block::Paragraph(
        "That a number differs after a change does not show that it differs because of it: what came from outside changes by itself."
            .to_owned(),
    ));
    blocks
}

/// A name, and what it is of a span.
type Row = (&'static str, fn(&Totals) -> String);

/// What users felt.
pub fn users(subject: &Subject<'_>) -> Vec<Block> {
    let story = subject.story;
    let mut table =
        Table::new("Before, in and after the surge", &["", "#Before", "#Surge", "#After"]);
    let columns = [story.before.as_ref(), Some(&story.during), story.after.as_ref()];
    let rows: [Row; 6] = [
        ("Seconds", |totals| format!("{:.0}", totals.seconds)),
        ("Attempts a second", |totals| about_number(totals.rate(totals.counted.attempts()))),
        ("Let through to the server a second", |totals| {
            about_number(totals.rate(totals.counted.let_through()))
        }),
        ("Kept from the server a second (dropped or challenged)", |totals| {
            about_number(totals.rate(totals.counted.held_back()))
        }),
        ("Told to wait a second (a good cookie, but no budget)", |totals| {
            about_number(totals.rate(totals.of_reason(Reason::Waiting)))
        }),
        ("Connections opened by the server a second", |totals| {
            about_number(totals.kernel_rate(totals.tcp.opened))
        }),
    ];
    for (name, value) in rows {
        let cells = columns.map(|totals| totals.map_or_else(|| "-".to_owned(), value));
        table.row([vec![name.to_owned()], cells.to_vec()].concat());
    }
    let mut blocks = vec![heading("What users felt")];
    blocks.extend(words::what_users_felt(subject).map(Block::Paragraph));
    blocks.push(Block::Table(table));
    blocks.push(Block::Paragraph(
        "A client that is refused tries again after 1, 2, 4 seconds, so attempts count impatient people more than once. Limits never touch a \
         connection that is open: who was in, stayed in."
            .to_owned(),
    ));
    let services = &subject.record.series.services;
    if services.len() > 1 {
        let mut table = Table::new(
            "By service, over the whole record",
            &["Service", "#Attempts", "#Let in", "#Over a limit"],
        );
        for (name, counts) in services {
            table.row(
                [vec![name.clone()], counts.map(|number| count(number as u64)).to_vec()].concat(),
            );
        }
        blocks.push(Block::Table(table));
    }
    let shadows = &subject.record.series.shadows;
    if !shadows.is_empty() {
        let mut table = Table::new(
            "Limits in the shadow: of what the limits in force let in, what they would have refused",
            &["Service", "What was tried", "#Let in", "#Would have been refused"],
        );
        for ((service, tried), counts) in shadows {
            let counts = counts.map(count).to_vec();
            table.row([vec![service.clone(), tried.clone()], counts].concat());
        }
        blocks.push(Block::Table(table));
    }
    blocks
}

/// What the server itself could not take.
pub fn server(subject: &Subject<'_>) -> Vec<Block> {
    let all = Totals::of(&subject.record.series.points.iter().collect::<Vec<&Point>>());
    let mut facts = Vec::new();
    match all.tcp.overflows {
        none if none < 1.0 => facts.push("The accept queue never was full: the server accepted as fast as clients came.".to_owned()),
        number => facts.push(format!(
            "{} times a client was turned away because the accept queue was full: the server did not accept fast enough, whatever limiter did. \
             More workers, a longer backlog (net.core.somaxconn), or a budget at what it can take.",
            count(number as u64)
        )),
    }
    let other = all.tcp.drops - all.tcp.overflows;
    if other >= 1.0 {
        facts.push(format!("{} more were dropped by listeners for other reasons (ListenDrops), such as too many half-open connections.", count(other as u64)));
    }
    if all.tcp.starved >= 1.0 {
        facts.push(format!(
            "{} times memory or room in a queue of TCP was short.",
            count(all.tcp.starved as u64)
        ));
    }
    let [busy, soft] = all.cpu;
    facts.push(format!("At the busiest {busy:.0}% of the CPU time was used; at most {soft:.0}% went into soft interrupts, where packets are received."));
    if all.nic[2] >= 1.0 {
        facts.push(format!(
            "The interfaces counted {} packets as dropped; some drivers count there what an XDP program drops too.",
            count(all.nic[2] as u64)
        ));
    }
    vec![
        heading("What the server itself could not take"),
        Block::List(facts),
        Plots::of(subject).kernel(),
    ]
}

/// What the data cannot tell.
pub fn open_questions(subject: &Subject<'_>) -> Vec<Block> {
    let (record, story) = (subject.record, subject.story);
    let mut items = Vec::new();
    if story.before.is_none() && story.verdict.kind != Pattern::NoSurge {
        items.push(
            "What was normal before: the record began when attempts were high already.".to_owned(),
        );
    }
    if story.verdict.sources.is_none() {
        items.push("How many sources there were: they were not counted in this record.".to_owned());
    }
    for one in record.series.breaks.iter().take(20) {
        items.push(format!("{}: {}.", subject.clock.time(one.at), one.what));
    }
    items.extend(
        record.notes.iter().take(20).map(|note| format!("The recorder noted: {}.", note.text)),
    );
    if let Some(end) = record.end.as_ref().filter(|end| end.missed > 0) {
        items.push(format!(
            "{} seconds of which nothing is recorded: the machine did not let the recorder run.",
            count(end.missed)
        ));
    }
    items.extend([
        "Who it was. Forged addresses say nothing about their sender, and real ones only whose machine it came through.".to_owned(),
        "Whether clients that behave like browsers are people: machines that finish every handshake look like a crowd.".to_owned(),
        "What did not arrive: if the line or a provider before this machine was full, less came than was sent.".to_owned(),
        "What the application did with the connections it accepted: pages that hang or fail after that are not counted here.".to_owned(),
        "The kernel's counters are of the whole machine (network namespace), also of ports that limiter does not protect.".to_owned(),
    ]);
    vec![heading("What the data cannot tell"), Block::List(items)]
}
