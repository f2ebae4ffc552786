//! Machines without firmware: trees of bridges that route accesses by the numbers they were given,
//! as hardware does.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use proptest::prelude::*;

use super::*;
use crate::bridge::{WindowKind, read_window};
use crate::header::bridge_buses;
use crate::testing::{Liar, MockBar, MockBus, MockFunction, at};
use crate::{Found, FoundFunction, HeaderKind, PathError, enumerate};

/// What a bridge has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Windowed {
    io: bool,
    prefetchable: bool,
    wide: bool,
}

const ALL: Windowed = Windowed { io: true, prefetchable: true, wide: true };

/// A bridge after reset: no numbers, windows that pass nothing on.
fn bridge(has: Windowed) -> MockFunction {
    let mask = |has: bool, mask: [u8; 4]| if has { mask } else { [0; 4] };
    let ends = [0xf0, 0xff, 0xf0, 0xff];
    let high = mask(has.prefetchable && has.wide, [0xff; 4]);
    MockFunction::bridge(0, 0, 0)
        .writable(0x18, &[0xff; 4])
        .with(0x1c, if has.io { &[0xf0, 0] } else { &[0, 0] })
        .writable(0x1c, &mask(has.io, [0xf0, 0xf0, 0, 0]))
        .with(0x20, &[0xf0, 0xff, 0, 0])
        .writable(0x20, &ends)
        .with(0x24, if has.prefetchable { &[0xf0, 0xff, 0, 0] } else { &[0; 4] })
        .with(0x24, &[if has.prefetchable { 0xf0 | u8::from(has.wide) } else { 0 }])
        .with(0x26, &[u8::from(has.prefetchable && has.wide)])
        .writable(0x24, &mask(has.prefetchable, ends))
        // An endpoint has its subsystem there.
        .with(0x28, &[0; 8])
        .writable(0x28, &high)
        .writable(0x2c, &high)
}

/// Functions on buses that are numbered by nobody but the bridges.
struct Tree {
    /// On buses of our own counting: what hardware is where.
    functions: MockBus,
    /// Which of those buses is behind which bridge.
    behind: BTreeMap<PciAddress, u8>,
    /// Each function's, in the order of planting.
    places: Vec<PciAddress>,
    buses: RangeInclusive<u8>,
}

impl Tree {
    /// Each function with the index of the bridge it is behind.
    fn new(functions: &[(Option<usize>, MockFunction)]) -> Self {
        let (behind, places) = (BTreeMap::new(), Vec::new());
        let mut tree = Self { functions: MockBus::new([]), behind, places, buses: 0..=255 };
        let mut used = BTreeMap::new();
        for (before, function) in functions {
            let bus = before.map_or(0, |before| tree.behind[&tree.places[before]]);
            let device: &mut u8 = used.entry(bus).or_default();
            let place = PciAddress::new(0, bus, *device, 0).unwrap();
            *device += 1;
            tree.places.push(place);
            if function.is_bridge() {
                tree.behind.insert(place, u8::try_from(tree.behind.len() + 1).unwrap());
            }
            tree.functions.insert(place, function.clone());
        }
        tree
    }

    /// Where each BAR that has an address is, by hardware.
    fn addresses(&self) -> BTreeMap<(PciAddress, u8), u64> {
        let mut addresses = BTreeMap::new();
        enumerate(self, &mut |found| {
            if let Found::Function(found) = found {
                let function = Function::claim(self, found.address).unwrap();
                for bar in function.bars().flatten() {
                    addresses.insert((self.route(found.address), bar.index), bar.start);
                }
            }
        });
        addresses
    }

    /// Where an access ends up.
    fn route(&self, at: PciAddress) -> PciAddress {
        let mut bus = 0;
        let mut wanted = *self.buses.start();
        while wanted != at.bus() {
            let claims = |place: &PciAddress| {
                let buses = bridge_buses(&self.functions, *place);
                place.bus() == bus
                    && buses.secondary != 0
                    && (buses.secondary..=buses.subordinate).contains(&at.bus())
            };
            let Some((place, next)) = self.behind.iter().find(|(place, _)| claims(place)) else {
                return PciAddress::new(0, 0xff, 0x1f, 7).unwrap();
            };
            wanted = bridge_buses(&self.functions, *place).secondary;
            bus = *next;
        }
        PciAddress::from_devfn(0, bus, at.devfn())
    }
}

