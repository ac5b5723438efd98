/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/gguf.h"

#include <inttypes.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/bytes.h"
#include "engine/base/utf8.h"
#include "engine/quant.h"
#include "engine/sort.h"

/* The smallest entries that a file can hold; with them a count is bounded by the bytes that are
 * left before anything is allocated for it. */
#define MIN_METADATA_BYTES (8 + 1 + 4 + 1)
#define MIN_TENSOR_BYTES   (8 + 1 + 4 + 8 + 4 + 8)

#define DEFAULT_ALIGNMENT 32
#define MIN_ALIGNMENT     8

struct InkGguf {
    const uint8_t *data;
    size_t size_bytes;
    uint32_t version;
    size_t n_metadata;
    size_t n_tensors;
    /* [n_metadata + 1]: where each entry starts; the last one is where they end. Entries are read
     * again at each look-up, which keeps the table smaller than the file's own header. */
    size_t *entries;
    uint32_t *entry_order; /* [n_metadata], by key */
    InkGgufTensor *tensors;
    uint32_t *tensor_order; /* [n_tensors], by name */
};

typedef struct Entry {
    InkGgufString key;
    InkGgufValueType type;
    InkBytes value; /* from behind the type to the end of the entry */
} Entry;

/* ------------------------------------------------------------------ text for messages */

InkGgufShown ink_gguf_shown(InkGgufString name)
{
    InkGgufShown s;
    size_t used = 0;
    for (size_t i = 0; i < name.n_bytes;) {
        uint32_t code_point;
        size_t n = ink_utf8_decode(name.text + i, name.n_bytes - i, &code_point);
        bool printable = n != 0 && ink_utf8_is_printable(code_point);
        size_t need = printable ? n : 1;
        if (used + need > sizeof(s.text) - 4) {
            memcpy(s.text + used, "...", 3);
            used += 3;
            break;
        }
        if (printable)
            memcpy(s.text + used, name.text + i, n);
        else
            s.text[used] = '?';
        used += need;
        i += n != 0 ? n : 1;
    }
    s.text[used] = '\0';
    return s;
}

static const char *value_type_name(uint32_t type)
{
    static const char *const names[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                        "bool", "string", "array", "u64", "i64", "f64"};
    return type < sizeof(names) / sizeof(names[0]) ? names[type] : "unknown";
}

/* GGUF types that exist but that this build may lack: the name makes the message useful. */
static const char *foreign_type_name(uint32_t type)
{
    static const char *const names[] = {
        "F32",     "F16",   "Q4_0",   "Q4_1",  NULL,    NULL,     "Q5_0", "Q5_1",    "Q8_0",
        "Q8_1",    "Q2_K",  "Q3_K",   "Q4_K",  "Q5_K",  "Q6_K",   "Q8_K", "IQ2_XXS", "IQ2_XS",
        "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8",   "I16",     "I32",
        "I64",     "F64",   "IQ1_M",  "BF16",  NULL,    NULL,     NULL,   "TQ1_0",   "TQ2_0",
        NULL,      NULL,    NULL,     "MXFP4", "NVFP4"};
    return type < sizeof(names) / sizeof(names[0]) ? names[type] : NULL;
}

/* ------------------------------------------------------------------ order by name */

typedef InkGgufString NameOf(const InkGguf *g, uint32_t i);

static int compare_strings(InkGgufString a, InkGgufString b)
{
    size_t n = a.n_bytes < b.n_bytes ? a.n_bytes : b.n_bytes;
    int order = n != 0 ? memcmp(a.text, b.text, n) : 0;
    if (order != 0)
        return order;
    return a.n_bytes < b.n_bytes ? -1 : a.n_bytes > b.n_bytes;
}

typedef struct NameOrder {
    const InkGguf *g;
    NameOf *name_of;
} NameOrder;

static bool name_less(const void *userdata, uint32_t a, uint32_t b)
{
    const NameOrder *o = userdata;
    return compare_strings(o->name_of(o->g, a), o->name_of(o->g, b)) < 0;
}

