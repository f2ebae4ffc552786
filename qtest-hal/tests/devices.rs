//! QEMU's own devices, driven from here. Skipped, with a word about why, where QEMU is not
//! installed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::process::Command;
use std::time::{Duration, Instant};

use paravane_hal::irq::{Armed, Interrupts};
use paravane_hal::mmio::{Mmio as _, MmioMap};
use paravane_hal::time::wait_for;
use paravane_net::{
    Burst, Control as _, Frame, FrameLayout, FramePool, MacAddr, RxQueue as _, TxQueue as _, payload_bytes,
};
use paravane_pci::{CapabilityId, ConfigAccess as _, Found, Function, Patched, PciAddress, enumerate};
use paravane_qtest_hal::{Chipset, Config, Machine, Qtest, QtestError, Setup};
use paravane_virtio::transport::pci;

type Vmxnet3 = paravane_vmxnet3::Running<Qtest, Config>;

const BOTH: [Chipset; 2] = [Chipset::Pc, Chipset::Q35];
const LIMIT: Duration = Duration::from_secs(5);

fn start(machine: &Machine, interrupts: Interrupts<'_>) -> (Vmxnet3, FramePool) {
    let function = Function::claim(machine.config().clone(), machine.nic_address(0).unwrap()).unwrap();
    let device = paravane_vmxnet3::Device::new(function, machine.platform().clone()).unwrap();
    let pool = FramePool::new(machine.platform().clone(), FrameLayout::new(400)).unwrap();
    (device.start(&paravane_vmxnet3::Config::default(), pool.clone(), interrupts).unwrap(), pool)
}

fn frame(to: [u8; 6], len_bytes: usize) -> Vec<u8> {
    let mut frame = [&to[..], &[2, 0, 0, 0, 0, 9, 0x88, 0xb5]].concat();
    frame.extend((0..=u8::MAX).cycle().take(len_bytes - frame.len()));
    frame
}

fn send(running: &mut Vmxnet3, pool: &FramePool, bytes: &[u8]) {
    let mut out = pool.get().unwrap();
    assert!(out.append(bytes));
    let mut burst = Burst::new();
    burst.push(out);
    assert_eq!(running.tx.transmit(&mut burst), Ok(1));
    running.tx.flush();
}

#[test]
fn a_driver_carries_frames_both_ways() {
    for chipset in BOTH {
        let Some(machine) = Machine::start_or_skip(&Setup::new(chipset).nic("vmxnet3")) else { return };
        let (mut running, pool) = start(&machine, Interrupts::POLLING);
        assert_eq!(running.control.info().mac, MacAddr(Setup::mac(0)));

        let sent = frame([0xff; 6], 300);
        send(&mut running, &pool, &sent);
        assert_eq!(machine.cable(0).unwrap().receive_by(LIMIT), Some(sent));

        let given = frame(Setup::mac(0), 1514);
        machine.cable(0).unwrap().send(&given).unwrap();
        let mut burst = Burst::new();
        wait_for(machine.platform(), LIMIT, || (running.rx.receive(&mut burst) == Ok(1)).then_some(()))
            .unwrap();
        let mut bytes = vec![0; 1514];
        assert_eq!(burst.pop().unwrap().copy_out(&mut bytes), Some(1514));
        assert_eq!(bytes, given);

        running.stop().unwrap();
        assert_eq!(pool.free(), pool.buffers());
        drop(pool);
        assert_eq!(machine.platform().dma_bytes_in_use(), 0);
        machine.check().unwrap();
    }
}

