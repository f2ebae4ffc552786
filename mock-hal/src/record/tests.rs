//! A toy device and its driver, recorded and played back.

#![allow(clippy::indexing_slicing, reason = "tests")]

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use paravane_hal::Platform;
use paravane_hal::addr::{Align, PhysAddr};
use paravane_hal::dma::{DeviceDma, DeviceTag, Direction, Dma, DmaBox, DmaRequest, Mapped, Quiet};
use paravane_hal::mmio::{Mmio, MmioMap};
use paravane_hal::time::{Clock, wait_for};
use paravane_pci::{ConfigAccess, PciAddress};

use super::*;
use crate::{DeviceModel, FunctionSpace, Memory, MockPlatform, PciHost, Width};

const START: PhysAddr = PhysAddr::new(0xfebf_0000);
const ADDR_LOW: usize = 0x0;
const ADDR_HIGH: usize = 0x4;
const DOORBELL: usize = 0x8;
const STATUS: usize = 0xc;

/// Copies what it finds at its address one place further on, each byte one more; busy for a few
/// looks at its status.
struct Toy {
    memory: Memory,
    addr: u64,
    busy: u32,
}

impl DeviceModel for Toy {
    fn read(&mut self, _bar: u8, offset_bytes: usize, _width: Width) -> u32 {
        assert_eq!(offset_bytes, STATUS);
        self.busy = self.busy.saturating_sub(1);
        if self.busy == 0 { 1 } else { 0 }
    }

    fn write(&mut self, _bar: u8, offset_bytes: usize, _width: Width, value: u32) {
        match offset_bytes {
            ADDR_LOW => self.addr = u64::from(value),
            ADDR_HIGH => self.addr |= u64::from(value) << 32,
            DOORBELL => {
                let asked: [u8; 16] = self.memory.device_get(self.addr).unwrap();
                self.memory.device_write(self.addr + 16, &asked.map(|byte| byte.wrapping_add(1))).unwrap();
                self.busy = value;
            }
            _ => panic!("no such register"),
        }
    }
}

fn machine() -> (MockPlatform, PciHost) {
    let platform = MockPlatform::new();
    let toy = Toy { memory: platform.memory().clone(), addr: 0, busy: 0 };
    platform.attach(START, 0x1000, Arc::new(Mutex::new(toy)), 0);
    let config = PciHost::default();
    let function = FunctionSpace::endpoint(0x1234, 0x5678, 2).memory_bar(0, 0xfebf_0000, 0x1000);
    config.insert(at(), function);
    (platform, config)
}

fn at() -> PciAddress {
    PciAddress::new(0, 0, 3, 0).unwrap()
}

/// What the driver of a toy does differently from time to time.
#[derive(Clone, Copy)]
struct Habits {
    polls: u32,
    first_looks: u32,
    doorbell: u32,
    before: usize,
}

const USUAL: Habits = Habits { polls: 7, first_looks: 0, doorbell: 7, before: 0 };

/// A driver: claims, shows the device its memory, asks, waits, reads the answer.
fn drive<P: Platform>(platform: &P, config: &impl ConfigAccess, habits: Habits) -> Option<[u8; 16]> {
    if config.read32(at(), 0) != 0x5678_1234 {
        return None;
    }
    let bar = config.read32(at(), 0x10);
    config.write32(at(), 0x10, u32::MAX);
    config.write32(at(), 0x10, bar);
    for _ in 0..habits.first_looks {
        platform.now();
    }
    let regs = MmioMap::map(platform, PhysAddr::new(bar.into()), 0x100).ok()?;
    let of = DeviceDma::new(platform.clone(), DeviceTag::unique(), 64);
    let mut shared = DmaBox::<[u8; 48], _>::zeroed(&of, Align::new(64)).ok()?;
    let mut bytes = [0; 48];
    bytes[habits.before..habits.before + 16].copy_from_slice(b"0123456789abcdef");
    shared.write(&bytes);
    regs.write64_halves(ADDR_LOW, shared.dma_addr().get() + habits.before as u64);
    regs.write32(DOORBELL, habits.doorbell);
    let mut polls = 0;
    let done = wait_for(platform, Duration::from_millis(50), || {
        polls += 1;
        (regs.read32(STATUS) == 1 || polls > habits.polls).then_some(())
    });
    let answer = shared.read();
    // SAFETY: a toy reaches memory only when its doorbell rings.
    #[expect(unsafe_code, reason = "vouches for a toy")]
    let quiet = unsafe { Quiet::vouch(of.device()) };
    assert!(shared.free(&quiet).is_ok());
    done.ok()?;
    answer[habits.before + 16..habits.before + 32].try_into().ok()
}

