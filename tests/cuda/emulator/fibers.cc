#include "fibers.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

#include "base/half.h"
#include "memory.h"
#include "switch.h"

namespace emulator {

enum { LANES = 32, MOST_THREADS = 1024, STACK_BYTES = 64 << 10, MEETING_WORDS = 6, RUBBISH = 0xff };

enum class State { ready, barrier, meeting, done };

struct Copy {
    void *shared;
    const void *global;
    size_t group;
};

struct Fiber {
    Thread self;
    State state;
    Place place; /* at which it waits */
    void *sp;
    std::vector<Copy> copies; /* that are not made yet */
    size_t n_groups;          /* of copies, ended by a commit */
};

/* What the lanes of a warp exchange. */
struct Warp {
    int n_came;
    Place place;
    uint32_t come[MEETING_WORDS][LANES], met[MEETING_WORDS][LANES];
};

Thread *running;
Block block;
static Fiber *fibers[MOST_THREADS];
static Warp warps[MOST_THREADS / LANES];
static void *scheduler_sp;
static void (*thread_body)(void *);
static void *thread_context;
static int n_threads, n_at_barrier;
static bool copies_at_once;

/* ---- the end ---- */

void die(Place place, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "emulator: kernel %s", block.kernel);
    if (running)
        fprintf(stderr, ", block (%u, %u, %u), thread (%u, %u, %u)", block.index.x, block.index.y, block.index.z,
                running->thread.x, running->thread.y, running->thread.z);
    if (place.file)
        fprintf(stderr, ", %s:%d", place.file, place.line);
    fprintf(stderr, ": ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    abort();
}

static void on_bad_address(int, siginfo_t *info, void *) {
    char what[256];
    describe_address(info->si_addr, what, sizeof what);
    die({}, "touches %p, %s", info->si_addr, what);
}

/* Bad addresses are the kernel's while one runs. */
class Watch {
    enum { BYTES = 64 << 10 };
    struct sigaction old_segv, old_bus;
    stack_t old_stack;
    static char *stack() {
        static char *memory = (char *)malloc(BYTES);
        return memory;
    }

