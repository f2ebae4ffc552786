//! Files on a disk: a FAT file system, whose root directory's files are read and replaced whole.
//!
//! | Part | Holds |
//! |---|---|
//! | [`partition`] | where on the disk the file system is |
//! | `layout` | where in the file system everything is, checked before anybody relies on it |
//! | `part` | the partition as `embedded-sdmmc` wants a disk, and what went wrong with it |
//! | `chain` | which clusters a file has, and giving them back |
//! | `entry` | a directory's entry of a file |
//! | [`volume`] | files by name: mount, find, open, read |
//! | `store` | write a file, and put it in its place |
//! | `fault` | what was not done, as an answer and as a line |
//!
//! `embedded-sdmmc` reads directories, allocates and writes. It takes the file system to be what it
//! says, so what it would divide by, or follow for ever, is looked at here first. It has no way to
//! rename, so putting a new file in an old one's place is done here too.
//!
//! Every call waits for the disk; at most for [`volume::LIMIT`].

mod chain;
mod entry;
mod fault;
mod layout;
mod part;
pub mod partition;
mod store;
pub mod volume;

pub use fault::{FileError, MountError};
pub use volume::Volume;

#[cfg(test)]
mod tests;
