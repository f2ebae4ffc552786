//! Packets that the device puts together (LRO).

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;
#[path = "support/tcp.rs"]
mod tcp;

use paravane_hal::irq::Interrupts;
use paravane_mock_hal::model::vmxnet3::{Personality, cut};
use paravane_net::{
    Burst, Change, ChangeError, Control as _, Frame, RxChecksum, RxHash, RxHashKind, RxOffloads,
    RxQueue as _, Settings, TxOffload, TxQueue as _,
};
use paravane_vmxnet3::Config;
use support::{Machine, MockRunning, bytes_of, numbered, receive_all, small};
use tcp::{PLAIN, Tcp, kinds};

fn large() -> Config {
    small().with_rx2_entries(64).with_lro(true).with_max_revision(7)
}

/// Every revision of ESXi's device, running.
fn every_revision(test: impl Fn(u8, &Machine, &mut MockRunning)) {
    for revision in 1..=7 {
        let machine = Machine::new(Personality::esxi().up_to(revision));
        let mut running = machine.start(&large(), Interrupts::POLLING);
        assert_eq!(running.control.revision(), revision);
        test(revision, &machine, &mut running);
        machine.assert_clean();
        assert!(running.stop().is_ok());
        assert_eq!(machine.pool.free(), machine.pool.buffers());
    }
}

fn receive_one(running: &mut MockRunning) -> Frame {
    let mut frames = receive_all(running);
    assert_eq!(frames.len(), 1);
    frames.pop().unwrap()
}

#[test]
fn a_packet_says_how_it_is_cut_again_at_each_revision() {
    every_revision(|revision, machine, running| {
        for lap in 0..3 {
            for (packet, mss_bytes) in kinds() {
                let segments = cut(&packet.frame(), mss_bytes);
                assert!(machine.model().deliver_lro(&segments), "{packet:?}");
                let frame = receive_one(running);
                let [ip, _, payload] = packet.places();
                // Before revision 2 the device does not say it, and what is no longer than a frame
                // can be is one.
                let largest = u16::try_from(1500 - (payload - ip)).unwrap();
                let (is_large, mss_bytes) = match revision {
                    1 => (packet.payload_bytes > largest.into(), largest),
                    _ => (true, mss_bytes),
                };
                let shown = format!("revision {revision}, lap {lap}, {packet:?}");
                assert_eq!(frame.total_bytes(), packet.frame().len(), "{shown}");
                let (request, cut) = packet.asked(mss_bytes);
                if is_large {
                    let asked = TxOffload { checksum: Some(request), segmentation: Some(cut) };
                    assert_eq!(frame.offload(), asked, "{shown}");
                    assert_eq!(frame.rx_checksum(), RxChecksum::Partial(request), "{shown}");
                    assert!(bytes_of(&frame) == packet.open_frame(), "{shown}");
                } else {
                    assert!(frame.offload().is_none(), "{shown}");
                    assert_eq!(frame.rx_checksum(), RxChecksum::Good, "{shown}");
                    assert!(bytes_of(&frame) == packet.frame(), "{shown}");
                }
            }
        }
        assert_eq!(running.rx.counters().dropped(), 0);
    });
}

#[test]
fn what_was_put_together_is_sent_on_as_it_came() {
    every_revision(|revision, machine, running| {
        // As long as a chain that is cut may be.
        for (packet, mss_bytes) in kinds().filter(|(packet, _)| packet.payload_bytes < 40_000) {
            let segments = cut(&packet.frame(), mss_bytes);
            assert!(machine.model().deliver_lro(&segments));
            let frame = receive_one(running);
            let cut = frame.offload().segmentation;
            let mut burst = Burst::new();
            burst.push(frame);
            assert_eq!(running.tx.transmit(&mut burst), Ok(1));
            running.tx.flush();
            let sent: Vec<_> = machine.model().take_sent().iter().flat_map(|sent| sent.on_wire()).collect();
            assert_eq!(running.tx.reclaim(), Ok(sent.len().min(1)));
            match cut {
                // What the device makes of a reduced window is not known.
                Some(cut) if cut.ecn => assert_eq!(sent.len(), 0),
                Some(cut) => assert_eq!(sent, self::cut(&packet.frame(), cut.mss_bytes), "{packet:?}"),
                None => assert_eq!((revision, &sent[..]), (1, &[packet.frame()][..])),
            }
        }
    });
}