impl ConfigAccess for Tree {
    fn read8(&self, at: PciAddress, offset: u16) -> u8 {
        self.functions.read8(self.route(at), offset)
    }
    fn read16(&self, at: PciAddress, offset: u16) -> u16 {
        self.functions.read16(self.route(at), offset)
    }
    fn read32(&self, at: PciAddress, offset: u16) -> u32 {
        self.functions.read32(self.route(at), offset)
    }
    fn write8(&self, at: PciAddress, offset: u16, value: u8) {
        self.functions.write8(self.route(at), offset, value);
    }
    fn write16(&self, at: PciAddress, offset: u16, value: u16) {
        self.functions.write16(self.route(at), offset, value);
    }
    fn write32(&self, at: PciAddress, offset: u16, value: u32) {
        self.functions.write32(self.route(at), offset, value);
    }
    fn config_bytes(&self) -> u16 {
        256
    }
    fn segment(&self) -> u16 {
        0
    }
    fn buses(&self) -> RangeInclusive<u8> {
        self.buses.clone()
    }
}

fn windows() -> Windows {
    Windows {
        io: AddressWindow::new(0xc000, 0x4000),
        memory32: AddressWindow::new(0xe000_0000, 0x1000_0000),
        memory64: AddressWindow::EMPTY,
        prefetchable: AddressWindow::new(0x80_0000_0000, 0x10_0000_0000),
    }
}

fn run(tree: &Tree) -> Vec<Resource> {
    let mut list = vec![Resource::EMPTY; 2048];
    assign_all(tree, tree.buses(), &mut windows(), &mut list).unwrap().to_vec()
}

fn lines(list: &[Resource]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// Range, and whether in port space.
type Range = (bool, u64, u64);

fn disjoint(ranges: &[Range], bus: u8) {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    for pair in sorted.windows(2) {
        let ((io, _, last), (next_io, next, _)) = (pair[0], pair[1]);
        assert!(io != next_io || last < next, "bus {bus:#x}: {pair:x?} overlap");
    }
}

/// Looks at the machine, not at the list: every BAR aligned, inside a window of each bridge before
/// it, alone there; every window inside one of the bridge before it. How many BARs have addresses.
fn inspect(tree: &Tree) -> usize {
    let mut ranges: BTreeMap<u8, Vec<Range>> = BTreeMap::new();
    let mut bars = 0;
    let covered = |path: &[PciAddress], (io, start, last): Range| {
        path.iter().all(|bridge| {
            let covers =
                |kind| read_window(tree, *bridge, kind).is_some_and(|window| window.covers(start, last));
            if io {
                covers(WindowKind::Io)
            } else {
                covers(WindowKind::Memory) || covers(WindowKind::Prefetchable)
            }
        })
    };
    let mut look = |found: FoundFunction<'_>| {
        let here = ranges.entry(found.address.bus()).or_default();
        let function = Function::claim(tree, found.address).unwrap();
        for bar in function.bars().flatten() {
            let range = (bar.kind == BarKind::Io, bar.start, bar.start + (bar.len_bytes - 1));
            assert!(bar.start.is_multiple_of(bar.len_bytes));
            assert!(covered(found.path, range), "{} {bar:x?} behind {:?}", found.address, found.path);
            here.push(range);
            bars += 1;
        }
        if found.kind == HeaderKind::Bridge {
            for kind in WindowKind::ALL {
                if let Some(window) = read_window(tree, found.address, kind) {
                    let range = (kind == WindowKind::Io, window.start, window.last);
                    assert!(covered(found.path, range), "{} {kind:?} {range:x?}", found.address);
                    here.push(range);
                }
            }
        }
    };
    enumerate(tree, &mut |found| {
        if let Found::Function(found) = found {
            look(found);
        }
    });
    for (bus, ranges) in &ranges {
        disjoint(ranges, *bus);
    }
    assert!(!tree.functions.moved_while_decoding.get());
    bars
}

