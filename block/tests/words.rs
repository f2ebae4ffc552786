//! How requests and what became of them read.

use std::error::Error as _;

use paravane_block::{
    BlockBuffer, BlockLayout, BlockPool, Request, RequestError, RequestFault, SectorRange, SubmitError,
};
use paravane_hal::fault::DeviceFault;
use paravane_mock_hal::MockPlatform;

#[test]
fn a_request_that_failed_says_which_and_why() {
    let said =
        |request: Request<BlockBuffer>, fault| RequestError::new(&request.with_token(7), fault).to_string();
    assert_eq!(
        said(Request::flush(), RequestFault::Unsupported),
        "flush (token 7): the device does not support it"
    );
    let pool = BlockPool::new(MockPlatform::new(), BlockLayout::new(4)).unwrap();
    let data = || pool.get().unwrap();
    assert_eq!(
        said(Request::read(9, data()), RequestFault::Io),
        "read at sector 9 (token 7): the device reports an I/O error"
    );
    assert_eq!(
        said(Request::identify(data()), RequestFault::Short { written_bytes: 3, expected_bytes: 20 }),
        "identify (token 7): the device says that it wrote 3 bytes of 20"
    );
    let range = SectorRange { sector: 4, sectors: 2 };
    let io = |request| said(request, RequestFault::Io).split(" (").next().map(str::to_owned).unwrap();
    assert_eq!(io(Request::discard(range)), "discard of 2 sectors at 4");
    assert_eq!(io(Request::write_zeroes(range, false)), "zeroes for 2 sectors at 4");
    assert_eq!(io(Request::secure_erase(range)), "secure erase of 2 sectors at 4");
    assert_eq!(io(Request::lifetime(data())), "lifetime");
    assert_eq!(
        said(Request::write(1, data()), RequestFault::UnknownStatus { status: 0xff }),
        "write at sector 1 (token 7): the device gave status 0xff, which does not exist"
    );
}

#[test]
fn a_request_that_is_not_taken_says_what_it_should_be() {
    let errors = [
        (SubmitError::Full, "full"),
        (SubmitError::TooLong { segments: 9, max_segments: 8 }, "takes 9 segments, and the queue has 8"),
        (SubmitError::TooFragmented { max_segments: 2 }, "the 2 segments"),
        (SubmitError::ReadOnly, "read-only"),
        (SubmitError::Unsupported, "no such operation"),
        (SubmitError::WrongData, "data"),
        (
            SubmitError::NotBlocks { bytes: 700, block_bytes: 512 },
            "700 bytes or their place are no multiple of 512",
        ),
        (
            SubmitError::OutOfRange { sector: 9, sectors: 2, capacity_sectors: 10 },
            "2 sectors at 9 lie beyond the disk's 10",
        ),
        (SubmitError::Foreign, "does not reach"),
        (SubmitError::WrongDirection, "other direction"),
    ];
    for (error, text) in errors {
        assert!(error.to_string().contains(text), "{error}");
        assert!(error.source().is_none());
    }
    let broken = SubmitError::from(DeviceFault::NeedsReset);
    assert_eq!(broken.to_string(), DeviceFault::NeedsReset.to_string());
    assert!(broken.source().is_some());
}
