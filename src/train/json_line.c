#include "train/json_line.h"

#include "base/json.h"

json_t *tern_json_line(tern_view line, tern_error *err) {
    json_error_t problem;
    json_t *root = tern_json_load(line.bytes, line.size, JSON_ALLOW_NUL, &problem);
    if (!root && tern_json_no_memory(&problem))
        tern_fail_memory(err, "a line of JSON");
    else if (!root)
        tern_fail(err, TERN_ERR_FORMAT, "not JSON: %s", problem.text);
    return root;
}
