//! Where a device tree says that virtio devices are.
//!
//! A tree is firmware's word, and is checked like any other: one that does not hold together is an
//! error, a node that makes no sense is passed over with a reason, and nothing panics.
//!
//! ```no_run
//! # fn f<P: paravane_hal::mmio::MmioMap>(tree: &[u8], platform: P) {
//! use paravane_virtio::transport::mmio::device_tree;
//!
//! let walked = device_tree::find(tree, &mut |found| match found {
//!     Ok(place) => log::info!("virtio at {:#x}, interrupt {:?}", place.start.get(), place.interrupt()),
//!     Err(error) => log::warn!("{error}"),
//! });
//! # let _ = walked; }
//! ```
//!
//! Spec: VIRTIO 1.2, 4.2.1 "MMIO Device Discovery"; Devicetree Specification 0.4, 2.3 "Standard
//! Properties", 2.4 "Interrupts and Interrupt Mapping".

use core::fmt;

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::standard::NodeStandard as _;
use dtoolkit::{Node as _, Property as _};
use paravane_hal::addr::PhysAddr;

use super::REGISTERS_BYTES;

/// What a virtio device's node says that it is.
const COMPATIBLE: &str = "virtio,mmio";
/// How deep nodes are looked for. Devices are at the top, or on a bus or two.
const MAX_DEPTH: usize = 8;
/// The longest description of an interrupt that controllers have.
const MAX_INTERRUPT_CELLS: usize = 4;

/// A place where a virtio device may be; its registers have yet to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreePlace {
    /// Where its registers start, as the CPU sees them.
    pub start: PhysAddr,
    /// How long they are.
    pub len_bytes: usize,
    /// Whether caches see what the device does to memory, and it what is in caches.
    pub is_coherent: bool,
    /// Which node its interrupt goes to, by its phandle; `None` when the tree does not say.
    pub interrupt_parent: Option<u32>,
    cells: [u32; MAX_INTERRUPT_CELLS],
    cell_count: usize,
}

impl TreePlace {
    /// Its interrupt, in the words of the controller that it goes to. Empty when it has none.
    #[must_use]
    pub fn interrupt(&self) -> &[u32] {
        self.cells.get(..self.cell_count).unwrap_or_default()
    }
}

/// A device tree, or a node in it, that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TreeError {
    /// It is no device tree, or one that does not hold together.
    Broken,
    /// A virtio node does not say where its registers are, or not in 64 bits.
    NoRegisters,
    /// Its registers are too short.
    TooShort {
        /// Where they are.
        start: u64,
        /// How long.
        len_bytes: u64,
    },
    /// It is on a bus whose addresses are not, or not all, the CPU's.
    NotMapped {
        /// Where it is on its bus.
        start: u64,
    },
    /// Its interrupt takes more words than any is known to take.
    LongInterrupt {
        /// Where its registers are.
        start: u64,
    },
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Broken => f.write_str("device tree: broken, or none"),
            Self::NoRegisters => f.write_str("device tree: a virtio,mmio node without a usable 'reg'"),
            Self::TooShort { start, len_bytes } => write!(
                f,
                "device tree: virtio,mmio at {start:#x}: {len_bytes} bytes of registers, expected {REGISTERS_BYTES} or more"
            ),
            Self::NotMapped { start } => {
                write!(f, "device tree: virtio,mmio at {start:#x} of its bus, which 'ranges' does not map")
            }
            Self::LongInterrupt { start } => write!(
                f,
                "device tree: virtio,mmio at {start:#x}: an interrupt of more than {MAX_INTERRUPT_CELLS} words"
            ),
        }
    }
}

impl core::error::Error for TreeError {}

/// Hands every virtio device in `tree`, a flattened device tree from its first byte on, to `found`,
/// in the order of the tree. Nodes that are not in use are left out.
///
/// # Errors
///
/// [`TreeError::Broken`]; nothing was handed on. What is wrong with a single node, `found` is told.
pub fn find(tree: &[u8], found: &mut dyn FnMut(Result<TreePlace, TreeError>)) -> Result<(), TreeError> {
    let tree = Fdt::new(tree).map_err(|_| TreeError::Broken)?;
    let root = Bus { cells: Cells::of(&tree.root()), ranges: Ranges::Same, above: None };
    let parent = word(&tree.root(), "interrupt-parent");
    walk(&tree.root(), &root, parent, MAX_DEPTH, found);
    Ok(())
}

/// How many words an address and a length on a bus have.
#[derive(Clone, Copy)]
struct Cells {
    address: usize,
    size: usize,
}

impl Cells {
    fn of(bus: &FdtNode<'_>) -> Self {
        let count =
            |name, default| word(bus, name).and_then(|count| usize::try_from(count).ok()).unwrap_or(default);
        Self { address: count("#address-cells", 2), size: count("#size-cells", 1) }
    }
}

/// What the addresses of a bus are on the bus above.
enum Ranges<'t> {
    /// The same.
    Same,
    /// None.
    None,
    /// Those of a list.
    List(&'t [u8]),
}

/// A bus, and those above it.
struct Bus<'t> {
    cells: Cells,
    ranges: Ranges<'t>,
    above: Option<&'t Bus<'t>>,
}