fn record() -> Recording {
    let (platform, config) = machine();
    let recorder = Recorder::new(platform);
    let config = recorder.config(config);
    recorder.step("ask once");
    assert_eq!(drive(&recorder, &config, USUAL), Some(*b"123456789:bcdefg"));
    recorder.give(b"\xff\xff");
    recorder.take(&[0; 64]);
    recorder.interrupt(3);
    recorder.finish(&[("device", "toy"), ("made by", "a test\nof two lines")]).unwrap()
}

/// Plays it back to a driver with `habits`; outside it goes as recorded.
fn replay(recording: &Recording, habits: Habits) -> Result<Option<[u8; 16]>, Divergence> {
    let replayer = Replayer::lenient(recording.clone());
    replayer.step("ask once");
    let answer = drive(&replayer, &replayer.config(), habits);
    replayer.give(b"\xff\xff");
    let _ = (replayer.take(), replayer.interrupt());
    match replayer.finish() {
        Ok(()) => Ok(answer),
        Err(_) => Err(difference(&replayer)),
    }
}

/// The end of a playing back that does not go as recorded.
fn difference(replayer: &Replayer) -> Divergence {
    match replayer.finish().unwrap_err() {
        ReplayError::Divergence(divergence) => divergence,
        ReplayError::Memory(wrong) => panic!("{wrong:?}"),
    }
}

/// As [`replay`], to the end.
fn replay_whole(recording: &Recording, habits: Habits) -> Option<[u8; 16]> {
    let replayer = Replayer::new(recording.clone());
    let config = replayer.config();
    replayer.step("ask once");
    let answer = drive(&replayer, &config, habits);
    assert_eq!(replayer.interrupt(), None);
    replayer.give(b"\xff\xff");
    assert_eq!(replayer.take(), Some(vec![0; 64]));
    assert_eq!(replayer.take(), None);
    assert_eq!(replayer.interrupt(), Some(3));
    replayer.finish().unwrap();
    answer
}

const TEXT: &str = "\
paravane-recording 2
device: toy
made-by: a test of two lines
limits: segment any bits 64 granule 1
config: 256 bytes segment 0 buses 0-0

step ask once
config 00:03.0 read32 0x00 = 0x56781234
config 00:03.0 read32 0x10 = 0xfebf0000
config 00:03.0 write32 0x10 = 0xffffffff
config 00:03.0 write32 0x10 = 0xfebf0000
map bar0+0x0 at 0xfebf0000 256
alloc mem0 48 align 64 bits 64
write32 bar0+0x0 = low mem0+0x0
write32 bar0+0x4 = high mem0+0x0
write32 bar0+0x8 = 0x7
device mem0+0x10 = 3132333435363738393a626364656667
read32 bar0+0xc = 0x0 times 6
read32 bar0+0xc = 0x1
free mem0
give ffff
take 00*64
interrupt 3
end 17 0xe74250e0
";

#[test]
fn a_recording_reads_like_what_happened() {
    assert_eq!(record().to_string(), TEXT);
}

#[test]
fn text_goes_there_and_back() {
    let read = Recording::parse(TEXT).unwrap();
    assert_eq!(read.entries(), record().entries());
    assert_eq!(read.provenance_of("device"), Some("toy"));
    assert_eq!(Recording::parse(&read.to_string()).unwrap().entries(), read.entries());
}

#[test]
fn the_same_driver_finds_the_same_device() {
    assert_eq!(replay_whole(&record(), USUAL), Some(*b"123456789:bcdefg"));
}