/* Sorted instead of hashed: names come from outside, and no choice of them makes a heap sort or a
 * binary search slow. */
static uint32_t *sorted_order(const InkGguf *g, NameOf *name_of, size_t n)
{
    uint32_t *order = ink_alloc_array(n, sizeof(uint32_t));
    if (order == NULL)
        return NULL;
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    ink_sort_indices(order, n, name_less, &(NameOrder){g, name_of});
    return order;
}

static bool first_duplicate(const InkGguf *g, NameOf *name_of, const uint32_t *order, size_t n,
                            InkGgufString *ret)
{
    for (size_t i = 1; i < n; i++) {
        InkGgufString name = name_of(g, order[i]);
        if (compare_strings(name_of(g, order[i - 1]), name) == 0) {
            *ret = name;
            return true;
        }
    }
    return false;
}

/* SIZE_MAX when there is none of that name. */
static size_t find_name(const InkGguf *g, NameOf *name_of, const uint32_t *order, size_t n,
                        const char *name)
{
    InkGgufString wanted = {name, strlen(name)};
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int c = compare_strings(name_of(g, order[middle]), wanted);
        if (c == 0)
            return order[middle];
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return SIZE_MAX;
}

/* ------------------------------------------------------------------ metadata */

/* 0 for strings, arrays and what is no type. */
static size_t scalar_bytes(uint32_t type)
{
    static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return type < sizeof(sizes) ? sizes[type] : 0;
}

static int read_string(InkBytes *b, size_t max, InkGgufString *ret)
{
    uint64_t n;
    const uint8_t *text;
    INK_TRY(ink_bytes_u64(b, &n));
    if (n > max)
        return -EBADMSG;
    INK_TRY(ink_bytes_take(b, (size_t)n, &text));
    *ret = (InkGgufString){(const char *)text, (size_t)n};
    return 0;
}

static int check_bools(const uint8_t *data, size_t n, InkGgufString key, InkError *reterr)
{
    for (size_t i = 0; i < n; i++)
        INK_CHECK(data[i] <= 1, EBADMSG, reterr, "metadata \"%s\": a bool is %u, not 0 or 1",
                  ink_gguf_shown(key).text, data[i]);
    return 0;
}

static int skip_array(InkBytes *b, InkGgufString key, InkError *reterr)
{
    uint32_t type;
    uint64_t n;
    if (ink_bytes_u32(b, &type) < 0 || ink_bytes_u64(b, &n) < 0)
        return INK_RAISE(EBADMSG, reterr, "metadata \"%s\": the file ends inside the array header",
                         ink_gguf_shown(key).text);
    INK_CHECK(type != INK_GGUF_ARRAY, EBADMSG, reterr,
              "metadata \"%s\": arrays of arrays are not supported", ink_gguf_shown(key).text);
    size_t element = type == INK_GGUF_STRING ? 8 : scalar_bytes(type);
    INK_CHECK(element != 0, EBADMSG, reterr,
              "metadata \"%s\": array elements have the unknown type %" PRIu32,
              ink_gguf_shown(key).text, type);
    INK_CHECK(n <= ink_bytes_left(b) / element, EBADMSG, reterr,
              "metadata \"%s\": %" PRIu64 " elements of %s do not fit into the %zu bytes left",
              ink_gguf_shown(key).text, n, value_type_name(type), ink_bytes_left(b));
    if (type != INK_GGUF_STRING) {
        const uint8_t *data;
        INK_TRY(ink_bytes_take(b, (size_t)n * element, &data));
        return type == INK_GGUF_BOOL ? check_bools(data, (size_t)n, key, reterr) : 0;
    }
    for (uint64_t i = 0; i < n; i++) {
        InkGgufString text;
        if (read_string(b, SIZE_MAX, &text) < 0)
            return INK_RAISE(EBADMSG, reterr,
                             "metadata \"%s\": string %" PRIu64 " runs beyond the end of the file",
                             ink_gguf_shown(key).text, i);
    }
    return 0;
}

