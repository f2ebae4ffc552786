//! A toy device, its driver, and their tests: all there is to testing a driver of your own.
//!
//! The device is an adder on PCI. The driver puts numbers into shared memory, tells the device
//! where they are, and rings; the device writes the sum behind them. `docs/testing-your-driver.md`
//! walks through this file.

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use paravane_hal::Platform;
use paravane_hal::addr::Align;
use paravane_hal::dma::{DeviceDma, Direction, DmaBox};
use paravane_hal::mmio::Mmio;
use paravane_hal::time::wait_for;
use paravane_mock_hal::pci::machine::{Machine, QEMU_PC};
use paravane_mock_hal::{DeviceMemory, DeviceModel, FunctionSpace, MockPlatform, Width};
use paravane_pci::{Command, ConfigAccess, Function, PciAddress};

/// How many numbers fit.
const NUMBERS: usize = 6;
/// What both sides share: count, numbers, sum, and a word that the device sets when it is done.
type Shared = [u32; NUMBERS + 3];
const SUM: usize = NUMBERS + 1;
const DONE: usize = NUMBERS + 2;

// Registers, in bytes from the start of BAR 0.
const ADDRESS_LOW: usize = 0x00;
const ADDRESS_HIGH: usize = 0x04;
const DOORBELL: usize = 0x08;

// --- The driver: knows the HAL traits, and neither the mock nor any other platform. ---

/// Why there is no sum.
#[derive(Debug, PartialEq)]
enum AdderError {
    /// More numbers than fit.
    TooMany(usize),
    /// The device did not finish in time.
    Silent,
    /// The device said that it was done in a way that it cannot be.
    BadDone(u32),
}

struct Adder<P: Platform, C: ConfigAccess> {
    function: Function<C>,
    platform: P,
    registers: P::Region,
    shared: DmaBox<Shared, P>,
}

impl<P: Platform, C: ConfigAccess> Adder<P, C> {
    fn start(mut function: Function<C>, platform: P) -> Result<Self, Box<dyn Error>> {
        let registers = function.map_bar(&platform, 0, 0x10)?;
        let dma = DeviceDma::new(platform.clone(), function.tag(), 64);
        let shared = DmaBox::zeroed(&dma, Align::new(64))?;
        function.enable(Command::MEMORY | Command::BUS_MASTER)?;
        registers.write32(ADDRESS_LOW, shared.dma_addr().low());
        registers.write32(ADDRESS_HIGH, shared.dma_addr().high());
        Ok(Self { function, platform, registers, shared })
    }

    fn sum(&mut self, numbers: &[u32]) -> Result<u32, AdderError> {
        let too_many = AdderError::TooMany(numbers.len());
        let count = u32::try_from(numbers.len()).ok().filter(|_| numbers.len() <= NUMBERS).ok_or(too_many)?;
        let mut request: Shared = [0; NUMBERS + 3];
        request[0] = count;
        request[1..=numbers.len()].copy_from_slice(numbers);
        self.shared.write(&request);
        self.registers.write32(DOORBELL, 1);
        // Read as a whole, once; what the device writes afterwards changes nothing here.
        let finished = || Some(self.shared.read()).filter(|shared| shared[DONE] != 0);
        let answer = wait_for(&self.platform, Duration::from_secs(1), finished);
        let answer = answer.map_err(|_| AdderError::Silent)?;
        if answer[DONE] == 1 { Ok(answer[SUM]) } else { Err(AdderError::BadDone(answer[DONE])) }
    }

    /// Gives everything back. Memory goes only against the proof that the device has let go.
    fn stop(mut self) -> Result<(), Box<dyn Error>> {
        let quiet = self.function.quiesce(&self.platform)?;
        self.shared.free(&quiet).map_err(|_| "a proof about another device")?;
        Ok(())
    }
}

// --- The device, written from its manual and not from its driver. It can be told to misbehave. ---

#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Honest,
    NeverFinishes,
    FinishesOddly,
    WritesTooFar,
}

struct AdderModel {
    memory: DeviceMemory,
    mood: Mood,
    address: u64,
}

