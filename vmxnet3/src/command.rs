//! BAR1 as control uses it: commands, addresses, and what waits to be acknowledged.
//!
//! "Write `CMD`, read `CMD`" is one piece: nothing may write a command in between. Every method
//! takes `&mut self`, so whoever owns the value owns that piece. The hypervisor carries a command
//! out inside the write; nothing here waits.

use paravane_hal::fault::DeviceFault;
use paravane_hal::mmio::{Mmio, MmioExt};
use paravane_net::MacAddr;

use crate::regs::{Command, EventCause, GONE, Query, bar1};

/// Control registers, owned.
pub(crate) struct ControlRegs<R>(R);

impl<R: Mmio> ControlRegs<R> {
    pub(crate) const fn new(region: R) -> Self {
        Self(region)
    }

    /// The registers, to be given back.
    pub(crate) fn into_region(self) -> R {
        self.0
    }

    /// Gives a command and reads its result, which also means that it has been carried out and
    /// every memory access before it has.
    ///
    /// # Errors
    ///
    /// [`DeviceFault::Gone`].
    pub(crate) fn run(&mut self, command: Command) -> Result<u32, DeviceFault> {
        self.tell(command);
        self.result()
    }

    /// Gives a command that has no result.
    pub(crate) fn tell(&mut self, command: Command) {
        self.0.write(&bar1::CMD, command as u32);
    }

    /// Asks a question.
    ///
    /// # Errors
    ///
    /// [`DeviceFault::Gone`].
    pub(crate) fn ask(&mut self, query: Query) -> Result<u32, DeviceFault> {
        self.0.write(&bar1::CMD, query as u32);
        self.result()
    }

    fn result(&mut self) -> Result<u32, DeviceFault> {
        answer(self.0.read(&bar1::CMD))
    }

    /// The protocol revisions on offer.
    pub(crate) fn read_revisions(&self) -> Result<u32, DeviceFault> {
        answer(self.0.read(&bar1::VRRS))
    }

    /// The versions of the pass-through protocol on offer.
    pub(crate) fn read_upt_versions(&self) -> Result<u32, DeviceFault> {
        answer(self.0.read(&bar1::UVRS))
    }

    /// Chooses a revision, and the only version of the pass-through protocol.
    pub(crate) fn choose(&mut self, revision_bit: u32) {
        self.0.write(&bar1::VRRS, revision_bit);
        self.0.write(&bar1::UVRS, 1);
    }

    /// Says where `DriverShared` is; the half that makes it valid last.
    #[expect(clippy::cast_possible_truncation, reason = "the address is cut into halves")]
    pub(crate) fn set_shared(&mut self, addr: u64) {
        self.0.write(&bar1::DSAL, addr as u32);
        self.0.write(&bar1::DSAH, (addr >> 32) as u32);
    }

    /// Our address as the device has it now.
    pub(crate) fn read_mac(&self) -> MacAddr {
        mac_of(self.0.read(&bar1::MACL), self.0.read(&bar1::MACH))
    }

    /// Our address as the device was made with it.
    pub(crate) fn ask_permanent_mac(&mut self) -> Result<MacAddr, DeviceFault> {
        let low = self.ask(Query::PermMacLow)?;
        Ok(mac_of(low, self.ask(Query::PermMacHigh)?))
    }

    /// Sets our address and looks whether the device has it now: a host may keep the old one.
    ///
    /// # Errors
    ///
    /// [`DeviceFault::Gone`].
    pub(crate) fn change_mac(&mut self, mac: MacAddr) -> Result<bool, DeviceFault> {
        self.set_mac(mac);
        let (low, high) = (answer(self.0.read(&bar1::MACL))?, answer(self.0.read(&bar1::MACH))?);
        Ok(mac_of(low, high) == mac)
    }

    /// Sets our address; the half that makes it valid last.
    pub(crate) fn set_mac(&mut self, mac: MacAddr) {
        let [a, b, c, d, e, f] = mac.0;
        self.0.write(&bar1::MACL, u32::from_le_bytes([a, b, c, d]));
        self.0.write(&bar1::MACH, u32::from_le_bytes([e, f, 0, 0]));
    }

    /// What the device can do, on request.
    pub(crate) fn read_capabilities(&self) -> u32 {
        self.0.read(&bar1::DCR0)
    }

    /// What hardware can do that is passed through.
    pub(crate) fn read_pass_through(&self) -> u32 {
        self.0.read(&bar1::PTCR0)
    }

    /// Asks for these capabilities, in place of those that were asked for before.
    pub(crate) fn ask_for_capabilities(&mut self, wanted: u32) {
        self.0.write(&bar1::DCR0, wanted);
    }

    /// Acknowledges events.
    pub(crate) fn acknowledge(&mut self, causes: EventCause) {
        self.0.write(&bar1::ECR, causes.bits());
    }

    /// Whether the device raised its interrupt line, which falls by the question. Only while the
    /// pin is what it interrupts with.
    pub(crate) fn take_line(&mut self) -> bool {
        !matches!(self.0.take(&bar1::ICR), 0 | GONE)
    }
}

/// A register's value, unless nobody answered.
fn answer(value: u32) -> Result<u32, DeviceFault> {
    if value == GONE { Err(DeviceFault::Gone) } else { Ok(value) }
}

fn mac_of(low: u32, high: u32) -> MacAddr {
    let [a, b, c, d] = low.to_le_bytes();
    let [e, f, ..] = high.to_le_bytes();
    MacAddr([a, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_wire_order_from_the_lowest_byte() {
        assert_eq!(mac_of(0x1200_5452, 0xffff_5634), MacAddr([0x52, 0x54, 0x00, 0x12, 0x34, 0x56]));
    }

    #[test]
    fn all_ones_is_nobody() {
        assert_eq!(answer(u32::MAX), Err(DeviceFault::Gone));
        assert_eq!(answer(0x03e8_0001), Ok(0x03e8_0001));
    }
}
