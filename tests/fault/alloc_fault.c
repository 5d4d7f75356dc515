/* Out of memory, everywhere (fault/failing.h): in a whole run of load, session, tokenise, generate and free, in one of
 * a scheduler with some requests, in a grammar. */
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/guard.h"
#include "base/rng.h"
#include "fault/failing.h"
#include "format/peft.h"
#include "model/demo.h"
#include "runtime/cpu_head.h"
#include "tern/tern.h"

static bool count_text(void *user, const char *text, size_t n_bytes, int32_t id) {
    (void)text, (void)id;
    *(size_t *)user += n_bytes;
    return true;
}

/* Two sessions in a batch: a prompt for one beside a token for the other, then a draw for both. */
static tern_status batch(tern_model *model, const int32_t *prompt, size_t n_prompt, tern_error *err) {
    tern_session *sessions[2] = {0};
    tern_sampler *samplers[2] = {0};
    const int32_t *const ids[] = {prompt, prompt};
    const size_t n_ids[] = {n_prompt, 1};
    const tern_logit_bias bias = {1, 2};
    int32_t drawn[2];
    tern_status status = TERN_OK;
    tern_model_info info;
    tern_model_get_info(model, &info);
    for (size_t i = 0; !status && i < 2; i++) {
        tern_sampler_params params = tern_sampler_defaults();
        params.top_k = i == 0 ? 40 : 0; /* one draws from the largest, the other by noise */
        params.top_p = 1, params.min_p = 0;
        params.repeat_penalty = 1.2f;
        params.logit_bias = &bias;
        params.n_logit_bias = 1;
        status = tern_session_create(model, &(tern_session_params){.chunk = 4}, &sessions[i], err);
        if (!status)
            status = tern_sampler_create(&params, info.vocab_size, &samplers[i], err);
    }
    if (!status)
        status = tern_batch_eval(sessions, ids, n_ids, 2, err);
    if (!status)
        status = tern_batch_sample(sessions, samplers, 2, drawn, err);
    for (size_t i = 0; i < 2; i++) {
        tern_session_free(sessions[i]);
        tern_sampler_free(samplers[i]);
    }
    return status;
}

/* Everything that a program does with a model, from `path`. */
static tern_status use_model(const char *path, tern_error *err) {
    const tern_message messages[] = {{"system", "Be brief."}, {"user", "Tell me a story."}};
    const char *stop[] = {"\n\n\n"};
    tern_model_params params = tern_model_defaults();
    params.n_threads = 2;
    params.numa = TERN_NUMA_INTERLEAVE;
    params.warm_up = true;
    tern_model *model = NULL;
    tern_session *session = NULL;
    tern_inspection *inspection = NULL;
    int32_t *ids = NULL;
    char *text = NULL;
    size_t n_ids = 0, n_bytes = 0, n_text = 0;

    tern_status status = tern_inspect(path, &inspection, err);
    tern_inspection_free(inspection);
    if (!status)
        status = tern_model_load(path, &params, &model, err);
    const tern_tokenizer *tokenizer = model ? tern_model_tokenizer(model) : NULL;
    if (!status)
        status = tern_session_create(model, NULL, &session, err);
    if (!status)
        status = tern_chat_tokenize(tokenizer, messages, 2, true, TERN_TOKENIZE_BOS, &ids, &n_ids, err);
    if (!status)
        status = tern_detokenize(tokenizer, ids, n_ids, false, &text, &n_bytes, err);
    if (!status) {
        tern_generate_params generate = tern_generate_defaults();
        generate.max_tokens = 6;
        generate.stop = stop;
        generate.n_stop = 1;
        generate.ignore_end = true;
        generate.sampler.repeat_penalty = 1.1f;
        generate.sampler.penalty_window = -1;
        generate.draft = 4;
        status = tern_generate_ids(session, ids, n_ids, &generate, count_text, &n_text, NULL, err);
    }
    if (!status)
        status = batch(model, ids, n_ids, err);
    tern_free(text);
    tern_free(ids);
    tern_session_free(session);
    tern_model_free(model);
    return status;
}

