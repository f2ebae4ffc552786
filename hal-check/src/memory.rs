//! Memory, without a device: is a region what was asked for, zero, its owner's alone, and given
//! back.

use alloc::vec;
use alloc::vec::Vec;
use core::num::NonZeroUsize;

use paravane_hal::addr::{Align, DmaAddr};
use paravane_hal::dma::{Direction, Dma, DmaErrorReason, DmaRequest};

use crate::finding::{Finding, Place};
use crate::raw::{self, Piece};
use crate::report::{Check, Report, Verdict};
use crate::settings::Settings;

/// Lengths that drivers ask for, and what lies beside them.
const LENGTHS: [usize; 9] = [1, 3, 64, 512, 1514, 4096, 4097, 0x1_0000, 0x4_0000];
/// Alignments likewise.
const ALIGNS: [usize; 8] = [1, 2, 8, 64, 128, 512, 4096, 0x1_0000];
/// Every driver can do with regions of this length,
const NEEDED_BYTES: usize = 0x1_0000;
/// and with this alignment.
const NEEDED_ALIGN: usize = 4096;
/// How many address bits devices drive, the usual number first. Fewer may be refused.
const WIDTHS: [u8; 4] = [64, 40, 32, 24];
/// Lengths whose zeroes are looked at.
const ZEROED: [usize; 5] = [1, 64, 4096, 5000, 0x1_0000];
/// How often each is looked at, with scribbles in between.
const ZEROING_ROUNDS: u32 = 8;
/// How many regions live at once.
const LIVE: usize = 24;
/// How often memory is mapped.
const MAPPING_ROUNDS: u32 = 256;
/// What no machine has.
const IMPOSSIBLE_BYTES: usize = 1 << (usize::BITS - 2);
/// What scribbles are made of.
const SCRIBBLE: u8 = 0xa5;

/// What is checked after [`Check::Free`].
const LATER: [Check; 9] = [
    Check::Alloc,
    Check::Length,
    Check::CpuAlignment,
    Check::DeviceAlignment,
    Check::AddressWidth,
    Check::Zeroing,
    Check::Overlap,
    Check::Refusal,
    Check::Mapping,
];

pub(crate) fn run<D: Dma>(dma: &D, settings: &Settings<'_>, report: &mut Report) {
    let before = |check| (settings.before)(check);
    let in_use = settings.bytes_in_use.map(|count| count());

    before(Check::Limits);
    report.judge(Check::Limits, limits(dma));
    before(Check::Domain);
    report.judge(Check::Domain, domain(dma));
    // First, for the checks below allocate a lot: one by one, but they would use a machine up that
    // never gets anything back.
    before(Check::Free);
    let freed = give_back(dma, settings.free_rounds);
    if let Err(finding) = freed {
        report.add(Check::Free, Verdict::Failed(finding));
        return LATER.iter().for_each(|check| report.add(*check, Verdict::NotRun("memory runs out".into())));
    }
    before(Check::Alloc);
    let shapes = Shapes::look(dma);
    report.judge(Check::Alloc, shapes.refused.map_or(Ok(()), Err));
    report.judge(Check::Length, shapes.length.map_or(Ok(()), Err));
    report.judge(Check::CpuAlignment, shapes.cpu_align.map_or(Ok(()), Err));
    report.judge(Check::DeviceAlignment, shapes.dma_align.map_or(Ok(()), Err));
    report.judge(Check::AddressWidth, shapes.width.map_or(Ok(()), Err));
    before(Check::Zeroing);
    report.judge(Check::Zeroing, zeroing(dma));
    before(Check::Overlap);
    report.judge(Check::Overlap, overlap(dma));
    before(Check::Refusal);
    report.judge(Check::Refusal, refusal(dma));
    before(Check::Mapping);
    report.add(Check::Mapping, mapping(dma));
    let counted = match (in_use, settings.bytes_in_use.map(|count| count())) {
        (Some(before), Some(after)) if before != after => Err(Finding::BytesInUse { before, after }),
        _ => Ok(()),
    };
    report.judge(Check::Free, counted);
}

