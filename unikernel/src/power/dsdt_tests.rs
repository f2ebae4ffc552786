use super::*;
use proptest::prelude::*;

/// What QEMU's microvm says.
const MICROVM: &[u8] = include_bytes!("../../../virtio/src/transport/mmio/acpi/microvm.dsdt");
/// What QEMU's pc and q35 say.
const PC: &[u8] = b"\x08_S5_\x12\x06\x04\0\0\0\0";

/// The microvm's table with `from` for `to`, which are of one length.
fn changed(from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = places(MICROVM, from).next().unwrap();
    let mut bytes = MICROVM.to_vec();
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

#[test]
fn monitors_have_sleep_state_5_as_constants() {
    assert_eq!(soft_off(MICROVM), Some([5, 0]));
    assert_eq!(soft_off(PC), Some([0, 0]));
}

#[test]
fn sleep_types_come_in_each_width() {
    for (text, types) in [
        (&b"\x08\\_S5_\x12\x08\x04\x0a\x07\x0a\x03\0\0"[..], Some([7, 3])),
        (b"\x08_S5_\x12\x06\x02\x0b\x05\x00\x01", Some([5, 1])),
        (b"\x08_S5_\x12\x09\x02\x0c\x05\0\0\0\x0a\x02", Some([5, 2])),
        (b"\x08_S5_\x12\x04\x01\x0a\x06", Some([6, 6])),
        (b"\x08_S5_\x12\x47\0\x04\x01\x01\0\0", Some([1, 1])),
    ] {
        assert_eq!(soft_off(text), types, "{text:x?}");
    }
}

#[test]
fn what_is_no_constant_is_not_found() {
    for text in [
        &b""[..],
        b"_S5_",
        b"_S5_\x12\x06\x04\0\0\0\0",
        b"\x14_S5_\x12\x06\x04\0\0\0\0",
        b"\x08_S5_",
        b"\x08_S5_\x12",
        b"\x08_S5_\x12\x06",
        b"\x08_S5_\x12\x06\x04\0",
        b"\x08_S5_\x12\x02\0",
        b"\x08_S5_\x12\x00\x04\0\0\0\0",
        b"\x08_S5_\x12\xff\xff\xff\xff\x04\0\0",
        b"\x08_S5_\x11\x06\x04\0\0\0\0",
        b"\x08_S5_\x12\x06\x04\x0a\x08\0\0\0",
        b"\x08_S5_\x12\x06\x04SLP_\0",
    ] {
        assert_eq!(soft_off(text), None, "{text:x?}");
    }
}

#[test]
fn a_name_in_a_string_does_not_hide_the_constant() {
    let both = [b"\x0d_S5_\0\x08_S5_\x70", PC].concat();
    assert_eq!(soft_off(&both), Some([0, 0]));
}

#[test]
fn microvm_has_an_event_device() {
    let found = event_device(MICROVM).unwrap();
    assert_eq!((found.selector.get(), found.button), (0xfea0_0000, 2));
}

#[test]
fn an_event_device_of_another_form_is_none() {
    assert_eq!(event_device(PC), None);
    for (from, to) in [
        (&b"ACPI0013\0"[..], &b"ACPI0014\0"[..]),
        // In ports, not aligned, too long, computed, nowhere.
        (b"EREG\0\x0c", b"EREG\x01\x0c"),
        (b"\0\0\xa0\xfe\x0a\x04", b"\x02\0\xa0\xfe\x0a\x04"),
        (b"\0\0\xa0\xfe\x0a\x04", b"\0\0\xa0\xfe\x0a\x08"),
        (b"\x0c\0\0\xa0\xfe", b"SELE\xfe"),
        (b"\0\0\xa0\xfe", b"\0\0\0\0"),
        // Of two bits, of none, of another button.
        (b"\x0a\x02\x86PWRB", b"\x0a\x06\x86PWRB"),
        (b"\x0a\x02\x86PWRB", b"\x0a\x00\x86PWRB"),
        (b"\x0a\x02\x86PWRB", b"\x60\x02\x86PWRB"),
        (b"\x86PWRB", b"\x86SLPB"),
    ] {
        assert_eq!(event_device(&changed(from, to)), None, "{to:x?}");
    }
    let cut = places(MICROVM, b"PWRB").next().unwrap();
    assert_eq!(event_device(&MICROVM[..cut]), None);
}

proptest! {
    /// Any bytes, behind what is looked for: an answer that makes sense, or none.
    #[test]
    fn arbitrary_bytes_are_survived(noise in prop::collection::vec(any::<u8>(), 0..64), at in 0..MICROVM.len()) {
        for head in [&b"\x08_S5_\x12"[..], b"ACPI0013\0\x5b\x80EREG\0", b"\x08_S5_\x12\x06\x04"] {
            let bytes = [head, &noise, PRESSED].concat();
            prop_assert!(soft_off(&bytes).is_none_or(|types| types.iter().all(|kind| *kind <= 7)));
            let _ = event_device(&bytes);
        }
        let mut table = MICROVM.to_vec();
        for (place, byte) in table[at..].iter_mut().zip(&noise) {
            *place = *byte;
        }
        prop_assert!(soft_off(&table).is_none_or(|types| types.iter().all(|kind| *kind <= 7)));
        if let Some(found) = event_device(&table) {
            prop_assert!(found.button.is_power_of_two() && found.selector.get() % 4 == 0);
        }
    }
}