static int skip_value(InkBytes *b, InkGgufString key, InkError *reterr)
{
    uint32_t type;
    if (ink_bytes_u32(b, &type) < 0)
        return INK_RAISE(EBADMSG, reterr, "metadata \"%s\": the file ends before its type",
                         ink_gguf_shown(key).text);
    if (type == INK_GGUF_ARRAY)
        return skip_array(b, key, reterr);
    InkGgufString text;
    const uint8_t *data;
    if (type == INK_GGUF_STRING) {
        if (read_string(b, SIZE_MAX, &text) < 0)
            return INK_RAISE(EBADMSG, reterr,
                             "metadata \"%s\": the string runs beyond the end of the file",
                             ink_gguf_shown(key).text);
        return 0;
    }
    size_t n = scalar_bytes(type);
    INK_CHECK(n != 0, EBADMSG, reterr, "metadata \"%s\" has the unknown type %" PRIu32,
              ink_gguf_shown(key).text, type);
    if (ink_bytes_take(b, n, &data) < 0)
        return INK_RAISE(EBADMSG, reterr,
                         "metadata \"%s\": the value runs beyond the end of the file",
                         ink_gguf_shown(key).text);
    return type == INK_GGUF_BOOL ? check_bools(data, 1, key, reterr) : 0;
}

/* Entry i of a table that was checked; cannot fail. */
static Entry entry_at(const InkGguf *g, size_t i)
{
    Entry e = {.value = {g->data, g->entries[i + 1], g->entries[i]}};
    uint32_t type = 0;
    if (read_string(&e.value, INK_GGUF_MAX_KEY_BYTES, &e.key) < 0 ||
        ink_bytes_u32(&e.value, &type) < 0)
        return (Entry){0};
    e.type = (InkGgufValueType)type;
    return e;
}

static InkGgufString entry_key(const InkGguf *g, uint32_t i)
{
    return entry_at(g, i).key;
}

static int read_metadata(InkGguf *g, InkBytes *b, InkError *reterr)
{
    g->entries = ink_alloc_array(g->n_metadata + 1, sizeof(size_t));
    INK_CHECK(g->entries != NULL, ENOMEM, reterr, "out of memory for %zu metadata entries",
              g->n_metadata);
    for (size_t i = 0; i < g->n_metadata; i++) {
        InkGgufString key;
        g->entries[i] = b->offset;
        if (read_string(b, INK_GGUF_MAX_KEY_BYTES, &key) < 0)
            return INK_RAISE(EBADMSG, reterr,
                             "the key of metadata entry %zu runs beyond the end of the file or is "
                             "longer than %d bytes",
                             i, INK_GGUF_MAX_KEY_BYTES);
        INK_CHECK(key.n_bytes != 0, EBADMSG, reterr, "the key of metadata entry %zu is empty", i);
        INK_TRY(skip_value(b, key, reterr));
    }
    g->entries[g->n_metadata] = b->offset;

    g->entry_order = sorted_order(g, entry_key, g->n_metadata);
    INK_CHECK(g->entry_order != NULL, ENOMEM, reterr, "out of memory for %zu metadata entries",
              g->n_metadata);
    InkGgufString twice;
    INK_CHECK(!first_duplicate(g, entry_key, g->entry_order, g->n_metadata, &twice), EBADMSG,
              reterr, "metadata \"%s\" stands in the file twice", ink_gguf_shown(twice).text);
    return 0;
}

/* ------------------------------------------------------------------ tensors */

static InkGgufString tensor_name(const InkGguf *g, uint32_t i)
{
    return g->tensors[i].name;
}

static int unknown_type(InkGgufString name, uint32_t type, InkError *reterr)
{
    const char *foreign = foreign_type_name(type);
    if (foreign != NULL)
        return INK_RAISE(EOPNOTSUPP, reterr,
                         "tensor \"%s\" has type %s (%" PRIu32 "), which this build does not have",
                         ink_gguf_shown(name).text, foreign, type);
    return INK_RAISE(EBADMSG, reterr, "tensor \"%s\" has the unknown type %" PRIu32,
                     ink_gguf_shown(name).text, type);
}