impl AdderModel {
    fn add(&self) -> Option<()> {
        // A refused access has been written down, and on a strict platform has ended the test.
        let numbers = self.memory.take(self.address, SUM * 4, Direction::ToDevice).ok()?;
        let shared = self.memory.get::<{ size_of::<Shared>() }>(self.address).ok()?;
        let words =
            shared.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        let count = words.clone().next()? as usize;
        let sum = words.skip(1).take(count.min(NUMBERS)).fold(0, u32::wrapping_add);
        let shift = if self.mood == Mood::WritesTooFar { 64 } else { 0 };
        self.memory.write(self.address + shift + SUM as u64 * 4, &sum.to_le_bytes()).ok()?;
        self.memory.give_back(&numbers);
        let done: u32 = match self.mood {
            Mood::NeverFinishes => 0,
            Mood::FinishesOddly => 0x8000_0000,
            _ => 1,
        };
        self.memory.write(self.address + DONE as u64 * 4, &done.to_le_bytes()).ok()
    }
}

impl DeviceModel for AdderModel {
    fn read(&mut self, _bar: u8, _offset_bytes: usize, _width: Width) -> u32 {
        0
    }

    fn write(&mut self, _bar: u8, offset_bytes: usize, width: Width, value: u32) {
        assert_eq!(width, Width::Word, "the manual wants 32-bit accesses");
        match offset_bytes {
            ADDRESS_LOW => self.address = self.address & !0xffff_ffff | u64::from(value),
            ADDRESS_HIGH => self.address = self.address & 0xffff_ffff | u64::from(value) << 32,
            DOORBELL => drop(self.add()),
            _ => unreachable!("no register at {offset_bytes:#x}"),
        }
    }
}

// --- A machine for both, and what they do in it. ---

/// Plugs an adder into a machine.
fn plug(platform: &MockPlatform, machine: Machine, mood: Mood) -> PciAddress {
    machine.build(platform.pci());
    let address = machine.address(0);
    let space = FunctionSpace::endpoint(0x1234, 0x0add, 0x12).bar(platform.pci().high_bar(0, 0x1000));
    platform.pci().insert(address, space);
    let memory = platform.pci().device(address).memory(platform.memory(), "adder");
    let model = AdderModel { memory, mood, address: 0 };
    platform.pci().connect(address, Arc::new(Mutex::new(model)));
    address
}

type Outcome = Result<Result<u32, AdderError>, Box<dyn Error>>;

/// The life of a driver, on any platform.
fn add<P: Platform, C: ConfigAccess>(platform: &P, config: C, at: PciAddress, numbers: &[u32]) -> Outcome {
    let mut adder = Adder::start(Function::claim(config, at)?, platform.clone())?;
    let sum = adder.sum(numbers);
    adder.stop()?;
    Ok(sum)
}

