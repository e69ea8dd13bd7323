#include "dialect/request_fields.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <unordered_set>

#include <fmt/format.h>

namespace bloom::dialect {
namespace {

constexpr std::size_t kMaxStops = 16;
constexpr std::size_t kMaxStopBytes = 512;
constexpr std::size_t kMaxLogitBias = 1024;
constexpr std::size_t kMaxSerials = 64;
constexpr std::int64_t kMaxChoices = 8;
constexpr std::int32_t kDefaultMaxTokens = 8192;
constexpr std::int64_t kMaxTokenLimit = std::numeric_limits<std::int32_t>::max();

Parsed<std::vector<gen::LogitBias>> parse_logit_bias(const json::Value& value) {
    const auto object = value.as_object();
    if (!object) return refuse_type("logit_bias", "an object", value);
    std::vector<gen::LogitBias> biases;
    for (const json::Member member : *object) {
        const std::string where = fmt::format("logit_bias.{}", member.key.substr(0, 32));
        std::int32_t token = -1;
        const char* const end = member.key.data() + member.key.size();
        const auto [at, failure] = std::from_chars(member.key.data(), end, token);
        if (failure != std::errc{} || at != end || token < 0) {
            return refuse(where, "Invalid 'logit_bias': its keys must be token ids.");
        }
        BLOOM_PARSE(const float bias, read_float(member.value, where, -100, 100));
        if (biases.size() == kMaxLogitBias) {
            return refuse("logit_bias",
                          fmt::format("Invalid 'logit_bias': at most {} tokens.", kMaxLogitBias));
        }
        biases.push_back({token, bias});
    }
    return biases;
}

/// Names of machines, trimmed.
Parsed<std::vector<std::string>> parse_serials(const json::Value& value, std::string_view param) {
    std::vector<std::string> serials;
    const auto add = [&](const json::Value& element) -> Parsed<void> {
        BLOOM_PARSE(std::string serial, read_string(element, param));
        const std::size_t first = serial.find_first_not_of(" \t");
        if (first == std::string::npos) {
            return refuse(param, fmt::format("Invalid '{}': a serial must not be empty.", param));
        }
        if (serials.size() == kMaxSerials) {
            return refuse(param,
                          fmt::format("Invalid '{}': at most {} machines.", param, kMaxSerials));
        }
        serials.push_back(serial.substr(first, serial.find_last_not_of(" \t") - first + 1));
        return {};
    };
    if (value.is_string()) {
        auto added = add(value);
        if (!added) return std::unexpected(std::move(added).error());
        return serials;
    }
    const auto array = value.as_array();
    if (!array) return refuse_type(param, "a string or an array of strings", value);
    for (const json::Value element : *array) {
        auto added = add(element);
        if (!added) return std::unexpected(std::move(added).error());
    }
    if (serials.empty())
        return refuse(param, fmt::format("Invalid '{}': it names no machine.", param));
    return serials;
}

} // namespace

std::string path(std::string_view base, std::size_t index, std::string_view member) {
    return member.empty() ? fmt::format("{}[{}]", base, index)
                          : fmt::format("{}[{}].{}", base, index, member);
}

Parsed<std::vector<std::string>> read_stop(const json::Value& value, std::string_view param) {
    std::vector<std::string> stops;
    const auto add = [&](const json::Value& element, const std::string& where) -> Parsed<void> {
        BLOOM_PARSE(std::string stop, read_string(element, where));
        if (stop.empty() || stop.size() > kMaxStopBytes) {
            return refuse(where, fmt::format("Invalid '{}': a stop string has 1 to {} bytes.",
                                             where, kMaxStopBytes));
        }
        if (stops.size() == kMaxStops) {
            return refuse(param,
                          fmt::format("Invalid '{}': at most {} stop strings.", param, kMaxStops));
        }
        stops.push_back(std::move(stop));
        return {};
    };
    if (value.is_string()) {
        auto added = add(value, std::string(param));
        if (!added) return std::unexpected(std::move(added).error());
        return stops;
    }
    const auto array = value.as_array();
    if (!array) return refuse_type(param, "a string or an array of strings", value);
    std::size_t index = 0;
    for (const json::Value element : *array) {
        auto added = add(element, path(param, index++));
        if (!added) return std::unexpected(std::move(added).error());
    }
    return stops;
}

Parsed<bool> read_sampling(const json::Member& m, gen::Sampling& s) {
    constexpr double kSmallest = 1e-6; // the open lower end of (0, 1]
    if (m.key == "temperature") {
        BLOOM_PARSE(s.temperature, read_float(m.value, m.key, 0, 2));
    } else if (m.key == "top_p") {
        BLOOM_PARSE(s.top_p, read_float(m.value, m.key, kSmallest, 1));
    } else if (m.key == "top_k") {
        BLOOM_PARSE(const std::int64_t k, read_int(m.value, m.key, -1, kMaxTokenLimit));
        s.top_k = static_cast<std::int32_t>(std::max<std::int64_t>(k, 0));
    } else if (m.key == "min_p") {
        BLOOM_PARSE(s.min_p, read_float(m.value, m.key, 0, 1));
    } else if (m.key == "presence_penalty") {
        BLOOM_PARSE(s.presence_penalty, read_float(m.value, m.key, -2, 2));
    } else if (m.key == "frequency_penalty") {
        BLOOM_PARSE(s.frequency_penalty, read_float(m.value, m.key, -2, 2));
    } else if (m.key == "repetition_penalty") {
        BLOOM_PARSE(s.repetition_penalty, read_float(m.value, m.key, 0.01, 10));
    } else if (m.key == "seed") {
        BLOOM_PARSE(const std::int64_t seed,
                    read_int(m.value, m.key, std::numeric_limits<std::int64_t>::min(),
                             std::numeric_limits<std::int64_t>::max()));
        s.seed = static_cast<std::uint64_t>(seed);
    } else if (m.key == "logit_bias") {
        BLOOM_PARSE(s.logit_bias, parse_logit_bias(m.value));
    } else {
        return false;
    }
    return true;
}

Parsed<void> read_effort(const json::Value& value, std::string_view param,
                         gen::TemplateOptions& options) {
    BLOOM_PARSE(std::string effort, read_string(value, param));
    constexpr std::string_view kEfforts[] = {"none", "minimal", "low", "medium",
                                             "high", "xhigh",   "max"};
    if (std::ranges::find(kEfforts, effort) == std::end(kEfforts)) {
        return refuse(param, fmt::format("Invalid value: '{}'. Supported values are: 'none', "
                                         "'minimal', 'low', 'medium', 'high', 'xhigh', 'max'.",
                                         effort.substr(0, 64)));
    }
    // Templates that can only think or not think get the nearest of the two.
    options.enable_thinking = effort != "none" && effort != "minimal";
    options.reasoning_effort = std::move(effort);
    return {};
}

Parsed<bool> read_routing(const json::Member& m, gen::Routing& routing) {
    if (m.key != "provider_serial" && m.key != "provider_serials") return false;
    BLOOM_PARSE(std::vector<std::string> serials, parse_serials(m.value, m.key));
    auto& known = routing.provider_serials;
    for (std::string& serial : serials) {
        if (std::ranges::find(known, serial) == known.end()) known.push_back(std::move(serial));
    }
    return true;
}

Parsed<bool> read_delivery(const json::Member& m, gen::Generation& g) {
    if (m.key == "stream") {
        BLOOM_PARSE(g.render.stream, read_bool(m.value, m.key));
    } else if (m.key == "stream_options") {
        const auto options = m.value.as_object();
        if (!options) return refuse_type(m.key, "an object", m.value);
        if (const auto usage = options->find("include_usage"); usage && !usage->is_null()) {
            BLOOM_PARSE(g.render.include_usage, read_bool(*usage, "stream_options.include_usage"));
        }
    } else if (m.key == "stop") {
        BLOOM_PARSE(g.limits.stop, read_stop(m.value, m.key));
    } else if (m.key == "reasoning_effort") {
        BLOOM_PARSE_VOID(read_effort(m.value, m.key, g.tmpl));
    } else if (m.key == "reasoning_format") {
        BLOOM_PARSE(const std::string format, read_string(m.value, m.key));
        if (format == "parsed") {
            g.render.reasoning = gen::ReasoningMode::parsed;
        } else if (format == "hidden") {
            g.render.reasoning = gen::ReasoningMode::hidden;
        } else if (format == "raw") {
            g.render.reasoning = gen::ReasoningMode::raw;
        } else {
            return refuse(m.key,
                          "Invalid 'reasoning_format': expected 'parsed', 'hidden' or 'raw'.");
        }
    } else if (m.key == "chat_template_kwargs") {
        const auto kwargs = m.value.as_object();
        if (!kwargs) return refuse_type(m.key, "an object", m.value);
        if (const auto thinking = kwargs->find("enable_thinking");
            thinking && !thinking->is_null()) {
            BLOOM_PARSE(g.tmpl.enable_thinking,
                        read_bool(*thinking, "chat_template_kwargs.enable_thinking"));
        }
    } else {
        return false;
    }
    return true;
}

Parsed<std::int32_t> read_choices(const json::Value& value, std::string_view param) {
    BLOOM_PARSE(const std::int64_t n, read_int(value, param, 1, kMaxChoices));
    return static_cast<std::int32_t>(n);
}

Parsed<std::int64_t> read_token_limit(const json::Member& m) {
    if (m.value.kind() == json::Kind::unsigned_integer) return kMaxTokenLimit;
    BLOOM_PARSE(const std::int64_t n,
                read_int(m.value, m.key, 0, std::numeric_limits<std::int64_t>::max()));
    return std::min(n, kMaxTokenLimit);
}

std::int32_t output_bound(std::int64_t asked) {
    return asked > 0 ? static_cast<std::int32_t>(asked) : kDefaultMaxTokens;
}

Parsed<void> check_tool_results(const std::vector<gen::Message>& messages, std::string_view param) {
    std::unordered_set<std::string_view> called; // long histories: one pass
    for (std::size_t i = 0; i < messages.size(); ++i) {
        for (const gen::ToolCall& call : messages[i].tool_calls)
            called.insert(call.id);
        if (messages[i].role != gen::Role::tool || messages[i].tool_call_id.empty()) continue;
        if (!called.contains(messages[i].tool_call_id)) {
            return refuse(
                path(param, i, "tool_call_id"),
                "Messages with role 'tool' must answer a preceding message with 'tool_calls'.");
        }
    }
    return {};
}

} // namespace bloom::dialect
