#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

pub mod access;
mod address;
pub mod assign;
pub mod bar;
pub mod bridge;
pub mod capability;
mod command;
mod enumerate;
mod function;
mod header;
pub mod interrupts;
#[cfg(feature = "acpi")]
#[cfg_attr(docsrs, doc(cfg(feature = "acpi")))]
pub mod mcfg;
#[cfg(feature = "acpi")]
#[cfg_attr(docsrs, doc(cfg(feature = "acpi")))]
pub mod tables;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod word_tests;

pub use access::{
    CONFIG_BYTES, Cam, ConfigAccess, DwordAccess, Dwords, EXTENDED_CONFIG_BYTES, Ecam, EcamEntry, EcamError,
    Patched,
};
pub use address::{ParseAddressError, PciAddress};
pub use assign::{AddressWindow, AssignError, AssignErrorReason, Resource, Windows, assign_all};
pub use bar::{Bar, BarError, BarErrorReason, BarKind, BarShape};
pub use capability::messages::MessagesError;
pub use capability::msi::{Msi, MsiError};
pub use capability::msix::{Msix, MsixError, MsixTable};
pub use capability::power::PowerError;
pub use capability::vendor::VendorCapability;
pub use capability::{Capability, CapabilityError, CapabilityErrorReason, CapabilityId, ExtendedCapability};
pub use command::{CommandError, PathError, QuiesceError};
pub use enumerate::{
    Found, FoundFunction, MAX_DEPTH, Skip, SkipReason, enumerate, enumerate_all, enumerate_from,
};
pub use function::{ClaimError, Function};
pub use interrupts::{FunctionInterrupts, InterruptError};
/// Both drivers take an access that may move to another thread, or a reference that threads share;
/// and a kernel with several kinds of access may have one behind a pointer.
const _: () = {
    const fn is_send<T: Send>() {}
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Cam<()>>();
    is_send_and_sync::<Ecam<()>>();
    is_send::<Function<Cam<()>>>();
    is_send::<MsixTable<()>>();
    let _: Option<&dyn ConfigAccess> = None;
};

pub use header::{BridgeBuses, Command, HeaderKind, Ids, InterruptPin, Status};
