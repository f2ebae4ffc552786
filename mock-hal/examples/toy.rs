//! A toy device, its driver, and their tests: all there is to testing a driver of your own.
//!
//! The device is an adder on PCI. The driver puts numbers into shared memory, tells the device where they are, and rings; the
//! device writes the sum behind them. `docs/testing-your-driver.md` walks through this file.

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use paravane_hal::Platform;
use paravane_hal::addr::Align;
use paravane_hal::dma::{DeviceDma, DmaBox};
use paravane_hal::mmio::Mmio;
use paravane_hal::time::wait_for;
use paravane_mock_hal::{DeviceMemory, DeviceModel, FunctionSpace, MockPlatform, Width};
use paravane_pci::{ClaimError, Command, ConfigAccess, Function, PciAddress};

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
        let shared = self.memory.get::<{ size_of::<Shared>() }>(self.address).ok()?;
        let words =
            shared.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        let count = words.clone().next()? as usize;
        let sum = words.skip(1).take(count.min(NUMBERS)).fold(0, u32::wrapping_add);
        let shift = if self.mood == Mood::WritesTooFar { 64 } else { 0 };
        self.memory.write(self.address + shift + SUM as u64 * 4, &sum.to_le_bytes()).ok()?;
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

fn machine(mood: Mood) -> Result<(MockPlatform, Function<impl ConfigAccess>), ClaimError> {
    let platform = MockPlatform::new();
    let address = PciAddress::from_devfn(0, 0, 3 << 3);
    let space = FunctionSpace::endpoint(0x1234, 0x0add, 0x12).memory_bar(0, 0xfeb0_0000, 0x1000);
    platform.pci().insert(address, space);
    let memory = platform.pci().device(address).memory(platform.memory(), "adder");
    let model = AdderModel { memory, mood, address: 0 };
    platform.pci().connect(address, Arc::new(Mutex::new(model)));
    let function = Function::claim(platform.pci().clone(), address)?;
    Ok((platform, function))
}

fn run(mood: Mood, numbers: &[u32]) -> Result<Result<u32, AdderError>, Box<dyn Error>> {
    let (platform, function) = machine(mood)?;
    let mut adder = Adder::start(function, platform.clone())?;
    let sum = adder.sum(numbers);
    adder.stop()?;
    // Everything came back, nothing was written where it must not be.
    platform.finish();
    Ok(sum)
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("1 + 2 + 3, honest device:    {:?}", run(Mood::Honest, &[1, 2, 3])?);
    println!("a device that never ends:    {:?}", run(Mood::NeverFinishes, &[1])?);
    println!("a device that ends oddly:    {:?}", run(Mood::FinishesOddly, &[1])?);
    println!("a device that writes too far, which is where a test ends:");
    drop(std::panic::catch_unwind(|| run(Mood::WritesTooFar, &[1]).ok()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_added() {
        assert_eq!(run(Mood::Honest, &[1, 2, 3]).unwrap(), Ok(6));
        assert_eq!(run(Mood::Honest, &[]).unwrap(), Ok(0));
        assert_eq!(run(Mood::Honest, &[1; 6]).unwrap(), Ok(6));
    }

    #[test]
    fn too_many_are_refused() {
        assert_eq!(run(Mood::Honest, &[1; 7]).unwrap(), Err(AdderError::TooMany(7)));
        assert_eq!(run(Mood::Honest, &[1; 70]).unwrap(), Err(AdderError::TooMany(70)));
    }

    #[test]
    fn a_device_that_misbehaves_is_survived() {
        assert_eq!(run(Mood::NeverFinishes, &[1]).unwrap(), Err(AdderError::Silent));
        assert_eq!(run(Mood::FinishesOddly, &[1]).unwrap(), Err(AdderError::BadDone(0x8000_0000)));
    }

    #[test]
    #[should_panic(expected = "device `adder` wrote 4 bytes")]
    fn a_device_out_of_bounds_ends_the_test() {
        let _ = run(Mood::WritesTooFar, &[1]);
    }

    #[test]
    #[should_panic(expected = "out: region #1 (36 bytes, coherent, owned by both; asked for by toy::Adder")]
    fn a_driver_that_is_never_stopped_is_found() {
        let (platform, function) = machine(Mood::Honest).unwrap();
        drop(Adder::start(function, platform.clone()));
        platform.finish();
    }
}
