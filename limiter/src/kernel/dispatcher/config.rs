//! What a dispatcher knows of its components: the value of its one map, as libxdp's protocol lays it
//! out in versions 2 and 3. Other versions are refused, never guessed at.

use std::fmt;

/// How many components a dispatcher has room for.
pub const SLOTS: usize = 10;
/// Versions that limiter speaks: that of libxdp 1.3 to 1.5, and that of libxdp 1.6.
pub const VERSIONS: [u8; 2] = [2, 3];
/// The first byte of every version since 2.
const MAGIC: u8 = 236;
/// Bytes of version 2. Version 3 has one more, whether programs are bound to a device, and three of
/// padding.
const BYTES: usize = 4 + 3 * 4 * SLOTS;
const BYTES_OF_3: usize = BYTES + 4;
/// Version 1 begins with the number of components, and has no flags.
const BYTES_OF_1: usize = 4 + 2 * 4 * SLOTS;
/// In the flags of a component: it takes frames of several buffers (BPF_F_XDP_HAS_FRAGS).
pub const FRAGS: u32 = 1 << 5;
/// In its actions: what a function without a component returns, at which every dispatcher goes on.
const NO_COMPONENT: u32 = 1 << 31;

/// What is said of one component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The actions at which the next one runs, a bit each.
    pub actions: u32,
    /// Lower ones run first.
    pub priority: u32,
    /// With which flags it would be loaded alone.
    pub flags: u32,
}

/// Of a whole dispatcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// One of [`VERSIONS`].
    pub version: u8,
    /// Its components, in their order.
    pub components: Vec<Terms>,
}

/// Why a dispatcher is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Of version 1, which says nothing of itself.
    Old,
    /// Of another version.
    Version(u8),
    /// Of a version that limiter speaks, and not laid out so.
    Layout,
    /// Its components are bound to the device, and programs that are not cannot run beside them.
    Bound,
}

impl Config {
    /// Reads the value of a dispatcher's map.
    pub fn read(bytes: &[u8]) -> Result<Self, Unknown> {
        let &[MAGIC, version, count, _, ..] = bytes else {
            return Err(if bytes.len() == BYTES_OF_1 { Unknown::Old } else { Unknown::Layout });
        };
        let length = match version {
            2 => BYTES,
            3 => BYTES_OF_3,
            0 | 1 => return Err(Unknown::Old),
            other => return Err(Unknown::Version(other)),
        };
        if bytes.len() != length || usize::from(count) > SLOTS {
            return Err(Unknown::Layout);
        }
        if bytes[BYTES..].first().is_some_and(|bound| *bound != 0) {
            return Err(Unknown::Bound);
        }
        let words: Vec<u32> = bytes[4..BYTES]
            .chunks_exact(4)
            .map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]))
            .collect();
        let terms = |slot: usize| Terms {
            actions: words[slot],
            priority: words[SLOTS + slot],
            flags: words[2 * SLOTS + slot],
        };
        Ok(Self { version, components: (0..count.into()).map(terms).collect() })
    }

    /// The value of a dispatcher's map. At most [`SLOTS`] components have room.
    pub fn bytes(&self) -> Vec<u8> {
        let mut words = [0_u32; 3 * SLOTS];
        for (slot, terms) in self.components.iter().take(SLOTS).enumerate() {
            words[slot] = terms.actions | NO_COMPONENT;
            words[SLOTS + slot] = terms.priority;
            words[2 * SLOTS + slot] = terms.flags & FRAGS;
        }
        let mut bytes =
            vec![MAGIC, self.version, self.components.len() as u8, self.takes_frags().into()];
        bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        bytes.resize(if self.version == 2 { BYTES } else { BYTES_OF_3 }, 0);
        bytes
    }

    /// Whether frames of several buffers may come: each component must take them.
    pub fn takes_frags(&self) -> bool {
        self.components.iter().all(|terms| terms.flags & FRAGS != 0)
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Old => to.write_str("of version 1 (of libxdp before 1.3)"),
            Self::Version(version) => write!(to, "of version {version}"),
            Self::Layout => to.write_str("laid out as no version that limiter knows"),
            Self::Bound => to.write_str("bound to its device"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Terms = Terms { actions: 1 << 2 | NO_COMPONENT, priority: 5, flags: FRAGS };
    const THEIRS: Terms = Terms { actions: 1 << 2 | NO_COMPONENT, priority: 10, flags: 0 };

    #[test]
    fn what_is_written_is_read() {
        for (version, length) in [(2, 124), (3, 128)] {
            let config = Config { version, components: vec![OURS, THEIRS] };
            let bytes = config.bytes();
            assert_eq!((bytes.len(), &bytes[..4]), (length, &[236, version, 2, 0][..]));
            assert_eq!(Config::read(&bytes), Ok(config));
        }
        let alone = Config { version: 2, components: vec![OURS] };
        assert_eq!(alone.bytes()[3], 1, "it takes frames of several buffers");
        // The word of the first component's actions, of its priority and of its flags.
        let words = |at: usize| alone.bytes()[at..at + 4].to_vec();
        assert_eq!(words(4), 0x8000_0004_u32.to_ne_bytes());
        assert_eq!((words(44), words(84)), (vec![5, 0, 0, 0], vec![32, 0, 0, 0]));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let read = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = Config { version: 3, components: vec![OURS] }.bytes();
            change(&mut bytes);
            Config::read(&bytes)
        };
        assert!(read(&|_| {}).is_ok());
        assert_eq!(Config::read(&[1; 84]), Err(Unknown::Old));
        assert_eq!(read(&|bytes| bytes[0] = 1), Err(Unknown::Layout), "no magic");
        assert_eq!(read(&|bytes| bytes[1] = 4), Err(Unknown::Version(4)));
        assert_eq!(read(&|bytes| bytes[1] = 2), Err(Unknown::Layout), "longer than version 2");
        assert_eq!(read(&|bytes| bytes[2] = 11), Err(Unknown::Layout), "more than there is room");
        assert_eq!(read(&|bytes| bytes[124] = 1), Err(Unknown::Bound));
        for length in 0..124 {
            assert!(read(&|bytes| bytes.truncate(length)).is_err(), "{length} bytes");
        }
    }
}
