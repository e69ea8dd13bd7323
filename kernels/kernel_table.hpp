#pragma once

#include <cstddef>
#include <cstdint>

/// The seam between arithmetic and policy. A KernelTable is one instruction set's complete set of
/// operations; dispatch picks one per process. Signatures are pointers, strides and sizes: no
/// allocation, no threads, no failure. This folder uses nothing of the project.
namespace bloom::kernels {

enum CpuFeature : std::uint32_t {
    kAvx2 = 1U << 0,
    kFma = 1U << 1,
    kF16c = 1U << 2,
    kAvx512 = 1U << 3, ///< F, BW, DQ, VL together
    kAvx512Vnni = 1U << 4,
    kNeonDot = 1U << 5,
    kNeonI8mm = 1U << 6,
    kAvxVnni = 1U << 7, ///< the 256-bit form with its own encoding
};

/// Weight storage after packing. Codes are unsigned 8 bit: q8_0 has w = scale * (code - 128),
/// affine8 has w = scale * code + bias, scale and bias in the type the file has them in.
enum class WeightFormat : std::uint8_t {
    q8_0,         ///< GGUF Q8_0: group 32, f16 scale, symmetric
    affine8_f16,  ///< MLX affine, group 64, f16 scale and bias
    affine8_bf16, ///< the same in bf16
    affine8_f32,  ///< the same in f32
    f16,
    bf16,
    f32,
};

constexpr int group_size(WeightFormat f) noexcept {
    switch (f) {
    case WeightFormat::q8_0:
        return 32;
    case WeightFormat::affine8_f16:
    case WeightFormat::affine8_bf16:
    case WeightFormat::affine8_f32:
        return 64;
    default:
        return 1;
    }
}

constexpr bool is_quantised(WeightFormat f) noexcept {
    return group_size(f) > 1;
}

/// Where a matrix lies in its file, row-major [rows, k], any alignment. For q8_0 `codes` are the
/// 34-byte blocks and the rest is unused; for affine8 `codes` are uint8 [rows, k] and scales and
/// biases are [rows, k/64]; for plain formats `codes` are the elements.
struct SourceMatrix {
    WeightFormat format;
    std::int64_t rows;
    std::int64_t k;
    const std::uint8_t* codes;
    const std::uint8_t* scales;
    const std::uint8_t* biases;
};

/// A packed matrix: panels of `panel_rows` rows, each one linear stream in access order. The last
/// panel is padded with rows of zero weight. `data` is 64-byte aligned.
struct PackedMatrix {
    WeightFormat format;
    std::int64_t rows;
    std::int64_t k;
    const std::uint8_t* data;
    /// Packed weights that the caller reads after this product, or null: their beginning is fetched
    /// while the product ends. Never more than a hint.
    const std::uint8_t* next = nullptr;
};

/// Activations of n tokens, quantised per token and group: x = scale * q, q in [-127, 127].
/// q: [n, k] with row stride k rounded up to 64; scale, init, sum: [n, k/group], row stride given.
/// init = -128 * sum_i q_i (where q8_0's accumulators start: unsigned codes then cost nothing);
/// sum = scale * sum_i q_i (for affine8's biases). A group with a NaN or an infinity has scale NaN
/// and q = 0, so that every product with it is NaN. No buffer needs padding or alignment: kernels
/// read and write exactly what is described here.
/// `rows` lets a product take its tokens from anywhere: its token i is row rows[i] of the buffers
/// (an expert's tokens are not copied); null: row i. quantise() ignores it.
/// `in_order` is what order_activations() made of exactly the tokens of a product, which then reads
/// nothing else of this; null: the product makes it itself.
struct QuantisedActivations {
    std::int8_t* q;
    float* scale;
    std::int32_t* init;
    float* sum;
    std::int64_t q_stride;
    std::int64_t group_stride;
    const std::int32_t* rows = nullptr;
    const std::uint8_t* in_order = nullptr;
};

enum class KvType : std::uint8_t { f32, f16 };

inline constexpr int kPageTokens = 16;

/// Paged keys and values of one sequence in one layer. Tokens [16 p, 16 p + 16) lie at
/// base + table[p] * page_bytes as K [n_kv_heads][head_dim][16], a key being a column, then
/// V [n_kv_heads][16][head_dim]. Only pages of tokens that are attended to are looked up.
struct KvPages {
    const std::uint8_t* base;  ///< page 0 in this layer
    const std::int32_t* table; ///< page number by page of the sequence
    std::int64_t page_bytes;   ///< from one page to the next
    KvType type;
    int n_kv_heads;
    int head_dim;
};

/// A sequence is attended to in chunks of this many absolute tokens, folded in ascending order: who
/// computes a chunk changes nothing. Small, so that a long sequence feeds many cores; large enough
/// that folding costs below 1 % of it.
inline constexpr int kAttentionChunk = 512;
/// Queries (rows times heads) of one call at most.
inline constexpr int kAttentionQueries = 128;
/// Queries that pay: they and their scores stay in L2 beside the keys and values of a chunk, each
/// of which is loaded this often. More gain nothing but longer runs of memory over several KV
/// heads, which is for the few queries of decode.
inline constexpr int kAttentionBlock = 48;
/// Floats between the scores of two queries in the scratch memory.
inline constexpr int kAttentionScoreStride = kAttentionChunk + 9 * kPageTokens;

/// Consecutive rows of one sequence and consecutive heads: n_heads of one KV head, or all that
/// share a KV head for n_kv of those. The row at position p sees tokens [p + 1 - window, p + 1),
/// all up to p without a window. Queries are numbered by (KV head, row, head).
struct AttentionRows {
    const float* q;        ///< first head of the first row; heads head_dim apart
    std::int64_t q_stride; ///< floats between rows
    int n_rows;
    int n_heads; ///< of each KV head; n_kv * n_rows * n_heads <= kAttentionQueries
    int kv_head; ///< the first
    int n_kv;
    float scale;
    std::int64_t position; ///< of the first row
    std::int64_t window;   ///< 0: none
};

/// Floats of a part: what n queries have of some chunks. max [n], sum [n], values [n, head_dim],
/// each run and each row of values rounded up to 16.
constexpr std::int64_t attention_part_floats(std::int64_t n_queries,
                                             std::int64_t head_dim) noexcept {
    return (n_queries + 15) / 16 * 32 + n_queries * ((head_dim + 15) / 16 * 16);
}

/// Floats of scratch memory that attention() needs.
constexpr std::int64_t attention_scratch_floats(std::int64_t n_queries,
                                                std::int64_t head_dim) noexcept {
    return n_queries * kAttentionScoreStride + (n_queries * head_dim + 15) / 16 * 16 +
           attention_part_floats(n_queries, head_dim);
}

/// How experts are chosen: KernelTable::route.
struct RouteRule {
    bool sigmoid; ///< each score on its own; otherwise softmax over all
    bool normalise;
    float scale;
    std::int32_t top_k;
};

/// The scores of one row are kept on the stack.
inline constexpr std::int64_t kRouteExpertsMax = 4096;

/// Columns of a panel of the delta rule's state: that of a value head lies in panels, each
/// [k_dim][kDeltaPanel], one after the other. A row of a panel is a whole number of vectors in
/// every table, so columns never meet and nothing is summed across lanes.
inline constexpr int kDeltaPanel = 16;
/// Panels of one call: as many as stay in L1 with k_dim 128 (16 KiB) and feed two multipliers.
inline constexpr int kDeltaPanels = 2;

/// Consecutive rows of one value head with what the delta rule wants of them, from its panels'
/// first column on where columns count.
struct DeltaRows {
    std::int64_t n;
    std::int64_t k_dim;     ///< even
    const float* q;         ///< [n, k_dim]
    const float* k;         ///< [n, k_dim]
    std::int64_t qk_stride; ///< of both
    const float* v;         ///< [n, columns]
    std::int64_t v_stride;
    const float* decay;       ///< [n], exp(g)
    const float* beta;        ///< [n]
    std::int64_t gate_stride; ///< of both
    float* delta;             ///< [n, columns], d of each row; null: not wanted
    std::int64_t delta_stride;
    float* out; ///< [n, columns]
    std::int64_t out_stride;
};

/// Values that softmax_sums adds into one sum.
inline constexpr int kSoftmaxBlock = 1024;

/// One instruction set's operations. Thread: any; each writes only its named output range.
/// Sums run in a fixed documented order that depends on shapes and position only, never on the
/// number of tokens in the call or on how rows are split: an answer does not depend on what is
/// computed beside it.
struct KernelTable {
    const char* isa;
    std::uint32_t required; ///< CpuFeature bits
    int panel_rows;         ///< rows of a packed panel; work is split at multiples of it

