//! What happened, in sentences that say what they rest on.

use limiter_common::reason::{Reason, Verdict};

use super::super::story::{Pattern, Speaks, Totals, percent};
use super::Subject;
use super::clock::length;
use crate::report::numbers::count;

/// The first lines of the report.
pub fn summary(subject: &Subject<'_>) -> Vec<String> {
    let mut sentences = vec![headline(subject)];
    sentences.extend(verdict(subject));
    sentences.push(what_limiter_did(&subject.story.during));
    sentences.extend(what_users_felt(subject));
    sentences
}

/// What this is, for whoever opens it first.
pub fn about(subject: &Subject<'_>) -> String {
    let limiter =
        subject.record.meta.as_ref().map_or("an unknown version", |meta| meta.limiter.as_str());
    let cut = match &subject.record.meta {
        Some(meta) if meta.anonymous => " Addresses are cut to /24 and /48.",
        _ => "",
    };
    format!(
        "Made by `limiter report` from a record of `limiter record` (limiter {limiter}), {} lines of one second. Every figure is counted or \
         computed from counters of limiter and of the kernel; what is concluded says from what.{cut}",
        count(subject.record.series.lines)
    )
}

/// A number that somebody can say: 52,000 rather than 51,873.
pub fn about_number(value: f64) -> String {
    if !value.is_finite() || value < 0.0 {
        return "0".to_owned();
    }
    if value < 10.0 && value > 0.0 {
        let text = format!("{value:.1}");
        return text.trim_end_matches(".0").to_owned();
    }
    let unit = 10.0_f64.powf((value.max(1.0).log10().floor() - 1.0).max(0.0));
    count(((value / unit).round() * unit).min(1e18) as u64)
}

fn headline(subject: &Subject<'_>) -> String {
    let (story, points, clock) = (subject.story, &subject.record.series.points, &subject.clock);
    let Some(span) = story.span(points) else { return no_surge(subject) };
    let until = match points.last() {
        Some(last) if last.at <= span[1] => "the end of the record".to_owned(),
        _ => clock.time(span[1]),
    };
    let (calm, peak) = (story.calm_rate.unwrap_or(0.0), story.during.peak);
    let times = if calm >= 0.5 {
        format!(", {} times as many", about_number(peak / calm))
    } else {
        String::new()
    };
    let began = match story.before {
        Some(_) => format!(
            "attempts to connect rose from about {}/s to {}/s at the peak{times}",
            about_number(calm),
            about_number(peak)
        ),
        None => format!(
            "attempts to connect reached {}/s; they were far above the calm already when the record began ({}/s later{times})",
            about_number(peak),
            about_number(calm)
        ),
    };
    let others = match story.surges.len() {
        0 | 1 => String::new(),
        number => format!(" It was the largest of {number} surges in the record."),
    };
    format!(
        "From {} to {until} ({}), {began}.{others}",
        clock.time(span[0]),
        length(span[1] - span[0])
    )
}

fn no_surge(subject: &Subject<'_>) -> String {
    let during = &subject.story.during;
    if during.counted_seconds == 0.0 {
        return "limiter was not loaded while this was recorded: only the kernel's own counters are known, and how many attempts came is not."
            .to_owned();
    }
    format!(
        "Attempts to connect did not surge: {}/s on average, {}/s at most, over {}.",
        about_number(during.rate(during.counted.attempts())),
        about_number(during.peak),
        length(during.seconds)
    )
}

