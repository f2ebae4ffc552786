//! Configuration space of a whole machine: found, then read from end to end.

use anyhow::{Result, ensure};
use paravane_pci::{ConfigAccess, Found, Function, PciAddress, enumerate};

/// A function, as a walk found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where.
    pub address: PciAddress,
    /// Vendor and device.
    pub ids: (u16, u16),
    /// How many bridges lead to it.
    pub depth: usize,
    /// How many BARs it has.
    pub bars: usize,
    /// How many capabilities, conventional and extended ones together.
    pub capabilities: usize,
}

/// Walks the buses, claims each function, lists its BARs and capabilities, and reads its first 256
/// bytes.
///
/// # Errors
///
/// A function's configuration space makes no sense, or two walks differ.
pub fn survey(config: &impl ConfigAccess, mut step: impl FnMut(&str) -> Result<()>) -> Result<Vec<Seen>> {
    step("walk")?;
    let mut functions = Vec::new();
    enumerate(config, &mut |found| {
        if let Found::Function(found) = found {
            functions.push((found.address, found.ids, found.path.len()));
        }
    });
    let mut seen = Vec::new();
    for (address, ids, depth) in functions {
        step(&format!("claim {address}"))?;
        let function = Function::claim(config, address)?;
        let bars = function.bars().collect::<Result<Vec<_>, _>>()?.len();
        let mut capabilities = function.capabilities().collect::<Result<Vec<_>, _>>()?.len();
        capabilities += function.extended_capabilities().collect::<Result<Vec<_>, _>>()?.len();
        step(&format!("read {address}"))?;
        for offset in (0..paravane_pci::CONFIG_BYTES).step_by(4) {
            config.read32(address, offset);
        }
        seen.push(Seen { address, ids: (ids.vendor, ids.device), depth, bars, capabilities });
    }
    ensure!(!seen.is_empty(), "no function answers");
    Ok(seen)
}
