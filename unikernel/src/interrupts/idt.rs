//! The tables that the CPU follows on an interrupt: a gate for every vector, and a stack of their
//! own for the faults that a broken stack causes.
//!
//! Spec: Intel SDM volume 3, "Interrupt and Exception Handling", "Task Management".

#![expect(unsafe_code, reason = "tables that the CPU follows")]

use core::arch::global_asm;
use core::cell::UnsafeCell;

use paravane_hal_x86_64::lock::Once;
use x86_64::VirtAddr;
use x86_64::instructions::tables::{lidt, load_tss};
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::tss::TaskStateSegment;

use super::dispatch::dispatch;

global_asm!(include_str!("gates.s"), dispatch = sym dispatch);

unsafe extern "C" {
    /// `gates.s`: 256 gates.
    static interrupt_gates: [[u8; GATE_BYTES]; VECTORS];
}

const VECTORS: usize = 256;
const GATE_BYTES: usize = 16;
/// The code segment that `entry.s` set up, and that the table here has again at the same place.
const CODE_SELECTOR: u64 = 0x08;
/// Present, ring 0, 64-bit interrupt gate: interrupts stay off in the handler.
const INTERRUPT_GATE: u64 = 0x8e;
/// The first stack of the table; the numbers in a gate start at one.
const FAULT_STACK: u64 = 1;
const FAULT_STACK_BYTES: usize = 16 * 1024;

const NMI: usize = 2;
const DOUBLE_FAULT: usize = 8;
const MACHINE_CHECK: usize = 18;

/// What the CPU's gates are made of.
#[repr(C, align(16))]
struct Idt([[u64; 2]; VECTORS]);

/// The last byte of the table, as the CPU wants it.
const LIMIT: u16 = 0xfff;
const _: () = assert!(size_of::<Idt>() == 0x1000);

#[repr(C, align(16))]
struct FaultStack(UnsafeCell<[u8; FAULT_STACK_BYTES]>);

// SAFETY: only the CPU uses it, one fault at a time: the handlers of these faults do not return.
unsafe impl Sync for FaultStack {}

static IDT: Once<Idt> = Once::new();
static TSS: Once<TaskStateSegment> = Once::new();
static GDT: Once<GlobalDescriptorTable> = Once::new();
static STACK: FaultStack = FaultStack(UnsafeCell::new([0; FAULT_STACK_BYTES]));

/// One gate, as the CPU reads it.
fn gate(handler: u64, stack: u64) -> [u64; 2] {
    let low = handler & 0xffff
        | CODE_SELECTOR << 16
        | stack << 32
        | INTERRUPT_GATE << 40
        | (handler >> 16 & 0xffff) << 48;
    [low, handler >> 32]
}

/// Loads the tables. To be called once, before the first interrupt is let in; a second call changes
/// nothing.
pub(super) fn load() {
    let mut tss = TaskStateSegment::new();
    tss.interrupt_stack_table[0] = VirtAddr::from_ptr(STACK.0.get()) + FAULT_STACK_BYTES as u64;
    let Ok(tss) = TSS.set(tss) else { return };

    let mut gdt = GlobalDescriptorTable::new();
    gdt.append(Descriptor::kernel_code_segment());
    gdt.append(Descriptor::kernel_data_segment());
    let task = gdt.append(Descriptor::tss_segment(tss));
    let Ok(gdt) = GDT.set(gdt) else { return };
    gdt.load();
    // SAFETY: the table just loaded has the segment there, and it is `'static`.
    unsafe { load_tss(task) };

    let first = &raw const interrupt_gates;
    let mut idt = Idt([[0; 2]; VECTORS]);
    for (vector, entry) in idt.0.iter_mut().enumerate() {
        let stack = if matches!(vector, NMI | DOUBLE_FAULT | MACHINE_CHECK) { FAULT_STACK } else { 0 };
        *entry = gate((first.addr() + vector * GATE_BYTES) as u64, stack);
    }
    let Ok(idt) = IDT.set(idt) else { return };
    // SAFETY: every gate leads to `gates.s`, which brings the machine to `dispatch` and back; the
    // table is `'static`.
    unsafe { lidt(&DescriptorTablePointer { limit: LIMIT, base: VirtAddr::from_ptr(idt) }) };
}

/// Takes the tables away, so that the next interrupt resets the machine.
pub(super) fn unload() {
    // SAFETY: no interrupt can be taken from here on, and none is to be: the CPU shuts down at the
    // next one.
    unsafe { lidt(&DescriptorTablePointer { limit: 0, base: VirtAddr::zero() }) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_holds_its_handler_in_three_pieces() {
        assert_eq!(gate(0x1122_3344_5566_7788, 1), [0x5566_8e01_0008_7788, 0x1122_3344]);
    }
}
