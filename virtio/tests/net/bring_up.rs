//! From a function to a running device: the order of it, and every way in which it can fail.

use crate::support::*;
use paravane_hal::dma::Dma as _;
use paravane_hal::irq::{InterruptMode, Interrupts};
use paravane_mock_hal::fault::{Action, Fault, FaultPoint, Field};
use paravane_mock_hal::model::virtio::{Personality, net::bits};
use paravane_mock_hal::{DeviceModel as _, Width};
use paravane_net::{
    Burst, Control, Duplex, HashReport, MacAddr, NicInfo, Offloads, Rss, RssKinds, RxOffloads, RxQueue as _,
    Settings, VlanSet,
};
use paravane_pci::{ConfigAccess as _, InterruptError};
use paravane_virtio::init::InitError;
use paravane_virtio::net::{Allowed, BringUpError, Config, NetFeatures, SetUpError, StartError};
use paravane_virtio::transport::QueueError;
use paravane_virtio::transport::pci::{OpenError, PciError};

fn start_error(bench: &Bench, config: &Config) -> StartError {
    let (error, device) = match bench.device().start(config, bench.pool.clone(), Interrupts::POLLING) {
        Ok(_) => panic!("started"),
        Err(failed) => failed.into_parts(),
    };
    drop(device);
    bench.assert_at_rest();
    error
}

#[test]
fn status_moves_one_bit_at_a_time_3_1_1() {
    for personality in Personality::all() {
        let offered = personality.ring_features | personality.net_features;
        let bench = Bench::of(personality, offered);
        let up = bench.start();
        assert_eq!(bench.model().statuses, [0, 0, 1, 3, 11, 15], "{}", personality.name);
        let implemented = Allowed::default().ring.bits() | NetFeatures::all().bits();
        // VLANs, a spread and large packets are agreed where they are asked for.
        let large = bits::GUEST_TSO4 | bits::GUEST_TSO6 | bits::GUEST_ECN;
        let unasked = (NetFeatures::CTRL_VLAN | NetFeatures::RSS).bits() | large;
        let expected = offered & implemented & !unasked;
        assert_eq!(up.control.features().bits(), expected, "{}", personality.name);
        assert_eq!(up.control.info().mac, MacAddr(MAC));
        assert!(up.control.link().is_up());
        assert!(up.control.stop(up.rx, up.tx).is_ok());
        bench.assert_clean();
        bench.assert_at_rest();
    }
}

#[test]
fn a_transitional_device_is_driven_through_its_modern_registers() {
    let bench = Bench::of(Personality::qemu_transitional(), BASIC);
    let _up = bench.start();
    bench.assert_clean();
}

#[test]
fn a_legacy_device_is_refused_with_advice() {
    let bench = Bench::new(BASIC);
    bench.space(|space| {
        space.set16(0x02, 0x1000);
        space.set16(0x2e, 1);
        space.set8(0x34, 0x98);
    });
    let (error, function) = bench.not_opened().into_parts();
    assert_eq!(error, OpenError::Pci(PciError::LegacyOnly));
    assert!(error.to_string().contains("disable-modern=off"));
    assert_eq!(function.ids().device, 0x1000, "the function comes back");
}

#[test]
fn another_device_is_refused() {
    let bench = Bench::new(BASIC);
    bench.space(|space| space.set16(0x02, 0x1042));
    let error = bench.not_opened().into_error();
    assert!(matches!(error, OpenError::Device(BringUpError::OtherClass { seen: 2, expected: 1, .. })));
}

#[test]
fn only_what_is_implemented_is_accepted_of_everything() {
    let bench = Bench::new(u64::MAX);
    let vlans = VlanSet::EMPTY.with(1, true);
    let rss = Rss::new(RssKinds::IP4, &[0]).unwrap();
    let report = HashReport::new(RssKinds::IP4);
    let settings = Settings::default().with_vlans(vlans).with_rss(rss).with_hash_report(report);
    let config = Config::default().with_settings(settings).with_rx_offloads(RxOffloads::all());
    let up = bench.start_with(&config, Interrupts::msix(&MESSAGES));
    let implemented = Allowed::default().ring.bits() | NetFeatures::all().bits();
    assert_eq!(up.control.features().bits(), implemented);
    assert_eq!(bench.model().accepted(), implemented);
    assert_eq!(up.control.link(), paravane_net::Link::Up { mbps: Some(10_000), duplex: Some(Duplex::Full) });
    bench.assert_clean();
}

