//! Names that the object file, the pins and the command share, and the table of the maps.

/// Version of the layout of maps and records. Pins of another version are refused, never guessed at.
pub const LAYOUT: u32 = 7;

/// The XDP program.
pub const PROGRAM: &str = "limiter";

/// The program that hands diverted connections to the waiting room, and its link.
pub const ROOM_PROGRAM: &str = "limiter_room";

/// The program that counts open connections, and its link.
pub const OPEN_PROGRAM: &str = "limiter_open";

/// The iterator that takes over those that are older than the count.
pub const ADOPT_PROGRAM: &str = "limiter_adopt";

/// The table of the maps: what is true of a map is said in its row and nowhere else. It calls the
/// macro `$with` with all of the rows, and so they become what [`MAPS`] says of an opened pin, the
/// statics of the object (`maps.rs` of limiter-ebpf) and what the command opens (`kernel/maps.rs` of
/// limiter).
///
/// A row is `NAME field: MapKind<Types>[entries]`. [`MapKind`] is a type of that name on both sides, and
/// the types of keys and values are looked up where the macro is called: words that CPUs share are
/// plain numbers here and something else in the kernel. The block says whose it is, see [`Owner`].
#[macro_export]
macro_rules! maps {
    ($with:ident) => {
        $with! {
            Policy {
                /// The switch word, which user space replaces with one store.
                SWITCH switch: Mapped<u64>[1];
                /// What was fixed when the maps were made.
                INSTANCE instance: Array<Instance>[1];
                /// The host part of each slot.
                HOST host: Array<Host>[SLOTS];
                /// Services, at `slot * SERVICES + id`.
                SERVICE service: Array<Service>[SLOTS * SERVICES];
                /// What is protected on each port. An array, because that costs 2 ns where a hash
                /// costs 15.
                PORT port: Array<Port>[65_536];
                /// Service ids of address:port pairs.
                LISTENER listener: HashMap<ListenerKey, u32>[LISTENERS];
                /// Classes, at `slot * CLASSES + id`.
                CLASS class: Array<Class>[SLOTS * CLASSES];
                /// The trees that find a client's class, at `slot * CLASS_ROOTS + tree`. Mapped, as
                /// are their lines: a slot with fifty thousand prefixes is written in milliseconds.
                CLASS_ROOT class_root: Mapped<Root>[SLOTS * CLASS_ROOTS];
                /// Their keys, a cache line each: `CLASS_LINES` of each slot.
                CLASS_KEYS class_keys: Mapped<[u64; FAN]>[SLOTS * CLASS_LINES];
                /// The values of the keys.
                CLASS_VALUES class_values: Mapped<[u16; FAN]>[SLOTS * CLASS_LINES];
                /// The prefixes as stated, at `slot * CLASS_PREFIXES + number`. Only user space
                /// reads them.
                CLASS_PREFIX class_prefix: Mapped<ClassPrefix>[SLOTS * CLASS_PREFIXES];
                /// Limits of networks, and what services try, at `slot * NETWORKS + index`: of
                /// services, then of classes.
                NETWORK network: Array<Network>[SLOTS * NETWORKS];
                /// Single addresses that are allowed or banned.
                LIST_HOST list_host: HashMap<ListKey, ListEntry>[LIST_HOSTS];
                /// Prefixes that are allowed or banned.
                LIST_PREFIX list_prefix: LpmTrie<ListKey, ListEntry>[LIST_PREFIXES];
                /// The kernel's settings that a challenge depends on.
                KERNEL kernel: Array<Kernel>[1];
                /// The waiting room's listening sockets, by the port of the service for which they
                /// stand in. The kernel takes one out when it is closed.
                ROOM room: SockHash<u32>[64];
                /// What is counted of open connections, and as what.
                COUNTING counting: Array<Counting>[1];
                /// What the kernel says in SYN-ACKs of its own, `reply::Own`: at service id * 2, and
                /// + 1 over IPv6.
                OWN own: Array<u64>[SERVICES * 2];
                /// What is in force of the budgets' rates instead of what the policy states, until
                /// the time in each word, by the indices of the budgets.
                SHARE share: Mapped<u64>[share::WORDS];
                /// Likewise of places: of users and of open connections.
                PLACES places: Mapped<u64>[share::PLACES];
            }
            State {
                /// The source table.
                SOURCES sources: Table<SourceSet>[DEFAULT_SETS];
                /// What the lines keep of sources, in as many sets.
                VISITS visits: Table<SourceSet>[DEFAULT_SETS];
                /// The lines by service.
                LINE line: Aligned<Line>[SERVICES];
                /// Who is present, by service, where that is bounded.
                SEATS seats: Aligned<Seats>[SERVICES];
                /// Challenges by service.
                CHALLENGE challenge: Aligned<ChallengeLine>[SERVICES];
                /// The shared words of the budgets, by the indices of `record`.
                BUDGET budget: Aligned<BudgetLine>[BUDGET_LINES];
                /// What a CPU holds of each budget.
                LEASE lease: PerCpuArray<Lease>[BUDGET_LINES];
                /// Counters of a CPU; index 0 for what belongs to no service, else id + 1.
                COUNTER counter: PerCpuArray<Counters>[SERVICES + 1];
                /// How many sources there are, by interval.
                DISTINCT distinct: Mapped<Sketches>[distinct::INTERVALS];
                /// The sources that come most, at `kind * SETS + set`.
                HEAVY heavy: PerCpuArray<HeavySet>[heavy::KINDS * heavy::SETS];
                /// The ring of refusals and steals.
                EVENTS events: Mapped<Sighting>[sighting::EVENTS];
                /// The ring of attempts of a sample of the sources.
                ATTEMPTS attempts: Mapped<Sighting>[sighting::ATTEMPTS];
                /// The words that go with the rings, `sighting::line`.
                CLAIMS claims: Mapped<BudgetLine>[sighting::line::LINES];
                /// What a CPU keeps for itself while it observes.
                OBSERVER observer: PerCpuArray<Observer>[1];
                /// Open connections by source, in as many sets as the source table.
                OPEN open: Table<SourceSet>[DEFAULT_SETS];
                /// Open connections by service, and at `SERVICES` those of the host.
                OPENS opens: Aligned<Opens>[SERVICES + 1];
            }
            Scratch {
                /// The reply that a CPU is writing: it does not fit on the stack.
                REPLY reply: PerCpuArray<Draft>[1];
                /// Flows that brought a cookie back.
                FLOWS flows: Aligned<SourceSet>[flow::SETS];
                /// Until when any flow may wait, in its first word, or be diverted, in its second.
                WAITS waits: Aligned<SourceSet>[1];
                /// Flows that go to the waiting room.
                DIVERTED diverted: Aligned<SourceSet>[room::SETS];
                /// Debts of sources to limits that are tried.
                SHADOWED shadowed: Aligned<SourceSet>[shadow::SETS];
                /// What a CPU knows of the cookies of flows.
                BASES bases: PerCpuArray<Bases>[bases::LINES];
                /// What a CPU works with while it judges one who comes to a line.
                LINE_DRAFT line_draft: PerCpuArray<LineDraft>[1];
                /// A segment whose checksum is computed.
                SUMMED summed: PerCpuArray<[u32; checksum::WORDS]>[1];
                /// What a connection was counted as, at its socket. The kernel makes a record when
                /// it is counted, and frees it with the socket.
                OPENED opened: SkStorage<Opened>[0];
            }
        }
    };
}

