use std::vec::Vec;

use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, If, Interrupt, Memory32Fixed, Method, Mutex, Name, ONE,
    OpRegion, OpRegionSpace, Path, ResourceTemplate, Return, Scope, ZERO,
};
use acpi_tables::{Aml, sdt::Sdt};
use proptest::prelude::*;

use super::*;

/// What QEMU's microvm says, with an entropy device in place 1 and a NIC in place 3.
const MICROVM: &[u8] = include_bytes!("acpi/microvm.dsdt");

/// All that is found in `table`, good and bad.
fn all(table: &[u8]) -> Vec<Result<AcpiPlace, AcpiError>> {
    let mut all = Vec::new();
    find(table, &mut |found| all.push(found)).unwrap();
    all
}

/// A table that says what these do.
fn table(declared: &[&dyn Aml]) -> Vec<u8> {
    let mut table = Sdt::new(*b"DSDT", 36, 2, *b"PARVNE", *b"TESTDSDT", 1);
    for each in declared {
        each.to_aml_bytes(&mut table);
    }
    table.as_slice().to_vec()
}

/// Registers and an edge, as Firecracker writes them.
fn edge(start: u32, len_bytes: u32, number: u32) -> (Memory32Fixed, Interrupt) {
    (Memory32Fixed::new(true, start, len_bytes), Interrupt::new(true, true, false, false, number))
}

const fn place(start: u64, interrupt: AcpiInterrupt) -> AcpiPlace {
    AcpiPlace {
        start: PhysAddr::new(start),
        len_bytes: 0x1000,
        is_coherent: Some(true),
        interrupt: Some(interrupt),
    }
}

#[test]
fn what_qemu_writes_is_understood() {
    let level = |number| AcpiInterrupt { number, is_edge: false, is_active_low: false };
    let place = |start, number| AcpiPlace { len_bytes: 0x200, ..place(start, level(number)) };
    assert_eq!(all(MICROVM), [Ok(place(0xfeb0_0600, 0x1b)), Ok(place(0xfeb0_0200, 0x19))]);
}

/// Whoever wrote the table decides how deep that goes, and a kernel's stack is short.
#[test]
fn lengths_in_lengths_are_not_followed() {
    const DEPTH: u32 = 200_000;
    let mut table = table(&[]);
    table.extend(*b"\x08_CRS");
    for depth in (0..DEPTH).rev() {
        // A buffer whose length is a buffer whose length is...
        let [low, middle, high, _] = ((4 + 5 * depth + 1) >> 4).to_le_bytes();
        table.extend([0x11, 0xc0 | (4 + 5 * depth + 1).to_le_bytes()[0] & 0xf, low, middle, high]);
    }
    table.push(0);
    let length = u32::try_from(table.len()).unwrap();
    table[4..8].copy_from_slice(&length.to_le_bytes());
    assert_eq!(all(&table), []);
}

#[test]
fn devices_are_found_wherever_they_are_declared() {
    let id = Name::new("_HID".into(), &"LNRO0005");
    let coherent = Name::new("_CCA".into(), &ONE);
    let (memory, interrupt) = edge(0xc000_1000, 0x1000, 5);
    let used = Name::new("_CRS".into(), &ResourceTemplate::new(vec![&memory, &interrupt]));
    let plain = Device::new("V000".into(), vec![&id, &coherent, &used]);

    let far = AddressSpace::<u64>::new_memory(
        AddressSpaceCacheable::NotCacheable,
        true,
        0x80_0000_0000,
        0x80_0000_0fff,
        None,
    );
    let low = Interrupt::new(true, false, true, true, 300);
    // Names in another order, and an interrupt in front.
    let used_far = Name::new("_CRS".into(), &ResourceTemplate::new(vec![&low, &far]));
    let there = Name::new("_STA".into(), &0xf_u8);
    let far = Device::new("V001".into(), vec![&used_far, &coherent, &there, &id]);
    let behind_a_bridge = Device::new("BUS0".into(), vec![&far]);

    // What else there is in tables.
    let body = Return::new(&ONE);
    let method = Method::new("_STA".into(), 0, false, vec![&body]);
    let region = OpRegion::new("REGN".into(), OpRegionSpace::SystemMemory, &0xfeed_0000_u32, &ZERO);
    let mutex = Mutex::new("LOCK".into(), 0);
    let word = Name::new("_UID".into(), &"a word");
    let other = Device::new("COM1".into(), vec![&word, &method]);
    let scope =
        Scope::new(Path::new("\\_SB_"), vec![&region, &mutex, &other, &plain, &method, &behind_a_bridge]);

    let edge = AcpiInterrupt { number: 5, is_edge: true, is_active_low: false };
    let low = AcpiInterrupt { number: 300, is_edge: false, is_active_low: true };
    let expected = [Ok(place(0xc000_1000, edge)), Ok(place(0x80_0000_0000, low))];
    assert_eq!(all(&table(&[&scope])), expected);
    assert_eq!(all(&table(&[&other, &plain, &scope])).len(), 3, "at the top as well");
}