#[test]
fn jumbo_frames_go_both_ways() {
    const LONGEST: usize = 9014;
    let Some(machine) = Machine::start_or_skip(&Setup::new(Chipset::Q35).nic("vmxnet3")) else { return };
    let function = Function::claim(machine.config().clone(), machine.nic_address(0).unwrap()).unwrap();
    let device = paravane_vmxnet3::Device::new(function, machine.platform().clone()).unwrap();
    // Both rings, and all frames that are received.
    let pool = FramePool::new(machine.platform().clone(), FrameLayout::new(256 + 4 * 256 + 5 * 40)).unwrap();
    let config = paravane_vmxnet3::Config::default().with_ip_mtu_bytes(9000);
    let mut running = device.start(&config, pool.clone(), Interrupts::POLLING).unwrap();

    for len_bytes in [1985, 5000, LONGEST] {
        let sent = frame([0xff; 6], len_bytes);
        let mut chain: Option<Frame> = None;
        for piece in sent.chunks(payload_bytes(&pool)).rev() {
            let mut first = pool.get().unwrap();
            assert!(first.append(piece));
            if let Some(rest) = chain.take() {
                first.set_next(rest);
            }
            chain = Some(first);
        }
        let mut burst = Burst::new();
        burst.push(chain.unwrap());
        assert_eq!(running.tx.transmit(&mut burst), Ok(1));
        assert_eq!(machine.cable(0).unwrap().receive_by(LIMIT), Some(sent));
        assert_eq!(running.tx.reclaim(), Ok(1));
    }

    // More than a ring 2 of the shortest kind has room for.
    let lengths: Vec<usize> = (0..40).map(|number| LONGEST - number).collect();
    for len_bytes in &lengths {
        machine.cable(0).unwrap().send(&frame(Setup::mac(0), *len_bytes)).unwrap();
    }
    let mut received = Vec::new();
    wait_for(machine.platform(), LIMIT, || {
        let mut burst = Burst::new();
        running.rx.receive(&mut burst).unwrap();
        received.extend(std::iter::from_fn(|| burst.pop()));
        (received.len() == lengths.len()).then_some(())
    })
    .unwrap_or_else(|late| panic!("{} frames: {late}", received.len()));
    for (received, len_bytes) in received.iter().zip(&lengths) {
        let mut bytes = vec![0; *len_bytes];
        assert_eq!(received.copy_out(&mut bytes), Some(*len_bytes));
        assert_eq!(bytes, frame(Setup::mac(0), *len_bytes));
    }
    drop(received);
    assert_eq!(running.rx.counters().dropped(), 0);
    running.stop().unwrap();
    assert_eq!(pool.free(), pool.buffers());
    machine.check().unwrap();
}

#[test]
fn a_legacy_nic_carries_frames_behind_either_header() {
    use paravane_virtio::{net, transport::legacy};
    for (options, chipset) in
        [("", Chipset::Pc), (",mrg_rxbuf=off", Chipset::Q35), (",mrg_rxbuf=off,event_idx=off", Chipset::Pc)]
    {
        let device = format!("virtio-net-pci,disable-modern=on,disable-legacy=off{options}");
        let Some(machine) = Machine::start_or_skip(&Setup::new(chipset).nic(&device)) else { return };
        let function = Function::claim(machine.config().clone(), machine.nic_address(0).unwrap()).unwrap();
        let platform = machine.platform().clone();
        let mut device = legacy::open(function, platform.clone(), net::Device::new).unwrap();
        for _ in 0..2 {
            let pool = FramePool::new(platform.clone(), FrameLayout::new(600)).unwrap();
            let mut running =
                device.start(&net::Config::default(), pool.clone(), Interrupts::POLLING).unwrap();
            assert_eq!(running.control.info().mac, MacAddr(Setup::mac(0)));
            for len_bytes in [60, 300, 1514] {
                let sent = frame([0xff; 6], len_bytes);
                let mut out = pool.get().unwrap();
                assert!(out.append(&sent));
                assert_eq!(running.tx.transmit(&mut Burst::from(out)), Ok(1));
                assert_eq!(machine.cable(0).unwrap().receive_by(LIMIT), Some(sent));

                let given = frame(Setup::mac(0), len_bytes);
                machine.cable(0).unwrap().send(&given).unwrap();
                let mut burst = Burst::new();
                wait_for(&platform, LIMIT, || (running.rx.receive(&mut burst) == Ok(1)).then_some(()))
                    .unwrap();
                let mut bytes = vec![0; len_bytes];
                assert_eq!(burst.pop().unwrap().copy_out(&mut bytes), Some(len_bytes));
                assert_eq!(bytes, given);
            }
            device = running.stop().unwrap();
            assert_eq!(pool.free(), pool.buffers());
        }
        drop(legacy::close(device.into_parts()));
        assert_eq!(platform.dma_bytes_in_use(), 0);
        machine.check().unwrap();
    }
}

#[test]
fn messages_land_in_mailboxes() {
    let Some(machine) = Machine::start_or_skip(&Setup::new(Chipset::Q35).nic("vmxnet3")) else { return };
    let mailboxes: Vec<_> = (0..3).map(|index| machine.platform().mailbox(index).unwrap()).collect();
    let messages: Vec<_> = mailboxes.iter().map(|mailbox| mailbox.message()).collect();
    let (mut running, _pool) = start(&machine, Interrupts::msix(&messages));
    let _ = running.rx.arm().unwrap();
    let _ = running.control.arm().unwrap();
    assert!(mailboxes.iter().all(|mailbox| !mailbox.take()));

    machine.cable(0).unwrap().send(&frame(Setup::mac(0), 60)).unwrap();
    wait_for(machine.platform(), LIMIT, || mailboxes[0].take().then_some(())).expect("receive interrupts");
    assert!(!mailboxes[2].take());

    machine.set_link(0, false).unwrap();
    wait_for(machine.platform(), LIMIT, || mailboxes[2].take().then_some(())).expect("the link interrupts");
    running.control.poll().unwrap();
    assert!(!running.control.link().is_up());
    running.stop().unwrap();
}

