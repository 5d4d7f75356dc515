/* Changing stacks: some ten instructions, where swapcontext() makes two system calls. */
#ifndef TERN_EMULATOR_SWITCH_H
#define TERN_EMULATOR_SWITCH_H

#include <stddef.h>
#include <stdint.h>

namespace emulator {

/* Keep what a call must keep on the stack, which *from then points to; go on where `to` was kept. */
extern "C" void tern_emulator_switch(void **from, void *to);

#if defined(__x86_64__)
asm(R"(
.text
.type tern_emulator_switch, @function
tern_emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size tern_emulator_switch, . - tern_emulator_switch
)");

/* The first switch to a new stack [bytes] calls `entry`, which must not return. */
static inline void *new_stack(void *stack, size_t bytes, void (*entry)()) {
    uint64_t *top = (uint64_t *)((char *)stack + bytes);
    *--top = 0; /* a call leaves the stack 8 bytes off a multiple of 16 */
    *--top = (uint64_t)entry;
    for (int i = 0; i < 6; i++)
        *--top = 0;
    return top;
}

#elif defined(__aarch64__)
asm(R"(
.text
.type tern_emulator_switch, %function
tern_emulator_switch:
    sub sp, sp, #160
    stp x19, x20, [sp]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
.size tern_emulator_switch, . - tern_emulator_switch
)");

static inline void *new_stack(void *stack, size_t bytes, void (*entry)()) {
    uint64_t *top = (uint64_t *)((char *)stack + bytes) - 20;
    for (int i = 0; i < 20; i++)
        top[i] = 0;
    top[11] = (uint64_t)entry; /* x30 */
    return top;
}

#else
#error "the emulator knows x86-64 and arm64"
#endif

} // namespace emulator

#endif
