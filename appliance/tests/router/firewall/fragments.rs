//! Packets in parts: rules see the first, and the others go where that one did.

use paravane_appliance::drops::Reason;
use smoltcp::wire::Ipv4Packet;

use super::support::*;
use crate::world::{OWN_V4, PRIVATE, PUBLIC, udp_between};

/// A datagram in three parts.
fn parts(destination: core::net::IpAddr, port: u16, id: u16) -> Vec<Vec<u8>> {
    let [[far, _], _] = ends();
    let (mac, own) = stations(PUBLIC);
    let to = core::net::SocketAddr::new(destination, port);
    let whole = udp_between(mac, own, far, to, 64, &[7; 2000]);
    let (head, body) = whole.split_at(34);
    let part = |(index, part): (usize, &[u8])| {
        let mut bytes = [head, part].concat();
        let more = if (index + 1) * 800 < body.len() { 0x2000 } else { 0 };
        bytes[16..18].copy_from_slice(&(20 + part.len() as u16).to_be_bytes());
        bytes[18..20].copy_from_slice(&id.to_be_bytes());
        bytes[20..22].copy_from_slice(&(more | (index * 100) as u16).to_be_bytes());
        Ipv4Packet::new_unchecked(&mut bytes[14..]).fill_checksum();
        bytes
    };
    body.chunks(800).enumerate().map(part).collect()
}

const RULES: &str = "allow public -> private udp 53\nallow public -> self udp 53\ndefault drop";

#[test]
fn parts_of_what_is_allowed_pass_in_any_order() {
    let host = crate::world::HOST_V4.into();
    for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0]] {
        let mut world = guarded(RULES);
        let parts = parts(host, 53, 77);
        for at in order {
            world.take(PUBLIC, &parts[at]);
        }
        assert_eq!(world.sent(PRIVATE).len(), 3, "{order:?}: {:?}", world.dropped());
        assert_eq!((hits(&world, 0), flows(&world)), (1, 1));
    }
}

#[test]
fn no_part_of_what_is_denied_passes() {
    let host = crate::world::HOST_V4.into();
    for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0]] {
        let mut world = guarded(RULES);
        let parts = parts(host, 54, 77);
        for at in order {
            world.take(PUBLIC, &parts[at]);
        }
        for _ in 0..10 {
            world.pass(core::time::Duration::from_secs(1));
        }
        assert!(world.is_silent() && world.all_home(), "{order:?}");
        assert_eq!(world.path.drops().of(PUBLIC, Reason::RuleDrop), 1);
    }
}

#[test]
fn a_first_part_that_goes_nowhere_opens_no_way_for_others() {
    // It has no hops left, and so it is of no flow; the others have.
    let host = crate::world::HOST_V4.into();
    let mut world = guarded(RULES);
    let mut parts = parts(host, 54, 77);
    parts[0][22] = 1;
    Ipv4Packet::new_unchecked(&mut parts[0][14..]).fill_checksum();
    for part in &parts {
        world.take(PUBLIC, part);
    }
    assert!(world.sent(PRIVATE).is_empty());
    assert_eq!(world.path.drops().of(PUBLIC, Reason::NoFlow), 2);
}

#[test]
fn parts_of_a_packet_for_the_router_are_let_in_with_the_first() {
    for (port, passes) in [(53, 3), (54, 0)] {
        let mut world = guarded(RULES);
        for part in parts(OWN_V4[0].into(), port, 78) {
            world.take(PUBLIC, &part);
        }
        let fetched = world.path.fetch(PUBLIC).map(core::mem::take).unwrap_or_default().len();
        assert_eq!(fetched, passes, "{:?}", world.dropped());
    }
}
