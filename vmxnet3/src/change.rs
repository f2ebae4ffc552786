//! Changes of the settings while the device runs: whether it has them, and how it is told.
//!
//! Each is memory that is rewritten, then a command that has the device look at it. It looks inside
//! the command, so a change is made when this comes back.

use log::warn;
use paravane_hal::Platform;
use paravane_hal::fault::DeviceFault;
use paravane_hal::field;
use paravane_net::{Change, ChangeError, MacAddr, RssKinds, RxOffloads, Settings};
use paravane_pci::ConfigAccess;
use zerocopy::little_endian::{U16, U32, U64};

use crate::capability::Capabilities;
use crate::coalesce;
use crate::config::{Config, LRO};
use crate::control::VmxControl;
use crate::device::Device;
use crate::filter::{self, RxMode};
use crate::regs::Command;
use crate::revision::Features;
use crate::rss;
use crate::shared::{FEATURE_INNER, FEATURE_LRO, FEATURE_RSS, FEATURE_RXCSUM, FEATURE_RXVLAN, Shared};
use crate::tunnel::Tunnels;

/// Whether `change` is something that a device of such features can be told that was started by
/// `config` with so many receive queues.
///
/// # Errors
///
/// [`ChangeError::NotOffered`], [`ChangeError::OutOfRange`].
pub(crate) fn check(
    config: &Config,
    features: Features,
    rx_queues: u8,
    change: &Change,
) -> Result<(), ChangeError> {
    let in_range = match change {
        Change::Filter(_) => true,
        Change::Addresses { multicast, .. } => multicast.addresses().iter().all(is_group),
        Change::Mac(mac) => mac.is_unicast(),
        Change::Vlan { vid, .. } => *vid < 1 << 12,
        Change::RxOffloads(offloads) => {
            let mut has = RxOffloads::empty();
            has.set(RxOffloads::CHECKSUM, config.rx_checksum);
            has.set(LRO, config.lro);
            // Both kinds or none, and none that is not vouched for.
            let makes_large = offloads.intersects(LRO);
            let needs = if makes_large { LRO | RxOffloads::CHECKSUM } else { RxOffloads::empty() };
            if !has.contains(*offloads) || !offloads.contains(needs) {
                return Err(ChangeError::NotOffered);
            }
            true
        }
        Change::Rss(to) => {
            rss::check(to, rx_queues, features)?;
            // The rest is read when it is activated.
            if !config.settings.rss.is_some_and(|from| rss::differ_by_table(&from, to)) {
                return Err(ChangeError::NotOffered);
            }
            true
        }
        Change::RxCoalescing(coalescing) | Change::TxCoalescing(coalescing)
            if features.contains(Features::COALESCING) =>
        {
            coalesce::is_in_range(coalescing)
        }
        // It says what it spreads by, and hashes nothing besides.
        Change::HashReport(_) if config.settings.rss.is_some() => true,
        _ => return Err(ChangeError::NotOffered),
    };
    if in_range { Ok(()) } else { Err(ChangeError::OutOfRange) }
}

fn is_group(MacAddr([first, ..]): &MacAddr) -> bool {
    first & 1 == 1
}

/// `uptFeatures` of a device that was started by `config`, where `settings` hold.
pub(crate) fn upt_features(config: &Config, settings: &Settings) -> U64 {
    let may = settings.rx_offloads.unwrap_or(RxOffloads::all());
    let features = [
        (config.rx_checksum && may.contains(RxOffloads::CHECKSUM), FEATURE_RXCSUM),
        (config.lro && may.contains(LRO), FEATURE_LRO),
        (settings.rss.is_some(), FEATURE_RSS),
        (config.strip_vlan, FEATURE_RXVLAN),
        (!config.tunnels.is_none(), FEATURE_INNER),
    ];
    U64::new(features.iter().filter(|(wanted, _)| *wanted).fold(0, |bits, (_, bit)| bits | bit))
}

