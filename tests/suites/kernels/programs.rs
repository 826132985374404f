//! The verifier takes every program of every object, and says how much work that was.

use std::time::Instant;

use aya::programs::{Program, ProgramError, ProgramInfo, Xdp};
use aya::{Btf, EbpfLoader};
use limiter::kernel::object::{OBJECT, TRACING_OBJECT};
use limiter_common::names;

/// Prints a line for each program, which `cargo xtask kernels` reads: `verified OBJECT PROGRAM INSTRUCTIONS MICROSECONDS`.
///
/// Instructions are those that the verifier walked; it refuses a program at a million.
#[test]
fn the_verifier_takes_every_program() {
    for (object, bytes) in [("shipped", OBJECT), ("tracing", TRACING_OBJECT)] {
        let mut ebpf = EbpfLoader::new()
            .load(bytes)
            .unwrap_or_else(|error| panic!("the {object} object: {error}"));
        let mut programs = 0;
        for (name, program) in ebpf.programs_mut() {
            let start = Instant::now();
            let info = match load(program) {
                Ok(info) => info,
                // Older kernels do not show their sockets to it; limiter says so and counts from
                // then on.
                Err(error) if name == names::ADOPT_PROGRAM => {
                    println!("refused {object} {name}: {error}");
                    continue;
                }
                Err(error) => panic!("{name} of the {object} object: {error}"),
            };
            let time = start.elapsed().as_micros();
            let walked =
                info.verified_instruction_count().expect("Linux 5.16 and newer count them");
            println!("verified {object} {name} {walked} {time}");
            programs += 1;
        }
        assert!(programs > 0, "the {object} object holds no program");
    }
}

fn load(program: &mut Program) -> Result<ProgramInfo, ProgramError> {
    match program {
        Program::SkLookup(program) => {
            program.load()?;
            program.info()
        }
        Program::SockOps(program) => {
            program.load()?;
            program.info()
        }
        Program::Iter(program) => {
            program.load("tcp", &Btf::from_sys_fs()?)?;
            program.info()
        }
        program => {
            let program: &mut Xdp = program.try_into()?;
            program.load()?;
            program.info()
        }
    }
}