#[test]
fn looks_and_polls_are_free() {
    for habits in [Habits { first_looks: 40, ..USUAL }, Habits { polls: 30, ..USUAL }] {
        assert_eq!(replay_whole(&record(), habits), Some(*b"123456789:bcdefg"));
    }
}

#[test]
fn what_a_driver_writes_is_compared() {
    let difference = replay(&record(), Habits { doorbell: 9, ..USUAL }).unwrap_err();
    assert_eq!(difference.line, 16);
    assert_eq!(
        difference.to_string(),
        "\
the driver left the recording at line 16
    expected: write32 bar0+0x8 = 0x7
         got: write32 bar0+0x8 = 0x9
           11  config 00:03.0 write32 0x10 = 0xfebf0000
           12  map bar0+0x0 at 0xfebf0000 256
           13  alloc mem0 48 align 64 bits 64
           14  write32 bar0+0x0 = low mem0+0x0
           15  write32 bar0+0x4 = high mem0+0x0
     -     16  write32 bar0+0x8 = 0x7
     +         write32 bar0+0x8 = 0x9
           17  device mem0+0x10 = 3132333435363738393a626364656667
           18  read32 bar0+0xc = 0x0 times 6
           19  read32 bar0+0xc = 0x1
           20  free mem0
           21  give ffff
"
    );
}

#[test]
fn addresses_are_compared_by_name() {
    let difference = replay(&record(), Habits { before: 8, ..USUAL }).unwrap_err();
    assert_eq!(difference.expected.as_deref(), Some("write32 bar0+0x0 = low mem0+0x0"));
    assert_eq!(difference.got, "write32 bar0+0x0 = low mem0+0x8");
}

#[test]
fn what_is_left_out_is_found() {
    let replayer = Replayer::lenient(record());
    assert_eq!(difference(&replayer).got, "(nothing more)");
    // Stops polling too soon: sees no answer, and leaves the last read out.
    let difference = replay(&record(), Habits { polls: 0, ..USUAL }).unwrap_err();
    assert_eq!(difference.expected.as_deref(), Some("read32 bar0+0xc = 0x1"));
    assert_eq!(difference.got, "free mem0 (recorded after this access)");
}

#[test]
fn a_driver_that_went_astray_meets_a_device_that_is_gone() {
    let replayer = Replayer::lenient(record());
    let regs = MmioMap::map(&replayer, START, 0x100).unwrap();
    assert_eq!(regs.read32(STATUS), u32::MAX);
    assert_eq!(regs.read8(STATUS), u8::MAX);
    assert!(wait_for(&replayer, Duration::from_secs(2), || None::<()>).is_err(), "time goes on");
    assert!(MmioMap::map(&replayer, PhysAddr::new(0x1000), 4).is_err());
    assert_eq!(difference(&replayer).got, "read32 bar0+0xc", "the first difference stays");
}

#[test]
#[should_panic(expected = "the driver left the recording at line 7")]
fn a_difference_fails_the_test() {
    Replayer::new(record()).step("something else");
}

#[test]
fn memory_in_other_sizes_is_a_difference() {
    let replayer = Replayer::lenient(record());
    let of = DeviceDma::new(replayer.clone(), DeviceTag::unique(), 64);
    assert!(DmaBox::<[u8; 64], _>::zeroed(&of, Align::new(64)).is_err());
    let got = difference(&replayer).got;
    assert_eq!(got, "alloc 64 align 64 bits 64 (nowhere in the recording)");
}

