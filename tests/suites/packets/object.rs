//! The shipped object: what it holds, what it must not hold, and that other tools load it.

use std::process::Command;

use aya::maps::MapInfo;
use aya::{Ebpf, EbpfLoader};
use lab::PrivateBpffs;
use limiter::kernel::Maps;
use limiter::kernel::object::{OBJECT, TRACING_OBJECT};
use limiter_common::names;

fn maps(ebpf: &Ebpf) -> Vec<&str> {
    let mut names: Vec<_> = ebpf.maps().map(|(name, _)| name).collect();
    names.sort_unstable();
    names
}

#[test]
fn it_holds_the_maps_of_the_layout_and_no_others() {
    let ebpf = EbpfLoader::new().load(OBJECT).expect("the object loads");
    let mut expected: Vec<_> = names::MAPS.iter().map(|row| row.name).collect();
    expected.sort_unstable();
    assert_eq!(
        maps(&ebpf),
        expected,
        "tracing, benches and tests have no map in the shipped object"
    );
    let tracing = EbpfLoader::new().load(TRACING_OBJECT).expect("the object loads");
    assert!(maps(&tracing).contains(&"AYA_LOGS"));
}

/// Types of keys and values are looked up on both sides, so they could differ.
#[test]
fn each_map_is_as_its_row_says() {
    const BPF_F_MMAPABLE: u32 = 1 << 10;
    let bpffs = PrivateBpffs::new().expect("a bpffs");
    let ebpf = EbpfLoader::new().load(OBJECT).expect("the object loads");
    for row in names::MAPS {
        let pin = bpffs.path().join(row.name);
        ebpf.map(row.name).expect(row.name).pin(&pin).expect("pinned");
        let info = MapInfo::from_pin(&pin).expect("a map");
        let mappable = info.map_flags() & BPF_F_MMAPABLE != 0;
        let found = (info.key_size(), info.value_size(), info.max_entries(), mappable);
        assert_eq!(
            found,
            (row.key, row.value, row.entries, row.kind.is_mappable()),
            "{}",
            row.name
        );
    }
    drop(ebpf);
    Maps::open(bpffs.path()).expect("user space opens them");
}

/// bpftool loads it, so any tool that is built on libbpf does. And the program says what it is.
#[test]
fn bpftool_loads_it() {
    let bpffs = PrivateBpffs::new().expect("a bpffs");
    let file = std::env::temp_dir().join(format!("limiter-object-{}.o", std::process::id()));
    std::fs::write(&file, OBJECT).expect("a file");
    let pins = bpffs.path().join("x");
    let loaded = Command::new("bpftool").args(["prog", "loadall"]).arg(&file).arg(&pins).output();
    std::fs::remove_file(&file).expect("removed");
    let loaded = loaded.expect("bpftool is installed by `cargo xtask setup`");
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    let dumped = Command::new("bpftool")
        .args(["prog", "dump", "xlated", "pinned"])
        .arg(pins.join(names::PROGRAM))
        .output();
    let dumped = String::from_utf8(dumped.expect("bpftool").stdout).expect("text");
    // LLVM 22 can miscompile a relaxed read-modify-write: it becomes one that does not fetch. Ours
    // compare and swap, but for the seats, which are added to, and nobody reads what they were.
    let atomics =
        dumped.lines().filter(|line| line.contains(": (db) ") || line.contains(": (c3) "));
    let (swaps, others): (Vec<_>, Vec<_>) = atomics.partition(|line| line.contains("cmpxchg"));
    assert!(swaps.len() >= 3, "the source table and two budgets compare and swap: {swaps:?}");
    assert!(others.iter().all(|line| line.contains(" += ")), "{others:?}");
    let shown = Command::new("bpftool")
        .args(["prog", "show", "pinned"])
        .arg(pins.join(names::PROGRAM))
        .output();
    let shown = String::from_utf8(shown.expect("bpftool").stdout).expect("text");
    assert!(shown.contains(": xdp") && shown.contains("gpl"), "{shown}");
}

/// A set is one cache line only if the table's values start on one: that is what BPF_F_MMAPABLE is for.
#[test]
fn the_source_table_starts_on_a_page() {
    const BPF_F_MMAPABLE: u32 = 1 << 10;
    let bpffs = PrivateBpffs::new().expect("a bpffs");
    let ebpf = EbpfLoader::new()
        .map_max_entries(names::SOURCES, 1024)
        .load(OBJECT)
        .expect("the object loads");
    ebpf.map(names::SOURCES).expect("the table").pin(bpffs.path().join("table")).expect("pinned");
    let info = MapInfo::from_pin(bpffs.path().join("table")).expect("a map");
    assert_eq!(
        (info.map_flags() & BPF_F_MMAPABLE, info.value_size(), info.max_entries()),
        (BPF_F_MMAPABLE, 64, 1024)
    );
}
