//! Measures the TSC against channel 2 of the PIT (8254), which is nobody's but the loudspeaker's.
//!
//! The channel counts down at 1.193182 MHz. Waiting for it to run out would take milliseconds;
//! instead its count is read, again and again, each reading between two looks at the TSC. A count
//! that moved by one between two readings pins the instant of the step between four looks; the rate
//! follows from two such instants, with bounds on its error. So the measurement ends as soon as the
//! bounds are tight enough (a tenth of a millisecond where ports are fast), a reading that an
//! interruption stretched shows itself by loose bounds, and half a millisecond is enough.
//!
//! A pause of 55 ms or more (a host that ran something else) is another matter: the count wraps
//! around, and good bounds would be about a wrong number of steps. An attempt in which that may
//! have happened is void, and another one follows.
//!
//! Spec: Intel 8254 datasheet, "Counter Latch Command"; port 0x61 is IBM's.

use paravane_hal::port::PortIo;

const PIT_HZ: u64 = 1_193_182;
const CHANNEL_2: u16 = 0x42;
const CONTROL: u16 = 0x43;
/// Channel 2, both bytes, mode 0 (count down once), binary.
const COUNT_DOWN: u8 = 0xb0;
/// Channel 2, hold the count for reading.
const LATCH: u8 = 0x80;
/// Bit 0 lets channel 2 count, bit 1 lets it be heard.
const GATE: u16 = 0x61;
/// In [`GATE`]: the channel has counted down to zero.
const RAN_OUT: u8 = 1 << 5;

/// Marks this close to the first compete for being the start.
const SETTLING_TICKS: u64 = 24;
/// No measurement is shorter: a tenth of a millisecond.
const SHORTEST_TICKS: u64 = 120;
/// None is longer, and no step: just under half a millisecond.
const LONGEST_TICKS: u64 = 570;
/// Good enough to stop early: one part in a thousand.
const GOOD: u64 = 1000;
/// Too bad to be used: one part in sixteen.
const BAD: u64 = 16;
/// So many readings without a step, and there is no PIT. The fastest ports make 2000 readings in 60
/// µs, or 70 steps.
const MAX_STILL: u32 = 2000;
/// And so many in all, for a counter that jumps about.
const MAX_READINGS: u32 = 50_000;

/// So many attempts spoilt by a pause, and the machine has no quiet moment.
const ATTEMPTS: u32 = 8;

/// Somebody paused the program, perhaps for so long that the count wrapped around.
struct Paused;

/// One reading: the channel stood at `count` some time between `before` and `after`.
#[derive(Clone, Copy)]
struct Reading {
    before: u64,
    after: u64,
    count: u16,
}

/// What is known of one instant: both clocks, each between bounds.
#[derive(Clone, Copy)]
struct Mark {
    tsc: (u64, u64),
    ticks: (u64, u64),
}

/// A rate, and how wrong it may be.
#[derive(Clone, Copy)]
struct Estimate {
    hz: u64,
    error_hz: u64,
}

impl Estimate {
    /// The rate between two marks, by interval arithmetic.
    fn between(start: Mark, end: Mark) -> Option<Self> {
        let rate = |ticks_of_tsc: u64, ticks: u64| ticks_of_tsc.checked_mul(PIT_HZ)?.checked_div(ticks);
        let fastest = rate(end.tsc.1.checked_sub(start.tsc.0)?, end.ticks.0.checked_sub(start.ticks.1)?)?;
        let slowest = rate(end.tsc.0.checked_sub(start.tsc.1)?, end.ticks.1.checked_sub(start.ticks.0)?)?;
        let error_hz = fastest.checked_sub(slowest)? / 2;
        Some(Self { hz: slowest + error_hz, error_hz })
    }

    fn is_within(&self, parts: u64) -> bool {
        self.error_hz <= self.hz / parts
    }
}

/// The channel, and where it has counted to.
struct Channel<'a, P, T> {
    ports: &'a P,
    tsc: T,
    last: Reading,
    ticks: u64,
    readings: u32,
}

