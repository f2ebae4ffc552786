//! What may move to another core, what two cores may share, and what makes a trait object. Held
//! when this is compiled.

use paravane_block::{
    BlockBuffer, BlockPool, Capacity, Completion, Control, DiskInfo, InFlight, Request, RequestError,
    RequestQueue, Rules, SubmitError,
};
use static_assertions::{assert_impl_all, assert_not_impl_any, assert_obj_safe};

assert_obj_safe!(RequestQueue<BlockBuffer>, RequestQueue<Vec<BlockBuffer>>, Control);
assert_impl_all!(dyn RequestQueue<BlockBuffer>: Send);
assert_impl_all!(dyn Control: Send);
assert_impl_all!(Box<dyn RequestQueue<BlockBuffer>>: RequestQueue<BlockBuffer>);
assert_impl_all!(&'static mut dyn RequestQueue<BlockBuffer>: RequestQueue<BlockBuffer>);
assert_impl_all!(Box<dyn Control>: Control);

// One pool for all cores; a buffer has one owner.
assert_impl_all!(BlockPool: Send, Sync, Clone);
assert_impl_all!(BlockBuffer: Send, Sync);
assert_not_impl_any!(BlockBuffer: Clone);
assert_impl_all!(Request<BlockBuffer>: Send);
assert_not_impl_any!(Request<BlockBuffer>: Clone);
assert_impl_all!(Completion<BlockBuffer>: Send);
assert_impl_all!(InFlight<BlockBuffer>: Send);
assert_impl_all!(Rules: Send, Sync, Clone);
assert_impl_all!(Capacity: Send, Sync, Clone);

assert_impl_all!(DiskInfo: Send, Sync, Copy);
assert_impl_all!(RequestError: Send, Sync, std::error::Error);
assert_impl_all!(SubmitError: Send, Sync, std::error::Error);
