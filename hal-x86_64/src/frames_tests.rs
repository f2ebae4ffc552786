use super::*;
use proptest::prelude::*;

const MIB: u64 = 1 << 20;

fn with(ranges: &[(u64, u64)]) -> FrameAllocator<16> {
    let mut frames = FrameAllocator::new();
    for &(start, end) in ranges {
        frames.add(PhysRange::between(start, end)).unwrap();
    }
    frames
}

fn request(frames: usize) -> FrameRequest {
    FrameRequest { frames: NonZeroUsize::new(frames).unwrap(), ..FrameRequest::ONE }
}

#[test]
fn runs_come_from_the_top() {
    let mut frames = with(&[(MIB, 2 * MIB), (16 * MIB, 17 * MIB)]);
    assert_eq!(frames.alloc(request(1)).unwrap().start, PhysAddr::new(17 * MIB - 0x1000));
    assert_eq!(frames.alloc(request(2)).unwrap().start, PhysAddr::new(17 * MIB - 0x3000));
    assert_eq!(frames.in_use_bytes(), 0x3000);
    assert_eq!(frames.managed_bytes(), 2 * MIB);
}

#[test]
fn a_narrow_device_gets_low_memory_or_is_told() {
    let mut frames = with(&[(MIB, 2 * MIB), (1 << 32, (1 << 32) + MIB)]);
    let narrow = FrameRequest { address_bits: 32, ..request(1) };
    assert_eq!(frames.alloc(narrow).unwrap().start, PhysAddr::new(2 * MIB - 0x1000));
    let narrower = FrameRequest { address_bits: 20, ..request(1) };
    assert_eq!(frames.alloc(narrower), Err(FrameError::AddressWidth { address_bits: 20 }));
    assert_eq!(frames.alloc(request(1000)), Err(FrameError::OutOfMemory));
}

#[test]
fn a_limit_inside_a_range_splits_it() {
    let mut frames = with(&[(0x1000, 0x10_0000)]);
    let run = frames.alloc(FrameRequest { address_bits: 16, ..request(1) }).unwrap();
    assert_eq!(run.start, PhysAddr::new(0xf000));
    assert_eq!(frames.free.len, 2);
    frames.free(run).unwrap();
    assert_eq!(frames.free.len, 1, "the pieces joined again");
}

#[test]
fn alignment_is_of_the_address() {
    let mut frames = with(&[(0x3000, 0x1f_f000)]);
    let run = frames.alloc(FrameRequest { align: Align::new(0x10_0000), ..request(3) }).unwrap();
    assert_eq!(run.start, PhysAddr::new(0x10_0000));
}

#[test]
fn ranges_are_rounded_to_whole_frames() {
    let frames = with(&[(0x1001, 0x3fff), (0x5001, 0x5fff)]);
    assert_eq!(frames.managed_bytes(), 0x1000);
}

#[test]
fn what_was_not_given_out_is_not_taken_back() {
    let mut frames = with(&[(MIB, 2 * MIB)]);
    let run = frames.alloc(request(4)).unwrap();
    let outside = FrameRun { start: PhysAddr::new(4 * MIB), ..run };
    let crooked = FrameRun { start: PhysAddr::new(run.start.get() + 1), ..run };
    assert_eq!(frames.free(outside), Err(FrameError::NotManaged));
    assert_eq!(frames.free(crooked), Err(FrameError::NotManaged));
    frames.free(run).unwrap();
    assert_eq!(frames.free(run), Err(FrameError::Overlap));
    assert_eq!(frames.free_bytes(), MIB);
}

#[test]
fn memory_is_given_once() {
    let mut frames = with(&[(MIB, 2 * MIB)]);
    assert_eq!(frames.add(PhysRange::between(MIB + 0x8000, 3 * MIB)), Err(FrameError::Overlap));
    let _whole = frames.alloc(request(256)).unwrap();
    assert_eq!(
        frames.add(PhysRange::between(MIB, 2 * MIB)),
        Err(FrameError::Overlap),
        "in use, and still its own"
    );
    assert_eq!(frames.managed_bytes(), MIB);
}

