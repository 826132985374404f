//! Gathers the facts, once each, and hands them to the checks of every area.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use limiter_common::challenge::Challenge::Off;
use limiter_common::record::{List, Refuse};
use limiter_common::switch::Mode;

use super::kernel::Probed;
use super::pins::{Directory, Standing};
use super::settings::Challenge;
use super::sockets::Counted;
use super::subject::{Gathered, chosen, subject};
use super::{
    Finding, Findings, Level, Tree, auto, caller, challenge as hindered, conntrack, fleet,
    interface, kernel, lists, networks, open, pins, queues, room, settings, sockets, table,
};
use crate::assess::{Assessment, Cause, Facts, assess};
use crate::combinations::{self, Combination};
use crate::hindrance;
use crate::history::{ENTRIES, History};
use crate::kernel::link::{self, Attached};
use crate::kernel::probe::{self, Trial};
use crate::kernel::{Maps, Pins, clock, interface as interfaces, inventory, listener};
use crate::policy::auto::Auto;
use crate::policy::fleet::Fleet;
use crate::policy::{Admission, Policy};
use crate::report::{self, Sample, Snapshot};

/// Over which time "now" is measured.
const SECOND: Duration = Duration::from_secs(1);

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The limiter that is meant.
    pub pins: &'a Pins,
    /// Interfaces by name; none: those that limiter is attached to, else those that lead out.
    pub interfaces: &'a [String],
    /// Those that the policy file names.
    pub named: &'a [String],
    /// Whether to attach to free interfaces for a moment.
    pub attach: bool,
    /// Budgets that follow their servers, by the policy file.
    pub auto: &'a [Auto],
    /// The fleet that the policy file names, and the directory of that file.
    pub fleet: Option<(&'a Fleet, &'a Path)>,
    /// Who changed what, which tells what is usual; `None`: not asked.
    pub history: Option<&'a History>,
}

/// What is loaded.
struct Loaded {
    maps: Maps,
    policy: Policy,
    snapshot: Snapshot,
    enforced: bool,
    slot: u32,
    /// Debts that were forgotten before the second in which the snapshot was taken.
    steals: u64,
}

/// Looks at everything. It takes a little more than a second.
///
/// # Errors
/// When not even the interfaces can be listed.
pub fn examine(tree: &Tree, question: &Question<'_>) -> Result<Vec<Finding>> {
    let mut to = Findings::default();
    let may = caller::Caller::of(tree);
    let mut trial = may.may_use_bpf().then(Trial::load);
    let (devices, before) = (interfaces::detailed()?, Counted::now(tree));
    let standing = pins::directory(tree, question.pins.base(), &directory(question.pins), &mut to);
    let loaded = match standing {
        Standing::Loaded if may.may_use_bpf() => loaded(question.pins, &mut to),
        Standing::Loaded => {
            to.ok("loaded");
            to.unseen("what is loaded, where it is attached, and what it counts");
            None
        }
        _ => None,
    };
    let attached = match standing == Standing::Loaded && may.may_use_bpf() {
        true => behind_the_pins(question, trial.as_mut(), &mut to),
        false => Vec::new(),
    };
    caller::check(may, &mut to);
    kernel::check(tree, trial.as_mut().map(probed).as_ref(), &mut to);
    if loaded.is_none() {
        std::thread::sleep(SECOND);
    }
    let gathered = Gathered {
        attached: &attached,
        before: &devices,
        challenges: challenges(loaded.as_ref()),
        named: may.may_use_bpf(),
    };
    interfaces(tree, question, &gathered, trial.as_mut(), &mut to)?;
    let challenge = loaded.as_ref().and_then(|loaded| challenge(loaded).ok());
    settings::check(tree, challenge.as_ref(), &mut to);
    if let Some(loaded) = &loaded
        && let Some(here) = &loaded.snapshot.room
    {
        room::check(&facts(question.pins, loaded, here), &mut to);
    }
    if let Some(counted) = loaded.as_ref().and_then(|loaded| loaded.snapshot.open.as_ref()) {
        open::check(counted, crate::kernel::open::has_group(), &mut to);
    }
    let challenged = loaded.as_ref().filter(|loaded| loaded.policy.may_challenge());
    if let Some(loaded) = challenged {
        let found = hindrance::in_calm(question.pins, &loaded.maps, &loaded.policy);
        hindered::check(found.ok().as_deref(), &mut to);
        hindered::answers(&loaded.maps.own_answers()?, &mut to);
    }
    let rules = challenged.map(|loaded| hindrance::rules(&hindrance::ports(&loaded.policy)));
    conntrack::check(tree, rules.as_ref().map(Option::as_deref), &mut to);
    sockets::lost(&before, &Counted::now(tree), &mut to);
    if let Some(loaded) = &loaded {
        services(tree, loaded, &mut to)?;
    }
    if let Some(loaded) = loaded.as_ref().filter(|_| !question.auto.is_empty()) {
        let ask = |said| auto::Facts { said, answer: crate::auto::probe::once(said) };
        let facts: Vec<_> = question.auto.iter().map(ask).collect();
        auto::check(&facts, &loaded.policy, &listener::all()?, &mut to);
    }
    if let Some((said, directory)) = question.fleet {
        let shares = loaded.as_ref().map(|loaded| {
            let budgets = loaded.maps.budgets().map_or(0, |budgets| budgets.len());
            let quotas = loaded.maps.quotas().map_or(0, |quotas| quotas.len());
            (budgets + quotas, loaded.snapshot.shares.len())
        });
        let health = crate::fleet::health(said, directory).map_err(|error| format!("{error:#}"));
        let facts = fleet::Facts {
            name: said.name.to_string(),
            health,
            shares,
            certificates: crate::fleet::certificate::of(said, directory),
            multipath: tree.number("proc/sys/net/ipv4/fib_multipath_hash_policy"),
        };
        fleet::check(&facts, &mut to);
    }
    let mut found = to.finish();
    if let Some(loaded) = &loaded {
        let read = question.history.and_then(|history| history.read(ENTRIES).ok());
        let entries = read.map_or_else(Vec::new, |read| read.entries);
        let facts = Facts::of(&loaded.snapshot, &entries).named(&loaded.snapshot, question.named);
        found.insert(0, likely(&assess(&facts), facts.is_served()));
    }
    Ok(found)
}

