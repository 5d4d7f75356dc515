#include "model/demo.h"

/*
 * The assembler copies the file: no generated C array, which takes the compiler
 * minutes and a gigabyte for a few megabytes, and no tool (xxd, objcopy, ld -r)
 * that one of the platforms lacks. TERN_DEMO_PATH comes from cmake/rooms.cmake,
 * which also rebuilds this file when the model changes.
 */
#if defined(__APPLE__)
#define SYMBOL(name) "_" #name
#define SECTION_BEGIN ".const_data\n"
#define SECTION_END ".text\n"
#define END "L_tern_demo_model_end"
#define LOCAL(name) ".private_extern " SYMBOL(name) "\n.globl " SYMBOL(name) "\n"
#else
#define SYMBOL(name) #name
#define SECTION_BEGIN ".pushsection .rodata\n"
#define SECTION_END ".popsection\n"
#define END ".L_tern_demo_model_end"
#define LOCAL(name) ".globl " SYMBOL(name) "\n.hidden " SYMBOL(name) "\n.type " SYMBOL(name) ", %object\n"
#endif

#if __SIZEOF_SIZE_T__ == 8
#define WORD ".quad "
#else
#define WORD ".long "
#endif

/* .balign behind the file: the size is a word of its own. */
/* clang-format off */
__asm__(SECTION_BEGIN
        LOCAL(tern_demo_model)
        LOCAL(tern_demo_model_size)
        ".balign 64\n"
        SYMBOL(tern_demo_model) ":\n"
        ".incbin \"" TERN_DEMO_PATH "\"\n"
        END ":\n"
        ".balign 8\n"
        SYMBOL(tern_demo_model_size) ":\n"
        WORD END " - " SYMBOL(tern_demo_model) "\n"
        SECTION_END);
/* clang-format on */