/* n_values may wrap for absurd dimensions, and so may the bytes: both are refused. */
static int tensor_size(const InkGgufTensor *t, size_t *ret, InkError *reterr)
{
    const InkQuantType *type = ink_quant_type(t->type);
    if (type == NULL)
        return unknown_type(t->name, t->type, reterr);
    INK_CHECK(t->dims[0] % type->n_block_values == 0, EBADMSG, reterr,
              "tensor \"%s\": dimension 0 is %" PRIu64 ", no multiple of the block of %s (%" PRIu32
              ")",
              ink_gguf_shown(t->name).text, t->dims[0], type->name, type->n_block_values);
    size_t bytes;
    bool fits = ink_quant_row_bytes(type, t->dims[0], &bytes);
    for (uint32_t d = 1; fits && d < t->n_dims; d++)
        fits = ink_size_mul(bytes, t->dims[d], &bytes);
    INK_CHECK(fits, EBADMSG, reterr, "tensor \"%s\": the product of its dimensions is too large",
              ink_gguf_shown(t->name).text);
    *ret = bytes;
    return 0;
}

static int read_dims(InkBytes *b, InkGgufTensor *t, InkError *reterr)
{
    uint64_t n_values = 1;
    if (ink_bytes_u32(b, &t->n_dims) < 0)
        return INK_RAISE(EBADMSG, reterr, "tensor \"%s\": the file ends before its dimensions",
                         ink_gguf_shown(t->name).text);
    INK_CHECK(t->n_dims >= 1 && t->n_dims <= INK_GGUF_MAX_DIMS, EBADMSG, reterr,
              "tensor \"%s\" has %" PRIu32 " dimensions, allowed are 1 to %d",
              ink_gguf_shown(t->name).text, t->n_dims, INK_GGUF_MAX_DIMS);
    for (uint32_t d = 0; d < INK_GGUF_MAX_DIMS; d++) {
        t->dims[d] = 1;
        if (d >= t->n_dims)
            continue;
        if (ink_bytes_u64(b, &t->dims[d]) < 0)
            return INK_RAISE(EBADMSG, reterr, "tensor \"%s\": the file ends inside its dimensions",
                             ink_gguf_shown(t->name).text);
        INK_CHECK(t->dims[d] != 0, EBADMSG, reterr, "tensor \"%s\": dimension %" PRIu32 " is 0",
                  ink_gguf_shown(t->name).text, d);
        INK_CHECK(t->dims[d] <= INT64_MAX &&
                      !__builtin_mul_overflow(n_values, t->dims[d], &n_values) &&
                      n_values <= INT64_MAX,
                  EBADMSG, reterr, "tensor \"%s\": the product of its dimensions is too large",
                  ink_gguf_shown(t->name).text);
    }
    return 0;
}

/* Reads one table row. The offset is only known to lie in the file once the table has been read to
 * its end; until then it stands in `offset`. */
static int read_tensor(InkBytes *b, size_t i, InkGgufTensor *t, uint64_t *offset, InkError *reterr)
{
    if (read_string(b, INK_GGUF_MAX_NAME_BYTES, &t->name) < 0)
        return INK_RAISE(EBADMSG, reterr,
                         "the name of tensor %zu runs beyond the end of the file or is longer than "
                         "%d bytes",
                         i, INK_GGUF_MAX_NAME_BYTES);
    INK_CHECK(t->name.n_bytes != 0, EBADMSG, reterr, "the name of tensor %zu is empty", i);
    INK_TRY(read_dims(b, t, reterr));
    if (ink_bytes_u32(b, &t->type) < 0 || ink_bytes_u64(b, offset) < 0)
        return INK_RAISE(EBADMSG, reterr, "tensor \"%s\": the file ends before its offset",
                         ink_gguf_shown(t->name).text);
    return tensor_size(t, &t->size_bytes, reterr);
}