  public:
    Watch() {
        stack_t alternative = {};
        alternative.ss_sp = stack();
        alternative.ss_size = BYTES;
        sigaltstack(&alternative, &old_stack);
        struct sigaction action = {};
        action.sa_sigaction = on_bad_address;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigaction(SIGSEGV, &action, &old_segv);
        sigaction(SIGBUS, &action, &old_bus);
    }
    ~Watch() {
        sigaction(SIGSEGV, &old_segv, nullptr);
        sigaction(SIGBUS, &old_bus, nullptr);
        sigaltstack(&old_stack, nullptr);
    }
};

/* ---- fibers ---- */

static void to_scheduler() { tern_emulator_switch(&running->fiber->sp, scheduler_sp); }

static void wait_as(State state, Place place) {
    Fiber *fiber = running->fiber;
    fiber->state = state;
    fiber->place = place;
    to_scheduler();
}

/* What a fiber does: one thread of each block, one block after another. */
static void live() {
    for (;;) {
        thread_body(thread_context);
        if (!running->fiber->copies.empty())
            die({}, "returns before its copies to shared memory are there");
        wait_as(State::done, {});
    }
}

static Fiber *new_fiber() {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *stack = (char *)mmap(nullptr, page + STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED || mprotect(stack, page, PROT_NONE))
        die({}, "no memory for stacks: %s", strerror(errno));
    Fiber *fiber = new Fiber();
    fiber->sp = new_stack(stack + page, STACK_BYTES, live);
    return fiber;
}

static void begin_block() {
    for (int i = 0; i < n_threads; i++) {
        if (!fibers[i])
            fibers[i] = new_fiber();
        Fiber *fiber = fibers[i];
        uint32_t x = (uint32_t)i % block.threads.x, yz = (uint32_t)i / block.threads.x;
        fiber->self = {{x, yz % block.threads.y, yz / block.threads.y}, i % LANES, i / LANES, fiber};
        fiber->state = State::ready;
        fiber->n_groups = 0;
    }
    for (int i = 0; i < n_threads / LANES; i++)
        warps[i].n_came = 0;
    n_at_barrier = 0;
}

static void run_fiber(Fiber *fiber) {
    running = &fiber->self;
    tern_emulator_switch(&scheduler_sp, fiber->sp);
    running = nullptr;
}

/* Nobody can go on: say who waits where. */
[[noreturn]] static void stuck() {
    static const char *const names[] = {"could go on", "waits at a barrier", "waits for its warp", "has returned"};
    const Fiber *first = nullptr, *other = nullptr;
    for (int i = 0; i < n_threads; i++) {
        if (!first && fibers[i]->state != State::done)
            first = fibers[i];
    }
    for (int i = 0; i < n_threads; i++)
        if (fibers[i]->state != first->state && (!other || fibers[i]->self.warp == first->self.warp))
            other = fibers[i];
    running = const_cast<Thread *>(&first->self);
    if (other)
        die(first->place, "%s, to which thread (%u, %u, %u) does not come: that %s%s%.0d", names[(int)first->state],
            other->self.thread.x, other->self.thread.y, other->self.thread.z, names[(int)other->state],
            other->state == State::done ? "" : " elsewhere", 0);
    die(first->place, "%s, to which not all come", names[(int)first->state]);
}

static bool run_warp(int warp, Order order) {
    bool moved = false, again = true;
    while (again) {
        again = false;
        for (int i = 0; i < LANES; i++) {
            Fiber *fiber = fibers[warp * LANES + (order == Order::forward ? i : LANES - 1 - i)];
            if (fiber->state != State::ready)
                continue;
            run_fiber(fiber);
            again = moved = true;
        }
    }
    return moved;
}

static void run_block(Order order) {
    begin_block();
    for (;;) {
        bool moved = false;
        int n_warps = n_threads / LANES, n_done = 0;
        for (int i = 0; i < n_warps; i++)
            moved |= run_warp(order == Order::forward ? i : n_warps - 1 - i, order);
        for (int i = 0; i < n_threads; i++)
            n_done += fibers[i]->state == State::done;
        if (n_done == n_threads)
            return;
        if (!moved)
            stuck();
    }
}

/* ---- what threads do together ---- */

static void check_place(Place place, Place others) {
    if (place.line != others.line || (place.file != others.file && strcmp(place.file, others.file) != 0))
        die(place, "other threads of it are at %s:%d instead", others.file, others.line);
}

void barrier(Place place) {
    static Place first;
    if (n_at_barrier == 0)
        first = place;
    check_place(place, first);
    if (++n_at_barrier < n_threads) {
        wait_as(State::barrier, place);
        return;
    }
    n_at_barrier = 0;
    for (int i = 0; i < n_threads; i++)
        if (fibers[i]->state == State::barrier)
            fibers[i]->state = State::ready;
}

static const Warp *meet_with(Place place, const uint32_t *words, int n_words) {
    Warp *warp = &warps[running->warp];
    if (warp->n_came == 0)
        warp->place = place;
    check_place(place, warp->place);
    for (int i = 0; i < n_words; i++)
        warp->come[i][running->lane] = words[i];
    if (++warp->n_came < LANES) {
        wait_as(State::meeting, place);
        return warp;
    }
    warp->n_came = 0;
    memcpy(warp->met, warp->come, (size_t)n_words * sizeof *warp->met);
    for (int i = 0; i < LANES; i++) {
        Fiber *fiber = fibers[running->warp * LANES + i];
        if (fiber->state == State::meeting)
            fiber->state = State::ready;
    }
    return warp;
}

const uint32_t *meet(Place place, uint32_t value) { return meet_with(place, &value, 1)->met[0]; }

/* Words 0 to 3 are A's fragment, 4 and 5 B's (device.cuh). Row g of A lies in the lanes 4g .. 4g + 3, and so does
 * column g of B. */
void mma_s8(int *c, const uint32_t *words, Place place) {
    const Warp *warp = meet_with(place, words, MEETING_WORDS);
    int g = running->lane / 4, t = running->lane % 4;
    for (int i = 0; i < 4; i++) {
        int lower = i / 2, column = 2 * t + i % 2;
        uint32_t sum = (uint32_t)c[i];
        for (int half = 0; half < 2; half++) /* of the 32 products */
            for (int lane = 0; lane < 4; lane++) {
                uint32_t a = warp->met[2 * half + lower][4 * g + lane], b = warp->met[4 + half][4 * column + lane];
                for (int j = 0; j < 32; j += 8)
                    sum += (uint32_t)((int8_t)(a >> j) * (int8_t)(b >> j));
            }
        c[i] = (int)sum;
    }
}

void load_matrices(uint32_t *r, const void *row, Place place) {
    uint32_t words[2] = {(uint32_t)(uintptr_t)row, (uint32_t)((uint64_t)(uintptr_t)row >> 32)};
    const Warp *warp = meet_with(place, words, 2);
    for (int m = 0; m < 4; m++) {
        int from = 8 * m + running->lane / 4;
        const char *at = (const char *)(uintptr_t)(warp->met[0][from] | (uint64_t)warp->met[1][from] << 32);
        memcpy(&r[m], at + running->lane % 4 * 4, 4);
    }
}

/* ---- shared memory ---- */

extern "C" unsigned char __start_emulated_shared[] __attribute__((weak, visibility("hidden")));
extern "C" unsigned char __stop_emulated_shared[] __attribute__((weak, visibility("hidden")));

/* The launch's memory ends where a page does: what lies behind is found. */
class Dynamic {
    size_t bytes, mapped;
    char *memory;

