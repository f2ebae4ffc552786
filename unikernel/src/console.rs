//! The console: lines on the first serial port, each with the time since the image's first
//! instruction.
//!
//! ```text
//! [   0.001234] nic admin: link up 1000 Mbit/s
//! ```
//!
//! It is the back end of the `log` crate, for the program and for the crates under it. Nothing is
//! put between time and message of the program, whatever the level, so that people and tools look
//! for the same words; only debug lines say that they are. What drivers and other crates say
//! carries their name, and is a level quieter: at `info`, which is the default, the console shows
//! their warnings and errors. Nothing is allocated. The port is waited for, but not for ever: a
//! host that takes no bytes costs lines, not the program.

use core::fmt::{self, Write};
use core::time::Duration;

use log::{LevelFilter, Log, Metadata, Record};
use paravane_hal::port::PortIo;
use paravane_hal_x86_64::lock::{Once, SpinLock};
use paravane_hal_x86_64::tsc::TscClock;

#[cfg(feature = "router")]
pub use kept::{has_kept, stop_keeping, take_kept};

use crate::ports::ports;

/// COM1's registers, a 16550's.
///
/// Spec: National Semiconductor PC16550D, "Registers".
mod com1 {
    /// Data; the divisor's low byte while the latch is open.
    pub(super) const DATA: u16 = 0x3f8;
    /// Interrupt enable; the divisor's high byte while the latch is open.
    pub(super) const INTERRUPTS: u16 = 0x3f9;
    pub(super) const FIFO: u16 = 0x3fa;
    pub(super) const LINE_CONTROL: u16 = 0x3fb;
    pub(super) const MODEM_CONTROL: u16 = 0x3fc;
    pub(super) const LINE_STATUS: u16 = 0x3fd;

    pub(super) const DIVISOR_LATCH: u8 = 0x80;
    pub(super) const EIGHT_BITS: u8 = 0x03;
    /// Both FIFOs on, and emptied.
    pub(super) const FIFOS_ON: u8 = 0x07;
    pub(super) const READY_TO_SEND: u8 = 0x03;
    /// Line status: the transmit FIFO is empty.
    pub(super) const TRANSMIT_EMPTY: u8 = 1 << 5;
    pub(super) const FIFO_BYTES: usize = 16;
    /// Looks at the line status before bytes are given up. A full FIFO at 115200 baud takes 1.4 ms,
    /// a look about a microsecond.
    pub(super) const PATIENCE: u32 = 20_000;
}

#[cfg(feature = "router")]
mod kept;

static CLOCK: Once<TscClock> = Once::new();
static LINES: SpinLock<()> = SpinLock::new(());
static CONSOLE: Console = Console;

/// Sets the port to 115200 baud, eight bits, and makes the console the place where `log` goes.
pub(crate) fn open() {
    let ports = ports();
    ports.out8(com1::INTERRUPTS, 0);
    ports.out8(com1::LINE_CONTROL, com1::DIVISOR_LATCH);
    ports.out8(com1::DATA, 1);
    ports.out8(com1::INTERRUPTS, 0);
    ports.out8(com1::LINE_CONTROL, com1::EIGHT_BITS);
    ports.out8(com1::FIFO, com1::FIFOS_ON);
    ports.out8(com1::MODEM_CONTROL, com1::READY_TO_SEND);
    // A second call finds the console in place, which is what it wants.
    let _ = log::set_logger(&CONSOLE);
    set_level(LevelFilter::Info);
}

/// From now on lines carry this clock's time. It starts at the image's first instruction.
pub(crate) fn set_clock(clock: TscClock) {
    // The first one stays.
    let _ = CLOCK.set(clock);
}

/// What is worth a line.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// Prints a line, past the lock: for the last words of a program that may hold it.
pub(crate) fn print_regardless(message: fmt::Arguments<'_>) {
    let mut line = Lines::new(Com1);
    // The port swallows everything; there is no error to have.
    let _ = line.write_fmt(message);
    line.end();
}

/// Since the image's first instruction, as far as there is a clock.
pub(crate) fn uptime() -> Duration {
    CLOCK.get().map_or(Duration::ZERO, |clock| clock.duration(clock.ticks_now()))
}

struct Console;

impl Log for Console {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_shown(metadata, log::max_level())
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        LINES.with(|()| {
            let mut line = Lines::new(Com1);
            // As above.
            let _ = write!(line, "{}", Text(record));
            line.end();
        });
        #[cfg(feature = "router")]
        kept::keep(record, Com1.time());
    }

    fn flush(&self) {}
}

/// What a line says.
struct Text<'a>(&'a Record<'a>);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(record) = self;
        match record.level() {
            log::Level::Debug | log::Level::Trace => {
                write!(f, "debug {}: {}", record.target(), record.args())
            }
            _ if is_of_program(record.target()) => record.args().fmt(f),
            _ => write!(f, "{}: {}", crate_of(record.target()), record.args()),
        }
    }
}

/// The crate that a line is from.
fn crate_of(target: &str) -> &str {
    target.split("::").next().unwrap_or(target)
}

