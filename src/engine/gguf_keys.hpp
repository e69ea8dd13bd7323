#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <bloom/base/result.hpp>
#include <bloom/base/text.hpp>
#include <bloom/engine/gguf.hpp>
#include <bloom/engine/model_config.hpp>

namespace bloom::engine {

/// Reads the keys of one architecture: `llama.block_count` and so on.
class ArchKeys {
public:
    ArchKeys(const GgufMetadata& metadata, std::string_view arch)
        : metadata_(metadata), arch_(arch) {}

    std::string key(std::string_view name) const { return fmt::format("{}.{}", arch_, name); }

    bool has(std::string_view name) const { return metadata_.find(key(name)) != nullptr; }

    Result<std::int64_t> integer(std::string_view name, std::int64_t min, std::int64_t max) const {
        return metadata_.integer(key(name), min, max);
    }

    Result<std::int64_t> integer_or(std::string_view name, std::int64_t fallback, std::int64_t min,
                                    std::int64_t max) const {
        return metadata_.integer_or(key(name), fallback, min, max);
    }

    Result<double> real(std::string_view name) const { return metadata_.real(key(name)); }

    Result<double> real_or(std::string_view name, double fallback) const {
        return metadata_.real_or(key(name), fallback);
    }

    Result<bool> boolean_or(std::string_view name, bool fallback) const {
        return metadata_.boolean_or(key(name), fallback);
    }

    Result<std::string_view> text_or(std::string_view name, std::string_view fallback) const {
        return metadata_.text_or(key(name), fallback);
    }

    /// A scalar, or an array with one equal entry for each layer.
    Result<std::int64_t> per_layer(std::string_view name, std::int64_t n_layers,
                                   std::int64_t max) const;

    /// A scalar for all layers, or an array with an entry for each; bools count as 0 and 1.
    Result<std::vector<std::int64_t>> each_layer(std::string_view name, std::int64_t n_layers,
                                                 std::int64_t min, std::int64_t max) const;

private:
    const GgufMetadata& metadata_;
    std::string_view arch_;
};

} // namespace bloom::engine
