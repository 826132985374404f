//! The maps, opened from their pins and checked: what is not as its row says is refused, never guessed at.

use std::ffi::CString;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use aya::Pod;
use aya::maps::{self, Map, MapData, MapError, MapInfo, MapType};
use limiter_common::budget::Lease;
use limiter_common::class_tree::{FAN, Root};
use limiter_common::distinct;
use limiter_common::heavy::Set as HeavySet;
use limiter_common::names::{self, MapKind, Row};
use limiter_common::record::{
    BudgetLine, ChallengeLine, Class, ClassPrefix, Counters, Counting, Host, Instance, Kernel,
    Line, ListEntry, ListKey, ListenerKey, Network, Observer, Opens, Port, Seats, Service,
    Set as SourceSet,
};
use limiter_common::sighting::Sighting;
use limiter_common::switch::{Lists, Switch};

use super::capability;
use super::words::{Access, Mapped};

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
    u32,
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
    Counting,
    ChallengeLine,
    Line,
    Seats,
    Class,
    HeavySet,
    Network,
    u64,
    Observer
);

// What the kinds of the table are here.
pub(super) type Array<T> = maps::Array<MapData, Raw<T>>;
type Aligned<T> = Array<T>;
type Table<T> = Mapped<T>;
type PerCpuArray<T> = maps::PerCpuArray<MapData, Raw<T>>;
type HashMap<K, V> = maps::HashMap<MapData, Raw<K>, Raw<V>>;
type LpmTrie<K, V> = maps::LpmTrie<MapData, Raw<K>, Raw<V>>;
type SockHash<K> = maps::SockHash<MapData, Raw<K>>;
type Sketches = [u64; distinct::WORDS];