fn nic() -> MockFunction {
    MockFunction::nic()
        .bar(MockBar::memory32(0, 0, 0x1000))
        .bar(MockBar::io(1, 0, 0x20))
        .bar(MockBar::memory64(2, 0, 0x4000).prefetchable())
}

#[test]
fn a_function_behind_three_bridges_is_reached() {
    let tree =
        Tree::new(&[(None, bridge(ALL)), (Some(0), bridge(ALL)), (Some(1), bridge(ALL)), (Some(2), nic())]);
    let list = run(&tree);
    assert!(list.iter().all(|resource| resource.error().is_none()), "{:#?}", lines(&list));
    assert_eq!(inspect(&tree), 3);
    let mut path = Vec::new();
    enumerate(&tree, &mut |found| match found {
        Found::Function(found) => path = found.path.to_vec(),
        Found::Skipped(skip) => panic!("{skip}"),
    });
    assert_eq!(path, [at("00:00.0"), at("01:00.0"), at("02:00.0")]);
    let function = Function::claim(&tree, at("03:00.0")).unwrap();
    assert_eq!(function.bar(0).unwrap().start, 0xe000_0000);
    assert_eq!(function.bar(2).unwrap().start, 0x80_0000_0000, "the bridges have 64 bits for it");
    function.enable_path(&path).unwrap();
    assert_eq!(
        lines(&list)[..2],
        [
            "00:00.0 bus numbers of the bridge: 0x1 to 0x3",
            "00:00.0 bridge window for ports: 0xc000 to 0xcfff",
        ]
    );
}

#[test]
fn bridges_side_by_side_share_the_numbers() {
    let side = [
        (None, bridge(ALL)),
        (Some(0), nic()),
        (None, bridge(ALL)),
        (Some(2), bridge(ALL)),
        (Some(3), nic()),
    ];
    let tree = Tree::new(&side);
    run(&tree);
    assert_eq!(inspect(&tree), 6, "both are reached");
    let buses =
        |place| (bridge_buses(&tree, at(place)).secondary, bridge_buses(&tree, at(place)).subordinate);
    assert_eq!([buses("00:00.0"), buses("00:01.0"), buses("02:00.0")], [(1, 1), (2, 3), (3, 3)]);
}

#[test]
fn bars_behind_closed_windows_are_not_called_reachable() {
    let tree = Tree::new(&[(None, bridge(ALL)), (Some(0), nic())]);
    run(&tree);
    let mut function = Function::claim(&tree, at("01:00.0")).unwrap();
    crate::bridge::close_window(&tree, at("00:00.0"), WindowKind::Memory);
    let error = function.enable_path(&[at("00:00.0")]).unwrap_err();
    assert!(matches!(error, PathError::NotPassed { index: 0, .. }), "{error}");
    function.enable(crate::Command::MEMORY).unwrap();
}

#[test]
fn what_a_bridge_has_no_window_for_takes_nothing_from_the_rest() {
    let without_ports = Windowed { io: false, prefetchable: false, wide: false };
    let tree = Tree::new(&[(None, bridge(without_ports)), (Some(0), nic())]);
    let list = run(&tree);
    let failed: Vec<_> = list.iter().filter_map(Resource::error).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(
        failed[0].to_string(),
        "01:00.0 BAR1, which wants 0x20 ports: no bridge window on the way could pass it on"
    );
    let function = Function::claim(&tree, at("01:00.0")).unwrap();
    assert!(function.bar(2).unwrap().start < 1 << 32, "into the window for memory");
    assert_eq!(inspect(&tree), 2);
}

#[test]
fn the_largest_is_left_out_and_the_rest_fits() {
    let huge = MockFunction::nic()
        .bar(MockBar::memory32(0, 0, 0x1000_0000))
        .bar(MockBar::memory64(2, 0, 1 << 62))
        .bar(MockBar::memory64(4, 0, 1 << 40).prefetchable());
    let tree = Tree::new(&[(None, bridge(ALL)), (Some(0), huge), (Some(0), nic()), (None, nic())]);
    let list = run(&tree);
    let failed: Vec<_> = list.iter().filter_map(Resource::error).collect();
    assert!(failed.iter().all(|error| error.address == at("01:00.0")), "{:#?}", lines(&list));
    assert_eq!(failed.len(), 3);
    assert_eq!(inspect(&tree), 6);
}

