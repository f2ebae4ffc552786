//! The registers: what reads and writes of the BARs do.

use super::faults::Later;
use super::{Vmxnet3, high, low};
use crate::fault::{Action, FaultPoint};
use crate::registers::{DeviceModel, Width};

impl Vmxnet3 {
    fn read_bar1(&mut self, offset: usize) -> u32 {
        match offset {
            0x00 => self.personality.revisions,
            0x08 => 1,
            0x20 => self.result,
            0x28 => low(self.mac),
            0x30 => high(self.mac),
            0x38 => {
                let (msi, msix) = self.message_interrupts();
                if msi || msix {
                    self.broken("ICR read with message interrupts on");
                }
                let raised = std::mem::take(&mut self.line);
                self.function.set_pin(false);
                if raised && self.active.is_some_and(|active| active.auto_mask) {
                    self.masked[0] = true;
                }
                u32::from(raised)
            }
            _ => 0,
        }
    }

    fn write_bar1(&mut self, offset: usize, value: u32) {
        match offset {
            0x00 => self.chosen_revision = value,
            0x08 if value != 1 => self.broken(format!("UPT version {value:#x} chosen")),
            0x08 => {}
            0x10 => self.pending_low = Some(value),
            0x18 => match self.pending_low.take() {
                Some(low) => self.shared = u64::from(value) << 32 | u64::from(low),
                None => self.broken("DSAH without DSAL before it"),
            },
            0x20 => self.command(value),
            0x28 => self.mac[..4].copy_from_slice(&value.to_le_bytes()),
            0x30 => self.mac[4..].copy_from_slice(&value.to_le_bytes()[..2]),
            0x40 if self.shared == 0 => self.broken("ECR written without DriverShared"),
            0x40 => {
                let ecr = self.get32(self.shared + 0x2b8) & !value;
                self.put32(self.shared + 0x2b8, ecr);
            }
            _ => self.broken(format!("BAR1 register {offset:#x} written")),
        }
    }

    fn write_bar0(&mut self, offset: usize, value: u32) {
        let Some(mut active) = self.active else {
            self.broken(format!("BAR0 register {offset:#x} written while inactive"));
            return;
        };
        match offset {
            0x000..=0x0c0 => {
                let vector = offset / 8;
                self.masked[vector] = value & 1 != 0;
                if !self.masked[vector] && self.pending[vector] {
                    self.raise(u8::try_from(vector).unwrap_or(0));
                }
            }
            0x600 => {
                self.doorbells.push((offset, value));
                let here = |action: &Action| matches!(action, Action::Drop | Action::Delay { .. });
                match self.ask(FaultPoint::Doorbell, subject(0, offset), &mut (), here) {
                    Some(Action::Drop) => {}
                    Some(Action::Delay { ticks }) => self.put_off(ticks, Later::Doorbell),
                    _ => self.transmit(),
                }
            }
            0x800 | 0xa00 => {
                self.doorbells.push((offset, value));
                active.rx_told[usize::from(offset == 0xa00)] = Some(value);
                self.active = Some(active);
            }
            _ => self.broken(format!("doorbell {offset:#x} of a queue that does not exist")),
        }
    }
}

/// How a plan names a register.
fn subject(bar: u8, offset_bytes: usize) -> u32 {
    u32::from(bar) << 16 | u32::try_from(offset_bytes).unwrap_or(0xffff)
}

impl DeviceModel for Vmxnet3 {
    fn read(&mut self, bar: u8, offset_bytes: usize, width: Width) -> u32 {
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
        if width != Width::Word || (bar < 2 && !offset_bytes.is_multiple_of(8)) {
            self.broken(format!("BAR{bar} {offset_bytes:#x} written with {width:?}"));
        }
        // Where shared memory is cannot be misheard; see `faults`.
        let is_address = bar == 1 && matches!(offset_bytes, 0x10 | 0x18 | 0x20);
        let mut value = value;
        if bar < 2 && !is_address {
            let here = |action: &Action| *action == Action::Drop;
            if self.ask(FaultPoint::RegisterWrite, subject(bar, offset_bytes), &mut value, here).is_some() {
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
}
