//! A plugin for QEMU's translator that counts the instructions that a guest executes, in a file
//! that the host looks into at any time.
//!
//! A halted processor executes none, so that what is waited for is not in the count. Nor are
//! string instructions that repeat, as `rep movsb`: a processor executes one, the translator one
//! for each byte or word that it moves, and would say that of a copy as of so many instructions.
//! It is compiled by `rivals` and is in no crate: QEMU loads it, and calls it by the names of its
//! plugin interface (version 1, of QEMU 4.2 to 8.2, whose header says what is declared here).
//!
//! Its one argument is `count=PATH`: 8 bytes or more, whose first 8 become the count. One processor
//! of the guest may run, for two would add at once.

use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

/// The plugin interface that this is written for.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = 1;

/// `QEMU_PLUGIN_INLINE_ADD_U64`.
const ADD_U64: c_int = 0;
/// Of mmap(2): readable and writable, and shared with who reads the file.
const READ_WRITE: c_int = 3;
const SHARED: c_int = 1;

static COUNT: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

/// A block of translated code, and an instruction of it, as QEMU has them.
#[repr(C)]
pub struct Block(c_void);
#[repr(C)]
pub struct Instruction(c_void);

unsafe extern "C" {
    fn mmap(at: *mut c_void, len: usize, prot: c_int, flags: c_int, fd: c_int, from: c_long) -> *mut c_void;
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, call: extern "C" fn(u64, *mut Block));
    fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Instruction;
    fn qemu_plugin_insn_data(instruction: *const Instruction) -> *const u8;
    fn qemu_plugin_insn_size(instruction: *const Instruction) -> usize;
    fn qemu_plugin_register_vcpu_insn_exec_inline(at: *mut Instruction, op: c_int, to: *mut c_void, by: u64);
}

/// Whether an instruction is a string instruction that repeats: a prefix, perhaps one for its
/// width, and its code.
fn repeats(bytes: &[u8]) -> bool {
    let Some((0xf2 | 0xf3, rest)) = bytes.split_first() else { return false };
    let code = rest.iter().find(|&&byte| !matches!(byte, 0x40..=0x4f | 0x66));
    matches!(code, Some(0x6c..=0x6f | 0xa4..=0xa7 | 0xaa..=0xaf))
}

/// Each instruction of a block adds one when it is executed.
extern "C" fn translated(_id: u64, block: *mut Block) {
    let count = COUNT.load(Relaxed);
    // SAFETY: QEMU's functions, called with what it gave to this call; the count is mapped for as
    // long as QEMU runs.
    unsafe {
        for index in 0..qemu_plugin_tb_n_insns(block) {
            let instruction = qemu_plugin_tb_get_insn(block, index);
            let len = qemu_plugin_insn_size(instruction);
            if repeats(std::slice::from_raw_parts(qemu_plugin_insn_data(instruction), len)) {
                continue;
            }
            qemu_plugin_register_vcpu_insn_exec_inline(instruction, ADD_U64, count, 1);
        }
    }
}

/// Maps the file, and asks to see each block that is translated.
///
/// # Safety
///
/// QEMU calls it, with `len` words at `words`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _info: *const c_void,
    len: c_int,
    words: *const *const c_char,
) -> c_int {
    let len = usize::try_from(len).unwrap_or(0);
    for index in 0..len {
        // SAFETY: there are that many, each ended by a zero.
        let word = unsafe { CStr::from_ptr(*words.add(index)) };
        let Some(path) = word.to_str().ok().and_then(|word| word.strip_prefix("count=")) else { continue };
        let Ok(file) = OpenOptions::new().read(true).write(true).open(path) else { return 1 };
        // SAFETY: a fresh mapping, which nobody else here knows; it outlives the file.
        let at = unsafe { mmap(std::ptr::null_mut(), 8, READ_WRITE, SHARED, file.as_raw_fd(), 0) };
        if at.addr() == usize::MAX {
            return 1;
        }
        COUNT.store(at, Relaxed);
        // SAFETY: QEMU's function, called as its header says.
        unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, translated) };
        return 0;
    }
    1
}
