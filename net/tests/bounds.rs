//! What may move to another core, what two cores may share, and what makes a trait object. Held
//! when this is compiled.

use paravane_net::{
    Burst, Control, Frame, FrameLayout, FramePool, FrameSegment, NicInfo, RxFilterError, RxQueue, TxQueue,
};
use static_assertions::{assert_impl_all, assert_not_impl_any, assert_obj_safe};

assert_obj_safe!(RxQueue, TxQueue, Control);
assert_impl_all!(dyn RxQueue: Send);
assert_impl_all!(dyn TxQueue: Send);
assert_impl_all!(dyn Control: Send);
assert_impl_all!(Box<dyn RxQueue>: RxQueue);
assert_impl_all!(Box<dyn TxQueue>: TxQueue);
assert_impl_all!(Box<dyn Control>: Control);
assert_impl_all!(&'static mut dyn RxQueue: RxQueue);

// One pool for all cores; a frame has one owner.
assert_impl_all!(FramePool: Send, Sync, Clone);
assert_impl_all!(Frame: Send, Sync);
assert_not_impl_any!(Frame: Clone);
assert_impl_all!(Burst: Send, Sync, Default);
assert_not_impl_any!(Burst: Clone);
assert_impl_all!(FrameSegment<'static>: Send, Sync, Copy);

assert_impl_all!(FrameLayout: Send, Sync, Copy);
assert_impl_all!(NicInfo: Send, Sync, Copy);
assert_impl_all!(RxFilterError: Send, Sync, std::error::Error);
