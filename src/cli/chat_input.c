#include "cli/chat_input.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/user_path.h"

#define HISTORY_LINES 1000

struct tern_line_input {
    EditLine *editor; /* NULL: plain lines */
    History *history;
    char *history_path; /* NULL: none could be made out */
    bool interrupted, changed;
    char *line; /* plain lines: getline's */
    size_t capacity;
};

static char *prompt_text(EditLine *editor) {
    (void)editor;
    static char text[] = "> ";
    return text;
}

/* Bound to ^C: hand the line back at once, marked. */
static unsigned char on_interrupt_key(EditLine *editor, int key) {
    (void)key;
    tern_line_input *input;
    el_get(editor, EL_CLIENTDATA, &input);
    input->interrupted = true;
    return CC_NEWLINE;
}

static unsigned char on_suspend_key(EditLine *editor, int key) {
    (void)editor, (void)key;
    raise(SIGTSTP); /* libedit's handler gives the terminal back and takes it again (EL_SIGNAL) */
    return CC_REFRESH;
}

static bool open_editor(tern_line_input *input) {
    HistEvent event;
    setlocale(LC_CTYPE, "");
    if (MB_CUR_MAX == 1) /* the C locale: still let people type any language */
        setlocale(LC_CTYPE, "C.UTF-8");
    /* on stderr: standard output is for the answers */
    input->editor = el_init("tern", stdin, stderr, stderr);
    input->history = history_init();
    if (!input->editor || !input->history)
        return false;
    history(input->history, &event, H_SETSIZE, HISTORY_LINES);
    history(input->history, &event, H_SETUNIQUE, 1);
    input->history_path = tern_cli_user_path("XDG_STATE_HOME", ".local/state", "chat_history");
    if (input->history_path && access(input->history_path, R_OK) == 0)
        history(input->history, &event, H_LOAD, input->history_path);
    el_set(input->editor, EL_CLIENTDATA, input);
    el_set(input->editor, EL_PROMPT, prompt_text);
    el_set(input->editor, EL_EDITOR, "emacs");
    el_set(input->editor, EL_SIGNAL, 1);
    el_set(input->editor, EL_HIST, history, input->history);
    el_source(input->editor, NULL);
    /* While a line is edited Ctrl-C is a key, not a signal: libedit cannot be
     * left cleanly from a signal handler. All signal keys go together (an
     * empty "intr=" is overruled by libedit), so Ctrl-Z gets its meaning back. */
    el_set(input->editor, EL_SETTY, "-d", "-isig", NULL);
    el_set(input->editor, EL_ADDFN, "tern-interrupt", "Leave this line", on_interrupt_key);
    el_set(input->editor, EL_BIND, "^C", "tern-interrupt", NULL);
    el_set(input->editor, EL_ADDFN, "tern-suspend", "Stop the program", on_suspend_key);
    el_set(input->editor, EL_BIND, "^Z", "tern-suspend", NULL);
    return true;
}

tern_line_input *tern_line_input_open(void) {
    tern_line_input *input = calloc(1, sizeof *input);
    if (input && isatty(STDIN_FILENO) && isatty(STDERR_FILENO) && !open_editor(input)) {
        tern_line_input_close(input);
        return NULL;
    }
    return input;
}

static void save_history(tern_line_input *input) {
    HistEvent event;
    errno = 0;
    if (!input->history_path)
        tern_cli_warn("the typed lines are not kept: neither XDG_STATE_HOME nor HOME is set");
    else if (!tern_cli_make_parents(input->history_path) ||
             history(input->history, &event, H_SAVE, input->history_path) < 0)
        tern_cli_warn("%s: cannot keep the typed lines: %s", input->history_path, strerror(errno ? errno : EIO));
}

void tern_line_input_close(tern_line_input *input) {
    if (!input)
        return;
    if (input->changed)
        save_history(input);
    if (input->history)
        history_end(input->history);
    if (input->editor)
        el_end(input->editor);
    free(input->history_path);
    free(input->line);
    free(input);
}

bool tern_line_input_is_terminal(const tern_line_input *input) { return input->editor != NULL; }

static tern_line_status read_edited(tern_line_input *input, const char **line, size_t *n_bytes) {
    int count = 0;
    HistEvent event;
    input->interrupted = false;
    /* before the prompt shows: el_gets() prints first, and a Ctrl-C in between would be a signal */
    el_set(input->editor, EL_PREP_TERM, 1);
    const char *text = el_gets(input->editor, &count);
    if (input->interrupted) {
        fputc('\n', stderr);
        *line = text ? text : "";
        *n_bytes = count > 0 ? (size_t)count : 0;
        return TERN_LINE_INTERRUPT;
    }
    if (!text || count <= 0) {
        fputc('\n', stderr);
        return count < 0 ? TERN_LINE_ERROR : TERN_LINE_END;
    }
    free(input->line);
    input->line = strndup(text, strcspn(text, "\n"));
    if (!input->line)
        return TERN_LINE_ERROR;
    if (*input->line) {
        history(input->history, &event, H_ENTER, input->line);
        input->changed = true;
    }
    *line = input->line;
    *n_bytes = strlen(input->line);
    return TERN_LINE_OK;
}

static tern_line_status read_plain(tern_line_input *input, const char **line, size_t *n_bytes) {
    errno = 0;
    ssize_t length = getline(&input->line, &input->capacity, stdin);
    if (length < 0)
        return ferror(stdin) || errno == ENOMEM ? TERN_LINE_ERROR : TERN_LINE_END;
    while (length && (input->line[length - 1] == '\n' || input->line[length - 1] == '\r'))
        input->line[--length] = 0;
    *line = input->line;
    *n_bytes = (size_t)length;
    return TERN_LINE_OK;
}

tern_line_status tern_line_input_read(tern_line_input *input, const char **line, size_t *n_bytes) {
    return input->editor ? read_edited(input, line, n_bytes) : read_plain(input, line, n_bytes);
}
