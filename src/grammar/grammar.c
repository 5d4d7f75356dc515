/* Making grammars. */
#include "grammar/grammar.h"

#include <stdlib.h>

#include "grammar/stacks.h"

typedef void read_fn(tern_ast *ast, const char *text);

/* The first state is tried, so that a grammar that takes too much there is refused here. */
static tern_status try_start(const tern_network *net, tern_error *err) {
    tern_stacks stacks;
    tern_status status = tern_stacks_init(&stacks, net, err);
    if (!status) {
        tern_stacks_start(&stacks);
        status = stacks.status;
    }
    tern_stacks_free(&stacks);
    return status;
}

static void find_ends(tern_grammar *grammar) {
    size_t most = sizeof grammar->ends / sizeof *grammar->ends;
    for (size_t id = 0; id < tern_tokenizer_vocab_size(grammar->tokenizer) && grammar->n_ends < most; id++)
        if (tern_tokenizer_is_end(grammar->tokenizer, (int32_t)id))
            grammar->ends[grammar->n_ends++] = (int32_t)id;
}

static tern_status make(const tern_tokenizer *tokenizer, const char *text, read_fn *read, tern_grammar **out,
                        tern_error *err) {
    tern_grammar *grammar = calloc(1, sizeof *grammar);
    if (!grammar)
        return tern_fail_memory(err, "a grammar");
    tern_ast ast = {.err = err};
    read(&ast, text);
    tern_status status = ast.status;
    if (!status)
        status = tern_network_compile(&ast, &grammar->net, err);
    if (!status)
        status = tern_network_finish(&ast, &grammar->net, err);
    tern_ast_free(&ast);
    if (!status)
        status = try_start(&grammar->net, err);
    if (!status) {
        grammar->tokenizer = tokenizer;
        find_ends(grammar);
        grammar->trie = tern_tokenizer_trie(tokenizer);
        if (!grammar->trie)
            status = tern_fail_memory(err, "a grammar's vocabulary");
        else if (grammar->n_ends == 0)
            status = tern_fail(err, TERN_ERR_UNSUPPORTED,
                               "grammar: the tokenizer has no token that ends a text, so none could ever be complete");
    }
    if (status)
        tern_grammar_free(grammar);
    else
        *out = grammar;
    return status;
}

tern_status tern_grammar_parse(const tern_tokenizer *tokenizer, const char *gbnf, tern_grammar **grammar,
                               tern_error *err) {
    if (!tokenizer || !gbnf)
        return tern_fail(err, TERN_ERR_ARGUMENT, "grammar: a tokenizer and a text are needed");
    return make(tokenizer, gbnf, tern_ast_from_gbnf, grammar, err);
}

tern_status tern_grammar_from_schema(const tern_tokenizer *tokenizer, const char *schema, tern_grammar **grammar,
                                     tern_error *err) {
    if (!tokenizer)
        return tern_fail(err, TERN_ERR_ARGUMENT, "grammar: a tokenizer is needed");
    return make(tokenizer, schema, tern_ast_from_schema, grammar, err);
}

tern_status tern_grammar_from_schema_or_text(const tern_tokenizer *tokenizer, const char *schema,
                                             tern_grammar **grammar, tern_error *err) {
    if (!tokenizer)
        return tern_fail(err, TERN_ERR_ARGUMENT, "grammar: a tokenizer is needed");
    return make(tokenizer, schema, tern_ast_from_schema_or_text, grammar, err);
}

void tern_grammar_free(tern_grammar *grammar) {
    if (!grammar)
        return;
    tern_network_free(&grammar->net);
    free(grammar);
}