/// The assessment as the first finding. It is no good one while a service has no server here.
fn likely(found: &Assessment, is_served: bool) -> Finding {
    let is_calm = matches!(found.cause, Cause::Nothing | Cause::Quiet) && is_served;
    let is_down = found.cause == Cause::Down;
    let evidence = [&found.what].into_iter().chain(&found.evidence);
    let evidence = evidence.map(|why| why.trim_end_matches('.')).collect::<Vec<_>>().join("; ");
    Finding {
        area: "likely".to_owned(),
        level: match is_calm {
            true => Level::Ok,
            false if is_down => Level::Problem,
            false => Level::Warning,
        },
        what: format!("{}: {evidence}", found.likely),
        advice: (!is_calm).then(|| found.next.join("; then ")),
    }
}

fn directory(pins: &Pins) -> Directory {
    Directory { names: inventory::names(pins), bpffs: inventory::has_bpffs(pins) }
}

fn challenges(loaded: Option<&Loaded>) -> bool {
    loaded.is_some_and(|loaded| loaded.policy.may_challenge())
}

fn probed(trial: &mut Result<Trial>) -> Probed {
    let loaded = match trial {
        Ok(trial) => trial.is_compiled().map(|compiled| (trial.took, compiled)),
        Err(error) => Err(anyhow::anyhow!("{error:#}")),
    };
    Probed { missing: probe::missing_helpers(), loaded }
}

/// Opens what is loaded and measures it for a second.
fn loaded(pins: &Pins, to: &mut Findings) -> Option<Loaded> {
    let open = || -> Result<Loaded> {
        let maps = Maps::open(&pins.root())?;
        let steals = Sample::take(&maps)?.total().steals;
        let snapshot = report::take(pins, &maps, SECOND)?;
        let selection = maps.selection()?;
        let policy = maps.policy(selection.slot)?;
        Ok(Loaded {
            policy,
            snapshot,
            enforced: selection.mode == Mode::Enforce,
            slot: selection.slot,
            steals,
            maps,
        })
    };
    match open() {
        Ok(loaded) => {
            let services = loaded.policy.services.len();
            let plural = if services == 1 { "" } else { "s" };
            to.ok(format!("loaded, mode {}, {services} service{plural}", loaded.snapshot.mode));
            if services == 0 {
                to.warning(
                    "no service is protected, so everything passes",
                    "name them when you attach: `limiter detach --all`, then `limiter attach IFACE --service web=*:80,*:443`",
                );
            }
            Some(loaded)
        }
        Err(error) => {
            to.problem(
                format!("loaded, but cannot be used: {error:#}"),
                "the attached program goes on as it is; to repair it, `limiter detach --all` and \
                 attach again",
            );
            None
        }
    }
}

/// Links and program. Returns where limiter is attached.
fn behind_the_pins(
    question: &Question<'_>,
    trial: Option<&mut Result<Trial>>,
    to: &mut Findings,
) -> Vec<Attached> {
    let pins = question.pins;
    let program = inventory::program(pins).ok();
    let ours = trial.and_then(|trial| trial.as_mut().ok()?.tag().ok());
    pins::program(program, ours, to);
    let attached = link::attached(pins).unwrap_or_default();
    let here: Vec<u32> =
        attached.iter().filter(|one| one.name.is_some()).map(|one| one.index).collect();
    match inventory::links(pins) {
        Ok(links) => pins::links(&links, &here, program.map(|program| program.id), to),
        Err(error) => to.problem(format!("{error:#}"), "`limiter detach --all` and attach again"),
    }
    pins::dispatchers(&attached, to);
    for name in question.named {
        if !attached.iter().any(|one| one.name.as_ref() == Some(name)) {
            to.problem(
                format!(
                    "the policy file names {name}, and limiter is not attached to it, so it limits \
                     nothing there"
                ),
                format!("`limiter attach {name}`, or take it out of the file"),
            );
        }
    }
    attached
}

