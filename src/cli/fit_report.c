/* tern fit: the tables. */
#include "cli/estimate.h"
#include "cli/fit.h"

#include <stdio.h>
#include <string.h>

#include "cli/measure.h"

enum { CONTEXTS_A_TABLE = 2, FORMS_A_TABLE = 3, CELL = 64 };

const char *tern_fit_verdict_name(tern_fit_verdict verdict) {
    static const char *const names[] = {
        [TERN_FIT_NO] = "does not fit", [TERN_FIT_TIGHT] = "tight", [TERN_FIT_YES] = "fits"};
    return names[verdict];
}

/* The page's figures are given as it gives them: in tenths of a GB. */
static const char *bytes_text(char text[32], const tern_fit_form *form, double bytes) {
    if (form->reader != TERN_FIT_PUBLISHED)
        return tern_format_bytes(text, bytes);
    snprintf(text, 32, "%.1f GB", bytes / 1e9);
    return text;
}

static const char *rate_text(char text[32], double rate) {
    snprintf(text, 32, rate >= 99.95 ? "%.0f tok/s" : rate >= 9.995 ? "%.1f tok/s" : "%.2f tok/s", rate);
    return text;
}

/* --------------------------------------------------------------------- model */

/* Of rows with scales of their own: the fewest and the most weights that share one. */
static void print_scales(const tern_shape *shape) {
    uint32_t least = 0, most = 0;
    for (size_t i = 0; i < sizeof shape->scale_columns / sizeof *shape->scale_columns; i++) {
        const uint32_t n = shape->scale_columns[i];
        least = n && (!least || n < least) ? n : least;
        most = n > most ? n : most;
    }
    if (least && least == most)
        printf("a scale for each %u weights of a row, ", least);
    else if (least)
        printf("a scale for each %u to %u weights of a row, ", least, most);
}

static void print_model(const tern_fit_request *r) {
    const tern_shape *shape = &r->shape;
    char params[32], ternary[32];
    tern_size size;
    const bool floats = shape->float_bytes > 0;
    const tern_size_params any = {.weight_type = floats ? "none" : "t2r16"};
    tern_error err;
    if (tern_size_of(shape, &any, &size, &err))
        size = (tern_size){0};
    tern_cli_put_escaped(shape->name, strlen(shape->name));
    printf("%s: %s parameters, ", r->from_file ? "" : " (a shape)", tern_format_count(params, (double)size.n_params));
    if (floats)
        printf("matrices of floats");
    else
        printf("%s of them %s", tern_format_count(ternary, (double)size.n_ternary),
               shape->binary ? "binary" : "ternary");
    printf("; context %u tokens\n", shape->n_ctx);
    if (r->from_file) {
        printf("%sstored as %s, ", shape->no_sub_norms ? "LLaMA's layout, " : "", shape->weight_type);
        print_scales(shape);
        printf("embedding %s%s%s\n", shape->embedding_type, shape->tied_embedding ? "" : ", LM head ",
               shape->tied_embedding ? "" : shape->head_type);
    }
    if (r->streams > 1)
        printf("%.0f streams decoded together: KV caches of all of them; a step makes a token of each\n", r->streams);
}

static void print_need_head(const tern_fit_request *r, size_t first, size_t n) {
    char text[CELL];
    printf("\n%-50s", "");
    for (size_t i = first; i < first + n; i++) {
        snprintf(text, sizeof text, "%d tokens of context", r->contexts[i]);
        printf("%24s", text);
    }
    printf("\n%-12s%11s%12s%10s%5s", "weights", "matrices", "embedding", "rest", "KV");
    for (size_t i = 0; i < n; i++)
        printf("%11s%13s", "in all", r->streams > 1 ? "read a step" : "read a token");
    putchar('\n');
}