macro_rules! opened {
    (Policy { $($policy:tt)* } State { $($state:tt)* } Scratch { $($scratch:tt)* }) => {
        opened! { $($policy)* $($state)* }
    };
    ($($(#[$doc:meta])* $name:ident $field:ident: $kind:ident<$($type:ty),+>[$entries:expr];)*) => {
        /// Every map of a limiter that user space looks at.
        pub struct Maps {
            $($(#[$doc])* pub $field: $kind<$($type),+>,)*
        }

        impl Maps {
            /// Opens all maps pinned in `directory`.
            ///
            /// # Errors
            /// When one is missing or is not what this version expects.
            pub fn open(directory: &Path) -> Result<Self> {
                Ok(Self { $($field: open(directory, names::$name)?,)* })
            }

            /// The same, for a process that gives up its rights and may only look: the kernel
            /// refuses it every change, of what it has mapped too.
            ///
            /// # Errors
            /// As [`Maps::open`].
            pub fn look(directory: &Path) -> Result<Self> {
                Ok(Self { $($field: Look::look(directory, names::$name)?,)* })
            }
        }
    };
}
limiter_common::maps!(opened);

impl Maps {
    /// The switch as it is now. What another program wrote there may name a slot that does not
    /// exist, with which every packet passes: that is the first one here, so that a command can
    /// make it good.
    ///
    /// # Errors
    /// When its map cannot be mapped.
    pub fn switch(&self) -> Result<Switch> {
        Ok(Switch(self.switch.words(Access::Read)?.get(0).unwrap_or(0)).of_slots())
    }

    /// Replaces the switch, for every CPU at once; all of it but which lists hold anything, which
    /// whoever changes a list says meanwhile.
    ///
    /// # Errors
    /// When its map cannot be mapped.
    pub fn set_switch(&self, switch: Switch) -> Result<()> {
        self.switch.words(Access::Write)?.update(0, |old| switch.with_lists(Switch(old).lists()).0);
        Ok(())
    }

    /// Says in the switch which lists hold anything, and leaves the rest of it to those who change
    /// that.
    ///
    /// # Errors
    /// When its map cannot be mapped.
    pub fn change_lists(&self, change: impl Fn(Lists) -> Lists) -> Result<()> {
        let changed = |old: u64| Switch(old).with_lists(change(Switch(old).lists())).0;
        self.switch.words(Access::Write)?.update(0, changed);
        Ok(())
    }

    /// Sets of the source table.
    pub const fn sets(&self) -> u32 {
        self.sources.entries()
    }
}

pub(super) fn open<M: TryFrom<Map, Error = MapError>>(directory: &Path, name: &str) -> Result<M> {
    let path = directory.join(name);
    let data = MapData::from_pin(&path).map_err(|error| explain(error.into(), &path))?;
    checked(data, &path, name)
}

/// A map that a process may only look at.
trait Look: Sized {
    /// Opens it by its pin.
    fn look(directory: &Path, name: &str) -> Result<Self>;
}

impl<T> Look for Mapped<T> {
    fn look(directory: &Path, name: &str) -> Result<Self> {
        open::<Self>(directory, name)?.look()
    }
}

macro_rules! looked_at {
    ($($kind:ident<$($type:ident),+>;)*) => {
        $(impl<$($type),+> Look for $kind<$($type),+>
        where
            $(Raw<$type>: Pod,)+
            Self: TryFrom<Map, Error = MapError>,
        {
            fn look(directory: &Path, name: &str) -> Result<Self> {
                let path = directory.join(name);
                checked(read_only(&path)?, &path, name)
            }
        })*
    };
}
looked_at! {
    Array<T>;
    PerCpuArray<T>;
    HashMap<K, V>;
    LpmTrie<K, V>;
    SockHash<K>;
}

/// A pinned map, with a descriptor that may only read; aya has none.
fn read_only(path: &Path) -> Result<MapData> {
    let descriptor = pinned(path, BPF_F_RDONLY)?;
    MapData::from_fd(descriptor).with_context(|| format!("cannot look at {}", path.display()))
}

/// The descriptor of a pinned map, program or link.
///
/// # Errors
/// When nothing is pinned there, or it may not be opened so.
pub(super) fn pinned(path: &Path, flags: u32) -> Result<OwnedFd> {
    let text = CString::new(path.as_os_str().as_bytes())
        .with_context(|| format!("{} holds a zero byte", path.display()))?;
    let attributes = Pinned { path: text.as_ptr() as u64, descriptor: 0, flags };
    // SAFETY: the attributes are those of this call, and the path outlives it.
    let descriptor = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, &raw const attributes, size_of::<Pinned>())
    };
    match RawFd::try_from(descriptor) {
        // SAFETY: it is new, and nobody else's.
        Ok(descriptor @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(explain(std::io::Error::last_os_error().into(), path)),
    }
}

/// From linux/bpf.h: the call, its attributes, and that it may not be written.
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_F_RDONLY: u32 = 1 << 3;

#[repr(C)]
struct Pinned {
    path: u64,
    descriptor: u32,
    flags: u32,
}

fn checked<M: TryFrom<Map, Error = MapError>>(data: MapData, path: &Path, name: &str) -> Result<M> {
    check(path, name, &data.info()?)?;
    Ok(Map::from_map_data(data)?.try_into()?)
}

fn explain(error: anyhow::Error, path: &Path) -> anyhow::Error {
    let (exists, path) = (path.symlink_metadata().is_ok(), path.display());
    if capability::is_refusal(&error) && capability::missing().is_some() {
        return error.context(format!("cannot open {path}: {}", capability::advice()));
    }
    if !exists {
        let words = "an older version has no such map, and `limiter upgrade` makes it; or an \
                     operator or a program removed it, and then `limiter detach --all` and attach \
                     again";
        return error.context(format!("cannot open {path}, which is missing: {words}"));
    }
    error.context(format!("cannot open {path}: {ELSE}"))
}

fn check(path: &Path, name: &str, info: &MapInfo) -> Result<()> {
    let row = Row::find(name).with_context(|| format!("no map of the layout is called {name}"))?;
    let mapped = info.map_flags() & BPF_F_MMAPABLE != 0;
    ensure!(
        info.map_type().is_ok_and(|found| found == map_type(row.kind))
            && mapped == row.kind.is_mappable(),
        "{} is not the kind of map that this limiter expects: {ELSE}",
        path.display(),
    );
    let entries = if row.kind == MapKind::Table { info.max_entries() } else { row.entries };
    let expected = (entries, row.key, row.value);
    let found = (info.max_entries(), info.key_size(), info.value_size());
    let words = |(entries, key, value)| {
        format!("{entries} entries with keys of {key} and values of {value} bytes")
    };
    ensure!(
        found == expected,
        "{} has {}, and this limiter expects {}: {ELSE}",
        path.display(),
        words(found),
        words(expected),
    );
    Ok(())
}

const ELSE: &str = "another version loaded it, or something else was put there; use that version, or \
                    `limiter detach --all` and attach again";

const fn map_type(kind: MapKind) -> MapType {
    match kind {
        MapKind::Array | MapKind::Aligned | MapKind::Mapped | MapKind::Table => MapType::Array,
        MapKind::PerCpuArray => MapType::PerCpuArray,
        MapKind::HashMap => MapType::Hash,
        MapKind::LpmTrie => MapType::LpmTrie,
        MapKind::SockHash => MapType::SockHash,
        MapKind::SkStorage => MapType::SkStorage,
    }
}
