//! What the kernel side saw: how many sources there are, which come most, and how near they come to their limits.

pub mod concentrated;
pub mod distinct;
pub mod heavy;
pub mod manners;
pub mod networks;
pub mod open;
pub mod ring;
pub mod sources;
pub mod suggest;
pub mod waiting;

pub use distinct::Distinct;
pub use heavy::{Heavy, Lately, Ranking};
pub use manners::Manners;
pub use ring::Ring;
pub use sources::Sources;
