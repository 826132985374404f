//! One shared 64-bit word, as the algorithms see it.
//!
//! The kernel side implements it over map memory with BPF atomics, the host over `AtomicU64`, a single-threaded
//! simulation over `Cell`. The algorithms retry a bounded number of times and never wait.

/// A 64-bit word that other CPUs may change at any moment.
pub trait SharedWord {
    /// The value now.
    fn load(&self) -> u64;
    /// Writes `new` if the value still is `old`, and says whether it was.
    fn replace(&self, old: u64, new: u64) -> bool;
}

/// One that is also written without a look at what was there.
pub trait SharedNote: SharedWord {
    /// Writes `new`, whatever was there.
    fn store(&self, new: u64);
}

/// A byte that other CPUs may change at any moment.
pub trait SharedByte {
    /// The value now.
    fn load(&self) -> u8;
    /// Writes `new`, whatever was there.
    fn store(&self, new: u8);
}

impl SharedByte for core::cell::Cell<u8> {
    fn load(&self) -> u8 {
        self.get()
    }

    fn store(&self, new: u8) {
        self.set(new);
    }
}

#[cfg(target_has_atomic = "64")]
impl SharedWord for core::sync::atomic::AtomicU64 {
    fn load(&self) -> u64 {
        self.load(core::sync::atomic::Ordering::SeqCst)
    }

    fn replace(&self, old: u64, new: u64) -> bool {
        use core::sync::atomic::Ordering::SeqCst;
        self.compare_exchange(old, new, SeqCst, SeqCst).is_ok()
    }
}

#[cfg(target_has_atomic = "64")]
impl SharedNote for core::sync::atomic::AtomicU64 {
    fn store(&self, new: u64) {
        self.store(new, core::sync::atomic::Ordering::SeqCst);
    }
}

impl SharedWord for core::cell::Cell<u64> {
    fn load(&self) -> u64 {
        self.get()
    }

    fn replace(&self, old: u64, new: u64) -> bool {
        let unchanged = self.get() == old;
        if unchanged {
            self.set(new);
        }
        unchanged
    }
}

impl SharedNote for core::cell::Cell<u64> {
    fn store(&self, new: u64) {
        self.set(new);
    }
}
