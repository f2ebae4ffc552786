//! Receiving: buffers that are passed over, pools that run dry, the second ring, and what goes up
//! with a frame.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use paravane_hal::irq::{Armed, Interrupts};
use paravane_mock_hal::model::vmxnet3::Personality;
use paravane_net::{BURST_FRAMES, Burst, RxChecksum, RxHash, RxHashKind, RxQueue as _, VlanTag};
use paravane_vmxnet3::Config;
use support::{Machine, both, bytes_of, numbered, receive_all, small};

#[test]
fn passed_over_slots_keep_their_buffers() {
    both(|machine| {
        let mut running = machine.start_small();
        let mut skipped = 0;
        for number in 0..300 {
            let skip = number as usize % 5;
            machine.model().skip(skip);
            skipped += skip as u64;
            assert!(machine.model().deliver(&numbered(number)));
            let frames = receive_all(&mut running);
            assert_eq!(frames.iter().map(bytes_of).collect::<Vec<_>>(), [numbered(number)]);
        }
        let counters = running.rx.counters();
        assert_eq!((counters.frames, counters.skipped), (300, skipped));
        machine.assert_clean();
        assert!(running.stop().is_ok());
        assert_eq!(machine.pool.free(), machine.pool.buffers());
    });
}

#[test]
fn buffers_that_come_back_unused_are_posted_again() {
    both(|machine| {
        let mut running = machine.start_small();
        for number in 0..200 {
            machine.model().return_unused();
            assert!(machine.model().deliver(&numbered(number)));
            assert_eq!(receive_all(&mut running).len(), 1);
        }
        assert_eq!(running.rx.counters().skipped, 200);
        machine.assert_clean();
    });
}

#[test]
fn without_fresh_buffers_frames_are_dropped_and_the_ring_stays_full() {
    both(|machine| {
        let mut running = machine.start_small();
        let hoard: Vec<_> = std::iter::from_fn(|| machine.pool.get()).collect();
        for number in 0..100 {
            assert!(machine.model().deliver(&numbered(number)), "there is a buffer for each");
            assert_eq!(receive_all(&mut running).len(), 0);
        }
        assert_eq!(running.rx.counters().no_buffer, 100);
        drop(hoard);
        assert!(machine.model().deliver(&numbered(7)));
        assert_eq!(receive_all(&mut running).len(), 1);
        // What the queue has at hand by now is good for as many frames.
        let _hoard: Vec<_> = std::iter::from_fn(|| machine.pool.get()).collect();
        for number in 0..100_usize {
            assert!(machine.model().deliver(&numbered(7)));
            let received = receive_all(&mut running);
            assert_eq!(received.len(), usize::from(number < BURST_FRAMES - 1));
            received.into_iter().for_each(core::mem::forget);
        }
        machine.assert_clean();
    });
}

#[test]
fn a_pool_that_is_dry_from_the_start_on_costs_frames_and_never_the_ring() {
    // The slot that stays with the driver has no buffer yet, and gets none; or most have none.
    for (free, posted) in [(63, 31), (40, 20), (2, 1)] {
        both(|machine| {
            let mut hoard: Vec<_> = std::iter::from_fn(|| machine.pool.get()).collect();
            hoard.truncate(hoard.len() - free);
            let mut running = machine.start_small();
            assert_eq!(machine.model().doorbells, [(0x800, posted), (0xa00, 0)]);
            hoard.extend(std::iter::from_fn(|| machine.pool.get()));
            for number in 0..100 {
                assert!(machine.model().deliver(&numbered(number)), "there is a buffer for frame {number}");
                assert_eq!(receive_all(&mut running).len(), 0);
                // What the queue lets go others take, and the queue does not see it again.
                hoard.extend(std::iter::from_fn(|| machine.pool.get()));
                assert_eq!(running.rx.arm(), Ok(Armed::Idle));
            }
            assert_eq!(running.rx.counters().no_buffer, 100);
            drop(hoard);
            // Before it waits.
            assert_eq!(running.rx.arm(), Ok(Armed::Idle));
            assert!((0..31).all(|number| machine.model().deliver(&numbered(number))));
            assert_eq!((receive_all(&mut running).len(), running.rx.refill()), (31, 0));
            for number in 0..100 {
                assert!(machine.model().deliver(&numbered(number)));
                assert_eq!(receive_all(&mut running).len(), 1);
            }
            machine.assert_clean();
        });
    }
}

