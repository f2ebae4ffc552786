//! Capabilities, from revision 7 on: what the device can do beside what it always does, and what of
//! that it was asked for.

use super::Vmxnet3;
use super::layout::{bar1, rss_field};

pub(super) const UDP_RSS: u32 = 1;
pub(super) const ESP_RSS_IPV4: u32 = 1 << 1;
pub(super) const GENEVE_CHECKSUM: u32 = 1 << 2;
pub(super) const GENEVE_TSO: u32 = 1 << 3;
pub(super) const VXLAN_CHECKSUM: u32 = 1 << 4;
pub(super) const VXLAN_TSO: u32 = 1 << 5;
pub(super) const GENEVE_OUTER_CHECKSUM: u32 = 1 << 6;
pub(super) const VXLAN_OUTER_CHECKSUM: u32 = 1 << 7;
pub(super) const ESP_RSS_IPV6: u32 = 1 << 9;
pub(super) const LARGE_BAR: u32 = 1 << 16;
pub(super) const OUT_OF_ORDER: u32 = 1 << 17;
/// In `PTCR0`: nobody asked for hardware to be passed through, so nothing there matters.
pub(super) const NOT_APPLICABLE: u32 = 1 << 31;

/// What a device has that has all of which the model plays, and two that a driver had better leave
/// alone.
pub(super) const ALL: u32 = UDP_RSS
    | ESP_RSS_IPV4
    | GENEVE_CHECKSUM
    | GENEVE_TSO
    | VXLAN_CHECKSUM
    | VXLAN_TSO
    | GENEVE_OUTER_CHECKSUM
    | VXLAN_OUTER_CHECKSUM
    | ESP_RSS_IPV6
    | LARGE_BAR
    | OUT_OF_ORDER;

impl Vmxnet3 {
    /// The agreed revision has capability registers.
    fn has_capabilities(&self) -> bool {
        self.revision().is_some_and(|revision| revision.number >= 7)
    }

    /// `DCR` or `PTCR` is read. Only the first of either means anything.
    pub(super) fn read_capabilities(&mut self, offset: usize) -> u32 {
        if !self.has_capabilities() {
            self.broken(format!("BAR1 register {offset:#x} read below revision 7"));
            return 0;
        }
        match offset {
            bar1::DCR => self.personality.capabilities,
            bar1::PTCR => self.personality.pass_through,
            _ => 0,
        }
    }

    /// `DCR0` is written: the driver asks for these, and for no others.
    pub(super) fn ask_for_capabilities(&mut self, wanted: u32) {
        if !self.has_capabilities() {
            self.broken("DCR0 written below revision 7");
            return;
        }
        if self.active.is_some() && (self.granted ^ wanted) & LARGE_BAR != 0 {
            self.broken("LARGE_BAR changed while the device runs");
        }
        self.granted = wanted & self.available();
    }

    /// What `SET_RSS_FIELDS` may turn on.
    pub(super) fn grantable_fields(&self) -> u32 {
        let needs = [
            (rss_field::UDP4 | rss_field::UDP6, UDP_RSS),
            (rss_field::ESP4, ESP_RSS_IPV4),
            (rss_field::ESP6, ESP_RSS_IPV6),
        ];
        let missing = needs.into_iter().filter(|(_, capability)| self.granted & capability == 0);
        let without = missing.fold(0, |without, (fields, _)| without | fields);
        self.personality.rss_fields & if self.has_capabilities() { !without } else { u32::MAX }
    }
}
