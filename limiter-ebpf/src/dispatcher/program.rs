//! The dispatcher of libxdp's protocol: an XDP program that runs up to ten component programs, one
//! after another, for as long as each returns an action at which it is to go on.
//!
//! Components are programs of the type EXT, which the kernel puts in the place of the functions
//! `prog0` to `prog9`. How many there are is in `conf`, which nobody writes once it is loaded, so the
//! verifier takes away what no component needs. libxdp knows a dispatcher by the names of the program
//! and of its functions and by `conf`, its one map; so these names are not ours to choose.
//!
//! The size of `conf` says the version, and the section whether the program takes frames of several
//! buffers: there is an object for each.

#[path = "../object.rs"]
mod object;

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_PASS};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::bpf_xdp_adjust_tail;

/// What a function returns that no component stands in for: bit 31 of the actions, at which every
/// dispatcher goes on.
const NO_COMPONENT: u32 = 31;

/// A dispatcher in a section, whose `conf` has so many words.
macro_rules! dispatcher {
    ($section:literal, $words:literal) => {
        /// As the version lays it out; user space writes it before it loads the program.
        #[unsafe(no_mangle)]
        static conf: [u32; $words] = [0; $words];

        /// Runs as many components as there are.
        #[unsafe(no_mangle)]
        #[unsafe(link_section = $section)]
        extern "C" fn xdp_dispatcher(context: *mut aya_ebpf::bindings::xdp_md) -> u32 {
            program::run(context, (&raw const conf).cast())
        }
    };
}

macro_rules! components {
    ($($index:literal $name:ident)+) => {
        $(
            #[doc = "A component stands in for it."]
            #[unsafe(no_mangle)]
            #[inline(never)]
            extern "C" fn $name(context: *mut xdp_md) -> u32 {
                stub(context)
            }
        )+

        /// Runs as many components as `conf` says: its first word ends in that number and a flag,
        /// and then come the actions of each at which to go on.
        #[inline(always)]
        pub fn run(context: *mut xdp_md, conf: *const u32) -> u32 {
            // What is read is another word when the program is loaded.
            // SAFETY: every layout has more words than are read here.
            let word = |index: usize| unsafe { conf.add(index).read_volatile() };
            let components = word(0) >> 16 & 0xff;
            $(
                if components <= $index {
                    return XDP_PASS;
                }
                let action = $name(context);
                if 1_u32.wrapping_shl(action) & word(1 + $index) == 0 {
                    return action;
                }
            )+
            XDP_PASS
        }
    };
}
components! { 0 prog0 1 prog1 2 prog2 3 prog3 4 prog4 5 prog5 6 prog6 7 prog7 8 prog8 9 prog9 }

/// A component may change packets only where the function that it stands in for does so too (Linux
/// 6.13, and 6.12 from .26 on): this call changes nothing, and says that it could.
#[inline(always)]
fn stub(context: *mut xdp_md) -> u32 {
    if context.is_null() {
        return XDP_ABORTED;
    }
    // SAFETY: the context is this run's.
    unsafe { bpf_xdp_adjust_tail(context, 0) };
    core::hint::black_box(NO_COMPONENT)
}
