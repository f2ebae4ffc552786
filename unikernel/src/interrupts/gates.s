/* One gate a vector, 16 bytes apart: each brings the stack to the same shape and goes on to the common part.

   The CPU pushed ss, rsp, rflags, cs, rip, and for some exceptions an error code, with the stack aligned to 16 bytes before the first
   of them. With the error code, the vector and 15 registers that is 22 words: aligned to 16 again, as a call wants it.
   The image uses no vector registers, so there are none to keep. */

    .text
    .balign 16
    .global interrupt_gates
interrupt_gates:
    .set vector, 0
    .rept 256
    .balign 16
    /* Double fault, the segment and page faults, alignment, control protection, VMM communication, security: with a code. */
    .if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
    .else
    push 0
    .endif
    push vector
    jmp interrupt_common
    .set vector, vector + 1
    .endr

    .balign 16
interrupt_common:
    push rax
    push rbx
    push rcx
    push rdx
    push rsi
    push rdi
    push rbp
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld
    mov rdi, rsp
    call {dispatch}
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rbx
    pop rax
    add rsp, 16
    iretq
