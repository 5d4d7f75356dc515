#include "eval/instructions.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "base/str.h"
#include "eval/instruction_checks.h"
#include "eval/template.h"

/* ----------------------------------------------------------------- one instruction */

/* As the harness takes them: what is missing, null, empty or 0 is no argument, and drawn at random; a number below 0,
 * too. */
static tern_status has_argument(const char *id, const tern_instruction_argument *wanted, const json_t *arguments,
                                bool *has, tern_error *err) {
    const json_t *value = json_object_get(arguments, wanted->name);
    bool good = true;
    *has = false;
    if (!value || json_is_null(value))
        return TERN_OK;
    switch (wanted->type) {
    case TERN_ARGUMENT_NUMBER:
        good = json_is_number(value);
        *has = good && json_number_value(value) > 0;
        break;
    case TERN_ARGUMENT_RELATION:
    case TERN_ARGUMENT_TEXT:
        good = json_is_string(value) && strlen(json_string_value(value)) == json_string_length(value);
        *has = good && *json_string_value(value);
        if (*has && wanted->type == TERN_ARGUMENT_RELATION)
            good =
                strcmp(json_string_value(value), "less than") == 0 || strcmp(json_string_value(value), "at least") == 0;
        break;
    case TERN_ARGUMENT_TEXTS:
        good = json_is_array(value);
        *has = good && json_array_size(value) > 0;
        for (size_t i = 0; good && i < json_array_size(value); i++)
            good = json_is_string(json_array_get(value, i));
        break;
    }
    return good ? TERN_OK
                : tern_fail(err, TERN_ERR_FORMAT, "instruction %s: argument '%s' has a value that it cannot have", id,
                            wanted->name);
}

tern_status tern_instruction_unchecked(const char *id, const json_t *arguments, const char **why, tern_error *err) {
    const tern_instruction_kind *kind = tern_instruction_find(id);
    bool has = true;
    *why = NULL;
    if (!kind)
        return tern_fail(err, TERN_ERR_FORMAT, "'%.60s' is no instruction of IFEval", id);
    if (!json_is_object(arguments) && !json_is_null(arguments))
        return tern_fail(err, TERN_ERR_FORMAT, "instruction %s: its arguments are no object", id);
    tern_status status = TERN_OK;
    for (size_t i = 0; !status && has && kind->arguments[i].name; i++)
        status = has_argument(id, &kind->arguments[i], arguments, &has, err);
    if (status)
        return status;
    if (!has || (kind->fits && !kind->fits(arguments)))
        *why = "an argument that IFEval draws at random";
    if (*why || !kind->follows)
        return TERN_OK;
    bool follows; /* an expression among the arguments may be none */
    const tern_instruction_job job = {arguments, "", 0, err};
    return kind->follows(&job, &follows);
}

static tern_status judge_text(const tern_instruction_kind *kind, const json_t *arguments, const char *text, size_t n,
                              tern_verdict *verdict, tern_error *err) {
    const tern_instruction_job job = {arguments, text, n, err};
    *verdict = TERN_NOT_FOLLOWED;
    if (tern_text_begin(text, n) == n)
        return TERN_OK;
    if (!kind->follows) {
        *verdict = kind->judge(&job);
        return TERN_OK;
    }
    bool follows = false;
    tern_status status = kind->follows(&job, &follows);
    *verdict = follows ? TERN_FOLLOWED : TERN_NOT_FOLLOWED;
    return status;
}

/* Lines [from, to) of the text, without white space at both ends -> *part, which lies in the text. */
static tern_view cut_lines(const char *text, bool without_first, bool without_last) {
    const char *begin = text, *end = text + strlen(text), *first = strchr(text, '\n'), *last = strrchr(text, '\n');
    if (without_first)
        begin = first ? first + 1 : end;
    if (without_last)
        end = last ? last : text;
    if (begin >= end)
        return (tern_view){text, 0};
    size_t n = tern_text_end(begin, (size_t)(end - begin)), blank = tern_text_begin(begin, n);
    return (tern_view){begin + blank, n - blank};
}

