use super::*;
use proptest::prelude::*;

const RSDP_AT: u64 = 0xf_0000;
const ROOT_AT: u64 = 0xf_0100;
const FADT_AT: u64 = 0xf_0200;

fn balance(bytes: &mut [u8], checksum_at: usize) {
    bytes[checksum_at] = 0;
    bytes[checksum_at] = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg();
}

fn table(signature: &[u8; 4], mut bytes: Vec<u8>) -> Vec<u8> {
    let len_bytes = u32::try_from(bytes.len()).unwrap();
    bytes[..4].copy_from_slice(signature);
    bytes[4..8].copy_from_slice(&len_bytes.to_le_bytes());
    balance(&mut bytes, 9);
    bytes
}

/// What a table of these bytes says, whose signature, length and sum are made right.
fn read(fadt: Vec<u8>) -> Result<Option<Fadt>, TableError> {
    read_as(table(b"FACP", fadt))
}

/// The same of a table as it is.
fn read_as(fadt: Vec<u8>) -> Result<Option<Fadt>, TableError> {
    let mut memory = vec![0; 0x1000];
    let mut put = |at: u64, bytes: &[u8]| {
        let start = usize::try_from(at - RSDP_AT).unwrap();
        memory[start..start + bytes.len()].copy_from_slice(bytes);
    };
    let mut rsdp = b"RSD PTR \0\0\0\0\0\0\0\0".to_vec();
    rsdp.extend(u32::try_from(ROOT_AT).unwrap().to_le_bytes());
    balance(&mut rsdp, 8);
    put(RSDP_AT, &rsdp);
    let mut root = vec![0; 36];
    root.extend(u32::try_from(FADT_AT).unwrap().to_le_bytes());
    put(ROOT_AT, &table(b"RSDT", root));
    put(FADT_AT, &fadt);
    let readable = |from: PhysAddr, into: &mut [u8]| {
        let start = from.get().checked_sub(RSDP_AT).and_then(|start| usize::try_from(start).ok());
        let bytes = start.and_then(|start| memory.get(start..start.checked_add(into.len())?));
        bytes.is_some_and(|bytes| {
            into.copy_from_slice(bytes);
            true
        })
    };
    Fadt::read(&readable, PhysAddr::new(RSDP_AT))
}

