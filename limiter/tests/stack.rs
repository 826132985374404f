//! The stack of the kernel side: what a program and the functions that it calls hold at once is at
//! most 512 bytes on every kernel, which is the verifier's bound (MAX_BPF_STACK).
//!
//! Linux rounds each function's part up to 32 bytes where this machine's rounds to 16 (since 6.8,
//! where the program is compiled: `round_up_stack_depth` in kernel/bpf/verifier.c). So an object
//! that loads here may be refused elsewhere; this test says it without the other kernel.

use std::collections::{BTreeMap, BTreeSet};

use limiter::kernel::object::{OBJECT, TRACING_OBJECT};
use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SymbolKind};

const BOUND: i64 = 512;
const ROUNDED_TO: i64 = 32;
/// Bytes of an instruction.
const SIZE: usize = 8;
/// Opcodes: a call, whose source is 1 where it is of a function of ours; a load of 64 bits, which
/// takes two places; and what makes a pointer to the stack.
const CALL: u8 = 0x85;
const LOAD_64: u8 = 0x18;
const MOVE: u8 = 0xbf;
const ADD: u8 = 0x07;
/// The frame pointer's register.
const FRAME: u8 = 10;

/// A function: bytes of the stack that it holds, and which it calls.
#[derive(Default)]
struct Function {
    depth: i64,
    calls: BTreeSet<String>,
}

#[derive(Clone, Copy)]
struct Instruction {
    opcode: u8,
    to: u8,
    from: u8,
    offset: i64,
    number: i64,
}

impl Instruction {
    fn of(bytes: &[u8]) -> Self {
        let [opcode, registers, low, high, number @ ..] = bytes else { panic!("8 bytes") };
        Self {
            opcode: *opcode,
            to: registers & 15,
            from: registers >> 4,
            offset: i16::from_le_bytes([*low, *high]).into(),
            number: i32::from_le_bytes(number.try_into().expect("4 bytes")).into(),
        }
    }

    /// How far below the frame pointer it reaches, itself or with the one after it.
    fn depth(self, next: Option<Self>) -> i64 {
        let (class, next) = (self.opcode & 7, next.filter(|next| next.opcode == ADD));
        match class {
            2 | 3 if self.to == FRAME => -self.offset,
            1 if self.from == FRAME => -self.offset,
            _ if self.opcode == MOVE && self.from == FRAME => {
                next.filter(|next| next.to == self.to).map_or(0, |next| -next.number)
            }
            _ => 0,
        }
    }
}

/// All functions of an object, by name.
fn functions(bytes: &[u8]) -> BTreeMap<String, Function> {
    let file = ElfFile64::<object::Endianness>::parse(bytes).expect("an object");
    let symbols: Vec<_> =
        file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text).collect();
    let named = |section, address| {
        let found = symbols
            .iter()
            .find(|symbol| symbol.section_index() == Some(section) && symbol.address() == address);
        found.expect("a function begins there").name().expect("a name").to_owned()
    };
    let mut functions = BTreeMap::new();
    for symbol in &symbols {
        let index = symbol.section_index().expect("a section");
        let section = file.section_by_index(index).expect("a section");
        let relocations: BTreeMap<_, _> = section.relocations().collect();
        let code = section.data_range(symbol.address(), symbol.size()).expect("code");
        let code: Vec<_> = code.expect("code").chunks_exact(SIZE).map(Instruction::of).collect();
        let mut function = Function::default();
        let mut at = 0;
        while let Some(&one) = code.get(at) {
            function.depth = function.depth.max(one.depth(code.get(at + 1).copied()));
            let address = symbol.address() + (at * SIZE) as u64;
            if one.opcode == CALL && one.from == 1 {
                let target = relocations.get(&address).map(object::Relocation::target);
                let called = match target {
                    Some(RelocationTarget::Symbol(index)) => {
                        let symbol = file.symbol_by_index(index).expect("a symbol");
                        let begins = ((one.number + 1) * SIZE as i64) as u64;
                        match symbol.kind() {
                            SymbolKind::Section => {
                                named(symbol.section_index().expect("its"), begins)
                            }
                            _ => symbol.name().expect("a name").to_owned(),
                        }
                    }
                    _ => named(index, address.wrapping_add_signed((one.number + 1) * SIZE as i64)),
                };
                function.calls.insert(called);
            }
            at += if one.opcode == LOAD_64 { 2 } else { 1 };
        }
        functions.insert(symbol.name().expect("a name").to_owned(), function);
    }
    functions
}

/// The deepest chain of calls that begins with a function.
fn deepest(functions: &BTreeMap<String, Function>, name: &str) -> (i64, String) {
    let function = &functions[name];
    let held = (function.depth.max(1) + ROUNDED_TO - 1) / ROUNDED_TO * ROUNDED_TO;
    let below = function.calls.iter().map(|called| deepest(functions, called)).max();
    let (rest, chain) =
        below.map_or((0, String::new()), |(rest, chain)| (rest, format!(" > {chain}")));
    (held + rest, format!("{name} {}{chain}", function.depth))
}

#[test]
fn every_kernel_has_room_for_it() {
    for (what, bytes) in [("shipped", OBJECT), ("tracing", TRACING_OBJECT)] {
        let functions = functions(bytes);
        assert!(functions["limiter"].calls.contains("limiter_arrive"), "calls are found");
        for name in functions.keys() {
            let (bytes, chain) = deepest(&functions, name);
            println!("{what} {bytes} {chain}");
            assert!(bytes <= BOUND, "{what}: {bytes} bytes: {chain}");
        }
    }
}
