//! Map memory in this process: maps with BPF_F_MMAPABLE can be read without system calls, and written with one store.

use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail};
use aya::maps::{Map, MapData, MapError, MapType};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Whether the memory may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    Write,
}

/// An array with values of type `T` that is read and written in memory.
#[derive(Debug)]
pub struct Mapped<T> {
    source: Source,
    entries: u32,
    values: PhantomData<T>,
}

/// Where the words come from.
#[derive(Debug)]
enum Source {
    /// The map, which is mapped when they are wanted.
    Map(MapData),
    /// Memory that was mapped for reading, of a map that is closed. The kernel does not let it be
    /// made writable again (`bpf_map_mmap` clears VM_MAYWRITE).
    Memory(Words<'static>),
}

impl<T> Mapped<T> {
    /// 64-bit words from one value to the next: arrays round the size of their values up to words.
    pub const STRIDE: usize = size_of::<T>().div_ceil(8);

    /// How many values there are.
    pub const fn entries(&self) -> u32 {
        self.entries
    }

    /// The words of all values, from value 0 on; value `n` begins at `n` x [`Self::STRIDE`].
    ///
    /// # Errors
    /// When the kernel refuses to map them, or they are for reading only.
    pub fn words(&self, access: Access) -> Result<Words<'_>> {
        match (&self.source, access) {
            (Source::Map(data), _) => {
                Words::map(data.fd().as_fd(), self.entries as usize * Self::STRIDE, access)
            }
            (Source::Memory(words), Access::Read) => Ok(words.view()),
            (Source::Memory(_), Access::Write) => bail!("this map is open for reading only"),
        }
    }

    /// The same for reading only, and the map closed. (A descriptor that may only read cannot be
    /// mapped at all: for such a file the kernel takes VM_SHARED away.)
    ///
    /// # Errors
    /// When the kernel refuses to map them.
    pub(super) fn look(self) -> Result<Self> {
        let source = match self.source {
            Source::Map(data) => {
                let words = self.entries as usize * Self::STRIDE;
                Source::Memory(Words::map(data.fd().as_fd(), words, Access::Read)?)
            }
            memory => memory,
        };
        Ok(Self { source, ..self })
    }
}

impl<T> TryFrom<Map> for Mapped<T> {
    type Error = MapError;

    fn try_from(map: Map) -> Result<Self, MapError> {
        let Map::Array(data) = map else {
            return Err(MapError::InvalidMapType { map_type: MapType::Unspecified as u32 });
        };
        let entries = data.info()?.max_entries();
        Ok(Self { source: Source::Map(data), entries, values: PhantomData })
    }
}

/// The words of a memory-mapped array.
#[derive(Debug)]
pub struct Words<'a> {
    base: ptr::NonNull<AtomicU64>,
    words: usize,
    /// Whether it is another's memory, and stays when this goes.
    is_view: bool,
    map: PhantomData<&'a ()>,
}

// SAFETY: every access is an atomic one of a whole word.
unsafe impl Send for Words<'_> {}
// SAFETY: as above.
unsafe impl Sync for Words<'_> {}

impl Words<'_> {
    /// Maps the first `words` 64-bit words of the map behind `fd`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn map(fd: impl AsFd, words: usize, access: Access) -> Result<Self> {
        let protection = match access {
            Access::Read => ProtFlags::READ,
            Access::Write => ProtFlags::READ | ProtFlags::WRITE,
        };
        // SAFETY: the kernel chooses the address, so nothing that exists is replaced.
        let base = unsafe { mmap(ptr::null_mut(), words * 8, protection, MapFlags::SHARED, fd, 0) }
            .context("cannot map a BPF map into memory")?;
        let base =
            ptr::NonNull::new(base.cast()).context("the kernel mapped a BPF map at address 0")?;
        Ok(Self { base, words, is_view: false, map: PhantomData })
    }

    /// The same words.
    const fn view(&self) -> Words<'_> {
        Words { base: self.base, words: self.words, is_view: true, map: PhantomData }
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.words
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.words == 0
    }

    /// The word at `index`, if there is one.
    pub fn get(&self, index: usize) -> Option<u64> {
        // SAFETY: the index is checked, the memory is mapped while self lives, and aligned; other writers use whole words.
        (index < self.words)
            .then(|| unsafe { self.base.add(index).as_ref() }.load(Ordering::Relaxed))
    }

    /// Stores one word, at once for every CPU. Needs [`Access::Write`]. What is beyond the end is not stored.
    pub fn store(&self, index: usize, value: u64) {
        if index < self.words {
            // SAFETY: as in `get`.
            unsafe { self.base.add(index).as_ref() }.store(value, Ordering::SeqCst);
        }
    }

    /// Replaces one word by what `change` makes of it, whoever else does the same meanwhile. Needs
    /// [`Access::Write`].
    pub fn update(&self, index: usize, change: impl Fn(u64) -> u64) {
        if index < self.words {
            // SAFETY: as in `get`.
            let word = unsafe { self.base.add(index).as_ref() };
            // It always makes one.
            let _ = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |old| Some(change(old)));
        }
    }

    /// All words.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        (0..self.words).filter_map(|index| self.get(index))
    }
}

impl Drop for Words<'_> {
    fn drop(&mut self) {
        if self.is_view {
            return;
        }
        // SAFETY: this is what `map` mapped, and no reference into it outlives self.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.words * 8) };
    }
}