#[test]
fn bus_numbers_end() {
    let chain: Vec<_> = (0..5).map(|index: usize| (index.checked_sub(1), bridge(ALL))).collect();
    let mut tree = Tree::new(&chain);
    tree.buses = 0..=3;
    let list = run(&tree);
    let failed: Vec<_> = list.iter().filter_map(Resource::error).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].address, failed[0].reason), (at("03:00.0"), AssignErrorReason::NoBusNumbers));
    assert_eq!(bridge_buses(&tree, at("00:00.0")).subordinate, 3);
}

#[test]
fn bridges_nest_so_deep_and_no_deeper() {
    let chain: Vec<_> = (0..40).map(|index: usize| (index.checked_sub(1), bridge(ALL))).collect();
    let list = run(&Tree::new(&chain));
    let failed: Vec<_> = list.iter().filter_map(Resource::error).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].address, failed[0].reason), (at("20:00.0"), AssignErrorReason::TooDeep));
}

#[test]
fn what_firmware_did_stays() {
    let numbered = |secondary, subordinate| {
        bridge(ALL).with(0x18, &[0, secondary, subordinate, 0]).with(0x20, &[0x00, 0xe0, 0x10, 0xe0])
    };
    let placed = MockFunction::nic()
        .bar(MockBar::memory32(0, 0xe010_0000, 0x10_0000))
        .bar(MockBar::memory32(1, 0, 0x8_0000))
        .bar(MockBar::memory32(2, 0, 0x10_0000))
        .bar(MockBar::memory32(3, 0, 0x1000));
    let tree = Tree::new(&[(None, numbered(5, 7)), (Some(0), placed), (None, bridge(ALL)), (Some(2), nic())]);
    let list = run(&tree);
    let function = Function::claim(&tree, at("05:00.0")).unwrap();
    assert_eq!(function.bar(0).unwrap().start, 0xe010_0000, "kept");
    assert_eq!(
        function.bar(2).unwrap().start,
        0xe000_0000,
        "what was free in the window that firmware opened"
    );
    let failed: Vec<_> = list.iter().filter_map(Resource::error).collect();
    assert_eq!(failed.len(), 2, "a window of firmware's is not moved, and this one is full");
    assert_eq!((failed[0].address, failed[0].reason), (at("05:00.0"), AssignErrorReason::NoRoom));
    assert_eq!(bridge_buses(&tree, at("00:01.0")).secondary, 8, "above the numbers that are taken");
    let other = Function::claim(&tree, at("08:00.0")).unwrap();
    assert_eq!(other.bar(0).unwrap().start, 0xe020_0000, "beside firmware's window");
    assert_eq!(inspect(&tree), 5, "all but two");
}

#[test]
fn an_address_that_no_bridge_passes_on_is_none() {
    let numbered = bridge(ALL).with(0x18, &[0, 1, 1, 0]);
    let stale = MockFunction::nic().bar(MockBar::memory32(0, 0xc000_0000, 0x1000));
    let tree = Tree::new(&[(None, numbered), (Some(0), stale)]);
    run(&tree);
    assert_eq!(Function::claim(&tree, at("01:00.0")).unwrap().bar(0).unwrap().start, 0xe000_0000);
    assert_eq!(inspect(&tree), 1);
}

#[test]
fn numbers_that_overlap_are_reported_and_not_followed() {
    let numbered = |secondary, subordinate| bridge(ALL).with(0x18, &[0, secondary, subordinate, 0]);
    let tree = Tree::new(&[(None, numbered(1, 4)), (None, numbered(3, 5)), (None, numbered(9, 8))]);
    let failed: Vec<_> = run(&tree).iter().filter_map(Resource::error).collect();
    assert_eq!(failed.iter().map(|error| error.address).collect::<Vec<_>>(), [at("00:01.0"), at("00:02.0")]);
    assert!(failed[0].to_string().contains("0x03 to 0x05"), "{}", failed[0]);
}

