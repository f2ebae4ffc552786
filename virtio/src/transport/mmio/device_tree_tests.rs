//! Trees made by hand, as the Devicetree Specification has them, chapter 5 "Flattened Devicetree
//! (DTB) Format".

#![allow(clippy::cast_possible_truncation, reason = "trees are short")]

use super::*;
use proptest::prelude::*;
use std::vec::Vec;

/// A tree under construction: its structure block and its strings.
#[derive(Default)]
struct Builder {
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl Builder {
    fn word(&mut self, word: u32) {
        self.structure.extend(word.to_be_bytes());
    }

    fn padded(&mut self, bytes: &[u8]) {
        self.structure.extend(bytes);
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
    }

    fn open(mut self, name: &str) -> Self {
        self.word(1);
        self.padded(&[name.as_bytes(), &[0]].concat());
        self
    }

    fn close(mut self) -> Self {
        self.word(2);
        self
    }

    fn bytes(mut self, name: &str, value: &[u8]) -> Self {
        let name_at = self.strings.len();
        self.strings.extend([name.as_bytes(), &[0]].concat());
        self.word(3);
        self.word(value.len() as u32);
        self.word(name_at as u32);
        self.padded(value);
        self
    }

    fn words(self, name: &str, words: &[u32]) -> Self {
        self.bytes(name, &words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>())
    }

    /// A virtio node on a bus of addresses and lengths of two words each.
    fn virtio(self, start: u32, len_bytes: u32, line: u32) -> Self {
        self.open(&std::format!("virtio_mmio@{start:x}"))
            .bytes("compatible", b"virtio,mmio\0")
            .words("reg", &[0, start, 0, len_bytes])
            .words("interrupts", &[0, line, 1])
            .bytes("dma-coherent", b"")
            .close()
    }

    /// The header: magic, total size, where structure, strings and reservations are, versions,
    /// boot CPU, sizes of strings and structure. No memory is reserved.
    fn finish(mut self) -> Vec<u8> {
        self.word(9);
        let (structure, strings) = (self.structure.len() as u32, self.strings.len() as u32);
        let header =
            [0xd00d_feed, 56 + structure + strings, 56, 56 + structure, 40, 17, 16, 0, strings, structure];
        let mut tree: Vec<u8> = header.iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
        tree.extend([0; 16]);
        tree.extend(self.structure);
        tree.extend(self.strings);
        tree
    }
}

/// The root of a machine with wide addresses, whose interrupts go to node 1.
fn machine() -> Builder {
    Builder::default()
        .open("")
        .words("#address-cells", &[2])
        .words("#size-cells", &[2])
        .words("interrupt-parent", &[1])
}

fn found(tree: &[u8]) -> Vec<Result<TreePlace, TreeError>> {
    let mut all = Vec::new();
    find(tree, &mut |place| all.push(place)).unwrap();
    all
}

#[test]
fn devices_are_where_the_tree_has_them() {
    let tree = machine()
        .open("uart@9000000")
        .bytes("compatible", b"arm,pl011\0")
        .words("reg", &[0, 0x900_0000, 0, 0x1000])
        .close()
        .virtio(0xa00_0000, 0x200, 16)
        .virtio(0xa00_0200, 0x200, 17)
        .close()
        .finish();
    let all = found(&tree);
    assert_eq!(all.len(), 2);
    let second = all[1].unwrap();
    assert_eq!((second.start.get(), second.len_bytes), (0xa00_0200, 0x200));
    assert_eq!((second.interrupt_parent, second.interrupt()), (Some(1), &[0, 17, 1][..]));
    assert!(second.is_coherent);
}

#[test]
fn addresses_of_a_bus_are_translated_or_refused() {
    let bus =
        |name, builder: Builder| builder.open(name).words("#address-cells", &[1]).words("#size-cells", &[1]);
    let device = |builder: Builder, start: u32| {
        builder
            .open(&std::format!("virtio@{start:x}"))
            .bytes("compatible", b"other\0virtio,mmio\0")
            .words("reg", &[start, 0x200])
            .words("interrupts-extended", &[7, 5])
            .close()
    };
    // Two ranges to the buses above, of two words an address there.
    let tree = bus("soc", machine()).words("ranges", &[0, 1, 0, 0x1000, 0x4000, 2, 0x8000, 0x1000]);
    let tree = device(device(device(tree, 0xe00), 0x4800), 0xf00).close();
    let tree = device(bus("same", tree).bytes("ranges", b""), 0x9000).close();
    let tree = device(bus("own", tree), 0x9000).close().close().finish();
    let starts: Vec<_> = found(&tree).iter().map(|place| place.map(|place| place.start.get())).collect();
    let not_mapped = |start| Err(TreeError::NotMapped { start });
    assert_eq!(
        starts,
        [Ok(0x1_0000_0e00), Ok(0x2_0000_8800), not_mapped(0xf00), Ok(0x9000), not_mapped(0x9000)]
    );
    let first = found(&tree)[0].unwrap();
    assert_eq!((first.interrupt_parent, first.interrupt(), first.is_coherent), (Some(7), &[5][..], false));
}

#[test]
fn what_is_not_in_use_is_left_out_and_what_makes_no_sense_is_said() {
    let node = |builder: Builder, name: &str| builder.open(name).bytes("compatible", b"virtio,mmio\0");
    let tree =
        node(machine(), "off").words("reg", &[0, 0x1000, 0, 0x200]).bytes("status", b"disabled\0").close();
    let tree = node(tree, "on").words("reg", &[0, 0x2000, 0, 0x200]).bytes("status", b"okay\0").close();
    let tree = node(tree, "nowhere").close();
    let tree = node(tree, "cut").words("reg", &[0, 0x3000, 0]).close();
    let tree = node(tree, "wide").words("reg", &[1, 0x3000, 1, 0]).close();
    let tree = node(tree, "short").words("reg", &[0, 0x4000, 0, 0xff]).close();
    let tree = node(tree, "end").words("reg", &[!0, !0 - 0x1ff, 0, 0x201]).close();
    let tree = node(tree, "long").words("reg", &[0, 0x5000, 0, 0x200]).words("interrupts", &[0; 5]).close();
    let all: Vec<_> =
        found(&tree.close().finish()).iter().map(|place| place.map(|place| place.start.get())).collect();
    let too_short = |start, len_bytes| Err(TreeError::TooShort { start, len_bytes });
    assert_eq!(
        all,
        [
            Ok(0x2000),
            Err(TreeError::NoRegisters),
            Err(TreeError::NoRegisters),
            Ok(0x1_0000_3000),
            too_short(0x4000, 0xff),
            too_short(u64::MAX - 0x1ff, 0x201),
            Err(TreeError::LongInterrupt { start: 0x5000 }),
        ]
    );
}

#[test]
fn a_tree_is_looked_through_to_a_depth_that_is_known_beforehand() {
    let mut tree = machine();
    for _ in 0..MAX_DEPTH {
        tree = tree
            .virtio(0xa00_0000, 0x200, 16)
            .open("bus")
            .words("#address-cells", &[2])
            .words("#size-cells", &[2])
            .bytes("ranges", b"");
    }
    tree = tree.virtio(0xb00_0000, 0x200, 16);
    for _ in 0..MAX_DEPTH {
        tree = tree.close();
    }
    assert_eq!(found(&tree.close().finish()).len(), MAX_DEPTH, "the last is too deep");
}

#[test]
fn what_is_no_tree_is_refused() {
    let whole = machine().virtio(0xa00_0000, 0x200, 16).close().finish();
    for len_bytes in 0..whole.len() {
        let walked = find(&whole[..len_bytes], &mut |_| panic!("of {len_bytes} bytes"));
        assert_eq!(walked, Err(TreeError::Broken));
    }
}

proptest! {
    /// Whatever firmware leaves there, the walk ends, and what it finds is somewhere.
    #[test]
    fn a_damaged_tree_is_survived(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut tree = machine()
            .open("soc")
            .words("#address-cells", &[2])
            .words("#size-cells", &[2])
            .words("ranges", &[0, 0, 0, 0, 0, !0])
            .virtio(0xa00_0000, 0x200, 16)
            .close()
            .virtio(0xa00_0200, 0x200, 17)
            .close()
            .finish();
        for (at, value) in damage {
            let at = at.index(tree.len());
            tree[at] = value;
        }
        let _ = find(&tree, &mut |place| {
            if let Ok(place) = place {
                assert!(place.len_bytes >= REGISTERS_BYTES && place.interrupt().len() <= MAX_INTERRUPT_CELLS);
            }
        });
    }
}
