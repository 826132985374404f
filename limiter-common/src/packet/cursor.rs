//! A place in a frame that checks before it advances.

use core::marker::PhantomData;

/// What is left of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    position: usize,
    end: usize,
    frame: PhantomData<&'a [u8]>,
}

impl<'a> Cursor<'a> {
    /// A cursor over the kernel's packet pointers.
    ///
    /// # Safety
    /// Everything from `position` up to `end` must be readable for `'a`.
    #[inline(always)]
    pub const unsafe fn from_raw(position: usize, end: usize) -> Self {
        Self { position, end, frame: PhantomData }
    }

    /// A cursor over a slice.
    pub fn new(frame: &'a [u8]) -> Self {
        let position = frame.as_ptr().expose_provenance();
        Self { position, end: position + frame.len(), frame: PhantomData }
    }

    /// The next `N` bytes, or `None` if the frame ends before.
    #[inline(always)]
    pub fn take<const N: usize>(&mut self) -> Option<Bytes<'a, N>> {
        if self.position + N > self.end {
            return None;
        }
        // SAFETY: the comparison above says that N bytes from here are within the frame, and an array of bytes needs no alignment.
        let bytes = unsafe { &*core::ptr::with_exposed_provenance::<[u8; N]>(self.position) };
        self.position += N;
        Some(Bytes(bytes))
    }

    /// The next `N` bytes, without moving.
    #[inline(always)]
    pub fn ahead<const N: usize>(mut self) -> Option<Bytes<'a, N>> {
        self.take::<N>()
    }

    /// Bytes from `start`, a cursor of the same frame, to here.
    #[inline(always)]
    pub const fn offset(&self, start: &Self) -> usize {
        self.position - start.position
    }

    /// Bytes from here to a place in the same frame.
    #[inline(always)]
    pub fn before(&self, place: *const u8) -> usize {
        place.addr() - self.position
    }

    /// Moves on without looking; the next [`Cursor::take`] checks.
    #[inline(always)]
    pub fn skip(&mut self, bytes: usize) {
        self.position += bytes;
    }
}

/// `N` bytes of a frame, with numbers in the order of the wire.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a, const N: usize>(&'a [u8; N]);

impl<const N: usize> Bytes<'_, N> {
    /// A copy, in the order of the wire.
    #[inline(always)]
    pub const fn copied(&self) -> [u8; N] {
        *self.0
    }

    /// Where it begins.
    #[inline(always)]
    pub const fn as_ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }

    /// The byte at `AT`.
    #[inline(always)]
    pub fn byte<const AT: usize>(&self) -> u8 {
        const { assert!(AT < N) };
        self.0[AT]
    }

    /// The 16-bit number at `AT`.
    #[inline(always)]
    pub fn half<const AT: usize>(&self) -> u16 {
        const { assert!(AT + 2 <= N) };
        u16::from_be(self.read(AT))
    }

    /// The 32-bit number at `AT`.
    #[inline(always)]
    pub fn word<const AT: usize>(&self) -> u32 {
        const { assert!(AT + 4 <= N) };
        u32::from_be(self.read(AT))
    }

    /// The 64-bit number at `AT`.
    #[inline(always)]
    pub fn double<const AT: usize>(&self) -> u64 {
        const { assert!(AT + 8 <= N) };
        u64::from_be(self.read(AT))
    }

    #[inline(always)]
    fn read<T: Copy>(&self, at: usize) -> T {
        let from = self.0.as_ptr().wrapping_add(at).cast::<T>();
        // SAFETY: the callers assert that T lies within the N bytes, and T is an unsigned integer. Headers are not aligned to
        // their fields. The BPF backend turns an unaligned read into single bytes; there a plain load is right, because limiter
        // only runs where the verifier lets packet loads be unaligned (x86-64, arm64, riscv64, s390x, ppc64le).
        unsafe { if cfg!(target_arch = "bpf") { from.read() } else { from.read_unaligned() } }
    }
}