static void print_need(const tern_fit_request *r, const tern_fit_form *form, size_t first, size_t n) {
    char text[32];
    printf("%-12s%11s", form->name, bytes_text(text, form, form->weight_bytes));
    printf("%12s", form->embedding_bytes > 0 ? bytes_text(text, form, form->embedding_bytes) : "-");
    printf("%10s%5s", bytes_text(text, form, form->rest_bytes), tern_kv_type_name(form->kv_type));
    for (size_t i = first; i < first + n; i++) {
        tern_fit_need need = tern_fit_need_of(&r->shape, form, r->contexts[i], r->streams);
        printf("%11s", bytes_text(text, form, need.total_bytes));
        printf("%13s", bytes_text(text, form, need.read_bytes));
    }
    putchar('\n');
}

static void print_needs(const tern_fit_request *r) {
    for (size_t first = 0; first < r->n_contexts; first += CONTEXTS_A_TABLE) {
        size_t left = r->n_contexts - first, n = left < CONTEXTS_A_TABLE ? left : CONTEXTS_A_TABLE;
        print_need_head(r, first, n);
        for (size_t i = 0; i < r->n_forms; i++)
            print_need(r, &r->forms[i], first, n);
    }
    if (r->left_out[0])
        printf("left out, since this model's rows or scales cannot be stored so: %s\n", r->left_out);
}

/* What the choice of the head's type changes. */
static void print_heads(const tern_fit_request *r) {
    static const char *const types[] = {"F16", "Q8_0", "Q6_K", "Q4_0"};
    printf("\n%-12s%14s%22s%22s\n", "LM head", "in memory", "read a token, whole", "screened by tern");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const tern_size_params whole = {.weight_type = "t2r16", .embedding_type = types[i], .exact_head = true};
        const tern_size_params screened = {.weight_type = "t2r16", .embedding_type = types[i]};
        tern_size a, b;
        char head[32], read[32], screen[32];
        if (tern_size_of(&r->shape, &whole, &a, NULL) || tern_size_of(&r->shape, &screened, &b, NULL))
            continue; /* rows that are no multiple of the type's blocks */
        double rest = (double)(a.weight_bytes + a.norm_bytes);
        double bytes = (double)a.bytes_per_token - rest;
        printf("%-12s%14s%22s%22s\n", types[i], tern_format_bytes(head, bytes), tern_format_bytes(read, bytes),
               b.screen_bytes ? tern_format_bytes(screen, (double)b.bytes_per_token - rest) : "too small for it");
    }
}

static void print_caches(const tern_fit_request *r) {
    static const tern_kv_type types[] = {TERN_KV_F32, TERN_KV_F16, TERN_KV_Q8};
    char text[32];
    printf("\n%-12s%14s", "KV cache", "a token");
    for (size_t i = 0; i < r->n_contexts && i < 4; i++) {
        snprintf(text, sizeof text, "%d tokens", r->contexts[i]);
        printf("%16s", text);
    }
    putchar('\n');
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        printf("%-12s%14s", tern_kv_type_name(types[t]),
               tern_format_bytes(text, tern_shape_kv_bytes(&r->shape, types[t], 1)));
        for (size_t i = 0; i < r->n_contexts && i < 4; i++)
            printf("%16s", tern_format_bytes(text, tern_shape_kv_bytes(&r->shape, types[t], r->contexts[i])));
        putchar('\n');
    }
}

