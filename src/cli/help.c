#include "cli/help.h"

#include <string.h>

static const char environment[] =
    "Environment:\n"
    "  TERN_CPU               force a kernel family: ref, avx2, avxvnni, avx512vnni, neon, dotprod, i8mm\n"
    "  BITNET_KV_CACHE_DTYPE  default of --kv-type: f32, f16 or q8 (also float32, fp16, float16, int8)\n"
    "  BITNET_CHUNK_SIZE      default of --chunk, in tokens\n";

/* Commands of two words: the overview names their first word only. */
static const struct {
    const char *name, *summary, *example;
} groups[] = {
    {"rag", "answer questions from the texts of a folder",
     "tern rag add docs -m model.gguf\n"
     "tern rag ask \"Which header is counted where?\"\n"},
    {"train", "make tokenizers, data sets and models",
     "tern train tokenizer stories.txt --vocab-size 4096 -o tokenizer.json\n"
     "tern train data stories.txt --tokenizer tokenizer.json -o story.shard\n"
     "tern train pretrain --example-config > story.json && tern train pretrain story.json\n"
     "tern train data chat.jsonl --kind chat --tokenizer tokenizer.json -o chat.shard\n"
     "tern train sft run chat.shard -o run-sft --lr 5e-4\n"
     "tern chat run-sft/model.gguf\n"},
};
enum { N_GROUPS = sizeof groups / sizeof *groups };

/* What stands behind the group's name and a blank in a command's; NULL: it is not of the group. */
static const char *name_in_group(const tern_command *command, const char *group) {
    size_t length = strlen(group);
    return strncmp(command->name, group, length) == 0 && command->name[length] == ' ' ? command->name + length + 1
                                                                                      : NULL;
}

bool tern_help_is_group(const char *name) {
    for (size_t i = 0; tern_commands[i]; i++)
        if (name_in_group(tern_commands[i], name))
            return true;
    return false;
}

/* Lines of commands, the last one with or without its newline. */
static void print_example(FILE *file, const char *lines) {
    fputs("Example:\n", file);
    for (const char *at = lines; *at;) {
        const char *end = strchrnul(at, '\n');
        fprintf(file, "  %.*s\n", (int)(end - at), at);
        at = end + (*end == '\n');
    }
}

void tern_help_group(FILE *file, const char *name) {
    for (size_t i = 0; i < N_GROUPS; i++)
        if (strcmp(groups[i].name, name) == 0) {
            print_example(file, groups[i].example);
            fprintf(file, "\ntern %s: %s\n\n", name, groups[i].summary);
        }
    fprintf(file, "Usage: tern %s COMMAND [OPTIONS] ...\n\nCommands:\n", name);
    for (size_t i = 0; tern_commands[i]; i++) {
        const char *rest = name_in_group(tern_commands[i], name);
        if (rest)
            fprintf(file, "  %-12s %s\n", rest, tern_commands[i]->summary);
    }
    fprintf(file, "\n  tern %s COMMAND --help    examples and options of a command\n", name);
}

void tern_help_overview(FILE *file) {
    fputs("tern runs BitNet b1.58 (ternary) language models on any CPU.\n\n"
          "Example:\n"
          "  tern run                                   # a story by the model that is built in\n"
          "  tern run model.gguf -p \"Once upon a time\" -n 100\n"
          "  tern chat model.gguf\n\n"
          "Usage: tern COMMAND [OPTIONS] [MODEL]\n\n"
          "Commands:\n",
          file);
    for (size_t i = 0; tern_commands[i]; i++)
        if (!strchr(tern_commands[i]->name, ' '))
            fprintf(file, "  %-12s %s\n", tern_commands[i]->name, tern_commands[i]->summary);
    for (size_t i = 0; i < N_GROUPS; i++)
        if (tern_help_is_group(groups[i].name))
            fprintf(file, "  %-12s %s: tern %s --help\n", groups[i].name, groups[i].summary, groups[i].name);
    fprintf(file,
            "\nMODEL is a .gguf file, a Hugging Face folder (config.json, *.safetensors, tokenizer.json), or demo:\n"
            "the model that is built in, also used when no MODEL is named. ORG/NAME is a model of the Hugging Face\n"
            "hub: tern pull --help.\n\n"
            "  tern COMMAND --help    examples and options of a command\n"
            "  tern --version         the version\n\n"
            "%s\n"
            "Exit status: 0 success, 1 failure, 2 bad usage, 130 interrupted.\n",
            environment);
}

