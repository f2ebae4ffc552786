//! Which frames the device lets through.

use super::Vmxnet3;
use super::layout::{rx_mode, shared};

/// What the driver last told of `rxFilterConf`, each part by its command.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    /// `rxMode`.
    pub(super) mode: u32,
    /// `mfTable`.
    pub(super) groups: Vec<[u8; 6]>,
    /// `vfTable`.
    pub(super) vlans: [u32; 128],
}

/// The VLAN of a tagged frame.
fn vlan(frame: &[u8]) -> Option<u16> {
    match frame.get(12..16)? {
        [0x81, 0x00, high, low] => Some(u16::from_be_bytes([*high, *low]) & 0xfff),
        _ => None,
    }
}

impl Filter {
    /// Lets nothing through: what a device has that was told nothing yet.
    pub(super) const fn closed() -> Self {
        Self { mode: 0, groups: Vec::new(), vlans: [0; 128] }
    }

    /// Whether a device with address `mac` receives `frame`.
    pub(super) fn passes(&self, mac: [u8; 6], frame: &[u8], passes_untagged: bool) -> bool {
        self.passes_address(mac, frame) && self.passes_vlan(vlan(frame), passes_untagged)
    }

    fn passes_address(&self, mac: [u8; 6], frame: &[u8]) -> bool {
        let to = frame.first_chunk().copied().unwrap_or([0; 6]);
        let wanted = if to == [0xff; 6] {
            rx_mode::BCAST
        } else if to[0] & 1 != 0 {
            rx_mode::ALL_MULTI | if self.groups.contains(&to) { rx_mode::MCAST } else { 0 }
        } else if to == mac {
            rx_mode::UCAST
        } else {
            0
        };
        self.mode & (wanted | rx_mode::PROMISC) != 0
    }

    fn passes_vlan(&self, vlan: Option<u16>, passes_untagged: bool) -> bool {
        if self.mode & rx_mode::PROMISC != 0 && self.vlans == [0; 128] {
            return true;
        }
        match vlan {
            None | Some(0 | 4095) if passes_untagged => true,
            // Bit 0 is for untagged frames too.
            _ => {
                let vlan = vlan.unwrap_or(0);
                self.vlans[usize::from(vlan >> 5)] >> (vlan & 31) & 1 != 0
            }
        }
    }
}

impl Vmxnet3 {
    /// Reads all of `rxFilterConf`, as activation does.
    pub(super) fn read_filter(&mut self, driver_shared: u64) -> Filter {
        Filter {
            mode: self.get32(driver_shared + shared::RX_MODE),
            groups: self.read_groups(driver_shared),
            vlans: self.read_vlans(driver_shared),
        }
    }

    pub(super) fn read_groups(&mut self, driver_shared: u64) -> Vec<[u8; 6]> {
        let len_bytes = usize::from(self.get16(driver_shared + shared::MF_TABLE_LEN));
        let table = self.get64(driver_shared + shared::MF_TABLE_PA);
        let mut bytes = vec![0; len_bytes];
        if len_bytes == 0 || !self.read_memory(table, &mut bytes) {
            return Vec::new();
        }
        let (groups, rest) = bytes.as_chunks();
        if !rest.is_empty() || groups.iter().any(|group| group[0] & 1 == 0) {
            self.broken(format!("a multicast table of {len_bytes} bytes that is no list of groups"));
        }
        groups.to_vec()
    }

    pub(super) fn read_vlans(&mut self, driver_shared: u64) -> [u32; 128] {
        let table = self.get::<512>(driver_shared + shared::VF_TABLE).unwrap_or([0; 512]);
        let (words, _) = table.as_chunks();
        std::array::from_fn(|index| u32::from_le_bytes(words[index]))
    }
}
