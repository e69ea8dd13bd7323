#include <charconv>
#include <optional>

#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/base/text.hpp>
#include <bloom/fit/model_table.hpp>

// The file as it is, in read-only data.
__asm__(".section .rodata\n"
        ".globl bloom_fit_models_begin\n"
        "bloom_fit_models_begin:\n"
        ".incbin \"" BLOOM_FIT_MODELS "\"\n"
        ".globl bloom_fit_models_end\n"
        "bloom_fit_models_end:\n"
        ".byte 0\n"
        ".previous\n");

extern "C" {
extern const char bloom_fit_models_begin[];
extern const char bloom_fit_models_end[];
}

namespace bloom::fit {
namespace {

constexpr std::int64_t kLongestContext = std::int64_t{1} << 21;
constexpr std::size_t kDateBytes = 10; // YYYY-MM-DD

/// The next piece of `text` up to `end`, which is taken off together with it.
std::string_view next(std::string_view& text, char end) {
    const std::size_t at = std::min(text.find(end), text.size());
    const std::string_view piece = text.substr(0, at);
    text.remove_prefix(std::min(at + 1, text.size()));
    return piece;
}

template <class T>
std::optional<T> number(std::string_view text) {
    T value{};
    if (text.empty()) return value; // unknown
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failure != std::errc{} || end != text.data() + text.size() || value < 0)
        return std::nullopt;
    return value;
}

std::optional<Category> category_named(std::string_view name) {
    for (const Category c : {Category::general, Category::coding, Category::reasoning,
                             Category::chat, Category::multimodal, Category::embedding}) {
        if (label(c) == name) return c;
    }
    return std::nullopt;
}

/// Puts one field where its column says; false: malformed.
bool take_field(ModelFacts& model, std::string_view column, std::string_view text) {
    struct Count {
        std::string_view column;
        std::int32_t ModelFacts::* field;
    };

    constexpr Count kCounts[] = {
        {"experts", &ModelFacts::n_experts},     {"experts_per_token", &ModelFacts::n_experts_used},
        {"layers", &ModelFacts::n_layers},       {"heads", &ModelFacts::n_heads},
        {"kv_heads", &ModelFacts::n_kv_heads},   {"head_dim", &ModelFacts::head_dim},
        {"hidden", &ModelFacts::hidden},         {"vocab", &ModelFacts::vocab},
        {"ffn_or_expert_dim", &ModelFacts::ffn}, {"shared_expert_dim", &ModelFacts::shared_ffn}};

    struct Size {
        std::string_view column;
        std::int64_t ModelFacts::* field;
    };

    constexpr Size kSizes[] = {{"params", &ModelFacts::params},
                               {"active_params", &ModelFacts::active_params},
                               {"context_length", &ModelFacts::context_length}};

    struct Text {
        std::string_view column;
        std::string ModelFacts::* field;
    };

    constexpr Text kTexts[] = {{"name", &ModelFacts::name},
                               {"provider", &ModelFacts::provider},
                               {"release_date", &ModelFacts::release_date},
                               {"architecture", &ModelFacts::architecture},
                               {"use_case_text", &ModelFacts::use_case_text}};
    for (const Count& count : kCounts) {
        if (count.column != column) continue;
        const auto value = number<std::int32_t>(text);
        if (value) model.*count.field = *value;
        return value.has_value();
    }
    for (const Size& size : kSizes) {
        if (size.column != column) continue;
        const auto value = number<std::int64_t>(text);
        if (value) model.*size.field = *value;
        return value.has_value();
    }
    for (const Text& field : kTexts) {
        if (field.column != column) continue;
        model.*field.field = std::string(text);
        return true;
    }
    if (column == "use_case") {
        model.category = category_named(text);
        return model.category.has_value();
    }
    if (column == "attention") {
        model.attention = parse_attention(text);
        return true;
    }
    if (column == "native_quants") {
        while (!text.empty())
            model.only_quants.emplace_back(next(text, ','));
        return true;
    }
    return false;
}

/// What is wrong with a row as a whole; empty: nothing.
std::string_view fault_of(const ModelFacts& model) {
    if (model.name.empty()) return "it has no name";
    if (model.params <= 0) return "it has no parameters";
    if (model.context_length <= 0 || model.context_length > kLongestContext)
        return "its context is not between 1 and 2^21";
    if (model.active_params >= model.params) return "it has no inactive parameters";
    if (model.n_experts_used > model.n_experts) return "it uses more experts than it has";
    if (model.is_moe() && (model.active_params == 0 || model.n_experts_used == 0))
        return "a mixture of experts needs its active parameters and experts";
    if (model.release_date.size() != kDateBytes) return "its date is not YYYY-MM-DD";
    if (!model.category) return "it has no category";
    return {};
}

} // namespace

Attention parse_attention(std::string_view text) noexcept {
    Attention out;
    if (text == "full") return out;
    out.kind = Attention::Kind::unknown;
    const auto take = [&text](std::string_view prefix) -> std::optional<std::int32_t> {
        if (!text.starts_with(prefix)) return std::nullopt;
        text.remove_prefix(prefix.size());
        std::int32_t value = 0;
        const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (failure != std::errc{} || value <= 0) return std::nullopt;
        text.remove_prefix(static_cast<std::size_t>(end - text.data()));
        return value;
    };
    Attention parsed;
    if (text.starts_with("mla:")) {
        const auto rank = take("mla:");
        const auto rope = take("+");
        if (!rank || !rope || !text.empty()) return out;
        parsed.kind = Attention::Kind::latent;
        parsed.latent = *rank + *rope;
        return parsed;
    }
    if (text.starts_with("swa")) {
        const auto window = take("swa");
        const auto others = take(":");
        const auto full = take("+full:");
        if (!window || !others || !full || !text.empty()) return out;
        return {Attention::Kind::sliding, *others, *full, *window, 0};
    }
    const auto others = take("linear:");
    const auto full = take("+full:");
    if (!others || !full || !text.empty()) return out;
    return {Attention::Kind::linear, *others, *full, 0, 0};
}

Result<std::vector<ModelFacts>> parse_model_table(std::string_view tsv) {
    std::vector<std::string_view> columns;
    std::vector<ModelFacts> models;
    for (int line_number = 1; !tsv.empty(); ++line_number) {
        std::string_view line = next(tsv, '\n');
        if (line.empty() || line.starts_with('#')) continue;
        if (columns.empty()) {
            while (!line.empty())
                columns.push_back(next(line, '\t'));
            continue;
        }
        ModelFacts model;
        for (const std::string_view column : columns) {
            const std::string_view field = next(line, '\t');
            if (!take_field(model, column, field)) {
                return Error{
                    Code::invalid_argument,
                    fmt::format("table of models, line {}, column {}: {} is not understood",
                                line_number, column, quoted(field))};
            }
        }
        if (const std::string_view fault = fault_of(model); !fault.empty()) {
            return Error{Code::invalid_argument,
                         fmt::format("table of models, line {}, {}: {}", line_number,
                                     quoted(model.name), fault)};
        }
        models.push_back(std::move(model));
    }
    return models;
}

std::span<const ModelFacts> built_in_models() {
    static const std::vector<ModelFacts> models = [] {
        auto parsed = parse_model_table(
            {bloom_fit_models_begin,
             static_cast<std::size_t>(bloom_fit_models_end - bloom_fit_models_begin)});
        BLOOM_CHECK(parsed.has_value()); // a test reads it before anybody else does
        return std::move(*parsed);
    }();
    return models;
}

} // namespace bloom::fit