impl Bus<'_> {
    /// Where the CPU finds the `len_bytes` that are at `start` of this bus.
    fn translate(&self, start: u64, len_bytes: u64) -> Option<u64> {
        // Ends: each turn goes up a bus.
        let (mut bus, mut start) = (self, start);
        loop {
            start = match (&bus.ranges, bus.above) {
                (Ranges::Same, _) => start,
                (Ranges::List(list), Some(above)) => {
                    translate(list, bus.cells, above.cells.address, start, len_bytes)?
                }
                _ => return None,
            };
            let Some(above) = bus.above else { return Some(start) };
            bus = above;
        }
    }
}

/// The same by a list of triples: an address here, that above, a length.
fn translate(mut list: &[u8], cells: Cells, above_cells: usize, start: u64, len_bytes: u64) -> Option<u64> {
    // Ends: each turn takes a triple off the list, or fails.
    loop {
        let here = take(&mut list, cells.address)?;
        let above = take(&mut list, above_cells)?;
        let range_bytes = take(&mut list, cells.size)?;
        let offset = start.checked_sub(here);
        let inside =
            offset.filter(|offset| offset.checked_add(len_bytes).is_some_and(|end| end <= range_bytes));
        if let Some(offset) = inside {
            return above.checked_add(offset);
        }
    }
}

/// Takes a number of `cells` words off `list`, as the tree has it: its first byte is the highest.
/// `None` when there are not as many, none at all, or more than 64 bits.
fn take(list: &mut &[u8], cells: usize) -> Option<u64> {
    let mut value = 0;
    if cells == 0 {
        return None;
    }
    for _ in 0..cells {
        let (word, rest) = list.split_first_chunk::<4>()?;
        *list = rest;
        if value >> 32 != 0 {
            return None;
        }
        value = value << 32 | u64::from(u32::from_be_bytes(*word));
    }
    Some(value)
}

/// The value of a property that is one word.
fn word(node: &FdtNode<'_>, name: &str) -> Option<u32> {
    let value: [u8; 4] = node.property(name)?.value().try_into().ok()?;
    Some(u32::from_be_bytes(value))
}

/// Looks at what is below `node`, a bus.
fn walk(
    node: &FdtNode<'_>,
    bus: &Bus<'_>,
    interrupt_parent: Option<u32>,
    depth: usize,
    found: &mut dyn FnMut(Result<TreePlace, TreeError>),
) {
    let Some(depth) = depth.checked_sub(1) else { return };
    for child in node.children() {
        // What has no such property is in use; what has one that means nothing is not.
        let is_used =
            child.property("status").is_none_or(|status| matches!(status.value(), b"okay\0" | b"ok\0"));
        if !is_used {
            continue;
        }
        let interrupt_parent = word(&child, "interrupt-parent").or(interrupt_parent);
        if child.is_compatible(COMPATIBLE) {
            found(place(&child, bus, interrupt_parent));
            continue;
        }
        let ranges = child.property("ranges");
        let ranges = match ranges.as_ref().map(|ranges| ranges.value()) {
            None => Ranges::None,
            Some([]) => Ranges::Same,
            Some(list) => Ranges::List(list),
        };
        let below = Bus { cells: Cells::of(&child), ranges, above: Some(bus) };
        walk(&child, &below, interrupt_parent, depth, found);
    }
}

/// What a virtio node on `bus` says.
fn place(node: &FdtNode<'_>, bus: &Bus<'_>, interrupt_parent: Option<u32>) -> Result<TreePlace, TreeError> {
    let reg = node.property("reg").ok_or(TreeError::NoRegisters)?;
    let mut list = reg.value();
    let on_bus = take(&mut list, bus.cells.address).ok_or(TreeError::NoRegisters)?;
    let said_bytes = take(&mut list, bus.cells.size).ok_or(TreeError::NoRegisters)?;
    let start = bus.translate(on_bus, said_bytes).ok_or(TreeError::NotMapped { start: on_bus })?;
    let too_short = TreeError::TooShort { start, len_bytes: said_bytes };
    let len_bytes = usize::try_from(said_bytes).map_err(|_| too_short)?;
    if len_bytes < REGISTERS_BYTES || start.checked_add(said_bytes).is_none() {
        return Err(too_short);
    }
    // Of two ways to say it, the one that names the controller goes before.
    let (extended, plain) = (node.property("interrupts-extended"), node.property("interrupts"));
    let mut list = extended.as_ref().or(plain.as_ref()).map_or(&[][..], |property| property.value());
    let interrupt_parent = match extended {
        Some(_) => take(&mut list, 1).and_then(|phandle| u32::try_from(phandle).ok()),
        None => interrupt_parent,
    };
    let mut cells = [0; MAX_INTERRUPT_CELLS];
    let mut cell_count = 0_usize;
    while let Some(value) = take(&mut list, 1) {
        let cell = cells.get_mut(cell_count).ok_or(TreeError::LongInterrupt { start })?;
        *cell = u32::try_from(value).unwrap_or(u32::MAX);
        cell_count = cell_count.saturating_add(1);
    }
    let is_coherent = node.property("dma-coherent").is_some();
    Ok(TreePlace { start: PhysAddr::new(start), len_bytes, is_coherent, interrupt_parent, cells, cell_count })
}

#[cfg(test)]
#[path = "device_tree_tests.rs"]
mod tests;
