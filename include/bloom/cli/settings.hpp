#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>

/// The configuration of a node: one list of settings, each of which is a key of the TOML file, a
/// flag and an environment variable (design decision 21).
namespace bloom::cli {

enum class Origin : std::uint8_t { built_in, file, environment, flag };

std::string_view to_string(Origin origin) noexcept;

/// One setting as it may be written: `serve.drain_timeout_s`, `--drain-timeout`,
/// `DARKBLOOM_DRAIN_TIMEOUT`.
struct Setting {
    enum class Kind : std::uint8_t { text, list, integer, flag };

    const char* key;
    const char* flag; ///< with its dashes
    const char* environment;
    Kind kind;
    const char* built_in;
    const char* help;
    std::int64_t low = 0; ///< integers
    std::int64_t high = 0;
};

/// All of them, in the order of --print-config.
const std::vector<Setting>& all_settings();

/// Values of every setting with where each came from. Precedence: flag, environment, file, built
/// in.
class Settings {
public:
    using Given = std::map<std::string, std::vector<std::string>>; ///< flag -> values

    /// Reads `file` (none if empty) and the environment and puts `flags` on top.
    /// Errors: invalid_argument naming the unknown key or the value outside its range.
    static Result<Settings> load(const std::string& file, const Given& flags);

    const std::string& text(std::string_view key) const;
    const std::vector<std::string>& list(std::string_view key) const;
    std::int64_t integer(std::string_view key) const;
    bool flag(std::string_view key) const;
    Origin origin(std::string_view key) const;

    /// One line per setting: key = value  # origin.
    std::string print() const;

private:
    struct Value {
        std::vector<std::string> items;
        Origin origin = Origin::built_in;
    };

    const Value& at(std::string_view key) const;

    std::map<std::string, Value, std::less<>> values_;
};

/// `$XDG_DATA_HOME/darkbloom` or `~/.local/share/darkbloom`.
std::string default_data_dir();

} // namespace bloom::cli
