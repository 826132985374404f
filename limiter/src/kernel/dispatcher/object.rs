//! The object files: a dispatcher for so many components, and limiter as one of them.

use std::borrow::Cow;

use anyhow::{Context as _, Result, bail};
use aya::programs::{Extension, ProgramFd, Xdp};
use aya::{Ebpf, EbpfLoader};
use limiter_common::names;

use super::config::{Config, FRAGS, Terms};
use crate::kernel::object::{OBJECT, explain, over_pins};
use crate::kernel::pins::Pins;

/// The name of a dispatcher's program, by which libxdp knows it.
pub const NAME: &str = "xdp_dispatcher";
/// limiter as a component: before others, which see what it passes.
pub const TERMS: Terms = Terms { actions: 1 << PASS, priority: 5, flags: FRAGS };
const PASS: u32 = 2;

macro_rules! objects {
    ($($name:ident $file:literal)*) => {
        $(static $name: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/", $file));)*
    };
}
objects! {
    TWO "dispatcher-2"
    TWO_FRAGS "dispatcher-2-frags"
    THREE "dispatcher-3"
    THREE_FRAGS "dispatcher-3-frags"
}

/// Loads a dispatcher. It runs nothing yet, and is attached to nothing.
pub fn dispatcher(config: &Config) -> Result<Ebpf> {
    let bytes = config.bytes();
    let object = match (config.version, config.takes_frags()) {
        (2, false) => TWO,
        (2, true) => TWO_FRAGS,
        (3, false) => THREE,
        (3, true) => THREE_FRAGS,
        (other, _) => bail!("limiter has no dispatcher of version {other}"),
    };
    let mut ebpf = EbpfLoader::new()
        .override_global("conf", bytes.as_slice(), true)
        .load(object)
        .map_err(|error| explain(error.into()))?;
    program(&mut ebpf)?.load().map_err(|error| explain(error.into()))?;
    Ok(ebpf)
}

/// Its program.
pub fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    Ok(ebpf.program_mut(NAME).context("the object holds no dispatcher")?.try_into()?)
}

/// Loads limiter over the pinned maps as a component, which runs in no dispatcher yet. One serves any
/// number of them.
pub fn component(pins: &Pins) -> Result<Ebpf> {
    // It is held against one, and may then run in all that are like it.
    let mut like = dispatcher(&Config { version: 2, components: vec![TERMS] })?;
    let like: ProgramFd = program(&mut like)?.fd()?.try_clone()?;
    let object = without_adjust_tail(OBJECT);
    let mut loader = EbpfLoader::new();
    loader.extension(names::PROGRAM);
    let mut ebpf = over_pins(&mut loader, pins, &object)?;
    extension(&mut ebpf)?.load(like, "prog0").map_err(|error| explain(error.into())).context(
        "the kernel takes no program as a component of a dispatcher: it needs Linux 5.10 or newer on \
         x86-64 or arm64, and some machines forbid it; nothing was attached",
    )?;
    Ok(ebpf)
}

/// limiter's program in an object that was loaded as a component.
pub fn extension(ebpf: &mut Ebpf) -> Result<&mut Extension> {
    Ok(ebpf.program_mut(names::PROGRAM).context("the object holds no program")?.try_into()?)
}

/// `call bpf_xdp_adjust_tail` and `r0 = 0`, as instructions.
const CALL: [u8; 8] = [0x85, 0, 0, 0, 65, 0, 0, 0];
const NOTHING: [u8; 8] = [0xb7, 0, 0, 0, 0, 0, 0, 0];

/// The object, but nothing in it changes the length of a frame.
///
/// Where a component does, the dispatcher's functions must too (Linux 6.13, and 6.12 from .26 on), and
/// those of libxdp before 1.5.5 do not: a neighbour that uses it could not come in beside limiter.
/// Only `answer.rs` calls it, only to cut off what is behind an answer: a receiver does that itself, by
/// IP's length (RFC 894).
fn without_adjust_tail(object: &[u8]) -> Cow<'_, [u8]> {
    let mut object = object.to_vec();
    for instruction in object.chunks_exact_mut(CALL.len()).filter(|bytes| **bytes == CALL) {
        instruction.copy_from_slice(&NOTHING);
    }
    object.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often an object's programs call the helper, as its instructions say.
    fn calls(object: &[u8]) -> usize {
        let object = aya_obj::Object::parse(object).expect("an object");
        let instructions = object.functions.values().flat_map(|function| &function.instructions);
        instructions.filter(|one| (one.code, one.src_reg(), one.imm) == (0x85, 0, 65)).count()
    }

    #[test]
    fn a_component_does_not_change_lengths() {
        let changed = without_adjust_tail(OBJECT);
        assert!(calls(OBJECT) > 0 && calls(&changed) == 0);
        let differing = OBJECT.iter().zip(changed.iter()).filter(|(one, other)| one != other);
        // The opcode and the number of the helper; nothing else happens to look like a call.
        assert_eq!(differing.count(), 2 * calls(OBJECT));
        assert_eq!(OBJECT.len(), changed.len());
    }

    #[test]
    fn every_stub_changes_lengths() {
        for object in [TWO, TWO_FRAGS, THREE, THREE_FRAGS] {
            assert_eq!(calls(object), super::super::config::SLOTS);
        }
    }
}
