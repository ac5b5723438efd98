/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What matmul-tmpl.h wants for each quantised pack, out of the including file's tile_quant and
 * low_quant, which take a flag for packs with a minimum. Thread: no state. */

ALWAYS_INLINE void tile_q4_1(const void *packed, size_t n_inputs, const InkMatmulInput *input,
                             size_t t, float *out, size_t out_stride, const int nc)
{
    tile_quant(packed, n_inputs, input, t, out, out_stride, true, nc);
}

ALWAYS_INLINE void tile_q8_0(const void *packed, size_t n_inputs, const InkMatmulInput *input,
                             size_t t, float *out, size_t out_stride, const int nc)
{
    tile_quant(packed, n_inputs, input, t, out, out_stride, false, nc);
}

static void low_q4_1(const void *packed, size_t n_inputs, const InkMatmulInput *input, size_t t,
                     size_t n, float *out, size_t out_stride)
{
    low_quant(packed, n_inputs, input, t, n, out, out_stride, true);
}

static void low_q8_0(const void *packed, size_t n_inputs, const InkMatmulInput *input, size_t t,
                     size_t n, float *out, size_t out_stride)
{
    low_quant(packed, n_inputs, input, t, n, out, out_stride, false);
}
