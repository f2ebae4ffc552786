//! How a function interrupts: one order of steps for every driver.
//!
//! ```text
//!  off -> MSI-X -> MSI -> line -> polling          the first of those offered that works
//! ```
//!
//! Everything is off before a way is tried, and a way that fails is off before the next one, so
//! that a function is never in two. The pin stays disabled unless it is the way.

use core::fmt;

use log::warn;
use paravane_hal::irq::{InterruptMode, Interrupts};
use paravane_hal::mmio::{Mmio, MmioMap};

use crate::capability::messages::MessagesError;
use crate::capability::msi::MsiError;
use crate::capability::msix::{MsixError, MsixTable};
use crate::header::Command;
use crate::{CapabilityError, CommandError, ConfigAccess, Function};

/// What a function has to interrupt with. Belongs to the function that it was opened for.
#[derive(Debug)]
pub struct FunctionInterrupts<R> {
    /// The message table, where it has one, or why that cannot be used.
    msix: Result<Option<MsixTable<R>>, InterruptError>,
    /// How many of its vectors were left unmasked.
    unmasked: u16,
    error: Option<InterruptError>,
}

impl<R: Mmio> FunctionInterrupts<R> {
    /// Switches everything off, and maps the message table where there is one.
    ///
    /// Never fails: what cannot be used is not used, and [`error`](Self::error) says why. Messages
    /// that do not go off cost the line as well.
    pub fn open<C: ConfigAccess, M: MmioMap<Region = R>>(function: &mut Function<C>, mapper: &M) -> Self {
        // Before the table is looked at, whatever becomes of that: with messages on there is no
        // line, nor may its cause be asked for.
        off(function);
        let found = function.msix().map_err(InterruptError::Capability);
        let opened = found.and_then(|msix| {
            msix.map(|msix| msix.open(function, mapper)).transpose().map_err(InterruptError::Msix)
        });
        Self { error: opened.as_ref().err().copied(), msix: opened, unmasked: 0 }
    }

    /// Lets `function` interrupt in the first way of MSI-X, MSI and the line that is `offered` and
    /// works, and in no other. Comes after every reset, and before the device is told about
    /// vectors.
    ///
    /// A way that a function has and that does not work is said to the log, and
    /// [kept](Self::error).
    pub fn switch_on<C: ConfigAccess>(
        &mut self,
        function: &mut Function<C>,
        offered: Interrupts<'_>,
    ) -> InterruptMode {
        self.error = None;
        self.switch_off(function);
        for way in [Self::by_msix, Self::by_msi, Self::by_line] {
            match way(self, function, offered) {
                Ok(Some(mode)) => return mode,
                Ok(None) => {}
                Err(error) => {
                    warn!("pci {}: {error}; trying the next way to interrupt", function.address());
                    self.error = Some(error);
                    self.switch_off(function);
                }
            }
        }
        InterruptMode::Polling
    }

    /// Keeps `function` from interrupting in any way.
    pub fn switch_off<C: ConfigAccess>(&mut self, function: &mut Function<C>) {
        off(function);
        // Where the list of capabilities cannot be walked any more, the place is still known.
        if let Ok(Some(table)) = &mut self.msix {
            table.disable(function);
        }
    }

    /// Why a way that was tried last does not work; `None` when the best of those offered does.
    #[must_use]
    pub fn error(&self) -> Option<InterruptError> {
        self.error
    }

    /// Switches everything off, and gives the mapping of the table back to the `mapper` that made
    /// it.
    pub fn close<C: ConfigAccess>(self, function: &mut Function<C>, mapper: &impl MmioMap<Region = R>) {
        off(function);
        if let Ok(Some(table)) = self.msix {
            table.close(function, mapper);
        }
    }

    fn by_msix<C: ConfigAccess>(
        &mut self,
        function: &mut Function<C>,
        offered: Interrupts<'_>,
    ) -> Result<Option<InterruptMode>, InterruptError> {
        if offered.msix.is_empty() {
            return Ok(None);
        }
        let Some(table) = self.msix.as_mut().map_err(|error| *error)? else { return Ok(None) };
        let mut vectors = 0;
        for (vector, message) in (0..table.entries()).zip(offered.msix) {
            table.program(vector, *message)?;
            vectors = vector.saturating_add(1);
        }
        // Their messages are those of an earlier start, and may be somebody else's by now.
        for vector in vectors..self.unmasked {
            table.mask(vector)?;
        }
        table.enable(function)?;
        self.unmasked = vectors;
        for vector in 0..vectors {
            table.unmask(vector)?;
        }
        Ok(Some(InterruptMode::Msix { vectors }))
    }

