/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* inkling-eval: looks into a model file and runs it without the daemon. The files it reads may be
 * hostile, so it opens them, seals itself, and only then reads their first byte. */
#include "engine/tools/inkling-eval.h"

#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "engine/worker/seal.h"
#include "ink-config.h"

static const char usage[] =
    "Usage: inkling-eval SUBCOMMAND MODEL [FILE] [OPTIONS]\n"
    "\n"
    "Looks into a GGUF model file and runs it, without the daemon. Input comes from FILE or from\n"
    "standard input; results are JSON, one object per line, on standard output.\n"
    "\n"
    "Subcommands\n"
    "  tokenize    text -> {\"n\", \"ids\"}; --special: control tokens in the text count\n"
    "  detokenize  ids (JSON array or separated by white space) -> {\"text\"}; --special: show\n"
    "              control tokens\n"
    "  template    messages [{\"role\", \"content\"}, ...] -> {\"text\", \"n\", \"ids\"} by the "
    "model's\n"
    "              own chat template; --no-generation-prompt\n"
    "  logits      text, or ids with --ids -> for each position the --top K (10) next tokens with\n"
    "              logit and natural log of the probability; --all FILE: all logits as f32 [T, V]\n"
    "  greedy      text, or ids with --ids -> the likeliest continuation, --tokens N (32)\n"
    "  perplexity  text -> nll, tokens, ppl, bits_per_byte. The text is cut into windows of\n"
    "              --window N (512) tokens that do not overlap; each starts from nothing (or from\n"
    "              the beginning-of-text token that the model wants), and its first token is not "
    "scored\n"
    "  validate    is the file sound? {\"sound\": true, facts} or {\"sound\": false, \"field\", "
    "\"error\"}\n"
    "\n"
    "tokenize, detokenize, template and validate also take files with a vocabulary and no "
    "tensors.\n"
    "Other options: --threads N, --help, --version. INKLING_ISA=ref|avx2|avx512 forces kernels.\n"
    "Exit status: 0 done, 1 failed (validate: not sound), 2 wrong usage.\n"
    "\n"
    "Examples\n"
    "  echo -n 'Hello world' | inkling-eval tokenize model.gguf\n"
    "  echo '[19556, 905]' | inkling-eval detokenize model.gguf\n"
    "  echo '[{\"role\":\"user\",\"content\":\"Hi\"}]' | inkling-eval template model.gguf\n"
    "  inkling-eval greedy model.gguf prompt.txt --tokens 64\n"
    "  inkling-eval validate model.gguf && echo sound\n";

typedef struct Subcommand {
    const char *name;
    InkEvalCommand *run;
    bool has_input;
} Subcommand;

static const Subcommand subcommands[] = {
    {"tokenize", ink_eval_tokenize, true},  {"detokenize", ink_eval_detokenize, true},
    {"template", ink_eval_template, true},  {"logits", ink_eval_logits, true},
    {"greedy", ink_eval_greedy, true},      {"perplexity", ink_eval_perplexity, true},
    {"validate", ink_eval_validate, false},
};