#[test]
fn a_dry_pool_starts_small_and_grows_later() {
    let machine = Machine::with_pool(Personality::esxi(), 80);
    let mut hoard: Vec<_> = std::iter::from_fn(|| machine.pool.get()).collect();
    hoard.truncate(72);
    let mut running = machine.start_small();
    assert_eq!(machine.model().doorbells, [(0x800, 4), (0xa00, 0)]);
    machine.model().doorbells.clear();
    assert_eq!(running.rx.refill(), 27);
    hoard.truncate(62);
    assert_eq!(running.rx.refill(), 22, "of ten more, five");
    assert_eq!(machine.model().doorbells, [(0x800, 9)], "and told, though they are few: it may be waiting");
    hoard.clear();
    assert_eq!(running.rx.refill(), 0);
    assert_eq!(machine.model().doorbells.last(), Some(&(0x800, 31)));
    for number in 0..100 {
        assert!(machine.model().deliver(&numbered(number)));
        assert_eq!(receive_all(&mut running).len(), 1);
    }
    machine.assert_clean();
}

#[test]
fn who_only_receives_fills_a_ring_that_started_short() {
    // Long enough that half of the pool would not fill it.
    for (entries, frames) in [(32, 80), (256, 290)] {
        let machine = Machine::with_pool(Personality::esxi(), frames);
        let mut hoard: Vec<_> = std::iter::from_fn(|| machine.pool.get()).collect();
        hoard.truncate(hoard.len() - 8);
        let mut running = machine.start(&small().with_rx_entries(entries), Interrupts::POLLING);
        drop(hoard);
        assert_eq!(receive_all(&mut running).len(), 0);
        let full = u32::from(entries) - 1;
        assert_eq!(machine.model().doorbells, [(0x800, 4), (0xa00, 0), (0x800, full)]);
    }
}

/// Whatever a pool has, rings that could hold it all leave something to receive with.
#[test]
fn rings_that_could_hold_the_whole_pool_receive() {
    for ip_mtu_bytes in [1500, 9000] {
        let is_long = ip_mtu_bytes > 1500;
        for frames in
            (2..80).chain([150, 255, 256, 257, 510, 511, 512, 540]).skip(if is_long { 2 } else { 0 })
        {
            let machine = Machine::with_pool(Personality::qemu(), frames);
            let config = Config::default().with_ip_mtu_bytes(ip_mtu_bytes).with_rx2_entries(256);
            let mut running = machine.start(&config, Interrupts::POLLING);
            for number in 0..600 {
                let mut bytes = numbered(number);
                // Of five buffers.
                bytes.resize(if is_long && frames >= 24 && number % 3 == 0 { 9000 } else { bytes.len() }, 7);
                assert!(machine.model().deliver(&bytes), "there is a buffer for frame {number}");
                assert_eq!(receive_all(&mut running).len(), 1, "frame {number} with {frames} buffers");
                running.rx.refill();
            }
            machine.assert_clean();
            assert!(running.stop().is_ok());
            assert_eq!(machine.pool.free(), machine.pool.buffers());
        }
    }
}

#[test]
fn a_device_that_does_not_care_hears_of_no_buffers() {
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start_small();
    assert_eq!(machine.model().doorbells, [(0x800, 31), (0xa00, 0)], "once, after activation");
    for number in 0..100 {
        assert!(machine.model().deliver(&numbered(number)));
        assert_eq!(receive_all(&mut running).len(), 1);
    }
    assert_eq!(machine.model().doorbells.len(), 2);
    assert_eq!(running.rx.counters().doorbells, 0);
}

