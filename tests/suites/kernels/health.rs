//! What the kernel thinks of itself after everything else ran on it.

/// Bits of /proc/sys/kernel/tainted: the kernel died somewhere, and the kernel warned.
const DIED: u64 = 1 << 7;
const WARNED: u64 = 1 << 9;

#[test]
#[ignore = "another program may have made this machine's kernel warn; `cargo xtask kernels` boots fresh ones"]
fn the_kernel_has_not_warned() {
    let tainted = std::fs::read_to_string("/proc/sys/kernel/tainted").expect("the kernel's taint");
    let tainted: u64 = tainted.trim().parse().expect("a number");
    assert_eq!(tainted & (DIED | WARNED), 0, "the kernel warned or died: tainted is {tainted}; see its log");
}
