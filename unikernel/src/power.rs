//! The machine's power: its button, how it is turned off, and how it begins anew.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | [`Power`]: the registers, and what is done with them |
//! | [`fadt`] | where they are |
//! | [`dsdt`] | what ACPI has as code elsewhere, and monitors as constants |
//!
//! The button is looked at and not waited for. Its event could ring (as SCI), on a line that it may
//! share with a NIC and that is told of in another way on each kind of machine; a look is one read,
//! and nobody's finger is quicker than ten looks a second.

pub mod dsdt;
pub mod fadt;

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use log::{info, warn};
use paravane_hal::addr::PhysAddr;
use paravane_hal::mmio::{Mmio as _, MmioMap as _};
use paravane_hal::port::PortIo as _;
use paravane_hal::time::Clock as _;
use paravane_hal_x86_64::lock::Once;
use paravane_pci::tables::{self, TableError};

use crate::exit::{Exit, exit};
use crate::fatal;
use crate::firmware::PhysicalMemory as _;
use crate::interrupts;
use crate::platform::{Machine, Region};
use crate::ports::ports;
use dsdt::EventDevice;
use fadt::{Fadt, Fixed, Model, Place};

/// The power button, in the status and the enable register of the fixed events.
const BUTTON: u16 = 1 << 8;
/// Of the fixed control register: firmware leaves the machine's power to us,
const SCI_EN: u16 = 1;
/// where the type of a sleep is,
const SLP_TYP_SHIFT: u32 = 10;
const SLP_TYP: u16 = 7 << SLP_TYP_SHIFT;
/// and that it begins.
const SLP_EN: u16 = 1 << 13;
/// The same of the sleep control register.
const REDUCED_SLP_TYP_SHIFT: u32 = 2;
const REDUCED_SLP_EN: u8 = 1 << 5;

/// How long firmware may take to hand the registers over.
const ENABLE_LIMIT: Duration = Duration::from_secs(1);
/// Looks at nothing, of a microsecond or so each, before what was asked for is taken not to happen.
const PATIENCE: u32 = 500_000;

/// Reset control of chipsets: a hard reset, in two steps.
const RESET_CONTROL: u16 = 0xcf9;
const HARD: u8 = 1 << 1;
const HARD_NOW: u8 = HARD | 1 << 2;
/// The keyboard controller: its status, whether it is busy, its command, the pulse that resets.
const KEYBOARD: u16 = 0x64;
const KEYBOARD_IS_BUSY: u8 = 1 << 1;
const PULSE_RESET: u8 = 0xfe;

static POWER: Once<Power> = Once::new();

/// What there is of it.
#[derive(Debug)]
pub struct Power {
    button: Button,
    off: Off,
    reset: Option<(Register, u8)>,
}

#[derive(Debug)]
enum Button {
    None,
    /// Status and enable register of each block of events.
    Fixed([Option<(Register, Register)>; 2]),
    /// A register that forgets as it is read, and the button's bit.
    Device(Register, u32),
}

#[derive(Debug)]
enum Off {
    None,
    /// Each block's control register, and its type of sleep.
    Fixed([(Option<Register>, u8); 2]),
    /// The sleep control register, and the type.
    Reduced(Register, u8),
}

