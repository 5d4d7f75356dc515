/* Any bytes as a chat template, rendered over a few messages. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const tern_message messages[] = {
        {"system", "Be brief."}, {"uSER", "  H\xc3\xa9llo \xff <|eot_id|>\n"}, {"assistant", ""}};
    tern_template *parsed = NULL;
    tern_error err;
    char *source = malloc(size + 1);
    if (!source)
        return 0;
    memcpy(source, data, size);
    source[size] = 0;
    if (tern_template_parse(source, &parsed, &err) == TERN_OK) {
        tern_template_input input = {messages, 3, true, {"<|begin_of_text|>", 17}, {NULL, 0}};
        tern_buffer text, taint;
        tern_status status = tern_template_render(parsed, &input, &text, &taint, &err);
        if (text.size != taint.size || (status && text.bytes))
            abort();
        tern_buffer_free(&text);
        tern_buffer_free(&taint);
    }
    tern_template_free(parsed);
    free(source);
    return 0;
}