impl<P: Platform, C: ConfigAccess> VmxControl<P, C> {
    /// Tells the device of a change that passed [`check`], after which the settings are `to`.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Refused`], [`ChangeError::Fault`].
    pub(crate) fn tell(&mut self, change: &Change, to: &Settings) -> Result<(), ChangeError> {
        match change {
            Change::Filter(_) => {
                // Some kinds of it lift the filter of VLANs.
                self.tell_vlans(to)?;
                self.tell_addresses(to)?;
            }
            Change::Addresses { .. } => self.tell_addresses(to)?,
            Change::Vlan { .. } => self.tell_vlans(to)?,
            Change::Mac(mac) => {
                let changed = self.device.regs.change_mac(*mac);
                if !changed.map_err(|fault| self.break_with(fault))? {
                    // The old one stays in the settings and, whatever became of it, in the device.
                    self.device.regs.set_mac(self.record.info.mac);
                    return Err(ChangeError::Refused);
                }
                self.record.info.mac = *mac;
            }
            Change::RxOffloads(_) => {
                let features = upt_features(&self.record.config, to);
                self.shared.set(field!(Shared, driver.misc.upt_features), features);
                self.run(Command::UpdateFeature)?;
            }
            Change::Rss(rss) => {
                self.shared.set(field!(Shared, rss.ind_table), rss::ind_table(rss));
                self.run(Command::UpdateRssidt)?;
            }
            Change::RxCoalescing(_) | Change::TxCoalescing(_) => {
                let is_told = self.tell_coalescing(to)?;
                if !is_told {
                    // What it made of it nobody knows; this it took before, or was told nothing.
                    let before = self.record.settings;
                    self.tell_coalescing(&before)?;
                    return Err(ChangeError::Refused);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the device goes by it.
    fn tell_coalescing(&mut self, to: &Settings) -> Result<bool, DeviceFault> {
        let told = coalesce::tell(&mut self.device.regs, &mut self.shared, to);
        told.map_err(|fault| self.break_with(fault))
    }

    /// Tells the device of all settings again, which lie in memory as they were told.
    pub(crate) fn tell_again(&mut self) -> Result<(), DeviceFault> {
        self.device.regs.set_mac(self.record.info.mac);
        let spreads = self.record.settings.rss.is_some();
        let commands = [
            (true, Command::UpdateFeature),
            (spreads, Command::UpdateRssidt),
            (true, Command::UpdateVlanFilters),
            (true, Command::UpdateMacFilters),
            (true, Command::UpdateRxMode),
        ];
        commands.into_iter().filter(|(has, _)| *has).try_for_each(|(_, command)| self.run(command))?;
        if let Some(sizes) = self.record.buffer_sizes {
            self.shared.set(field!(Shared, driver.cmd_info), sizes);
            self.run(Command::SetRingBufferSize)?;
        }
        let settings = self.record.settings;
        if !self.tell_coalescing(&settings)? {
            warn!("vmxnet3 {}: another implementation has no coalescing", self.device.function.address());
        }
        self.ask_for_capabilities()
    }

    /// Asks for what is asked for beside what activation told: what is spread by, and tunnels.
    ///
    /// Queues go on asking about tunnels as before, so a device that grants less of those is to be
    /// started anew.
    fn ask_for_capabilities(&mut self) -> Result<(), DeviceFault> {
        let (rss, ports) = (self.record.settings.rss, self.record.config.tunnels);
        let Device { regs, revision, .. } = &mut self.device;
        let features = revision.features();
        let granted = Capabilities::of(rss.as_ref(), ports).ask_for(regs, features);
        let spread_by = granted.and_then(|granted| {
            if !Tunnels::new(ports, features, granted).have_all_of(self.record.info.offloads) {
                return Err(DeviceFault::NeedsReset);
            }
            match &rss {
                Some(rss) => rss::ask_for_fields(regs, &mut self.shared, rss),
                None => Ok(RssKinds::empty()),
            }
        });
        self.record.spread_by = spread_by.map_err(|fault| self.break_with(fault))?;
        Ok(())
    }

    /// The table first, then the modes: what was let through and still is, is so all the time.
    fn tell_addresses(&mut self, to: &Settings) -> Result<(), DeviceFault> {
        if self.record.settings.multicast != to.multicast {
            let (groups, len_bytes) = filter::groups(&to.multicast);
            self.shared.set(field!(Shared, groups), groups);
            self.shared.set(field!(Shared, driver.rx_filter_conf.mf_table_len), U16::new(len_bytes));
            self.run(Command::UpdateMacFilters)?;
        }
        let mode = U32::new(RxMode::of(to).bits());
        self.shared.set(field!(Shared, driver.rx_filter_conf.rx_mode), mode);
        self.run(Command::UpdateRxMode)
    }

    fn tell_vlans(&mut self, to: &Settings) -> Result<(), DeviceFault> {
        let table = filter::vlans(to);
        if table == filter::vlans(&self.record.settings) {
            return Ok(());
        }
        self.shared.set(field!(Shared, driver.rx_filter_conf.vf_table), table);
        self.run(Command::UpdateVlanFilters)
    }

    fn run(&mut self, command: Command) -> Result<(), DeviceFault> {
        let answer = self.device.regs.run(command);
        answer.map(drop).map_err(|fault| self.break_with(fault))
    }
}