static int read_alignment(const InkGguf *g, size_t *ret, InkError *reterr)
{
    size_t i = find_name(g, entry_key, g->entry_order, g->n_metadata, "general.alignment");
    uint32_t value = DEFAULT_ALIGNMENT;
    if (i != SIZE_MAX) {
        Entry e = entry_at(g, i);
        if (e.type != INK_GGUF_U32 || ink_bytes_u32(&e.value, &value) < 0)
            return INK_RAISE(EBADMSG, reterr, "general.alignment is a %s, not a u32",
                             value_type_name(e.type));
    }
    INK_CHECK(value >= MIN_ALIGNMENT && value <= INK_GGUF_MAX_ALIGNMENT &&
                  (value & (value - 1)) == 0,
              EBADMSG, reterr, "general.alignment is %" PRIu32 ", not a power of two from %d to %d",
              value, MIN_ALIGNMENT, INK_GGUF_MAX_ALIGNMENT);
    *ret = value;
    return 0;
}

static bool offset_less(const void *userdata, uint32_t a, uint32_t b)
{
    const uint64_t *offsets = userdata;
    return offsets[a] < offsets[b];
}

/* Two tensors may not share bytes: nothing good comes of weights that alias. `order` is scratch. */
static int check_overlap(const InkGguf *g, const uint64_t *offsets, uint32_t *order,
                         InkError *reterr)
{
    size_t n = g->n_tensors;
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    ink_sort_indices(order, n, offset_less, offsets);
    for (size_t i = 1; i < n; i++) {
        const InkGgufTensor *a = &g->tensors[order[i - 1]], *b = &g->tensors[order[i]];
        INK_CHECK(offsets[order[i]] - offsets[order[i - 1]] >= a->size_bytes, EBADMSG, reterr,
                  "tensors \"%s\" and \"%s\" overlap", ink_gguf_shown(a->name).text,
                  ink_gguf_shown(b->name).text);
    }
    return 0;
}

/* Turns offsets into pointers once the start of the data is known. */
static int place_tensors(InkGguf *g, const uint64_t *offsets, size_t data_start, size_t alignment,
                         InkError *reterr)
{
    for (size_t i = 0; i < g->n_tensors; i++) {
        InkGgufTensor *t = &g->tensors[i];
        INK_CHECK(offsets[i] % alignment == 0, EBADMSG, reterr,
                  "tensor \"%s\": offset %" PRIu64 " is no multiple of the alignment %zu",
                  ink_gguf_shown(t->name).text, offsets[i], alignment);
        size_t space = data_start <= g->size_bytes ? g->size_bytes - data_start : 0;
        INK_CHECK(t->size_bytes <= space && offsets[i] <= space - t->size_bytes, EBADMSG, reterr,
                  "tensor \"%s\": its %zu bytes at offset %" PRIu64
                  " lie beyond the end of the file (%zu bytes of tensor data)",
                  ink_gguf_shown(t->name).text, t->size_bytes, offsets[i], space);
        t->data = g->data + data_start + (size_t)offsets[i];
    }
    return 0;
}

static int read_tensors(InkGguf *g, InkBytes *b, InkError *reterr)
{
    _cleanup_free_ uint64_t *offsets = ink_alloc_array(g->n_tensors, sizeof(uint64_t));
    g->tensors = ink_alloc_array(g->n_tensors, sizeof(InkGgufTensor));
    INK_CHECK(offsets != NULL && g->tensors != NULL, ENOMEM, reterr,
              "out of memory for %zu tensors", g->n_tensors);
    for (size_t i = 0; i < g->n_tensors; i++)
        INK_TRY(read_tensor(b, i, &g->tensors[i], &offsets[i], reterr));

    size_t alignment = 0, data_start = 0;
    INK_TRY(read_alignment(g, &alignment, reterr));
    INK_CHECK(ink_size_align(b->offset, alignment, &data_start), EBADMSG, reterr,
              "the header is too large");
    INK_TRY(place_tensors(g, offsets, data_start, alignment, reterr));

    g->tensor_order = sorted_order(g, tensor_name, g->n_tensors);
    _cleanup_free_ uint32_t *scratch = ink_alloc_array(g->n_tensors, sizeof(uint32_t));
    INK_CHECK(g->tensor_order != NULL && scratch != NULL, ENOMEM, reterr,
              "out of memory for %zu tensors", g->n_tensors);
    InkGgufString twice;
    INK_CHECK(!first_duplicate(g, tensor_name, g->tensor_order, g->n_tensors, &twice), EBADMSG,
              reterr, "tensor \"%s\" stands in the file twice", ink_gguf_shown(twice).text);
    return check_overlap(g, offsets, scratch, reterr);
}