#[test]
fn what_a_device_writes_by_itself_is_seen_at_a_look() {
    let platform = MockPlatform::new();
    let recorder = Recorder::new(platform.clone());
    let of = DeviceDma::new(recorder.clone(), DeviceTag::unique(), 64);
    let mut shared = DmaBox::<[u32; 4], _>::zeroed(&of, Align::BYTE).unwrap();
    let addr = shared.dma_addr().get();
    shared.write(&[1, 2, 3, 4]);
    platform.memory().device_write(addr + 4, &[9, 9, 9, 9]).unwrap();
    assert_eq!(shared.read(), [1, 2, 3, 4], "nothing was asked since");
    // Both wrote; each keeps what is its own.
    recorder.now();
    assert_eq!(shared.read()[2], 3);
    assert_eq!(platform.memory().device_get::<4>(addr), Ok([1, 0, 0, 0]));
    platform.memory().device_write(addr + 12, &[7, 7, 7, 7]).unwrap();
    recorder.relax();
    recorder.relax();
    assert_eq!(shared.read()[3], 0x0707_0707);
    // Nothing stops this device, so its memory stays out.
    platform.memory().expect_leak(Some(1));
    let text = recorder.finish(&[]).unwrap().to_string();
    assert!(text.contains("look\ndevice mem0+0xc = 07070707\nend"), "{text}");
}

#[test]
fn lent_memory_comes_back_as_it_did() {
    let platform = MockPlatform::new();
    let recorder = Recorder::new(platform.clone());
    let of = DeviceDma::new(recorder.clone(), DeviceTag::unique(), 64);
    let lent = Mapped::new(&of, vec![0_u8; 40], Direction::FromDevice).ok().unwrap();
    platform.memory().device_write(lent.dma_addr().get() + 4, &[5; 20]).unwrap();
    // SAFETY: the device is this test.
    #[expect(unsafe_code, reason = "vouches for a test")]
    let quiet = unsafe { Quiet::vouch(of.device()) };
    let seen = lent.unmap(&quiet).ok().unwrap();
    let recording = recorder.finish(&[]).unwrap();
    assert_eq!(recording.entries().len(), 3);

    let replayer = Replayer::new(recording);
    let of = DeviceDma::new(replayer.clone(), DeviceTag::unique(), 64);
    let lent = Mapped::new(&of, vec![0_u8; 40], Direction::FromDevice).ok().unwrap();
    // SAFETY: as above.
    #[expect(unsafe_code, reason = "vouches for a test")]
    let quiet = unsafe { Quiet::vouch(of.device()) };
    assert_eq!(lent.unmap(&quiet).ok().unwrap(), seen);
    replayer.finish().unwrap();
}

#[test]
fn what_no_device_could_have_written_is_a_difference() {
    let text = "paravane-recording 2\nlend mem0 8 to-device\nlook\ndevice mem0+0x0 = 01\nreturn mem0\n";
    let replayer = Replayer::lenient(Recording::parse_edited(text).unwrap());
    let of = DeviceDma::new(replayer.clone(), DeviceTag::unique(), 64);
    let lent = Mapped::new(&of, vec![0_u8; 8], Direction::ToDevice).ok().unwrap();
    replayer.relax();
    // SAFETY: the device is this test.
    #[expect(unsafe_code, reason = "vouches for a test")]
    let quiet = unsafe { Quiet::vouch(of.device()) };
    assert_eq!(lent.unmap(&quiet).ok().unwrap(), [0; 8]);
    assert_eq!(difference(&replayer).got, "(the driver's mem0 is not the device's to write)");

    let text = "paravane-recording 2\nalloc mem0 8 bits 64\nlook\ndevice mem0+0x8 = 01\n";
    let replayer = Replayer::lenient(Recording::parse_edited(text).unwrap());
    let of = DeviceDma::new(replayer.clone(), DeviceTag::unique(), 64);
    let shared = DmaBox::<[u8; 8], _>::zeroed(&of, Align::BYTE).unwrap();
    replayer.relax();
    assert_eq!(difference(&replayer).got, "(the driver's mem0 is shorter)");
    drop(shared);
}

/// Claims that the device of `dma` is at rest.
fn quiet(dma: &DeviceDma<Replayer>) -> Quiet<'_> {
    // SAFETY: nothing but a recording writes to memory here.
    #[expect(unsafe_code, reason = "vouches for a test")]
    unsafe {
        Quiet::vouch(dma.device())
    }
}

