//! When the device interrupts for frames that wait, from revision 3 on: one scheme for all queues,
//! both directions.

use core::mem::offset_of;

use paravane_hal::Platform;
use paravane_hal::dma::DmaBox;
use paravane_hal::fault::DeviceFault;
use paravane_hal::field;
use paravane_hal::mmio::Mmio;
use paravane_net::{Coalescing, Settings};
use zerocopy::little_endian::U32;

use crate::cmd_info;
use crate::command::ControlRegs;
use crate::regs::{Command, Query};
use crate::shared::Shared;

/// `coalMode`: an interrupt at once.
const DISABLED: u32 = 0;
/// `coalMode`: at most so many interrupts a second.
const RATE_BASED: u32 = 3;
/// `confLen`.
const SCHEME_BYTES: u32 = 16;
/// What `RATE_BASED` takes is 100 to 100,000 interrupts a second: so long lies between two.
const MICROS: core::ops::RangeInclusive<u32> = 10..=10_000;

/// Whether a frame may wait at all.
const fn may_wait(coalescing: &Coalescing) -> bool {
    coalescing.max_frames > 0 && coalescing.max_micros > 0
}

/// Whether there is a scheme for it.
pub(crate) fn is_in_range(coalescing: &Coalescing) -> bool {
    !may_wait(coalescing) || MICROS.contains(&coalescing.max_micros)
}

/// `CoalesceScheme`, where something was asked for: the sooner of both directions. It goes by time;
/// how many frames wait meanwhile it does not count.
fn scheme(settings: &Settings) -> Option<[U32; 4]> {
    let asked = [settings.rx_coalescing, settings.tx_coalescing];
    let soonest = asked.iter().flatten().map(|of| if may_wait(of) { of.max_micros } else { 0 }).min()?;
    let (mode, rate) = match 1_000_000_u32.checked_div(soonest) {
        None => (DISABLED, 0),
        Some(rate) => (RATE_BASED, rate),
    };
    Some([mode, rate, 0, 0].map(U32::new))
}

/// Tells a device that was activated what `settings` ask for, and looks whether it goes by that
/// now.
///
/// # Errors
///
/// [`DeviceFault::Gone`].
pub(crate) fn tell<P: Platform>(
    regs: &mut ControlRegs<impl Mmio>,
    shared: &mut DmaBox<Shared, P>,
    settings: &Settings,
) -> Result<bool, DeviceFault> {
    let Some(scheme) = scheme(settings) else { return Ok(true) };
    let place = shared.dma_addr().get().wrapping_add(offset_of!(Shared, coalesce) as u64);
    let argument = cmd_info::var_conf(SCHEME_BYTES, place);
    shared.set(field!(Shared, coalesce), scheme);
    shared.set(field!(Shared, driver.cmd_info), argument);
    if regs.run(Command::SetCoalesce)? != 0 {
        return Ok(false);
    }
    // What is not answered is not what was asked for.
    shared.set(field!(Shared, coalesce), [U32::new(u32::MAX); 4]);
    shared.set(field!(Shared, driver.cmd_info), argument);
    regs.ask(Query::Coalesce)?;
    let [mode, ..] = shared.get(field!(Shared, coalesce));
    let [wanted, ..] = scheme;
    Ok(mode == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_net::Change;

    #[test]
    fn the_sooner_direction_says_when() {
        let of = |max_frames, max_micros| Coalescing { max_frames, max_micros };
        let words = |rx: Option<Coalescing>, tx: Option<Coalescing>| {
            let mut settings = Settings::default();
            settings = rx.map_or(settings, |rx| settings.with(Change::RxCoalescing(rx)));
            settings = tx.map_or(settings, |tx| settings.with(Change::TxCoalescing(tx)));
            scheme(&settings).map(|words| words.map(U32::get))
        };
        assert_eq!(words(None, None), None);
        assert_eq!(words(Some(of(32, 50)), None), Some([3, 20_000, 0, 0]));
        assert_eq!(words(Some(of(32, 50)), Some(of(1, 10))), Some([3, 100_000, 0, 0]));
        assert_eq!(words(Some(of(32, 10_000)), Some(of(32, 10_000))), Some([3, 100, 0, 0]));
        for at_once in [of(0, 0), of(0, 50), of(32, 0)] {
            assert_eq!(words(Some(of(32, 50)), Some(at_once)), Some([0; 4]));
            assert!(is_in_range(&at_once));
        }
        assert_eq!(
            [9, 10, 10_000, 10_001].map(|micros| is_in_range(&of(1, micros))),
            [false, true, true, false]
        );
    }
}
