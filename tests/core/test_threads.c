/* The units of the core in several threads at once: nothing is shared but constants, so every
 * thread gets what one alone would. `make test-threads` runs this under ThreadSanitizer. */
#define _DEFAULT_SOURCE

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "check.h"
#include "conn.h"
#include "deflate.h"
#include "handshake.h"
#include "mask.h"

#define THREADS 8
#define ROUNDS 200
#define MESSAGE                                                                                   \
    "a message that is long enough for the wide kernels, and for a match, for a match: caf\xC3\xA9"

static atomic_int threads_ready;

/* What a thread has found; its own, as the harness's counts are not for several threads. */
typedef struct {
    unsigned int seed;
    int wrong;
} worker;

static void
expect(worker *self, bool condition)
{
    self->wrong += condition ? 0 : 1;
}

/* The first use of everything, by all threads together. */
static void
wait_for_all(void)
{
    atomic_fetch_add(&threads_ready, 1);
    while (atomic_load(&threads_ready) < THREADS) {
        sched_yield();
    }
}

static void
accept_key(worker *self)
{
    static const char key[] = "dGhlIHNhbXBsZSBub25jZQ==";
    uint8_t accept[WS_ACCEPT_SIZE];
    ws_accept_key((const uint8_t *)key, sizeof key - 1, accept);
    expect(self, memcmp(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", sizeof accept) == 0);
}

/* One frame through a connection, with every kernel that there is. */
static void
receive_frame(worker *self)
{
    const ws_mask_kernel *kernels[WS_MASK_KERNELS_MAX];
    const size_t count = ws_mask_kernels(kernels, WS_MASK_KERNELS_MAX);
    expect(self, count > 0 && kernels[0] == ws_mask_select(NULL));
    const size_t n = sizeof MESSAGE - 1;
    uint8_t key[4] = {(uint8_t)self->seed, 2, 3, 4};
    uint8_t frame[6 + sizeof MESSAGE] = {0x81,  (uint8_t)(0x80 | n), key[0], key[1], key[2],
                                         key[3]};
    for (size_t i = 0; i < n; i++) {
        frame[6 + i] = (uint8_t)MESSAGE[i] ^ key[i % 4];
    }
    for (size_t i = 0; i < count; i++) {
        ws_conn conn;
        ws_conn_init(&conn, &(ws_conn_config){.mask = kernels[i]});
        size_t consumed;
        ws_event event;
        uint8_t text[sizeof MESSAGE];
        expect(self,
               ws_conn_next(&conn, frame, 6 + n, &consumed, &event) > 0 && event.length == n);
        expect(self, ws_conn_take(&conn, &event, text) == 0 && memcmp(text, MESSAGE, n) == 0);
    }
}

static void
compress_and_inflate(worker *self)
{
    const ws_slice message = {(const uint8_t *)MESSAGE, sizeof MESSAGE - 1};
    uint8_t compressed[512];
    uint8_t inflated[sizeof MESSAGE];
    size_t size = 0;
    ws_compressor compressor;
    ws_decompressor decompressor;
    ws_compressor_init(&compressor,
                       &(ws_compressor_config){.window_bits = 12, .memory_level = 5, .level = 5});
    ws_decompressor_init(&decompressor, &(ws_decompressor_config){.window_bits = 12});
    for (int i = 0; i < 2; i++) {
        expect(self, ws_compressor_message(&compressor, &message, 1, compressed, sizeof compressed,
                                           &size) == 1);
        ws_inflate step = {compressed, size, inflated, sizeof inflated, true};
        expect(self, ws_decompressor_step(&decompressor, &step) == WS_INFLATE_DONE);
        expect(self, memcmp(inflated, message.data, message.size) == 0);
    }
    ws_compressor_release(&compressor);
    ws_decompressor_clear(&decompressor);
}

static void *
work(void *argument)
{
    worker *self = argument;
    wait_for_all();
    for (int i = 0; i < ROUNDS; i++) {
        accept_key(self);
        receive_frame(self);
        compress_and_inflate(self);
    }
    return NULL;
}

static void
test_every_thread_gets_what_one_alone_would(void)
{
    pthread_t threads[THREADS];
    worker workers[THREADS];
    for (unsigned int i = 0; i < THREADS; i++) {
        workers[i] = (worker){.seed = i};
        if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0) {
            abort();
        }
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(workers[i].wrong == 0);
    }
}

int
main(void)
{
    RUN(test_every_thread_gets_what_one_alone_would);
    return check_finish();
}