#[test]
fn memory_goes_back_after_the_access_that_stopped_the_device() {
    let recording = Recording::parse_edited(
        "paravane-recording 2
         map mmio0+0x0 at 0x1000 4
         alloc mem0 8 bits 64
         lend mem1 8 to-device
         write32 mmio0+0x0 = 0x1
         return mem1
         free mem0",
    )
    .unwrap();
    // Which of the two goes back too early, if one does.
    for (free_early, return_early) in [(false, false), (true, false), (false, true)] {
        let replayer = Replayer::lenient(recording.clone());
        let regs = MmioMap::map(&replayer, PhysAddr::new(0x1000), 4).unwrap();
        let of = DeviceDma::new(replayer.clone(), DeviceTag::unique(), 64);
        let mut shared = Some(DmaBox::<[u8; 8], _>::zeroed(&of, Align::BYTE).unwrap());
        let mut lent = Mapped::new(&of, vec![0_u8; 8], Direction::ToDevice).ok();
        if free_early {
            assert!(shared.take().unwrap().free(&quiet(&of)).is_ok());
        }
        if return_early {
            assert!(lent.take().unwrap().unmap(&quiet(&of)).is_ok());
        }
        regs.write32(0, 1);
        assert!(shared.is_none_or(|shared| shared.free(&quiet(&of)).is_ok()));
        assert!(lent.is_none_or(|lent| lent.unmap(&quiet(&of)).is_ok()));
        if !(free_early || return_early) {
            replayer.finish().unwrap();
            continue;
        }
        let difference = difference(&replayer);
        assert_eq!(difference.expected.as_deref(), Some("write32 mmio0+0x0 = 0x1"));
        let early = if free_early { "free mem0" } else { "return mem1" };
        assert_eq!(difference.got, format!("{early} (recorded after this access)"));
    }
}

#[test]
fn a_driver_that_writes_past_its_memory_is_found() {
    let text = "paravane-recording 2\nalloc mem0 8 bits 64\nfree mem0\n";
    let replayer = Replayer::new(Recording::parse_edited(text).unwrap());
    let region = replayer.alloc(DmaRequest::new(NonZeroUsize::new(8).unwrap(), Align::BYTE)).unwrap();
    let behind = region.cpu().as_ptr().wrapping_add(8);
    // SAFETY: the byte behind a region is a guard, of the same heap block.
    #[expect(unsafe_code, reason = "a driver that breaks the rules")]
    unsafe {
        behind.write(7);
    }
    // SAFETY: the region is from there, and no device has it.
    #[expect(unsafe_code, reason = "as a driver's memory does")]
    unsafe {
        replayer.free(region);
    }
    let ReplayError::Memory(wrong) = replayer.finish().unwrap_err() else { panic!("it did as recorded") };
    assert!(wrong[0].starts_with("a guard byte was overwritten at offset 8 of region #1"), "{wrong:?}");
}

#[test]
fn what_firmware_left_is_read_from_the_recording() {
    let recorder = Recorder::new(MockPlatform::new());
    recorder.firmware(PhysAddr::new(0xf_5a40), b"RSD PTR and so on");
    let recording = recorder.finish(&[]).unwrap();
    let mut bytes = [0; 3];
    assert!(recording.read_firmware(PhysAddr::new(0xf_5a44), &mut bytes));
    assert_eq!(&bytes, b"PTR");
    for from in [0xf_5a3f, 0xf_5a4f, u64::MAX] {
        assert!(!recording.read_firmware(PhysAddr::new(from), &mut bytes));
    }
    Replayer::new(recording).finish().unwrap();
}

