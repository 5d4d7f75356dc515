/* Links the whole format room with base alone. */
#include <stdio.h>

#include "format/checkpoint.h"
#include "format/codec.h"

int main(void) {
    const uint8_t junk[8] = "no gguf";
    tern_checkpoint *checkpoint = NULL;
    tern_error err;
    if (!tern_codec_named("i2_s") || !tern_checkpoint_open_memory("junk", junk, sizeof junk, &checkpoint, &err))
        return 1;
    printf("format: %s\n", err.message);
    return 0;
}
