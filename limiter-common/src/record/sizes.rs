//! How many there are of each, and where in a map.

use crate::class_tree::{MOST_CLASSES, PAIRS};

/// Services in a policy.
pub const SERVICES: u32 = 64;
/// Policy slots: one decides, one is what it goes back to, and one is free.
pub const SLOTS: u32 = 3;
/// address:port pairs of a policy.
pub const POLICY_LISTENERS: u32 = 4096;
/// address:port pairs in all slots together.
pub const LISTENERS: u32 = SLOTS * POLICY_LISTENERS;
/// Single addresses on the allow and ban lists.
pub const LIST_HOSTS: u32 = 1 << 20;
/// Prefixes on the allow and ban lists. Larger tries get slow, and slow to free.
pub const LIST_PREFIXES: u32 = 65_536;
/// Sets of the source table unless the loader is told otherwise: 4 MiB, half a million sources.
pub const DEFAULT_SETS: u32 = 65_536;
/// Index of the host's own budget, after those of the services.
pub const HOST_BUDGET: u32 = SERVICES;
/// Budgets of one kind: one of each service, and the host's.
const BUDGETS: u32 = SERVICES + 1;
/// First index of what passes to the kernel of unproven attempts, by service; at [`HOST_BUDGET`]
/// beyond it, the host's resets.
pub const UNPROVEN: u32 = BUDGETS;
/// Index of the host's resets per second.
pub const RESETS: u32 = UNPROVEN + HOST_BUDGET;
/// First index of what attempts that cannot be challenged may pass, by service.
pub const UNANSWERABLE: u32 = 2 * BUDGETS;
/// Index of what the host diverts to the waiting room.
pub const ROOM: u32 = UNANSWERABLE + HOST_BUDGET;
/// First index of what passes to the kernel of attempts in the name of those who are present in the
/// line, by service.
pub const PRESENT: u32 = 3 * BUDGETS;
/// Budgets of all kinds: each has a shared word, and on each CPU a lease.
pub const BUDGET_LINES: u32 = 4 * BUDGETS;
/// Longest name of a service, a class or a profile, in bytes.
pub const NAME: usize = 32;
/// Class records of a slot; number 0 is no class.
pub const CLASSES: u32 = MOST_CLASSES as u32 + 1;
/// Prefixes of all classes of a policy.
pub const CLASS_PREFIXES: u32 = 65_536;
/// IPv6 networks of 64 bits within which classes have longer prefixes, in a policy.
pub const CLASS_PAIRS: u32 = 2048;
/// Trees of a slot.
pub const CLASS_ROOTS: u32 = PAIRS + 2 * CLASS_PAIRS;
/// Limits of networks of a slot: one of each service, and one of each class.
pub const NETWORKS: u32 = SERVICES + CLASSES;
const _: () = assert!(CLASSES <= crate::hash::NETWORK);
/// Lines of all trees of a slot: two boundaries a prefix, the levels above them, and a line for each tree.
pub const CLASS_LINES: u32 = 24_576;
