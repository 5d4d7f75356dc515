/*
 * Files that are part of the program. The assembler copies them: no generated C array, which takes the compiler minutes
 * and a gigabyte for a few megabytes, and no tool (xxd, objcopy, ld -r) that one of the platforms lacks. The build has
 * to be told that the object depends on the file (OBJECT_DEPENDS in cmake/).
 */
#ifndef TERN_BASE_EMBED_H
#define TERN_BASE_EMBED_H

#if defined(__APPLE__)
#define TERN_EMBED_SYMBOL(name) "_" #name
#define TERN_EMBED_LOCAL(name) ".private_extern " TERN_EMBED_SYMBOL(name) "\n.globl " TERN_EMBED_SYMBOL(name) "\n"
#define TERN_EMBED_BEGIN ".const_data\n"
#define TERN_EMBED_END ".text\n"
#else
#define TERN_EMBED_SYMBOL(name) #name
#define TERN_EMBED_LOCAL(name)                                                                                         \
    ".globl " TERN_EMBED_SYMBOL(name) "\n.hidden " TERN_EMBED_SYMBOL(name) "\n.type " TERN_EMBED_SYMBOL(               \
        name) ", %object\n"
#define TERN_EMBED_BEGIN ".pushsection .rodata\n"
#define TERN_EMBED_END ".popsection\n"
#endif

/* The file (a string), or several by lines of .incbin, as symbol[] to symbol_end, at a multiple of 64 bytes, with a
 * zero byte behind it. At file scope, once a program. */
/* clang-format off */
#define TERN_EMBED(symbol, file) TERN_EMBED_FILES(symbol, ".incbin \"" file "\"\n")
#define TERN_EMBED_FILES(symbol, lines)             \
    __asm__(TERN_EMBED_BEGIN                        \
            TERN_EMBED_LOCAL(symbol)                \
            TERN_EMBED_LOCAL(symbol##_end)          \
            ".balign 64\n"                          \
            TERN_EMBED_SYMBOL(symbol) ":\n"         \
            lines                                   \
            TERN_EMBED_SYMBOL(symbol##_end) ":\n"   \
            ".byte 0\n"                             \
            TERN_EMBED_END);                        \
    extern const unsigned char symbol[], symbol##_end[]
/* clang-format on */

#endif
