/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Runs a fuzz harness over every file of the folders named as arguments, then over seeded mutations
 * of them: the corpus replay of `./dev test`. Exits 1 when a folder is missing or empty, since a
 * replay of nothing proves nothing. INKLING_FUZZ_RUNS sets the number of mutations (default 2000).
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Input {
    uint8_t *data;
    size_t size;
} Input;

static Input *inputs;
static size_t n_inputs;

static uint64_t random_state = 0x1234567;

static uint64_t next_random(void)
{
    uint64_t z = random_state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static int load_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat st;
    if (file == NULL || fstat(fileno(file), &st) < 0 || !S_ISREG(st.st_mode)) {
        if (file != NULL)
            fclose(file);
        return 0;
    }
    uint8_t *data = malloc((size_t)st.st_size + 1);
    size_t size = data != NULL ? fread(data, 1, (size_t)st.st_size, file) : 0;
    fclose(file);
    Input *grown = realloc(inputs, (n_inputs + 1) * sizeof(Input));
    if (data == NULL || grown == NULL)
        return -1;
    inputs = grown;
    inputs[n_inputs++] = (Input){data, size};
    return 0;
}

static int load_folder(const char *path)
{
    DIR *folder = opendir(path);
    if (folder == NULL)
        return -1;
    size_t before = n_inputs;
    char file[4096];
    for (struct dirent *e = readdir(folder); e != NULL; e = readdir(folder)) {
        snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
        if (e->d_name[0] != '.' && load_file(file) < 0)
            break;
    }
    closedir(folder);
    return n_inputs > before ? 0 : -1;
}

static void mutate(uint8_t *data, size_t *size, size_t capacity)
{
    for (uint64_t n = 1 + next_random() % 4; n > 0; n--) {
        size_t at = *size != 0 ? next_random() % *size : 0;
        switch (next_random() % 5) {
        case 0:
            if (*size != 0)
                data[at] = (uint8_t)next_random();
            break;
        case 1:
            if (*size != 0)
                data[at] ^= (uint8_t)(1u << next_random() % 8);
            break;
        case 2: /* interesting integers */
            if (*size >= 8) {
                static const uint64_t values[] = {0,          1,     0x7F,      0x7FFFFFFF,
                                                  0xFFFFFFFF, ~0ull, 1ull << 62};
                memcpy(data + next_random() % (*size - 7), &values[next_random() % 7],
                       next_random() % 2 ? 8 : 4);
            }
            break;
        case 3:
            *size = at; /* cut */
            break;
        default: /* double a piece */
            if (*size != 0 && *size < capacity) {
                size_t n_copy = capacity - *size < *size - at ? capacity - *size : *size - at;
                memmove(data + at + n_copy, data + at, *size - at);
                *size += n_copy;
            }
        }
    }
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (load_folder(argv[i]) < 0) {
            fprintf(stderr, "%s: no such folder, or it is empty\n", argv[i]);
            return 1;
        }
    if (n_inputs == 0) {
        fprintf(stderr, "no inputs\n");
        return 1;
    }
    size_t largest = 0;
    for (size_t i = 0; i < n_inputs; i++) {
        LLVMFuzzerTestOneInput(inputs[i].data, inputs[i].size);
        largest = inputs[i].size > largest ? inputs[i].size : largest;
    }
    const char *wanted = getenv("INKLING_FUZZ_RUNS");
    unsigned long n_runs = wanted != NULL ? strtoul(wanted, NULL, 10) : 2000;
    size_t capacity = largest + 4096;
    for (unsigned long run = 0; run < n_runs; run++) {
        const Input *in = &inputs[next_random() % n_inputs];
        uint8_t *data = malloc(capacity);
        if (data == NULL)
            return 1;
        memcpy(data, in->data, in->size);
        size_t size = in->size;
        mutate(data, &size, capacity);
        /* An exact heap block, so that a sanitizer sees the first byte too far. */
        uint8_t *exact = malloc(size != 0 ? size : 1);
        if (exact == NULL)
            return 1;
        memcpy(exact, data, size);
        LLVMFuzzerTestOneInput(exact, size);
        free(exact);
        free(data);
    }
    printf("replayed %zu inputs and %lu mutations\n", n_inputs, n_runs);
    for (size_t i = 0; i < n_inputs; i++)
        free(inputs[i].data);
    free(inputs);
    return 0;
}