impl Power {
    /// Finds it, says what was found, and has the button's event be kept from now on. The same one
    /// for whoever asks again.
    pub fn find(machine: &Machine) -> &'static Self {
        if let Some(found) = POWER.get() {
            return found;
        }
        let power = read(machine).unwrap_or_else(|reason| {
            warn!("power: ACPI tables not used: {reason}");
            None
        });
        let power = power.unwrap_or(Self { button: Button::None, off: Off::None, reset: None });
        power.say();
        POWER.set(power).unwrap_or_else(|_| fatal!("the machine's power is found once"))
    }

    fn say(&self) {
        let button = match self.button {
            Button::None => "none",
            Button::Fixed(_) => "a fixed event",
            Button::Device(..) => "a generic event device",
        };
        let off = match self.off {
            Off::None => "not to be had, a stop leaves the machine standing still",
            Off::Fixed(_) => "sleep state 5",
            Off::Reduced(..) => "sleep state 5, hardware-reduced",
        };
        let reset = if self.reset.is_some() { "the FADT's register" } else { "the chipset's registers" };
        info!("power: button: {button}; off: {off}; restart: {reset}");
    }

    /// Whether there is a button to look at.
    #[must_use]
    pub const fn has_button(&self) -> bool {
        !matches!(self.button, Button::None)
    }

    /// Whether the button was pressed since the last call.
    #[must_use]
    pub fn is_pressed(&self) -> bool {
        match &self.button {
            Button::None => false,
            Button::Fixed(events) => events.iter().flatten().fold(false, |pressed, (status, _)| {
                let is_set = status.read16() & BUTTON != 0;
                if is_set {
                    // Writing a one forgets it.
                    status.write16(BUTTON);
                }
                pressed | is_set
            }),
            Button::Device(selector, bit) => selector.read32() & bit != 0,
        }
    }

    /// Turns the machine off. One that cannot be stands still.
    pub fn off(&self) -> ! {
        x86_64::instructions::interrupts::disable();
        match &self.off {
            Off::None => {}
            Off::Fixed(controls) => {
                for (control, sleep) in controls {
                    let Some(control) = control else { continue };
                    let kept = control.read16() & !(SLP_TYP | SLP_EN);
                    control.write16(kept | u16::from(*sleep) << SLP_TYP_SHIFT | SLP_EN);
                }
            }
            Off::Reduced(control, sleep) => {
                control.write8(*sleep << REDUCED_SLP_TYP_SHIFT | REDUCED_SLP_EN);
            }
        }
        if !matches!(self.off, Off::None) {
            pause();
        }
        warn!("power: the machine is not off, and stands still: it may be switched off");
        exit(Exit::Success)
    }
}

/// Has the machine begin anew, by the first way that works.
pub fn reset() -> ! {
    x86_64::instructions::interrupts::disable();
    if let Some((register, value)) = POWER.get().and_then(|power| power.reset.as_ref()) {
        register.write8(*value);
        pause();
    }
    let ports = ports();
    let is_free = (0..PATIENCE).any(|_| ports.in8(KEYBOARD) & KEYBOARD_IS_BUSY == 0);
    if is_free {
        ports.out8(KEYBOARD, PULSE_RESET);
        pause();
    }
    ports.out8(RESET_CONTROL, HARD);
    ports.out8(RESET_CONTROL, HARD_NOW);
    pause();
    interrupts::triple_fault()
}

/// Lets what was asked for happen.
fn pause() {
    /// Written to at power-on by firmware, for people with a card that shows it; read by nobody.
    const NOBODYS: u16 = 0x80;
    (0..PATIENCE).for_each(|_| _ = ports().in8(NOBODYS));
}

/// What the tables say; `None` where there are none.
fn read(machine: &Machine) -> Result<Option<Power>, TableError> {
    let memory = |from, into: &mut [u8]| machine.firmware.read(from, into);
    let Some(rsdp) = machine.boot.rsdp else { return Ok(None) };
    let Some(Fadt { model, reset }) = Fadt::read(&memory, rsdp)? else { return Ok(None) };
    let reset = reset.and_then(|(place, value)| Some((Register::map(machine, place, 1)?, value)));
    // One that is damaged has no constants; the rest is as good without it.
    let dsdt = match tables::find_dsdt(&memory, rsdp) {
        Ok(Some(table)) => {
            let mut bytes = vec![0; table.len_bytes() as usize];
            table.read(&memory, &mut bytes).map(|()| bytes)
        }
        Ok(None) => Ok(Vec::new()),
        Err(reason) => Err(reason),
    };
    let dsdt = dsdt.unwrap_or_else(|reason| {
        warn!("power: {reason}");
        Vec::new()
    });
    let sleep = dsdt::soft_off(&dsdt);
    if sleep.is_none() {
        warn!("power: the DSDT has no constant for sleep state 5");
    }
    let (button, off) = match model {
        Model::Fixed(fixed) => (fixed_button(machine, &fixed, &dsdt), fixed_off(machine, &fixed, sleep)),
        Model::Reduced { sleep: control } => {
            let control = control.and_then(|place| Register::map(machine, place, 1)).zip(sleep);
            let off = control.map_or(Off::None, |(control, [sleep, _])| Off::Reduced(control, sleep));
            (device_button(machine, &dsdt), off)
        }
    };
    Ok(Some(Power { button, off, reset }))
}