/* Candidates for a few hidden states from the screen of a head with 4096 rows, asked for twice. */
static tern_status search(const tern_weights *weights, const tern_kernels *kernels, tern_pool *pool, tern_error *err) {
    enum { TOKENS = 4, HIDDEN = 256 };
    static const int32_t forced[] = {17, 3};
    static const tern_head_query queries[TOKENS] = {
        {.want = TERN_HEAD_TOP, .top_k = 5, .forced = forced, .n_forced = 2},
        {.want = TERN_HEAD_GUMBEL, .temperature = 0.7, .seed = 1},
        {.want = TERN_HEAD_NEAR, .margin = 1},
        {.want = TERN_HEAD_ALL},
    };
    static float x[TOKENS * HIDDEN];
    tern_rng rng;
    tern_rng_seed(&rng, 1);
    for (size_t i = 0; i < TOKENS * HIDDEN; i++)
        x[i] = (float)tern_rng_normal(&rng);
    tern_cpu_head head;
    tern_candidates out[TOKENS] = {{0}};
    tern_cpu_head_init(&head, weights, kernels, pool);
    tern_status status = tern_cpu_head_candidates(&head, x, 1, queries, out, err);
    if (!status)
        status = tern_cpu_head_candidates(&head, x, TOKENS, queries, out, err);
    for (size_t i = 0; i < TOKENS; i++)
        tern_candidates_free(&out[i]);
    tern_cpu_head_free(&head);
    return status;
}

/* The screen of an LM head, which models as small as these do not get by themselves. */
static tern_status screen_scenario(const char *path, tern_error *err) {
    (void)path;
    tern_checkpoint *checkpoint = NULL;
    tern_weights weights = {0};
    tern_pool *pool = NULL;
    const tern_kernels *kernels = NULL;
    tern_status status = tern_kernels_choose(NULL, &kernels, err);
    if (!status)
        status = tern_pool_create(2, &pool, err);
    if (!status)
        status = tern_open_model(NULL, &checkpoint, err);
    if (!status)
        status = tern_weights_bind(checkpoint, &weights, err);
    if (!status && kernels->screen)
        status = tern_screen_build(checkpoint, weights.head, kernels->screen, pool, &weights.screen, err);
    if (!status)
        status = search(&weights, kernels, pool, err);
    tern_weights_free(&weights);
    tern_checkpoint_close(checkpoint);
    tern_pool_free(pool);
    return status;
}

/* An adapter on disk, for q of both layers of the small models. */
static char adapter[] = "/tmp/tern-fault-XXXXXX";

static tern_status write_scenario(const char *path, tern_error *err) {
    (void)path;
    enum { RANK = 2, HIDDEN = 64 };
    static const float values[RANK * HIDDEN] = {0.5f};
    static const char *const targets[] = {"q_proj"};
    tern_peft_tensor tensors[4];
    for (int i = 0; i < 4; i++) {
        bool is_a = i % 2 == 0;
        tensors[i] = (tern_peft_tensor){.rows = is_a ? RANK : HIDDEN, .cols = is_a ? HIDDEN : RANK, .values = values};
        snprintf(tensors[i].name, sizeof tensors[i].name,
                 "base_model.model.model.layers.%d.self_attn.q_proj.lora_%c.weight", i / 2, is_a ? 'A' : 'B');
    }
    return tern_peft_write(adapter, RANK, 4, targets, 1, tensors, 4, err);
}

static tern_status adapter_scenario(const char *path, tern_error *err) {
    tern_model_params params = tern_model_defaults();
    tern_model *model = NULL;
    params.n_threads = 2;
    params.lora = adapter;
    params.warm_up = true;
    tern_status status = tern_model_load(path, &params, &model, err);
    tern_model_free(model);
    return status;
}

/* ------------------------------------------------------------- scheduler */

/* A request, and what it is told. The first one's first event holds the scheduler's thread until the others are handed
 * in: so allocations come in the same order in every run. */
typedef struct client {
    tern_request_params params;
    bool held, let_go, done;
    tern_error err;
} client;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static tern_model *served;

static bool hold(void *user, const tern_request_event *event) {
    client *c = user;
    (void)event;
    pthread_mutex_lock(&lock);
    c->held = true;
    pthread_cond_broadcast(&changed);
    while (!c->let_go)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    return true;
}