/// The lines that are up, without that of the machine's timer, which comes and goes by itself.
fn nic_lines(machine: &Machine) -> u32 {
    const TIMER: u32 = 1;
    machine.platform().lines_up() & !TIMER
}

#[test]
fn lines_go_up_and_down() {
    for chipset in BOTH {
        let Some(machine) = Machine::start_or_skip(&Setup::new(chipset).nic("vmxnet3")) else { return };
        let (mut running, _pool) = start(&machine, Interrupts::LINE);
        let idle = nic_lines(&machine);
        let _ = running.rx.arm().unwrap();
        machine.cable(0).unwrap().send(&frame(Setup::mac(0), 60)).unwrap();
        let up = wait_for(machine.platform(), LIMIT, || {
            Some(nic_lines(&machine) & !idle).filter(|lines| *lines != 0)
        });
        let up = up.expect("the line goes up");
        assert_eq!(up.count_ones(), 1, "lines {up:#x}, {idle:#x} before");
        assert!(running.control.acknowledge(), "it is ours");
        assert_eq!(nic_lines(&machine) & up, 0, "and asking lowered it");
        assert_eq!(machine.platform().line_raises(u8::try_from(up.trailing_zeros()).unwrap()), 1);
        running.stop().unwrap();
    }
}

#[test]
fn a_raised_line_stays_up_while_others_arm() {
    let Some(machine) = Machine::start_or_skip(&Setup::new(Chipset::Q35).nic("vmxnet3")) else { return };
    let (mut running, _pool) = start(&machine, Interrupts::LINE);
    let idle = nic_lines(&machine);
    for round in 0..2 {
        assert_eq!(running.rx.arm(), Ok(Armed::Idle));
        machine.cable(0).unwrap().send(&frame(Setup::mac(0), 60)).unwrap();
        let is_up = || (nic_lines(&machine) & !idle != 0).then_some(());
        wait_for(machine.platform(), LIMIT, is_up).expect("the line goes up");
        assert_eq!((running.tx.arm(), running.control.arm()), (Ok(Armed::Idle), Ok(Armed::Idle)));
        assert!(is_up().is_some(), "round {round}: whoever sleeps on it is woken");
        assert!(running.control.acknowledge());
        assert_eq!(running.rx.receive(&mut Burst::new()), Ok(1));
    }
    running.stop().unwrap();
}

#[test]
fn the_pin_works_where_messages_were_left_on_and_their_table_is_out_of_reach() {
    const ENABLE: u16 = 1 << 15;
    let Some(machine) = Machine::start_or_skip(&Setup::new(Chipset::Q35).nic("vmxnet3")) else { return };
    // Somebody was here who used the pin, and left with it raised; then somebody who switched MSI-X
    // on.
    let (mut owner, _pool) = start(&machine, Interrupts::LINE);
    let idle = nic_lines(&machine);
    let is_up = || (nic_lines(&machine) & !idle != 0).then_some(());
    assert_eq!(owner.rx.arm(), Ok(Armed::Idle));
    machine.cable(0).unwrap().send(&frame(Setup::mac(0), 60)).unwrap();
    wait_for(machine.platform(), LIMIT, is_up).expect("the line goes up");
    let at = machine.nic_address(0).unwrap();
    let msix = owner.control.device().function().find(CapabilityId::MSIX).unwrap().unwrap();
    let control = u16::from(msix.offset) + 2;
    machine.config().write16(at, control, machine.config().read16(at, control) | ENABLE);
    std::mem::forget(owner);

    // The capability says that the table is in BAR 7.
    let mut config = Patched::new(machine.config().clone());
    config.patch(at, u16::from(msix.offset) + 4, 7).unwrap();
    let function = Function::claim(config, at).unwrap();
    let device = paravane_vmxnet3::Device::new(function, machine.platform().clone()).unwrap();
    let pool = FramePool::new(machine.platform().clone(), FrameLayout::new(400)).unwrap();
    let config = paravane_vmxnet3::Config::default();
    let mut running = device.start(&config, pool.clone(), Interrupts::LINE).unwrap();
    assert_eq!(running.rx.arm(), Ok(Armed::Idle));
    machine.cable(0).unwrap().send(&frame(Setup::mac(0), 60)).unwrap();
    wait_for(machine.platform(), LIMIT, is_up).expect("the line goes up, and no message");
    running.stop().unwrap();
    assert_eq!(nic_lines(&machine) & !idle, 0, "it stopped with its pin raised");
    machine.check().expect("QEMU is alive");
}