/* ------------------------------------------------------------------ header */

static int read_count(InkBytes *b, const char *what, size_t max, size_t min_bytes, size_t *ret,
                      InkError *reterr)
{
    uint64_t n;
    if (ink_bytes_u64(b, &n) < 0)
        return INK_RAISE(EBADMSG, reterr, "the file ends before the number of %s", what);
    INK_CHECK(n <= max, EBADMSG, reterr, "the file has %" PRIu64 " %s, the limit is %zu", n, what,
              max);
    INK_CHECK(n <= ink_bytes_left(b) / min_bytes, EBADMSG, reterr,
              "%" PRIu64 " %s do not fit into the %zu bytes left", n, what, ink_bytes_left(b));
    *ret = (size_t)n;
    return 0;
}

static int read_header(InkGguf *g, InkBytes *b, InkError *reterr)
{
    const uint8_t *magic;
    INK_CHECK(b->size_bytes != 0, EBADMSG, reterr, "the file is empty");
    INK_CHECK(ink_bytes_take(b, 4, &magic) == 0 && memcmp(magic, "GGUF", 4) == 0, EBADMSG, reterr,
              "not a GGUF file: it does not start with \"GGUF\"");
    if (ink_bytes_u32(b, &g->version) < 0)
        return INK_RAISE(EBADMSG, reterr, "the file ends before the GGUF version");
    uint32_t swapped = __builtin_bswap32(g->version);
    INK_CHECK(swapped == 0 || swapped > 3, EBADMSG, reterr,
              "GGUF version %" PRIu32 " in big-endian order is not supported", swapped);
    INK_CHECK(g->version != 1, EBADMSG, reterr,
              "GGUF version 1 is not supported; convert the file to version 3");
    INK_CHECK(g->version == 2 || g->version == 3, EBADMSG, reterr,
              "GGUF version %" PRIu32 " is not supported, only 2 and 3", g->version);
    INK_TRY(
        read_count(b, "tensors", INK_GGUF_MAX_TENSORS, MIN_TENSOR_BYTES, &g->n_tensors, reterr));
    return read_count(b, "metadata entries", INK_GGUF_MAX_METADATA, MIN_METADATA_BYTES,
                      &g->n_metadata, reterr);
}

int ink_gguf_open(const void *data, size_t size_bytes, InkGguf **ret, InkError *reterr)
{
    _cleanup_(ink_gguf_close_p) InkGguf *g = ink_alloc_array(1, sizeof(InkGguf));
    INK_CHECK(g != NULL, ENOMEM, reterr, "out of memory for the model's header");
    g->data = data;
    g->size_bytes = size_bytes;
    InkBytes b = {data, size_bytes, 0};
    INK_TRY(read_header(g, &b, reterr));
    INK_TRY(read_metadata(g, &b, reterr));
    INK_TRY(read_tensors(g, &b, reterr));
    *ret = INK_TAKE(g);
    return 0;
}

InkGguf *ink_gguf_close(InkGguf *g)
{
    if (g == NULL)
        return NULL;
    free(g->entries);
    free(g->entry_order);
    free(g->tensors);
    free(g->tensor_order);
    free(g);
    return NULL;
}

/* ------------------------------------------------------------------ look-ups */

uint32_t ink_gguf_version(const InkGguf *g)
{
    return g->version;
}

