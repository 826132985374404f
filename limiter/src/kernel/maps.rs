//! The maps, opened from their pins and checked: an unexpected size is refused, never guessed at.

use std::os::fd::AsFd as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use aya::Pod;
use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapInfo, MapType, PerCpuArray};
use limiter_common::budget::Lease;
use limiter_common::distinct;
use limiter_common::heavy::Set;
use limiter_common::names;
use limiter_common::record::{
    BudgetLine, ChallengeLine, Class, Counters, Host, Instance, Kernel, ListEntry, ListKey, ListenerKey, Observer,
    Port, Service,
};
use limiter_common::sighting::{self, Sighting, line};
use limiter_common::source_table::WAYS;
use limiter_common::switch::Switch;

use super::capability;
use super::mapped::{Access, Words};

/// Words of an entry of a ring.
const RECORD: usize = size_of::<Sighting>() / 8;
/// Words from one line of [`Maps::claims`] to the next.
pub const CLAIM: usize = size_of::<BudgetLine>() / 8;

/// From linux/bpf.h: user space may map it.
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// A record of `limiter_common` as aya moves it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Raw<T>(pub T);

macro_rules! records {
    ($($record:ty),*) => {
        // SAFETY: repr(C) with explicit padding: every byte is initialised, and every bit pattern is a value.
        $(unsafe impl Pod for Raw<$record> {})*
    };
}
records!(
    Instance,
    Host,
    Service,
    Port,
    ListenerKey,
    ListKey,
    ListEntry,
    BudgetLine,
    Lease,
    Counters,
    Kernel,
    ChallengeLine,
    Class,
    Set,
    Observer
);

/// Every map of a limiter.
pub struct Maps {
    switch: MapData,
    sources: MapData,
    tickets: MapData,
    sets: u32,
    distinct: MapData,
    events: MapData,
    attempts: MapData,
    claims: MapData,
    pub(super) class_root: MapData,
    pub(super) class_keys: MapData,
    pub(super) class_values: MapData,
    pub(super) class_prefix: MapData,
    /// See [`names::CLASS`].
    pub class: Array<MapData, Raw<Class>>,
    /// See [`names::INSTANCE`].
    pub instance: Array<MapData, Raw<Instance>>,
    /// See [`names::HOST`].
    pub host: Array<MapData, Raw<Host>>,
    /// See [`names::SERVICE`].
    pub service: Array<MapData, Raw<Service>>,
    /// See [`names::PORT`].
    pub port: Array<MapData, Raw<Port>>,
    /// See [`names::LISTENER`].
    pub listener: HashMap<MapData, Raw<ListenerKey>, u32>,
    /// See [`names::LIST_HOST`].
    pub list_host: HashMap<MapData, Raw<ListKey>, Raw<ListEntry>>,
    /// See [`names::LIST_PREFIX`].
    pub list_prefix: LpmTrie<MapData, Raw<ListKey>, Raw<ListEntry>>,
    /// See [`names::KERNEL`].
    pub kernel: Array<MapData, Raw<Kernel>>,
    /// See [`names::CHALLENGE`].
    pub challenge: Array<MapData, Raw<ChallengeLine>>,
    /// See [`names::BUDGET`].
    pub budget: Array<MapData, Raw<BudgetLine>>,
    /// See [`names::LEASE`].
    pub lease: PerCpuArray<MapData, Raw<Lease>>,
    /// See [`names::COUNTER`].
    pub counter: PerCpuArray<MapData, Raw<Counters>>,
    /// See [`names::HEAVY`].
    pub heavy: PerCpuArray<MapData, Raw<Set>>,
    /// See [`names::OBSERVER`].
    pub observer: PerCpuArray<MapData, Raw<Observer>>,
}

impl Maps {
    /// Opens all maps pinned in `directory`.
    ///
    /// # Errors
    /// When one is missing or is not what this version expects.
    pub fn open(directory: &Path) -> Result<Self> {
        let open = |name: &str| -> Result<Map> { Ok(Map::from_map_data(checked(directory, name)?)?) };
        let sources = checked(directory, names::SOURCES)?;
        let sets = sources.info()?.max_entries();
        let maps = Self {
            switch: checked(directory, names::SWITCH)?,
            sources,
            tickets: checked(directory, names::TICKETS)?,
            sets,
            distinct: checked(directory, names::DISTINCT)?,
            events: checked(directory, names::EVENTS)?,
            attempts: checked(directory, names::ATTEMPTS)?,
            claims: checked(directory, names::CLAIMS)?,
            class_root: checked(directory, names::CLASS_ROOT)?,
            class_keys: checked(directory, names::CLASS_KEYS)?,
            class_values: checked(directory, names::CLASS_VALUES)?,
            class_prefix: checked(directory, names::CLASS_PREFIX)?,
            class: open(names::CLASS)?.try_into()?,
            instance: open(names::INSTANCE)?.try_into()?,
            host: open(names::HOST)?.try_into()?,
            service: open(names::SERVICE)?.try_into()?,
            port: open(names::PORT)?.try_into()?,
            listener: open(names::LISTENER)?.try_into()?,
            list_host: open(names::LIST_HOST)?.try_into()?,
            list_prefix: open(names::LIST_PREFIX)?.try_into()?,
            kernel: open(names::KERNEL)?.try_into()?,
            challenge: open(names::CHALLENGE)?.try_into()?,
            budget: open(names::BUDGET)?.try_into()?,
            lease: open(names::LEASE)?.try_into()?,
            counter: open(names::COUNTER)?.try_into()?,
            heavy: open(names::HEAVY)?.try_into()?,
            observer: open(names::OBSERVER)?.try_into()?,
        };
        Ok(maps)
    }