#[test]
fn what_is_not_there_is_left_out_and_what_makes_no_sense_is_said() {
    let id = Name::new("_HID".into(), &"LNRO0005");
    let (memory, interrupt) = edge(0xc000_1000, 0x1000, 5);
    let used = Name::new("_CRS".into(), &ResourceTemplate::new(vec![&memory, &interrupt]));
    let absent = Name::new("_STA".into(), &ZERO);
    assert_eq!(all(&table(&[&Device::new("V000".into(), vec![&id, &used, &absent])])), []);

    // To be computed; and none at all.
    let template = ResourceTemplate::new(vec![&memory, &interrupt]);
    let body = Return::new(&template);
    let computed = Method::new("_CRS".into(), 0, false, vec![&body]);
    let silent = Device::new("V000".into(), vec![&id, &computed]);
    assert_eq!(all(&table(&[&silent])), [Err(AcpiError::NoRegisters { offset_bytes: 36 })]);
    let empty = Name::new("_CRS".into(), &ResourceTemplate::new(vec![&interrupt]));
    let nowhere = Device::new("V000".into(), vec![&id, &empty]);
    assert_eq!(all(&table(&[&nowhere])), [Err(AcpiError::NoRegisters { offset_bytes: 36 })]);

    let (short, _) = edge(0xc000_1000, 0xff, 5);
    let short = Name::new("_CRS".into(), &ResourceTemplate::new(vec![&short]));
    let short = Device::new("V000".into(), vec![&id, &short]);
    let error = AcpiError::TooShort { start: 0xc000_1000, len_bytes: 0xff };
    assert_eq!(all(&table(&[&short])), [Err(error)]);

    // Code among declarations: what is around it is left out, what comes before is not.
    let good = Device::new("V000".into(), vec![&id, &used]);
    let code = If::new(&ONE, vec![&good]);
    let conditional = Scope::new("_SB_".into(), vec![&code, &good]);
    assert_eq!(all(&table(&[&conditional])).len(), 1, "what hangs on a condition is not taken as declared");
    let broken = Scope::new("_SB_".into(), vec![&good, &body, &good]);
    let found = all(&table(&[&broken, &good]));
    assert!(matches!(found[..], [Ok(_), Err(AcpiError::Unreadable { .. }), Ok(_)]), "{found:?}");
}

#[test]
fn devices_are_looked_for_to_a_depth_that_is_known_beforehand() {
    let id = Name::new("_HID".into(), &"LNRO0005");
    let (memory, interrupt) = edge(0xc000_1000, 0x1000, 5);
    let used = Name::new("_CRS".into(), &ResourceTemplate::new(vec![&memory, &interrupt]));
    let at_depth = |depth: usize| {
        let mut bytes = Vec::new();
        Device::new("V000".into(), vec![&id, &used]).to_aml_bytes(&mut bytes);
        for _ in 1..depth {
            // A scope around it, as the grammar has one: length, name, what is in it.
            let length = bytes.len() + 4 + 2;
            let mut around = vec![0x10, 0x40 | length.to_le_bytes()[0] & 0xf, (length >> 4).to_le_bytes()[0]];
            around.extend(b"_SB_");
            around.append(&mut bytes);
            bytes = around;
        }
        let mut table = table(&[]);
        table.append(&mut bytes);
        let length = u32::try_from(table.len()).unwrap();
        table[4..8].copy_from_slice(&length.to_le_bytes());
        all(&table)
    };
    assert!(matches!(at_depth(1)[..], [Ok(_)]));
    assert!(matches!(at_depth(MAX_DEPTH)[..], [Ok(_)]));
    assert!(matches!(at_depth(MAX_DEPTH + 1)[..], [Err(AcpiError::TooDeep { .. })]));
}

#[test]
fn what_is_no_table_is_refused() {
    let nobody = &mut |found: Result<AcpiPlace, AcpiError>| panic!("{found:?}");
    assert_eq!(find(&[], nobody), Err(AcpiError::Broken));
    assert_eq!(find(&MICROVM[..35], nobody), Err(AcpiError::Broken));
    assert_eq!(find(&MICROVM[..MICROVM.len() - 1], nobody), Err(AcpiError::Broken));
    let mut short = MICROVM.to_vec();
    short[4..8].copy_from_slice(&35_u32.to_le_bytes());
    assert_eq!(find(&short, nobody), Err(AcpiError::Broken));
}

proptest! {
    /// Whatever firmware writes, the walk ends, and what it finds has room for registers.
    #[test]
    fn a_damaged_table_is_survived(
        damage in prop::collection::vec((36..MICROVM.len(), any::<u8>()), 1..8),
    ) {
        let mut table = MICROVM.to_vec();
        for (at, byte) in damage {
            table[at] = byte;
        }
        for place in all(&table).into_iter().flatten() {
            prop_assert!(place.len_bytes >= REGISTERS_BYTES);
        }
    }

    #[test]
    fn any_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = table(&[]);
        bytes.extend(body);
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        prop_assert!(all(&bytes).len() <= bytes.len());
    }
}