    // --- weights -------------------------------------------------------------------------------
    /// Bytes of the packed form, padding included.
    std::size_t (*packed_bytes)(WeightFormat format, std::int64_t rows, std::int64_t k) noexcept;
    /// Packs rows [row_begin, row_end) of src; row_begin is a multiple of panel_rows, row_end too
    /// or == rows. dst is the whole matrix's packed base, packed_bytes long.
    void (*pack)(const SourceMatrix& src, std::int64_t row_begin, std::int64_t row_end,
                 std::uint8_t* dst) noexcept;
    /// Row `row` as f32 [k] (embedding lookup from a packed, perhaps tied, matrix).
    void (*unpack_row)(const PackedMatrix& w, std::int64_t row, float* out) noexcept;

    // --- matrix products -----------------------------------------------------------------------
    /// Quantises rows [0, n) of x (f32, row stride x_stride) for weights of `format`. The same
    /// bits come out of every table.
    void (*quantise)(WeightFormat format, const float* x, std::int64_t x_stride, std::int64_t n,
                     std::int64_t k, const QuantisedActivations& out) noexcept;
    /// Bytes of the activations of n tokens in the order in which matmul_q8 reads them: n times
    /// those of one.
    std::size_t (*ordered_bytes)(WeightFormat format, std::int64_t n, std::int64_t k) noexcept;
    /// Brings activations into that order, for all products of n tokens and k columns: those of
    /// tokens [token_begin, token_end) and columns [column_begin, column_end), whole groups. Token
    /// t is row t, or rows[t], of x, whose first group is that of column_begin. out is the place of
    /// all n tokens and needs no alignment; parts may be written by different threads.
    void (*order_activations)(WeightFormat format, const QuantisedActivations& x, std::int64_t n,
                              std::int64_t k, std::int64_t token_begin, std::int64_t token_end,
                              std::int64_t column_begin, std::int64_t column_end,
                              std::uint8_t* out) noexcept;
    /// y[t, r] = sum_k w[r, k] x[t, k] for rows [row_begin, row_end), tokens [0, n); quantised
    /// formats. Token t of x is activation row x.rows[t], where rows are given.
    void (*matmul_q8)(const PackedMatrix& w, const QuantisedActivations& x, std::int64_t n,
                      std::int64_t row_begin, std::int64_t row_end, float* y,
                      std::int64_t y_stride) noexcept;
    /// The same from f32 activations for every format: weights are dequantised on the fly. Used for
    /// plain formats always, and for quantised ones by --precise.
    void (*matmul_f32)(const PackedMatrix& w, const float* x, std::int64_t x_stride, std::int64_t n,
                       std::int64_t row_begin, std::int64_t row_end, float* y,
                       std::int64_t y_stride) noexcept;