impl<P: PortIo, T: FnMut() -> u64> Channel<'_, P, T> {
    fn read(ports: &P, tsc: &mut T) -> Reading {
        let before = tsc();
        ports.out8(CONTROL, LATCH);
        let after = tsc();
        let low = ports.in8(CHANNEL_2);
        let high = ports.in8(CHANNEL_2);
        Reading { before, after, count: u16::from_le_bytes([low, high]) }
    }

    /// The next step of the count. `None` when it does not come.
    fn next_mark(&mut self) -> Result<Option<Mark>, Paused> {
        for _ in 0..MAX_STILL {
            self.readings += 1;
            if self.readings >= MAX_READINGS {
                return Ok(None);
            }
            let reading = Self::read(self.ports, &mut self.tsc);
            let earlier = core::mem::replace(&mut self.last, reading);
            let steps = u64::from(earlier.count.wrapping_sub(reading.count));
            self.ticks += steps;
            match steps {
                0 => {}
                // The step itself lies between the two readings.
                1 => {
                    return Ok(Some(Mark {
                        tsc: (earlier.before, reading.after),
                        ticks: (self.ticks, self.ticks),
                    }));
                }
                2..=LONGEST_TICKS => {
                    return Ok(Some(Mark {
                        tsc: (reading.before, reading.after),
                        ticks: (self.ticks, self.ticks + 1),
                    }));
                }
                _ => return Err(Paused),
            }
        }
        Ok(None)
    }
}

impl Mark {
    fn width(&self) -> u64 {
        self.tsc.1.saturating_sub(self.tsc.0)
    }
}

/// The rate of the counter that `tsc` reads, in Hz; `None` when there is no PIT, or no quiet half a
/// millisecond.
pub fn tsc_hz(ports: &impl PortIo, mut tsc: impl FnMut() -> u64) -> Option<u64> {
    let gate = ports.in8(GATE);
    ports.out8(GATE, gate & !0b10 | 0b01);
    let measured = (0..ATTEMPTS).find_map(|_| attempt(ports, &mut tsc).ok()).flatten();
    ports.out8(GATE, gate);
    measured.filter(|estimate| estimate.is_within(BAD)).map(|estimate| estimate.hz)
}

/// One measurement, from a full count on.
fn attempt(ports: &impl PortIo, mut tsc: impl FnMut() -> u64) -> Result<Option<Estimate>, Paused> {
    let has_run_out = || ports.in8(GATE) & RAN_OUT != 0;
    ports.out8(CONTROL, COUNT_DOWN);
    ports.out8(CHANNEL_2, 0xff);
    ports.out8(CHANNEL_2, 0xff);
    // The count is loaded with the next tick of the PIT; the first reading may still see an old
    // one.
    let _unsettled = Channel::read(ports, &mut tsc);
    // Where nobody drives the bit, it never changes and tells nothing.
    let is_counting = !has_run_out();
    let last = Channel::read(ports, &mut tsc);
    let estimate = measure(Channel { ports, tsc, last, ticks: 0, readings: 0 })?;
    // A pause that is just as long as the count makes a small step.
    if is_counting && has_run_out() { Err(Paused) } else { Ok(estimate) }
}

