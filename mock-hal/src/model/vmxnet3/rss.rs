//! The spread of received frames over queues, by their hash.

use super::Vmxnet3;
use super::layout::{hash_type, rss_field, rss_type, shared, upt};
use super::packet::{ESP, Packet, TCP, UDP};
use crate::model::toeplitz::toeplitz;

/// How long the configuration is, and its table at most.
const CONF_BYTES: u32 = 176;
const MAX_ENTRIES: usize = 128;
const KEY_BYTES: u16 = 40;
const TOEPLITZ: u16 = 1;
/// What is hashed of fields where nobody asked for any.
pub(super) const DEFAULT_FIELDS: u32 = rss_field::TCP4 | rss_field::TCP6;

/// The RSS configuration, as activation read it and `UPDATE_RSSIDT` changed its table.
#[derive(Clone, Debug)]
pub(super) struct Rss {
    /// `hashType`.
    types: u16,
    /// `hashKey`.
    key: [u8; 40],
    /// `indTable`, as much of it as `indTableSize` says.
    table: Vec<u8>,
}

/// What a frame was hashed to: `rssType`, and the hash.
pub(super) type Hashed = (u32, u32);

impl Rss {
    /// The hash of a frame, of the finest kind that is asked for and that it has.
    pub(super) fn hash(&self, frame: &[u8], fields: u32) -> Option<Hashed> {
        let packet = Packet::parse(frame, 0)?;
        let v6 = packet.is_v6;
        let pick = |v4: u32, of_v6: u32| if v6 { of_v6 } else { v4 };
        let addresses = packet.addresses(frame);
        let of_addresses = pick(hash_type::IPV4.into(), hash_type::IPV6.into());
        let tcp = pick(hash_type::TCP_IPV4.into(), hash_type::TCP_IPV6.into());
        let types = u32::from(self.types);
        // Four bytes of the payload go into the hash: two ports, or the number of the association.
        let (is_wanted, kind) = match packet.protocol {
            TCP => (
                types & tcp != 0 && fields & pick(rss_field::TCP4, rss_field::TCP6) != 0,
                pick(rss_type::TCP4, rss_type::TCP6),
            ),
            UDP => {
                (fields & pick(rss_field::UDP4, rss_field::UDP6) != 0, pick(rss_type::UDP4, rss_type::UDP6))
            }
            ESP => {
                (fields & pick(rss_field::ESP4, rss_field::ESP6) != 0, pick(rss_type::ESP4, rss_type::ESP6))
            }
            _ => (false, 0),
        };
        if let Some(start) = packet.payload(frame).get(..4).filter(|_| is_wanted && !packet.is_fragment) {
            return Some((kind, toeplitz(&self.key, &[addresses, start].concat())));
        }
        (types & of_addresses != 0)
            .then(|| (pick(rss_type::IPV4, rss_type::IPV6), toeplitz(&self.key, addresses)))
    }

    /// The queue that a frame with this hash goes to. Frames without one go to queue 0.
    pub(super) fn queue(&self, hashed: Option<Hashed>) -> usize {
        hashed.map_or(0, |(_, hash)| usize::from(self.table[hash as usize % self.table.len()]))
    }
}

impl Vmxnet3 {
    /// Reads the RSS configuration of a device with `queues`, or tells what is wrong with it.
    pub(super) fn read_rss(&mut self, driver_shared: u64, queues: usize) -> Result<Rss, &'static str> {
        if queues < 2 {
            return Err("RSS is for several receive queues");
        }
        let conf = self.read_conf(driver_shared + shared::RSS_CONF_DESC, CONF_BYTES);
        let at = conf.ok_or("rssConfDesc says version 1 and 176 bytes")?;
        let [types, function, key_bytes, entries] = [0, 2, 4, 6].map(|offset| self.get16(at + offset));
        if types & !hash_type::ALL != 0 {
            return Err("hashType is known");
        }
        if function != TOEPLITZ || key_bytes != KEY_BYTES {
            return Err("hashFunc is Toeplitz, by 40 bytes");
        }
        let entries = usize::from(entries);
        if !(1..=MAX_ENTRIES).contains(&entries) {
            return Err("indTableSize");
        }
        let key = self.get(at + 8).unwrap_or([0; 40]);
        let mut table = vec![0; entries];
        if !self.read_memory(at + 0x30, &mut table) {
            return Err("indTable is in memory");
        }
        if table.iter().any(|queue| usize::from(*queue) >= queues) {
            return Err("indTable names queues that there are");
        }
        Ok(Rss { types, key, table })
    }

    /// Where a configuration of `len_bytes` is, if its descriptor at `at` says so.
    pub(super) fn read_conf(&mut self, at: u64, len_bytes: u32) -> Option<u64> {
        let is_right = self.get32(at) == 1 && self.get32(at + 4) == len_bytes;
        is_right.then(|| self.get64(at + 8))
    }

    /// `UPDATE_RSSIDT`. The rest of the configuration stays as activation read it. A device that
    /// spreads nothing ignores it, as QEMU's does, of which its driver cannot know.
    pub(super) fn update_table(&mut self) -> u32 {
        let asked_for = self.active.as_ref().is_some_and(|active| active.features & upt::RSS != 0);
        if asked_for && !self.personality.spreads {
            return 0;
        }
        let Some((driver_shared, queues, mut rss)) = self
            .active
            .as_ref()
            .and_then(|active| Some((active.shared, active.rx.len(), active.rss.clone()?)))
        else {
            return self.refuse("UPDATE_RSSIDT without RSS");
        };
        match self.read_rss(driver_shared, queues) {
            Ok(new) if new.table.len() == rss.table.len() => {
                rss.table = new.table;
                if let Some(active) = &mut self.active {
                    active.rss = Some(rss);
                }
                0
            }
            Ok(_) => self.refuse("UPDATE_RSSIDT with another indTableSize"),
            Err(what) => self.refuse(format!("UPDATE_RSSIDT: not so that {what}")),
        }
    }

    /// `SET_RSS_FIELDS`. What is granted, `GET_RSS_FIELDS` tells.
    pub(super) fn set_rss_fields(&mut self) -> u32 {
        let granted = self.grantable_fields();
        let known = self.revision().map_or(0, |revision| revision.rss_fields);
        let Some(active) = &self.active else { return self.refuse("SET_RSS_FIELDS before activation") };
        let (at, has_several) = (active.shared + shared::CMD_INFO, active.rx.len() > 1);
        let fields = self.get32(at);
        if !has_several {
            return self.refuse("SET_RSS_FIELDS with one receive queue");
        }
        if fields & !known != 0 {
            return self.refuse(format!("SET_RSS_FIELDS with {fields:#x}"));
        }
        if let Some(active) = &mut self.active {
            active.rss_fields = fields & granted;
        }
        0
    }

    /// Tells what the driver did wrong; the result of a command that is refused.
    pub(super) fn refuse(&mut self, what: impl Into<String>) -> u32 {
        self.broken(what);
        1
    }
}