#[test]
fn large_packets_and_others_come_in_order_through_many_laps() {
    every_revision(|_, machine, running| {
        let packets: Vec<_> = kinds().collect();
        let mut expected = Vec::new();
        for turn in 0..600 {
            if turn % 3 == 0 {
                let (packet, mss_bytes) = packets[turn / 3 % packets.len()];
                assert!(machine.model().deliver_lro(&cut(&packet.frame(), mss_bytes)));
                expected.push(packet.frame().len());
            } else {
                let bytes = numbered(u32::try_from(turn).unwrap());
                assert!(machine.model().deliver(&bytes));
                expected.push(bytes.len());
            }
            if turn % 2 == 0 {
                let lengths: Vec<_> = receive_all(running).iter().map(Frame::total_bytes).collect();
                assert_eq!(lengths, core::mem::take(&mut expected), "turn {turn}");
            }
        }
    });
}

#[test]
fn it_is_not_asked_for_by_default_and_can_be_switched() {
    const LRO: u64 = 1 << 3;
    let features = |machine: &Machine| {
        let shared = machine.model().shared_addr().unwrap();
        u64::from_le_bytes(machine.platform.memory().device_get(shared + 0x18).unwrap())
    };
    let machine = Machine::new(Personality::esxi());
    let mut running = machine.start_small();
    assert_eq!(features(&machine) & LRO, 0);
    let both = RxOffloads::TCP4 | RxOffloads::TCP6;
    let change = |offloads| Change::RxOffloads(offloads | RxOffloads::CHECKSUM);
    assert_eq!(running.control.change(change(both)), Err(ChangeError::NotOffered));
    let device = running.stop().unwrap();
    let mut running = device.start(&large(), machine.pool.clone(), Interrupts::POLLING).unwrap();
    assert_eq!(features(&machine) & LRO, LRO);
    for wrong in [
        Change::RxOffloads(both),
        change(RxOffloads::TCP4),
        change(RxOffloads::TCP6),
        change(both | RxOffloads::UDP4),
    ] {
        assert_eq!(running.control.change(wrong), Err(ChangeError::NotOffered), "{wrong:?}");
    }
    let packet = Tcp { payload_bytes: 2800, ..PLAIN };
    let segments = cut(&packet.frame(), 1400);
    for (offloads, frames) in [(RxOffloads::empty(), 2), (both, 1)] {
        assert_eq!(running.control.change(change(offloads)), Ok(()));
        assert!(machine.model().deliver_lro(&segments));
        assert_eq!(receive_all(&mut running).len(), frames);
    }
    assert_eq!(running.control.change(change(RxOffloads::empty())), Ok(()));
    assert!(running.recover(Interrupts::POLLING).is_ok_and(|mut running| {
        assert_eq!(features(&machine) & LRO, 0, "as it was before");
        running.control.change(change(both)) == Ok(())
    }));
}

#[test]
fn what_nobody_asked_for_is_dropped() {
    const WHOLE: u32 = 0xc000;
    let machine = Machine::new(Personality::esxi());
    let mut running = machine.start_small();
    const GOOD: u32 = 1 << 16 | 1 << 18 | 1 << 19 | 1 << 21;
    const HASHED: u32 = 2 << 26;
    let cases = [(2, 0), (255, 0), (1, 1), (0, 1)];
    let shapes = [(0, 0), (0, GOOD), (HASHED, 0), (HASHED, GOOD)];
    for (turn, (word0, word3)) in shapes.into_iter().enumerate() {
        for (case, (segments, received)) in cases.into_iter().enumerate() {
            let slot = u32::try_from(4 * turn + case).unwrap();
            let merged = [WHOLE | word0 | slot, segments, 100, word3 | 4 << 24 | 1460];
            machine.model().complete_rx(merged);
            assert_eq!(receive_all(&mut running).len(), received, "{segments} segments, {word0:x} {word3:x}");
        }
    }
    assert_eq!((running.rx.counters().errors, running.rx.counters().frames), (8, 8));
}

