//! What a function may do: the command register, and the proof that it does nothing any more.
//!
//! The register is written as 16 bits: the status register beside it clears bits that are written
//! as ones.

#![expect(unsafe_code, reason = "vouching that a function has stopped")]

use core::{fmt, time::Duration};

use paravane_hal::dma::{DeviceTag, Quiesce, Quiet};
use paravane_hal::time::{Clock, TimedOut, wait_for};

use crate::bridge::passes_memory;
use crate::capability::CapabilityError;
use crate::header::{COMMAND, Command};
use crate::{ConfigAccess, Function, PciAddress};

/// What has to be there after it was asked for. The rest may be hard-wired: a function without a
/// pin has no use for [`Command::INTX_DISABLE`], and most have none for the error bits.
const EFFECTIVE: Command = Command::IO.union(Command::MEMORY).union(Command::BUS_MASTER);

/// How long outstanding completions may take: twice the longest completion timeout that is on by
/// default.
///
/// Spec: PCI Express Base 5.0, 2.8 "Completion Timeout Mechanism".
const COMPLETIONS: Duration = Duration::from_millis(100);

/// The command register did not take what was written, or was not there to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandError {
    /// Whose.
    pub address: PciAddress,
    /// What was written; `None` when the function did not answer, so that nothing was.
    pub written: Option<Command>,
    /// What it reads.
    pub seen: Command,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, seen, .. } = self;
        write!(f, "{address}: command register reads {:#06x}, ", seen.bits())?;
        match self.written {
            Some(written) => write!(f, "expected {:#06x} as written", written.bits()),
            None => f.write_str("so the function does not answer any more"),
        }
    }
}

impl core::error::Error for CommandError {}

/// The command register of `address`; `None` when nobody answers. What comes of changing that
/// answer is not to be written: a function that is there again would get every bit.
pub(crate) fn answered_command(access: &impl ConfigAccess, address: PciAddress) -> Option<Command> {
    match access.read16(address, COMMAND) {
        u16::MAX => None,
        bits => Some(Command::from_bits_retain(bits)),
    }
}

/// Changes the command register of `address`, and looks whether that had effect.
fn change_command(
    access: &impl ConfigAccess,
    address: PciAddress,
    change: impl FnOnce(Command) -> Command,
) -> Result<(), CommandError> {
    let nobody = Command::from_bits_retain(u16::MAX);
    let before =
        answered_command(access, address).ok_or(CommandError { address, written: None, seen: nobody })?;
    let written = change(before);
    access.write16(address, COMMAND, written.bits());
    let seen = answered_command(access, address).unwrap_or(nobody);
    if seen == nobody || (seen ^ written).intersects(EFFECTIVE) {
        return Err(CommandError { address, written: Some(written), seen });
    }
    Ok(())
}

impl<C: ConfigAccess> Function<C> {
    /// The command register.
    #[must_use]
    pub fn read_command(&self) -> Command {
        Command::from_bits_retain(self.read16(COMMAND))
    }

    /// Makes the bridges in `path` pass on memory accesses to this function, and bus mastering from
    /// it. Not I/O: a bridge without an I/O window has that bit hard-wired to 0.
    ///
    /// Firmware does so where it enumerates; a monitor that boots a kernel directly need not. Where
    /// nobody opened windows through the bridges either, [`assign_all`](crate::assign_all) comes
    /// first.
    ///
    /// `path` is what [`enumerate`](crate::enumerate) reports with a function.
    ///
    /// # Errors
    ///
    /// [`PathError`] of the first bridge that does not take it, or that has no window around a
    /// memory BAR which has an address.
    pub fn enable_path(&self, path: &[PciAddress]) -> Result<(), PathError> {
        let needed = Command::MEMORY | Command::BUS_MASTER;
        for &bridge in path {
            if !answered_command(self.access(), bridge).is_some_and(|before| before.contains(needed)) {
                change_command(self.access(), bridge, |before| before | needed)?;
                log::info!(
                    "pci: bridge {bridge}, before {}, passes on memory and bus mastering now",
                    self.address()
                );
            }
            for bar in self.bars().flatten().filter(|bar| bar.memory().is_some()) {
                let (index, start) = (bar.index, bar.start);
                // A BAR that was accepted does not wrap around.
                let last = start.saturating_add(bar.len_bytes.saturating_sub(1));
                if !passes_memory(self.access(), bridge, start, last) {
                    return Err(PathError::NotPassed { bridge, address: self.address(), index, start, last });
                }
            }
        }
        Ok(())
    }