size_t ink_gguf_n_tensors(const InkGguf *g)
{
    return g->n_tensors;
}

const InkGgufTensor *ink_gguf_tensor_at(const InkGguf *g, size_t i)
{
    return i < g->n_tensors ? &g->tensors[i] : NULL;
}

const InkGgufTensor *ink_gguf_tensor(const InkGguf *g, const char *name)
{
    size_t i = find_name(g, tensor_name, g->tensor_order, g->n_tensors, name);
    return i != SIZE_MAX ? &g->tensors[i] : NULL;
}

static bool find_entry(const InkGguf *g, const char *key, Entry *ret)
{
    size_t i = find_name(g, entry_key, g->entry_order, g->n_metadata, key);
    if (i == SIZE_MAX)
        return false;
    *ret = entry_at(g, i);
    return true;
}

bool ink_gguf_has(const InkGguf *g, const char *key)
{
    return find_name(g, entry_key, g->entry_order, g->n_metadata, key) != SIZE_MAX;
}

static bool is_integer(InkGgufValueType type)
{
    return type <= INK_GGUF_I32 || type == INK_GGUF_U64 || type == INK_GGUF_I64;
}

/* Values above INT64_MAX are given as INT64_MAX: no field of a model reaches that far, so every
 * range check refuses both alike. */
static int64_t load_int(InkGgufValueType type, const uint8_t *p)
{
    uint64_t bits = 0;
    size_t n = scalar_bytes(type);
    memcpy(&bits, p, n);
    switch (type) {
    case INK_GGUF_I8:
        return (int8_t)bits;
    case INK_GGUF_I16:
        return (int16_t)bits;
    case INK_GGUF_I32:
        return (int32_t)bits;
    case INK_GGUF_I64:
        return (int64_t)bits;
    default:
        return bits > INT64_MAX ? INT64_MAX : (int64_t)bits;
    }
}

static int missing(const char *key, InkError *reterr)
{
    return INK_RAISE(EBADMSG, reterr, "metadata \"%s\" is missing", key);
}

static int wrong_type(const char *key, InkGgufValueType type, const char *wanted, InkError *reterr)
{
    return INK_RAISE(EBADMSG, reterr, "metadata \"%s\" is a %s, not %s", key, value_type_name(type),
                     wanted);
}

static int changed(const char *key, InkError *reterr)
{
    return INK_RAISE(EBADMSG, reterr, "metadata \"%s\" has changed since the file was opened", key);
}

/* The bytes may be a file that somebody writes to: what opening has checked is bounded again. */
static bool is_whole(const Entry *e)
{
    return ink_bytes_left(&e->value) >= scalar_bytes(e->type);
}

int ink_gguf_get_u32(const InkGguf *g, const char *key, uint32_t min, uint32_t max,
                     const uint32_t *fallback, uint32_t *ret, InkError *reterr)
{
    Entry e;
    if (!find_entry(g, key, &e)) {
        if (fallback == NULL)
            return missing(key, reterr);
        *ret = *fallback;
        return 0;
    }
    if (!is_integer(e.type))
        return wrong_type(key, e.type, "an integer", reterr);
    if (!is_whole(&e))
        return changed(key, reterr);
    int64_t value = load_int(e.type, e.value.data + e.value.offset);
    INK_CHECK(value >= (int64_t)min && value <= (int64_t)max, EBADMSG, reterr,
              "metadata \"%s\" is %" PRId64 ", allowed are %" PRIu32 " to %" PRIu32, key, value,
              min, max);
    *ret = (uint32_t)value;
    return 0;
}

