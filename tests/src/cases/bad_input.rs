//! Input that is wrong: a clear line says what and where, and everything else works on.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::guest::{self, Guest, Plan};
use crate::qemu::{Machine, NicModel, nic_address};
use crate::runner::{Case, Subject};

const LINE_LIMIT: Duration = Duration::from_secs(10);

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("bad-input/unknown-words", unknown_words),
        Case::new("bad-input/long-command-line", long_command_line),
        Case::new("bad-input/little-memory", little_memory),
    ];
    for machine in [Machine::Pc, Machine::Q35] {
        let name = |what: &str| format!("bad-input/{what}/{}", machine.name());
        cases.push(Case::new(name("no-nic"), move |subject| no_nic(subject, machine)));
        cases.push(Case::new(name("no-any-layout"), move |subject| {
            let nics = [NicModel::Vmxnet3, NicModel::VirtioAncient, NicModel::VirtioModern];
            one_bad_nic(subject, Plan::new(machine, &nics, "auto"), "ANY_LAYOUT")
        }));
        cases.push(Case::new(name("refused-mtu"), move |subject| {
            let nics = [NicModel::Vmxnet3, NicModel::Vmxnet3, NicModel::VirtioModern];
            let plan = Plan::new(machine, &nics, "auto").word("public=10.77.1.2/24,mtu=9500");
            one_bad_nic(subject, plan, "skipped")
        }));
        // Offset 04h is the command register: it reads as memory decoding on, bus mastering off,
        // whatever is written. The drivers switch that on when the rings are made and described,
        // one step before ACTIVATE_DEV or DRIVER_OK.
        for (model, model_name) in [(NicModel::Vmxnet3, "vmxnet3"), (NicModel::VirtioModern, "virtio")] {
            cases.push(Case::new(name(&format!("no-bus-mastering-{model_name}")), move |subject| {
                let nics = [NicModel::Vmxnet3, model, NicModel::VirtioModern];
                let plan =
                    Plan::new(machine, &nics, "auto").word(format!("pci-patch={}+4=02", nic_address(1)));
                one_bad_nic(subject, plan, "command register reads 0x")
            }));
        }
        // Offset 34h is the head of the list. QEMU puts MSI at 84h of its vmxnet3, and a capability
        // of virtio at 84h as well; a list whose only element points at itself never ends for
        // whoever walks it blindly.
        for (model, model_name) in [(NicModel::Vmxnet3, "vmxnet3"), (NicModel::VirtioModern, "virtio")] {
            cases.push(Case::new(name(&format!("capability-loop-{model_name}")), move |subject| {
                let nics = [NicModel::Vmxnet3, model, NicModel::VirtioModern];
                let at = nic_address(1);
                let plan = Plan::new(machine, &nics, "auto")
                    .word(format!("pci-patch={at}+34=84"))
                    .word(format!("pci-patch={at}+85=84"));
                one_bad_nic(subject, plan, "capabilit")
            }));
        }
    }
    cases
}

fn unknown_words(subject: Subject<'_>) -> Result<String> {
    let words = ["wibble=1", "quux", "admin2=10.0.0.1/24", "irq=sometimes", "=", "log=loudly"];
    let mut plan = Plan::new(Machine::Pc, &[NicModel::Vmxnet3], "auto");
    for word in words {
        plan = plan.word(word);
    }
    guest::run(subject.image, &plan, |guest| {
        for word in words {
            guest.wait_line(0, &[word], LINE_LIMIT)?;
        }
        guest.get(0, "/")?;
        Ok(format!("{} words named", words.len()))
    })
}

/// The words that fit are understood, the one that is cut in two is not, and that is said.
fn long_command_line(subject: Subject<'_>) -> Result<String> {
    let mut plan = Plan::new(Machine::Pc, &[NicModel::Vmxnet3], "msi");
    for _ in 0..300 {
        plan = plan.word("log=info");
    }
    plan = plan.word("irq=polling");
    guest::run(subject.image, &plan, |guest| {
        let line = guest.wait_line(0, &["command line: longer than"], LINE_LIMIT)?.line;
        let ignored = guest.qemu().console().find(0, &["' ignored"]);
        ensure!(ignored.is_none(), "part of a word was taken for a word: {ignored:?}");
        let interrupts = guest.status(0)?.nic("admin")?.interrupts;
        ensure!(
            interrupts == "msi",
            "interrupts {interrupts}: words in front of the cut count, those behind do not"
        );
        Ok(crate::console::text(&line).to_owned())
    })
}

/// Too little for all connections of four NICs: there are fewer of them, and every NIC serves.
fn little_memory(subject: Subject<'_>) -> Result<String> {
    let mut plan = Plan::new(Machine::Pc, &[NicModel::Vmxnet3; 4], "auto");
    plan.memory_mib = 32;
    guest::run(subject.image, &plan, |guest| {
        let line = guest.wait_line(0, &["connections at a time"], LINE_LIMIT)?.line;
        (0..4).try_for_each(|nic| serves(guest, nic))?;
        Ok(crate::console::text(&line).to_owned())
    })
}

fn no_nic(subject: Subject<'_>, machine: Machine) -> Result<String> {
    const WATCH: Duration = Duration::from_secs(3);
    guest::run_to(subject.image, &Plan::new(machine, &[], "auto"), &["no NIC found"], |guest| {
        let before = guest.qemu().cpu_time()?;
        thread::sleep(WATCH);
        ensure!(!guest.qemu().console().has_ended(), "the guest did not stay up without a NIC");
        let used = guest.qemu().cpu_time()?.saturating_sub(before);
        ensure!(used < WATCH / 10, "{used:?} of processor time in {WATCH:?} with nothing to do");
        Ok("said so, and idles".into())
    })
}

/// NIC 1 is bad: one line names it, and why; NICs 0 and 2 serve.
fn one_bad_nic(subject: Subject<'_>, plan: Plan, reason: &str) -> Result<String> {
    let model = *plan.nics.get(1).context("a plan without a second NIC")?;
    guest::run(subject.image, &plan, |guest| {
        let address = nic_address(1);
        let line = guest.wait_line(0, &[&address, model.ids(), reason], LINE_LIMIT)?.line;
        let statuses = guest.status(0)?.nics()?;
        for nic in [0, 2] {
            serves(guest, nic)?;
            let place = nic_address(nic);
            ensure!(
                statuses.iter().any(|seen| seen.place == place),
                "the NIC at {place} is missing in the status"
            );
        }
        Ok(crate::console::text(&line).to_owned())
    })
}

fn serves(guest: &mut Guest, nic: usize) -> Result<()> {
    guest.get(nic, "/")?;
    guest.download(nic, 100_000, Duration::from_secs(30)).map(drop)
}
