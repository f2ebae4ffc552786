//! What a driver tells the device over the control queue, and what the device makes of it.
//!
//! Spec: VIRTIO 1.2, 5.1.6.5 "Control Virtqueue".

use std::collections::{BTreeMap, BTreeSet};

use super::super::Virtio;
use super::super::faults::{Said, low16};
use super::super::queue::Chain;
use super::rss::{Hashes, Spread};
use super::{Net, bits};
use crate::fault::FaultPoint;

/// The command was done.
pub const OK: u8 = 0;
/// It was not.
pub const ERR: u8 = 1;

/// What the device was told since it was reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// `PROMISC`: on until somebody says otherwise, as with QEMU.
    pub promisc: bool,
    /// `ALLMULTI`.
    pub all_multi: bool,
    /// `ALLUNI`.
    pub all_uni: bool,
    /// `NOMULTI`.
    pub no_multi: bool,
    /// `NOUNI`.
    pub no_uni: bool,
    /// `NOBCAST`.
    pub no_bcast: bool,
    /// `MAC_TABLE_SET`, its first half.
    pub unicast: Vec<[u8; 6]>,
    /// The other half.
    pub multicast: Vec<[u8; 6]>,
    /// `MAC_ADDR_SET`.
    pub mac: Option<[u8; 6]>,
    /// VLANs that are let through.
    pub vlans: BTreeSet<u16>,
    /// `VQ_PAIRS_SET`.
    pub pairs: u16,
    /// `RSS_CONFIG`.
    pub spread: Option<Spread>,
    /// `HASH_CONFIG`.
    pub hashes: Option<Hashes>,
    /// `GUEST_OFFLOADS_SET`.
    pub guest_offloads: Option<u64>,
    /// `TX_SET`: packets and microseconds.
    pub tx_coalescing: Option<(u32, u32)>,
    /// `RX_SET`.
    pub rx_coalescing: Option<(u32, u32)>,
    /// `VQ_SET`, by the number of the queue.
    pub queue_coalescing: BTreeMap<u16, (u32, u32)>,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            promisc: true,
            all_multi: false,
            all_uni: false,
            no_multi: false,
            no_uni: false,
            no_bcast: false,
            unicast: Vec::new(),
            multicast: Vec::new(),
            mac: None,
            vlans: BTreeSet::new(),
            pairs: 1,
            spread: None,
            guest_offloads: None,
            tx_coalescing: None,
            rx_coalescing: None,
            hashes: None,
            queue_coalescing: BTreeMap::new(),
        }
    }
}

/// Why a command is not done.
type Refusal = String;

impl Virtio<Net> {
    /// The number of the control queue: behind the pairs that the device has if the driver knows of
    /// them, behind the first if not.
    ///
    /// Spec: VIRTIO 1.2, 5.1.2 "Virtqueues".
    #[must_use]
    pub fn control_queue(&self) -> usize {
        let knows_pairs = self.accepted & (bits::MQ | bits::RSS) != 0;
        2 * if knows_pairs { usize::from(self.class.max_pairs) } else { 1 }
    }

    /// Does what there is to do in the control queue.
    pub(super) fn serve_commands(&mut self) {
        let queue = self.control_queue();
        if self.has(bits::CTRL_VQ) && self.class.answers_commands && queue < self.queues.len() {
            self.serve_queue(queue, |device, chain| device.obey(queue, chain));
        }
    }

    fn obey(&mut self, queue: usize, chain: &Chain) -> u16 {
        let memory = self.memory_of(queue);
        let bytes = chain.read(&memory).unwrap_or_else(|fault| {
            self.ring_violation(queue, fault.to_string());
            Vec::new()
        });
        if chain.writable_bytes() != 1 {
            self.ring_violation(queue, format!("room for {} bytes of ack", chain.writable_bytes()));
        }
        let lengths: Vec<_> = chain.segments.iter().map(|segment| segment.len_bytes).collect();
        if self.personality.simple_commands && (lengths.first() != Some(&2) || lengths.len() > 3) {
            self.refusals.push(format!("a command in descriptors of {lengths:?} bytes"));
        }
        let ack = match bytes.split_first_chunk::<2>() {
            Some(([class, command], _)) if self.class.refuses == Some((*class, *command)) => ERR,
            Some(([class, command], data)) => {
                self.class.commands.push((*class, *command));
                match self.do_command(*class, *command, data) {
                    Ok(()) => OK,
                    Err(why) => {
                        self.content_violation(format!("command {class}.{command} {data:02x?}: {why}"));
                        ERR
                    }
                }
            }
            None => {
                self.ring_violation(queue, format!("a command of {} bytes", bytes.len()));
                ERR
            }
        };
        let mut said = Said { index: chain.head.into(), length: 1, kind: ack.into(), ..Said::default() };
        let subject = u32::try_from(queue).unwrap_or(u32::MAX);
        let here = Self::plays_completion;
        let action = self.ask(FaultPoint::RequestCompletion, subject, &mut said, here);
        self.has_misled |= said.kind != ack.into();
        // What is no byte is not written at all.
        if let Ok(ack) = u8::try_from(said.kind)
            && chain.writable_bytes() > 0
            && let Err(fault) = chain.write(&memory, &[ack])
        {
            self.ring_violation(queue, fault.to_string());
        }
        self.say(queue, said, action);
        low16(said.generation)
    }