    fn by_msi<C: ConfigAccess>(
        &mut self,
        function: &mut Function<C>,
        offered: Interrupts<'_>,
    ) -> Result<Option<InterruptMode>, InterruptError> {
        let Some(message) = offered.msi else { return Ok(None) };
        let Some(msi) = function.msi().map_err(InterruptError::Capability)? else { return Ok(None) };
        msi.program(function, message).map_err(InterruptError::Msi)?;
        msi.enable(function).map_err(InterruptError::Msi)?;
        Ok(Some(InterruptMode::Msi))
    }

    fn by_line<C: ConfigAccess>(
        &mut self,
        function: &mut Function<C>,
        offered: Interrupts<'_>,
    ) -> Result<Option<InterruptMode>, InterruptError> {
        if !offered.line || function.read_interrupt_pin().is_none() {
            return Ok(None);
        }
        function.disable_messages().map_err(InterruptError::Messages)?;
        function.disable(Command::INTX_DISABLE).map_err(InterruptError::Command)?;
        Ok(Some(InterruptMode::Line))
    }
}

/// The pin first, for with messages off it would be on.
fn off<C: ConfigAccess>(function: &mut Function<C>) {
    // A pin that cannot be disabled is used by nobody, and a function without one has no such bit.
    let _ = function.enable(Command::INTX_DISABLE);
    // Messages that stay on keep the line from being used; see `by_line`.
    let _ = function.disable_messages();
}

/// A way to interrupt that a function has, or should have, does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InterruptError {
    /// Its capability list is broken.
    Capability(CapabilityError),
    /// MSI-X cannot be set up.
    Msix(MsixError),
    /// MSI cannot be set up.
    Msi(MsiError),
    /// The line cannot be used: MSI or MSI-X, which firmware left on, does not go off.
    Messages(MessagesError),
    /// The pin does not switch on.
    Command(CommandError),
}

impl fmt::Display for InterruptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capability(error) => write!(f, "interrupt capability unreadable: {error}"),
            Self::Msix(error) => error.fmt(f),
            Self::Msi(error) => error.fmt(f),
            Self::Messages(error) => error.fmt(f),
            Self::Command(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for InterruptError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(match self {
            Self::Capability(error) => error,
            Self::Msix(error) => error,
            Self::Msi(error) => error,
            Self::Messages(error) => error,
            Self::Command(error) => error,
        })
    }
}