/// What it looks like and why.
pub fn verdict(subject: &Subject<'_>) -> Option<String> {
    let verdict = &subject.story.verdict;
    let looks = match verdict.kind {
        Pattern::NoSurge => return None,
        Pattern::SpoofedFlood => "This looks like a flood from forged addresses, not like a crowd",
        Pattern::FloodOfFew => "This looks like a flood from few sources, not like a crowd",
        Pattern::Crowd => {
            "This looks like a crowd: very many real clients at once, not like a flood of forged attempts"
        }
        Pattern::HeavyClients => {
            "This looks like few clients that are really there and ask far too often, not like a crowd"
        }
        Pattern::Familiar => {
            "This looks like few sources that came before and came far more: many people behind each, or a tool"
        }
        Pattern::Botnet => {
            "This looks like a botnet: many machines that come by a clock, not like a crowd"
        }
        Pattern::Programs => {
            "This looks like programs that connect one by one, a botnet or an app that retries"
        }
        Pattern::Mixed => {
            "This looks like both: attempts that are never finished, beside real clients"
        }
        Pattern::FewSources => {
            "Few sources made most of it; whether they are real clients, the data do not tell"
        }
        Pattern::Server => {
            "This looks like a server that took less than before, so that clients tried again and again"
        }
        Pattern::Unknown => "Whether it was a crowd or a flood, the data do not tell",
    };
    let reasons = reasons(subject);
    let because =
        if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join("; ")) };
    let (speak, against) = (weight(subject, true), weight(subject, false));
    let sure = match (speak, against) {
        _ if matches!(verdict.kind, Pattern::Unknown) => String::new(),
        (_, 0) => format!(
            " Of {} indicators {speak} speak for this and none against.",
            verdict.indicators.len()
        ),
        _ => format!(
            " Of {} indicators {speak} speak for this, but {against} against.",
            verdict.indicators.len()
        ),
    };
    Some(format!("{looks}{because}.{sure}"))
}

/// How many indicators speak for the verdict, or against.
fn weight(subject: &Subject<'_>, with: bool) -> usize {
    let verdict = &subject.story.verdict;
    let (wanted, unwanted): (&[Speaks], &[Speaks]) = match verdict.kind {
        Pattern::SpoofedFlood => (&[Speaks::Flood, Speaks::Many], &[Speaks::Crowd, Speaks::Few]),
        Pattern::FloodOfFew => (&[Speaks::Flood, Speaks::Few], &[Speaks::Crowd, Speaks::Many]),
        Pattern::Crowd => (&[Speaks::Crowd, Speaks::Many], &[Speaks::Flood, Speaks::Few]),
        Pattern::HeavyClients => (&[Speaks::Crowd, Speaks::Few], &[Speaks::Flood, Speaks::Many]),
        Pattern::Familiar => (&[Speaks::Crowd, Speaks::Few], &[Speaks::Flood, Speaks::Many]),
        Pattern::Botnet | Pattern::Programs => (&[Speaks::Many], &[Speaks::Few]),
        Pattern::FewSources => (&[Speaks::Few], &[Speaks::Many]),
        Pattern::Mixed => (&[Speaks::Crowd, Speaks::Flood], &[]),
        Pattern::NoSurge | Pattern::Server | Pattern::Unknown => (&[], &[]),
    };
    let list = if with { wanted } else { unwanted };
    verdict.indicators.iter().filter(|indicator| list.contains(&indicator.speaks)).count()
}

/// The reasons that count most.
fn reasons(subject: &Subject<'_>) -> Vec<String> {
    let (verdict, during) = (&subject.story.verdict, &subject.story.during);
    let mut reasons = Vec::new();
    if let Some(share) = verdict.finished {
        let challenged = during.counted.decided[Reason::Challenged as usize];
        let share = percent(share);
        reasons.push(match challenged >= 100.0 {
            true => format!("{share} of the attempts that were challenged proved that somebody is at their address"),
            false => format!("{share} of the additional attempts that were let through became connections"),
        });
    }
    if let (Some(sources), Some(each)) = (verdict.sources, verdict.per_source) {
        let returning = sources.returning_percent.map_or_else(String::new, |known| {
            format!(", {} of them not seen before", percent(1.0 - known.clamp(0.0, 100.0) / 100.0))
        });
        reasons.push(format!(
            "they came from about {} sources ({} attempts each in {:.0} s{returning})",
            about_number(sources.sources as f64),
            about_number(each),
            sources.seconds
        ));
    } else {
        let refused = during.counted.refused();
        let own = during.over_own_limit();
        if refused >= 100.0 {
            let share = percent(own / refused);
            reasons
                .push(format!("{share} of what was refused was over the limit of its own source"));
        }
    }
    reasons
}

