@ Executes words in user mode and reports those that are not undefined.
@
@ Each entry of the table is a word (T32: halfwords in memory order) and the CPSR to
@ execute it with. Caches and MMU are off. Ends by semihosting, the number of words
@ that did anything but trap as undefined in the exit status's place (0 or 1) and
@ the first of them on the console.
    .syntax unified
    .arm
    .section .text
    .global _start
_start:
    ldr     sp, =stack_top
    ldr     r0, =vectors
    mcr     p15, 0, r0, c12, c0, 0      @ VBAR
    mrc     p15, 0, r0, c1, c0, 0
    bic     r0, r0, #0x2000             @ SCTLR.V: vectors at VBAR
    mcr     p15, 0, r0, c1, c0, 0
    ldr     r4, =table
    ldr     r5, =table_end
    mov     r8, #0
next:
    cmp     r4, r5
    beq     finish
    ldr     r0, [r4]
    ldr     r1, [r4, #4]
    ldr     r2, =slot
    str     r0, [r2]
    tst     r1, #0x20
    ldrne   r3, =0xdf00df00             @ svc, twice
    ldreq   r3, =0xef000000             @ svc
    str     r3, [r2, #4]
    mcr     p15, 0, r0, c7, c5, 0       @ ICIALLU
    dsb
    isb
    ldr     r3, =state
    stm     r3, {r4, r5, r8}
    msr     spsr_cxsf, r1
    movs    pc, r2
back:                                   @ r9: cause
    cps     #0x13
    ldr     sp, =stack_top
    ldr     r3, =state
    ldm     r3, {r4, r5, r8}
    cmp     r9, #1
    beq     passed
    add     r8, r8, #1
    cmp     r8, #10
    bgt     passed
    mov     r0, r9
    bl      print
    ldr     r0, [r4]
    bl      print
    ldr     r0, [r4, #4]
    bl      print
    mov     r0, #10
    bl      put
passed:
    add     r4, r4, #8
    b       next
finish:
    mov     r0, r8
    bl      print
    mov     r0, #10
    bl      put
    ldr     r1, =exit_block
    cmp     r8, #0
    movne   r2, #1
    moveq   r2, #0
    str     r2, [r1, #4]
    mov     r0, #0x20                   @ SYS_EXIT_EXTENDED
    svc     #0x123456
    b       .
print:                                  @ r0 in hexadecimal and a blank
    push    {r4, r5, lr}
    mov     r4, r0
    mov     r5, #8
1:  ror     r4, r4, #28
    and     r0, r4, #15
    cmp     r0, #10
    addlt   r0, r0, #48
    addge   r0, r0, #87
    bl      put
    subs    r5, r5, #1
    bne     1b
    mov     r0, #32
    bl      put
    pop     {r4, r5, pc}
put:                                    @ one character
    push    {r0, r1, lr}
    mov     r1, sp
    mov     r0, #3                      @ SYS_WRITEC
    svc     #0x123456
    pop     {r0, r1, pc}
    .align 5
vectors:
    b       .
    b       undefined
    b       called
    b       prefetch
    b       data
    b       .
    b       other
    b       other
undefined: mov r9, #1
    b       back
called: mov r9, #2
    b       back
prefetch: mov r9, #3
    b       back
data: mov   r9, #4
    b       back
other: mov  r9, #5
    b       back
    .ltorg
    .align 4
state: .space 16
exit_block: .word 0x20026, 0
slot:  .space 16
stack: .space 1024
stack_top:
    .align 3
table:
    .incbin "words.bin"
table_end:
