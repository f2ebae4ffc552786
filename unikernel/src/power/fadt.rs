//! What the FADT says of power: where the button's event, the sleep state and the reset are.
//!
//! Firmware's word: lengths, spaces, widths and addresses are looked at before they are used, and a
//! register that cannot be one is none.
//!
//! Spec: ACPI 6.5, 5.2.9 "Fixed ACPI Description Table (FADT)", 5.2.3.2 "Generic Address Structure
//! (GAS)", 4.8.3 "Fixed Hardware Features".

#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use paravane_hal::addr::PhysAddr;
use paravane_pci::tables::{self, FirmwareMemory, Table, TableError};

/// What ACPI 1.0 has; QEMU's pc says no more.
const MIN_BYTES: u32 = 116;

const SMI_CMD: u64 = 48;
const ACPI_ENABLE: u64 = 52;
const PM1_EVT_BLK: [u64; 2] = [56, 60];
const PM1_CNT_BLK: [u64; 2] = [64, 68];
const PM1_EVT_LEN: u64 = 88;
const FLAGS: u64 = 112;
const RESET_REG: u64 = 116;
const RESET_VALUE: u64 = 128;
const X_PM1_EVT_BLK: [u64; 2] = [148, 160];
const X_PM1_CNT_BLK: [u64; 2] = [172, 184];
const SLEEP_CONTROL_REG: u64 = 244;

/// The button is a device of the DSDT's, and none of the fixed registers has it.
const PWR_BUTTON: u32 = 1 << 4;
const RESET_REG_SUP: u32 = 1 << 10;
const HW_REDUCED_ACPI: u32 = 1 << 20;

const GAS_BYTES: usize = 12;
const SYSTEM_MEMORY: u8 = 0;
const SYSTEM_IO: u8 = 1;

/// Where a register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Among the ports.
    Port(u16),
    /// In memory.
    Memory(PhysAddr),
}

impl Place {
    /// `bytes` of ports from `first` on, which are there; port 0 stands for none.
    fn ports(first: u64, bytes: u64) -> Option<Self> {
        let end = first.checked_add(bytes)?;
        if first == 0 || end > 1 << 16 {
            return None;
        }
        u16::try_from(first).ok().map(Self::Port)
    }

    /// `bytes` of memory from `first` on; address 0 stands for none.
    fn memory(first: u64, bytes: u64) -> Option<Self> {
        first.checked_add(bytes)?;
        (first != 0).then_some(Self::Memory(PhysAddr::new(first)))
    }

    /// The register that a GAS describes, if it is `bytes` long and nothing that takes more than
    /// ports or memory to reach.
    fn of(gas: [u8; GAS_BYTES], bytes: u8) -> Option<Self> {
        let [space, width_bits, first_bit, _access, address @ ..] = gas;
        let address = u64::from_le_bytes(address);
        if first_bit != 0 || width_bits != bytes.checked_mul(8)? {
            return None;
        }
        match space {
            SYSTEM_MEMORY => Self::memory(address, bytes.into()),
            SYSTEM_IO => Self::ports(address, bytes.into()),
            _ => None,
        }
    }

    /// The same, so many bytes on.
    fn offset(self, bytes: u8) -> Option<Self> {
        match self {
            Self::Port(port) => port.checked_add(bytes.into()).map(Self::Port),
            Self::Memory(at) => at.checked_add(bytes.into()).map(Self::Memory),
        }
    }
}

/// How to have the machine be in ACPI mode: what to write to which port.
pub type Enable = (u16, u8);

/// The registers of a machine that has the fixed ones, in blocks a and b.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fixed {
    /// Status and enable register of each event block, of 16 bits.
    pub events: [Option<(Place, Place)>; 2],
    /// Control registers, of 16 bits.
    pub controls: [Option<Place>; 2],
    /// What has firmware leave the registers to us.
    pub enable: Option<Enable>,
    /// The button's event is among the events.
    pub has_button: bool,
}

/// Which registers a machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// The fixed ones.
    Fixed(Fixed),
    /// Hardware-reduced: one for sleep, of 8 bits.
    Reduced {
        /// The sleep control register.
        sleep: Option<Place>,
    },
}

/// What there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fadt {
    /// The registers.
    pub model: Model,
    /// What to write where, 8 bits, for the machine to begin anew.
    pub reset: Option<(Place, u8)>,
}

impl Fadt {
    /// Reads the one that `rsdp` leads to; `None` when the machine has none.
    ///
    /// # Errors
    ///
    /// [`TableError`]: a table is damaged or cannot be read.
    pub fn read(memory: &impl FirmwareMemory, rsdp: PhysAddr) -> Result<Option<Self>, TableError> {
        let Some(table) = tables::find(memory, rsdp, "FACP", MIN_BYTES)? else { return Ok(None) };
        let flags = u32::from_le_bytes(table.field(memory, FLAGS)?);
        let is_reduced = flags & HW_REDUCED_ACPI != 0;
        let model = if is_reduced {
            Model::Reduced { sleep: gas(memory, &table, SLEEP_CONTROL_REG, 1) }
        } else {
            Model::Fixed(fixed(memory, &table, flags)?)
        };
        let reset = gas(memory, &table, RESET_REG, 1).filter(|_| flags & RESET_REG_SUP != 0);
        let reset = reset.and_then(|place| {
            let [value] = table.field(memory, RESET_VALUE).ok()?;
            Some((place, value))
        });
        Ok(Some(Self { model, reset }))
    }
}

/// The register of `bytes` that a GAS at `offset` describes; tables of before it end earlier.
fn gas(memory: &impl FirmwareMemory, table: &Table, offset: u64, bytes: u8) -> Option<Place> {
    Place::of(table.field(memory, offset).ok()?, bytes)
}

fn fixed(memory: &impl FirmwareMemory, table: &Table, flags: u32) -> Result<Fixed, TableError> {
    let [event_bytes] = table.field(memory, PM1_EVT_LEN)?;
    // Status is the first half, enable the second.
    let half_bytes = event_bytes / 2;
    let block = |wide: u64, narrow: u64, bytes: u8| {
        let place = gas(memory, table, wide, bytes);
        place.or_else(|| {
            let port = table.field(memory, narrow).map_or(0, u32::from_le_bytes);
            Place::ports(port.into(), bytes.into())
        })
    };
    let mut fixed = Fixed { has_button: flags & PWR_BUTTON == 0, ..Fixed::default() };
    for (event, (wide, narrow)) in fixed.events.iter_mut().zip(X_PM1_EVT_BLK.into_iter().zip(PM1_EVT_BLK)) {
        let is_whole = half_bytes >= 2 && event_bytes.is_multiple_of(4);
        let status = block(wide, narrow, event_bytes).filter(|_| is_whole);
        *event = status.and_then(|status| Some((status, status.offset(half_bytes)?)));
    }
    for (control, (wide, narrow)) in fixed.controls.iter_mut().zip(X_PM1_CNT_BLK.into_iter().zip(PM1_CNT_BLK))
    {
        *control = block(wide, narrow, 2);
    }
    let smi_cmd = u32::from_le_bytes(table.field(memory, SMI_CMD)?);
    let [value] = table.field(memory, ACPI_ENABLE)?;
    let port = u16::try_from(smi_cmd).ok().filter(|port| *port != 0 && value != 0);
    fixed.enable = port.map(|port| (port, value));
    Ok(fixed)
}

#[cfg(test)]
#[path = "fadt_tests.rs"]
mod tests;