/// Who writes a map. Never both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// User space writes it, the kernel side reads it.
    Policy,
    /// The kernel side writes it, user space reads it, and clears it for a service that gets the id
    /// of another.
    State,
    /// The kernel side's own: the command pins it and never opens it.
    Scratch,
}

/// What a map is to the kernel, and how user space gets at its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// An array.
    Array,
    /// An array whose values start on a page, so that one of 64 bytes is one cache line.
    Aligned,
    /// Such an array, and user space maps it: it is read without a call, and a word of it replaced
    /// with one store.
    Mapped,
    /// The same, with as many entries as the loader wants.
    Table,
    /// An array of each CPU.
    PerCpuArray,
    /// A hash, whose entries are made when they are needed.
    HashMap,
    /// A trie that finds the longest prefix.
    LpmTrie,
    /// A hash of sockets, which user space hands over as descriptors.
    SockHash,
    /// A record at each socket that has one.
    SkStorage,
}

impl MapKind {
    /// Whether it has the flag BPF_F_MMAPABLE.
    pub const fn is_mappable(self) -> bool {
        matches!(self, Self::Aligned | Self::Mapped | Self::Table)
    }
}

/// One row of the table: what an opened pin must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Name of the map, and of its pin.
    pub name: &'static str,
    /// Who writes it.
    pub owner: Owner,
    /// What it is.
    pub kind: MapKind,
    /// Bytes of a key.
    pub key: u32,
    /// Bytes of a value.
    pub value: u32,
    /// Entries at most; of a [`MapKind::Table`] unless the loader is told otherwise.
    pub entries: u32,
}

impl Row {
    /// `sizes`: of the value, or of key and value.
    const fn new(
        name: &'static str,
        owner: Owner,
        kind: MapKind,
        sizes: &[usize],
        entries: u32,
    ) -> Self {
        let (key, value) = match (kind, sizes) {
            (MapKind::HashMap, [key, value]) => (*key, *value),
            (MapKind::SockHash, [key]) => (*key, size_of::<u32>()),
            // Before the key stands the length of the prefix.
            (MapKind::LpmTrie, [key, value]) => (size_of::<u32>() + *key, *value),
            // Its key is a descriptor.
            (MapKind::SkStorage, [value]) => (size_of::<i32>(), *value),
            (MapKind::HashMap | MapKind::LpmTrie, _) => panic!("a key and a value"),
            (_, [value]) => (size_of::<u32>(), *value),
            _ => panic!("a value"),
        };
        Self { name, owner, kind, key: key as u32, value: value as u32, entries }
    }

    /// The row of the map with this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        MAPS.iter().find(|row| row.name == name)
    }
}

macro_rules! rows {
    ($($owner:ident {
        $($(#[$doc:meta])* $name:ident $field:ident: $kind:ident<$($type:ty),+>[$entries:expr];)*
    })*) => {
        $($($(#[$doc])* pub const $name: &str = stringify!($name);)*)*

        /// Every map.
        pub const MAPS: &[Row] = {
            use table::*;
            &[$($(
                Row::new(stringify!($name), Owner::$owner, MapKind::$kind, &[$(size_of::<$type>()),+], $entries),
            )*)*]
        };

        /// Entries of each map, for the object.
        pub mod entries {
            use super::table::*;
            $($($(#[$doc])* pub const $name: usize = $entries as usize;)*)*
        }
    };
}
crate::maps!(rows);

/// What the rows name.
mod table {
    pub use crate::bases::Bases;
    pub use crate::budget::Lease;
    pub use crate::class_tree::{FAN, Root};
    pub use crate::heavy::Set as HeavySet;
    pub use crate::record::{Set as SourceSet, *};
    pub use crate::reply::Draft;
    pub use crate::sighting::Sighting;
    pub use crate::turn::Draft as LineDraft;
    pub use crate::{bases, checksum, distinct, flow, heavy, room, shadow, share, sighting};

    /// The sketches of an interval.
    pub type Sketches = [u64; distinct::WORDS];
}
