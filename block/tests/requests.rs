//! Requests, the rules that they have to keep, and the table of those in flight.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the failure")]
#![expect(unsafe_code, reason = "there is no device, so it is quiet")]

use paravane_block::{
    BlockBuffer, BlockLayout, BlockPool, Capacity, DiskInfo, ID_BYTES, InFlight, LIFETIME_BYTES, Operation,
    RangeLimits, Request, RequestFault, Rules, SectorRange, SubmitError, Transfer,
};
use paravane_hal::dma::{DeviceDma, DeviceTag, Direction, Dma as _, DomainTag, Mapped, Quiet};
use paravane_mock_hal::MockPlatform;

const INFO: DiskInfo = DiskInfo { block_bytes: 1024, max_in_flight: 4, ..DiskInfo::plain("none") };

struct Bench {
    platform: MockPlatform,
    pool: BlockPool,
    rules: Rules,
}

fn bench() -> Bench {
    let platform = MockPlatform::new();
    let pool = BlockPool::new(platform.clone(), BlockLayout::new(8)).unwrap();
    let rules = Rules {
        info: INFO,
        capacity: Capacity::new(100),
        domain: platform.domain(),
        device: DeviceTag::unique(),
    };
    Bench { platform, pool, rules }
}

impl Bench {
    fn buffer(&self, len_bytes: usize) -> BlockBuffer {
        let mut buffer = self.pool.get().unwrap();
        assert!(buffer.set_len_bytes(len_bytes));
        buffer
    }

    fn read(&self, sector: u64, len_bytes: usize) -> Result<Transfer, SubmitError> {
        self.rules.check(&Request::read(sector, self.buffer(len_bytes)))
    }
}

#[test]
fn a_buffer_ends_where_it_was_told_to() {
    let bench = bench();
    let mut buffer = bench.buffer(600);
    assert!(buffer.copy_in(88, &[7; 512]) && !buffer.copy_in(89, &[7; 512]));
    let mut bytes = [0; 512];
    assert!(buffer.copy_out(88, &mut bytes) && !buffer.copy_out(usize::MAX, &mut bytes));
    assert_eq!(bytes, [7; 512]);
    assert!(buffer.dma_addr(600).is_some() && buffer.dma_addr(601).is_none());
    assert!(!buffer.set_len_bytes(4097));
    assert_eq!((buffer.len_bytes(), buffer.capacity_bytes()), (600, 4096));
    drop(buffer);
    assert_eq!(bench.pool.free(), bench.pool.buffers());
    assert_eq!(bench.pool.get().unwrap().len_bytes(), 4096, "whole again");
}

#[test]
fn whole_blocks_inside_the_disk_are_taken() {
    let bench = bench();
    let direction = Some(Direction::FromDevice);
    let read = Transfer { bytes: 2048, direction, segments: 1, granule_bytes: 1024 };
    assert_eq!(bench.read(96, 2048), Ok(read));
    let write = bench.rules.check(&Request::write(0, [bench.buffer(1000), bench.buffer(24)]));
    let direction = Some(Direction::ToDevice);
    assert_eq!(write, Ok(Transfer { bytes: 1024, direction, segments: 2, granule_bytes: 1024 }));
}

#[test]
fn segments_are_as_many_as_the_longest_one_makes_them() {
    let mut bench = bench();
    let mut segments = |max_segment_bytes, lens: [usize; 3]| {
        bench.rules.info.limits.max_segment_bytes = max_segment_bytes;
        let data = lens.map(|len_bytes| bench.buffer(len_bytes));
        bench.rules.check(&Request::write(0, data)).unwrap().segments
    };
    assert_eq!(segments(512, [512, 513, 1023]), 1 + 2 + 2);
    assert_eq!(segments(511, [512, 0, 512]), 4, "what is empty is none");
    assert_eq!(segments(1, [1024, 1, 1023]), 2048);
    assert_eq!(segments(0, [1024, 0, 0]), usize::MAX, "no segment is that short");
}

#[test]
fn blocks_are_not_cut_and_not_shifted() {
    let bench = bench();
    assert_eq!(bench.read(0, 1536), Err(SubmitError::NotBlocks { bytes: 1536, block_bytes: 1024 }));
    assert_eq!(bench.read(1, 1024), Err(SubmitError::NotBlocks { bytes: 1024, block_bytes: 1024 }));
}