/// What limiter did.
pub fn what_limiter_did(during: &Totals) -> String {
    if during.counted_seconds == 0.0 {
        return "limiter did nothing, since it was not loaded.".to_owned();
    }
    let by_reason = |rates: &[f64], verdict: Verdict| -> Vec<(Reason, f64)> {
        let all =
            Reason::ALL.iter().filter(|reason| reason.is_attempt() && reason.verdict() == verdict);
        let mut all: Vec<_> = all
            .map(|reason| (*reason, rates[*reason as usize]))
            .filter(|(_, count)| *count >= 1.0)
            .collect();
        all.sort_by(|one, other| other.1.total_cmp(&one.1));
        all
    };
    let list = |all: &[(Reason, f64)]| -> String {
        let named = all
            .iter()
            .take(3)
            .map(|(reason, number)| format!("{}: {}", reason.text(), count(*number as u64)));
        named.collect::<Vec<_>>().join("; ")
    };
    let sum =
        |all: &[(Reason, f64)]| count(all.iter().map(|(_, number)| number).sum::<f64>() as u64);
    let dropped = by_reason(&during.counted.decided, Verdict::Drop);
    let would = by_reason(&during.counted.observed, Verdict::Drop);
    let mut parts = Vec::new();
    if !dropped.is_empty() {
        parts.push(format!("dropped {} attempts ({})", sum(&dropped), list(&dropped)));
    }
    let challenged = during.counted.decided[Reason::Challenged as usize];
    if challenged >= 1.0 {
        parts.push(format!(
            "answered {} with a cookie instead of the server",
            count(challenged as u64)
        ));
    }
    if !would.is_empty() {
        parts.push(format!(
            "let {} pass in observe mode that enforcing would have dropped ({})",
            sum(&would),
            list(&would)
        ));
    }
    let would_answer = during.counted.observed[Reason::Challenged as usize];
    if would_answer >= 1.0 {
        parts.push(format!(
            "let {} pass in observe mode that enforcing would have challenged",
            count(would_answer as u64)
        ));
    }
    parts.push(format!("let {} connections in", count(during.counted.admitted() as u64)));
    let last = parts.pop().unwrap_or_default();
    let did = if parts.is_empty() { last } else { format!("{}, and {last}", parts.join(", ")) };
    let enforced = match during.enforced_seconds / during.seconds.max(1e-9) {
        share if share > 0.999 => "enforced all the time".to_owned(),
        share if share < 0.001 => {
            "was in observe mode all the time, in which nothing is dropped".to_owned()
        }
        _ => format!("enforced for {} of it", length(during.enforced_seconds)),
    };
    format!("Meanwhile limiter {enforced}: it {did}.")
}

/// Whether those who came before still got in.
pub fn what_users_felt(subject: &Subject<'_>) -> Option<String> {
    let (story, during) = (subject.story, &subject.story.during);
    let before = story.before.as_ref()?;
    if during.kernel_seconds == 0.0 || before.kernel_seconds == 0.0 {
        return None;
    }
    let rate = |totals: &Totals| totals.kernel_rate(totals.tcp.opened);
    let (was, is) = (rate(before), rate(during));
    let kept = match is / was.max(1e-9) {
        _ if was < 0.5 => "before it hardly anybody came, so there is nothing to compare with",
        share if share < 0.3 => "most of those who came before did not get in",
        share if share < 0.8 => "some of those who came before did not get in",
        share if share < 1.3 => "as many as before, so those who came before still got in",
        _ => "more than before",
    };
    Some(format!(
        "The server opened {}/s connections to clients before and {}/s meanwhile: {kept}.",
        about_number(was),
        about_number(is)
    ))
}