    /// Does one command, or says which rule it breaks.
    fn do_command(&mut self, class: u8, command: u8, data: &[u8]) -> Result<(), Refusal> {
        let accepted = self.accepted;
        let agreed = |feature: u64| {
            if accepted & feature == feature { Ok(()) } else { Err("its feature was not agreed".to_owned()) }
        };
        match (class, command) {
            (0, 0 | 1) => agreed(bits::CTRL_RX)?,
            (0, 2..=5) => agreed(bits::CTRL_RX_EXTRA)?,
            (1, 0) => agreed(bits::CTRL_RX)?,
            (1, 1) => agreed(bits::CTRL_MAC_ADDR)?,
            (2, _) => agreed(bits::CTRL_VLAN)?,
            (3, _) => agreed(bits::GUEST_ANNOUNCE)?,
            (4, 0) => agreed(bits::MQ)?,
            (4, 1) => agreed(bits::RSS)?,
            (4, 2) => agreed(bits::HASH_REPORT)?,
            (5, _) => agreed(bits::CTRL_GUEST_OFFLOADS)?,
            (6, 0 | 1) => agreed(bits::NOTF_COAL)?,
            (6, 2) => agreed(bits::VQ_NOTF_COAL)?,
            _ => return Err("no such command".into()),
        }
        let queues = 2 * self.used_pairs();
        let told = &mut self.class.told;
        match (class, command) {
            (0, _) => {
                let on = match exactly::<1>(data)? {
                    [0] => false,
                    [1] => true,
                    _ => return Err("neither on nor off".into()),
                };
                match command {
                    0 => told.promisc = on,
                    1 => told.all_multi = on,
                    2 => told.all_uni = on,
                    3 => told.no_multi = on,
                    4 => told.no_uni = on,
                    _ => told.no_bcast = on,
                }
            }
            (1, 0) => {
                let (unicast, rest) = table(data)?;
                let (multicast, rest) = table(rest)?;
                if !rest.is_empty() {
                    return Err(format!("{} bytes behind the tables", rest.len()));
                }
                if unicast.iter().any(|mac| mac[0] & 1 != 0) || multicast.iter().any(|mac| mac[0] & 1 == 0) {
                    return Err("an address in the wrong table".into());
                }
                (told.unicast, told.multicast) = (unicast, multicast);
            }
            (1, _) => told.mac = Some(exactly(data)?),
            (2, 0 | 1) => {
                let vid = u16::from_le_bytes(exactly(data)?);
                match vid {
                    4096.. => return Err("no VLAN has that number".into()),
                    _ if command == 0 => _ = told.vlans.insert(vid),
                    _ => _ = told.vlans.remove(&vid),
                }
            }
            (3, 0) => {
                exactly::<0>(data)?;
                self.class.wants_announcement = false;
            }
            (4, 0) => {
                let pairs = u16::from_le_bytes(exactly(data)?);
                if pairs == 0 || pairs > self.class.max_pairs {
                    return Err(format!("{pairs} pairs of {}", self.class.max_pairs));
                }
                (told.pairs, told.spread) = (pairs, None);
            }
            (4, 1) => told.spread = Some(Spread::parse(data, self.class.max_pairs)?),
            // Which queue a frame goes to is the device's to say again.
            (4, _) => (told.hashes, told.spread) = (Some(Hashes::parse(data)?), None),
            (5, 0) => {
                let offloads = u64::from_le_bytes(exactly(data)?);
                if offloads & !(accepted & GUEST_OFFLOADS) != 0 {
                    return Err("offloads that were not agreed, 5.1.6.5.6.2".into());
                }
                told.guest_offloads = Some(offloads);
            }
            (6, 0 | 1) => {
                let [packets, usecs] = halves(exactly(data)?);
                let which = if command == 0 { &mut told.tx_coalescing } else { &mut told.rx_coalescing };
                *which = Some((packets, usecs));
                // All of that direction.
                told.queue_coalescing.retain(|queue, _| queue % 2 == u16::from(command));
            }
            (6, 2) => {
                let [low, high, reserved @ .., a, b, c, d, e, f, g, h] = exactly::<12>(data)?;
                let queue = u16::from_le_bytes([low, high]);
                if reserved != [0; 2] || usize::from(queue) >= queues {
                    return Err(format!("queue {queue}, reserved {reserved:?}, of {queues} in use"));
                }
                let [packets, usecs] = halves([a, b, c, d, e, f, g, h]);
                told.queue_coalescing.insert(queue, (packets, usecs));
            }
            _ => return Err("no such command".into()),
        }
        let pairs = self.used_pairs();
        if (0..2 * pairs).any(|queue| !self.queues[queue].is_enabled) {
            return Err(format!("{pairs} pairs, of which not all were enabled, 5.1.6.5.5.1"));
        }
        Ok(())
    }