/// A register, in what is mapped around it.
#[derive(Debug)]
struct Register {
    region: Region,
    offset_bytes: usize,
}

impl Register {
    /// The `bytes` at `place`; `None`, said, where no register can be.
    fn map(machine: &Machine, place: Place, bytes: usize) -> Option<Self> {
        let (mapped, offset_bytes) = match place {
            Place::Port(first) => (machine.platform.mmio.map_ports(first, bytes), 0),
            Place::Memory(at) => {
                // What is mapped begins with a word.
                let offset_bytes = usize::from(at.get().to_le_bytes()[0] & 3);
                let start = PhysAddr::new(at.get() & !3);
                (machine.platform.mmio.map(start, bytes.saturating_add(offset_bytes)), offset_bytes)
            }
        };
        let region = mapped.inspect_err(|reason| warn!("power: a register of ACPI's: {reason}")).ok()?;
        Some(Self { region, offset_bytes })
    }

    fn write8(&self, value: u8) {
        self.region.write8(self.offset_bytes, value);
    }
    fn read16(&self) -> u16 {
        self.region.read16(self.offset_bytes)
    }
    fn write16(&self, value: u16) {
        self.region.write16(self.offset_bytes, value);
    }
    fn read32(&self) -> u32 {
        self.region.read32(self.offset_bytes)
    }
}

fn fixed_off(machine: &Machine, fixed: &Fixed, sleep: Option<[u8; 2]>) -> Off {
    let Some(sleep) = sleep else { return Off::None };
    let [a, b] = fixed.controls.map(|place| place.and_then(|place| Register::map(machine, place, 2)));
    let [of_a, of_b] = sleep;
    if a.is_none() { Off::None } else { Off::Fixed([(a, of_a), (b, of_b)]) }
}

fn fixed_button(machine: &Machine, fixed: &Fixed, dsdt: &[u8]) -> Button {
    if !fixed.has_button {
        return device_button(machine, dsdt);
    }
    take_over(machine, fixed);
    let events = fixed.events.map(|event| {
        let (status, enable) = event?;
        let (status, enable) = (Register::map(machine, status, 2)?, Register::map(machine, enable, 2)?);
        // No other event is for us.
        enable.write16(BUTTON);
        status.write16(BUTTON);
        // Where nothing is, all bits read as ones; a button that is always pressed is none.
        let is_stuck = status.read16() & BUTTON != 0;
        if is_stuck {
            warn!("power: the button's event does not go away; not looked at");
        }
        (!is_stuck).then_some((status, enable))
    });
    if events.iter().all(Option::is_none) { Button::None } else { Button::Fixed(events) }
}

/// Has firmware leave the registers to us.
fn take_over(machine: &Machine, fixed: &Fixed) {
    let [Some(control), _] = fixed.controls else { return };
    let (Some(control), Some((port, value))) = (Register::map(machine, control, 2), fixed.enable) else {
        return;
    };
    let is_ours = || control.read16() & SCI_EN != 0;
    if is_ours() {
        return;
    }
    machine.ports.out8(port, value);
    let start = machine.platform.now();
    while !is_ours() {
        if machine.platform.now().since(start) > ENABLE_LIMIT {
            warn!(
                "power: firmware did not hand ACPI's registers over within {} ms (port {port:#x}, value {value:#x}); used as they are",
                ENABLE_LIMIT.as_millis()
            );
            return;
        }
        core::hint::spin_loop();
    }
}

fn device_button(machine: &Machine, dsdt: &[u8]) -> Button {
    let Some(EventDevice { selector, button }) = dsdt::event_device(dsdt) else {
        warn!("power: no event device with a power button is declared in the DSDT in a form that is known");
        return Button::None;
    };
    let Some(selector) = Register::map(machine, Place::Memory(selector), 4) else { return Button::None };
    // What was before counts for nothing; what does not go away is no event.
    let _ = selector.read32();
    if selector.read32() & button != 0 {
        warn!("power: the button's event does not go away; not looked at");
        return Button::None;
    }
    Button::Device(selector, button)
}