#[test]
fn what_was_found_inside_of_a_tunnel_vouches_for_nothing_outside() {
    const GOOD: u32 = 1 << 16 | 1 << 18 | 1 << 19 | 1 << 21;
    const TCP4: u32 = 2 << 26;
    let machine = Machine::new(Personality::esxi());
    let mut running = machine.start_small();
    for inner in 0..4 {
        for hashed in [0, TCP4] {
            assert!(machine.model().deliver_with(&numbered(3), [inner << 12 | hashed, 77, 0, GOOD]));
            let frame = receive_all(&mut running).pop().unwrap();
            let expected = if inner == 0 { RxChecksum::Good } else { RxChecksum::Unverified };
            assert_eq!(frame.rx_checksum(), expected, "{inner}");
            let kind = if inner == 0 { RxHashKind::Tcp4 } else { RxHashKind::Other };
            assert_eq!(frame.rx_hash(), (hashed != 0).then_some(RxHash { value: 77, kind }), "{inner}");
        }
    }
}

#[test]
fn jumbo_frames_arrive_in_chains() {
    both(|machine| {
        let config = small().with_ip_mtu_bytes(9000).with_rx2_entries(64);
        let mut running = machine.start(&config, Interrupts::POLLING);
        for number in 0..200 {
            let mut bytes = numbered(number);
            bytes.resize(60 + (number as usize * 997) % 8958, 0x5a);
            assert!(machine.model().deliver(&bytes));
            let frames = receive_all(&mut running);
            assert_eq!(frames.len(), 1);
            assert_eq!(frames[0].segments().count(), bytes.len().div_ceil(1984));
            assert_eq!(bytes_of(&frames[0]), bytes);
        }
        machine.assert_clean();
        assert!(running.stop().is_ok());
        assert_eq!(machine.pool.free(), machine.pool.buffers());
    });
}

#[test]
fn the_second_ring_is_long_enough_for_a_first_ring_of_jumbo_frames() {
    both(|machine| {
        let config = Config::default().with_ip_mtu_bytes(9000).with_rx_entries(32);
        let mut running = machine.start(&config, Interrupts::POLLING);
        let longest = |number| [numbered(number), vec![0x5a; 9014]].concat()[..9014].to_vec();
        assert!((0..31).all(|number| machine.model().deliver(&longest(number))));
        let frames = receive_all(&mut running);
        assert_eq!(frames.iter().map(bytes_of).collect::<Vec<_>>(), (0..31).map(longest).collect::<Vec<_>>());
        machine.assert_clean();
    });
}

/// Few slots of either ring wait to be handed over, whatever was received, and with nobody who
/// arms: a short second ring always takes as many of the longest frames as a full one would.
#[test]
fn a_short_second_ring_has_its_buffers_back_in_time() {
    // Of its 31 buffers each of those frames takes four, whether or not the device wants to hear of
    // fresh ones.
    for personality in [Personality::qemu(), Personality::esxi()] {
        let machine = Machine::new(personality);
        let longest = [9014; 7];
        let config = Config::default().with_ip_mtu_bytes(9000).with_rx2_entries(32);
        let mut running = machine.start(&config, Interrupts::POLLING);
        let mut number = 0;
        let mut pass = |lengths: &[usize]| {
            let frames: Vec<_> = lengths
                .iter()
                .map(|len_bytes| {
                    number += 1;
                    [numbered(number), vec![0x5a; *len_bytes]].concat()[..*len_bytes].to_vec()
                })
                .collect();
            for frame in &frames {
                assert!(machine.model().deliver(frame), "a frame of {} bytes is dropped", frame.len());
            }
            assert_eq!(receive_all(&mut running).iter().map(bytes_of).collect::<Vec<_>>(), frames);
        };
        for pieces in 1..=5 {
            for before in 0..8 {
                (0..before).for_each(|_| pass(&[(pieces - 1) * 1984 + 100]));
                pass(&longest);
            }
        }
        machine.assert_clean();
    }
}