    /// How many pairs the driver told it to use.
    pub(super) fn used_pairs(&self) -> usize {
        let told = &self.class.told;
        told.spread.as_ref().map_or(told.pairs, Spread::pairs).into()
    }

    /// Whether the frame is one that the driver asked for.
    pub(super) fn lets_through(&self, frame: &[u8]) -> bool {
        let told = &self.class.told;
        let Some((to, rest)) = frame.split_first_chunk::<6>() else { return true };
        let filters = self.accepted & bits::CTRL_RX != 0;
        // QEMU's and others let every VLAN through then, too.
        if filters && told.promisc {
            return true;
        }
        if self.accepted & bits::CTRL_VLAN != 0
            && let [_, _, _, _, _, _, 0x81, 0x00, high, low, ..] = rest
            && !told.vlans.contains(&(u16::from_be_bytes([*high, *low]) & 0xfff))
        {
            return false;
        }
        if !filters {
            return true;
        }
        if *to == [0xff; 6] {
            !told.no_bcast
        } else if to[0] & 1 != 0 {
            !told.no_multi && (told.all_multi || told.multicast.contains(to))
        } else {
            let own = told.mac.or(self.has(bits::MAC).then_some(self.class.mac));
            !told.no_uni && (told.all_uni || own == Some(*to) || told.unicast.contains(to))
        }
    }

    /// The hash of a frame as it is reported, and the kind of it: none is kind 0.
    ///
    /// Spec: VIRTIO 1.2, 5.1.6.4.4 "Hash reporting for incoming packets".
    pub(super) fn hash_of(&self, frame: &[u8]) -> (u32, u16) {
        let told = &self.class.told;
        let hashes = told.spread.as_ref().map(|spread| &spread.hashes).or(told.hashes.as_ref());
        let hashed = hashes.and_then(|hashes| hashes.hash_of(frame));
        hashed.map_or((0, 0), |(value, number)| (value, u16::try_from(number + 1).unwrap_or(0)))
    }

    /// The receive queue that the frame goes to.
    pub(super) fn steer(&self, frame: &[u8]) -> usize {
        let pairs = if self.class.spreads_over_all {
            (0..usize::from(self.class.max_pairs)).take_while(|pair| self.queues[2 * pair].is_enabled).count()
        } else if let Some(spread) = &self.class.told.spread {
            return 2 * usize::from(spread.pair_of(frame));
        } else {
            self.used_pairs()
        };
        // What is from one station to another stays in order.
        let sum: usize = frame.iter().take(14).map(|byte| usize::from(*byte)).sum();
        2 * sum.checked_rem(pairs).unwrap_or(0)
    }

    /// The network moved: the device wants the addresses announced.
    ///
    /// Spec: VIRTIO 1.2, 5.1.6.5.4 "Gratuitous Packet Sending".
    pub fn want_announcement(&mut self) {
        self.class.wants_announcement = true;
        self.config_changed();
    }
}

/// Features that may be switched.
///
/// Spec: VIRTIO 1.2, 5.1.6.5.6 "Offloads State Configuration".
const GUEST_OFFLOADS: u64 = bits::GUEST_CSUM
    | bits::GUEST_TSO4
    | bits::GUEST_TSO6
    | bits::GUEST_ECN
    | bits::GUEST_UFO
    | bits::GUEST_USO4
    | bits::GUEST_USO6;

pub(super) fn exactly<const N: usize>(data: &[u8]) -> Result<[u8; N], Refusal> {
    data.try_into().map_err(|_| format!("{} bytes of data, not {N}", data.len()))
}

fn halves(bytes: [u8; 8]) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = bytes;
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

/// One half of a table of addresses, and what is behind it.
fn table(data: &[u8]) -> Result<(Vec<[u8; 6]>, &[u8]), Refusal> {
    let (count, rest) = data.split_first_chunk::<4>().ok_or("no count of addresses")?;
    let len_bytes = u32::from_le_bytes(*count) as usize * 6;
    let (addresses, rest) = rest.split_at_checked(len_bytes).ok_or("fewer addresses than counted")?;
    let (addresses, _) = addresses.as_chunks::<6>();
    Ok((addresses.to_vec(), rest))
}
