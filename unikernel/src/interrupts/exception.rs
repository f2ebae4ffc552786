//! What the CPU itself complains about: said with all registers, and the end.

use core::fmt;

use crate::exit::{Exit, leave};

/// What `gates.s` leaves on the stack.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Trap {
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    rbp: u64,
    rdi: u64,
    rsi: u64,
    rdx: u64,
    rcx: u64,
    rbx: u64,
    rax: u64,
    pub(super) vector: u64,
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

const _: () = assert!(size_of::<Trap>() == 22 * 8);

const PAGE_FAULT: u64 = 14;
const DOUBLE_FAULT: u64 = 8;
const PAGE_BYTES: u64 = 4096;

/// The CPU's names.
const NAMES: [&str; 32] = [
    "divide error",
    "debug",
    "non-maskable interrupt",
    "breakpoint",
    "overflow",
    "bound range exceeded",
    "invalid opcode",
    "device not available",
    "double fault",
    "coprocessor segment overrun",
    "invalid TSS",
    "segment not present",
    "stack-segment fault",
    "general protection",
    "page fault",
    "reserved",
    "x87 floating-point error",
    "alignment check",
    "machine check",
    "SIMD floating-point error",
    "virtualization exception",
    "control protection",
    "reserved",
    "reserved",
    "reserved",
    "reserved",
    "reserved",
    "reserved",
    "hypervisor injection",
    "VMM communication",
    "security",
    "reserved",
];

/// Says what happened, and ends the program.
pub(super) fn stop(trap: &Trap) -> ! {
    // The address of the last page fault; for other exceptions it says nothing.
    let address = x86_64::registers::control::Cr2::read_raw();
    leave(Exit::Exception, format_args!("{}", Report { trap, address, guard: stack_guard() }))
}

/// Where the page below the stack is.
fn stack_guard() -> u64 {
    #[cfg(target_os = "none")]
    {
        #[expect(unsafe_code, reason = "a symbol of the image's entry")]
        unsafe extern "C" {
            static stack_guard: u8;
        }
        (&raw const stack_guard).addr() as u64
    }
    #[cfg(not(target_os = "none"))]
    u64::MAX
}

struct Report<'a> {
    trap: &'a Trap,
    address: u64,
    guard: u64,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.trap;
        let name = usize::try_from(t.vector).ok().and_then(|vector| NAMES.get(vector)).unwrap_or(&"unknown");
        write!(f, "exception {} ({name}), error {:#x}, at rip {:#x}", t.vector, t.error, t.rip)?;
        if matches!(t.vector, PAGE_FAULT | DOUBLE_FAULT) {
            write!(f, ", address {:#x}", self.address)?;
            if self.address.checked_sub(self.guard).is_some_and(|distance| distance < PAGE_BYTES) {
                f.write_str(": the stack overflowed")?;
            }
        }
        writeln!(f)?;
        writeln!(f, "rax {:016x} rbx {:016x} rcx {:016x} rdx {:016x}", t.rax, t.rbx, t.rcx, t.rdx)?;
        writeln!(f, "rsi {:016x} rdi {:016x} rbp {:016x} rsp {:016x}", t.rsi, t.rdi, t.rbp, t.rsp)?;
        writeln!(f, "r8  {:016x} r9  {:016x} r10 {:016x} r11 {:016x}", t.r8, t.r9, t.r10, t.r11)?;
        writeln!(f, "r12 {:016x} r13 {:016x} r14 {:016x} r15 {:016x}", t.r12, t.r13, t.r14, t.r15)?;
        write!(f, "cs {:#x} ss {:#x} rflags {:#x}", t.cs, t.ss, t.rflags)
    }
}
