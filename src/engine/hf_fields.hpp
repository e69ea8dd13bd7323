#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <bloom/base/result.hpp>
#include <bloom/base/text.hpp>
#include <bloom/json/reader.hpp>

/// How config.json is read: members by name, with errors that name them.
namespace bloom::engine::hf {

template <class... Args>
Error corrupt(fmt::format_string<Args...> format, Args&&... args) {
    return {Code::corrupt, fmt::format(format, std::forward<Args>(args)...)};
}

template <class... Args>
Error unsupported(fmt::format_string<Args...> format, Args&&... args) {
    return {Code::unsupported, fmt::format(format, std::forward<Args>(args)...)};
}

/// The members of one object of config.json; null counts as absent, as the reference reads it.
class Fields {
public:
    Fields(json::Object object, std::string_view where) : object_(object), where_(where) {}

    std::optional<json::Value> find(std::string_view key) const {
        auto value = object_.find(key);
        return value && !value->is_null() ? value : std::nullopt;
    }

    Result<std::int64_t> integer(std::string_view key) const {
        const auto value = find(key);
        if (!value) return corrupt("{}: {} is missing", where_, bloom::quoted(key));
        return named(key, value->as_int64());
    }

    Result<std::int64_t> integer_or(std::string_view key, std::int64_t fallback) const {
        return find(key) ? integer(key) : Result<std::int64_t>(fallback);
    }

    Result<double> real(std::string_view key) const {
        const auto value = find(key);
        if (!value) return corrupt("{}: {} is missing", where_, bloom::quoted(key));
        return named(key, value->as_double());
    }

    Result<double> real_or(std::string_view key, double fallback) const {
        return find(key) ? real(key) : Result<double>(fallback);
    }

    Result<bool> boolean_or(std::string_view key, bool fallback) const {
        const auto value = find(key);
        return value ? named(key, value->as_bool()) : Result<bool>(fallback);
    }

    Result<std::string> text_or(std::string_view key, std::string_view fallback) const {
        const auto value = find(key);
        if (!value) return std::string(fallback);
        BLOOM_TRY(const std::string_view text, named(key, value->as_string()));
        return std::string(text);
    }

    Result<std::optional<Fields>> object(std::string_view key) const {
        const auto value = find(key);
        if (!value) return std::optional<Fields>();
        BLOOM_TRY(const json::Object object, named(key, value->as_object()));
        return std::optional<Fields>(Fields(object, key));
    }

    /// Strings of a list; empty where it is absent.
    Result<std::vector<std::string>> texts(std::string_view key) const {
        std::vector<std::string> out;
        const auto value = find(key);
        if (!value) return out;
        BLOOM_TRY(const json::Array list, named(key, value->as_array()));
        for (const json::Value item : list) {
            BLOOM_TRY(const std::string_view text, named(key, item.as_string()));
            out.emplace_back(text);
        }
        return out;
    }

    /// `layer_types`: one for each layer, or empty where it is absent.
    Result<std::vector<std::string>> layer_types(std::int64_t n_layers) const {
        BLOOM_TRY(std::vector<std::string> types, texts("layer_types"));
        if (types.empty() && !find("layer_types")) return types;
        if (types.size() == static_cast<std::size_t>(n_layers)) return types;
        return corrupt("{}: layer_types has {} entries for {} layers", where_, types.size(),
                       n_layers);
    }

    /// Where the members are, for messages.
    std::string_view where() const { return where_; }

    json::Object raw() const { return object_; }

private:
    template <class T>
    Result<T> named(std::string_view key, Result<T> value) const {
        if (value) return value;
        return corrupt("{}: {}: {}", where_, bloom::quoted(key), value.error().message());
    }

    json::Object object_;
    std::string_view where_;
};

} // namespace bloom::engine::hf