/// A request; lengths and alignments here are constants, none of them zero or odd.
fn request(len_bytes: usize, align: usize, address_bits: u8) -> DmaRequest {
    let len_bytes = NonZeroUsize::new(len_bytes).unwrap_or(NonZeroUsize::MIN);
    let align = Align::checked(align).unwrap_or(Align::BYTE);
    DmaRequest { address_bits, ..DmaRequest::new(len_bytes, align) }
}

fn limits<D: Dma>(dma: &D) -> Result<(), Finding> {
    let limits = dma.limits();
    let seen = [dma.limits(), dma.clone().limits()];
    if let Some(other) = seen.into_iter().find(|other| *other != limits) {
        return Err(Finding::LimitsChange { first: limits, then: other });
    }
    let odd = if limits.max_segment_bytes < NEEDED_ALIGN {
        Some("a segment shorter than a page holds no ring")
    } else if !(16..=64).contains(&limits.address_bits) {
        Some("addresses have 16 to 64 bits")
    } else if limits.mapping_granule.bytes() > limits.max_segment_bytes {
        Some("no mapping can be made of granules longer than a segment")
    } else {
        None
    };
    odd.map_or(Ok(()), |why| Err(Finding::LimitsOdd { limits, why }))
}

fn domain<D: Dma>(dma: &D) -> Result<(), Finding> {
    let own = dma.domain();
    let seen = dma.domain();
    if own != seen {
        return Err(Finding::DomainChanges { first: own, then: seen });
    }
    let clone = dma.clone().domain();
    if own != clone { Err(Finding::DomainOfClone { own, clone }) } else { Ok(()) }
}

/// The first thing wrong of each kind, over regions of many shapes.
#[derive(Default)]
struct Shapes {
    refused: Option<Finding>,
    length: Option<Finding>,
    cpu_align: Option<Finding>,
    dma_align: Option<Finding>,
    width: Option<Finding>,
}

impl Shapes {
    fn look<D: Dma>(dma: &D) -> Self {
        let limits = dma.limits();
        let mut found = Self::default();
        for address_bits in WIDTHS {
            for (len_bytes, align) in LENGTHS.iter().flat_map(|len| ALIGNS.map(|align| (*len, align))) {
                if len_bytes > limits.max_segment_bytes {
                    continue;
                }
                let request = request(len_bytes, align, address_bits);
                let is_needed = address_bits == 64 && len_bytes <= NEEDED_BYTES && align <= NEEDED_ALIGN;
                match Piece::alloc(dma, request) {
                    Ok(piece) => found.judge(&request, limits.address_bits, &piece),
                    Err(error) if is_needed => {
                        found.refused.get_or_insert(Finding::Refused { request, error });
                    }
                    // Nobody has to have memory so long, so aligned, or so low.
                    Err(_) => {}
                }
            }
        }
        found
    }

    fn judge<D: Dma>(&mut self, request: &DmaRequest, limit_bits: u8, piece: &Piece<'_, D>) {
        let request = *request;
        let (cpu, dma, has_bytes) = (piece.cpu(), piece.dma(), piece.len_bytes());
        let align = request.align.bytes();
        if has_bytes < request.len_bytes.get() {
            self.length.get_or_insert(Finding::TooShort { request, has_bytes });
        }
        if !cpu.is_multiple_of(align) {
            self.cpu_align.get_or_insert(Finding::CpuMisaligned { request, cpu });
        }
        if !dma.get().is_multiple_of(align as u64) {
            self.dma_align.get_or_insert(Finding::DeviceMisaligned { request, dma });
        }
        let address_bits = request.address_bits.min(limit_bits);
        if !reaches(dma, request.len_bytes.get(), address_bits) {
            self.width.get_or_insert(Finding::TooHigh { request, dma, address_bits });
        }
    }
}

/// Whether a device of so many address bits reaches all of it.
fn reaches(dma: DmaAddr, len_bytes: usize, address_bits: u8) -> bool {
    request(len_bytes, 1, address_bits).accepts(dma)
}

fn zeroing<D: Dma>(dma: &D) -> Result<(), Finding> {
    for _ in 0..ZEROING_ROUNDS {
        for len_bytes in ZEROED {
            let request = request(len_bytes, 64, 64);
            // Whoever refuses this was reported already.
            let Ok(piece) = Piece::alloc(dma, request) else { continue };
            if let Some((at, value)) = piece.first_other_than(0) {
                return Err(Finding::NotZeroed { place: place(&piece), at, value });
            }
            piece.fill(SCRIBBLE);
        }
    }
    Ok(())
}

