//! The records in the maps: fixed layout, explicit padding, a size assertion beside each.
//!
//! What a policy or a counter gets in a later version goes into the `room` of its record, which is
//! zero until then; a new map needs no room, because `limiter upgrade` makes it. So the layout stays.

mod keys;
mod policy;
mod sizes;
mod state;

pub use keys::*;
pub use policy::*;
pub use sizes::*;
pub use state::*;
