/* From the hypervisor's hand-over to 64-bit Rust.

   PVH loaders (Xen, "x86/HVM direct boot ABI") and those of Multiboot2 leave the same state: 32-bit
   protected mode with flat segments, paging off, interrupts off, ebx = where what they have to say
   is. A Multiboot2 loader has a number in eax; of what a PVH loader leaves there nothing is said.
   Either zeroed .bss, as for any ELF.

   The first 4 MiB are mapped by 4 KiB pages, so that code cannot be written, data cannot be run, and the page below the stack is not
   there at all; the rest up to 4 GiB by 2 MiB pages, read-write. The null page goes as soon as what loaders keep there was read. */

    .set PRESENT, 1
    .set WRITABLE, 2
    .set LARGE, 0x80
    .set NO_EXECUTE, 0x80000000     /* bit 63, in an entry's upper half */

    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 4, 18                  /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long pvh_entry

    /* Within the first 32 KiB of the file, at a multiple of 8: an i386 image with no wishes. The
       entry is the ELF's. */
    .section .text.multiboot2, "a"
    .balign 8
multiboot2_header:
    .set MULTIBOOT2_LENGTH, multiboot2_header_end - multiboot2_header
    .long 0xe85250d6, 0, MULTIBOOT2_LENGTH, -(0xe85250d6 + MULTIBOOT2_LENGTH)
    .short 0, 0
    .long 8
multiboot2_header_end:

    .section .text.entry, "ax"
    .code32
    .global pvh_entry
pvh_entry:
    mov ebp, eax                    /* kept: what the loader says it is */
    rdtsc
    mov [first_ticks], eax
    mov [first_ticks + 4], edx
    mov esi, ebx                    /* kept: where its structures are */
    mov esp, offset stack_top
    cld

    /* edi: NO_EXECUTE if the CPU has it. */
    xor edi, edi
    mov eax, 0x80000000
    cpuid
    cmp eax, 0x80000001
    jb 1f
    mov eax, 0x80000001
    cpuid
    bt edx, 20
    jnc 1f
    mov edi, NO_EXECUTE
1:
    /* The tables above the pages: one of level 4, one of level 3, four of level 2. */
    mov dword ptr [boot_level_4], offset boot_level_3 + PRESENT + WRITABLE
    mov eax, offset boot_level_3
    mov ecx, offset boot_level_2 + PRESENT + WRITABLE
2:  mov [eax], ecx
    add eax, 8
    add ecx, 0x1000
    cmp eax, offset boot_level_3 + 4 * 8
    jb 2b

    /* 4 GiB by 2 MiB pages. */
    mov eax, offset boot_level_2
    mov ecx, PRESENT + WRITABLE + LARGE
3:  mov [eax], ecx
    mov [eax + 4], edi
    add eax, 8
    add ecx, 0x200000
    cmp eax, offset boot_level_2 + 4 * 4096
    jb 3b

    /* The first two of them again, by 4 KiB pages. ecx: the page; edx: what may be done with it. */
    mov dword ptr [boot_level_2], offset boot_level_1 + PRESENT + WRITABLE
    mov dword ptr [boot_level_2 + 4], 0
    mov dword ptr [boot_level_2 + 8], offset boot_level_1 + 4096 + PRESENT + WRITABLE
    mov dword ptr [boot_level_2 + 12], 0
    mov eax, offset boot_level_1
    xor ecx, ecx
4:  mov edx, PRESENT + WRITABLE
    mov ebx, edi
    cmp ecx, offset image_start
    jb 5f
    cmp ecx, offset rodata_end
    jae 5f
    mov edx, PRESENT
    cmp ecx, offset text_end
    jae 5f
    xor ebx, ebx
5:  add edx, ecx
    mov [eax], edx
    mov [eax + 4], ebx
    add eax, 8
    add ecx, 0x1000
    cmp eax, offset boot_level_1 + 2 * 4096
    jb 4b
    mov eax, offset stack_guard
    shr eax, 12
    mov dword ptr [boot_level_1 + eax * 8], 0

    mov eax, cr4
    or eax, 0x20                    /* PAE */
    mov cr4, eax
    mov eax, offset boot_level_4
    mov cr3, eax
    mov ecx, 0xc0000080             /* EFER */
    rdmsr
    or eax, 0x100                   /* LME */
    test edi, edi
    jz 6f
    or eax, 0x800                   /* NXE */
6:  wrmsr
    mov eax, 0x80010031             /* PG, WP, NE, ET, PE */
    mov cr0, eax
    lgdt [boot_gdt_pointer]
    ljmp 0x08, offset long_mode

    .code64
long_mode:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov esp, offset stack_top
    mov edi, esi
    mov esi, ebp
    call {start}
    ud2

    .section .rodata.boot, "a"
    .balign 8
boot_gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
boot_gdt_pointer:
    .short boot_gdt_pointer - boot_gdt - 1
    .long boot_gdt

    .section .bss.boot, "aw", @nobits
    .balign 4096
    .global stack_guard
stack_guard:
    .skip 4096
    .skip 128 * 1024
stack_top:
boot_level_4:
    .skip 4096
boot_level_3:
    .skip 4096
boot_level_2:
    .skip 4 * 4096
    .global boot_level_1
boot_level_1:
    .skip 2 * 4096
    .global first_ticks
first_ticks:
    .skip 8