#[test]
fn a_feature_whose_field_is_not_there_is_not_accepted() {
    let bench = Bench::with_layout(BASIC | 1 << 3 | 1 << 63, |layout| layout.device.len_bytes = 6);
    let up = bench.start();
    assert_eq!(up.control.features().bits(), VERSION_1 | 1 << 5);
    assert!(up.control.link().is_up(), "without a feature to say otherwise");
    bench.assert_clean();
}

#[test]
fn a_device_from_before_version_1_is_refused() {
    let bench = Bench::new(1 << 5);
    assert_eq!(start_error(&bench, &small()), StartError::from(InitError::NotVersion1 { offered: 1 << 5 }));
    assert_eq!(bench.model().statuses.last(), Some(&0), "reset, after FAILED");
    bench.assert_clean();
}

#[test]
fn rejected_features_are_noticed_2_2_2() {
    let bench = Bench::new(BASIC);
    bench.model().rejects_features = true;
    let error = start_error(&bench, &small());
    assert_eq!(error, StartError::from(InitError::FeaturesRejected { offered: BASIC, chosen: BASIC }));
    assert_eq!(bench.model().statuses[4..], [11, 131, 0], "FAILED is said, then the device is reset");
    bench.assert_clean();
    bench.model().rejects_features = false;
    let _up = bench.start();
}

#[test]
fn a_device_that_ignores_its_status_is_noticed() {
    let bench = Bench::new(BASIC);
    bench.model().ignores_status = true;
    assert!(matches!(
        start_error(&bench, &small()),
        StartError::SetUp(SetUpError::Init(InitError::StatusRejected { .. }))
    ));
}

#[test]
fn a_slow_reset_is_waited_for_and_an_endless_one_is_not() {
    let left_by_firmware = |reset| {
        let bench = Bench::of(Personality { reset, ..Personality::qemu() }, BASIC);
        bench.model().write(4, 0x14, Width::Byte, 1);
        bench
    };
    let bench = left_by_firmware(Reset::AfterReads(100));
    let _up = bench.start();
    bench.assert_clean();

    let bench = left_by_firmware(Reset::Never);
    let error = bench.not_opened().into_error();
    assert!(matches!(error, OpenError::Device(BringUpError::Init(InitError::NoReset { .. }))), "{error}");
}

#[test]
fn a_device_that_is_gone_is_called_so() {
    let bench = Bench::new(BASIC);
    bench.model().gone = true;
    let error = bench.not_opened().into_error();
    assert_eq!(error, OpenError::Device(BringUpError::Init(InitError::Gone)));
}

#[test]
fn vectors_step_down_until_the_device_confirms_them_all() {
    let at = |vectors: u16| {
        let bench = Bench::new(BASIC);
        bench.model().personality.vectors = vectors;
        let up = bench.start();
        assert_eq!(bench.model().has_msix_on(), vectors > 0);
        bench.assert_clean();
        up.control.interrupts()
    };
    assert_eq!(at(3), InterruptMode::Msix { vectors: 3 });
    assert_eq!(at(2), InterruptMode::Msix { vectors: 2 });
    assert_eq!(at(1), InterruptMode::Msix { vectors: 1 });
    assert_eq!(at(0), InterruptMode::Polling);

    let bench = Bench::new(BASIC);
    bench.model().personality.vectors = 0;
    let mut up = bench.start_with(&small(), Interrupts::msix(&MESSAGES).or_line());
    assert_eq!((up.control.interrupts(), bench.model().has_msix_on()), (InterruptMode::Line, false));
    bench.model().set_link(false);
    assert!(up.control.acknowledge(), "the line was raised");
    bench.assert_clean();
}

#[test]
fn fewer_messages_make_fewer_vectors() {
    for (messages, expected) in [(1, "msix, 1 vector"), (2, "msix, 2 vectors"), (3, "msix, 3 vectors")] {
        let bench = Bench::new(BASIC);
        let up = bench.start_with(&small(), Interrupts::msix(&MESSAGES[..messages]));
        assert_eq!(up.control.interrupts().to_string(), expected);
    }
}

#[test]
fn without_messages_the_line_is_used_and_without_a_line_nothing() {
    let bench = Bench::new(BASIC);
    bench.without_msix();
    let up = bench.start_with(&small(), Interrupts::LINE);
    assert_eq!(up.control.interrupts(), InterruptMode::Line);
    assert!(!bench.pin_disabled());

    let bench = Bench::new(BASIC);
    bench.without_msix();
    let up = bench.start();
    assert_eq!(up.control.interrupts(), InterruptMode::Polling);
    assert!(bench.pin_disabled());

    let bench = Bench::new(BASIC);
    bench.space(|space| space.set8(0x3d, 0));
    let up = bench.start_with(&small(), Interrupts::LINE);
    assert_eq!(up.control.interrupts(), InterruptMode::Polling, "a function without a pin");

    let bench = Bench::new(BASIC);
    let up = bench.start_with(&small(), Interrupts::msi(MESSAGES[0]));
    assert_eq!(up.control.interrupts(), InterruptMode::Polling, "virtio has no MSI without the X");
    bench.assert_clean();
}

