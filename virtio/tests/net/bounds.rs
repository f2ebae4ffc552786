//! What the compiler has to say about who may have the parts of a running device: one owner each,
//! on any core.

use crate::support::*;
use paravane_mock_hal::MockPlatform;
use paravane_virtio::net::{Device, NetControl, Running, RxQueue, TxQueue};
use static_assertions::{assert_impl_all, assert_not_impl_any};

assert_impl_all!(RxQueue<MockPlatform>: Send, paravane_net::RxQueue);
assert_impl_all!(TxQueue<MockPlatform>: Send, paravane_net::TxQueue);
assert_impl_all!(NetControl<MockPlatform, Bus>: Send, paravane_net::Control);
assert_impl_all!(Device<MockPlatform, Bus>: Send);
assert_impl_all!(Up: Send);
assert_not_impl_any!(RxQueue<MockPlatform>: Sync);
assert_not_impl_any!(TxQueue<MockPlatform>: Sync);
assert_not_impl_any!(NetControl<MockPlatform, Bus>: Sync);
assert_not_impl_any!(Running<MockPlatform, Bus>: Sync);
