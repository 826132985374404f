//! What a kernel must do with limiter before anything else: take its programs, and not complain; and
//! run it beside others, which this machine's may refuse.
//!
//! `cargo xtask kernels` runs this on every kernel that it knows, holds what it prints against a budget, and beside it the tests of tables,
//! limits and floods. Needs root.

mod dispatcher;
mod programs;
