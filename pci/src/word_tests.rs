//! How errors read, and accesses that go through one more layer: each width, each way.

use std::error::Error;
use std::time::Duration;

use paravane_hal::addr::PhysAddr;
use paravane_hal::mmio::{MapError, MapErrorReason};
use paravane_hal::time::TimedOut;

use crate::testing::{MockBus, MockFunction, MockMap, at};
use crate::{
    BarError, BarErrorReason, CapabilityError, CapabilityErrorReason, CapabilityId, CommandError,
    ConfigAccess, EcamEntry, EcamError, Function, Ids, MessagesError, MsiError, MsixError, Patched,
    QuiesceError,
};

fn list_error() -> CapabilityError {
    let reason = CapabilityErrorReason::Truncated { id: CapabilityId::MSIX, len_bytes: 12 };
    CapabilityError { address: at("00:04.0"), offset: 0xfc, reason }
}

#[test]
fn capability_errors_name_the_place_and_the_reason() {
    let text = list_error().to_string();
    assert!(text.starts_with("00:04.0 capability list at 0xfc: ") && text.contains("12 bytes"), "{text}");
    let header = CapabilityErrorReason::IntoHeader { pointer: 0x10 };
    let text = CapabilityError { reason: header, ..list_error() }.to_string();
    assert!(text.contains("0x10, which is inside the header"), "{text}");
    let field = CapabilityErrorReason::BadField { id: CapabilityId::MSIX, field: "table BAR", value: 7 };
    let text = CapabilityError { reason: field, ..list_error() }.to_string();
    assert!(text.contains("0x7 as its table BAR"), "{text}");
}

#[test]
fn bar_errors_name_the_register_and_the_reason() {
    let text = |reason| BarError { address: at("00:04.0"), index: 2, reason }.to_string();
    for (reason, words) in [
        (BarErrorReason::NoSuchBar, "no such register"),
        (
            BarErrorReason::NotRestored { expected: 0xf000, seen: 0xe000 },
            "0xe000 after sizing, expected 0xf000",
        ),
        (BarErrorReason::HostBridge, "host bridge"),
        (BarErrorReason::Gone, "does not answer"),
        (
            BarErrorReason::TooShort { len_bytes: 0x10, wanted_bytes: 0x20 },
            "0x10 bytes long, expected at least 0x20",
        ),
        (BarErrorReason::NotMemory, "I/O space"),
        (BarErrorReason::NotPorts, "is in memory"),
    ] {
        let text = text(reason);
        assert!(text.starts_with("00:04.0 BAR2: ") && text.contains(words), "{text}");
    }
}

#[test]
fn interrupt_errors_carry_what_was_read() {
    let message = crate::testing::message(0xfee0_0000, 0x41);
    let text = MsiError::Unsuitable { address: at("00:04.0"), message }.to_string();
    assert!(text.contains("0x41 to 0xfee00000"), "{text}");
    let text = MsiError::NotEnabled { address: at("00:04.0"), seen: 0x80 }.to_string();
    assert!(text.contains("0x0080"), "{text}");
    assert_eq!(
        MsiError::Messages(MessagesError::Capability(list_error())).to_string(),
        list_error().to_string()
    );

    let text = MsixError::NoSuchVector { address: at("00:04.0"), vector: 9, entries: 3 }.to_string();
    assert!(text.contains("vector 9 of 3"), "{text}");
    let text = MsixError::NotEnabled { address: at("00:04.0"), seen: 2 }.to_string();
    assert!(text.contains("0x0002"), "{text}");
    let text = MsixError::WrongFunction { table: at("00:04.0"), function: at("00:05.0") }.to_string();
    assert!(text.contains("00:04.0 was used with 00:05.0"), "{text}");
    let bar = BarError { address: at("00:04.0"), index: 2, reason: BarErrorReason::Gone };
    assert_eq!(MsixError::from(bar).to_string(), format!("MSI-X table: {bar}"));
    assert_eq!(MsixError::Capability(list_error()).to_string(), list_error().to_string());
}

#[test]
fn a_function_that_was_not_stopped_says_why() {
    let after = Duration::from_millis(100);
    let waits = QuiesceError::TransactionsPending { address: at("00:04.0"), waited: TimedOut { after } };
    assert!(waits.to_string().contains("still waits for completions"), "{waits}");
    assert!(waits.source().is_some());
    let broken = QuiesceError::Capability(list_error());
    assert!(broken.to_string().ends_with(&list_error().to_string()), "{broken}");
    assert_eq!(broken.source().unwrap().to_string(), list_error().to_string());
    let gone = Function::claim(&MockBus::of(MockFunction::nic()), at("00:05.0")).unwrap_err();
    assert!(gone.to_string().contains("00:05.0"), "{gone}");
}

