/*
 * The emulator itself (emulator/): threads that exchange, the tensor cores' fragments against the tables of the PTX
 * ISA, and that each mistake that it looks for ends the process with a line that says which. A mistake is made in a
 * child.
 */
#include "cuda/kernels/device.cuh"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "emulator/memory.h"

using emulator::Order;

static int n_failed;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            printf("%s:%d: %s\n", __FILE__, __LINE__, #condition);                                                     \
            n_failed++;                                                                                                \
        }                                                                                                              \
    } while (0)

typedef void Kernel(void *);

static const Order orders[] = {Order::forward, Order::reverse};

static void run(Kernel *kernel, void *context, uint32_t blocks, uint32_t threads, size_t dynamic_bytes, Order order) {
    emulator::run_grid("test", {blocks, 1, 1}, {threads, 1, 1}, dynamic_bytes, order, kernel, context);
}

/* ---- barriers and shared memory ---- */

struct Sums {
    const int *in;
    int *out;
};

/* The sum over a block, by halves. */
static void sum_block(void *context) {
    const Sums *sums = (const Sums *)context;
    SHARED int part[128];
    part[threadIdx.x] = sums->in[blockIdx.x * blockDim.x + threadIdx.x];
    for (uint32_t half = blockDim.x / 2; half > 0; half /= 2) {
        sync_block();
        if (threadIdx.x < half)
            part[threadIdx.x] += part[threadIdx.x + half];
    }
    if (threadIdx.x == 0)
        sums->out[blockIdx.x] = part[0];
}

/* The same without the barriers, which goes wrong in one of the orders. */
static void sum_block_wrongly(void *context) {
    const Sums *sums = (const Sums *)context;
    DYNAMIC_SHARED(int, part);
    part[threadIdx.x] = sums->in[blockIdx.x * blockDim.x + threadIdx.x];
    for (uint32_t half = blockDim.x / 2; half > 0; half /= 2)
        if (threadIdx.x < half)
            part[threadIdx.x] += part[threadIdx.x + half];
    if (threadIdx.x == 0)
        sums->out[blockIdx.x] = part[0];
}

static void test_barriers() {
    int in[3 * 128], want[3] = {0}, n_wrong = 0;
    for (int i = 0; i < 3 * 128; i++)
        want[i / 128] += in[i] = i * i % 1009;
    for (Order order : orders) {
        int out[3] = {0}, wrong[3] = {0};
        Sums sums = {in, out}, wrong_sums = {in, wrong};
        run(sum_block, &sums, 3, 128, 0, order);
        CHECK(memcmp(out, want, sizeof out) == 0);
        run(sum_block_wrongly, &wrong_sums, 3, 128, sizeof in / 3, order);
        n_wrong += memcmp(wrong, want, sizeof wrong) != 0;
    }
    CHECK(n_wrong > 0);
}

/* ---- warps ---- */

struct Lanes {
    float out[64][4];
    uint32_t votes[64];
};

static void exchange(void *context) {
    Lanes *lanes = (Lanes *)context;
    int i = (int)threadIdx.x;
    float v = (float)i, sum = v;
    lanes->out[i][0] = shuffle(v, 5);
    lanes->out[i][1] = shuffle_xor(v, 8);
    lanes->out[i][2] = shuffle_down(v, 3);
    for (int mask = 16; mask > 0; mask /= 2)
        sum += shuffle_xor(sum, mask);
    lanes->out[i][3] = sum;
    lanes->votes[i] = votes(i % 3 == 0);
}

static void test_shuffles() {
    for (Order order : orders) {
        static Lanes lanes;
        run(exchange, &lanes, 1, 64, 0, order);
        for (int i = 0; i < 64; i++) {
            int lane = i % 32, first = i - lane;
            uint32_t bits = 0;
            for (int j = 0; j < 32; j++)
                bits |= (uint32_t)((first + j) % 3 == 0) << j;
            CHECK(lanes.out[i][0] == (float)(first + 5));
            CHECK(lanes.out[i][1] == (float)(first + (lane ^ 8)));
            CHECK(lanes.out[i][2] == (float)(lane + 3 < 32 ? i + 3 : i));
            CHECK(lanes.out[i][3] == (float)(32 * first + 496));
            CHECK(lanes.votes[i] == bits);
        }
    }
}

/* ---- integers ---- */

static void test_dp4a() {
    CHECK(dp4a(0x01020304u, 0x05060708u, 10) == 5 + 12 + 21 + 32 + 10);
    CHECK(dp4a(0x80808080u, 0x80808080u, 0) == 4 * 128 * 128);
    CHECK(dp4a(0xff01ff01u, 0x7f7f7f7fu, -3) == -3);
}

/* The tables of the PTX ISA, 9.7.14: "Matrix Fragments for mma.m16n8k32", .s8: the row and the column of element i of
 * a lane's fragment, in its own words. */
