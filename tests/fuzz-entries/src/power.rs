//! What firmware says of power: the FADT, and two constants of the DSDT. Whole at first, as three
//! machines have them; the bytes change them, and then most checksums are made right again.

use std::cell::Cell;

use paravane_hal::addr::PhysAddr;
use paravane_pci::tables::{TableError, find_dsdt};
use paravane_unikernel::power::dsdt::{EventDevice, event_device, soft_off};
use paravane_unikernel::power::fadt::{Fadt, Model, Place};

use crate::input::Input;

/// What QEMU's microvm says in its DSDT.
const DSDT_BYTES: &[u8] = include_bytes!("../../../virtio/src/transport/mmio/acpi/microvm.dsdt");

const START: u64 = 0xe_0000;
const BYTES: usize = 0x1000;
const RSDP: usize = 0;
const ROOT: usize = 0x40;
const FADT: usize = 0x80;
const DSDT: usize = 0x200;
/// No walk needs more: four tables of what memory there is, in pieces of 32 bytes, and as many
/// pointers as fit there.
const MOST_READS: u32 = 4000;

/// Flags of the FADT, by which the fields are told apart that count.
const RESET_REG_SUP: u32 = 1 << 10;
const HW_REDUCED_ACPI: u32 = 1 << 20;

/// What leads to the table at `at`.
fn pointer(at: usize) -> [u8; 4] {
    u32::try_from(START + at as u64).unwrap().to_le_bytes()
}

struct Firmware {
    bytes: Vec<u8>,
    is_changed: bool,
    reads: Cell<u32>,
}