static void print_notes(const tern_fit_request *r) {
    bool page = false, tern = false, binary = false, stored = false;
    for (size_t i = 0; i < r->n_forms; i++) {
        page = page || r->forms[i].reader == TERN_FIT_PUBLISHED;
        binary = binary || strcmp(r->forms[i].name, "b1r16") == 0;
        stored = stored || strcmp(r->forms[i].name, "stored") == 0;
        tern = tern || strcmp(r->forms[i].name, "t2r16") == 0 || strcmp(r->forms[i].name, "t5r16") == 0;
    }
    putchar('\n');
    if (page)
        puts("published: as the published page counts: 2 G parameters of 16 bits, KV cache, 0.3 GB of framework,\n"
             "all of it read for each token. BF16 has the real tensors, and reads no framework.");
    puts("rest: norms, 0.3 GB for a framework or 0.05 GB for tern, and the screen of the LM head in tern.");
    if (tern)
        puts("t2r16 runs on any CPU, t5r16 with AVX-512 VBMI; read: the whole FFN, the head screen's first plane.");
    if (binary)
        puts("b1r16: one bit a weight, for models without zeros, on any CPU.");
    if (stored)
        puts("stored: the floats of the file with tern, on any CPU; read: the head screen's first plane.");
}

/* -------------------------------------------------------------------- verdicts */

/* The form of least memory that fits and runs there; NULL: none. */
static const tern_fit_form *smallest(const tern_fit_request *r, const tern_device *device, double n_tokens) {
    const tern_fit_form *best = NULL;
    double least = 0;
    for (size_t i = 0; i < r->n_forms; i++) {
        tern_fit_need need = tern_fit_need_of(&r->shape, &r->forms[i], n_tokens, r->streams);
        bool fits = tern_fit_judge(device, &need) != TERN_FIT_NO && tern_fit_runs(device, &r->forms[i]);
        if (fits && (!best || need.total_bytes < least)) {
            best = &r->forms[i];
            least = need.total_bytes;
        }
    }
    return best;
}

const char *tern_fit_reason(const tern_fit_request *r, const tern_device *device, const tern_fit_form *form,
                            double n_tokens, char text[240]) {
    tern_fit_need need = tern_fit_need_of(&r->shape, form, n_tokens, r->streams);
    tern_fit_verdict verdict = tern_fit_judge(device, &need);
    char wanted[32], usable[32], other[32];
    text[0] = 0;
    if (verdict == TERN_FIT_YES)
        return text;
    uint32_t longest = tern_fit_longest(&r->shape, form, device, r->streams);
    const tern_fit_form *best = smallest(r, device, n_tokens);
    int used = snprintf(text, 240, "needs %s, and %s can be used", tern_format_bytes(wanted, need.total_bytes),
                        tern_format_bytes(usable, tern_fit_usable_bytes(device)));
    if (verdict == TERN_FIT_TIGHT || used < 0 || used >= 240)
        return text; /* what would fit is asked only when this does not */
    if (longest)
        snprintf(text + used, 240 - (size_t)used, "; up to %u tokens of context fit", longest);
    else if (best) {
        need = tern_fit_need_of(&r->shape, best, n_tokens, r->streams);
        snprintf(text + used, 240 - (size_t)used, "; %s fits with %s", best->name,
                 tern_format_bytes(other, need.total_bytes));
    } else
        snprintf(text + used, 240 - (size_t)used, "; no form of this model fits");
    return text;
}

/* --------------------------------------------------------------------- devices */

static void print_device_rows(const tern_fit_request *r, const tern_device *device, size_t first, size_t n) {
    char text[CELL], size[32], rate[32];
    printf("\n%-12s", "weights");
    for (size_t i = first; i < first + n; i++) {
        snprintf(text, sizeof text, "%d tokens of context", r->contexts[i]);
        printf("%-*s", i + 1 < first + n ? 44 : 0, text);
    }
    putchar('\n');
    for (size_t f = 0; f < r->n_forms; f++) {
        const tern_fit_form *form = &r->forms[f];
        printf("%-12s", form->name);
        for (size_t i = first; i < first + n; i++) {
            tern_fit_need need = tern_fit_need_of(&r->shape, form, r->contexts[i], r->streams);
            tern_fit_verdict verdict = tern_fit_judge(device, &need);
            bool runs = tern_fit_runs(device, form) && verdict != TERN_FIT_NO;
            printf("%-10s%-14s%-*s", bytes_text(size, form, need.total_bytes),
                   tern_fit_runs(device, form) ? tern_fit_verdict_name(verdict) : "for CPUs",
                   i + 1 < first + n ? 20 : 0, runs ? rate_text(rate, tern_fit_rate(device, &need, r->streams)) : "-");
        }
        putchar('\n');
    }
}

