//! What a driver may tell a device besides: how to moderate interrupts, where buffers lie, how long
//! they are.

use super::Vmxnet3;
use super::activate::is_extended;
use super::layout::shared;

/// How a device moderates its interrupts, from revision 3 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coalescing {
    /// Not at all.
    Disabled,
    /// As it sees fit.
    Adaptive,
    /// After so many of each.
    Static {
        /// Frames to send.
        tx_depth: u32,
        /// Frames sent.
        tx_comp_depth: u32,
        /// Frames received.
        rx_depth: u32,
    },
    /// So often, at most.
    RateBased {
        /// How often.
        interrupts_per_second: u32,
    },
}

/// Most of `Static`.
const MAX_DEPTH: u32 = 128;
const CONF_BYTES: u32 = 16;

impl Coalescing {
    /// From the four words of a `CoalesceScheme`.
    fn parse([mode, first, tx_comp_depth, rx_depth]: [u32; 4]) -> Option<Self> {
        match mode {
            0 => Some(Self::Disabled),
            1 => Some(Self::Adaptive),
            2 if [first, tx_comp_depth, rx_depth].iter().all(|depth| *depth <= MAX_DEPTH) => {
                Some(Self::Static { tx_depth: first, tx_comp_depth, rx_depth })
            }
            3 if (100..=100_000).contains(&first) => Some(Self::RateBased { interrupts_per_second: first }),
            _ => None,
        }
    }

    const fn words(self) -> [u32; 4] {
        match self {
            Self::Disabled => [0; 4],
            Self::Adaptive => [1, 0, 0, 0],
            Self::Static { tx_depth, tx_comp_depth, rx_depth } => [2, tx_depth, tx_comp_depth, rx_depth],
            Self::RateBased { interrupts_per_second } => [3, interrupts_per_second, 0, 0],
        }
    }
}

/// Memory that a driver says buffers come from, from revision 3 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRegion {
    /// Where it starts.
    pub start: u64,
    /// How long it is.
    pub len_bytes: u32,
    /// A bit for each transmit queue.
    pub tx_queues: u16,
    /// A bit for each receive queue.
    pub rx_queues: u16,
}

/// The highest of `modLevels`: the device adapts.
pub(super) const MAX_MODERATION: u8 = 8;
const MAX_REGIONS: u16 = 256;
const MAX_REGIONS_OF_A_QUEUE: usize = 16;

/// How long buffers are, as `SET_RING_BUFFER_SIZE` tells from revision 7 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferSizes {
    /// A HEAD of ring 1.
    pub head_bytes: u16,
    /// A BODY of ring 1.
    pub ring1_body_bytes: u16,
    /// A BODY of ring 2.
    pub ring2_body_bytes: u16,
}

/// What was told since activation.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    coalescing: Option<Coalescing>,
    regions: Vec<MemoryRegion>,
    pub(super) sizes: Option<BufferSizes>,
}

impl Vmxnet3 {
    /// What `SET_COALESCE` asked for since activation.
    #[must_use]
    pub fn coalescing(&self) -> Option<Coalescing> {
        self.active.as_ref()?.settings.coalescing
    }

    /// What `REGISTER_MEMREGS` told since activation.
    #[must_use]
    pub fn memory_regions(&self) -> &[MemoryRegion] {
        self.active.as_ref().map_or(&[], |active| &active.settings.regions)
    }

    /// What `SET_RING_BUFFER_SIZE` told since activation.
    #[must_use]
    pub fn buffer_sizes(&self) -> Option<BufferSizes> {
        self.active.as_ref()?.settings.sizes
    }

    /// `modLevels` of `vector`, as activation or `UPDATE_IML` read it; `None` for one that is not
    /// in use.
    #[must_use]
    pub fn moderation(&self, vector: u8) -> Option<u8> {
        self.active.as_ref()?.moderation.get(usize::from(vector)).copied()
    }

    pub(super) fn read_moderation(&mut self, driver_shared: u64, vectors: u8, is_extended: bool) -> Vec<u8> {
        let at = driver_shared + if is_extended { shared::MOD_LEVELS_EXT } else { shared::MOD_LEVELS };
        (0..u64::from(vectors)).map(|vector| self.get8(at + vector)).collect()
    }

    /// `UPDATE_IML`.
    pub(super) fn update_moderation(&mut self) -> u32 {
        let Some(active) = &self.active else { return self.refuse("UPDATE_IML before activation") };
        let (at, vectors) = (active.shared, active.vectors_in_use);
        let is_extended = is_extended(active.tx.len(), active.rx.len());
        let levels = self.read_moderation(at, vectors, is_extended);
        if levels.iter().any(|level| *level > MAX_MODERATION) {
            return self.refuse("UPDATE_IML: modLevels are 0 to 8");
        }
        if let Some(active) = &mut self.active {
            active.moderation = levels;
        }
        0
    }

