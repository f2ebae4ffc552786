//! What the image is judged by. Each module holds one kind of case.

mod bad_input;
mod blocked;
pub mod boot;
mod cell;
mod checks;
mod disk;
mod entropy;
mod files;
mod http_rules;
mod idle;
mod last_panic;
mod link;
mod others;
mod report;
mod restart;
pub mod router;
pub(crate) mod stop;
mod suite;

use crate::qemu::NicModel;
use crate::runner::Case;

/// Three VMXNET3 and one virtio-net: what the image is made for.
const FOUR_NICS: [NicModel; 4] =
    [NicModel::Vmxnet3, NicModel::Vmxnet3, NicModel::Vmxnet3, NicModel::VirtioModern];

/// All cases: the quick ones about the file first, then the matrix, then the others.
pub fn all() -> Vec<Case> {
    let groups = [
        boot::cases(),
        cell::cases(),
        http_rules::cases(),
        link::cases(),
        restart::cases(),
        idle::cases(),
        blocked::cases(),
        suite::cases(),
        report::cases(),
        checks::cases(),
        disk::cases(),
        files::cases(),
        others::cases(),
        entropy::cases(),
        stop::cases(),
        last_panic::cases(),
        router::cases(),
        bad_input::cases(),
    ];
    groups.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_the_matrix_is_whole() {
        let cases = super::all();
        let names: BTreeSet<&str> = cases.iter().map(|case| case.name()).collect();
        assert_eq!(names.len(), cases.len());
        let cells = |machines: [&str; 2]| {
            names.iter().filter(|name| machines.iter().any(|machine| name.starts_with(machine))).count()
        };
        assert_eq!((cells(["pc/", "q35/"]), cells(["microvm/", "microvm-"])), (32, 11));
        assert_eq!((cells(["disk/pc/", "disk/q35/"]), cells(["disk/microvm/", "disk/microvm-"])), (24, 18));
    }
}