    /// The switch as it is now.
    ///
    /// # Errors
    /// When its map cannot be mapped.
    pub fn switch(&self) -> Result<Switch> {
        let words = Words::map(self.switch.fd().as_fd(), 1, Access::Read)?;
        Ok(Switch(words.get(0).unwrap_or(0)))
    }

    /// Replaces the switch, for every CPU at once.
    ///
    /// # Errors
    /// When its map cannot be mapped.
    pub fn set_switch(&self, switch: Switch) -> Result<()> {
        Words::map(self.switch.fd().as_fd(), 1, Access::Write)?.store(0, switch.0);
        Ok(())
    }

    /// Sets of the source table.
    pub const fn sets(&self) -> u32 {
        self.sets
    }

    /// The ways of the source table.
    ///
    /// # Errors
    /// When its map cannot be mapped.
    pub fn ways(&self) -> Result<Words<'_>> {
        Words::map(self.sources.fd().as_fd(), self.sets as usize * WAYS, Access::Read)
    }

    /// The ways of the table of tickets.
    ///
    /// # Errors
    /// When its map cannot be mapped.
    pub fn ticket_ways(&self) -> Result<Words<'_>> {
        Words::map(self.tickets.fd().as_fd(), self.sets as usize * WAYS, Access::Read)
    }

    /// The sketches: [`distinct::WORDS`] of each interval.
    ///
    /// # Errors
    /// When its map cannot be mapped.
    pub fn sketches(&self) -> Result<Words<'_>> {
        Words::map(self.distinct.fd().as_fd(), distinct::WORDS * distinct::INTERVALS as usize, Access::Read)
    }

    /// The ring of events.
    ///
    /// # Errors
    /// When its map cannot be mapped.
    pub fn events(&self) -> Result<Words<'_>> {
        Words::map(self.events.fd().as_fd(), RECORD * sighting::EVENTS as usize, Access::Read)
    }

    /// The ring of attempts.
    ///
    /// # Errors
    /// When its map cannot be mapped.
    pub fn attempts(&self) -> Result<Words<'_>> {
        Words::map(self.attempts.fd().as_fd(), RECORD * sighting::ATTEMPTS as usize, Access::Read)
    }

    /// The words that go with the rings: [`line`] times [`CLAIM`].
    ///
    /// # Errors
    /// When its map cannot be mapped.
    pub fn claims(&self) -> Result<Words<'_>> {
        Words::map(self.claims.fd().as_fd(), CLAIM * line::LINES as usize, Access::Read)
    }
}

fn checked(directory: &Path, name: &str) -> Result<MapData> {
    let path = directory.join(name);
    let data = MapData::from_pin(&path).map_err(|error| explain(error.into(), &path))?;
    let info = data.info()?;
    check(&path, name, &info)?;
    Ok(data)
}

fn explain(error: anyhow::Error, path: &Path) -> anyhow::Error {
    let path = path.display();
    if capability::is_refusal(&error) && capability::missing().is_some() {
        return error.context(format!("cannot open {path}: {}", capability::advice()));
    }
    error.context(format!("cannot open {path}; if it is gone, `limiter detach --all` and attach again"))
}

fn check(path: &Path, name: &str, info: &MapInfo) -> Result<()> {
    let expected =
        names::MAPS.iter().find(|(expected, ..)| *expected == name).context("a map that is not in the layout")?;
    let (_, key, value) = *expected;
    let (kind, mapped) = kind(name);
    let is_mapped = info.map_flags() & BPF_F_MMAPABLE != 0;
    ensure!(
        info.map_type().is_ok_and(|found| found == kind) && (is_mapped || !mapped),
        "{} is not the kind of map that this limiter expects: it was loaded by another version, or something else was put there; \
         use that version, or `limiter detach --all` and attach again",
        path.display(),
    );
    ensure!(
        info.key_size() == key && info.value_size() == value,
        "{} has keys of {} and values of {} bytes, and this limiter expects {key} and {value}: it was loaded by another version; \
         use that one, or `limiter detach --all` and attach again",
        path.display(),
        info.key_size(),
        info.value_size(),
    );
    Ok(())
}

/// What kind of map it is, and whether user space maps it into memory.
fn kind(name: &str) -> (MapType, bool) {
    match name {
        names::LISTENER | names::LIST_HOST => (MapType::Hash, false),
        names::LIST_PREFIX => (MapType::LpmTrie, false),
        names::LEASE | names::COUNTER | names::RECENT | names::REPLY | names::HEAVY | names::OBSERVER => {
            (MapType::PerCpuArray, false)
        }
        names::SWITCH
        | names::SOURCES
        | names::TICKETS
        | names::CLASS_ROOT
        | names::CLASS_KEYS
        | names::CLASS_VALUES
        | names::CLASS_PREFIX
        | names::DISTINCT
        | names::EVENTS
        | names::ATTEMPTS
        | names::CLAIMS => (MapType::Array, true),
        _ => (MapType::Array, false),
    }
}