    /// Sets bits of the command register; the others stay.
    ///
    /// Bus mastering last, after the driver has reset the device: what firmware left there may
    /// still have rings to write to.
    ///
    /// # Errors
    ///
    /// [`CommandError`]: decoding or bus mastering did not come on, or nobody answers.
    pub fn enable(&mut self, bits: Command) -> Result<(), CommandError> {
        change_command(self.access(), self.address(), |before| before | bits)
    }

    /// Clears bits of the command register; the others stay.
    ///
    /// # Errors
    ///
    /// [`CommandError`]: decoding or bus mastering did not go off, or nobody answers.
    pub fn disable(&mut self, bits: Command) -> Result<(), CommandError> {
        change_command(self.access(), self.address(), |before| before.difference(bits))
    }

    /// Stops the function from mastering the bus, and proves that it did.
    ///
    /// The proof borrows the function exclusively: nothing starts it again while the proof is
    /// about.
    ///
    /// It is worth what the bus is: some monitors hand memory to their devices whether or not bus
    /// mastering is on. So a driver stops its device by the device's own means *first*, and has
    /// that confirmed; this is the second lock on the door. A driver that took a function gives it
    /// back in no other state, or whoever gets it could have this proof of a device that writes on.
    ///
    /// # Errors
    ///
    /// [`QuiesceError`]: the function may still write memory. What it knows of stays allocated.
    pub fn quiesce(&mut self, clock: &impl Clock) -> Result<Quiet<'_>, QuiesceError> {
        self.disable(Command::BUS_MASTER).map_err(QuiesceError::Command)?;
        if let Some(pcie) = self.pcie().map_err(QuiesceError::Capability)? {
            let done = || (!pcie.read_transactions_pending(self)).then_some(());
            wait_for(clock, COMPLETIONS, done)
                .map_err(|waited| QuiesceError::TransactionsPending { address: self.address(), waited })?;
        }
        // SAFETY:
        // - It starts no access: Bus Master Enable was written as 0 and read back as 0 (all ones,
        //   the answer of nobody, is an error), and a function whose bit is clear does not
        //   initiate.
        //   Spec: PCI Local Bus 3.0, 6.2.2 "Device Control", bit 2. A monitor that breaks this rule
        //   is as one that writes where it was never pointed: nothing that is read from it proves
        //   more. Those that are known to are virtio's, whose driver has the device's reset
        //   confirmed as well.
        // - None is under way: its posted writes reach memory before the answer to the read that
        //   saw the bit clear, which may not pass them (PCI Local Bus 3.0, appendix E "System
        //   Transaction Ordering"); a PCI Express function waits for no completion either.
        // - Nothing starts it again: in this crate only `enable` sets the bit, on `&mut self`,
        //   which the result borrows for its lifetime. A second claim, or a raw write through the
        //   access, breaks the contract of `Function::claim` and `ConfigAccess`.
        Ok(unsafe { Quiet::vouch(self.tag()) })
    }
}

impl<C: ConfigAccess> Quiesce for Function<C> {
    type Error = QuiesceError;

    fn tag(&self) -> DeviceTag {
        self.tag()
    }

    fn quiesce(&mut self, clock: &impl Clock) -> Result<Quiet<'_>, QuiesceError> {
        self.quiesce(clock)
    }
}

/// The way to a function cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathError {
    /// A bridge does not take its command register.
    Command(CommandError),
    /// A bridge does not pass on what a BAR of the function has.
    NotPassed {
        /// The bridge.
        bridge: PciAddress,
        /// The function.
        address: PciAddress,
        /// Which BAR.
        index: u8,
        /// Its first address.
        start: u64,
        /// Its last one.
        last: u64,
    },
}