#[test]
fn numbers_that_a_bridge_keeps_are_given_to_no_other() {
    let numbered = |secondary, subordinate| bridge(ALL).with(0x18, &[0, secondary, subordinate, 0]);
    let behind_fresh = |buses| {
        let mut tree = Tree::new(&[
            (None, numbered(1, 4)),
            (None, numbered(3, 6)),
            (None, bridge(ALL)),
            (Some(1), nic()),
            (Some(2), nic()),
        ]);
        tree.buses = buses;
        (run(&tree), tree)
    };
    let (list, tree) = behind_fresh(0..=255);
    assert_eq!(bridge_buses(&tree, at("00:02.0")).secondary, 7, "{:#?}", lines(&list));
    assert_eq!(Function::claim(&tree, at("07:00.0")).unwrap().bar(0).unwrap().start, 0xe000_0000);
    let (list, _) = behind_fresh(0..=5);
    let failed: Vec<_> = list.iter().filter_map(Resource::error).collect();
    assert_eq!(failed.len(), 2, "{:#?}", lines(&list));
    assert_eq!((failed[1].address, failed[1].reason), (at("00:02.0"), AssignErrorReason::NoBusNumbers));
}

#[test]
fn a_closed_window_for_ports_passes_none_whatever_its_upper_half_was() {
    // 32 bits of ports: open from 0xf000 on if the limit's upper half stays.
    let wide = bridge(ALL).with(0x1c, &[0x11, 0x01]).with(0x30, &[0, 0, 1, 0]).writable(0x30, &[0xff; 4]);
    let tree = Tree::new(&[(None, wide)]);
    run(&tree);
    assert_eq!(read_window(&tree, at("00:00.0"), WindowKind::Io), None);
}

#[test]
fn a_closed_window_of_64_bits_passes_none_whatever_its_upper_halves_were() {
    let wide = bridge(ALL).with(0x24, &[0x01, 0, 0x01, 0]).with(0x28, &[0, 0, 0, 0, 1, 0, 0, 0]);
    let tree = Tree::new(&[(None, wide.writable(0x28, &[0xff; 8]))]);
    run(&tree);
    assert_eq!(read_window(&tree, at("00:00.0"), WindowKind::Prefetchable), None);
}

#[test]
fn a_list_that_is_too_short_says_how_long_it_has_to_be() {
    let tree = Tree::new(&[(None, bridge(ALL)), (Some(0), nic())]);
    let error = assign_all(&tree, 0..=255, &mut windows(), &mut [Resource::EMPTY; 3]).unwrap_err();
    assert_eq!(error, ListTooShort { places: 3, needed: 7 });
    let mut list = [Resource::EMPTY; 7];
    assert_eq!(assign_all(&tree, 0..=255, &mut windows(), &mut list).unwrap().len(), 7);
}

#[test]
fn a_bridge_that_does_not_take_its_numbers_or_window_leads_nowhere() {
    let deaf = bridge(ALL).writable(0x19, &[0]);
    let narrow = bridge(ALL).writable(0x20, &[0xf0, 0x00]);
    let tree = Tree::new(&[(None, deaf), (None, narrow), (Some(1), nic())]);
    let list = run(&tree);
    let failed: Vec<_> = list.iter().filter_map(Resource::error).collect();
    assert_eq!(failed[0].reason, AssignErrorReason::NotNumbered);
    assert!(failed.iter().any(|error| matches!(error.reason, AssignErrorReason::Refused { .. })));
    assert!(failed.iter().any(|error| error.reason == AssignErrorReason::Unreachable));
    assert_eq!(inspect(&tree), 2, "the window for memory is the only one that is lost");
}

