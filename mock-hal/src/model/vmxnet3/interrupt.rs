//! Interrupts, and the events that some of them are about.

use super::Vmxnet3;
use super::faults::Later;
use super::layout::{ecr, shared};
use super::queue::QueueId;
use crate::fault::{Action, FaultPoint};
use crate::pci::InterruptMode;

impl Vmxnet3 {
    /// Plugs or pulls the cable.
    pub fn set_link(&mut self, up: bool) {
        self.link = up;
        self.raise_event(ecr::LINK);
    }

    /// The link has `mbps` from now on, up or down.
    pub fn set_link_speed(&mut self, mbps: u16) {
        self.personality.link_up = u32::from(mbps) << 16 | 1;
        self.raise_event(ecr::LINK);
    }

    /// Stops `queue` with `code` and reports it: nothing moves there until the device was reset.
    pub fn stop_queue(&mut self, queue: QueueId, code: u32) {
        let event = self.mark_stopped(queue, code);
        self.raise_event(event);
    }

    /// What stands behind the device changes: from emulation to pass-through, or to another host.
    pub fn device_changed(&mut self) {
        self.raise_event(ecr::DIC);
    }

    /// Stops `queue`; the event that tells of it.
    pub(super) fn mark_stopped(&mut self, queue: QueueId, code: u32) -> u32 {
        match queue {
            QueueId::Tx(index) => {
                if let Some(queue) = self.tx(index) {
                    queue.stopped = Some(code);
                }
                ecr::TQERR
            }
            QueueId::Rx(index) => {
                if let Some(queue) = self.rx(index) {
                    queue.stopped = Some(code);
                }
                ecr::RQERR
            }
        }
    }

    /// Sets an event without interrupting: the interrupt is for the next to send.
    pub(super) fn mark_event(&mut self, bits: u32) {
        if let Some(active) = &self.active {
            let (at, vector) = (active.shared + shared::ECR, active.event_vector);
            let pending = self.get32(at) | bits;
            self.put32(at, pending);
            self.pending[usize::from(vector)] = true;
        }
    }

    fn raise_event(&mut self, bits: u32) {
        if let Some(vector) = self.active.as_ref().map(|active| active.event_vector) {
            self.mark_event(bits);
            self.raise(vector);
        }
    }

    /// Interrupts by `vector`, or remembers to.
    pub(super) fn raise(&mut self, vector: u8) {
        let here = |action: &Action| {
            matches!(action, Action::Drop | Action::Delay { .. } | Action::Duplicate | Action::Invent { .. })
        };
        if let Some(in_use) = self.active.as_ref().map(|active| active.vectors_in_use) {
            match self.ask(FaultPoint::Interrupt, vector.into(), &mut (), here) {
                Some(Action::Drop) => return,
                Some(Action::Delay { ticks }) => return self.put_off(ticks, Later::Interrupt(vector)),
                // Whatever is masked.
                Some(Action::Duplicate) => self.interrupt(vector),
                Some(Action::Invent { index }) => self.interrupt(index.to_le_bytes()[0] % in_use),
                _ => {}
            }
        }
        let Some(active) = &self.active else { return };
        let (at, auto_mask) = (active.intr_ctrl, active.auto_mask);
        let index = usize::from(vector);
        if self.masked[index] || self.get32(at) & shared::DISABLE_ALL != 0 {
            self.pending[index] = true;
            return;
        }
        self.pending[index] = false;
        let mode = self.function.mode();
        if mode != InterruptMode::Msix && vector != 0 {
            self.broken(format!("vector {vector} without MSI-X"));
        }
        self.interrupt(vector);
        // The pin is masked by whoever asks for the cause.
        if mode != InterruptMode::Pin && auto_mask {
            self.masked[index] = true;
        }
    }

    fn interrupt(&mut self, vector: u8) {
        match self.function.mode() {
            InterruptMode::Msix => self.function.raise_msix(vector.into()),
            InterruptMode::Msi => _ = self.function.raise_msi(),
            InterruptMode::Pin => self.set_line(true),
        }
        self.interrupts.push(vector);
    }

    pub(super) fn set_line(&mut self, up: bool) {
        self.line = up;
        self.function.set_pin(up);
    }

    /// `ICR` is read: whether it is this device. The line falls.
    pub(super) fn take_cause(&mut self) -> u32 {
        if self.function.mode() != InterruptMode::Pin {
            self.broken("ICR read with message interrupts on");
        }
        let raised = self.line;
        self.set_line(false);
        if raised && self.active.as_ref().is_some_and(|active| active.auto_mask) {
            self.masked[0] = true;
        }
        raised.into()
    }

    /// `IMR[vector]` is written.
    pub(super) fn mask(&mut self, vector: u8, masked: bool) {
        let index = usize::from(vector);
        self.masked[index] = masked;
        if self.personality.mask_drops_pin && self.line && !self.pending[index] {
            self.set_line(false);
        }
        if !masked && self.pending[index] {
            self.raise(vector);
        }
    }
}
