/* Messages on stderr and numbers for people. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "cli/command.h"

static int flush_errno;

void tern_cli_flush(void) {
    if (fflush(stdout) && !flush_errno)
        flush_errno = errno;
}

int tern_cli_flush_errno(void) { return flush_errno; }

/* One line whatever the arguments hold: names from outside may contain newlines or escape sequences. */
static void say(const char *prefix, const char *format, va_list arguments) {
    char line[2048];
    vsnprintf(line, sizeof line, format, arguments);
    for (unsigned char *at = (unsigned char *)line; *at; at++)
        if (*at < 0x20 || *at == 0x7f)
            *at = '?';
    tern_cli_flush(); /* what came before stays before */
    fprintf(stderr, "tern: %s%s\n", prefix, line);
}

int tern_cli_error(const tern_error *err) {
    if (err->status == TERN_ERR_CANCELLED)
        return tern_interrupt_status();
    return tern_cli_fail("%s", err->message);
}

int tern_cli_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say("", format, arguments);
    va_end(arguments);
    return TERN_EXIT_FAILURE;
}

int tern_cli_usage(const char *command, const char *format, ...) {
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (command)
        tern_cli_fail("%s: %s (see 'tern %s --help')", command, line, command);
    else
        tern_cli_fail("%s (see 'tern --help')", line);
    return TERN_EXIT_USAGE;
}

void tern_cli_warn(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say("warning: ", format, arguments);
    va_end(arguments);
}

const char *tern_format_bytes(char text[32], double bytes) {
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB"};
    size_t unit = 0;
    while (bytes >= 1000 && unit + 1 < sizeof units / sizeof *units)
        bytes /= 1000, unit++;
    snprintf(text, 32, unit == 0 || bytes >= 100 ? "%.0f %s" : bytes >= 10 ? "%.1f %s" : "%.2f %s", bytes, units[unit]);
    return text;
}

const char *tern_format_seconds(char text[32], double seconds) {
    if (seconds < 1)
        snprintf(text, 32, "%.1f ms", seconds * 1e3);
    else
        snprintf(text, 32, "%.2f s", seconds);
    return text;
}

void tern_print_timing(const tern_generate_result *result, uint32_t reused) {
    char text[32];
    fprintf(stderr, "prompt:         %llu tokens", (unsigned long long)result->n_prompt);
    if (reused)
        fprintf(stderr, " (and %u reused)", (unsigned)reused);
    if (result->prefill_seconds > 0)
        fprintf(stderr, ", %.1f tok/s", (double)result->n_prompt / result->prefill_seconds);
    if (result->n_generated)
        fprintf(stderr, "\nfirst token:    %s after the start of the prompt",
                tern_format_seconds(text, result->first_token_seconds));
    fprintf(stderr, "\ngenerated:      %llu tokens", (unsigned long long)result->n_generated);
    /* the first token belongs to the prompt's evaluation: it would flatter the rate */
    double seconds = result->prefill_seconds + result->decode_seconds - result->first_token_seconds;
    if (result->n_generated > 1 && seconds > 0)
        fprintf(stderr, ", %.1f tok/s", (double)(result->n_generated - 1) / seconds);
    if (result->n_drafted)
        fprintf(stderr, "\nspeculation:    %llu of %llu guessed tokens right, %llu steps",
                (unsigned long long)result->n_accepted, (unsigned long long)result->n_drafted,
                (unsigned long long)result->n_steps);
    fputc('\n', stderr);
}

void tern_print_model_stats(const tern_model *model) {
    tern_model_stats stats;
    tern_model_get_stats(model, &stats);
    if (stats.ffn_up_rows_all && stats.ffn_down_columns_all)
        fprintf(stderr, "FFN read:       %.1f%% of the rows of up, %.1f%% of the columns of down\n",
                100.0 * (double)stats.ffn_up_rows / (double)stats.ffn_up_rows_all,
                100.0 * (double)stats.ffn_down_columns / (double)stats.ffn_down_columns_all);
}
