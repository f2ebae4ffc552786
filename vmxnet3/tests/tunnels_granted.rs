//! What may be asked of a device about frames in tunnels: by its revision, by what it grants, and
//! by the port.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/inside.rs"]
mod inside;
mod support;
#[path = "support/tunnelled.rs"]
mod tunnelled;

use inside::{GENEVE, Inside, PLAIN, VXLAN, kinds};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Interrupts;
use paravane_hal::recover::RecoverError;
use paravane_mock_hal::model::vmxnet3::Personality;
use paravane_net::{Burst, Control as _, Offloads, Remains, TunnelKind, TxQueue as _};
use paravane_vmxnet3::TunnelPorts;
use support::{Machine, receive_all, small};
use tunnelled::{
    CAPABILITIES, OF_GENEVE, OF_TUNNELS, OF_VXLAN, config, offloads, transmit, up_to, upt_features,
};

/// Not asked for, or not there: nothing about tunnels reaches the device, which ends QEMU over it.
#[test]
fn without_the_feature_checksums_are_made_here_and_segments_refused() {
    let none = |revision| (up_to(revision), small().with_max_revision(7));
    let machines = [
        none(4),
        none(6),
        none(7),
        (up_to(1), config()),
        (up_to(3), config()),
        (Machine::new(Personality::qemu()), config()),
    ];
    for (machine, config) in machines {
        let mut up = machine.start(&config, Interrupts::POLLING);
        assert_eq!((offloads(&up), upt_features(&machine) & 1 << 4), (Offloads::empty(), 0));
        for (packet, is_tcp) in kinds().flat_map(|packet| [(packet, true), (packet, false)]) {
            let packet = Inside { is_tcp, ..packet };
            let sent = transmit(&machine, &mut up, packet.given(&machine, None)).unwrap();
            assert_eq!((sent.om, sent.ext1), (0, false));
            packet.check_wire(&[sent.bytes], None);
            let large = Inside { payload_bytes: 3000, is_tcp: true, ..packet };
            assert_eq!(transmit(&machine, &mut up, large.given(&machine, Some(1000))), None);
        }
        assert!(machine.model().deliver(&PLAIN.whole()));
        assert!(!receive_all(&mut up).pop().unwrap().has_good_inner_checksum());
        machine.assert_clean();
        up.stop().unwrap();
        assert_eq!(machine.pool.free(), machine.pool.buffers());
    }
}

#[test]
fn one_kind_is_asked_for_without_the_other() {
    for revision in [4, 6, 7] {
        for (kind, of_it) in [(TunnelKind::Geneve, OF_GENEVE), (TunnelKind::Vxlan, OF_VXLAN)] {
            let ports = TunnelPorts::NONE.with(kind, TunnelPorts::ASSIGNED.port(kind).unwrap());
            let machine = up_to(revision);
            let mut up = machine.start(&config().with_tunnels(ports), Interrupts::POLLING);
            assert_eq!((offloads(&up), upt_features(&machine) & 1 << 4), (of_it, 1 << 4));
            for packet in kinds() {
                let sent = transmit(&machine, &mut up, packet.given(&machine, None)).unwrap();
                assert_eq!(sent.om == 0, packet.kind != kind);
                packet.check_wire(&sent.on_wire(), None);
                let large = Inside { payload_bytes: 3000, ..packet };
                let sent = transmit(&machine, &mut up, large.given(&machine, Some(1000)));
                assert_eq!(sent.is_some(), packet.kind == kind);
            }
            machine.assert_clean();
        }
    }
}

/// From revision 7 on, each is granted by itself.
#[test]
fn what_is_not_granted_is_not_asked_of_the_device() {
    let of_one = |[checksum, tso, outer]: [Offloads; 3], packet: &Inside, has: Offloads| {
        let sum = has.contains(checksum);
        let cut = has.contains(tso) && (!packet.outer_checksum || has.contains(outer));
        (sum, cut)
    };
    for granted in (0..64).map(|bits| bits << 2) {
        let machine = Machine::new(Personality { capabilities: granted | 1, ..Personality::esxi() });
        let mut up = machine.start(&config(), Interrupts::POLLING);
        let each = [
            (1 << 2, Offloads::GENEVE_CHECKSUM),
            (1 << 3, Offloads::GENEVE_TSO),
            (1 << 4, Offloads::VXLAN_CHECKSUM),
            (1 << 5, Offloads::VXLAN_TSO),
            (1 << 6, Offloads::GENEVE_OUTER_CHECKSUM),
            (1 << 7, Offloads::VXLAN_OUTER_CHECKSUM),
        ];
        let had = each.into_iter().filter(|(bit, _)| granted & bit != 0);
        let had = had.fold(Offloads::empty(), |all, (_, offload)| all | offload);
        assert_eq!(offloads(&up), had, "{granted:#b}");
        for packet in kinds() {
            let of_kind = match packet.kind {
                TunnelKind::Geneve => {
                    [Offloads::GENEVE_CHECKSUM, Offloads::GENEVE_TSO, Offloads::GENEVE_OUTER_CHECKSUM]
                }
                TunnelKind::Vxlan => {
                    [Offloads::VXLAN_CHECKSUM, Offloads::VXLAN_TSO, Offloads::VXLAN_OUTER_CHECKSUM]
                }
            };
            let (sum, cut) = of_one(of_kind, &packet, had);
            let sent = transmit(&machine, &mut up, packet.given(&machine, None)).unwrap();
            assert_eq!((sent.om, sent.ext1), if sum { (2, true) } else { (0, false) });
            packet.check_wire(&sent.on_wire(), None);
            let large = Inside { payload_bytes: 3000, ..packet };
            let sent = transmit(&machine, &mut up, large.given(&machine, Some(1000)));
            assert_eq!(sent.is_some(), cut);
        }
        machine.assert_clean();
    }
}