#[test]
fn command_errors_are_passed_on() {
    let gone = CommandError {
        address: at("00:04.0"),
        written: Some(crate::Command::empty()),
        seen: crate::Command::BUS_MASTER,
    };
    let stopped = QuiesceError::Command(gone);
    assert!(stopped.to_string().ends_with(&gone.to_string()), "{stopped}");
    assert_eq!(stopped.source().unwrap().to_string(), gone.to_string());
    assert_eq!(MsixError::from(gone).to_string(), gone.to_string());
    assert_eq!(MsiError::Command(gone).to_string(), gone.to_string());
}

#[test]
fn an_ecam_entry_is_mapped_from_its_first_bus_on() {
    let map = MockMap::default();
    let entry = EcamEntry { base: PhysAddr::new(0xb000_0000), segment: 1, buses: 2..=3 };
    let ecam = entry.map(&map).unwrap();
    assert_eq!((ecam.segment(), ecam.buses(), ecam.config_bytes()), (1, 2..=3, 4096));
    ecam.write32(at("0001:02:01.0"), 0x10, 0x1234_5678);
    assert_eq!(ecam.read32(at("0001:02:01.0"), 0x10), 0x1234_5678);
    let (start, region) = map.last.lock().unwrap().clone().unwrap();
    assert_eq!(start, 0xb020_0000);
    assert_eq!(region.words.lock().unwrap()[0x8010 / 4], 0x1234_5678);

    let all = EcamEntry { buses: 0..=255, ..entry.clone() };
    let error = all.map(&map).unwrap_err();
    let refused = MapError::new(all.base, 256 << 20, MapErrorReason::OutOfRange);
    assert_eq!(error, EcamError::Map(refused));
    assert_eq!(error.to_string(), format!("ECAM: {refused}"));
    assert!(error.source().is_some());
    let none = EcamEntry { buses: std::ops::RangeInclusive::new(4, 3), ..entry };
    let error = none.map(&map).unwrap_err();
    assert_eq!(error.to_string(), "ECAM of segment 1 with bus 0 at 0xb0000000 holds no whole bus");
    assert!(error.source().is_none());
}

#[test]
fn a_layer_passes_every_access_on() {
    let bus = MockBus::of(MockFunction::nic());
    let patched = Patched::new(&bus);
    let nic = at("00:04.0");
    patched.write8(nic, 0x3c, 0x0b);
    assert_eq!((patched.read8(nic, 0x3c), bus.read8(nic, 0x3c)), (bus.read8(nic, 0x3c), 0x0b));
    patched.write32(nic, 0x04, 6);
    assert_eq!(bus.read16(nic, 0x04), 6);
    assert_eq!(patched.segment(), 0);
    assert_eq!(patched.buses(), ConfigAccess::buses(&bus));
    assert_eq!(patched.config_bytes(), ConfigAccess::config_bytes(&bus));
    let mut full = patched;
    let refused = (0..64).find_map(|offset| full.patch(nic, offset, 0).err()).unwrap();
    assert!(refused.to_string().ends_with("are replaced already"), "{refused}");
}

#[test]
fn the_line_that_firmware_routed_is_reported() {
    let routed = MockBus::of(MockFunction::nic().with(0x3c, &[11, 1]));
    let function = Function::claim(&routed, at("00:04.0")).unwrap();
    assert_eq!(function.read_interrupt_line(), Some(11));
    let unrouted = MockBus::of(MockFunction::nic().with(0x3c, &[0xff, 0]));
    let function = Function::claim(&unrouted, at("00:04.0")).unwrap();
    assert_eq!((function.read_interrupt_line(), function.read_interrupt_pin()), (None, None));
}

#[test]
fn ids_are_read_without_a_claim() {
    let bus = MockBus::of(MockFunction::nic());
    let ids = Ids::read(&bus, at("00:04.0")).unwrap();
    assert_eq!((ids.to_string(), ids.class, ids.subsystem), ("15ad:07b0".into(), 2, 0x07b1));
    assert_eq!(Ids::read(&bus, at("00:05.0")), None);
    assert_eq!(*bus.writes.borrow(), []);
    let function = Function::claim(&bus, at("00:04.0")).unwrap();
    assert_eq!(function.ids(), ids);
}
