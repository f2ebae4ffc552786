//! What can be sent where, said to the compiler: the parts of a running device go to cores of their
//! own, and each has one owner. That no more is asked of a platform than to be one, and that queues
//! and control are objects.

#![allow(missing_docs, reason = "tests")]

use paravane_hal::Platform;
use paravane_mock_hal::{MockPlatform, PciHost};
use paravane_net::{Control, RxQueue, TxQueue};
use paravane_pci::ConfigAccess;
use paravane_vmxnet3::{Device, Running, VmxControl};
use static_assertions::{assert_impl_all, assert_not_impl_any};

assert_impl_all!(paravane_vmxnet3::RxQueue<MockPlatform>: Send, RxQueue);
assert_impl_all!(paravane_vmxnet3::TxQueue<MockPlatform>: Send, TxQueue);
assert_impl_all!(VmxControl<MockPlatform, PciHost>: Send, Control);
assert_impl_all!(Device<MockPlatform, PciHost>: Send);
assert_impl_all!(Running<MockPlatform, PciHost>: Send);
assert_not_impl_any!(paravane_vmxnet3::RxQueue<MockPlatform>: Sync);
assert_not_impl_any!(paravane_vmxnet3::TxQueue<MockPlatform>: Sync);

/// Compiles, and that is all it is for.
fn _any_platform_will_do<P: Platform + 'static, C: ConfigAccess + Send + 'static>(
    Running { control, rx, tx }: Running<P, C>,
) -> (Box<dyn Control>, Box<dyn RxQueue>, Box<dyn TxQueue>) {
    (Box::new(control), Box::new(rx), Box::new(tx))
}