fn run(machine: Machine, mood: Mood, numbers: &[u32]) -> Outcome {
    let platform = MockPlatform::new();
    let address = plug(&platform, machine, mood);
    let sum = add(&platform, platform.pci().clone(), address, numbers);
    // Everything came back, nothing was written where it must not be.
    platform.finish();
    sum
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("1 + 2 + 3, honest device:    {:?}", run(QEMU_PC, Mood::Honest, &[1, 2, 3])?);
    println!("a device that never ends:    {:?}", run(QEMU_PC, Mood::NeverFinishes, &[1])?);
    println!("a device that ends oddly:    {:?}", run(QEMU_PC, Mood::FinishesOddly, &[1])?);
    println!("a device that writes too far, which is where a test ends:");
    drop(std::panic::catch_unwind(|| run(QEMU_PC, Mood::WritesTooFar, &[1]).ok()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_mock_hal::ChangingLoads;
    use paravane_mock_hal::pci::machine::MACHINES;
    use paravane_mock_hal::record::{Recorder, Recording, Replayer};

    #[test]
    fn numbers_are_added_on_every_machine() {
        for machine in MACHINES {
            assert_eq!(run(machine, Mood::Honest, &[1, 2, 3]).unwrap(), Ok(6), "{}", machine.name);
        }
    }

    #[test]
    fn none_and_all_are_added() {
        assert_eq!(run(QEMU_PC, Mood::Honest, &[]).unwrap(), Ok(0));
        assert_eq!(run(QEMU_PC, Mood::Honest, &[1; 6]).unwrap(), Ok(6));
    }

    #[test]
    fn too_many_are_refused() {
        assert_eq!(run(QEMU_PC, Mood::Honest, &[1; 7]).unwrap(), Err(AdderError::TooMany(7)));
        assert_eq!(run(QEMU_PC, Mood::Honest, &[1; 70]).unwrap(), Err(AdderError::TooMany(70)));
    }

    #[test]
    fn a_device_that_misbehaves_is_survived() {
        assert_eq!(run(QEMU_PC, Mood::NeverFinishes, &[1]).unwrap(), Err(AdderError::Silent));
        assert_eq!(run(QEMU_PC, Mood::FinishesOddly, &[1]).unwrap(), Err(AdderError::BadDone(0x8000_0000)));
    }

    #[test]
    #[should_panic(expected = "device `adder` wrote 4 bytes")]
    fn a_device_out_of_bounds_ends_the_test() {
        let _ = run(QEMU_PC, Mood::WritesTooFar, &[1]);
    }

    #[test]
    #[should_panic(expected = "out: region #1 (36 bytes, coherent, owned by both; asked for by toy::Adder")]
    fn a_driver_that_is_never_stopped_is_found() {
        let platform = MockPlatform::new();
        let address = plug(&platform, QEMU_PC, Mood::Honest);
        let function = Function::claim(platform.pci().clone(), address).unwrap();
        drop(Adder::start(function, platform.clone()));
        platform.finish();
    }

    /// The toy has no ring: what it shares is read as a whole, once. So there is nothing to change.
    #[test]
    fn no_word_is_loaded_twice() {
        for seed in 0..10 {
            let loads = ChangingLoads::armed(seed).telling(|change| println!("{change:?}"));
            assert_eq!(run(QEMU_PC, Mood::Honest, &[1, 2, 3]).unwrap(), Ok(6));
            assert_eq!(loads.again(), 0);
        }
    }

    #[test]
    #[should_panic(expected = "bus mastering is off")]
    fn a_driver_that_forgets_bus_mastering_is_found() {
        let platform = MockPlatform::new();
        let address = plug(&platform, QEMU_PC, Mood::Honest);
        let function = Function::claim(platform.pci().clone(), address).unwrap();
        let mut adder = Adder::start(function, platform.clone()).unwrap();
        platform.pci().write16(address, 0x04, Command::MEMORY.bits());
        assert_eq!(adder.sum(&[1]), Err(AdderError::Silent), "the bus drops what the device tries");
        adder.stop().unwrap();
        platform.finish();
    }

    #[test]
    fn an_allocation_that_fails_leaves_nothing_behind() {
        let starts = |nth: &u64| {
            let platform = MockPlatform::builder().fail_allocation(*nth).build();
            let address = plug(&platform, QEMU_PC, Mood::Honest);
            let sum = add(&platform, platform.pci().clone(), address, &[1]);
            platform.finish();
            sum.is_ok()
        };
        assert_eq!((1..).find(starts), Some(2), "one allocation, and it can fail");
    }

    #[test]
    fn what_was_recorded_is_played_back() {
        let platform = MockPlatform::new();
        let address = plug(&platform, QEMU_PC, Mood::Honest);
        let recorder = Recorder::new(platform.clone());
        recorder.step("add");
        let sum = add(&recorder, recorder.config(platform.pci().clone()), address, &[1, 2]);
        assert_eq!(sum.unwrap(), Ok(3));
        let text = recorder.finish(&[("device", "adder, revision 1")]).unwrap().to_string();

        let replayer = Replayer::new(Recording::parse(&text).unwrap());
        replayer.step("add");
        let sum = add(&replayer, replayer.config(), address, &[1, 2]);
        assert_eq!(sum.unwrap(), Ok(3));
        replayer.finish().unwrap();
    }
}
