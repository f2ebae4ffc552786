//! Devices, written from what is known about them and not from their drivers, so that a misreading
//! shows.
//!
//! A model does what its device does when the driver keeps the rules, writes down every rule that
//! the driver breaks, and can be told to break rules itself.

mod toeplitz;
pub mod virtio;
pub mod vmxnet3;
