//! Sleep, and what wakes a machine from it.

use super::Vmxnet3;
use super::layout::shared;

/// How long the configuration is, and a filter in it.
const CONF_BYTES: u32 = 920;
const FILTER_BYTES: u64 = 152;
const MAX_FILTERS: u8 = 6;
/// Bits of `wakeUpEvents`.
const MAGIC: u16 = 1;
const FILTER: u16 = 1 << 1;

/// What wakes the machine, as `UPDATE_PMCFG` told.
#[derive(Clone, Debug, Default)]
pub(super) struct Wake {
    by_magic: bool,
    filters: Vec<Filter>,
}

/// Bytes that a frame starts with, as far as its mask says.
#[derive(Clone, Debug)]
struct Filter {
    mask: Vec<u8>,
    pattern: Vec<u8>,
}

impl Filter {
    fn passes(&self, frame: &[u8]) -> bool {
        frame.len() >= self.pattern.len()
            && (self.pattern.iter().zip(frame).enumerate())
                .filter(|(at, _)| self.mask.get(at / 8).is_some_and(|mask| mask >> (at % 8) & 1 != 0))
                .all(|(_, (wanted, byte))| wanted == byte)
    }
}

impl Vmxnet3 {
    /// Whether `frame` wakes a machine that sleeps: it is one of those that `UPDATE_PMCFG` asked
    /// for last, or carries six bytes of ones and the device's address 16 times and that was asked
    /// for. A reset forgets what was asked for.
    #[must_use]
    pub fn would_wake(&self, frame: &[u8]) -> bool {
        let magic = [vec![0xff; 6], self.mac.repeat(16)].concat();
        let is_magic = frame.windows(magic.len()).any(|bytes| bytes == magic);
        (self.wake.by_magic && is_magic) || self.wake.filters.iter().any(|filter| filter.passes(frame))
    }

    /// `UPDATE_PMCFG`.
    pub(super) fn update_wake(&mut self) -> u32 {
        match self.read_wake() {
            Ok(wake) => {
                self.wake = wake;
                0
            }
            Err(what) => self.refuse(format!("UPDATE_PMCFG: {what}")),
        }
    }

    fn read_wake(&mut self) -> Result<Wake, &'static str> {
        if self.shared == 0 {
            return Err("no DriverShared");
        }
        let conf = self.read_conf(self.shared + shared::PM_CONF_DESC, CONF_BYTES);
        let at = conf.ok_or("no configuration of version 1 and 920 bytes")?;
        let (events, count) = (self.get16(at), self.get8(at + 2));
        if events & !(MAGIC | FILTER) != 0 {
            return Err("events that there are not");
        }
        if count > MAX_FILTERS {
            return Err("more filters than six");
        }
        let by_filter = events & FILTER != 0;
        let count = if by_filter { u64::from(count) } else { 0 };
        let filters =
            (0..count).map(|index| self.read_filter_of_wake(at + 8 + index * FILTER_BYTES)).collect();
        Ok(Wake {
            by_magic: events & MAGIC != 0,
            filters: Option::ok_or(filters, "a filter that is too long")?,
        })
    }

    fn read_filter_of_wake(&mut self, at: u64) -> Option<Filter> {
        let (mask_bytes, pattern_bytes) = (self.get8(at), self.get8(at + 1));
        let mask = self.get::<16>(at + 2)?;
        let pattern = self.get::<128>(at + 18)?;
        let mask = mask.get(..mask_bytes.into())?.to_vec();
        Some(Filter { mask, pattern: pattern.get(..pattern_bytes.into())?.to_vec() })
    }
}
