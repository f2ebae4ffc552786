//! Commands.

use super::layout::{cmd, shared};
use super::rss::DEFAULT_FIELDS;
use super::wake::Wake;
use super::{Vmxnet3, high, low};
use crate::fault::{Action, FaultPoint};

impl Vmxnet3 {
    pub(super) fn command(&mut self, command: u32) {
        self.commands.push(command);
        self.result = 0;
        let here = |action: &Action| match action {
            // Never these two; see `faults`.
            Action::Drop => !matches!(command, cmd::QUIESCE_DEV | cmd::RESET_DEV),
            Action::Refuse => matches!(command, cmd::ACTIVATE_DEV | cmd::QUIESCE_DEV | cmd::RESET_DEV),
            _ => false,
        };
        match self.ask(FaultPoint::Command, command, &mut (), here) {
            Some(Action::Drop) => {}
            Some(_) => self.result = 1,
            None if self.gone => {}
            None => {
                self.run(command);
                let mut result = self.result;
                let _ = self.ask(FaultPoint::Reply, command, &mut result, |_| false);
                self.result = result;
            }
        }
    }

    fn run(&mut self, command: u32) {
        if !self.knows(command) {
            self.broken(format!("command {command:#x} at revision bit {:#x}", self.chosen_revision));
            self.result = self.personality.unknown_answer;
            return;
        }
        let link_up = self.personality.link_up;
        match command {
            cmd::ACTIVATE_DEV => self.result = u32::from(!self.activate()),
            cmd::QUIESCE_DEV => {
                self.note_unmasked();
                self.deactivate();
            }
            cmd::RESET_DEV => {
                self.reset_device();
                if self.line {
                    self.broken("reset with the line raised: it stays up");
                }
            }
            cmd::UPDATE_RX_MODE
            | cmd::UPDATE_MAC_FILTERS
            | cmd::UPDATE_VLAN_FILTERS
            | cmd::UPDATE_FEATURE => self.update(command),
            cmd::UPDATE_RSSIDT => self.result = self.update_table(),
            cmd::UPDATE_IML => self.result = self.update_moderation(),
            cmd::UPDATE_PMCFG => self.result = self.update_wake(),
            cmd::SET_COALESCE => self.result = self.set_coalescing(),
            cmd::REGISTER_MEMREGS => self.result = self.register_regions(),
            cmd::SET_RING_BUFFER_SIZE => self.result = self.set_buffer_sizes(),
            cmd::SET_RSS_FIELDS => self.result = self.set_rss_fields(),
            cmd::GET_QUEUE_STATUS => self.write_status(),
            cmd::GET_STATS => self.write_stats(),
            cmd::GET_LINK => self.result = if self.link { link_up } else { link_up & !1 },
            cmd::GET_PERM_MAC_LO => self.result = low(self.permanent_mac),
            cmd::GET_PERM_MAC_HI => self.result = high(self.permanent_mac),
            cmd::GET_CONF_INTR => self.result = self.personality.conf_intr,
            cmd::GET_COALESCE => self.result = self.get_coalescing(),
            cmd::GET_DID_LO => self.result = 0x07b0,
            cmd::GET_DID_HI | cmd::GET_ADAPTIVE_RING_INFO => self.result = 1,
            cmd::GET_DEV_EXTRA_INFO => {}
            cmd::GET_RSS_FIELDS => {
                self.result = self.active.as_ref().map_or(DEFAULT_FIELDS, |active| active.rss_fields);
            }
            cmd::GET_TXDATA_DESC_SIZE => self.result = self.personality.tx_data_slot_bytes,
            cmd::GET_MAX_CAPABILITIES => self.result = self.personality.capabilities,
            cmd::GET_DCR0_REG => self.result = self.granted,
            cmd::GET_MAX_QUEUES_CONF => self.result = self.personality.max_queues_conf,
            _ => {
                self.broken(format!("command {command:#x}, which is reserved"));
                self.result = self.personality.unknown_answer;
            }
        }
    }

    /// Whether the agreed revision has `command`. Before there is one, only the first's are safe.
    fn knows(&self, command: u32) -> bool {
        let first = &self.personality.revisions[0];
        let revision = self.revision().unwrap_or(*first);
        let last = match command & 0xffff_0000 {
            cmd::FIRST_SET => revision.last_set,
            cmd::FIRST_GET => revision.last_get,
            _ => return false,
        };
        command & 0xffff <= last.into()
    }

    /// As after power-on.
    pub(super) fn power_on(&mut self) {
        self.reset_device();
        self.shared = 0;
        self.pending_low = None;
        self.result = 0;
        self.chosen_revision = 0;
        self.line = false;
    }

    fn reset_device(&mut self) {
        self.deactivate();
        if self.personality.forgets_shared {
            self.shared = 0;
        }
        self.mac = self.permanent_mac;
        self.granted = 0;
        self.wake = Wake::default();
        self.masked.fill(true);
        self.pending.fill(false);
    }

    /// A device that is quiesced does not listen to masks, and remembers them.
    pub(super) fn note_unmasked(&mut self) {
        if let Some(in_use) = self.active.as_ref().map(|active| usize::from(active.vectors_in_use)) {
            self.left_unmasked = (0..)
                .zip(self.masked)
                .take(in_use)
                .filter(|(_, masked)| !masked)
                .map(|(vector, _)| vector)
                .collect();
        }
    }

    /// Reads the part of `DriverShared` again that `command` is about.
    fn update(&mut self, command: u32) {
        // Taken out meanwhile: reading memory needs the rest of the model.
        let Some(mut active) = self.active.take() else { return };
        let at = active.shared;
        match command {
            cmd::UPDATE_RX_MODE => active.filter.mode = self.get32(at + shared::RX_MODE),
            cmd::UPDATE_MAC_FILTERS => active.filter.groups = self.read_groups(at),
            cmd::UPDATE_VLAN_FILTERS => active.filter.vlans = self.read_vlans(at),
            _ => {
                let features = self.get64(at + shared::UPT_FEATURES);
                let known = self.revision().map_or(0, |revision| revision.features());
                if features & !known == 0 {
                    active.features = features;
                } else {
                    self.result = self.refuse(format!("UPDATE_FEATURE with {features:#x}"));
                }
            }
        }
        self.active = Some(active);
    }
}