/* A line for each form and context that does not fit or is tight, or one for all if none does. */
static void print_reasons(const tern_fit_request *r, const tern_device *device) {
    char reason[240];
    bool any = false;
    for (size_t i = 0; i < r->n_contexts; i++)
        any = any || smallest(r, device, r->contexts[i]);
    for (size_t f = 0; f < r->n_forms; f++)
        for (size_t i = 0; i < r->n_contexts; i++) {
            const tern_fit_form *form = &r->forms[f];
            if (!tern_fit_runs(device, form) || !*tern_fit_reason(r, device, form, r->contexts[i], reason))
                continue;
            bool longer = tern_fit_longest(&r->shape, form, device, r->streams) > 0;
            if (any || longer)
                printf("%s with %d tokens %s\n", form->name, r->contexts[i], reason);
        }
    if (!any)
        printf("no form of this model fits with %d tokens of context\n", r->contexts[0]);
}

static void print_device(const tern_fit_request *r, const tern_device *device) {
    const tern_device_class *group = tern_devices_class(&r->table, device->class_name);
    char memory[32], usable[32];
    putchar('\n');
    tern_cli_put_escaped(device->name, strlen(device->name));
    printf(": %s of memory, %s of it for a model; %.4g GB/s, of which %.0f%%",
           tern_format_bytes(memory, device->memory), tern_format_bytes(usable, tern_fit_usable_bytes(device)),
           device->bandwidth / 1e9, 100 * device->efficiency);
    if (group && group->efficiency == device->efficiency)
        printf(" (%s)", group->name);
    printf(" count\n");
    static const char *const origins[] = {[TERN_SOURCE_NOT_SAID] = "",
                                          [TERN_SOURCE_FIRST_HAND] = "first-hand: ",
                                          [TERN_SOURCE_SECOND_HAND] = "second-hand: "};
    if (device->source[0])
        printf("%s%s\n", origins[device->origin], device->source);
    for (size_t first = 0; first < r->n_contexts; first += CONTEXTS_A_TABLE) {
        size_t left = r->n_contexts - first;
        print_device_rows(r, device, first, left < CONTEXTS_A_TABLE ? left : CONTEXTS_A_TABLE);
    }
    print_reasons(r, device);
}

/* ------------------------------------------------------------------------ list */

static void print_list_row(const tern_fit_request *r, const tern_device *device, const tern_fit_form *const *forms,
                           size_t n, int width) {
    char text[CELL], rate[32];
    printf("%-*s", width, device->name);
    snprintf(text, sizeof text, "%.4g GB", device->memory / 1e9);
    printf("%8s", text);
    snprintf(text, sizeof text, "%.4g GB/s", device->bandwidth / 1e9);
    printf("%11s%5.0f%%", text, 100 * device->efficiency);
    for (size_t i = 0; i < n; i++) {
        tern_fit_need need = tern_fit_need_of(&r->shape, forms[i], r->contexts[0], r->streams);
        tern_fit_verdict verdict = tern_fit_judge(device, &need);
        if (!tern_fit_runs(device, forms[i]))
            snprintf(text, sizeof text, "for CPUs");
        else if (verdict == TERN_FIT_NO)
            snprintf(text, sizeof text, "does not fit");
        else
            snprintf(text, sizeof text, "%s, %s", rate_text(rate, tern_fit_rate(device, &need, r->streams)),
                     tern_fit_verdict_name(verdict));
        printf("%18s", text);
    }
    putchar('\n');
}