#[test]
fn a_packet_that_is_none_is_dropped_where_the_device_says_that_it_made_it() {
    const WHOLE: u32 = 0xc000;
    let machine = Machine::new(Personality::esxi());
    let mut running = machine.start(&large(), Interrupts::POLLING);
    // What was in the buffers before is no packet.
    machine.model().complete_rx([WHOLE, 2, 300, 4 << 24 | 100]);
    assert_eq!(receive_all(&mut running).len(), 0);
    assert_eq!(running.rx.counters().errors, 1);
    machine.model().complete_rx([WHOLE | 1, 2, 300, 0]);
    assert_eq!(receive_all(&mut running).len(), 1);
}

/// Whatever else the device says of it.
#[test]
fn what_nobody_asked_for_is_dropped_where_nothing_was_verified_either() {
    const CNC: u32 = 1 << 30;
    const WHOLE: u32 = 0xc000;
    let machine = Machine::new(Personality::esxi());
    let mut running = machine.start_small();
    machine.model().complete_rx([WHOLE | CNC, 2, 300, 4 << 24 | 100]);
    machine.model().complete_rx([WHOLE | CNC | 1, 0, 300, 3 << 24]);
    assert_eq!(receive_all(&mut running).len(), 1);
    assert_eq!(running.rx.counters().errors, 1);
}

/// What is left off for want of buffers is not asked for by another way.
#[test]
fn settings_ask_for_no_more_than_there_are_buffers_for() {
    let asked = RxOffloads::CHECKSUM | RxOffloads::TCP4 | RxOffloads::TCP6;
    let settings = Settings::default().with(Change::RxOffloads(asked));
    let config = large().with_rx2_entries(32).with_settings(settings);
    let machine = Machine::new(Personality::esxi());
    let up = machine.start(&config, Interrupts::POLLING);
    assert_eq!(up.control.settings().rx_offloads, Some(RxOffloads::CHECKSUM));
}

#[test]
fn what_the_device_does_not_vouch_for_stays_as_it_came() {
    const HASHED: u32 = 2 << 26;
    const CNC: u32 = 1 << 30;
    let machine = Machine::new(Personality::esxi().up_to(1));
    let mut running = machine.start(&large(), Interrupts::POLLING);
    let packet = Tcp { payload_bytes: 4000, ..PLAIN };
    let (_, cut) = packet.asked(1448);
    assert!(machine.model().deliver_with(&packet.frame(), [CNC | HASHED, 77, 0, 0]));
    let frame = receive_one(&mut running);
    assert_eq!(frame.rx_checksum(), RxChecksum::Unverified);
    assert_eq!(frame.offload(), TxOffload { checksum: None, segmentation: Some(cut) });
    assert_eq!(frame.rx_hash(), Some(RxHash { value: 77, kind: RxHashKind::Tcp4 }));
    assert_eq!(bytes_of(&frame), packet.frame());
    // A frame longer than the MTU that carries no TCP is what it is.
    let mut other = packet.frame();
    other[23] = 17;
    assert!(machine.model().deliver_with(&other, [CNC, 0, 0, 0]));
    assert!(receive_one(&mut running).offload().is_none());
    machine.assert_clean();
}

#[test]
fn where_a_merged_frame_starts_there_is_no_hash() {
    const WHOLE: u32 = 0xc000;
    const HASHED: u32 = 2 << 26;
    let machine = Machine::new(Personality::esxi());
    let mut running = machine.start_small();
    machine.model().complete_rx([WHOLE | HASHED, 1, 100, 4 << 24]);
    machine.model().complete_rx([WHOLE | HASHED | 1, 1, 100, 3 << 24]);
    let hashes: Vec<_> = receive_all(&mut running).iter().map(Frame::rx_hash).collect();
    assert_eq!(hashes, [None, Some(RxHash { value: 1, kind: RxHashKind::Tcp4 })]);
}
