//! Base address registers, and how they react to writes.

/// What happens when a BAR is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reaction {
    /// It takes the address; the bits below its size stay zero.
    #[default]
    Movable,
    /// As Firecracker's: all ones are answered with the size once, at the next read; every other
    /// write is ignored.
    OneShot,
    /// Every write is ignored, so its size cannot be asked for.
    Fixed,
}

/// One BAR: two registers when it is wide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    pub(super) index: u8,
    flags: u32,
    pub(super) len_bytes: u64,
    value: u64,
    reaction: Reaction,
    probed: [bool; 2],
}

impl Bar {
    fn new(index: u8, flags: u32, start: u64, len_bytes: u64) -> Self {
        assert!(len_bytes.is_power_of_two() && start.is_multiple_of(len_bytes), "a BAR is naturally aligned");
        Self { index, flags, len_bytes, value: start, reaction: Reaction::Movable, probed: [false; 2] }
    }

    /// Memory below 4 GiB, at `start`.
    #[must_use]
    pub fn memory32(index: u8, start: u32, len_bytes: u32) -> Self {
        Self::new(index, 0, start.into(), len_bytes.into())
    }

    /// Memory anywhere. Takes the next register too.
    #[must_use]
    pub fn memory64(index: u8, start: u64, len_bytes: u64) -> Self {
        Self::new(index, 0b0100, start, len_bytes)
    }

    /// Ports.
    #[must_use]
    pub fn io(index: u8, start: u16, len_bytes: u16) -> Self {
        Self::new(index, 1, start.into(), len_bytes.into())
    }

    /// Marks it as prefetchable.
    #[must_use]
    pub fn prefetchable(mut self) -> Self {
        self.flags |= 0b1000;
        self
    }

    /// Makes it react to writes in another way.
    #[must_use]
    pub fn reacting(mut self, reaction: Reaction) -> Self {
        self.reaction = reaction;
        self
    }

    const fn is_wide(&self) -> bool {
        self.flags & 0b111 == 0b100
    }

    /// Whether it is in I/O space.
    #[must_use]
    pub const fn is_io(&self) -> bool {
        self.flags & 1 != 0
    }

    /// Where it is now.
    #[must_use]
    pub const fn start(&self) -> u64 {
        self.value
    }

    /// Which half of it register `index` is.
    pub(super) fn half(&self, index: usize) -> Option<usize> {
        let first = usize::from(self.index);
        (index == first || (self.is_wide() && index == first + 1)).then(|| index - first)
    }

    /// Nobody assigned it yet. One that cannot be moved stays.
    pub(super) fn forget(&mut self) {
        if self.reaction == Reaction::Movable {
            self.value = 0;
        }
    }

    fn mask(&self) -> u64 {
        !(self.len_bytes - 1) & if self.is_io() { 0xffff } else { u64::MAX }
    }

    /// What a register shows. Reading ends a one-shot probe.
    pub(super) fn read(&mut self, half: usize) -> u32 {
        let probed = std::mem::take(&mut self.probed[half]);
        let word = half_of(if probed { self.mask() } else { self.value }, half);
        if half == 0 { word | self.flags } else { word }
    }

    pub(super) fn write(&mut self, half: usize, value: u32) {
        match self.reaction {
            Reaction::Movable => {
                let keep = u64::from(u32::MAX) << (32 * (1 - half));
                self.value = (self.value & keep | u64::from(value) << (32 * half)) & self.mask();
                if !self.is_wide() {
                    self.value &= u64::from(u32::MAX);
                }
            }
            Reaction::OneShot => self.probed[half] = value == u32::MAX,
            Reaction::Fixed => {}
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the half is the point")]
const fn half_of(value: u64, half: usize) -> u32 {
    (value >> (32 * half)) as u32
}