    /// What a command tells by `tell`, which answers what is wrong with it.
    fn told(
        &mut self,
        command: &str,
        tell: impl FnOnce(&mut Self, u64, &mut Settings) -> Result<(), &'static str>,
    ) -> u32 {
        let Some(active) = &self.active else {
            return self.refuse(format!("{command} before activation"));
        };
        let (at, mut settings) = (active.shared + shared::CMD_INFO, active.settings.clone());
        if let Err(what) = tell(self, at, &mut settings) {
            return self.refuse(format!("{command}: {what}"));
        }
        if let Some(active) = &mut self.active {
            active.settings = settings;
        }
        0
    }

    /// `SET_COALESCE`.
    pub(super) fn set_coalescing(&mut self) -> u32 {
        self.told("SET_COALESCE", |model, at, settings| {
            let conf = model.read_conf(at, CONF_BYTES).ok_or("no configuration of version 1 and 16 bytes")?;
            let words = model.words(conf).ok_or("a configuration that is not there")?;
            settings.coalescing = Some(Coalescing::parse(words).ok_or("a mode or a number out of range")?);
            model.forget_pace();
            Ok(())
        })
    }

    /// `GET_COALESCE`.
    pub(super) fn get_coalescing(&mut self) -> u32 {
        self.told("GET_COALESCE", |model, at, settings| {
            let conf = model.read_conf(at, CONF_BYTES).ok_or("no configuration of version 1 and 16 bytes")?;
            let words = settings.coalescing.unwrap_or(Coalescing::Disabled).words();
            model.put(conf, &words.map(u32::to_le_bytes).concat());
            Ok(())
        })
    }

    /// `REGISTER_MEMREGS`. What is told replaces what was.
    pub(super) fn register_regions(&mut self) -> u32 {
        self.told("REGISTER_MEMREGS", |model, at, settings| {
            let conf = model.get64(at + 8);
            let count = model.get16(conf);
            if model.get32(at) != 1 || model.get32(at + 4) < 8 + u32::from(count) * 16 {
                return Err("no configuration of version 1 that holds its regions");
            }
            if !(1..=MAX_REGIONS).contains(&count) {
                return Err("more regions than 256, or none");
            }
            let regions: Vec<_> =
                (0..u64::from(count)).map(|index| model.region(conf + 8 + index * 16)).collect();
            if regions.iter().any(|region| !model.is_there(region)) {
                return Err("a region that is not there");
            }
            let (tx, rx) = model.active.as_ref().map_or((0, 0), |active| (active.tx.len(), active.rx.len()));
            let no_queue = |bits: u16, queues: usize| queues < 16 && bits >> queues != 0;
            if regions.iter().any(|region| no_queue(region.tx_queues, tx) || no_queue(region.rx_queues, rx)) {
                return Err("a queue that is not there");
            }
            let of = |bits: fn(&MemoryRegion) -> u16, queue: usize| {
                regions.iter().filter(|region| bits(region) >> queue & 1 != 0).count()
            };
            let most = (0..16)
                .map(|queue| of(|region| region.tx_queues, queue).max(of(|region| region.rx_queues, queue)));
            if most.max() > Some(MAX_REGIONS_OF_A_QUEUE) {
                return Err("more regions than 16 of a queue");
            }
            settings.regions = regions;
            Ok(())
        })
    }

    fn region(&mut self, at: u64) -> MemoryRegion {
        MemoryRegion {
            start: self.get64(at),
            len_bytes: self.get32(at + 8),
            tx_queues: self.get16(at + 12),
            rx_queues: self.get16(at + 14),
        }
    }

    /// Whether both ends of a region are memory that the driver has.
    fn is_there(&self, region: &MemoryRegion) -> bool {
        let Some(more) = region.len_bytes.checked_sub(1) else { return false };
        let end = region.start.checked_add(more.into());
        [Some(region.start), end]
            .into_iter()
            .all(|at| at.is_some_and(|at| self.memory.read(at, &mut [0]).is_ok()))
    }

    /// `SET_RING_BUFFER_SIZE`.
    pub(super) fn set_buffer_sizes(&mut self) -> u32 {
        self.told("SET_RING_BUFFER_SIZE", |model, at, settings| {
            let [head_bytes, ring1_body_bytes, ring2_body_bytes] =
                [0, 2, 4].map(|offset| model.get16(at + offset));
            let is_legal = (128..1 << 14).contains(&head_bytes)
                && ring1_body_bytes < 1 << 14
                && ring2_body_bytes < 1 << 14;
            if !is_legal {
                return Err("a length that no buffer has");
            }
            settings.sizes = Some(BufferSizes { head_bytes, ring1_body_bytes, ring2_body_bytes });
            Ok(())
        })
    }
}