#[derive(Clone, Debug)]
struct Wish {
    before: prop::sample::Index,
    function: MockFunction,
    /// Comes after firmware ran.
    late: bool,
}

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    let has = (any::<bool>(), any::<bool>(), any::<bool>());
    let bridges = has.prop_map(|(io, prefetchable, wide)| bridge(Windowed { io, prefetchable, wide }));
    // Also lengths that fit nowhere, and addresses that nobody gave.
    let bar = (0..4_u8, 0..64_u32, prop::sample::select(vec![0_u64, 0, 0, 0xe000_0000, 0xfff0_0000]));
    let endpoints = prop::collection::vec(bar, 0..4).prop_map(|bars| {
        bars.into_iter().zip([0, 2, 4]).fold(MockFunction::nic(), |function, ((kind, bits, start), index)| {
            let len = |most: u32| 1_u64 << (4 + bits % most);
            let place = |len: u64| start & !(len - 1);
            function.bar(match kind {
                0 => MockBar::io(index, place(len(5)) & 0xfff0, len(5)),
                1 => MockBar::memory32(index, place(len(27)), len(27)),
                2 => MockBar::memory64(index, place(len(59)), len(59)),
                _ => MockBar::memory64(index, place(len(40)), len(40)).prefetchable(),
            })
        })
    });
    let function = prop_oneof![bridges, endpoints];
    let wish = (any::<prop::sample::Index>(), function, any::<bool>());
    prop::collection::vec(wish.prop_map(|(before, function, late)| Wish { before, function, late }), 1..24)
}

fn plant(wishes: &[Wish]) -> Vec<(Option<usize>, MockFunction)> {
    let mut bridges = vec![None];
    let mut functions = Vec::new();
    for wish in wishes {
        let before = *wish.before.get(&bridges);
        if wish.function.is_bridge() {
            bridges.push(Some(functions.len()));
        }
        functions.push((before, wish.function.clone()));
    }
    functions
}

proptest! {
    // Each case is a machine or two.
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever the tree: what has an address can be reached there, and nobody else has it.
    #[test]
    fn windows_nest_and_nothing_overlaps(wishes in wishes()) {
        let tree = Tree::new(&plant(&wishes));
        let list = run(&tree);
        let given = list.iter().filter(|resource| resource.is_bar() && resource.range().is_some()).count();
        assert_eq!(inspect(&tree), given, "{:#?}", lines(&list));
        for resource in &list {
            assert!(!resource.to_string().is_empty());
        }
    }

    /// A second time there is nothing left to do, and what came meanwhile moves nothing.
    #[test]
    fn a_second_run_moves_nothing(wishes in wishes()) {
        let tree = Tree::new(&plant(&wishes));
        // Behind the bridges that are there from the start, some functions come late.
        let comes_late = |index: usize| wishes[index].late && !wishes[index].function.is_bridge();
        let late: Vec<_> = (0..wishes.len()).filter(|index| comes_late(*index)).collect();
        let late = late.into_iter().map(|index| tree.places[index]);
        let late: Vec<_> = late.map(|place| (place, tree.functions.remove(place).unwrap())).collect();
        run(&tree);
        let before = tree.addresses();
        for (place, function) in late {
            tree.functions.insert(place, function.without_addresses());
        }
        let again = run(&tree);
        let after = tree.addresses();
        for (key, start) in &before {
            assert_eq!(after.get(key), Some(start), "{:#?}", lines(&again));
        }
        inspect(&tree);
        let third = run(&tree);
        let last = tree.addresses();
        for (key, start) in &after {
            assert_eq!(last.get(key), Some(start), "{:#?}", lines(&third));
        }
    }

    /// Answers that change with every read end in some list, after so many reads and no more.
    #[test]
    fn a_liar_is_given_something_or_nothing(seed: u64, never in prop::sample::select(vec![0, 0x8000_0000, 0x00ff_0000, 0xffff_0000, 0xfffe_0000])) {
        let liar = Liar::new(seed, never);
        let mut list = vec![Resource::EMPTY; 4096];
        let mut windows = windows();
        if let Ok(list) = assign_all(&liar, 0..=7, &mut windows, &mut list) {
            assert!(lines(list).iter().all(|line| !line.is_empty()));
        }
        assert!(liar.reads.get() < 8 * 256 * 300, "{}", liar.reads.get());
    }
}
