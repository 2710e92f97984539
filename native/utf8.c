#include "utf8.h"

#include <string.h>

/* Returns the length of the well-formed sequence at `b`, or 0. */
static size_t sequence(const uint8_t *b, size_t rest) {
    uint8_t low = 0x80, high = 0xBF;
    size_t len = b[0] < 0x80 ? 1 : b[0] < 0xC2 ? 0 : b[0] < 0xE0 ? 2 : b[0] < 0xF0 ? 3 : b[0] < 0xF5 ? 4 : 0;
    if (len < 2 || len > rest) return len > rest ? 0 : len;
    if (b[0] == 0xE0) low = 0xA0;
    if (b[0] == 0xED) high = 0x9F;
    if (b[0] == 0xF0) low = 0x90;
    if (b[0] == 0xF4) high = 0x8F;
    if (b[1] < low || b[1] > high) return 0;
    for (size_t i = 2; i < len; i++)
        if (b[i] < 0x80 || b[i] > 0xBF) return 0;
    return len;
}

/* Returns the length of a prefix that is ASCII, read eight bytes at a time: most text is ASCII as a whole. */
static size_t ascii(const uint8_t *bytes, size_t len) {
    size_t at = 0;
    for (uint64_t word = 0; at + sizeof word <= len; at += sizeof word) {
        memcpy(&word, bytes + at, sizeof word);
        if (word & 0x8080808080808080u) break;
    }
    return at;
}

int kms_is_utf8(const uint8_t *bytes, size_t len) {
    for (size_t at = ascii(bytes, len); at < len;) {
        size_t step = sequence(bytes + at, len - at);
        if (step == 0) return 0;
        at += step;
    }
    return 1;
}