/* "  -n, --tokens N" -> text. */
static void option_heading(const tern_option *option, char *text, size_t size) {
    char letter[] = "    ";
    if (option->letter)
        letter[0] = '-', letter[1] = option->letter, letter[2] = ',';
    snprintf(text, size, "  %s--%s%s%s", letter, option->name, option->argument ? " " : "",
             option->argument ? option->argument : "");
}

/* The default as text, "" if there is none worth saying. */
static void default_value(const tern_option *option, const void *field, char *text, size_t size) {
    *text = 0;
    switch (option->kind) {
    case TERN_OPTION_INT:
        snprintf(text, size, "%lld", (long long)*(const int64_t *)field);
        break;
    case TERN_OPTION_FLOAT:
        snprintf(text, size, "%g", *(const double *)field);
        break;
    case TERN_OPTION_ENUM:
        for (const tern_choice *choice = option->choices; choice->name; choice++)
            if (choice->value == *(const int *)field) {
                snprintf(text, size, "%s", choice->name);
                break;
            }
        break;
    case TERN_OPTION_STRING:
    case TERN_OPTION_FILE:
        if (*(const char *const *)field)
            snprintf(text, size, "%s", *(const char *const *)field);
        break;
    default:
        break;
    }
    if (option->default_text)
        snprintf(text, size, "%s", option->default_text);
}

static void print_option(FILE *file, const tern_option *option, const void *defaults) {
    char heading[96], text[96];
    option_heading(option, heading, sizeof heading);
    const int column = 30;
    if (strlen(heading) + 2 > (size_t)column)
        fprintf(file, "%s\n%*s", heading, column, "");
    else
        fprintf(file, "%-*s", column, heading);
    for (const char *at = option->help; *at; at++) {
        fputc(*at, file);
        if (*at == '\n')
            fprintf(file, "%*s", column, "");
    }
    default_value(option, (const char *)defaults + option->offset, text, sizeof text);
    if (*text)
        fprintf(file, " (default: %s)", text);
    fputc('\n', file);
}

void tern_help_command(FILE *file, const tern_command *command) {
    print_example(file, command->example);
    fprintf(file, "\ntern %s: %s\n\nUsage: tern %s [OPTIONS]%s%s\n", command->name, command->summary, command->name,
            *command->operands ? " " : "", command->operands);
    for (const tern_option_group *group = command->groups; group->options; group++) {
        fprintf(file, "\n%s:\n", group->title);
        for (const tern_option *option = group->options; option->name; option++)
            print_option(file, option, (const char *)command->defaults + group->offset);
    }
    fputs("\n  -h, --help                  this page\n", file);
    if (command->notes)
        fprintf(file, "\n%s", command->notes);
}

void tern_help_list_options(FILE *file, const tern_command *command) {
    static const char *const kinds[] = {"flag", "string", "file", "int", "float", "enum", "list"};
    for (const tern_option_group *group = command->groups; group->options; group++)
        for (const tern_option *option = group->options; option->name; option++) {
            char letter[3] = "-";
            if (option->letter)
                letter[1] = option->letter;
            fprintf(file, "--%s\t%s\t%s\t", option->name, letter, kinds[option->kind]);
            if (option->kind != TERN_OPTION_ENUM)
                fputc('-', file);
            else
                for (const tern_choice *choice = option->choices; choice->name; choice++)
                    if (!choice->hidden)
                        fprintf(file, "%s%s", choice == option->choices ? "" : " ", choice->name);
            fputc('\n', file);
        }
    fputs("--help\t-h\tflag\t-\n", file);
}
