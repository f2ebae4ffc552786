use super::*;
use std::vec::Vec;

const EACH: [(Capabilities, Offloads); 6] = [
    (Capabilities::GENEVE_CHECKSUM, Offloads::GENEVE_CHECKSUM),
    (Capabilities::GENEVE_TSO, Offloads::GENEVE_TSO),
    (Capabilities::GENEVE_OUTER_CHECKSUM, Offloads::GENEVE_OUTER_CHECKSUM),
    (Capabilities::VXLAN_CHECKSUM, Offloads::VXLAN_CHECKSUM),
    (Capabilities::VXLAN_TSO, Offloads::VXLAN_TSO),
    (Capabilities::VXLAN_OUTER_CHECKSUM, Offloads::VXLAN_OUTER_CHECKSUM),
];

#[test]
fn each_capability_is_an_offload() {
    let bits: Vec<_> = EACH.iter().map(|(capability, _)| capability.bits().trailing_zeros()).collect();
    assert_eq!(bits, [2, 3, 6, 4, 5, 7]);
    for (capability, offload) in EACH {
        assert_eq!(capability.offloads(), offload);
        let granted = Tunnels::new(TunnelPorts::ASSIGNED, Features::all(), capability);
        assert_eq!((granted.offloads(), granted.by_ext1), (offload, true));
    }
}

#[test]
fn what_is_had_is_what_was_asked_for() {
    let all = Capabilities::all();
    let of = |ports, features| Tunnels::new(ports, features, all).offloads();
    assert_eq!(of(TunnelPorts::NONE, Features::all()), Offloads::empty());
    assert_eq!(of(TunnelPorts::ASSIGNED, Features::all() - Features::TUNNELS), Offloads::empty());
    let without = Features::TUNNELS;
    let none = Tunnels::new(TunnelPorts::ASSIGNED, without, Capabilities::empty());
    assert_eq!(none.offloads(), EACH.iter().fold(Offloads::empty(), |all, (_, each)| all | *each));
    assert!(!none.by_ext1);
    for kind in [TunnelKind::Geneve, TunnelKind::Vxlan] {
        let has = of(TunnelPorts::NONE.with(kind, 7), without);
        assert_eq!(has, of_kind(kind).into_iter().fold(Offloads::empty(), |all, each| all | each));
    }
}

#[test]
fn who_has_more_has_all() {
    let tunnels = |capabilities| Tunnels::new(TunnelPorts::ASSIGNED, Features::all(), capabilities);
    let others = Offloads::CHECKSUM | Offloads::TSO4;
    for (capability, offload) in EACH {
        assert!(tunnels(Capabilities::all()).have_all_of(offload | others));
        assert!(tunnels(capability).have_all_of(offload | others));
        assert!(!tunnels(Capabilities::all() - capability).have_all_of(offload | others));
    }
    assert!(Tunnels::NONE.have_all_of(others));
}

#[test]
fn a_datagram_is_of_the_kind_that_its_port_says() {
    let ports = TunnelPorts::NONE.with(TunnelKind::Vxlan, 8472);
    assert_eq!(
        [8472, 4789, 6081, 0].map(|port| ports.kind(port)),
        [Some(TunnelKind::Vxlan), None, None, None]
    );
    assert_eq!(TunnelPorts::ASSIGNED.kind(6081), Some(TunnelKind::Geneve));
    assert_eq!(TunnelPorts::ASSIGNED.kind(4789), Some(TunnelKind::Vxlan));
    assert_eq!([TunnelPorts::NONE.is_none(), ports.is_none()], [true, false]);
    assert!(!TunnelPorts::NONE.with(TunnelKind::Geneve, 1).is_none());
}