    // --- element-wise and reductions -----------------------------------------------------------
    /// out[i] = w[i] * x[i] / sqrt(mean(x^2) + eps), one row of n; w null: all ones.
    void (*rms_norm)(const float* x, const float* w, float eps, std::int64_t n,
                     float* out) noexcept;
    /// Half-split rotation of the first 2*n_pairs values of one head: pairs (j, j + n_pairs).
    void (*rope)(float* head, const float* cos, const float* sin, std::int64_t n_pairs) noexcept;
    /// out[i] = silu(gate[i]) * up[i].
    void (*silu_mul)(const float* gate, const float* up, std::int64_t n, float* out) noexcept;
    /// out[i] = gelu(gate[i]) * up[i], gelu(x) = 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
    void (*gelu_tanh_mul)(const float* gate, const float* up, std::int64_t n, float* out) noexcept;
    /// out[i] = up[i] / (1 + exp(-gate[i])).
    void (*sigmoid_mul)(const float* gate, const float* up, std::int64_t n, float* out) noexcept;
    /// x[i] = cap * tanh(x[i] / cap), cap > 0; to within four units in the last place of cap.
    void (*softcap)(float* x, float cap, std::int64_t n) noexcept;
    /// y[i] += x[i].
    void (*add)(float* y, const float* x, std::int64_t n) noexcept;
    /// y[i] = fma(x[i], factor, y[i]).
    void (*add_scaled)(float* y, const float* x, float factor, std::int64_t n) noexcept;
    /// x[i] *= factor.
    void (*scale)(float* x, float factor, std::int64_t n) noexcept;
    /// Stores n f32 values as KvType.
    void (*store_kv)(KvType type, const float* src, std::int64_t n, void* dst) noexcept;
    /// The same, kPageTokens values apart: a key into its column of a page.
    void (*store_key)(KvType type, const float* src, std::int64_t n, void* dst) noexcept;
    /// Index of the largest value; the lowest index among equals; 0 if all are NaN.
    std::int64_t (*argmax)(const float* x, std::int64_t n) noexcept;
    /// Largest value and sum of exp(x - max), for softmax and log-probabilities.
    void (*softmax_stats)(const float* x, std::int64_t n, float* max, double* sum) noexcept;

    // --- experts -------------------------------------------------------------------------------
    /// Chooses rule.top_k of n experts from the router's logits [n]: s = their softmax or sigmoids;
    /// ids in descending order of s + bias (bias [n], or null), the lower index first among equals,
    /// never one twice; weights = s of the chosen by rule.normalise over their sum, times
    /// rule.scale. 1 <= top_k <= n <= kRouteExpertsMax. Scores that are NaN are chosen last, lowest
    /// index first, and give NaN weights; one NaN logit makes every score of a softmax NaN.
    void (*route)(const float* logits, const float* bias, std::int64_t n, const RouteRule& rule,
                  std::int32_t* ids, float* weights) noexcept;

