/*
 * A guest in C: two VMs count together, under a lock of shared memory, by `entresol.h`.
 *
 * Each adds one to a word again and again, by a load and a store that are not one. Now and then it
 * gives way while it holds the lock, so that the other has to wait. The last one tells the sum:
 *
 *     c: counted 40000
 *
 * Ends with status 0 if that is right and no lock was refused or lost.
 */
#include "entresol.h"

#define SHARED 0x30000000u
#define ROUNDS 20000u

struct shared {
    volatile uint32_t lock, count, done;
};

#define shared ((struct shared *)SHARED)

__attribute__((used)) static uint32_t stack[1024];

__asm__(".section .text.start, \"ax\"\n"
        ".arm\n"
        ".globl _start\n"
        "_start:\n"
        "    ldr sp, =stack + 4096\n"
        "    b run\n");

static void put(const char *text)
{
    for (; *text; text++)
        while (entresol_call(ENTRESOL_CONSOLE_PUT, (uint8_t)*text, 0))
            ; /* the line is behind */
}

static void put_number(uint32_t number)
{
    if (number >= 10)
        put_number(number / 10);
    char digit[] = { (char)('0' + number % 10), 0 };
    put(digit);
}

__attribute__((noreturn)) static void end(uint32_t status)
{
    for (;;)
        entresol_call(ENTRESOL_EXIT, status, 0);
}

static uint32_t take(uint32_t token)
{
    uint32_t held = entresol_lock_take(&shared->lock, SHARED, token, 1000000);
    if (!held) {
        put("c: the lock was refused\n");
        end(2);
    }
    return held;
}

static void release(uint32_t held)
{
    if (entresol_lock_release(&shared->lock, held) < 0) {
        put("c: the lock was lost\n");
        end(3);
    }
}

__attribute__((used, noreturn)) static void run(void)
{
    uint32_t token = entresol_lock_token();
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint32_t held = take(token);
        uint32_t before = shared->count;
        if (round % 100 == 0)
            entresol_call(ENTRESOL_YIELD, 0, 0);
        shared->count = before + 1;
        release(held);
    }
    uint32_t held = take(token);
    uint32_t done = ++shared->done, count = shared->count;
    release(held);
    if (done == 2) {
        put("c: counted ");
        put_number(count);
        put("\n");
        end(count != 2 * ROUNDS);
    }
    end(0);
}