int ink_eval_read_input(const InkEvalRun *run, InkBuffer *ret, InkError *reterr)
{
    char chunk[65536];
    for (;;) {
        ssize_t n = read(run->input_fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        INK_CHECK(n >= 0, errno, reterr, "cannot read the input: %s", strerror(errno));
        if (n == 0)
            break;
        ink_buffer_append(ret, chunk, (size_t)n);
        INK_CHECK(ret->size_bytes <= INK_EVAL_MAX_INPUT_BYTES, E2BIG, reterr,
                  "the input has more than %zu bytes", INK_EVAL_MAX_INPUT_BYTES);
    }
    INK_CHECK(ink_buffer_status(ret) == 0, ENOMEM, reterr, "out of memory for the input");
    return 0;
}

int ink_eval_parse_ids(const char *text, size_t n_bytes, InkTokens *ids, InkError *reterr)
{
    for (size_t i = 0; i < n_bytes;) {
        if (memchr(" \t\r\n,[]", text[i], 8) != NULL) {
            i++;
            continue;
        }
        uint64_t id = 0;
        size_t start = i;
        for (; i < n_bytes && text[i] >= '0' && text[i] <= '9' && id <= UINT32_MAX; i++)
            id = id * 10 + (uint64_t)(text[i] - '0');
        INK_CHECK(i > start && id <= UINT32_MAX, EINVAL, reterr,
                  "the input is not a list of token ids: see byte %zu", i);
        int r = ink_tokens_push(ids, (uint32_t)id);
        INK_CHECK(r == 0, -r, reterr, "more than %u token ids", INK_TOKENS_MAX);
    }
    return 0;
}

int ink_eval_print_line(InkBuffer *line, InkError *reterr)
{
    ink_buffer_append_char(line, '\n');
    INK_CHECK(ink_buffer_status(line) == 0, ENOMEM, reterr, "out of memory for the output");
    bool written = fwrite(line->data, 1, line->size_bytes, stdout) == line->size_bytes;
    INK_CHECK(written && fflush(stdout) == 0, EIO, reterr, "cannot write the output: %s",
              strerror(errno));
    ink_buffer_clear(line);
    return 0;
}

void ink_eval_append_ids(InkBuffer *line, const uint32_t *ids, size_t n)
{
    ink_buffer_append_char(line, '[');
    for (size_t i = 0; i < n; i++)
        ink_buffer_printf(line, i == 0 ? "%" PRIu32 : ",%" PRIu32, ids[i]);
    ink_buffer_append_char(line, ']');
}

/* Opens without waiting for a FIFO's writer, and takes nothing but a file with something in it. */
static int open_model(const char *path, int *ret_fd, size_t *ret_n_bytes, InkError *reterr)
{
    struct stat st;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    INK_CHECK(fd >= 0, errno, reterr, "%s: %s", path, strerror(errno));
    INK_CHECK(fstat(fd, &st) == 0, errno, reterr, "%s: %s", path, strerror(errno));
    INK_CHECK(!S_ISDIR(st.st_mode), EBADMSG, reterr, "%s is a directory, not a model file", path);
    INK_CHECK(S_ISREG(st.st_mode), EBADMSG, reterr, "%s is not a regular file", path);
    INK_CHECK(st.st_size > 0, EBADMSG, reterr, "%s is empty", path);
    *ret_n_bytes = (size_t)st.st_size;
    *ret_fd = INK_TAKE_FD(fd);
    return 0;
}

static int open_files(InkEvalRun *run, const char *model, const char *input, const char *all,
                      bool has_input, InkError *reterr)
{
    INK_TRY(open_model(model, &run->model_fd, &run->map_bytes, reterr));
    if (has_input && input != NULL) {
        run->input_fd = open(input, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        INK_CHECK(run->input_fd >= 0, errno, reterr, "%s: %s", input, strerror(errno));
        struct stat st;
        INK_CHECK(fstat(run->input_fd, &st) == 0 && S_ISREG(st.st_mode), EINVAL, reterr,
                  "%s is not a regular file", input);
    } else if (has_input) {
        run->input_fd = dup(STDIN_FILENO);
        INK_CHECK(run->input_fd >= 0, errno, reterr, "standard input: %s", strerror(errno));
    }
    if (all != NULL) {
        run->all_fd = open(all, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        INK_CHECK(run->all_fd >= 0, errno, reterr, "%s: %s", all, strerror(errno));
    }
    return 0;
}

static void run_done(InkEvalRun *run)
{
    if (run->map != NULL)
        munmap((void *)run->map, run->map_bytes);
    ink_close_p(&run->model_fd);
    ink_close_p(&run->input_fd);
    ink_close_p(&run->all_fd);
}

static int usage_error(const char *what, const char *value)
{
    fprintf(stderr, "inkling-eval: %s%s%s\nTry 'inkling-eval --help'.\n", what,
            value != NULL ? " " : "", value != NULL ? value : "");
    return 2;
}

static bool parse_size(const char *text, size_t min, size_t max, size_t *ret)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || value < min || value > max)
        return false;
    *ret = (size_t)value;
    return true;
}

enum { OPT_ALL = 256, OPT_TOP, OPT_TOKENS, OPT_WINDOW, OPT_THREADS, OPT_VERSION };

/* 0, or the exit status + 1 that the program ends with. */
static int parse_options(int argc, char **argv, InkEvalRun *run, const char **all)
{
    const struct option options[] = {
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, OPT_VERSION},
        {"special", no_argument, NULL, 's'},
        {"ids", no_argument, NULL, 'i'},
        {"no-generation-prompt", no_argument, NULL, 'n'},
        {"all", required_argument, NULL, OPT_ALL},
        {"top", required_argument, NULL, OPT_TOP},
        {"tokens", required_argument, NULL, OPT_TOKENS},
        {"window", required_argument, NULL, OPT_WINDOW},
        {"threads", required_argument, NULL, OPT_THREADS},
        {0},
    };
    opterr = 0;
    for (int c = getopt_long(argc, argv, "h", options, NULL); c != -1;
         c = getopt_long(argc, argv, "h", options, NULL)) {
        bool good = true;
        switch (c) {
        case 'h':
            fputs(usage, stdout);
            return 1;
        case OPT_VERSION:
            puts("inkling-eval " INK_VERSION);
            return 1;
        case 's':
            run->special = true;
            break;
        case 'i':
            run->ids = true;
            break;
        case 'n':
            run->no_generation_prompt = true;
            break;
        case OPT_ALL:
            *all = optarg;
            break;
        case OPT_TOP:
            good = parse_size(optarg, 1, 1000, &run->n_top);
            break;
        case OPT_TOKENS:
            good = parse_size(optarg, 1, 1000000, &run->n_tokens);
            break;
        case OPT_WINDOW:
            good = parse_size(optarg, 2, 1000000, &run->window);
            break;
        case OPT_THREADS:
            good = parse_size(optarg, 1, 1024, &run->n_threads);
            break;
        default:
            return usage_error("unknown option, or one without its value:", argv[optind - 1]) + 1;
        }
        if (!good)
            return usage_error("not a number that this option takes:", optarg) + 1;
    }
    return 0;
}