impl From<MsixError> for InterruptError {
    fn from(error: MsixError) -> Self {
        Self::Msix(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MockBar, MockBus, MockFunction, MockMap, at, message};

    const MSI: (u8, u8, &[u8]) = (0x84, 0x05, &[0x80, 0]);
    const MSIX: (u8, u8, &[u8]) = (0x9c, 0x11, &[0x02, 0x00, 0x02, 0, 0, 0, 0x02, 0x10, 0, 0]);
    /// What of the two control registers can be written.
    const SWITCHES: [(usize, &[u8]); 2] = [(0x86, &[0x71, 0x00]), (0x9e, &[0x00, 0xc0])];

    /// A function with `capabilities`, whose controls at `stuck` do not take what is written.
    fn bus(capabilities: &[(u8, u8, &[u8])], stuck: &[usize], has_pin: bool) -> MockBus {
        let function = MockFunction::nic()
            .bar(MockBar::memory32(2, 0xfebc_2000, 0x2000))
            .capabilities(capabilities)
            .with(0x3d, &[has_pin.into()]);
        let writable = SWITCHES.into_iter().filter(|(at, _)| !stuck.contains(at));
        MockBus::of(writable.fold(function, |function, (at, mask)| function.writable(at, mask)))
    }

    /// In which way it interrupts that has all ways offered, and whether something is wrong.
    fn chosen(bus: &MockBus) -> (InterruptMode, bool) {
        let mut function = Function::claim(bus, at("00:04.0")).unwrap();
        let mut interrupts = FunctionInterrupts::open(&mut function, &MockMap::default());
        let messages = [0x41, 0x42].map(|data| message(0xfee0_0000, data));
        let all = Interrupts::msix(&messages).or_msi(messages[0]).or_line();
        let mode = interrupts.switch_on(&mut function, all);
        let is_off = function.read_command().contains(Command::INTX_DISABLE);
        assert_eq!(is_off, mode != InterruptMode::Line, "the pin is on when it is the way");
        let error = interrupts.error();
        interrupts.switch_off(&mut function);
        assert!(function.read_command().contains(Command::INTX_DISABLE));
        (mode, error.is_some())
    }

    #[test]
    fn the_best_that_is_there_is_taken() {
        let msix = InterruptMode::Msix { vectors: 2 };
        assert_eq!(chosen(&bus(&[MSI, MSIX], &[], true)), (msix, false));
        assert_eq!(chosen(&bus(&[MSI], &[], true)), (InterruptMode::Msi, false));
        assert_eq!(chosen(&bus(&[], &[], true)), (InterruptMode::Line, false));
        assert_eq!(chosen(&bus(&[], &[], false)), (InterruptMode::Polling, false));
    }

    #[test]
    fn what_is_broken_is_stepped_over_and_said() {
        let nowhere: (u8, u8, &[u8]) = (0x9c, 0x11, &[0x02, 0x00, 0x07, 0, 0, 0, 0x02, 0x10, 0, 0]);
        assert_eq!(chosen(&bus(&[MSI, nowhere], &[], true)), (InterruptMode::Msi, true));
        assert_eq!(chosen(&bus(&[MSI, MSIX], &[0x9e], true)), (InterruptMode::Msi, true));
        assert_eq!(chosen(&bus(&[MSI, MSIX], &[0x86, 0x9e], true)), (InterruptMode::Line, true));
        assert_eq!(chosen(&bus(&[MSIX], &[0x9e], false)), (InterruptMode::Polling, true));
    }

    #[test]
    fn messages_of_an_earlier_start_are_masked() {
        let bus = bus(&[MSIX], &[], true);
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        let map = MockMap::default();
        let mut interrupts = FunctionInterrupts::open(&mut function, &map);
        let messages = [0x41, 0x42, 0x43].map(|data| message(0xfee0_0000, data));
        let masked = || {
            let last = map.last.lock().unwrap();
            let words = last.as_ref().unwrap().1.words.lock().unwrap();
            words.chunks(4).map(|entry| entry[3]).collect::<Vec<_>>()
        };
        for (count, expected) in [(3, [0, 0, 0]), (1, [0, 1, 1]), (2, [0, 0, 1])] {
            let mode = interrupts.switch_on(&mut function, Interrupts::msix(&messages[..count]));
            assert_eq!(usize::from(mode.messages()), count);
            assert_eq!(masked(), expected);
        }
    }

    #[test]
    fn only_what_is_offered_is_taken() {
        let bus = bus(&[MSI, MSIX], &[], true);
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        let mut interrupts = FunctionInterrupts::open(&mut function, &MockMap::default());
        let messages = [message(0xfee0_0000, 0x41)];
        let mut on = |offered| interrupts.switch_on(&mut function, offered);
        assert_eq!(on(Interrupts::msix(&messages)), InterruptMode::Msix { vectors: 1 });
        assert_eq!(on(Interrupts::LINE), InterruptMode::Line);
        assert_eq!(on(Interrupts::msi(messages[0])), InterruptMode::Msi);
        assert_eq!(on(Interrupts::POLLING), InterruptMode::Polling);
        assert_eq!(function.read_messages_on(), Ok(None));
    }

    #[test]
    fn messages_by_msix_are_not_sent_by_msi() {
        let bus = bus(&[MSI], &[], true);
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        let mut interrupts = FunctionInterrupts::open(&mut function, &MockMap::default());
        let messages = [message(0xfee0_0000, 0x41)];
        let mode = interrupts.switch_on(&mut function, Interrupts::msix(&messages));
        assert_eq!((mode, function.read_messages_on()), (InterruptMode::Polling, Ok(None)));
    }
}