/// Firmware left MSI-X on, with which a function raises no line.
#[test]
fn a_table_out_of_reach_leaves_the_line() {
    const MSIX: usize = 0x98;
    let out_of_its_bar = |bench: &Bench| bench.space(|space| space.set16(MSIX + 4, 0x1001));
    let in_no_bar = |bench: &Bench| bench.space(|space| space.set8(MSIX + 4, 7));
    for (spoil, is_map) in [(&out_of_its_bar as &dyn Fn(&Bench), true), (&in_no_bar, false)] {
        let bench = Bench::new(BASIC);
        spoil(&bench);
        bench.plugged.host.write16(bench.plugged.address, 0x9a, 1 << 15);
        assert!(bench.model().has_msix_on());
        let mut up = bench.start_with(&small(), Interrupts::msix(&MESSAGES).or_line());
        assert_eq!(up.control.interrupts(), InterruptMode::Line);
        let error = up.control.device().transport().interrupt_error().unwrap();
        assert_eq!(matches!(error, InterruptError::Msix(_)), is_map, "{error}");
        assert!(!bench.model().has_msix_on());
        bench.model().set_link(false);
        assert!(up.control.acknowledge(), "the line was raised");
        bench.assert_clean();
    }
}

#[test]
fn messages_that_stay_on_rule_the_line_out() {
    let bench = Bench::new(BASIC);
    bench.plugged.host.write16(bench.plugged.address, 0x9a, 1 << 15);
    bench.space(|space| space.allow(0x9a, &[0; 2]));
    assert!(bench.model().has_msix_on());
    let up = bench.start_with(&small(), Interrupts::LINE);
    assert_eq!(up.control.interrupts(), InterruptMode::Polling);
    assert!(up.stop().is_ok());
}

#[test]
fn what_may_be_asked_of_a_device_is_said() {
    let offloads_of = |offered| Bench::new(BASIC | offered).start().control.info().offloads;
    assert_eq!(offloads_of(0), Offloads::empty());
    assert_eq!(offloads_of(1), Offloads::CHECKSUM);
    assert_eq!(offloads_of(OFFLOADS), Offloads::CHECKSUM | Offloads::TSO4 | Offloads::TSO6);
}

#[test]
fn queue_sizes_are_what_both_sides_can() {
    let bench = Bench::new(BASIC);
    bench.model().personality.max_entries = 64;
    let up = bench.start_with(&Config::default().with_tx_entries(100), Interrupts::POLLING);
    assert_eq!((up.control.info().rx_slots, up.control.info().tx_slots), (64, 64));
    assert_eq!(bench.model().queues[RX].entries, 64);
    let bench = Bench::new(BASIC);
    let up = bench.start_with(&Config::default().with_tx_entries(100), Interrupts::POLLING);
    assert_eq!((up.control.info().rx_slots, up.control.info().tx_slots), (256, 64));
    bench.assert_clean();
}

#[test]
fn a_queue_of_no_entries_is_the_callers_mistake() {
    let bench = Bench::new(BASIC);
    let error = start_error(&bench, &small().with_tx_entries(0));
    assert_eq!(error, StartError::from(SetUpError::NoEntries { queue: 1 }));
}

#[test]
fn a_missing_queue_is_named() {
    let bench = Bench::new(BASIC);
    bench.model().personality.max_entries = 0;
    assert_eq!(start_error(&bench, &small()), StartError::from(QueueError::Absent { queue: 0 }));
    let bench = Bench::new(BASIC);
    bench.model().queues_stay_enabled = true;
    assert_eq!(start_error(&bench, &small()), StartError::from(QueueError::AlreadyEnabled { queue: 0 }));
}

#[test]
fn a_doorbell_outside_its_registers_is_refused_and_memory_comes_back() {
    let bench = Bench::with_layout(BASIC, |layout| layout.notify.len_bytes = 4);
    let expected = QueueError::NoDoorbell { queue: 1, offset_bytes: 4, len_bytes: 4 };
    assert_eq!(start_error(&bench, &small()), StartError::from(expected));
    bench.assert_clean();
}