#[test]
fn bridges_are_numbered_and_opened() {
    let setup = Setup::new(Chipset::Q35).arguments([
        "-device",
        "pcie-root-port,id=rp0,slot=1",
        "-device",
        "pcie-pci-bridge,id=b0,bus=rp0",
    ]);
    let Some(machine) = Machine::start_or_skip(&setup.nic("virtio-net-pci,bus=b0,addr=3")) else { return };
    let nic = PciAddress::new(0, 2, 3, 0).unwrap();
    assert_eq!(machine.nic_address(0), Some(nic));
    let mut paths = Vec::new();
    enumerate(machine.config(), &mut |found| {
        if let Found::Function(found) = found {
            paths.push((found.address, found.path.len()));
        }
    });
    assert!(paths.contains(&(nic, 2)), "{paths:?}");

    let mut path = Vec::new();
    enumerate(machine.config(), &mut |found| {
        if let Found::Function(found) = found
            && found.address == nic
        {
            path = found.path.to_vec();
        }
    });
    let function = Function::claim(machine.config().clone(), nic).unwrap();
    function.enable_path(&path).unwrap();
    let device = pci::open(function, machine.platform().clone(), paravane_virtio::net::Device::new);
    device.expect("registers behind two bridges answer");
    let ecam = machine.ecam().unwrap();
    assert_eq!(ecam.read32(nic, 0), machine.config().read32(nic, 0), "both ways lead to the same space");
}

#[test]
fn nobody_answers_where_nothing_is() {
    let Some(machine) = Machine::start_or_skip(&Setup::new(Chipset::Q35)) else { return };
    let nothing = machine.platform().map(paravane_hal::addr::PhysAddr::new(0xfd00_0000), 0x1000).unwrap();
    assert_eq!(nothing.read32(0x1000), u32::MAX, "outside");
    assert_eq!(nothing.read32(2), u32::MAX, "not aligned");
    let ram = machine.platform().map(paravane_hal::addr::PhysAddr::new(0x20_0000), 0x1000);
    assert!(ram.is_err(), "RAM is no register");
    assert_eq!(machine.nic_address(0), None);
}

#[test]
fn a_qemu_that_dies_is_reported_and_nothing_hangs() {
    let Some(machine) = Machine::start_or_skip(&Setup::new(Chipset::Q35).nic("vmxnet3")) else { return };
    let (mut running, pool) = start(&machine, Interrupts::POLLING);
    assert!(
        Command::new("kill").args(["-KILL", &machine.process_id().to_string()]).status().unwrap().success()
    );
    let begin = Instant::now();
    wait_for(machine.platform(), LIMIT, || {
        let _ = running.control.read_device_stats();
        machine.platform().failure()
    })
    .unwrap();
    let mut burst = Burst::new();
    let _ = running.rx.receive(&mut burst);
    send_into_the_void(&mut running, &pool);
    assert!(running.stop().is_err(), "what does not answer cannot be stopped");
    let error = machine.check().unwrap_err();
    assert!(matches!(error, QtestError::Ended { .. }), "{error}");
    assert!(error.to_string().contains("signal: 9"), "{error}");
    assert!(machine.set_link(0, false).is_err());
    assert!(begin.elapsed() < Duration::from_secs(20), "took {:?}", begin.elapsed());
}

fn send_into_the_void(running: &mut Vmxnet3, pool: &FramePool) {
    let mut burst = Burst::new();
    let mut out = pool.get().unwrap();
    assert!(out.append(&frame([0xff; 6], 60)));
    burst.push(out);
    let _ = running.tx.transmit(&mut burst);
}

#[test]
fn a_command_line_that_qemu_refuses_is_explained() {
    let error = match Machine::start(&Setup::new(Chipset::Q35).nic("no-such-nic")) {
        Err(error) if error.may_skip() => return println!("skipped: {error}"),
        other => other.map(drop).unwrap_err(),
    };
    assert!(error.to_string().contains("no-such-nic"), "{error}");
}

#[test]
fn a_machine_leaves_nothing_behind() {
    let Some(machine) = Machine::start_or_skip(&Setup::new(Chipset::Pc).nic("vmxnet3")) else { return };
    let process = format!("/proc/{}", machine.process_id());
    assert!(std::path::Path::new(&process).exists());
    assert!(machine.command_line().starts_with("qemu-system-x86_64 -machine pc"));
    assert!(Machine::qemu_version().unwrap().contains("version"));
    let platform = machine.platform().clone();
    drop(machine);
    assert!(!std::path::Path::new(&process).exists());
    assert_eq!(paravane_hal::port::PortIo::in32(&platform, 0xcfc), u32::MAX);
    assert!(platform.failure().is_some());
}