    // --- gated delta rule ----------------------------------------------------------------------
    /// out[i] = silu(sum of taps[j * tap_stride + i] * x[j][first + i] over j < n_taps, in order of
    /// j), i < n.
    void (*conv_silu)(const float* const* x, std::int64_t first, const float* taps,
                      std::int64_t tap_stride, int n_taps, std::int64_t n, float* out) noexcept;
    /// out[i] = scale * x[i] / sqrt(sum(x^2) + eps). out may be x.
    void (*l2_norm)(const float* x, float scale, float eps, std::int64_t n, float* out) noexcept;
    /// out[i] = w[i] * x[i] / sqrt(mean(x^2) + eps) * silu(gate[i]). out may be x or gate.
    void (*gated_norm)(const float* x, const float* w, const float* gate, float eps, std::int64_t n,
                       float* out) noexcept;
    /// decay[i] = exp(rate[i] * softplus(alpha[i] + bias[i])), rate not positive; beta[i] =
    /// sigmoid(b[i]).
    void (*delta_gates)(const float* alpha, const float* b, const float* rate, const float* bias,
                        std::int64_t n, float* decay, float* beta) noexcept;
    /// Row after row, with S the state [k_dim, columns]: d = beta (v - decay S^T k); S = decay S +
    /// k d^T; out = S^T q. Per column the terms of even and of odd dimensions are added apart in
    /// ascending order, then both: rows cut into several calls give the same bits.
    /// 1 <= n_panels <= kDeltaPanels. state is aligned to 64 bytes.
    void (*delta_rule)(const DeltaRows& rows, int n_panels, float* state) noexcept;
    /// What delta_rule does to the state, from the rows' k, decay and delta alone.
    void (*delta_replay)(const DeltaRows& rows, int n_panels, float* state) noexcept;

    // --- sampling: rows of logits ---------------------------------------------------------------
    /// The k largest values above -infinity, largest first, the lower index first among equals.
    /// Returns how many: fewer than k where there are no more. ids, values: [k].
    std::int64_t (*top_k)(const float* x, std::int64_t n, std::int64_t k, std::int32_t* ids,
                          float* values) noexcept;
    /// Values of at least `threshold` with their indices, ascending; the first `capacity` of them
    /// are stored. Returns how many there are. ids, values: [capacity].
    std::int64_t (*select_at_least)(const float* x, std::int64_t n, float threshold,
                                    std::int64_t capacity, std::int32_t* ids,
                                    float* values) noexcept;
    /// out[i] = exp((x[i] - max) * scale), 0 for NaN. max is finite and at least every x[i], scale
    /// above 0 and finite. An element's bits depend on its value alone. In place is fine.
    void (*softmax_weights)(const float* x, std::int64_t n, float max, float scale,
                            float* out) noexcept;
    /// The sums of the same weights over [0, kSoftmaxBlock), [kSoftmaxBlock, 2 * kSoftmaxBlock), ..
    /// sums: one for each block, the last perhaps short.
    void (*softmax_sums)(const float* x, std::int64_t n, float max, float scale,
                         double* sums) noexcept;

    // --- attention -----------------------------------------------------------------------------
    /// Softmax(scale * q k) v over chunks [first_chunk, last_chunk) of the sequence. With `fold`
    /// all of them become one part, else each its own, one after the other at `parts`. A chunk
    /// without a token for a query leaves max -infinity and zeros. parts and scratch are aligned to
    /// 64 bytes.
    void (*attention)(const AttentionRows& rows, const KvPages& kv, std::int64_t first_chunk,
                      std::int64_t last_chunk, bool fold, float* parts, float* scratch) noexcept;
    /// Queries [first, last) of part `from`, of later chunks, into the same ones of part `into`.
    void (*attention_fold)(int n_queries, int head_dim, int first, int last, float* into,
                           const float* from) noexcept;
    /// out[row, head, :] = values / sum of a folded part, for queries [first, last); zeros where
    /// nothing had weight.
    void (*attention_finish)(const AttentionRows& rows, int head_dim, int first, int last,
                             const float* part, float* out, std::int64_t out_stride) noexcept;
};

/// What this processor can do: cpuid and xgetbv, or hwcaps.
std::uint32_t detect_cpu_features() noexcept;
/// The fastest table whose features are in `have`, or the one named by `forced_isa` (nullptr if it
/// cannot run or is unknown). "scalar" always runs.
const KernelTable* select_table(std::uint32_t have, const char* forced_isa) noexcept;
/// Every table compiled in, fastest first; ends with nullptr.
const KernelTable* const* all_tables() noexcept;

} // namespace bloom::kernels
