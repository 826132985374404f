//! Names that the object file, the pins and the command share.

/// Version of the layout of maps and records. Pins of another version are refused, never guessed at.
pub const LAYOUT: u32 = 4;

/// The XDP program.
pub const PROGRAM: &str = "limiter";

/// Policy map: the switch word. One `u64`, memory-mapped by user space.
pub const SWITCH: &str = "SWITCH";
/// Policy map: what was fixed when the maps were made, `record::Instance`.
pub const INSTANCE: &str = "INSTANCE";
/// Policy map: `record::Host` of each slot.
pub const HOST: &str = "HOST";
/// Policy map: `record::Service`, at `slot * SERVICES + id`.
pub const SERVICE: &str = "SERVICE";
/// Policy map: `record::Port` by port number.
pub const PORT: &str = "PORT";
/// Policy map: service id by `record::ListenerKey`.
pub const LISTENER: &str = "LISTENER";
/// Policy map: `record::Class`, at `slot * CLASSES + id`.
pub const CLASS: &str = "CLASS";
/// Policy map: `class_tree::Root`, at `slot * CLASS_ROOTS + tree`.
pub const CLASS_ROOT: &str = "CLASS_ROOT";
/// Policy map: lines of keys, `CLASS_LINES` of each slot.
pub const CLASS_KEYS: &str = "CLASS_KEYS";
/// Policy map: lines of values, of the same numbers.
pub const CLASS_VALUES: &str = "CLASS_VALUES";
/// Policy map: `record::ClassPrefix`, at `slot * CLASS_PREFIXES + number`. Only user space reads it.
pub const CLASS_PREFIX: &str = "CLASS_PREFIX";
/// Policy map: `record::ListEntry` by `record::ListKey`, single addresses.
pub const LIST_HOST: &str = "LIST_HOST";
/// Policy map: `record::ListEntry` by longest prefix.
pub const LIST_PREFIX: &str = "LIST_PREFIX";
/// Policy map: `record::Kernel`.
pub const KERNEL: &str = "KERNEL";
/// State map: the source table, `record::Set`.
pub const SOURCES: &str = "SOURCES";
/// State map: tickets, `record::Set`.
pub const TICKETS: &str = "TICKETS";
/// State map: `record::ChallengeLine` by service, and of the host at `HOST_BUDGET`.
pub const CHALLENGE: &str = "CHALLENGE";
/// State map: the reply that a CPU is writing.
pub const REPLY: &str = "REPLY";
/// State map: connections that have just been let in by their ACK, per CPU.
pub const RECENT: &str = "RECENT";
/// State map: the shared words of the budgets, `record::BudgetLine`.
pub const BUDGET: &str = "BUDGET";
/// State map: `budget::Lease` of each budget, per CPU.
pub const LEASE: &str = "LEASE";
/// State map: `record::Counters`, per CPU; index 0 for what belongs to no service, else id + 1.
pub const COUNTER: &str = "COUNTER";
/// State map: sketches of how many sources there are, `distinct::WORDS` of each interval.
pub const DISTINCT: &str = "DISTINCT";
/// State map: counters of the sources that come most, `heavy::Set`, `heavy::SETS` of each kind, per CPU.
pub const HEAVY: &str = "HEAVY";
/// State map: refusals and steals, a ring of `sighting::Sighting`.
pub const EVENTS: &str = "EVENTS";
/// State map: attempts of a sample of the sources, such a ring too.
pub const ATTEMPTS: &str = "ATTEMPTS";
/// State map: the words that go with the rings, `sighting::line`.
pub const CLAIMS: &str = "CLAIMS";
/// State map: what an observing CPU keeps for itself, `record::Observer`.
pub const OBSERVER: &str = "OBSERVER";

/// Every map, as `(name, bytes of a key, bytes of a value)`: what an opened pin must look like.
pub const MAPS: [(&str, u32, u32); 28] = {
    use crate::class_tree::{FAN, Root};
    use crate::record::{
        self, BudgetLine, ChallengeLine, Class, ClassPrefix, Counters, Host, Instance, ListEntry, ListKey, ListenerKey,
        Port, Service, Set,
    };
    [
        (SWITCH, 4, 8),
        (INSTANCE, 4, size_of::<Instance>() as u32),
        (HOST, 4, size_of::<Host>() as u32),
        (SERVICE, 4, size_of::<Service>() as u32),
        (PORT, 4, size_of::<Port>() as u32),
        (LISTENER, size_of::<ListenerKey>() as u32, 4),
        (CLASS, 4, size_of::<Class>() as u32),
        (CLASS_ROOT, 4, size_of::<Root>() as u32),
        (CLASS_KEYS, 4, size_of::<[u64; FAN]>() as u32),
        (CLASS_VALUES, 4, size_of::<[u16; FAN]>() as u32),
        (CLASS_PREFIX, 4, size_of::<ClassPrefix>() as u32),
        (LIST_HOST, size_of::<ListKey>() as u32, size_of::<ListEntry>() as u32),
        (LIST_PREFIX, 4 + size_of::<ListKey>() as u32, size_of::<ListEntry>() as u32),
        (KERNEL, 4, size_of::<record::Kernel>() as u32),
        (SOURCES, 4, size_of::<Set>() as u32),
        (TICKETS, 4, size_of::<Set>() as u32),
        (CHALLENGE, 4, size_of::<ChallengeLine>() as u32),
        (REPLY, 4, size_of::<crate::reply::Draft>() as u32),
        (RECENT, 4, 8 * record::RECENT as u32),
        (BUDGET, 4, size_of::<BudgetLine>() as u32),
        (LEASE, 4, size_of::<crate::budget::Lease>() as u32),
        (COUNTER, 4, size_of::<Counters>() as u32),
        (DISTINCT, 4, 8 * crate::distinct::WORDS as u32),
        (HEAVY, 4, size_of::<crate::heavy::Set>() as u32),
        (EVENTS, 4, size_of::<crate::sighting::Sighting>() as u32),
        (ATTEMPTS, 4, size_of::<crate::sighting::Sighting>() as u32),
        (CLAIMS, 4, size_of::<BudgetLine>() as u32),
        (OBSERVER, 4, size_of::<record::Observer>() as u32),
    ]
};