tern_status tern_instruction_judge(const char *id, const json_t *arguments, const char *answer, bool loose,
                                   tern_verdict *verdict, tern_error *err) {
    const tern_instruction_kind *kind = tern_instruction_find(id);
    const char *why;
    bool open = false; /* some way is undecided */
    *verdict = TERN_NOT_FOLLOWED;
    tern_status status = tern_instruction_unchecked(id, arguments, &why, err);
    if (status || why) {
        *verdict = TERN_UNDECIDED;
        return status;
    }
    for (unsigned way = 0; !status && *verdict != TERN_FOLLOWED && way < (loose ? 8 : 1); way++) {
        tern_view part = way & 3 ? cut_lines(answer, way & 1, way & 2) : tern_view_of(answer);
        tern_buffer text = {0};
        for (size_t i = 0; i < part.size; i++)
            if (!(way & 4) || part.bytes[i] != '*')
                tern_buffer_append(&text, part.bytes + i, 1);
        if (text.failed)
            status = tern_fail_memory(err, "an answer");
        else
            status = judge_text(kind, arguments, text.bytes ? text.bytes : "", text.size, verdict, err);
        open |= *verdict == TERN_UNDECIDED;
        tern_buffer_free(&text);
    }
    if (*verdict == TERN_NOT_FOLLOWED && open)
        *verdict = TERN_UNDECIDED;
    return status;
}

/* ------------------------------------------------------------------------ a record */

tern_status tern_instructions_read(const json_t *record, size_t *n, const char **why, const char **which,
                                   tern_error *err) {
    const json_t *ids = json_object_get(record, "instruction_id_list"), *all = json_object_get(record, "kwargs");
    *n = json_array_size(ids);
    size_t n_without = 0;
    *why = *which = NULL;
    if (*n == 0 || *n > TERN_MAX_INSTRUCTIONS)
        return tern_fail(err, TERN_ERR_FORMAT, "field 'instruction_id_list' is no array of 1 to %d texts",
                         TERN_MAX_INSTRUCTIONS);
    if (json_array_size(all) != *n)
        return tern_fail(err, TERN_ERR_FORMAT, "field 'kwargs' is no array of %zu objects, one for each instruction",
                         *n);
    for (size_t i = 0; i < *n; i++) {
        const char *id = json_string_value(json_array_get(ids, i)), *reason;
        if (!id)
            return tern_fail(err, TERN_ERR_FORMAT, "field 'instruction_id_list' holds something that is no text");
        tern_status status = tern_instruction_unchecked(id, json_array_get(all, i), &reason, err);
        if (status)
            return status;
        n_without += reason != NULL;
        if (reason && !*why) {
            *why = reason;
            *which = id;
        }
    }
    if (n_without < *n)
        *why = *which = NULL;
    return TERN_OK;
}

tern_status tern_instructions_check(const json_t *record, const char *answer, tern_verdict *strict, tern_verdict *loose,
                                    bool *gave_up, tern_error *err) {
    const json_t *ids = json_object_get(record, "instruction_id_list"), *all = json_object_get(record, "kwargs");
    tern_status status = TERN_OK;
    for (size_t i = 0; !status && i < json_array_size(ids); i++) {
        const char *id = json_string_value(json_array_get(ids, i));
        status = tern_instruction_judge(id, json_array_get(all, i), answer, false, &strict[i], err);
        if (!status)
            status = tern_instruction_judge(id, json_array_get(all, i), answer, true, &loose[i], err);
        if (status != TERN_ERR_UNSUPPORTED)
            continue;
        strict[i] = loose[i] = TERN_NOT_FOLLOWED;
        *gave_up = true;
        status = TERN_OK;
    }
    return status;
}