static int run_sealed(const Subcommand *command, InkEvalRun *run, InkError *reterr)
{
    InkSealStatus status;
    INK_TRY(ink_seal(INK_SEAL_TOOL, -1, &status, reterr));
    void *map = mmap(NULL, run->map_bytes, PROT_READ, MAP_PRIVATE, run->model_fd, 0);
    INK_CHECK(map != MAP_FAILED, errno, reterr, "cannot map the model: %s", strerror(errno));
    run->map = map;
    return command->run(run, reterr);
}

int main(int argc, char **argv)
{
    InkEvalRun run __attribute__((cleanup(run_done))) = {
        .model_fd = -1, .input_fd = -1, .all_fd = -1, .n_tokens = 32, .n_top = 10, .window = 512};
    const char *all = NULL;
    int status = parse_options(argc, argv, &run, &all);
    if (status != 0)
        return status - 1;
    if (argc - optind < 2)
        return usage_error("needs a subcommand and a model file", NULL);
    const Subcommand *command = NULL;
    for (size_t i = 0; i < sizeof(subcommands) / sizeof(subcommands[0]); i++)
        if (strcmp(subcommands[i].name, argv[optind]) == 0)
            command = &subcommands[i];
    if (command == NULL)
        return usage_error("unknown subcommand", argv[optind]);
    if (argc - optind > (command->has_input ? 3 : 2))
        return usage_error("too many arguments:", argv[optind + (command->has_input ? 3 : 2)]);

    InkError error = {0};
    int r = open_files(&run, argv[optind + 1], argv[optind + 2], all, command->has_input, &error);
    if (r == 0)
        r = run_sealed(command, &run, &error);
    if (r < 0) {
        fprintf(stderr, "inkling-eval: %s\n", error.code != 0 ? error.message : strerror(-r));
        return 1;
    }
    return r;
}
