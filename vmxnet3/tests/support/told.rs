//! What a device was told, as it lies in memory and as its model has it.

#![allow(unreachable_pub, reason = "part of a test")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use paravane_mock_hal::model::vmxnet3::{BufferSizes, Coalescing};

use crate::support::Machine;

/// All that a device goes by, besides where things are.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    /// Features, lengths and counts, MTU and numbers of queues.
    misc: Vec<[u8; 8]>,
    /// Filters, groups, the spread.
    filters: Vec<u8>,
    /// What `modLevels` say.
    moderation: Vec<Option<u8>>,
    mac: [u8; 6],
    revision: Option<u8>,
    coalescing: Option<Coalescing>,
    sizes: Option<BufferSizes>,
}

/// What the device of `machine`, which runs, was told.
pub fn told(machine: &Machine) -> Told {
    let memory = machine.platform.memory();
    let shared = machine.model().shared_addr().unwrap();
    let misc = [0x18, 0x30, 0x38].map(|at| memory.device_get(shared + at).unwrap()).to_vec();
    let mut filters = vec![0; 8 + 512];
    memory.device_read(shared + 0x78, &mut filters[..8]).unwrap();
    memory.device_read(shared + 0x88, &mut filters[8..]).unwrap();
    for (place, len_bytes) in [(0x80, 192), (0x290, 176)] {
        let at = u64::from_le_bytes(memory.device_get(shared + place).unwrap());
        let mut table = vec![0; len_bytes];
        if at != 0 {
            memory.device_read(at, &mut table).unwrap();
        }
        filters.extend(table);
    }
    let model = machine.model();
    Told {
        misc,
        filters,
        moderation: (0..25).map(|vector| model.moderation(vector)).collect(),
        mac: model.mac(),
        revision: model.agreed_revision(),
        coalescing: model.coalescing(),
        sizes: model.buffer_sizes(),
    }
}