static void a_place(int lane, int i, int *row, int *col) {
    int group = lane >> 2, in_group = lane % 4;
    *row = (0 <= i && i < 4) || (8 <= i && i < 12) ? group : group + 8;
    *col = i < 8 ? in_group * 4 + (i & 3) : in_group * 4 + (i & 3) + 16;
}
static void b_place(int lane, int i, int *row, int *col) {
    int group = lane >> 2, in_group = lane % 4;
    *row = i < 4 ? in_group * 4 + (i & 3) : in_group * 4 + (i & 3) + 16;
    *col = group;
}
static void c_place(int lane, int i, int *row, int *col) {
    int group = lane >> 2, in_group = lane % 4;
    *row = i < 2 ? group : group + 8;
    *col = in_group * 2 + (i & 1);
}

struct Product {
    int8_t a[16][32], b[32][8];
    int c[16][8];
    bool by_matrices; /* A comes from shared memory by load_matrices() */
};

static void multiply(void *context) {
    Product *p = (Product *)context;
    SHARED int8_t tile[16][32];
    uint32_t a[4] = {0}, b[2] = {0};
    int c[4], row, col, lane = (int)threadIdx.x;
    for (int i = 0; i < 16; i++) {
        a_place(lane, i, &row, &col);
        tile[row][col] = p->a[row][col];
        a[i / 4] |= (uint32_t)(uint8_t)p->a[row][col] << (8 * (i % 4));
    }
    for (int i = 0; i < 8; i++) {
        b_place(lane, i, &row, &col);
        b[i / 4] |= (uint32_t)(uint8_t)p->b[row][col] << (8 * (i % 4));
    }
    for (int i = 0; i < 4; i++) {
        c_place(lane, i, &row, &col);
        c[i] = p->c[row][col];
    }
    sync_warp();
    if (p->by_matrices) /* 0 and 1: rows 0 .. 7 and 8 .. 15 of the first 16 columns, 2 and 3 of the others */
        load_matrices(a, &tile[lane % 16][lane / 16 * 16]);
    mma_s8(c, a, b);
    for (int i = 0; i < 4; i++) {
        c_place(lane, i, &row, &col);
        p->c[row][col] = c[i];
    }
}

static void test_tensor_cores() {
    static Product p;
    for (int round = 0; round < 4; round++) {
        int want[16][8];
        p.by_matrices = round / 2;
        for (int i = 0; i < 16 * 32; i++)
            p.a[i / 32][i % 32] = (int8_t)(i * 37 % 256 - 128);
        for (int i = 0; i < 32 * 8; i++)
            p.b[i / 8][i % 8] = (int8_t)(i * 101 % 256 - 128);
        for (int i = 0; i < 16 * 8; i++) {
            want[i / 8][i % 8] = p.c[i / 8][i % 8] = i * 1000003;
            for (int k = 0; k < 32; k++)
                want[i / 8][i % 8] += p.a[i / 8][k] * p.b[k][i % 8];
        }
        run(multiply, &p, 1, 32, 0, orders[round % 2]);
        CHECK(memcmp(p.c, want, sizeof want) == 0);
    }
}

/* ---- copies ---- */

struct Copies {
    const uint32_t *from;
    uint32_t *to;
    bool wait;
};

static void copy_block(void *context) {
    const Copies *copies = (const Copies *)context;
    SHARED uint32_t part[2][128];
    for (int i = 0; i < 2; i++) {
        copy_async16(&part[i][threadIdx.x * 4], copies->from + i * 128 + threadIdx.x * 4);
        copy_async_commit();
    }
    copy_async_wait<1>();
    sync_block();
    copies->to[threadIdx.x] = part[0][127 - threadIdx.x];
    copies->to[32 + threadIdx.x] = part[1][threadIdx.x];
    sync_block();
    if (copies->wait)
        copy_async_wait<0>();
    copies->to[64 + threadIdx.x] = part[1][threadIdx.x * 4];
}

static void test_copies() {
    alignas(16) static uint32_t from[256];
    uint32_t to[96];
    Copies copies = {from, to, true};
    for (uint32_t i = 0; i < 256; i++)
        from[i] = 7 * i;
    run(copy_block, &copies, 1, 32, 0, Order::forward);
    for (uint32_t i = 0; i < 32; i++) {
        CHECK(to[i] == 7 * (127 - i));
        CHECK(to[32 + i] == 0xffffffff); /* not waited for */
        CHECK(to[64 + i] == 7 * (128 + 4 * i));
    }
}

/* ---- mistakes ---- */

static void not_all_at_barrier(void *) {
    if (threadIdx.x != 40)
        sync_block();
}

static void barriers_at_two_places(void *) {
    if (threadIdx.x < 32)
        sync_block();
    else
        sync_block();
}

static void not_all_lanes(void *) {
    if (threadIdx.x != 3)
        (void)votes(true);
}

static void meetings_at_two_places(void *) {
    if (threadIdx.x % 2)
        (void)shuffle(1.0f, 0);
    else
        (void)shuffle(2.0f, 0);
}

