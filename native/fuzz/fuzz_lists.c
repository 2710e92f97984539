/* Fuzzes the lists of a Permit. Whatever the bytes are, no word outside the file is read. Lists that hold no longer
 * hold if one of their bytes is missing, or if a word of `equal[]` has changed. */
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "fuzz.h"

#define WORDS 4
#define NOW 1000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint64_t *words = calloc(WORDS, sizeof *words);
    REQUIRE(words);
    words[1] = 1;
    words[2] = NOW + 1;
    words[3] = UINT64_MAX;
    if (kms_lists_hold(words, WORDS, data, size, NOW, NOW)) {
        uint32_t equal = 0;
        REQUIRE(size >= 16);
        memcpy(&equal, data, sizeof equal);
        REQUIRE(!kms_lists_hold(words, WORDS, data, size - 1, NOW, NOW));
        for (int i = 0; i < WORDS; i++) kms_word_add(words + i, 2);
        REQUIRE(equal == 0 || !kms_lists_hold(words, WORDS, data, size, NOW, NOW));
    }
    free(words);
    return 0;
}
