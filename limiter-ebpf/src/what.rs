//! What is judged, in one number: a service in a policy slot, and flags beside it.

/// Beside [`pack_what`]: it only looks.
pub const PEEKS: u64 = 1 << 42;
/// Beside [`pack_what`]: it is a proof that pays.
pub const IS_PROOF: u64 = 1 << 40;

/// Slot and service id in one number.
#[inline(always)]
pub fn pack_what(slot: u32, id: u32) -> u64 {
    u64::from(slot) << 32 | u64::from(id)
}

/// What [`pack_what`] packed; flags beside it are of no matter.
#[inline(always)]
pub const fn unpack_what(what: u64) -> (u32, u32) {
    ((what >> 32 & 3) as u32, what as u32)
}
