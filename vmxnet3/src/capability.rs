//! Capabilities, from revision 7 on: what a device can do, of which it does what it was asked for.

use paravane_hal::fault::DeviceFault;
use paravane_hal::mmio::Mmio;
use paravane_net::{Offloads, Rss, RssKinds, TunnelKind};

use crate::command::ControlRegs;
use crate::regs::Query;
use crate::revision::Features;
use crate::tunnel::TunnelPorts;

bitflags::bitflags! {
    /// Those of `DCR0` that the driver has a use for. Not among them: doorbells in other places
    /// (bit 16) and completions out of order (bit 17), which would change what is all over the
    /// driver and are never asked for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Capabilities: u32 {
        /// Spreads by UDP.
        const UDP_RSS = 1;
        /// Spreads by ESP over IPv4.
        const ESP_RSS_IPV4 = 1 << 1;
        /// Spreads by ESP over IPv6.
        const ESP_RSS_IPV6 = 1 << 9;
        /// Completes checksums inside of Geneve,
        const GENEVE_CHECKSUM = 1 << 2;
        /// cuts there,
        const GENEVE_TSO = 1 << 3;
        /// and makes the outer checksums of what it cuts.
        const GENEVE_OUTER_CHECKSUM = 1 << 6;
        /// The same inside of VXLAN.
        const VXLAN_CHECKSUM = 1 << 4;
        /// Likewise.
        const VXLAN_TSO = 1 << 5;
        /// Likewise.
        const VXLAN_OUTER_CHECKSUM = 1 << 7;
    }
}

/// Doorbells in other places,
const LARGE_BAR: u32 = 1 << 16;
/// and completions out of order: with either, a driver that does not know loses frames, or buffers.
const OUT_OF_ORDER: u32 = 1 << 17;
/// In `PTCR0`: no hardware is passed through, so nothing there matters.
const NOT_APPLICABLE: u32 = 1 << 31;

impl Capabilities {
    /// What a spread as `rss` has it takes, and tunnels at `ports`.
    pub(crate) fn of(rss: Option<&Rss>, ports: TunnelPorts) -> Self {
        let kinds = rss.map_or(RssKinds::empty(), Rss::kinds);
        Self::of_spread(kinds) | Self::of_tunnels(ports)
    }

    /// What a spread by `kinds` takes.
    fn of_spread(kinds: RssKinds) -> Self {
        let needs = [
            (RssKinds::UDP4 | RssKinds::UDP6, Self::UDP_RSS),
            (RssKinds::ESP4, Self::ESP_RSS_IPV4),
            (RssKinds::ESP6, Self::ESP_RSS_IPV6),
        ];
        let needed = needs.into_iter().filter(|(of, _)| kinds.intersects(*of));
        needed.fold(Self::empty(), |all, (_, capability)| all | capability)
    }

    /// What tunnels at `ports` take.
    pub(crate) fn of_tunnels(ports: TunnelPorts) -> Self {
        let geneve = Self::GENEVE_CHECKSUM | Self::GENEVE_TSO | Self::GENEVE_OUTER_CHECKSUM;
        let vxlan = Self::VXLAN_CHECKSUM | Self::VXLAN_TSO | Self::VXLAN_OUTER_CHECKSUM;
        let needs = [(TunnelKind::Geneve, geneve), (TunnelKind::Vxlan, vxlan)];
        let needed = needs.into_iter().filter(|(kind, _)| ports.port(*kind).is_some());
        needed.fold(Self::empty(), |all, (_, capabilities)| all | capabilities)
    }

    /// What they are to whoever sends.
    pub(crate) fn offloads(self) -> Offloads {
        let each = [
            (Self::GENEVE_CHECKSUM, Offloads::GENEVE_CHECKSUM),
            (Self::GENEVE_TSO, Offloads::GENEVE_TSO),
            (Self::GENEVE_OUTER_CHECKSUM, Offloads::GENEVE_OUTER_CHECKSUM),
            (Self::VXLAN_CHECKSUM, Offloads::VXLAN_CHECKSUM),
            (Self::VXLAN_TSO, Offloads::VXLAN_TSO),
            (Self::VXLAN_OUTER_CHECKSUM, Offloads::VXLAN_OUTER_CHECKSUM),
        ];
        let had = each.into_iter().filter(|(capability, _)| self.contains(*capability));
        had.fold(Offloads::empty(), |all, (_, offload)| all | offload)
    }

    /// Asks for those of `wanted` that the device can, and for nothing else, which ends what a
    /// previous owner was granted. Which of them it has granted; before revision 7, where there is
    /// no such question, none. What it spreads by then is another one.
    ///
    /// # Errors
    ///
    /// [`DeviceFault::Gone`]; [`DeviceFault::UnknownKind`], for a device that goes on with what
    /// would have it work in another way than the driver does.
    pub(crate) fn ask_for(
        self,
        regs: &mut ControlRegs<impl Mmio>,
        features: Features,
    ) -> Result<Self, DeviceFault> {
        if !features.contains(Features::CAPABILITIES) {
            return Ok(Self::empty());
        }
        let offered = usable(regs.read_capabilities(), regs.read_pass_through());
        let wanted = self & Self::from_bits_truncate(offered);
        regs.ask_for_capabilities(wanted.bits());
        // It takes them on as it is asked which it did.
        let granted = regs.ask(Query::Dcr0)?;
        if granted & NOT_APPLICABLE != 0 {
            return Ok(Self::empty());
        }
        if granted & (LARGE_BAR | OUT_OF_ORDER) != 0 {
            return Err(DeviceFault::UnknownKind { what: "capabilities", value: granted });
        }
        Ok(wanted & Self::from_bits_truncate(granted))
    }
}

/// What the device can do, where hardware that is passed through has to be able to as well.
const fn usable(device: u32, pass_through: u32) -> u32 {
    let hardware = if pass_through & NOT_APPLICABLE == 0 { pass_through } else { u32::MAX };
    // All ones are nobody's answer.
    if device & NOT_APPLICABLE == 0 { device & hardware } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_that_is_passed_through_has_to_have_it_too() {
        assert_eq!(usable(0b111, NOT_APPLICABLE), 0b111);
        assert_eq!(usable(0b111, NOT_APPLICABLE | 0b100), 0b111);
        assert_eq!(usable(0b111, 0b101), 0b101);
        assert_eq!((usable(u32::MAX, u32::MAX), usable(0, u32::MAX)), (0, 0));
    }

    #[test]
    fn each_kind_of_a_spread_takes_its_own() {
        let of = |kinds| Capabilities::of_spread(kinds).bits();
        assert_eq!([of(RssKinds::UDP4), of(RssKinds::UDP6), of(RssKinds::ESP4)], [1, 1, 2]);
        assert_eq!([of(RssKinds::ESP6), of(RssKinds::TCP4 | RssKinds::IP6)], [1 << 9, 0]);
        assert_eq!(of(RssKinds::all()), 0x203);
    }
}