#[test]
fn every_damaged_text_has_an_error_with_a_line() {
    let error = |text: &str| Recording::parse(text).unwrap_err();
    assert_eq!(error("").to_string(), "line 1: not a recording, which begins with `paravane-recording 2`");
    assert_eq!(
        error(&TEXT.replace("recording 2", "recording 3")).to_string(),
        "line 1: a recording of version 3; this is a reader of version 2"
    );
    assert_eq!(
        error(&TEXT.replace("0x8 = 0x7", "0x8 = 7x")).to_string(),
        "line 16: expected `read32 NAME+OFFSET = VALUE`, found `write32 bar0+0x8 = 7x`"
    );
    assert_eq!(
        error(&TEXT.replace("= 0x0 times 6", "= 0x2 times 6")).to_string(),
        "line 24: the recording was edited: `end` sums up lines to 0xe74250e0, these give 0xc48ed99b"
    );
    assert_eq!(
        error(&TEXT.replace("end 17 ", "end 17")).to_string(),
        "line 24: expected `end COUNT CRC32`, found `end 170xe74250e0`"
    );
    assert_eq!(
        error(&TEXT.replace("free mem0\n", "")).to_string(),
        "line 23: the recording was edited: `end` counts 17 entries, there are 16"
    );
    assert_eq!(error(&format!("{TEXT}look\n")).reason, ParseReason::AfterEnd);
    let lines: Vec<&str> = TEXT.lines().collect();
    for kept in 1..lines.len() {
        let error = error(&lines[..kept].join("\n"));
        assert!(matches!(error.reason, ParseReason::Truncated { .. }), "{kept} lines: {error}");
    }
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn with_byte(at: usize, byte: u8) -> String {
        let mut bytes = TEXT.as_bytes().to_vec();
        bytes[at] = byte;
        String::from_utf8(bytes).unwrap()
    }

    /// What a driver has to write.
    fn writes(recording: &Recording) -> Vec<Access> {
        let write = |entry: &Entry| match entry {
            Entry::Access(access) if access.operation == Operation::Write => Some(access.clone()),
            _ => None,
        };
        let mut writes: Vec<_> = recording.entries().iter().filter_map(write).collect();
        for access in &mut writes {
            // Where in the memory makes no difference to the upper half.
            if let Value::High(place) = &mut access.value {
                place.offset_bytes = 0;
            }
        }
        writes
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

        /// A text cut anywhere is an error, and so is one with another byte in it, unless that says
        /// the same.
        #[test]
        fn damaged_text_is_found(cut in 0..TEXT.len(), at in 0..TEXT.len(), byte in 9_u8..127) {
            prop_assert!(Recording::parse(&TEXT[..cut]).is_err() || cut + 1 >= TEXT.len());
            if let Ok(read) = Recording::parse(&with_byte(at, byte)) {
                prop_assert_eq!(read.to_string(), TEXT);
            }
        }

        /// Whatever a recording says, a driver that meets it comes to its end, and to a good one
        /// only where it did as recorded.
        #[test]
        fn a_damaged_recording_is_survived(at in 0..TEXT.len(), byte in 9_u8..127) {
            if let Ok(damaged) = Recording::parse_edited(&with_byte(at, byte)) {
                let played = replay(&damaged, USUAL);
                prop_assert!(played.is_err() || writes(&damaged) == writes(&record()), "{}", damaged);
                let again = Recording::parse(&damaged.to_string()).unwrap();
                prop_assert_eq!(again.entries(), damaged.entries());
            }
        }

        /// What is written is read.
        #[test]
        fn entries_go_there_and_back(
            offset_bytes in any::<usize>(),
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
            value in any::<u32>(),
            times in 1..u32::MAX,
            port in any::<u16>(),
            vector in any::<u16>(),
        ) {
            let place = Place { name: "mmio3@00:04.0".to_owned(), offset_bytes };
            let read = |space, value| Entry::Access(Access {
                operation: Operation::Read, width: Width::Half, space, value, times,
            });
            let entries = [
                Entry::Device { memory: value, offset_bytes, bytes: bytes.clone() },
                Entry::Firmware { start: u64::from(value), bytes: bytes.clone() },
                Entry::Take(bytes),
                Entry::Interrupt { vector },
                Entry::Map { place: place.clone(), start: offset_bytes as u64, len_bytes: offset_bytes },
                read(Space::Port(port), Value::Number(value)),
                read(Space::Config { at: PciAddress::from_devfn(port, 7, 9), offset: port }, Value::Number(value)),
                read(Space::Register(place.clone()), Value::High(place)),
            ];
            let text: String = entries.iter().map(|entry| format!("{entry}\n")).collect();
            let read = Recording::parse_edited(&format!("paravane-recording 2\n{text}")).unwrap();
            prop_assert_eq!(read.entries(), entries.as_slice());
        }
    }
}