impl From<CommandError> for PathError {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(error) => write!(f, "bridge on the way: {error}"),
            Self::NotPassed { bridge, address, index, start, last } => write!(
                f,
                "{address} BAR{index} at {start:#x} to {last:#x}: the bridge {bridge} has no window around it; \
                 firmware opened none, so the kernel has to"
            ),
        }
    }
}

impl core::error::Error for PathError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Command(error) => Some(error),
            Self::NotPassed { .. } => None,
        }
    }
}

/// A function was told to stop, and no proof could be had that it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuiesceError {
    /// Bus mastering does not go off, or the function does not answer.
    Command(CommandError),
    /// Whether it is PCI Express, and so may have requests outstanding, cannot be said.
    Capability(CapabilityError),
    /// It waits for completions, and they do not come.
    TransactionsPending {
        /// Which.
        address: PciAddress,
        /// How long was waited.
        waited: TimedOut,
    },
}

impl fmt::Display for QuiesceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(error) => write!(f, "does not stop mastering the bus: {error}"),
            Self::Capability(error) => write!(f, "cannot say whether it stopped: {error}"),
            Self::TransactionsPending { address, waited } => {
                write!(f, "{address}: still waits for completions: {waited}")
            }
        }
    }
}

impl core::error::Error for QuiesceError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Command(error) => Some(error),
            Self::Capability(error) => Some(error),
            Self::TransactionsPending { waited, .. } => Some(waited),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MockBar, MockBus, MockFunction, Ticking, at};

    /// A PCI Express function that says in its device status whether it waits.
    fn express(device_status: u8) -> MockFunction {
        MockFunction::nic().capabilities(&[(0x48, 0x10, &[2, 0, 0, 0, 0, 0, 0, 0, device_status, 0])])
    }

    #[test]
    fn bits_are_set_and_cleared_beside_others_and_beside_the_status() {
        let bus = MockBus::of(MockFunction::nic().with(0x04, &[0x01, 0x00, 0x10, 0xf9]));
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        bus.writes.borrow_mut().clear();
        function.enable(Command::MEMORY | Command::BUS_MASTER).unwrap();
        function.disable(Command::IO).unwrap();
        assert_eq!(*bus.writes.borrow(), [(0x04, 2, 0x0007), (0x04, 2, 0x0006)]);
        assert_eq!(function.read_command(), Command::MEMORY | Command::BUS_MASTER);
    }

    #[test]
    fn a_bit_that_does_not_come_on_is_reported() {
        let bus = MockBus::of(MockFunction::nic().writable(0x04, &[0x02, 0x00]));
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        function.enable(Command::MEMORY | Command::INTX_DISABLE).unwrap();
        let error = function.enable(Command::BUS_MASTER).unwrap_err();
        assert_eq!(error.to_string(), "00:04.0: command register reads 0x0002, expected 0x0006 as written");
    }

    #[test]
    fn a_function_that_stopped_is_vouched_for() {
        for nic in [MockFunction::nic(), express(0)] {
            let bus = MockBus::of(nic.with(0x04, &[0x06]));
            let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
            let tag = function.tag();
            assert_eq!(function.quiesce(&Ticking::new()).unwrap().device(), tag);
            assert_eq!(function.read_command(), Command::MEMORY);
        }
    }

    #[test]
    fn no_two_claims_share_a_tag() {
        let bus = MockBus::of(MockFunction::nic());
        let claim = || Function::claim(&bus, at("00:04.0")).unwrap();
        assert_ne!(claim().tag(), claim().tag());
    }

    #[test]
    fn a_function_that_goes_on_is_not_vouched_for() {
        let bus = MockBus::of(MockFunction::nic().with(0x04, &[0x06]).writable(0x04, &[0x03, 0x00]));
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        assert!(matches!(function.quiesce(&Ticking::new()), Err(QuiesceError::Command(_))));
    }

    #[test]
    fn a_function_that_vanished_is_not_vouched_for() {
        let bus = MockBus::of(MockFunction::nic());
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        bus.unplug();
        assert!(matches!(function.quiesce(&Ticking::new()), Err(QuiesceError::Command(_))));
    }

    #[test]
    fn completions_are_waited_for_and_not_for_ever() {
        let bus = MockBus::of(express(0x20));
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        let clock = Ticking::new();
        let error = function.quiesce(&clock).unwrap_err();
        assert_eq!(error.to_string(), "00:04.0: still waits for completions: nothing after 100 ms");
        assert!(clock.elapsed() <= 2 * COMPLETIONS);

        let clock = Ticking::doing(|now| {
            if now == Duration::from_millis(7) {
                bus.tamper(|nic| nic.with(0x52, &[0]));
            }
        });
        function.quiesce(&clock).unwrap();
        assert!(clock.elapsed() >= Duration::from_millis(7) && clock.elapsed() < COMPLETIONS);
    }

    #[test]
    fn a_broken_list_is_no_proof() {
        let bus = MockBus::of(MockFunction::nic().capabilities(&[(0x40, 0x01, &[])]).with(0x41, &[0x40]));
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        assert!(matches!(function.quiesce(&Ticking::new()), Err(QuiesceError::Capability(_))));
    }

    #[test]
    fn a_function_that_does_not_answer_is_not_written_to() {
        let bus = MockBus::of(MockFunction::nic());
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        bus.tamper(|nic| nic.with(0x04, &[0xff, 0xff]));
        bus.writes.borrow_mut().clear();
        let error = function.enable(Command::MEMORY).unwrap_err();
        assert_eq!(
            error.to_string(),
            "00:04.0: command register reads 0xffff, so the function does not answer any more"
        );
        assert_eq!(function.disable(Command::BUS_MASTER), Err(error));
        assert_eq!(function.enable_path(&[at("00:04.0")]), Err(PathError::Command(error)));
        assert_eq!(*bus.writes.borrow(), [], "the next answer may come from a function that is there again");
    }

    #[test]
    fn bridges_on_the_way_are_opened() {
        let open = MockFunction::bridge(1, 2, 2).with(0x04, &[0x06]);
        let nic = MockFunction::nic();
        let bus =
            MockBus::new([("00:01.0", MockFunction::bridge(0, 1, 2)), ("01:00.0", open), ("02:00.0", nic)]);
        let function = Function::claim(&bus, at("02:00.0")).unwrap();
        bus.writes.borrow_mut().clear();
        function.enable_path(&[at("00:01.0"), at("01:00.0")]).unwrap();
        assert_eq!(*bus.writes.borrow(), [(0x04, 2, 0x06)], "one that is open already is left alone");
        let error = function.enable_path(&[at("00:02.0")]).unwrap_err();
        assert!(matches!(error, PathError::Command(error) if error.address == at("00:02.0")), "{error}");
    }

    #[test]
    fn a_way_that_passes_nothing_on_is_no_way() {
        let way = |function: &Function<&MockBus>| function.enable_path(&[at("00:01.0"), at("01:00.0")]);
        let nic = || {
            let low = MockBar::memory32(0, 0xfe00_1000, 0x1000);
            MockFunction::nic().bar(low).bar(MockBar::memory64(2, 0x40_0010_0000, 0x1000))
        };
        let closed = MockFunction::bridge(0, 1, 2);
        let memory = [0x00, 0xfe, 0x00, 0xfe];
        let low = closed.clone().with(0x20, &memory);
        let both = |bridge: MockFunction| {
            let high = bridge.with(0x20, &memory).with(0x24, &[0x11, 0x00, 0x11, 0x00]);
            high.with(0x28, &[0x40, 0, 0, 0, 0x40, 0, 0, 0])
        };
        for (outer, expected) in [
            (closed.clone(), Some("02:00.0 BAR0")),
            (low, Some("02:00.0 BAR2")),
            (both(closed.clone()), None),
            (closed.with(0x09, &[1]), None),
        ] {
            let inner = both(MockFunction::bridge(1, 2, 2));
            let bus = MockBus::new([("00:01.0", outer), ("01:00.0", inner), ("02:00.0", nic())]);
            let function = Function::claim(&bus, at("02:00.0")).unwrap();
            let failed = way(&function).err().map(|error| error.to_string());
            assert_eq!(failed.as_ref().map(|text| &text[..12]), expected, "{failed:?}");
        }
    }
}
