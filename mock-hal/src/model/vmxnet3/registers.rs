//! The registers: what reads and writes of the BARs do.

use super::faults::Later;
use super::layout::{bar0, bar1, shared};
use super::{Vmxnet3, capability, high, low};
use crate::fault::{Action, FaultPoint};
use crate::registers::{DeviceModel, Width};

/// A register of BAR0.
enum Bar0 {
    Imr(u8),
    TxProd(usize),
    /// Queue and ring.
    RxProd(usize, usize),
}

impl Bar0 {
    /// Where doorbells are at `places`.
    fn at(offset: usize, places: [usize; 4]) -> Option<Self> {
        let [txprod, rxprod, rxprod2, end] = places;
        let number = |start: usize| (offset - start) / bar0::STRIDE;
        match offset {
            _ if offset >= end => None,
            _ if offset >= rxprod2 => Some(Self::RxProd(number(rxprod2), 1)),
            _ if offset >= rxprod => Some(Self::RxProd(number(rxprod), 0)),
            _ if offset >= txprod => Some(Self::TxProd(number(txprod))),
            bar0::IMR..bar0::TXPROD => u8::try_from(number(bar0::IMR)).ok().map(Self::Imr),
            _ => None,
        }
    }
}

impl Vmxnet3 {
    fn read_bar1(&mut self, offset: usize) -> u32 {
        match offset {
            bar1::VRRS => self.personality.vrrs(),
            bar1::UVRS => 1,
            bar1::CMD => self.result,
            bar1::MACL => low(self.mac),
            bar1::MACH => high(self.mac),
            bar1::ICR => self.take_cause(),
            bar1::DCR..bar1::PTCR_END => self.read_capabilities(offset),
            _ => 0,
        }
    }

    fn write_bar1(&mut self, offset: usize, value: u32) {
        match offset {
            bar1::VRRS => self.chosen_revision = value,
            bar1::UVRS if value != 1 => self.broken(format!("UPT version {value:#x} chosen")),
            bar1::UVRS => {}
            bar1::DSAL => {
                self.pending_low = Some(value);
                // Nowhere, as far as it knows; and without an address at all it does not run.
                self.shared = 0;
                if value == 0 {
                    self.deactivate();
                }
            }
            bar1::DSAH => match self.pending_low.take() {
                Some(low) => self.shared = u64::from(value) << 32 | u64::from(low),
                None => self.broken("DSAH without DSAL before it"),
            },
            bar1::CMD => self.command(value),
            bar1::MACL => self.mac[..4].copy_from_slice(&value.to_le_bytes()),
            bar1::MACH => self.mac[4..].copy_from_slice(&value.to_le_bytes()[..2]),
            bar1::ECR if self.shared == 0 => self.broken("ECR written without DriverShared"),
            bar1::ECR => {
                let events = self.get32(self.shared + shared::ECR) & !value;
                self.put32(self.shared + shared::ECR, events);
            }
            bar1::DCR => self.ask_for_capabilities(value),
            _ => self.broken(format!("BAR1 register {offset:#x} written")),
        }
    }

    fn write_bar0(&mut self, offset: usize, value: u32) {
        let Some(active) = &self.active else {
            self.broken(format!("BAR0 register {offset:#x} written while inactive"));
            return;
        };
        let (tx, rx) = (active.tx.len(), active.rx.len());
        let is_large = self.granted & capability::LARGE_BAR != 0;
        match Bar0::at(offset, if is_large { bar0::LARGE } else { bar0::CLASSIC }) {
            Some(Bar0::Imr(vector)) if vector < self.personality.vectors() => {
                self.mask(vector, value & 1 != 0)
            }
            Some(Bar0::TxProd(queue)) if queue < tx => {
                self.doorbells.push((offset, value));
                let here = |action: &Action| matches!(action, Action::Drop | Action::Delay { .. });
                let action = self.ask(FaultPoint::Doorbell, subject(0, offset), &mut (), here);
                if let Some(Action::Delay { ticks }) = action {
                    self.put_off(ticks, Later::Doorbell(queue));
                }
                self.doorbell_rang(queue, action.is_none());
            }
            Some(Bar0::RxProd(queue, ring)) if queue < rx => {
                self.doorbells.push((offset, value));
                if let Some(queue) = self.rx(queue) {
                    queue.rings[ring].told = Some(value);
                }
            }
            _ => self.broken(format!("BAR0 register {offset:#x}, which does not exist, written")),
        }
    }
}

/// How a plan names a register.
fn subject(bar: u8, offset_bytes: usize) -> u32 {
    u32::from(bar) << 16 | u32::try_from(offset_bytes).unwrap_or(0xffff)
}

impl DeviceModel for Vmxnet3 {
    fn read(&mut self, bar: u8, offset_bytes: usize, width: Width) -> u32 {
        self.accesses += 1;
        if width != Width::Word {
            self.broken(format!("BAR{bar} {offset_bytes:#x} read with {width:?}"));
        }
        match bar {
            _ if self.gone => u32::MAX,
            1 => {
                let mut value = self.read_bar1(offset_bytes);
                let _ = self.ask(FaultPoint::RegisterRead, subject(1, offset_bytes), &mut value, |_| false);
                if self.gone { u32::MAX } else { value }
            }
            _ => 0,
        }
    }

    fn write(&mut self, bar: u8, offset_bytes: usize, width: Width, value: u32) {
        self.accesses += 1;
        if width != Width::Word || (bar < 2 && !offset_bytes.is_multiple_of(bar0::STRIDE)) {
            self.broken(format!("BAR{bar} {offset_bytes:#x} written with {width:?}"));
        }
        // Where shared memory is cannot be misheard; see `faults`.
        let is_address = bar == 1 && matches!(offset_bytes, bar1::DSAL | bar1::DSAH | bar1::CMD);
        let mut value = value;
        if bar < 2 && !is_address {
            let here = |action: &Action| *action == Action::Drop;
            if self.ask(FaultPoint::RegisterWrite, subject(bar, offset_bytes), &mut value, here).is_some() {
                self.lose_count();
                return;
            }
        }
        match bar {
            _ if self.gone => {}
            0 => self.write_bar0(offset_bytes, value),
            1 => self.write_bar1(offset_bytes, value),
            _ => {}
        }
    }
    fn sleep(&mut self) {
        self.note_unmasked();
    }

    fn reset(&mut self) {
        self.power_on();
    }
}
