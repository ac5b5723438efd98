/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Dimension letters, used in every signature and struct comment of the engine:
 *
 *   T  rows (tokens) of a step      D  width of the residual stream
 *   H  query heads                  K  key/value heads (H % K == 0)
 *   S  size of one head             F  width of the feed-forward layer
 *   V  vocabulary                   R  rank of a LoRA adapter
 *   L  layers                       N, M  output and input width of one linear layer
 *
 * Matrices are row-major, f32 unless said otherwise. */
#pragma once

/* Rows of one step at most; the workspace is sized by it. */
#define INK_MAX_STEP_ROWS 512