/// What hardware that is passed through has not, or the device says that it grants and nobody
/// asked for, is not had either.
#[test]
fn what_counts_is_what_both_have() {
    for (pass_through, has) in [
        (1 << 31, OF_TUNNELS),
        (0xffff, OF_TUNNELS),
        (0b1100, { Offloads::GENEVE_CHECKSUM | Offloads::GENEVE_TSO }),
    ] {
        let machine = Machine::new(Personality { pass_through, ..Personality::esxi() });
        let up = machine.start(&config(), Interrupts::POLLING);
        assert_eq!(offloads(&up), has, "{pass_through:#x}");
    }
}

#[test]
fn another_implementation_that_grants_less_is_started_anew() {
    let machine = up_to(7);
    let mut up = machine.start(&config(), Interrupts::POLLING);
    machine.model().move_to(Personality::esxi());
    assert!(up.control.poll().is_ok(), "as much as before");
    assert_eq!(offloads(&up), OF_TUNNELS);
    let sent = transmit(&machine, &mut up, PLAIN.given(&machine, None)).unwrap();
    assert!(sent.ext1);
    let capabilities = CAPABILITIES & !(1 << 5);
    machine.model().move_to(Personality { capabilities, ..Personality::esxi() });
    assert_eq!(up.control.poll(), Err(DeviceFault::NeedsReset));
    // It runs, as another than before.
    let (error, remains) = up.recover(Interrupts::POLLING).unwrap_err().into_parts();
    assert!(matches!(error, RecoverError::Changed));
    let Remains::Running(mut up) = remains else { unreachable!() };
    assert_eq!(offloads(&up), OF_TUNNELS - Offloads::VXLAN_TSO);
    let large = Inside { payload_bytes: 3000, ..PLAIN };
    assert_eq!(transmit(&machine, &mut up, large.given(&machine, Some(1000))), None);
    let geneve = Inside { kind: TunnelKind::Geneve, port: GENEVE, ..large };
    let sent = transmit(&machine, &mut up, geneve.given(&machine, Some(1000))).unwrap();
    geneve.check_wire(&sent.on_wire(), Some(1000));
    machine.assert_clean();
}

#[test]
fn every_queue_asks_alike_and_again_after_a_recovery() {
    for revision in [4, 7] {
        let machine = up_to(revision);
        let config = config().with_pairs(4).with_rx_entries(128);
        let mut up = machine.start(&config, Interrupts::POLLING);
        for recovers in [true, false] {
            for pair in 0..4 {
                let others = up.rx.others_mut();
                let tx = if pair == 0 { &mut up.tx } else { others[pair - 1].tx.as_mut().unwrap() };
                let mut burst = Burst::from(PLAIN.given(&machine, None));
                assert_eq!(tx.transmit(&mut burst), Ok(1));
                tx.flush();
            }
            machine.model().look();
            let sent = machine.model().take_sent();
            let described: Vec<_> = sent.iter().map(|sent| (sent.queue, sent.om, sent.ext1)).collect();
            let (om, ext1) = if revision < 7 { (1, false) } else { (2, true) };
            assert_eq!(described, [0, 1, 2, 3].map(|queue| (queue, om, ext1)));
            if recovers {
                up = up.recover(Interrupts::POLLING).unwrap();
                assert_eq!((offloads(&up), upt_features(&machine) & 1 << 4), (OF_TUNNELS, 1 << 4));
            }
        }
        machine.assert_clean();
    }
}

/// A host looks into tunnels at ports of its own, which the model has not.
#[test]
fn ports_are_the_callers() {
    let machine = Machine::new(Personality { checks_headers: false, ..Personality::esxi().up_to(6) });
    let ports = TunnelPorts::NONE.with(TunnelKind::Vxlan, 8472);
    let mut up = machine.start(&config().with_tunnels(ports), Interrupts::POLLING);
    for (port, om) in [(8472, 1), (VXLAN, 0), (0, 0)] {
        let packet = Inside { port, ..PLAIN };
        let sent = transmit(&machine, &mut up, packet.given(&machine, None)).unwrap();
        assert_eq!((sent.om, sent.bytes == packet.open()), (om, om == 1), "{port}");
    }
    let as_geneve = Inside { kind: TunnelKind::Geneve, port: 8472, ..PLAIN };
    assert_eq!(transmit(&machine, &mut up, as_geneve.given(&machine, None)).unwrap().om, 0);
}