#[test]
fn unusable_places_for_registers_are_refused_with_a_reason() {
    for (offset, value) in
        [(0x48, 0x3fd0_u32), (0x48, 2), (0x4c, 0x37), (0x4c, u32::MAX), (0x48, u32::MAX - 3)]
    {
        let bench = Bench::new(BASIC);
        bench.space(|space| space.set32(offset, value));
        let error = bench.not_opened().into_error();
        assert!(error.to_string().contains("no usable common configuration registers"), "{error}");
    }
    let bench = Bench::with_layout(BASIC, |layout| layout.notify_multiplier = 3);
    let error = bench.not_opened().into_error();
    assert!(error.to_string().contains("doorbells 3 bytes apart"), "{error}");
}

#[test]
fn registers_that_a_capability_puts_among_the_ports_are_looked_for_in_the_next_one() {
    let bench = Bench::of(Personality::qemu_transitional(), BASIC);
    bench.space(|space| {
        // In front of all others, that is of 0x40: common registers at the start of BAR 0, which
        // is ports.
        space.set8(0x34, 0xe0);
        space.set32(0xe0, 0x0110_4009);
        space.set32(0xe4, 0);
        space.set32(0xe8, 0);
        space.set32(0xec, 0x38);
    });
    let _up = bench.start();
    bench.assert_clean();
}

#[test]
fn a_capability_list_that_is_a_loop_is_refused() {
    let bench = Bench::new(BASIC);
    bench.space(|space| space.set8(0x85, 0x40));
    let error = bench.not_opened().into_error();
    assert!(error.to_string().contains("loop"), "{error}");
}

#[test]
fn the_mtu_counts_when_it_can_be_kept() {
    const MTU: u64 = 1 << 3;
    let mtu_with = |rx_entries: u16, offered: u64, mtu: u16| {
        let bench = Bench::new(BASIC | MTU | offered);
        bench.model().class.mtu = mtu;
        let up = bench.start_with(&small().with_rx_entries(rx_entries), Interrupts::POLLING);
        bench.assert_clean();
        let info = up.control.info();
        assert_eq!(info.max_frame_bytes, info.ip_mtu_bytes + 14);
        (info.ip_mtu_bytes, up.control.features().has(NetFeatures::MTU))
    };
    let mtu_of = |offered: u64, mtu: u16| mtu_with(16, offered, mtu);
    assert_eq!(mtu_of(0, 1400), (1400, true));
    assert_eq!(mtu_of(0, 67), (1500, false), "too small to be one");
    assert_eq!(mtu_of(0, 9000), (1500, false), "would not fit a buffer");
    assert_eq!(mtu_of(MRG_RXBUF, 9000), (9000, true), "spread over buffers");
    assert_eq!(mtu_with(4, MRG_RXBUF, 9000), (1500, false), "would not fit all of them");
    assert_eq!(mtu_of(MRG_RXBUF, u16::MAX), (1500, false), "leaves no room for a header in 16 bits");
}

/// How many buffers there are is the device's to say, whatever was asked for.
#[test]
fn the_mtu_is_held_against_the_entries_that_the_device_allows() {
    let ip_mtu_of = |max_entries: u16| {
        let bench = Bench::new(BASIC | MRG_RXBUF | 1 << 3);
        bench.model().class.mtu = 9000;
        bench.model().personality.max_entries = max_entries;
        let mut up = bench.start_with(&Config::default(), Interrupts::POLLING);
        assert_eq!(up.control.info().rx_slots, max_entries);
        // What was agreed can be received.
        let payload = bytes(usize::from(up.control.info().max_frame_bytes), 3);
        assert!(bench.model().deliver(&payload));
        let mut burst = Burst::new();
        assert_eq!(up.rx.receive(&mut burst), Ok(1));
        assert_eq!(content(&burst.pop().unwrap()), payload);
        bench.assert_clean();
        (up.control.info().ip_mtu_bytes, up.control.features().has(NetFeatures::MTU))
    };
    assert_eq!(ip_mtu_of(4), (1500, false));
    assert_eq!(ip_mtu_of(8), (9000, true));
}

#[test]
fn no_more_is_sent_than_the_device_named_though_its_buffers_hold_less() {
    let bench = Bench::with_buffers(BASIC | MRG_RXBUF | 1 << 3, 64, 512);
    bench.model().class.mtu = 1000;
    let up = bench.start_with(&small().with_rx_entries(2), Interrupts::POLLING);
    assert!(!up.control.features().has(NetFeatures::MTU));
    assert_eq!(up.control.info().ip_mtu_bytes, 1000);
    bench.assert_clean();
}