/// Whether a line is the program's, or this library's.
fn is_of_program(target: &str) -> bool {
    !matches!(
        crate_of(target),
        "paravane_hal"
            | "paravane_hal_x86_64"
            | "paravane_net"
            | "paravane_net_smoltcp"
            | "paravane_nic"
            | "paravane_pci"
            | "paravane_virtio"
            | "paravane_vmxnet3"
            | "smoltcp"
    )
}

/// Whether a line is shown where the program's are up to `most`.
fn is_shown(metadata: &Metadata<'_>, most: LevelFilter) -> bool {
    if is_of_program(metadata.target()) { metadata.level() <= most } else { metadata.level() < most }
}

/// Where bytes go.
trait Sink {
    fn put(&mut self, bytes: &[u8]);
    /// Since the first instruction.
    fn time(&self) -> Duration;
}

struct Com1;

impl Sink for Com1 {
    fn put(&mut self, bytes: &[u8]) {
        let ports = ports();
        for chunk in bytes.chunks(com1::FIFO_BYTES) {
            // Where there is no port, all bits read as ones, and the bytes go nowhere at once.
            let ready = (0..com1::PATIENCE).any(|_| ports.in8(com1::LINE_STATUS) & com1::TRANSMIT_EMPTY != 0);
            if !ready {
                return;
            }
            chunk.iter().for_each(|byte| ports.out8(com1::DATA, *byte));
        }
    }

    fn time(&self) -> Duration {
        uptime()
    }
}

/// Puts the time before each line, also where a message has several.
struct Lines<S> {
    sink: S,
    at_start: bool,
}

impl<S: Sink> Lines<S> {
    fn new(sink: S) -> Self {
        Self { sink, at_start: true }
    }

    fn end(&mut self) {
        if self.at_start {
            self.put_time();
        }
        self.sink.put(b"\n");
        self.at_start = true;
    }

    /// `[` seconds, seven wide with the point and six digits after it, `] `.
    fn put_time(&mut self) {
        let time = self.sink.time();
        let mut text = *b"[   0.000000] ";
        put_digits(&mut text[1..5], time.as_secs(), b' ');
        put_digits(&mut text[6..12], u64::from(time.subsec_micros()), b'0');
        self.sink.put(&text);
        self.at_start = false;
    }
}

/// Writes `number` right-aligned into `place`, its lowest digits if it is too long, with `fill`
/// before it.
fn put_digits(place: &mut [u8], mut number: u64, fill: u8) {
    let mut first = true;
    for byte in place.iter_mut().rev() {
        let digit = u8::try_from(number % 10).unwrap_or(0);
        *byte = if number == 0 && !first { fill } else { b'0' + digit };
        number /= 10;
        first = false;
    }
}

impl<S: Sink> Write for Lines<S> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive('\n') {
            if self.at_start {
                self.put_time();
            }
            match piece.strip_suffix('\n') {
                Some(rest) => {
                    self.sink.put(rest.as_bytes());
                    self.end();
                }
                None => self.sink.put(piece.as_bytes()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Paper(Vec<u8>, Duration);

    impl Sink for Paper {
        fn put(&mut self, bytes: &[u8]) {
            self.0.extend(bytes);
        }
        fn time(&self) -> Duration {
            self.1
        }
    }

    fn printed(at: Duration, message: fmt::Arguments<'_>) -> String {
        let mut lines = Lines::new(Paper(Vec::new(), at));
        lines.write_fmt(message).unwrap();
        lines.end();
        String::from_utf8(lines.sink.0).unwrap()
    }

    #[test]
    fn a_line_begins_with_its_time() {
        assert_eq!(
            printed(Duration::from_micros(1234), format_args!("link {}", "up")),
            "[   0.001234] link up\n"
        );
        assert_eq!(printed(Duration::from_micros(4_321_000_001), format_args!("x")), "[4321.000001] x\n");
        assert_eq!(printed(Duration::from_secs(12_345), format_args!("x")), "[2345.000000] x\n");
    }

    #[test]
    fn crates_below_are_a_level_quieter() {
        use log::Level::{Debug, Info, Warn};
        let shown =
            |target, level, most| is_shown(&Metadata::builder().target(target).level(level).build(), most);
        for own in ["paravane_http", "paravane_unikernel::app::server", "my_program"] {
            assert!(shown(own, Info, LevelFilter::Info) && !shown(own, Debug, LevelFilter::Info));
        }
        for below in ["paravane_vmxnet3::start", "paravane_virtio::net", "paravane_pci"] {
            assert!(shown(below, Warn, LevelFilter::Info) && !shown(below, Info, LevelFilter::Info));
            assert!(shown(below, Info, LevelFilter::Debug) && !shown(below, Debug, LevelFilter::Debug));
        }
        assert_eq!(crate_of("paravane_virtio::net::device"), "paravane_virtio");
    }

    #[test]
    fn every_line_does() {
        assert_eq!(
            printed(Duration::ZERO, format_args!("a\nb{}", "\nc")),
            "[   0.000000] a\n[   0.000000] b\n[   0.000000] c\n"
        );
        assert_eq!(printed(Duration::ZERO, format_args!("")), "[   0.000000] \n");
    }
}
