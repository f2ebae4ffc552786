//! Configuration space from somebody who means harm: arbitrary bytes, and answers that change with
//! every read. Whatever it is, every walk ends after a number of reads that is known beforehand,
//! and nothing panics.

use proptest::prelude::*;

use crate::testing::{Liar, MockBus, MockFunction, MockMap, Ticking, at, message};
use crate::{Command, ConfigAccess, Found, Function, Windows, enumerate, enumerate_all};

/// Everything that can be done with a function, results ignored as far as they are errors.
fn exercise<C: ConfigAccess>(access: C) {
    let Ok(mut function) = Function::claim(access, at("00:04.0")) else { return };
    let (clock, map) = (Ticking::new(), MockMap::default());
    let _ = function.ensure_d0(&clock);
    let mut windows =
        Windows { memory32: crate::assign::AddressWindow::new(0x1000_0000, 1 << 28), ..Windows::default() };
    let _ = function.assign_bars(&mut windows);
    for index in 0..8 {
        let _ = function.map_bar(&map, index, 16);
        let text = function.bar(index).map_or_else(|error| error.to_string(), |bar| format!("{bar:?}"));
        assert!(!text.is_empty());
    }
    assert!(function.capabilities().count() <= 49, "48 places, and one error");
    assert!(function.extended_capabilities().count() <= 961);
    for vendor in function.vendor_capabilities().flatten() {
        for field in 0..=u8::MAX {
            let answers = vendor.read8(field).is_some();
            assert_eq!(answers, field < vendor.len_bytes());
            let _ = (vendor.read16(field), vendor.read32(field));
        }
    }
    let _ = function.enable(Command::MEMORY);
    if let Ok(Some(msi)) = function.msi() {
        let _ = msi.program(&mut function, message(0xfee0_0000, 0x41));
        let _ = msi.enable(&mut function);
        msi.disable(&mut function);
    }
    if let Ok(Some(msix)) = function.msix()
        && let Ok(mut table) = msix.open(&mut function, &map)
    {
        let _ = table.program(0, message(0xfee0_0000, 0x41));
        let _ = table.enable(&mut function);
        table.disable(&mut function);
    }
    let _ = function.quiesce(&clock);
}

/// A function of arbitrary bytes that is there at least.
fn arbitrary() -> impl Strategy<Value = MockFunction> {
    let anything = prop::collection::vec(any::<u8>(), 4096);
    let list = prop::collection::vec((0x40_u8..=0xff, prop::sample::select(vec![1, 5, 9, 0x10, 0x11])), 0..8);
    let masks = prop::collection::vec(prop::sample::select(vec![0x00, 0xff, 0x0f, 0xf0]), 4096);
    (anything, masks, list, 0..2_u8).prop_map(|(bytes, masks, list, kind)| {
        let mut function = MockFunction::nic().with(0, &bytes).with(0, &[0xad, 0x15]).writable(0, &masks);
        // A list that leads somewhere gets further than noise does.
        let mut pointer_at = 0x34;
        for (offset, id) in list {
            function =
                function.with(pointer_at, &[offset]).with((offset & !3).into(), &[id]).with(0x06, &[0x10]);
            pointer_at = usize::from(offset & !3) + 1;
        }
        function.with(0x0e, &[kind])
    })
}

proptest! {
    #[test]
    fn arbitrary_space_is_survived(function in arbitrary()) {
        let bus = MockBus::of(function);
        exercise(&bus);
        assert!(bus.reads.get() < 100_000);
        enumerate(&bus, &mut |_| {});
    }

    #[test]
    fn a_liar_is_survived(seed: u64, never in prop::sample::select(vec![0, 0x8000_0000, 0x00ff_0000, 0xffff_0000, 0xfffe_0000])) {
        let liar = Liar::new(seed, never);
        exercise(&liar);
        assert!(liar.reads.get() < 100_000);
    }

    #[test]
    fn a_walk_past_a_liar_visits_each_function_at_most_once(seed: u64, never: u32) {
        let liar = Liar::new(seed, never & 0xffff_7ffe);
        let mut seen = std::collections::BTreeSet::new();
        enumerate_all(&liar, &mut |found| {
            if let Found::Function(function) = found {
                assert!(seen.insert(function.address), "{} came twice", function.address);
            }
        });
        // 8 buses of 256 functions, each looked at with a bounded number of reads.
        assert!(liar.reads.get() < 8 * 256 * 80);
    }
}
