/*
 * Entresol for C: hypercalls, health, and locks between VMs.
 *
 * The constants are those of the Rust crate `entresol-abi`; a test keeps them the same. Needs
 * GCC or Clang for ARMv7-A, A32 or T32, in a guest's kernel: an application's HVC is undefined.
 */
#ifndef ENTRESOL_H
#define ENTRESOL_H

#include <stdint.h>

#define ENTRESOL_VERSION 0x86000000u
#define ENTRESOL_VM_INDEX 0x86000001u
#define ENTRESOL_CONSOLE_PUT 0x86000002u
#define ENTRESOL_CONSOLE_GET 0x86000003u
#define ENTRESOL_EXIT 0x86000004u
#define ENTRESOL_YIELD 0x86000005u
#define ENTRESOL_STARTS 0x86000006u
#define ENTRESOL_LOCK_WAIT 0x86000010u
#define ENTRESOL_LOCK_WAKE 0x86000011u
#define ENTRESOL_VM_CONTROL 0x86000012u
#define ENTRESOL_HEARTBEAT 0x86000013u
#define ENTRESOL_DEADLINE 0x86000014u
#define ENTRESOL_PANIC 0x86000015u
#define ENTRESOL_ROLE 0x86000016u

#define ENTRESOL_LOCK_HOLDER 0x0000000fu
#define ENTRESOL_LOCK_START 0x000ffff0u
#define ENTRESOL_LOCK_GENERATIONS 0x7ff00000u
#define ENTRESOL_LOCK_WAITERS 0x80000000u
#define ENTRESOL_LOCK_AGAIN 0x00000000u
#define ENTRESOL_LOCK_TIMED_OUT 0xfffffffdu

/* Makes the call `number`; returns r0. */
static inline uint32_t entresol_call(uint32_t number, uint32_t first, uint32_t second)
{
    register uint32_t r0 __asm__("r0") = number;
    register uint32_t r1 __asm__("r1") = first;
    register uint32_t r2 __asm__("r2") = second;
    __asm__ volatile(".arch_extension virt\n\thvc #0"
                     : "+r"(r0) : "r"(r1), "r"(r2) : "memory");
    return r0;
}

/* This VM is alive, and will say so again in the time that the manifest gives (`heartbeat`). */
static inline void entresol_heartbeat(void)
{
    entresol_call(ENTRESOL_HEARTBEAT, 0, 0);
}

/* By `microseconds` from now this will have been called again; 0: nothing more is promised. */
static inline void entresol_deadline(uint32_t microseconds)
{
    entresol_call(ENTRESOL_DEADLINE, microseconds, 0);
}

/* This VM cannot go on, for the reason `code`. Returns only if the manifest lets it go on. */
static inline void entresol_panic(uint32_t code)
{
    entresol_call(ENTRESOL_PANIC, code, 0);
}

/* Whether this VM has what is its pair's: 0 for the backup. */
static inline int entresol_is_active(void)
{
    return entresol_call(ENTRESOL_ROLE, 0, 0) != 0;
}

/* What this VM, in this one of its runs, writes into locks it holds. To be kept. */
static inline uint32_t entresol_lock_token(void)
{
    uint32_t index = entresol_call(ENTRESOL_VM_INDEX, 0, 0);
    uint32_t starts = entresol_call(ENTRESOL_STARTS, 0, 0);
    return (index + 1) | ((starts << 4) & ENTRESOL_LOCK_START);
}

/*
 * Takes the lock whose word is at `word`, guest physical address `physical`, waiting at most
 * `microseconds` each time. Returns what entresol_lock_release() wants; 0 if time was over or
 * the manifest has no locks there.
 */
static inline uint32_t entresol_lock_take(volatile uint32_t *word, uint32_t physical,
                                          uint32_t token, uint32_t microseconds)
{
    for (;;) {
        uint32_t free = __atomic_load_n(word, __ATOMIC_RELAXED);
        if (!(free & (ENTRESOL_LOCK_WAITERS | ENTRESOL_LOCK_HOLDER)) &&
            __atomic_compare_exchange_n(word, &free, free | token, 0, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED))
            return free | token;
        uint32_t now = entresol_call(ENTRESOL_LOCK_WAIT, physical, microseconds);
        if ((now & (ENTRESOL_LOCK_HOLDER | ENTRESOL_LOCK_START)) == token)
            return now & ~ENTRESOL_LOCK_WAITERS;
        if (now != ENTRESOL_LOCK_AGAIN)
            return 0;
    }
}

/* Releases a lock. Returns 0; or -1 if it was taken away, and what was done is to be undone. */
static inline int entresol_lock_release(volatile uint32_t *word, uint32_t held)
{
    uint32_t expected = held;
    uint32_t free = held & ENTRESOL_LOCK_GENERATIONS;
    if (__atomic_compare_exchange_n(word, &expected, free, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        return 0;
    expected = held | ENTRESOL_LOCK_WAITERS;
    if (!__atomic_compare_exchange_n(word, &expected, free | ENTRESOL_LOCK_WAITERS, 0,
                                     __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        return -1;
    entresol_call(ENTRESOL_LOCK_WAKE, 0, 0);
    return 0;
}

#endif
