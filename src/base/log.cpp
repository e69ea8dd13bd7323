#include <array>
#include <memory>
#include <string>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <bloom/base/log.hpp>

namespace bloom::log {
namespace {

spdlog::level::level_enum to_spdlog(Level level) noexcept {
    static constexpr std::array kLevels{spdlog::level::trace, spdlog::level::debug,
                                        spdlog::level::info,  spdlog::level::warn,
                                        spdlog::level::err,   spdlog::level::off};
    return kLevels[static_cast<std::size_t>(level)];
}

struct Sink {
    std::shared_ptr<spdlog::logger> logger = [] {
        auto made = std::make_shared<spdlog::logger>(
            "darkbloom", std::make_shared<spdlog::sinks::stderr_sink_mt>());
        made->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %-5l %v", spdlog::pattern_time_type::utc);
        made->flush_on(spdlog::level::trace);
        return made;
    }();
    bool json = false;
};

Sink& sink() {
    static Sink instance;
    return instance;
}

void append_json_escaped(std::string& out, std::string_view text) {
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
            out += c;
        }
    }
}

} // namespace

void init(Level level, bool json) {
    Sink& s = sink();
    s.json = json;
    s.logger->set_level(to_spdlog(level));
    s.logger->set_pattern(json ? R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l","message":"%v"})"
                               : "%Y-%m-%dT%H:%M:%S.%eZ %-5l %v",
                          spdlog::pattern_time_type::utc);
}

bool parse_level(std::string_view name, Level& out) noexcept {
    static constexpr std::array<std::string_view, 6> kNames{"trace", "debug", "info",
                                                            "warn",  "error", "off"};
    for (std::size_t i = 0; i < kNames.size(); ++i) {
        if (kNames[i] == name) {
            out = static_cast<Level>(i);
            return true;
        }
    }
    return false;
}

bool enabled(Level level) noexcept {
    return sink().logger->should_log(to_spdlog(level));
}

void write(Level level, std::string_view message) {
    Sink& s = sink();
    if (!s.json) {
        s.logger->log(to_spdlog(level), spdlog::string_view_t(message.data(), message.size()));
        return;
    }
    std::string escaped;
    escaped.reserve(message.size() + 16);
    append_json_escaped(escaped, message);
    s.logger->log(to_spdlog(level), spdlog::string_view_t(escaped.data(), escaped.size()));
}

} // namespace bloom::log
