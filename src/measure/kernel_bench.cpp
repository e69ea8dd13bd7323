#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/base/text.hpp>
#include <bloom/hw/cpu_info.hpp>
#include <bloom/measure/kernel_bench.hpp>

#include "measure/kernels/subject.hpp"

namespace bloom::measure {
namespace {

constexpr std::int64_t kWorkingSetMin = std::int64_t{512} << 20;
constexpr std::int64_t kWorkingSetCaches = 8;

std::int64_t default_working_set() {
    return std::max(kWorkingSetMin,
                    kWorkingSetCaches * static_cast<std::int64_t>(hw::read_cpu_info().l3_bytes));
}

/// Comma-separated positive integers; empty when anything else is in the text.
std::vector<std::int64_t> integers(std::string_view text) {
    std::vector<std::int64_t> out;
    const char* at = text.data();
    const char* const end = at + text.size();
    for (;;) {
        std::int64_t value = 0;
        const auto [next, error] = std::from_chars(at, end, value);
        if (error != std::errc() || value <= 0) return {};
        out.push_back(value);
        if (next == end) return out;
        if (*next != ',') return {};
        at = next + 1;
    }
}

std::string_view form_of(KernelOp op) noexcept {
    switch (op) {
    case KernelOp::dense:
        return "K,M";
    case KernelOp::moe:
        return "K,M,EXPERTS,TOPK";
    case KernelOp::attention:
        return "HEADS,KV_HEADS,HEAD_DIM";
    case KernelOp::delta:
        return "KEY_HEADS,VALUE_HEADS,KEY_DIM,VALUE_DIM";
    }
    return {};
}

Error bad(const KernelShape& shape, std::string_view why) {
    return Error{Code::invalid_argument,
                 fmt::format("{} {}: {}", to_string(shape.op), shape_text(shape), why)};
}

Result<std::unique_ptr<Subject>> make_subject(const SubjectOptions& options,
                                              const KernelShape& shape) {
    switch (shape.op) {
    case KernelOp::dense:
        return make_dense(options, shape);
    case KernelOp::moe:
        return make_moe(options, shape);
    case KernelOp::attention:
        return make_attention(options, shape);
    case KernelOp::delta:
        return make_delta(options, shape);
    }
    return Error{Code::unsupported, "no such operation"};
}

} // namespace

std::string_view to_string(KernelOp op) noexcept {
    switch (op) {
    case KernelOp::dense:
        return "dense";
    case KernelOp::moe:
        return "moe";
    case KernelOp::attention:
        return "attention";
    case KernelOp::delta:
        return "delta";
    }
    return {};
}

Result<KernelShape> parse_kernel_shape(KernelOp op, std::string_view text) {
    const std::vector<std::int64_t> of = integers(text);
    const std::size_t n_expected = op == KernelOp::dense ? 2 : op == KernelOp::attention ? 3 : 4;
    const bool fits = std::ranges::all_of(of, [](std::int64_t v) { return v <= kShapeSideMax; });
    if (of.size() != n_expected || !fits) {
        return Error{Code::invalid_argument,
                     fmt::format("shape {}: expected {} for {}, each from 1 to {}", quoted(text),
                                 form_of(op), to_string(op), kShapeSideMax)};
    }
    const auto i32 = [&of](std::size_t i) { return static_cast<std::int32_t>(of[i]); };
    KernelShape shape;
    shape.op = op;
    if (op == KernelOp::attention) {
        shape.n_heads = i32(0);
        shape.n_kv_heads = i32(1);
        shape.head_dim = i32(2);
        return shape;
    }
    if (op == KernelOp::delta) {
        shape.n_k_heads = i32(0);
        shape.n_v_heads = i32(1);
        shape.k_dim = i32(2);
        shape.v_dim = i32(3);
        return shape;
    }
    shape.k = of[0];
    shape.m = of[1];
    if (op == KernelOp::moe) {
        shape.n_experts = i32(2);
        shape.top_k = i32(3);
    }
    return shape;
}

Result<kernels::WeightFormat> parse_bench_format(std::string_view text) {
    if (text == "q8_0") return kernels::WeightFormat::q8_0;
    if (text == "affine8") return kernels::WeightFormat::affine8_bf16;
    return Error{Code::invalid_argument,
                 fmt::format("format {}: expected q8_0 or affine8", quoted(text))};
}

std::string shape_text(const KernelShape& s) {
    switch (s.op) {
    case KernelOp::dense:
        return fmt::format("{},{}", s.k, s.m);
    case KernelOp::moe:
        return fmt::format("{},{},{},{}", s.k, s.m, s.n_experts, s.top_k);
    case KernelOp::attention:
        return fmt::format("{},{},{}", s.n_heads, s.n_kv_heads, s.head_dim);
    case KernelOp::delta:
        return fmt::format("{},{},{},{}", s.n_k_heads, s.n_v_heads, s.k_dim, s.v_dim);
    }
    return {};
}

Result<> check_shape(const KernelShape& s) {
    if (s.op == KernelOp::attention) {
        if (s.n_heads % s.n_kv_heads != 0) return bad(s, "heads must be a multiple of kv heads");
        if (s.context < 1 || s.context > kShapeContextMax) {
            return bad(s, fmt::format("a context of {} tokens, expected 1 to {}", s.context,
                                      kShapeContextMax));
        }
        if (s.head_dim % 16 != 0) return bad(s, "the head dimension must be a multiple of 16");
        return {};
    }
    if (s.op == KernelOp::delta) {
        if (s.n_v_heads % s.n_k_heads != 0) {
            return bad(s, "value heads must be a multiple of key heads");
        }
        const auto fits = [](std::int32_t dim) {
            return dim % 16 == 0 && dim <= kShapeDeltaDimMax;
        };
        if (!fits(s.k_dim) || !fits(s.v_dim) || s.n_v_heads > kShapeDeltaHeadsMax) {
            return bad(s,
                       fmt::format("dimensions must be multiples of 16 up to {}, heads at most {}",
                                   kShapeDeltaDimMax, kShapeDeltaHeadsMax));
        }
        return {};
    }
    const int group = kernels::group_size(s.format);
    if (s.k % group != 0) {
        return bad(
            s, fmt::format("{} inputs are no multiple of the format's group of {}", s.k, group));
    }
    if (s.op == KernelOp::dense) return {};
    if (s.m % group != 0) {
        return bad(s, fmt::format("an expert's width of {} is no multiple of the format's group "
                                  "of {}",
                                  s.m, group));
    }
    if (s.n_experts > kShapeExpertsMax) {
        return bad(s, fmt::format("at most {} experts", kShapeExpertsMax));
    }
    if (s.top_k > s.n_experts) return bad(s, "more experts chosen than there are");
    return {};
}

Result<std::vector<KernelRow>> bench_kernel(compute::Team& team, const kernels::KernelTable& table,
                                            RoofSource& roofs, const KernelShape& shape,
                                            std::span<const int> n,
                                            const KernelBenchOptions& options) {
    BLOOM_OK(check_shape(shape));
    std::vector<KernelRow> rows;
    if (n.empty()) return rows;
    const auto [low, high] = std::ranges::minmax(n);
    if (low < 1 || high > kBenchRowsMax) {
        return bad(shape, fmt::format("n from 1 to {}", kBenchRowsMax));
    }
    const std::int64_t working_set =
        options.working_set_bytes > 0 ? options.working_set_bytes : default_working_set();
    BLOOM_TRY(const auto subject, make_subject({&team, &table, working_set, high}, shape));
    ProcessStopwatch clock;
    for (const int tokens : n) {
        BLOOM_OK(subject->use(tokens));
        team.begin_step();
        auto measured = measure_paired(
            roofs, clock, {options.repetitions, options.seconds, team.size()},
            [&](int i) { return subject->prepare(i); }, [&] { return subject->run(); });
        team.end_step();
        if (!measured) return std::unexpected(measured.error());
        rows.push_back({shape, tokens, team.size(), *measured});
    }
    return rows;
}

} // namespace bloom::measure