fn interfaces(
    tree: &Tree,
    question: &Question<'_>,
    gathered: &Gathered<'_>,
    mut trial: Option<&mut Result<Trial>>,
    to: &mut Findings,
) -> Result<()> {
    let devices = interfaces::detailed().context("cannot list the interfaces")?;
    let features = interfaces::features().ok();
    let cpus = tree.cpus("sys/devices/system/cpu/online").unwrap_or(1) as u32;
    for device in chosen(question.interfaces, gathered.attached, &devices, to) {
        let mut subject = subject(tree, device, &devices, gathered);
        subject.features =
            features.as_ref().map(|known| known.get(&device.index).copied().unwrap_or_default());
        if question.attach && device.program.is_none() {
            match trial.as_mut().and_then(|trial| trial.as_mut().ok()) {
                Some(trial) => {
                    let tried = trial.attach(device.index, &device.name);
                    subject.trial = Some(tried.map_err(|error| format!("{error:#}")));
                }
                None => {
                    to.unseen(format!("whether the driver of {} takes the program", device.name))
                }
            }
        }
        interface::check(&subject, to);
        queues::check(tree, &subject, cpus, to);
    }
    Ok(())
}

fn facts<'a>(pins: &Pins, loaded: &Loaded, room: &'a report::Room) -> room::Facts<'a> {
    let cookies = &loaded.snapshot.cookies;
    let unproven = loaded.policy.services.iter().filter(|service| {
        let Admission { refuse, challenge, .. } = service.admission;
        refuse == Refuse::Room && challenge == Off
    });
    room::Facts {
        room,
        standing: crate::kernel::room::standing(pins),
        unproven: unproven.map(|service| service.name.to_string()).collect(),
        cookies: cookies.works() || cookies.may_set,
    }
}

fn challenge(loaded: &Loaded) -> Result<Challenge> {
    Ok(Challenge {
        wanted: loaded.policy.may_challenge(),
        enforced: loaded.enforced,
        cookies: loaded.maps.cookies()?,
        noted: loaded.maps.has_noted_settings()?,
    })
}

/// What only a loaded policy can be asked.
fn services(tree: &Tree, loaded: &Loaded, to: &mut Findings) -> Result<()> {
    match listener::all() {
        Ok(listeners) => sockets::services(&loaded.policy, &listeners, to),
        Err(error) => to.unseen(format!("who listens: {error:#}")),
    }
    if loaded.enforced
        && let Some(Combination { what, advice }) = combinations::unbounded(&loaded.policy)
    {
        to.area("policy");
        to.warning(what, advice);
    }
    table::check(&source_table(loaded), to);
    let leases = leases(loaded)?;
    let online = tree.cpus("sys/devices/system/cpu/online").unwrap_or(1) as u32;
    table::budgets(&loaded.policy, &leases, clock::cpus() as u32, online, to);
    let now = clock::now();
    let (allowed, banned) = (loaded.maps.entries(List::Allow)?, loaded.maps.entries(List::Ban)?);
    let hosts = allowed.iter().chain(&banned).filter(|entry| entry.prefix.is_host()).count();
    let bans = banned.iter().filter(|entry| entry.expires > now).count();
    let (prefixes, expired) = (allowed.len() + banned.len() - hosts, banned.len() - bans);
    lists::check(lists::Lists { hosts, prefixes, bans, expired }, to);
    networks::check(&loaded.policy, &loaded.snapshot.concentrated, to);
    Ok(())
}

fn source_table(loaded: &Loaded) -> table::Table {
    let (snapshot, policy) = (&loaded.snapshot, &loaded.policy);
    let limits: BTreeMap<&str, f64> = policy
        .services
        .iter()
        .map(|service| {
            (service.name.as_str(), table::interval(service.source.unwrap_or(policy.source)))
        })
        .collect();
    let load = snapshot.services.iter().map(|service| {
        let charged = (service.attempts_per_second - service.refused_per_second).max(0.0);
        (charged, limits.get(service.name.as_str()).copied().unwrap_or(0.0))
    });
    let now = &snapshot.table;
    table::Table {
        ways: now.ways as u64,
        live: now.live as u64,
        steals: (now.steals, now.steals.saturating_sub(loaded.steals)),
        load: load.collect(),
    }
}

/// Tokens that a CPU draws at once from each budget.
fn leases(loaded: &Loaded) -> Result<Vec<(String, u32)>> {
    let mut leases = Vec::new();
    if !loaded.policy.budget.is_none() {
        let host = loaded.maps.host.get(&loaded.slot, 0).context("cannot read the policy")?.0;
        leases.push(("the host's budget".to_owned(), host.budget.lease as u32));
    }
    for record in
        loaded.maps.services(loaded.slot)?.values().filter(|record| !record.stated.budget.is_none())
    {
        let name = crate::policy::text::name(&record.name)
            .map(|name| name.to_string())
            .unwrap_or_default();
        leases.push((format!("the budget of {name}"), record.budget.lease as u32));
    }
    Ok(leases)
}