  public:
    Dynamic(size_t n) : bytes((n + 15) / 16 * 16), memory(nullptr) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        mapped = (bytes + page - 1) / page * page + page;
        if (bytes == 0)
            return;
        memory = (char *)mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED || mprotect(memory + mapped - page, page, PROT_NONE))
            die({}, "no memory for shared memory: %s", strerror(errno));
        block.dynamic_shared = (unsigned char *)memory + mapped - page - bytes;
    }
    ~Dynamic() {
        if (memory)
            munmap(memory, mapped);
        block.dynamic_shared = nullptr;
    }
    void spoil() const {
        if (bytes)
            memset(block.dynamic_shared, RUBBISH, bytes);
    }
};

static bool is_shared(const void *at, size_t bytes) {
    const unsigned char *first = (const unsigned char *)at;
    return (first >= __start_emulated_shared && first + bytes <= __stop_emulated_shared) ||
           (first >= block.dynamic_shared && first + bytes <= block.dynamic_shared + block.dynamic_bytes);
}

void copy_later(void *shared, const void *global, Place place) {
    if (!is_shared(shared, 16))
        die(place, "copies to %p, which is not in shared memory", shared);
    if (is_shared(global, 16))
        die(place, "copies from shared memory");
    if (copies_at_once)
        memcpy(shared, global, 16);
    else
        running->fiber->copies.push_back({shared, global, running->fiber->n_groups});
}

void copy_commit() { running->fiber->n_groups++; }

void copy_wait(size_t n_newest) {
    Fiber *fiber = running->fiber;
    size_t n_kept = 0;
    for (const Copy &copy : fiber->copies) {
        if (copy.group + n_newest < fiber->n_groups)
            memcpy(copy.shared, copy.global, 16);
        else
            fiber->copies[n_kept++] = copy;
    }
    fiber->copies.resize(n_kept);
}

float f16_to_f32(uint16_t half) { return tern_f16_to_f32(half); }
uint16_t f32_to_f16(float x) { return tern_f32_to_f16(x); }

/* ---- the grid ---- */

void run_grid(const char *kernel, dim3 grid, dim3 threads, size_t dynamic_bytes, Order order, void (*body)(void *),
              void *context) {
    block = {kernel, grid, threads, {0, 0, 0}, nullptr, dynamic_bytes};
    n_threads = (int)(threads.x * threads.y * threads.z);
    thread_body = body;
    thread_context = context;
    copies_at_once = order == Order::reverse;
    if (n_threads % LANES)
        die({}, "blocks of %d threads are not whole warps", n_threads);
    Dynamic dynamic(dynamic_bytes);
    Watch watch;
    uint64_t n_blocks = (uint64_t)grid.x * grid.y * grid.z;
    for (uint64_t i = 0; i < n_blocks; i++) {
        uint64_t at = order == Order::forward ? i : n_blocks - 1 - i, yz = at / grid.x;
        block.index = {(uint32_t)(at % grid.x), (uint32_t)(yz % grid.y), (uint32_t)(yz / grid.y)};
        memset(__start_emulated_shared, RUBBISH, (size_t)(__stop_emulated_shared - __start_emulated_shared));
        dynamic.spoil();
        run_block(order);
    }
}

} // namespace emulator