int ink_gguf_get_f32(const InkGguf *g, const char *key, const float *fallback, float *ret,
                     InkError *reterr)
{
    Entry e;
    if (!find_entry(g, key, &e)) {
        if (fallback == NULL)
            return missing(key, reterr);
        *ret = *fallback;
        return 0;
    }
    float value;
    double wide;
    if (!is_whole(&e))
        return changed(key, reterr);
    if (e.type == INK_GGUF_F32) {
        memcpy(&value, e.value.data + e.value.offset, sizeof(value));
    } else if (e.type == INK_GGUF_F64) {
        memcpy(&wide, e.value.data + e.value.offset, sizeof(wide));
        value = (float)wide;
    } else {
        return wrong_type(key, e.type, "a float", reterr);
    }
    INK_CHECK(__builtin_isfinite(value), EBADMSG, reterr, "metadata \"%s\" is not a finite number",
              key);
    *ret = value;
    return 0;
}

int ink_gguf_get_bool(const InkGguf *g, const char *key, const bool *fallback, bool *ret,
                      InkError *reterr)
{
    Entry e;
    if (!find_entry(g, key, &e)) {
        if (fallback == NULL)
            return missing(key, reterr);
        *ret = *fallback;
        return 0;
    }
    if (e.type != INK_GGUF_BOOL)
        return wrong_type(key, e.type, "a bool", reterr);
    if (!is_whole(&e))
        return changed(key, reterr);
    *ret = e.value.data[e.value.offset] != 0;
    return 0;
}

int ink_gguf_get_string(const InkGguf *g, const char *key, const InkGgufString *fallback,
                        InkGgufString *ret, InkError *reterr)
{
    Entry e;
    if (!find_entry(g, key, &e)) {
        if (fallback == NULL)
            return missing(key, reterr);
        *ret = *fallback;
        return 0;
    }
    if (e.type != INK_GGUF_STRING)
        return wrong_type(key, e.type, "a string", reterr);
    return read_string(&e.value, SIZE_MAX, ret) < 0 ? changed(key, reterr) : 0;
}

int ink_gguf_get_array(const InkGguf *g, const char *key, InkGgufValueType type, InkGgufArray *ret,
                       InkError *reterr)
{
    Entry e;
    uint32_t element;
    uint64_t n;
    if (!find_entry(g, key, &e))
        return missing(key, reterr);
    if (e.type != INK_GGUF_ARRAY)
        return wrong_type(key, e.type, "an array", reterr);
    if (ink_bytes_u32(&e.value, &element) < 0 || ink_bytes_u64(&e.value, &n) < 0)
        return changed(key, reterr);
    bool matches = element == (uint32_t)type ||
                   (type == INK_GGUF_I32 && is_integer((InkGgufValueType)element)) ||
                   (type == INK_GGUF_F32 && element == INK_GGUF_F64);
    INK_CHECK(matches, EBADMSG, reterr, "metadata \"%s\" is an array of %s, not of %s", key,
              value_type_name(element),
              type == INK_GGUF_I32 ? "integers" : value_type_name((uint32_t)type));
    size_t least = element == INK_GGUF_STRING ? 8 : scalar_bytes(element);
    if (least == 0 || n > ink_bytes_left(&e.value) / least)
        return changed(key, reterr);
    *ret = (InkGgufArray){
        .type = (InkGgufValueType)element,
        .n = (size_t)n,
        .data = e.value.data + e.value.offset,
        .size_bytes = ink_bytes_left(&e.value),
    };
    return 0;
}

InkGgufString ink_gguf_array_next_string(const InkGgufArray *a, size_t *cursor)
{
    InkBytes b = {a->data, a->size_bytes, *cursor};
    InkGgufString text;
    if (read_string(&b, SIZE_MAX, &text) < 0)
        return (InkGgufString){"", 0};
    *cursor = b.offset;
    return text;
}

int64_t ink_gguf_array_int(const InkGgufArray *a, size_t i)
{
    return load_int(a->type, a->data + i * scalar_bytes(a->type));
}

float ink_gguf_array_f32(const InkGgufArray *a, size_t i)
{
    double wide;
    float value;
    if (a->type == INK_GGUF_F64) {
        memcpy(&wide, a->data + i * sizeof(wide), sizeof(wide));
        return (float)wide;
    }
    memcpy(&value, a->data + i * sizeof(value), sizeof(value));
    return value;
}