static void misaligned(void *context) { (void)load16((const char *)context + 4 * (threadIdx.x + 1)); }

static void behind_the_end(void *context) {
    volatile float *x = (float *)context;
    x[threadIdx.x * 1024] = 1;
}

static void just_behind_the_end(void *context) { ((float *)context)[threadIdx.x] = 1; }

static void behind_shared_memory(void *) {
    DYNAMIC_SHARED(volatile int, x);
    x[threadIdx.x] = 0;
    x[threadIdx.x + 64] = 0;
}

static void copy_to_nowhere(void *context) { copy_async16(context, context); }

static void no_wait_for_copies(void *context) {
    SHARED uint32_t part[128];
    copy_async16(&part[threadIdx.x * 4], context);
}

/* The kernel's end has to be the process's, with `part` in what it says. */
static void dies(const char *part, Kernel *kernel, void *context, uint32_t threads, size_t dynamic_bytes) {
    int pipes[2], status;
    char said[1024];
    size_t n = 0;
    ssize_t got;
    fflush(stdout);
    if (pipe(pipes))
        abort();
    pid_t child = fork();
    if (child == 0) {
        const struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        dup2(pipes[1], 2);
        run(kernel, context, 1, threads, dynamic_bytes, Order::forward);
        emulator::check_memory();
        _exit(0);
    }
    close(pipes[1]);
    while (n < sizeof said - 1 && (got = read(pipes[0], said + n, sizeof said - 1 - n)) > 0)
        n += (size_t)got;
    said[n] = 0;
    close(pipes[0]);
    if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status) || !strstr(said, part) ||
        strncmp(said, "emulator: kernel test", 21) != 0) {
        printf("a mistake was not found: wanted '%s', got status %x and '%s'\n", part, status, said);
        n_failed++;
    }
}

static void test_mistakes() {
    char *memory = (char *)emulator::take_memory(1000);
    CHECK(memory && ((uintptr_t)memory & 255) == 0);
    dies("waits at a barrier, to which thread (40, 0, 0) does not come: that has returned", not_all_at_barrier, nullptr,
         64, 0);
    dies("other threads of it are at", barriers_at_two_places, nullptr, 64, 0);
    dies("waits for its warp, to which thread (3, 0, 0) does not come", not_all_lanes, nullptr, 32, 0);
    dies("other threads of it are at", meetings_at_two_places, nullptr, 32, 0);
    dies("is not aligned to 16 bytes", misaligned, memory, 32, 0);
    dies("thread (1, 0, 0): touches", behind_the_end, memory, 32, 0);
    dies("of an allocation of 1000 bytes", behind_the_end, memory, 32, 0);
    dies("wrote 0 bytes behind the end of an allocation of 1000 bytes", just_behind_the_end, memory, 256, 0);
    dies("which is not memory of the device", behind_the_end, nullptr, 32, 0);
    dies("which is not memory of the device", behind_shared_memory, nullptr, 64, 256);
    dies("which is not in shared memory", copy_to_nowhere, memory, 32, 0);
    dies("returns before its copies", no_wait_for_copies, memory, 32, 0);
    dies("are not whole warps", sum_block_wrongly, nullptr, 48, 0);
    CHECK(emulator::give_memory(memory));
    CHECK(!emulator::give_memory(memory));
}

static void test_memory() {
    size_t before = emulator::memory_free();
    char *a = (char *)emulator::take_memory(5000), *b = (char *)emulator::take_memory(1);
    int on_stack = 0;
    CHECK(a && b && before - emulator::memory_free() == 5120 + 256);
    CHECK((unsigned char)a[0] == 0xff && (unsigned char)a[4999] == 0xff);
    CHECK(emulator::is_device_memory(a, 5000) && !emulator::is_device_memory(a, 5001));
    CHECK(emulator::is_device_memory(a + 5000, 0) && !emulator::is_device_memory(a + 1, 5000));
    CHECK(!emulator::is_device_memory(&on_stack, 4) && emulator::is_host_memory(&on_stack));
    CHECK(!emulator::is_host_memory(a) && !emulator::is_host_memory(nullptr) &&
          !emulator::is_host_memory((void *)4096));
    CHECK(!emulator::is_host_memory((void *)(32 | (uintptr_t)4 << 32))); /* two numbers of an argument */
    CHECK(emulator::take_memory(emulator::memory_free() + 1) == nullptr);
    CHECK(emulator::give_memory(a) && emulator::give_memory(b) && emulator::memory_free() == before);
}

int main() {
    static const struct {
        const char *name;
        void (*test)();
    } tests[] = {{"barriers", test_barriers},         {"shuffles", test_shuffles}, {"dp4a", test_dp4a},
                 {"tensor cores", test_tensor_cores}, {"copies", test_copies},     {"memory", test_memory},
                 {"mistakes", test_mistakes}};
    for (const auto &each : tests) {
        int before = n_failed;
        each.test();
        printf("%s: %s\n", each.name, n_failed == before ? "passed" : "FAILED");
    }
    return n_failed != 0;
}