#[test]
fn nothing_reaches_beyond_the_end() {
    let bench = bench();
    let beyond = |sector, sectors, capacity_sectors| {
        Err(SubmitError::OutOfRange { sector, sectors, capacity_sectors })
    };
    assert_eq!(bench.read(98, 2048), beyond(98, 4, 100));
    let last = u64::MAX - 1;
    assert_eq!(bench.read(last, 1024), beyond(last, 2, 100), "the sum does not wrap");
    assert!(bench.rules.capacity.clone().set(102));
    assert!(bench.read(98, 2048).is_ok(), "the disk has grown");
    assert!(!bench.rules.capacity.set(102));
}

#[test]
fn a_read_only_disk_is_read_and_flushed() {
    let mut bench = bench();
    bench.rules.info.read_only = true;
    let write = Request::write(0, bench.buffer(1024));
    assert_eq!(bench.rules.check(&write), Err(SubmitError::ReadOnly));
    assert!(bench.read(0, 1024).is_ok());
    assert!(bench.rules.check(&Request::<BlockBuffer>::flush()).is_ok());
}

#[test]
fn data_is_there_where_it_is_needed_and_nowhere_else() {
    let bench = bench();
    let flush = Request { data: Some(bench.buffer(1024)), ..Request::flush() };
    assert_eq!(bench.rules.check(&flush), Err(SubmitError::WrongData));
    let read = Request::<BlockBuffer> { operation: Operation::Read { sector: 0 }, token: 0, data: None };
    assert_eq!(bench.rules.check(&read), Err(SubmitError::WrongData));
    assert_eq!(bench.read(0, 0), Err(SubmitError::WrongData));
}

#[test]
fn an_identity_has_its_length_and_stays_whole() {
    let bench = bench();
    let identify = |len_bytes| bench.rules.check(&Request::identify(bench.buffer(len_bytes)));
    assert_eq!(identify(ID_BYTES).unwrap().granule_bytes, 20);
    assert_eq!(identify(40), Err(SubmitError::NotBlocks { bytes: 40, block_bytes: 20 }));
}

#[test]
fn wear_is_asked_of_disks_that_tell() {
    let mut bench = bench();
    let ask = |bench: &Bench, len_bytes| bench.rules.check(&Request::lifetime(bench.buffer(len_bytes)));
    assert_eq!(ask(&bench, LIFETIME_BYTES), Err(SubmitError::Unsupported));
    bench.rules.info.lifetime = true;
    assert_eq!(ask(&bench, LIFETIME_BYTES).unwrap().granule_bytes, 6);
    assert_eq!(ask(&bench, 12), Err(SubmitError::NotBlocks { bytes: 12, block_bytes: 6 }));
}

#[test]
fn ranges_are_whole_blocks_inside_a_disk_that_does_it() {
    let some = RangeLimits::new(16, 0, 1024);
    let only: [fn(&mut DiskInfo) -> &mut Option<RangeLimits>; 3] =
        [|info| &mut info.discard, |info| &mut info.write_zeroes, |info| &mut info.secure_erase];
    let asks: [fn(SectorRange) -> Request<BlockBuffer>; 3] =
        [Request::discard, |range| Request::write_zeroes(range, true), Request::secure_erase];
    for (able, only) in only.into_iter().enumerate() {
        let mut bench = bench();
        *only(&mut bench.rules.info) = some;
        for (asked, ask) in asks.into_iter().enumerate() {
            let check = |bench: &Bench, sector, sectors| {
                bench.rules.check(&ask(SectorRange { sector, sectors })).map(|transfer| transfer.direction)
            };
            if able != asked {
                assert_eq!(check(&bench, 0, 2), Err(SubmitError::Unsupported));
                continue;
            }
            assert_eq!([check(&bench, 0, 2), check(&bench, 96, 4)], [Ok(None); 2]);
            assert_eq!(check(&bench, 0, 0), Err(SubmitError::WrongData), "no sectors");
            let halves = Err(SubmitError::NotBlocks { bytes: 512, block_bytes: 1024 });
            assert_eq!(check(&bench, 0, 1), halves);
            let beyond = SubmitError::OutOfRange { sector: 98, sectors: 4, capacity_sectors: 100 };
            assert_eq!(check(&bench, 98, 4), Err(beyond));
            let with_data =
                Request { data: Some(bench.buffer(1024)), ..ask(SectorRange { sector: 0, sectors: 2 }) };
            assert_eq!(bench.rules.check(&with_data), Err(SubmitError::WrongData));
            bench.rules.info.read_only = true;
            assert_eq!(check(&bench, 0, 2), Err(SubmitError::ReadOnly));
            bench.rules.info.read_only = false;
        }
    }
}