#[test]
fn a_full_table_refuses_to_give_rather_than_to_take() {
    let mut frames = FrameAllocator::<4>::new();
    frames.add(PhysRange::between(MIB, 2 * MIB)).unwrap();
    let runs: Vec<_> = (0..8).map_while(|_| frames.alloc(request(1)).ok()).collect();
    assert_eq!(runs.len(), 3, "three runs and one free piece");
    assert_eq!(frames.alloc(request(1)), Err(FrameError::TableFull));
    for index in [1, 0, 2] {
        frames.free(runs[index]).unwrap();
    }
    assert_eq!(frames.free_bytes(), MIB);
}

#[derive(Clone, Debug)]
enum Step {
    Alloc { frames: usize, align_shift: u32, address_bits: u8 },
    Free { which: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..40usize, 12..18u32, prop_oneof![Just(64u8), 18..24u8]).prop_map(
            |(frames, align_shift, address_bits)| Step::Alloc { frames, align_shift, address_bits }
        ),
        (0..64usize).prop_map(|which| Step::Free { which }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Against a plain list of frames: no frame is given out twice or from outside, each run keeps
    /// to its request, and all comes back.
    #[test]
    fn the_allocator_agrees_with_a_list_of_frames(
        holes in proptest::collection::vec(0..2048u64, 0..6),
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut frames = FrameAllocator::<24>::new();
        let mut cuts: Vec<u64> = holes;
        cuts.sort_unstable();
        cuts.dedup();
        let mut given = std::collections::BTreeSet::new();
        let mut first = 1;
        for cut in cuts.into_iter().chain([2048]) {
            if cut > first {
                frames.add(PhysRange::between(first * 4096, cut * 4096)).unwrap();
                given.extend(first..cut);
            }
            first = cut + 2;
        }
        let all = given.clone();
        let mut live: Vec<FrameRun> = Vec::new();
        for step in steps {
            match step {
                Step::Alloc { frames: count, align_shift, address_bits } => {
                    let wanted = FrameRequest {
                        frames: NonZeroUsize::new(count).unwrap(),
                        align: Align::new(1 << align_shift),
                        address_bits,
                    };
                    match frames.alloc(wanted) {
                        Ok(run) => {
                            prop_assert!(run.start.get().is_multiple_of(1 << align_shift));
                            let end = run.start.get() + run.len_bytes() as u64;
                            prop_assert!(address_bits == 64 || end <= 1 << address_bits);
                            for frame in run.start.get() / 4096..end / 4096 {
                                prop_assert!(given.remove(&frame), "frame {frame} was not free");
                            }
                            live.push(run);
                        }
                        Err(FrameError::TableFull) => prop_assert!(live.len() >= 8),
                        Err(_) => {
                            let align = 1u64 << (align_shift - 12);
                            let limit = if address_bits == 64 { u64::MAX } else { 1 << (address_bits - 12) };
                            let fits = (0..2048u64).step_by(usize::try_from(align).unwrap()).any(|at| {
                                at + count as u64 <= limit && (at..at + count as u64).all(|frame| given.contains(&frame))
                            });
                            prop_assert!(!fits, "a run was there and was refused");
                        }
                    }
                }
                Step::Free { which } if !live.is_empty() => {
                    let run = live.swap_remove(which % live.len());
                    frames.free(run).unwrap();
                    let first = run.start.get() / 4096;
                    given.extend(first..first + run.frames.get() as u64);
                }
                Step::Free { .. } => {}
            }
            prop_assert_eq!(frames.free_bytes(), given.len() as u64 * 4096);
        }
        for run in live {
            frames.free(run).unwrap();
        }
        prop_assert_eq!(frames.in_use_bytes(), 0);
        prop_assert_eq!(frames.managed_bytes(), all.len() as u64 * 4096);
    }
}
