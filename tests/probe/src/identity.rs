//! What the device says of itself, before anything is asked of it.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use paravane_net::MacAddr;
use paravane_suite::Environment;

use crate::bench::Bench;
use crate::raw::NEWEST;
use crate::raw::layout::{bar1, cmd};
use crate::report::identity;

/// Questions, and the revision that has them.
const QUESTIONS: [(&str, u8, u32); 10] = [
    ("GET_LINK", 1, cmd::GET_LINK),
    ("GET_CONF_INTR", 1, cmd::GET_CONF_INTR),
    ("GET_DID_LO", 1, cmd::GET_DID_LO),
    ("GET_DID_HI", 1, cmd::GET_DID_HI),
    ("GET_DEV_EXTRA_INFO", 1, cmd::GET_DEV_EXTRA_INFO),
    ("GET_ADAPTIVE_RING_INFO", 1, cmd::GET_ADAPTIVE_RING_INFO),
    ("GET_TXDATA_DESC_SIZE", 3, cmd::GET_TXDATA_DESC_SIZE),
    ("GET_RSS_FIELDS", 4, cmd::GET_RSS_FIELDS),
    ("GET_MAX_QUEUES_CONF", 6, cmd::GET_MAX_QUEUES_CONF),
    ("GET_MAX_CAPABILITIES", 7, cmd::GET_MAX_CAPABILITIES),
];

/// Reports it all. The device is stopped.
pub(crate) fn report<E: Environment>(bench: &mut Bench<'_, E>) {
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut say = |name: &str, what: String| lines.push((name.to_string(), what));
    let raw = &bench.raw;
    let function = &raw.function;
    let ids = function.ids();
    say("address", function.address().to_string());
    say("ids", ids.to_string());
    say("subsystem", format!("{:04x}:{:04x}", ids.subsystem_vendor, ids.subsystem));
    say("PCI revision", format!("{:#04x}", ids.revision));
    say("class", format!("{:02x} {:02x} {:02x}", ids.class, ids.subclass, ids.prog_if));
    say("pin", function.read_interrupt_pin().map_or("none".into(), |pin| format!("{pin:?}")));
    for bar in function.bars() {
        match bar {
            Ok(bar) => say(
                &format!("BAR{}", bar.index),
                format!("{:?}, {:#x} bytes, prefetchable {}", bar.kind, bar.len_bytes, bar.prefetchable),
            ),
            Err(error) => say("BAR", error.to_string()),
        }
    }
    for capability in function.capabilities() {
        match capability {
            Ok(found) => say("capability", format!("{} at {:#04x}", found.id, found.offset)),
            Err(error) => say("capability", error.to_string()),
        }
    }
    for capability in function.extended_capabilities() {
        match capability {
            Ok(found) => say("extended capability", format!("{:#06x} at {:#05x}", found.id, found.offset)),
            Err(error) => say("extended capability", error.to_string()),
        }
    }
    if let Ok(Some(msix)) = function.msix() {
        let (table, pba) = (msix.table(), msix.pba());
        say("MSI-X", format!("{} vectors, table {table:?}, pending bits {pba:?}", msix.entries()));
    }
    say("VRRS", format!("{:#x}", raw.read(bar1::VRRS)));
    say("UVRS", format!("{:#x}", raw.read(bar1::UVRS)));
    let revision = raw.offered(NEWEST);
    raw.choose(revision);
    say("revision asked at", revision.to_string());
    say("permanent address", MacAddr(raw.permanent_mac()).to_string());
    say("address in MACL and MACH", MacAddr(raw.read_mac()).to_string());
    for (name, since, command) in QUESTIONS {
        if revision >= since {
            say(name, format!("{:#x}", raw.command(command)));
        }
    }
    if revision >= 7 {
        say("DCR0", format!("{:#x}", raw.read(bar1::DCR0)));
        say("PTCR0", format!("{:#x}", raw.read(bar1::PTCR0)));
        say("GET_DCR0_REG", format!("{:#x}", raw.command(cmd::GET_DCR0_REG)));
    }
    for (name, what) in lines {
        identity(bench.environment, &name, &what);
    }
}