static void print_list_table(const tern_fit_request *r, const tern_fit_form *const *forms, size_t n) {
    int width = 20;
    for (size_t i = 0; i < r->table.n_devices; i++) {
        int length = (int)strlen(r->table.devices[i].name);
        width = length > width ? length : width;
    }
    for (size_t k = 0; k < r->table.n_kinds; k++) {
        const tern_device_kind *kind = &r->table.kinds[k];
        bool headed = false;
        for (size_t i = 0; i < r->table.n_devices; i++) {
            const tern_device *device = &r->table.devices[i];
            if (strcmp(device->kind, kind->name) != 0)
                continue;
            if (!headed) {
                printf("\n%-*s%8s%11s%6s", width, kind->title, "memory", "bandwidth", "used");
                for (size_t f = 0; f < n; f++)
                    printf("%18s", forms[f]->name);
                putchar('\n');
            }
            headed = true;
            print_list_row(r, device, forms, n, width);
        }
    }
}

static const tern_fit_form *find_form(const tern_fit_request *r, const char *name) {
    for (size_t i = 0; i < r->n_forms; i++)
        if (strcmp(r->forms[i].name, name) == 0)
            return &r->forms[i];
    return NULL;
}

/* The forms that were named, or else three that tell most: 16 bits, 2 bits (of floats 8), tern on any CPU. */
static size_t forms_of_list(const tern_fit_request *r, const tern_fit_form *forms[TERN_FIT_MAX_FORMS]) {
    static const char *const names[] = {"published", "BF16", "Q8_0", "I2_S", "b1r16", "t2r16", "stored"};
    size_t n = 0;
    for (size_t i = 0; r->chosen && i < r->n_forms; i++)
        forms[n++] = &r->forms[i];
    for (size_t i = 0; !r->chosen && i < sizeof names / sizeof *names; i++) {
        const tern_fit_form *form = find_form(r, names[i]);
        if (form && n < FORMS_A_TABLE && !(i == 1 && n == 1))
            forms[n++] = form;
    }
    return n;
}

static void print_list(const tern_fit_request *r) {
    const tern_fit_form *forms[TERN_FIT_MAX_FORMS];
    size_t n = forms_of_list(r, forms);
    printf("\nTokens a second with %d tokens of context: bandwidth x share used / bytes read per token\n",
           r->contexts[0]);
    for (size_t first = 0; first < n; first += FORMS_A_TABLE)
        print_list_table(r, forms + first, n - first < FORMS_A_TABLE ? n - first : FORMS_A_TABLE);
    printf("\nFor a model:");
    for (size_t k = 0; k < r->table.n_kinds; k++)
        printf("%s %.0f%% of the memory (%s)", k ? "," : "", 100 * r->table.kinds[k].usable, r->table.kinds[k].title);
    printf(";\nabove %.0f%% of that it is tight. tern computes on CPUs, the other columns are for programs that read\n"
           "these types. Sources: --device NAME, or --json.\n",
           100 * TERN_FIT_TIGHT_SHARE);
}

/* Of a token at the end of the longest context. */
static void print_energy(const tern_fit_request *r) {
    char title[80];
    const tern_estimate made = tern_estimate_of(&r->shape, !r->shape.float_bytes, r->contexts[r->n_contexts - 1], 1);
    snprintf(title, sizeof title, "a token that attends to %g", made.context);
    tern_print_estimate_head();
    tern_print_estimate(title, &made);
}

int tern_fit_print(const tern_fit_request *r) {
    print_model(r);
    print_needs(r);
    if (!r->n_devices) {
        print_heads(r);
        print_caches(r);
        print_notes(r);
        if (!r->list)
            print_energy(r);
    }
    for (size_t i = 0; i < r->n_devices; i++)
        print_device(r, r->devices[i]);
    if (r->list)
        print_list(r);
    if (!r->list && !r->n_devices)
        puts("\ntern fit --list, --device NAME and --here say where it fits and how fast it would be.");
    return 0;
}
