//! The dispatcher that an interface runs: whether it is one, which, and of what components.

use anyhow::{Context as _, Result, bail};
use aya::maps::{Array, Map, MapData, MapInfo};
use aya::programs::{ProgramFd, ProgramInfo};

use super::config::{Config, Unknown, VERSIONS};
use super::directory::Pinned;
use super::object;
use crate::kernel::interface::{Attachment, Interface};

/// From linux/bpf.h: programs only read the map.
const BPF_F_RDONLY_PROG: u32 = 1 << 7;

/// A dispatcher that runs on an interface.
pub struct Running {
    /// Its directory.
    pub place: Pinned,
    /// Its program.
    pub program: ProgramFd,
    /// Where it runs.
    pub attachment: Attachment,
    /// Its components.
    pub config: Config,
}

impl Running {
    /// The one on an interface, if there is any program.
    ///
    /// # Errors
    /// When what is there is no dispatcher, or one that limiter does not know: which.
    pub fn on(interface: &Interface) -> Result<Option<Self>> {
        let name = &interface.name;
        let Some((id, attachment)) = interface.program else { return Ok(None) };
        let program =
            program(id).with_context(|| format!("cannot look at XDP program {id} on {name}"))?;
        let config =
            if program.name_as_str() == Some(object::NAME) { read(&program) } else { None };
        let config = match config {
            Some(Ok(config)) => config,
            Some(Err(unknown)) => bail!(
                "the dispatcher on {name} (id {id}) is {unknown}, and limiter speaks versions {} and {}: it \
                 stays as it is; unload it with the tool that put it there, and attach again",
                VERSIONS[0],
                VERSIONS[1]
            ),
            None => bail!(
                "{name} already runs the XDP program `{}` (id {id}), which is no dispatcher of libxdp: it \
                 stays as it is; remove it with the tool that put it there, and attach again",
                program.name_as_str().unwrap_or_default()
            ),
        };
        let place = Pinned { index: interface.index, id };
        Ok(Some(Self { place, program: program.fd()?, attachment, config }))
    }
}

/// What is to be said of a dispatcher: that limiter can join it, or why it cannot. `None`: the program
/// with this id is no dispatcher, or nobody may look at it.
pub fn described(id: u32) -> Option<Result<String, String>> {
    let program = program(id).filter(|one| one.name_as_str() == Some(object::NAME))?;
    Some(match read(&program)? {
        Ok(Config { version, components }) => {
            let programs = if components.len() == 1 { "program" } else { "programs" };
            Ok(format!("version {version}, {} {programs}", components.len()))
        }
        Err(unknown) => Err(unknown.to_string()),
    })
}

fn program(id: u32) -> Option<ProgramInfo> {
    aya::programs::loaded_programs().flatten().find(|one| one.id() == id)
}

/// What a program with a dispatcher's name says of itself. `None`: it has not the one map that every
/// dispatcher has.
fn read(program: &ProgramInfo) -> Option<Result<Config, Unknown>> {
    let &[id] = program.map_ids().ok()??.as_slice() else { return None };
    let map = MapInfo::from_id(id).ok()?;
    if map.map_flags() & BPF_F_RDONLY_PROG == 0 || map.max_entries() != 1 {
        return None;
    }
    let map = || MapData::from_id(id).ok().map(Map::Array);
    let bytes = match MapInfo::from_id(id).ok()?.value_size() {
        // Of version 1, or of none.
        84 => value::<84>(map()?),
        124 => value::<124>(map()?),
        128 => value::<128>(map()?),
        _ => return Some(Err(Unknown::Layout)),
    };
    Some(Config::read(&bytes?))
}

fn value<const BYTES: usize>(map: Map) -> Option<Vec<u8>> {
    let array: Array<MapData, [u8; BYTES]> = map.try_into().ok()?;
    Some(array.get(&0, 0).ok()?.to_vec())
}