#[test]
fn memory_of_others_is_refused() {
    let mut bench = bench();
    let dma = |device| DeviceDma::new(bench.platform.clone(), device, 64);
    let mapped = |device| Mapped::new(&dma(device), vec![0_u8; 1024], Direction::ToDevice).unwrap();
    let (ours, theirs) = (mapped(bench.rules.device), mapped(DeviceTag::unique()));
    let quiet = [ours.device(), theirs.device()];
    assert_eq!(bench.rules.check(&Request::write(0, theirs)), Err(SubmitError::Foreign));
    let write = Request::write(0, ours);
    assert!(bench.rules.check(&write).is_ok());
    let read = Request { operation: Operation::Read { sector: 0 }, ..write };
    assert_eq!(bench.rules.check(&read), Err(SubmitError::WrongDirection), "it was mapped for writes");
    bench.rules.domain = DomainTag::unique();
    assert_eq!(bench.read(0, 1024), Err(SubmitError::Foreign));
    // SAFETY: there is no device.
    let memory = read.data.unwrap().unmap(&unsafe { Quiet::vouch(quiet[0]) });
    assert!(memory.is_ok_and(|memory| memory.len() == 1024));
    bench.platform.memory().expect_leak(None);
}

#[test]
fn a_request_comes_back_with_its_last_part() {
    let bench = bench();
    let mut table = InFlight::new(2, bench.rules.device).unwrap();
    let (first, request) = table.insert(Request::read(8, bench.buffer(1024)).with_token(7), 3).unwrap();
    assert_eq!(request.token, 7);
    let (second, _) = table.insert(Request::write(0, bench.buffer(1024)), 1).unwrap();
    assert_eq!((table.len(), table.room()), (2, 0));
    let third = table.insert(Request::flush(), 1).unwrap_err();
    assert_eq!(third.operation, Operation::Flush, "no room, and it comes back");
    assert!(table.finish(first, Ok(())).is_none());
    assert!(table.finish(first, Err(RequestFault::Io)).is_none());
    assert_eq!(table.finish(second, Ok(())).unwrap().result, Ok(()), "in any order");
    let completion = table.finish(first, Err(RequestFault::Unsupported)).unwrap();
    let error = completion.result.unwrap_err();
    assert_eq!(error.to_string(), "read at sector 8 (token 7): the device reports an I/O error");
    assert!(table.finish(first, Ok(())).is_none() && table.finish(9, Ok(())).is_none());
    assert!(table.is_empty());
}

#[test]
fn what_is_in_flight_is_given_back_against_proof_and_leaked_without() {
    let bench = bench();
    let mut table = InFlight::new(4, bench.rules.device).unwrap();
    for token in 0..3 {
        let request = Request::read(0, bench.buffer(1024)).with_token(token);
        assert!(table.insert(request, 1).is_ok());
    }
    // SAFETY: there is no device.
    let quiet = |device| unsafe { Quiet::vouch(device) };
    let (other, ours) = (quiet(DeviceTag::unique()), quiet(bench.rules.device));
    let mut tokens = Vec::new();
    let table = table.give_back(&other, &mut |_, _| ()).unwrap_err();
    assert_eq!(table.len(), 3, "proof about another device");
    table.give_back(&ours, &mut |request, _| tokens.push(request.token)).unwrap();
    tokens.sort_unstable();
    assert_eq!((tokens, bench.pool.free()), (vec![0, 1, 2], 8));

    let mut table = InFlight::new(4, bench.rules.device).unwrap();
    assert!(table.insert(Request::read(0, bench.buffer(1024)), 1).is_ok());
    drop(table);
    assert_eq!(bench.pool.free(), 7, "the device may have it");
    bench.platform.memory().expect_leak(None);
}