fn measure<P: PortIo, T: FnMut() -> u64>(mut channel: Channel<'_, P, T>) -> Result<Option<Estimate>, Paused> {
    let Some(first) = channel.next_mark()? else { return Ok(None) };
    let mut start = first;
    let mut best: Option<Estimate> = None;
    while let Some(mark) = channel.next_mark()? {
        let passed = mark.ticks.0 - first.ticks.0;
        if passed < SETTLING_TICKS {
            if mark.width() < start.width() {
                start = mark;
            }
        } else if passed >= SHORTEST_TICKS
            && let Some(estimate) = Estimate::between(start, mark)
        {
            if best.is_none_or(|best| estimate.error_hz < best.error_hz) {
                best = Some(estimate);
            }
            if estimate.is_within(GOOD) {
                break;
            }
        }
        if passed >= LONGEST_TICKS {
            break;
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    /// A machine: a PIT, and a TSC at `tsc_mhz`. A port access takes `access_nanos`, and a look at
    /// the TSC ten.
    struct Board {
        nanos: Cell<u64>,
        tsc_mhz: u64,
        access_nanos: u64,
        /// Each such access, counted from the first, is interrupted for this long.
        interrupted: fn(u64) -> u64,
        accesses: Cell<u64>,
        loaded_at: Cell<u64>,
        latched: RefCell<Vec<u8>>,
        gate: Cell<u8>,
        has_pit: bool,
    }

    impl Board {
        fn new(tsc_mhz: u64, access_nanos: u64) -> Self {
            Self {
                nanos: Cell::new(12_345_678),
                tsc_mhz,
                access_nanos,
                interrupted: |_| 0,
                accesses: Cell::new(0),
                loaded_at: Cell::new(0),
                latched: RefCell::default(),
                gate: Cell::new(0xde),
                has_pit: true,
            }
        }

        fn pass(&self, nanos: u64) {
            self.nanos.set(self.nanos.get() + nanos);
        }

        /// How often the channel has counted since it was loaded.
        fn counted(&self) -> u64 {
            let passed = u128::from(self.nanos.get() - self.loaded_at.get());
            u64::try_from(passed * u128::from(PIT_HZ) / 1_000_000_000).unwrap()
        }

        fn access(&self) {
            self.accesses.set(self.accesses.get() + 1);
            self.pass(self.access_nanos + (self.interrupted)(self.accesses.get()));
        }

        fn tsc(&self) -> u64 {
            self.pass(10);
            self.nanos.get() * self.tsc_mhz / 1000
        }

        fn measured(&self) -> Option<u64> {
            tsc_hz(self, || self.tsc())
        }
    }

    impl PortIo for Board {
        fn in8(&self, port: u16) -> u8 {
            self.access();
            match port {
                GATE if self.counted() >= 0xffff => self.gate.get() | RAN_OUT,
                GATE => self.gate.get(),
                CHANNEL_2 if self.has_pit => self.latched.borrow_mut().pop().unwrap(),
                _ => 0xff,
            }
        }
        fn out8(&self, port: u16, value: u8) {
            // The latch takes effect half-way through the access.
            self.pass(self.access_nanos / 2);
            match (port, value) {
                (GATE, value) => self.gate.set(value),
                (CONTROL, LATCH) => {
                    let count = 0xffffu16.wrapping_sub(u16::try_from(self.counted() & 0xffff).unwrap());
                    let [low, high] = count.to_le_bytes();
                    *self.latched.borrow_mut() = vec![high, low];
                }
                (CHANNEL_2, _) => self.loaded_at.set(self.nanos.get()),
                _ => {}
            }
            self.access();
        }
        fn in16(&self, _: u16) -> u16 {
            panic!("the PIT is eight bits wide")
        }
        fn in32(&self, _: u16) -> u32 {
            panic!("the PIT is eight bits wide")
        }
        fn out16(&self, _: u16, _: u16) {
            panic!("the PIT is eight bits wide")
        }
        fn out32(&self, _: u16, _: u32) {
            panic!("the PIT is eight bits wide")
        }
    }

    /// How far off the measurement is, in parts per million, and how long it took, in microseconds.
    fn outcome(board: &Board) -> (u64, u64) {
        let before = board.nanos.get();
        let measured = board.measured().unwrap();
        let true_hz = board.tsc_mhz * 1_000_000;
        (measured.abs_diff(true_hz) * 1_000_000 / true_hz, (board.nanos.get() - before) / 1000)
    }

    #[test]
    fn fast_ports_make_it_short_and_true() {
        for mhz in [1000, 2893, 5000] {
            let (off_ppm, micros) = outcome(&Board::new(mhz, 30));
            assert!(off_ppm < 1000, "{mhz} MHz: off by {off_ppm} ppm");
            assert!(micros < 250, "{mhz} MHz: took {micros} us");
        }
    }

    #[test]
    fn slow_ports_still_fit_half_a_millisecond() {
        for access_nanos in [500, 1000, 2000, 5000] {
            let (off_ppm, micros) = outcome(&Board::new(2600, access_nanos));
            assert!(off_ppm < 20_000, "{access_nanos} ns: off by {off_ppm} ppm");
            assert!(micros < 600, "{access_nanos} ns: took {micros} us");
        }
    }

    #[test]
    fn an_interruption_does_not_count() {
        let mut board = Board::new(2600, 100);
        board.interrupted = |access| if access % 97 == 8 { 9000 } else { 0 };
        let (off_ppm, _) = outcome(&board);
        assert!(off_ppm < 10_000, "off by {off_ppm} ppm");
    }

    #[test]
    fn a_pause_longer_than_the_count_does_not_count() {
        // 55 ms is where the count comes around: just behind it, the step looks as small as any.
        for pause in
            [|access| u64::from(access == 200) * 60_000_000, |access| u64::from(access == 200) * 55_100_000]
        {
            let mut board = Board::new(1000, 100);
            board.interrupted = pause;
            let (off_ppm, _) = outcome(&board);
            assert!(off_ppm < 10_000, "off by {off_ppm} ppm");
        }
    }

    #[test]
    fn a_machine_that_pauses_all_the_time_has_no_clock() {
        let mut board = Board::new(2600, 100);
        board.interrupted = |access| if access % 97 == 8 { 60_000_000 } else { 0 };
        let before = board.nanos.get();
        assert_eq!(board.measured(), None);
        assert!(board.nanos.get() - before < u64::from(2 * ATTEMPTS) * 60_000_000);
    }

    #[test]
    fn no_pit_is_found_out_soon() {
        let mut board = Board::new(2600, 100);
        board.has_pit = false;
        let before = board.nanos.get();
        assert_eq!(board.measured(), None);
        assert!(board.nanos.get() - before < 2_000_000);
    }

    #[test]
    fn the_loudspeaker_is_left_as_it_was() {
        let board = Board::new(1000, 30);
        board.measured().unwrap();
        assert_eq!(board.gate.get(), 0xde);
    }
}
