//! What passes: addresses and VLANs.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use paravane_net::MacAddr;
use paravane_suite::Environment;

use super::Fact;
use super::receive::to_us;
use crate::bench::{ANSWER, Bench};
use crate::frame::tagged;
use crate::raw::layout::{cmd, rx_mode, shared};
use crate::report::{Answer, seen};

/// Of a VLAN.
const VLAN: u16 = 5;

/// Which VLANs are let through.
#[derive(Clone, Copy)]
enum Vlans {
    /// None.
    None,
    /// All but 0.
    NotZero,
    /// One, and frames without a tag.
    Five,
}

/// A fact about whether a frame, with this tag or none, passes a table, promiscuous or not.
macro_rules! vlan {
    ($id:literal, $passes:tt, $vlans:ident, $promiscuous:literal, $tag:expr) => {
        Fact {
            id: $id,
            expected: vlan!(@$passes),
            ask: |bench| ask_vlan(bench, Vlans::$vlans, $promiscuous, $tag, vlan!(@@$passes)),
        }
    };
    (@passes) => { "arrives" };
    (@stays) => { "nothing arrives" };
    (@@passes) => { true };
    (@@stays) => { false };
}

pub(super) fn facts<E: Environment>() -> [Fact<E>; 11] {
    [
        Fact { id: "MAC-AT-ACTIVATION", expected: "the address stays as written", ask: mac_at_activation },
        Fact { id: "MAC-AT-RESET", expected: "the permanent address", ask: mac_at_reset },
        Fact { id: "FILTER-AT-ACTIVATION", expected: "any answer", ask: at_activation },
        vlan!("VLAN-0-UNTAGGED", stays, NotZero, false, None),
        vlan!("VLAN-0-TAG-0", stays, NotZero, false, Some(0)),
        vlan!("VLAN-NONE-UNTAGGED", stays, None, false, None),
        vlan!("VLAN-NONE-TAG-5", stays, None, false, Some(VLAN)),
        vlan!("VLAN-NONE-PROMISC-UNTAGGED", passes, None, true, None),
        vlan!("VLAN-NONE-PROMISC-TAG-5", passes, None, true, Some(VLAN)),
        vlan!("VLAN-5-TAG-5", passes, Five, false, Some(VLAN)),
        vlan!("VLAN-5-TAG-6", stays, Five, false, Some(6)),
    ]
}

fn mac_at_activation<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let wanted = MacAddr::local(0x0070_726f);
    let plan = bench.plan();
    bench.lay(plan)?;
    bench.raw.write_mac(wanted.0);
    let code = bench.activate();
    if code != 0 {
        return Err(format!("ACTIVATE_DEV answers {code:#x}"));
    }
    let after = MacAddr(bench.raw.read_mac());
    bench.raw.write_mac(bench.mac);
    seen(after == wanted, format!("{after}, {wanted} was written"))
}

fn mac_at_reset<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let wanted = MacAddr::local(0x0070_726f);
    let plan = bench.plan();
    bench.up(plan)?;
    bench.raw.write_mac(wanted.0);
    bench.down()?;
    let after = MacAddr(bench.raw.read_mac());
    bench.raw.write_mac(bench.mac);
    seen(after.0 == bench.mac, format!("{after}, {wanted} was written"))
}

/// Whether `frame` arrives, which is all that is under way.
fn passes<E: Environment>(bench: &mut Bench<'_, E>, frame: &[u8]) -> Result<bool, String> {
    bench.have_sent(frame)?;
    Ok(bench.frame(ANSWER).is_some_and(|received| received.bytes.starts_with(frame)))
}

/// No command about filters is given: what activation read is all that there is.
fn at_activation<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let plan = bench.plan();
    bench.lay(plan)?;
    bench.live()?.shared.put32(shared::RX_MODE, rx_mode::UCAST);
    let code = bench.activate();
    if code != 0 {
        return Err(format!("ACTIVATE_DEV answers {code:#x}"));
    }
    bench.post()?;
    let frame = to_us(bench, 200);
    let arrives = passes(bench, &frame)?;
    seen(true, if arrives { "activation reads rxMode" } else { "nothing arrives before UPDATE_RX_MODE" })
}

fn ask_vlan<E: Environment>(
    bench: &mut Bench<'_, E>,
    vlans: Vlans,
    promiscuous: bool,
    tag: Option<u16>,
    passes_filter: bool,
) -> Answer {
    bench.need_peer()?;
    let plan = bench.plan();
    bench.up(plan)?;
    let live = bench.live()?;
    let (all, first) = match vlans {
        Vlans::None => (0, 0),
        Vlans::NotZero => (u32::MAX, u32::MAX ^ 1),
        Vlans::Five => (0, 1 << VLAN | 1),
    };
    live.set_vlans(all);
    live.shared.put32(shared::VF_TABLE, first);
    let mode = rx_mode::UCAST | if promiscuous { rx_mode::PROMISC } else { 0 };
    live.shared.put32(shared::RX_MODE, mode);
    bench.raw.command(cmd::UPDATE_RX_MODE);
    bench.raw.command(cmd::UPDATE_VLAN_FILTERS);
    let frame: Vec<u8> = match tag {
        None => to_us(bench, 200),
        Some(vlan) => tagged(&to_us(bench, 200), vlan),
    };
    let arrives = passes(bench, &frame)?;
    seen(arrives == passes_filter, if arrives { "arrives" } else { "nothing arrives" })
}