#[test]
fn the_mtu_asked_for_is_the_device_s_at_most() {
    let ip_mtu_of = |offered: u64, device_says: u16, wanted: u16| {
        let bench = Bench::new(BASIC | offered);
        bench.model().class.mtu = device_says;
        let config = small().with_ip_mtu_bytes(wanted);
        let started = bench.device().start(&config, bench.pool.clone(), Interrupts::POLLING);
        let up = started.map_err(|failed| failed.into_error())?;
        let NicInfo { ip_mtu_bytes, max_frame_bytes, .. } = up.control.info();
        assert_eq!(max_frame_bytes, ip_mtu_bytes + 14);
        assert!(up.stop().is_ok());
        bench.assert_at_rest();
        bench.assert_clean();
        Ok(ip_mtu_bytes)
    };
    const MTU: u64 = 1 << 3;
    let beyond = |ip_mtu_bytes, max_bytes| Err(StartError::Mtu { ip_mtu_bytes, min_bytes: 68, max_bytes });
    assert_eq!(ip_mtu_of(MTU, 1500, 1400), Ok(1400));
    assert_eq!(ip_mtu_of(MTU, 1400, 1400), Ok(1400));
    assert_eq!(ip_mtu_of(MTU, 1400, 1401), beyond(1401, 1400));
    assert_eq!(ip_mtu_of(MTU, 1400, 67), beyond(67, 1400));
    assert_eq!(ip_mtu_of(MTU, 9000, 1500), Ok(1500), "though its buffers hold no frame of 9000");
    assert_eq!(ip_mtu_of(0, 0, 1900), Ok(1900), "the device says nothing");
    assert_eq!(ip_mtu_of(0, 0, u16::MAX), beyond(u16::MAX, u16::MAX - 18));
    let too_short = StartError::BuffersTooShort { payload_bytes: 1984, needed_bytes: 9018 };
    assert_eq!(ip_mtu_of(0, 0, 9000), Err(too_short));
    assert_eq!(ip_mtu_of(MRG_RXBUF, 0, 9000), Ok(9000));
}

/// A register is the device's word too: what was held against the buffers is what counts.
#[test]
fn the_mtu_is_read_once() {
    let bench = Bench::new(BASIC | 1 << 3);
    bench.model().class.mtu = 1400;
    let other = Action::Set { field: Field::Value, value: 0xffff };
    // Of the device's own configuration, `mtu`.
    bench.model().faults.add(Fault::nth(FaultPoint::RegisterRead, 2, other).of(4 << 16 | 10));
    let up = bench.start();
    assert_eq!((up.control.info().ip_mtu_bytes, bench.model().faults.hits()), (1400, 0));
}

#[test]
fn a_pool_of_another_dma_domain_is_refused() {
    let (bench, other) = (Bench::new(BASIC), Bench::new(BASIC));
    let started = bench.device().start(&small(), other.pool.clone(), Interrupts::POLLING);
    let error = started.unwrap_err().into_error();
    let (pool, device) = (other.platform.domain(), bench.platform.domain());
    assert_eq!(error, StartError::ForeignPool { pool, device });
    assert_eq!(other.pool.free(), other.pool.buffers());
    bench.assert_at_rest();
}

#[test]
fn buffers_too_short_for_a_frame_are_refused() {
    let bench = Bench::with_buffers(BASIC, 64, 1024);
    let expected = StartError::BuffersTooShort { payload_bytes: 960, needed_bytes: 1518 };
    assert_eq!(start_error(&bench, &small()), expected);
    let bench = Bench::with_buffers(BASIC | MRG_RXBUF, 64, 1024);
    let _up = bench.start();
    bench.assert_clean();
}

#[test]
fn a_configuration_that_never_stands_still_is_refused_2_5_1() {
    let bench = Bench::new(BASIC);
    bench.model().restless_config = true;
    assert_eq!(start_error(&bench, &small()), StartError::from(SetUpError::ConfigUnstable));
}

#[test]
fn an_address_is_made_up_when_the_device_has_none() {
    let bench = Bench::new(VERSION_1);
    assert_eq!(bench.start().control.info().mac, MacAddr::local(3 << 3));
    let bench = Bench::new(BASIC);
    bench.model().class.mac = [0xff; 6];
    assert_eq!(bench.start().control.info().mac, MacAddr::local(3 << 3), "a group address is nobody's");
}

#[test]
fn memory_that_cannot_be_had_is_an_error_at_every_allocation() {
    for allocations in 0..6 {
        let bench = Bench::new(BASIC);
        bench.platform.memory().limit_allocations(Some(allocations));
        assert!(
            matches!(start_error(&bench, &small()), StartError::SetUp(SetUpError::Dma(_))),
            "after {allocations}"
        );
        bench.platform.memory().limit_allocations(None);
        bench.assert_clean();
        let _up = bench.start();
    }
}