impl Firmware {
    fn new(input: &mut Input<'_>) -> Self {
        let mut this = Self { bytes: vec![0; BYTES], is_changed: false, reads: Cell::new(0) };
        this.put(RSDP, b"RSD PTR ");
        this.put(RSDP + 16, &pointer(ROOT));
        this.put_table(ROOT, b"RSDT", &pointer(FADT));
        let (len_bytes, flags) =
            input.pick([(116, 0), (244, RESET_REG_SUP), (268, RESET_REG_SUP | HW_REDUCED_ACPI)]);
        this.put_table(FADT, b"FACP", &vec![0; len_bytes - 36]);
        this.put(FADT + 40, &pointer(DSDT));
        this.put(FADT + 48, &[0xb2, 0, 0, 0, 2, 3, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 4, 6]);
        this.put(FADT + 88, &[4, 2]);
        this.put(FADT + 112, &flags.to_le_bytes());
        for (at, gas) in [
            (116, [1, 8, 0, 0, 0xf9, 0x0c, 0, 0, 0, 0, 0, 0]),
            (148, [1, 32, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0]),
            (172, [1, 16, 0, 0, 4, 6, 0, 0, 0, 0, 0, 0]),
            (244, [0, 8, 0, 0, 0, 2, 0xa0, 0xfe, 0, 0, 0, 0]),
        ] {
            if at + gas.len() <= len_bytes {
                this.put(FADT + at, &gas);
            }
        }
        this.put(DSDT, DSDT_BYTES);

        let changes = input.byte() % 8;
        for _ in 0..changes {
            let (at, len_bytes) = input.pick([(FADT, len_bytes), (DSDT, DSDT_BYTES.len())]);
            let (offset, noise) = input.noise(len_bytes as u64);
            this.put(at + usize::try_from(offset).unwrap(), &noise);
        }
        // A sum that is wrong ends everything, so most are right.
        let damaged = input.byte().saturating_sub(0xf0);
        for (bit, (at, len_bytes, sum_at)) in [
            (RSDP, 20, 8),
            (ROOT, this.len_at(ROOT), 9),
            (FADT, this.len_at(FADT), 9),
            (DSDT, this.len_at(DSDT), 9),
        ]
        .into_iter()
        .enumerate()
        {
            if damaged >> bit & 1 == 0 {
                this.balance(at, len_bytes, at + sum_at);
            }
        }
        this.is_changed = changes > 0 || damaged > 0;
        this
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn put_table(&mut self, at: usize, signature: &[u8; 4], body: &[u8]) {
        self.put(at, signature);
        self.put(at + 4, &u32::try_from(36 + body.len()).unwrap().to_le_bytes());
        self.put(at + 36, body);
    }

    fn len_at(&self, at: usize) -> usize {
        u32::from_le_bytes(std::array::from_fn(|i| self.bytes[at + 4 + i])) as usize
    }

    /// Makes the table at `at` add up to 0, as far as it lies in memory.
    fn balance(&mut self, at: usize, len_bytes: usize, sum_at: usize) {
        let Some(table) = self.bytes.get(at..at.saturating_add(len_bytes)) else { return };
        let sum = table.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        self.bytes[sum_at] = self.bytes[sum_at].wrapping_sub(sum);
    }

    fn read(&self, from: PhysAddr, into: &mut [u8]) -> bool {
        self.reads.set(self.reads.get() + 1);
        let start = from.get().checked_sub(START).and_then(|at| usize::try_from(at).ok());
        let found = start.and_then(|at| self.bytes.get(at..at.checked_add(into.len())?));
        found.is_some_and(|found| {
            into.copy_from_slice(found);
            true
        })
    }

    /// What is made of it: the registers, and the DSDT's bytes.
    fn walk(&self) -> Result<(Option<Fadt>, Vec<u8>), TableError> {
        let memory = |from: PhysAddr, into: &mut [u8]| self.read(from, into);
        let rsdp = PhysAddr::new(START);
        let fadt = Fadt::read(&memory, rsdp)?;
        let dsdt = find_dsdt(&memory, rsdp)?;
        let mut bytes = Vec::new();
        if let Some(dsdt) = dsdt {
            bytes.resize(dsdt.len_bytes() as usize, 0);
            dsdt.read(&memory, &mut bytes)?;
        }
        assert!(self.reads.get() <= MOST_READS, "{} reads", self.reads.get());
        Ok((fadt, bytes))
    }
}

fn check(place: Place, bytes: u64) {
    match place {
        Place::Port(first) => assert!(first != 0 && u64::from(first) + bytes <= 1 << 16, "{first:#x}"),
        Place::Memory(at) => assert!(at.get() != 0 && at.checked_add(bytes).is_some(), "{:#x}", at.get()),
    }
}

/// The bytes are what the tables say, and what is wrong with them.
pub(crate) fn power(bytes: &[u8]) {
    let firmware = Firmware::new(&mut Input::new(bytes));
    let walked = firmware.walk();
    if !firmware.is_changed {
        let (fadt, dsdt) = walked.as_ref().unwrap();
        assert!(fadt.is_some() && soft_off(dsdt) == Some([5, 0]), "tables that are whole are read");
        let device = EventDevice { selector: PhysAddr::new(0xfea0_0000), button: 2 };
        assert_eq!(event_device(dsdt), Some(device));
    }
    let Ok((fadt, dsdt)) = walked else { return };
    if let Some(Fadt { model, reset }) = fadt {
        reset.into_iter().for_each(|(place, _)| check(place, 1));
        match model {
            Model::Reduced { sleep } => sleep.into_iter().for_each(|place| check(place, 1)),
            Model::Fixed(fixed) => {
                for (status, enable) in fixed.events.into_iter().flatten() {
                    check(status, 2);
                    check(enable, 2);
                }
                fixed.controls.into_iter().flatten().for_each(|place| check(place, 2));
                assert!(fixed.enable.is_none_or(|(port, value)| port != 0 && value != 0));
            }
        }
    }
    assert!(soft_off(&dsdt).is_none_or(|types| types.iter().all(|kind| *kind <= 7)));
    if let Some(EventDevice { selector, button }) = event_device(&dsdt) {
        check(Place::Memory(selector), 4);
        assert!(button.is_power_of_two());
    }
    // As a table without a frame.
    let _ = (soft_off(bytes), event_device(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_mock_hal::fault::Seeded;

    /// Noise comes to registers, and to their absence.
    #[test]
    fn noise_gets_past_the_checksums() {
        let (mut read, mut refused, mut without) = (0, 0, 0);
        for seed in 0..1000 {
            let mut chance = Seeded::new(seed);
            let bytes: Vec<u8> = (0..160).map(|_| chance.below(256).to_le_bytes()[0]).collect();
            power(&bytes);
            match Firmware::new(&mut Input::new(&bytes)).walk() {
                Ok((Some(_), dsdt)) if soft_off(&dsdt).is_some() && event_device(&dsdt).is_some() => {
                    read += 1
                }
                Ok(_) => without += 1,
                Err(_) => refused += 1,
            }
        }
        assert!(
            read > 50 && refused > 50 && without > 50,
            "{read} read, {refused} refused, {without} without"
        );
    }
}
