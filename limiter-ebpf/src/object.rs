//! What every object holds besides its programs: the licence, without which the kernel refuses a
//! program some helpers, and the panic handler that Rust asks for.
//!
//! Each object has this file as a module of its own. As a part of the library it would bring the
//! library's maps and functions along.

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