static void finish(void *user, const tern_request_result *result) {
    client *c = user;
    pthread_mutex_lock(&lock);
    c->err = result->err;
    c->err.status = result->status;
    c->done = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* At most one of them fails, and nothing of it stays. */
static tern_status outcome(tern_scheduler *scheduler, client *clients, size_t n, tern_error *err) {
    tern_scheduler_stats stats;
    size_t n_failed = 0;
    pthread_mutex_lock(&lock);
    clients[0].let_go = true;
    pthread_cond_broadcast(&changed);
    for (size_t i = 0; i < n; i++) {
        while (!clients[i].done)
            pthread_cond_wait(&changed, &lock);
        if (clients[i].err.status) {
            *err = clients[i].err;
            n_failed++;
        }
    }
    pthread_mutex_unlock(&lock);
    tern_scheduler_get_stats(scheduler, &stats);
    if (n_failed > 1 || stats.n_failed != n_failed || stats.kv_blocks_used > 0)
        return tern_fail(err, TERN_ERR_FORMAT, "%zu requests failed, %d blocks are left", n_failed,
                         (int)stats.kv_blocks_used);
    return n_failed ? err->status : TERN_OK;
}

static tern_status serve(tern_scheduler *scheduler, client *clients, size_t n, tern_error *err) {
    tern_status status = tern_scheduler_submit(scheduler, &clients[0].params, NULL, err);
    if (status)
        return status;
    pthread_mutex_lock(&lock);
    while (!clients[0].held && !clients[0].done)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    size_t n_in = 1;
    while (!status && n_in < n) {
        status = tern_scheduler_submit(scheduler, &clients[n_in].params, NULL, err);
        n_in += !status;
    }
    tern_error failed_later = {0};
    tern_status later = outcome(scheduler, clients, n_in, &failed_later);
    if (later)
        *err = failed_later;
    return later ? later : status;
}

/* Four requests, of which the pool has room for three, each with something of its own. */
static tern_status scheduler_scenario(const char *path, tern_error *err) {
    (void)path;
    enum { N = 4 };
    static int32_t ids[130];
    static const char *const stop[] = {"\n\n\n"};
    static const tern_logit_bias bias = {1, 2};
    const tern_scheduler_params params = {.n_ctx = 256, .max_running = 3, .chunk = 40, .kv_bytes = 1 << 21};
    client clients[N] = {{.held = false}};
    tern_scheduler *scheduler = NULL;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        ids[i] = (int32_t)(i * 7 % 500);
    for (size_t i = 0; i < N; i++) {
        tern_request_params *p = &clients[i].params;
        *p = (tern_request_params){.ids = ids + i, .n_ids = 120, .max_tokens = 12, .ignore_end = true};
        p->sampler = tern_sampler_defaults();
        p->sampler.repeat_penalty = 1.1f;
        p->sampler.logit_bias = &bias;
        p->sampler.n_logit_bias = 1;
        p->stop = stop;
        p->n_stop = 1;
        p->on_done = finish;
        p->user = &clients[i];
    }
    clients[0].params.on_event = hold;
    clients[1].params.logprobs = clients[1].params.prompt_logprobs = true;
    clients[1].params.n_top = 5;
    clients[3].params.embedding = true;
    clients[3].params.max_tokens = 0;
    tern_status status = tern_scheduler_create(served, &params, &scheduler, err);
    if (!status)
        status = serve(scheduler, clients, N, err);
    tern_scheduler_free(scheduler);
    return status;
}

/* --------------------------------------------------------------- grammars */

static tern_status draw_under(const tern_grammar *grammar, const char *prompt, tern_error *err) {
    const tern_tokenizer *tokenizer = tern_model_tokenizer(served);
    tern_session *session = NULL;
    int32_t *ids = NULL;
    size_t n_ids = 0, n_text = 0;
    tern_generate_params generate = tern_generate_defaults();
    generate.max_tokens = 6;
    generate.sampler.seed = 1;
    generate.sampler.grammar = grammar;
    tern_status status = tern_tokenize(tokenizer, prompt, strlen(prompt), TERN_TOKENIZE_BOS, &ids, &n_ids, err);
    if (!status)
        status = tern_session_create(served, NULL, &session, err);
    if (!status)
        status = tern_generate_ids(session, ids, n_ids, &generate, count_text, &n_text, NULL, err);
    tern_session_free(session);
    tern_free(ids);
    return status;
}

static tern_status gbnf_scenario(const char *path, tern_error *err) {
    (void)path;
    static const char text[] = "root ::= word (\" \" word){1,4} end?\n"
                               "word ::= [a-z] [a-z_]* | \"\\\"\" [^\"\\n\\u0430-\\u044f]+ \"\\\"\"\n"
                               "end ::= \".\" | \"!\" # that is all\n";
    tern_grammar *grammar = NULL;
    tern_status status = tern_grammar_parse(tern_model_tokenizer(served), text, &grammar, err);
    if (!status)
        status = draw_under(grammar, "Once", err);
    tern_grammar_free(grammar);
    return status;
}

/* With keys and strings that jansson needs more room for than it begins with. */
static tern_status schema_scenario(const char *path, tern_error *err) {
    (void)path;
    static const char text[] =
        "{\"type\":\"object\",\"properties\":{\"a name of more than sixteen bytes\":{\"type\":\"string\",\"pattern\":"
        "\"^[A-Z][a-z]{2,5}( [0-9]+)?$\"},\"tags\":{\"type\":\"array\",\"items\":{\"enum\":[\"red\",3,{\"another long "
        "key of it"
        "\":null}]},\"minItems\":1,\"maxItems\":3},\"next\":{\"$ref\":\"#/$defs/step\"}},\"required\":[\"tags\"],"
        "\"additionalProperties\":false,\"$defs\":{\"step\":{\"anyOf\":[{\"type\":\"integer\",\"minimum\":-3,"
        "\"maximum\":120"
        "},{\"const\":\"\\u00e9t\\u00e9\"},{\"type\":\"object\",\"additionalProperties\":{\"type\":\"number\"}}]}}}";
    tern_grammar *grammar = NULL;
    tern_status status = tern_grammar_from_schema(tern_model_tokenizer(served), text, &grammar, err);
    if (!status)
        status = draw_under(grammar, "Once", err);
    tern_grammar_free(grammar);
    return status;
}

int main(void) {
    static const char *const adapter_files[] = {"adapter_config.json", "adapter_model.safetensors"};
    static const char *const paths[] = {
        TERN_SOURCE_DIR "/tests/data/golden/small/model-i2_s-f32-v2.gguf",
        TERN_SOURCE_DIR "/tests/data/golden/small/hf-packed-sharded",
        TERN_SOURCE_DIR "/tests/data/golden/small/hf-bf16", NULL, /* the built-in model */
    };
    json_set_alloc_funcs(tern_guard_malloc, tern_guard_free);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (tern_fault_run(use_model, paths[i], 0))
            return 1;
    if (!mkdtemp(adapter))
        return 1;
    int failures = tern_fault_run(write_scenario, "an adapter", 0) || write_scenario(NULL, NULL) || /* whole again */
                   tern_fault_run(adapter_scenario, paths[2], 0);
    failures = failures || tern_fault_run(screen_scenario, NULL, 0);
    failures = failures || tern_model_load(NULL, &(tern_model_params){.n_threads = 2}, &served, NULL) ||
               scheduler_scenario(NULL, NULL) || /* the model keeps the scratch that it needs */
               tern_fault_run(scheduler_scenario, NULL, 0);
    failures = failures || gbnf_scenario(NULL, NULL) || tern_fault_run(gbnf_scenario, "a grammar", 0) ||
               schema_scenario(NULL, NULL) || tern_fault_run(schema_scenario, "a schema", 0);
    tern_model_free(served);
    for (size_t i = 0; i < sizeof adapter_files / sizeof *adapter_files; i++) {
        char name[96];
        snprintf(name, sizeof name, "%s/%s", adapter, adapter_files[i]);
        unlink(name);
    }
    rmdir(adapter);
    return failures;
}