fn put(bytes: &mut [u8], at: u64, value: &[u8]) {
    let at = usize::try_from(at).unwrap();
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn gas_of(space: u8, width_bits: u8, address: u64) -> Vec<u8> {
    [&[space, width_bits, 0, 0][..], &address.to_le_bytes()].concat()
}

/// What QEMU's pc says: nothing that is younger than ACPI 1.0.
fn pc() -> Vec<u8> {
    let mut bytes = vec![0; 116];
    put(&mut bytes, SMI_CMD, &[0xb2, 0, 0, 0, 0xf1, 0xf0]);
    put(&mut bytes, PM1_EVT_BLK[0], &0x600_u32.to_le_bytes());
    put(&mut bytes, PM1_CNT_BLK[0], &0x604_u32.to_le_bytes());
    put(&mut bytes, PM1_EVT_LEN, &[4, 2]);
    bytes
}

/// What its q35 says, as far as it is read.
fn q35() -> Vec<u8> {
    let mut bytes = pc();
    bytes.resize(244, 0);
    put(&mut bytes, ACPI_ENABLE, &[2]);
    put(&mut bytes, FLAGS, &RESET_REG_SUP.to_le_bytes());
    put(&mut bytes, RESET_REG, &gas_of(1, 8, 0xcf9));
    put(&mut bytes, RESET_VALUE, &[0xf]);
    put(&mut bytes, X_PM1_EVT_BLK[0], &gas_of(1, 32, 0x600));
    put(&mut bytes, X_PM1_CNT_BLK[0], &gas_of(1, 16, 0x604));
    bytes
}

/// What its microvm says.
fn microvm() -> Vec<u8> {
    let mut bytes = vec![0; 268];
    put(&mut bytes, FLAGS, &(HW_REDUCED_ACPI | RESET_REG_SUP | PWR_BUTTON).to_le_bytes());
    put(&mut bytes, RESET_REG, &gas_of(0, 8, 0xfea0_0202));
    put(&mut bytes, RESET_VALUE, &[0x42]);
    put(&mut bytes, SLEEP_CONTROL_REG, &gas_of(0, 8, 0xfea0_0200));
    bytes
}

fn fixed_of(bytes: Vec<u8>) -> Fixed {
    match read(bytes).unwrap().unwrap().model {
        Model::Fixed(fixed) => fixed,
        Model::Reduced { .. } => panic!("reduced"),
    }
}

#[test]
fn qemus_pc_has_the_registers_of_old_and_no_reset() {
    let found = read(pc()).unwrap().unwrap();
    assert_eq!(found.reset, None);
    let fixed = fixed_of(pc());
    assert_eq!(fixed.events, [Some((Place::Port(0x600), Place::Port(0x602))), None]);
    assert_eq!(fixed.controls, [Some(Place::Port(0x604)), None]);
    assert_eq!((fixed.enable, fixed.has_button), (Some((0xb2, 0xf1)), true));
}

#[test]
fn qemus_q35_has_them_twice_and_a_reset() {
    let fixed = Fixed { enable: Some((0xb2, 2)), ..fixed_of(pc()) };
    let wanted = Fadt { model: Model::Fixed(fixed), reset: Some((Place::Port(0xcf9), 0xf)) };
    assert_eq!(read(q35()), Ok(Some(wanted)));
}

#[test]
fn qemus_microvm_is_reduced() {
    let at = |address| Place::Memory(PhysAddr::new(address));
    let model = Model::Reduced { sleep: Some(at(0xfea0_0200)) };
    let wanted = Fadt { model, reset: Some((at(0xfea0_0202), 0x42)) };
    assert_eq!(read(microvm()), Ok(Some(wanted)));
}

#[test]
fn the_wide_register_goes_before_the_narrow_one() {
    let mut bytes = q35();
    put(&mut bytes, X_PM1_CNT_BLK[0], &gas_of(1, 16, 0x1804));
    assert_eq!(fixed_of(bytes).controls, [Some(Place::Port(0x1804)), None]);
    let mut bytes = q35();
    put(&mut bytes, X_PM1_EVT_BLK[1], &gas_of(0, 32, 0xfed0_0000));
    let second = [0xfed0_0000, 0xfed0_0002].map(|at| Place::Memory(PhysAddr::new(at)));
    assert_eq!(fixed_of(bytes).events[1], Some((second[0], second[1])));
}

#[test]
fn a_register_that_cannot_be_one_is_none() {
    for (space, width_bits, address) in [
        (1, 16, 0xcf9),
        (1, 0, 0xcf9),
        (2, 8, 0xcf9),
        (0x7f, 8, 0xcf9),
        (1, 8, 0),
        (1, 8, 0x1_0000),
        (1, 8, u64::MAX),
        (0, 8, 0),
        (0, 8, u64::MAX),
    ] {
        let mut bytes = q35();
        put(&mut bytes, RESET_REG, &gas_of(space, width_bits, address));
        let found = read(bytes).unwrap().unwrap();
        assert_eq!(found.reset, None, "space {space}, {width_bits} bits at {address:#x}");
    }
    let mut shifted = q35();
    put(&mut shifted, RESET_REG + 2, &[1]);
    assert_eq!(read(shifted).unwrap().unwrap().reset, None);
    let mut last = q35();
    put(&mut last, RESET_REG, &gas_of(1, 8, 0xffff));
    assert_eq!(read(last).unwrap().unwrap().reset, Some((Place::Port(0xffff), 0xf)));
}

#[test]
fn a_reset_counts_only_where_the_flag_says_so() {
    let mut bytes = q35();
    put(&mut bytes, FLAGS, &[0; 4]);
    assert_eq!(read(bytes).unwrap().unwrap().reset, None);
}

#[test]
fn blocks_of_events_have_two_halves() {
    for (len_bytes, is_found) in [(4, true), (8, true), (0, false), (2, false), (3, false), (6, false)] {
        let mut bytes = pc();
        put(&mut bytes, PM1_EVT_LEN, &[len_bytes]);
        assert_eq!(fixed_of(bytes).events[0].is_some(), is_found, "{len_bytes}");
    }
    let mut last = pc();
    put(&mut last, PM1_EVT_BLK[0], &0xffff_u32.to_le_bytes());
    put(&mut last, PM1_CNT_BLK[0], &0xffff_u32.to_le_bytes());
    let last = fixed_of(last);
    assert_eq!((last.events[0], last.controls[0]), (None, None), "they run over the last port");
}

#[test]
fn firmware_is_asked_for_nothing_where_there_is_no_command() {
    for (port, value) in [(0_u32, 0xf1), (0x1_0000, 0xf1), (0xb2, 0)] {
        let mut bytes = pc();
        put(&mut bytes, SMI_CMD, &port.to_le_bytes());
        put(&mut bytes, ACPI_ENABLE, &[value]);
        assert_eq!(fixed_of(bytes).enable, None, "{port:#x} {value:#x}");
    }
}

#[test]
fn a_button_that_is_no_fixed_event_is_elsewhere() {
    let mut bytes = pc();
    put(&mut bytes, FLAGS, &PWR_BUTTON.to_le_bytes());
    assert!(!fixed_of(bytes).has_button);
}

#[test]
fn damaged_tables_are_errors() {
    assert!(matches!(read(vec![0; 115]), Err(TableError::BadLength { .. })));
    let mut sum = table(b"FACP", pc());
    sum[20] ^= 1;
    assert!(matches!(read_as(sum), Err(TableError::BadChecksum { .. })));
    let mut long = table(b"FACP", pc());
    long[4..8].copy_from_slice(&0x8000_u32.to_le_bytes());
    assert!(matches!(read_as(long), Err(TableError::Unreadable { .. })), "it ends outside memory");
    assert_eq!(read_as(table(b"PCAF", pc())), Ok(None));
}

proptest! {
    /// Any fields at any length: an answer that makes sense, or an error.
    #[test]
    fn arbitrary_fields_are_survived(mut bytes in prop::collection::vec(any::<u8>(), 40..300), space in 0..3_u8) {
        for at in [RESET_REG, X_PM1_EVT_BLK[0], X_PM1_CNT_BLK[1], SLEEP_CONTROL_REG] {
            if let Some(first) = bytes.get_mut(usize::try_from(at).unwrap()) {
                *first = space;
            }
        }
        if let Ok(Some(Fadt { model: Model::Fixed(fixed), .. })) = read(bytes) {
            for (status, enable) in fixed.events.into_iter().flatten() {
                prop_assert!(status != enable && status != Place::Port(0));
            }
        }
    }
}
