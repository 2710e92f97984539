/* Fuzzes encryption contexts: a context that is accepted becomes canonical, and a canonical one stays unchanged; a
 * context that is rejected leaves zeros. */
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "fuzz.h"

static void require_zeros(const uint8_t *bytes, size_t len) {
    for (size_t i = 0; i < len; i++) REQUIRE(bytes[i] == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *canonical = malloc(size + 1), *again = malloc(size + 1);
    REQUIRE(canonical && again);
    if (kms_context_canonical(canonical, data, size) == KMS_OK) {
        REQUIRE(memcmp(canonical, data, 4) == 0);
        REQUIRE(kms_context_canonical(again, canonical, size) == KMS_OK);
        REQUIRE(memcmp(canonical, again, size) == 0);
    } else {
        require_zeros(canonical, size);
    }
    free(canonical);
    free(again);
    return 0;
}