fn place<D: Dma>(piece: &Piece<'_, D>) -> Place {
    Place { cpu: piece.cpu(), dma: piece.dma(), len_bytes: piece.len_bytes() }
}

/// Many regions at once, half of them from a clone.
fn overlap<D: Dma>(dma: &D) -> Result<(), Finding> {
    let clone = dma.clone();
    let mut live: Vec<(u8, Piece<'_, D>)> = Vec::new();
    for number in 0..LIVE {
        let from = if number.is_multiple_of(2) { dma } else { &clone };
        let len_bytes = LENGTHS.get(number % LENGTHS.len()).copied().unwrap_or(64);
        let Ok(piece) = Piece::alloc(from, request(len_bytes, 64, 64)) else { continue };
        for (_, other) in &live {
            let (one, two) = (place(other), place(&piece));
            if one.shares_cpu_bytes(&two) || one.shares_device_bytes(&two) {
                return Err(Finding::Overlap { first: one, second: two });
            }
        }
        let byte = u8::try_from(number).unwrap_or(0).wrapping_add(1);
        piece.fill(byte);
        live.push((byte, piece));
    }
    for (byte, piece) in &live {
        if let Some((at, value)) = piece.first_other_than(*byte) {
            return Err(Finding::NotKept { place: place(piece), at, stored: *byte, value });
        }
    }
    Ok(())
}

fn refusal<D: Dma>(dma: &D) -> Result<(), Finding> {
    let max = dma.limits().max_segment_bytes;
    let beyond = [Some(IMPOSSIBLE_BYTES), max.checked_add(1).filter(|len| *len < IMPOSSIBLE_BYTES)];
    for len_bytes in beyond.into_iter().flatten() {
        if let Ok(piece) = Piece::alloc(dma, request(len_bytes, 1, 64)) {
            return Err(Finding::ImpossibleGranted {
                place: place(&piece),
                len_bytes,
                max_segment_bytes: max,
            });
        }
    }
    Ok(())
}

fn mapping<D: Dma>(dma: &D) -> Verdict {
    let limits = dma.limits();
    let granule = limits.mapping_granule.bytes().max(64);
    let len_bytes = granule.max(1536).next_multiple_of(granule);
    if len_bytes > limits.max_segment_bytes {
        return Verdict::NotOffered("no segment is long enough for a frame");
    }
    let mut memory = vec![SCRIBBLE; len_bytes.saturating_add(granule)];
    let skip = memory.as_ptr().align_offset(granule);
    let Some(memory) = memory.get_mut(skip..).and_then(|rest| rest.get_mut(..len_bytes)) else {
        return Verdict::NotRun("no aligned memory to map".into());
    };
    for round in 0..MAPPING_ROUNDS {
        let lent = match raw::lend(dma, memory, Direction::ToDevice) {
            Ok(lent) => lent,
            Err(error) if error.reason == DmaErrorReason::Unmappable => {
                return Verdict::NotOffered("`map` answers `Unmappable`, and no Paravane driver calls it");
            }
            Err(error) => return Verdict::Failed(Finding::MapRefused { len_bytes, round, error }),
        };
        if !lent.is_ours {
            return Verdict::Failed(Finding::MapOther { len_bytes });
        }
        if !reaches(lent.dma, len_bytes, limits.address_bits) {
            let address_bits = limits.address_bits;
            return Verdict::Failed(Finding::MapTooHigh { dma: lent.dma, address_bits });
        }
        if let Some(at) = memory.iter().position(|byte| *byte != SCRIBBLE) {
            return Verdict::Failed(Finding::MapSpoiled { at, len_bytes });
        }
    }
    Verdict::Passed
}

fn give_back<D: Dma>(dma: &D, rounds: u32) -> Result<(), Finding> {
    let len_bytes = NEEDED_BYTES.min(dma.limits().max_segment_bytes);
    for round in 0..rounds {
        if let Err(error) = Piece::alloc(dma, request(len_bytes, 64, 64)) {
            return match round {
                // Is reported by the check for what has to be had.
                0 => Ok(()),
                _ => Err(Finding::NothingComesBack { rounds: round, len_bytes, error }),
            };
        }
    }
    Ok(())
}