#[test]
fn a_chain_may_end_in_a_later_call() {
    let machine = Machine::new(Personality::qemu());
    let config = small().with_ip_mtu_bytes(9000);
    let mut running = machine.start(&config, Interrupts::POLLING);
    let mut burst = Burst::new();
    // The pieces of one frame, one at a time.
    let (sop, eop, second_ring) = (1 << 15, 1 << 14, 1 << 16);
    machine.model().complete_rx([sop, 0, 1984, 0]);
    assert_eq!(running.rx.receive(&mut burst), Ok(0));
    machine.model().complete_rx([second_ring, 0, 1984, 0]);
    assert_eq!(running.rx.receive(&mut burst), Ok(0));
    machine.model().complete_rx([1 | second_ring | eop, 0, 10, 0]);
    assert_eq!(running.rx.receive(&mut burst), Ok(1));
    assert_eq!(burst.pop().unwrap().total_bytes(), 1984 * 2 + 10);
}

#[test]
fn damaged_frames_are_dropped_and_counted() {
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start_small();
    let err = [0, 0, 1 << 14, 0];
    for number in 0..50 {
        assert!(machine.model().deliver_with(&numbered(number), err));
        assert!(machine.model().deliver(&numbered(number)));
        let frames = receive_all(&mut running);
        assert_eq!(frames.iter().map(bytes_of).collect::<Vec<_>>(), [numbered(number)]);
    }
    assert_eq!(running.rx.counters().errors, 50);
    machine.assert_clean();
}

#[test]
fn what_the_device_found_out_travels_along() {
    let machine = Machine::new(Personality::esxi());
    let mut running = machine.start_small();
    let good_tcp4 = 1 << 21 | 1 << 19 | 1 << 18 | 1 << 16;
    machine.model().deliver_with(&numbered(1), [2 << 26, 0xdead_beef, 1 << 15 | 0x0123 << 16, good_tcp4]);
    machine.model().deliver(&numbered(2));
    let frames = receive_all(&mut running);
    assert_eq!(frames[0].rx_checksum(), RxChecksum::Good);
    assert_eq!(frames[0].vlan(), Some(VlanTag(0x0123)));
    assert_eq!(frames[0].rx_hash(), Some(RxHash { value: 0xdead_beef, kind: RxHashKind::Tcp4 }));
    assert_eq!(
        (frames[1].rx_checksum(), frames[1].vlan(), frames[1].rx_hash()),
        (RxChecksum::Unverified, None, None)
    );
}

#[test]
fn all_that_is_there_is_received_over_the_end_of_a_lap() {
    both(|machine| {
        let mut running = machine.start_small();
        let mut burst = Burst::new();
        // One alone and two together come by each place of the rings.
        for _ in 0..200 {
            for count in [1, 2] {
                assert!((0..count).all(|number| machine.model().deliver(&numbered(number))));
                assert_eq!(running.rx.receive(&mut burst), Ok(count as usize));
                burst.clear();
            }
        }
        let counters = running.rx.counters();
        let bytes = 400 * numbered(0).len() + 200 * numbered(1).len();
        assert_eq!((counters.frames, counters.bytes), (600, bytes as u64));
        machine.assert_clean();
    });
}

#[test]
fn a_full_burst_leaves_the_rest_for_later() {
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start(&small().with_rx_entries(64), Interrupts::POLLING);
    for number in 0..40 {
        assert!(machine.model().deliver(&numbered(number)));
    }
    let mut burst = Burst::new();
    assert_eq!(running.rx.receive(&mut burst), Ok(32));
    assert_eq!(running.rx.receive(&mut burst), Ok(0), "no room");
    burst.clear();
    assert_eq!(running.rx.receive(&mut burst), Ok(8));
}
