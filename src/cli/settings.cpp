#include <charconv>
#include <cstdlib>
#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <bloom/base/check.hpp>
#include <bloom/base/text.hpp>
#include <bloom/cli/settings.hpp>

namespace bloom::cli {
namespace {

using Kind = Setting::Kind;

constexpr std::int64_t kMaxSeconds = 86'400;

std::optional<std::string> environment(const char* name) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') return std::nullopt;
    return std::string(value);
}

Result<> check(const Setting& setting, const std::vector<std::string>& items,
               std::string_view where) {
    if (setting.kind == Kind::list) return {};
    if (items.size() != 1) {
        return Error{Code::invalid_argument,
                     fmt::format("{}: {} takes one value", where, setting.key)};
    }
    const std::string& value = items.front();
    if (setting.kind == Kind::integer) {
        std::int64_t number = 0;
        const char* const end = value.data() + value.size();
        const auto [at, failure] = std::from_chars(value.data(), end, number);
        if (failure != std::errc{} || at != end || number < setting.low || number > setting.high) {
            return Error{Code::invalid_argument,
                         fmt::format("{}: {} = {} is not a whole number from {} to {}", where,
                                     setting.key, bloom::quoted(value), setting.low, setting.high)};
        }
    }
    if (setting.kind == Kind::flag && value != "true" && value != "false") {
        return Error{Code::invalid_argument, fmt::format("{}: {} = {} is neither true nor false",
                                                         where, setting.key, bloom::quoted(value))};
    }
    return {};
}

/// A value of the file and where it stands.
struct FileValue {
    std::vector<std::string> items;
    std::string where; ///< file:line
};

using FileValues = std::map<std::string, FileValue>;

/// Lists in the environment: one variable, commas between the items.
std::vector<std::string> split_list(std::string_view text) {
    std::vector<std::string> items;
    for (;;) {
        const std::size_t comma = text.find(',');
        if (const std::string_view item = text.substr(0, comma); !item.empty())
            items.emplace_back(item);
        if (comma == std::string_view::npos) return items;
        text.remove_prefix(comma + 1);
    }
}

Result<std::vector<std::string>> toml_items(const toml::node& node, const std::string& key,
                                            const std::string& where) {
    const auto unsupported = [&] {
        return Error{
            Code::invalid_argument,
            fmt::format("{}: {}: expected a text, a whole number, true or false, or a list "
                        "of them",
                        where, key)};
    };
    std::vector<std::string> items;
    const auto scalar = [&](const toml::node& n) -> bool {
        if (n.is_string())
            items.push_back(n.as_string()->get());
        else if (n.is_integer())
            items.push_back(std::to_string(n.as_integer()->get()));
        else if (n.is_boolean())
            items.push_back(n.as_boolean()->get() ? "true" : "false");
        else
            return false;
        return true;
    };
    if (const toml::array* array = node.as_array()) {
        for (const toml::node& element : *array) {
            if (!scalar(element)) return unsupported();
        }
        return items;
    }
    if (!scalar(node)) return unsupported();
    return items;
}

const Setting* find_setting(std::string_view key) {
    for (const Setting& setting : all_settings()) {
        if (setting.key == key) return &setting;
    }
    return nullptr;
}

/// Flattens tables into dotted keys and hands each leaf to `use`.
Result<> walk(const toml::table& table, const std::string& prefix, const std::string& file,
              FileValues& out) {
    for (const auto& [name, node] : table) {
        const std::string key =
            prefix.empty() ? std::string(name.str()) : prefix + "." + std::string(name.str());
        if (const toml::table* inner = node.as_table()) {
            BLOOM_OK(walk(*inner, key, file, out));
            continue;
        }
        const std::string where = fmt::format("{}:{}", file, node.source().begin.line);
        if (find_setting(key) == nullptr) {
            return Error{
                Code::invalid_argument,
                fmt::format("{}: unknown key {}; see 'darkbloom serve --print-config' for all keys",
                            where, bloom::quoted(key))};
        }
        BLOOM_TRY(std::vector<std::string> items, toml_items(node, key, where));
        out[key] = {std::move(items), where};
    }
    return {};
}

Result<FileValues> read_file(const std::string& file) {
    FileValues out;
    if (file.empty()) return out;
    try {
        const toml::table table = toml::parse_file(file);
        BLOOM_OK(walk(table, "", file, out));
    } catch (const toml::parse_error& failure) {
        return Error{Code::invalid_argument,
                     failure.source().begin.line == 0 // not a place in the file, but the file
                         ? fmt::format("{}: {}", file, failure.description())
                         : fmt::format("{}:{}: {}", file, failure.source().begin.line,
                                       failure.description())};
    }
    return out;
}

} // namespace

std::string_view to_string(Origin origin) noexcept {
    switch (origin) {
    case Origin::built_in:
        return "built in";
    case Origin::file:
        return "file";
    case Origin::environment:
        return "environment";
    case Origin::flag:
        return "flag";
    }
    return "";
}

const std::vector<Setting>& all_settings() {
    static const std::vector<Setting> kSettings{
        {"serve.listen", "--listen", "DARKBLOOM_LISTEN", Kind::text, "127.0.0.1:8080",
         "address and port; port 0 picks a free one"},
        {"serve.data_dir", "--data-dir", "DARKBLOOM_DATA_DIR", Kind::text, "",
         "folder of the database (default: XDG data home, darkbloom/)"},
        {"serve.role", "--role", "DARKBLOOM_ROLE", Kind::text, "combined", "combined"},
        {"serve.io_threads", "--io-threads", "DARKBLOOM_IO_THREADS", Kind::integer, "1",
         "threads that serve connections", 1, 256},
        {"serve.drain_timeout_s", "--drain-timeout", "DARKBLOOM_DRAIN_TIMEOUT", Kind::integer, "60",
         "seconds that running answers get after SIGTERM", 0, kMaxSeconds},
        {"serve.write_stall_timeout_s", "--write-stall-timeout", "DARKBLOOM_WRITE_STALL_TIMEOUT",
         Kind::integer, "60", "seconds after which a client that reads nothing is gone", 1,
         kMaxSeconds},
        {"serve.tls_certificate", "--tls-certificate", "DARKBLOOM_TLS_CERTIFICATE", Kind::text, "",
         "PEM file; with a key, HTTPS is served"},
        {"serve.tls_key", "--tls-key", "DARKBLOOM_TLS_KEY", Kind::text, "",
         "PEM file of the private key"},
        {"serve.cors_origins", "--cors-origin", "DARKBLOOM_CORS_ORIGINS", Kind::list, "",
         "browser origins allowed besides localhost"},
        {"serve.list_catalog", "--list-catalog", "DARKBLOOM_LIST_CATALOG", Kind::flag, "false",
         "list catalog models that nobody serves, for nodes that others join"},
        {"provider.serial", "--provider-serial", "DARKBLOOM_PROVIDER_SERIAL", Kind::text, "derived",
         "derived (from the identity key) or chassis (the machine's own): what requests pin"},
        {"log.level", "--log-level", "DARKBLOOM_LOG_LEVEL", Kind::text, "info",
         "trace, debug, info, warn, error or off"},
        {"log.format", "--log-format", "DARKBLOOM_LOG_FORMAT", Kind::text, "text", "text or json"},
        {"engine.model", "--model", "DARKBLOOM_MODEL", Kind::list, "",
         "PATH or ID, optionally =ALIAS; repeatable (default: darkbloom/nano)"},
        {"engine.device", "--device", "DARKBLOOM_DEVICE", Kind::text, "auto", "auto or cpu"},
        {"engine.threads", "--threads", "DARKBLOOM_THREADS", Kind::integer, "0",
         "threads that compute; 0: one per core", 0, 1024},
        {"engine.ctx", "--ctx", "DARKBLOOM_CTX", Kind::integer, "0",
         "context length; 0: the model's own", 0, 1 << 24},
        {"engine.max_sequences", "--max-sequences", "DARKBLOOM_MAX_SEQUENCES", Kind::integer, "64",
         "sequences that run at once", 1, 4096},
        {"engine.max_queued", "--max-queued", "DARKBLOOM_MAX_QUEUED", Kind::integer, "1024",
         "requests that wait for a turn", 0, 1 << 20},
        {"engine.kv_cache_mib", "--kv-cache-mib", "DARKBLOOM_KV_CACHE_MIB", Kind::integer, "0",
         "memory for keys and values; 0: chosen from free memory", 0, 1 << 24},
        {"engine.swap_mib", "--swap-mib", "DARKBLOOM_SWAP_MIB", Kind::integer, "256",
         "memory for sequences that make way for others; 0: they are recomputed", 0, 1 << 24},
        {"engine.state_cache_mib", "--state-cache-mib", "DARKBLOOM_STATE_CACHE_MIB", Kind::integer,
         "-1", "memory for snapshots of recurrent states; -1: a quarter of the cache", -1, 1 << 24},
        {"engine.inter_token_ms", "--inter-token-ms", "DARKBLOOM_INTER_TOKEN_MS", Kind::integer,
         "100", "time between tokens that prompts beside may not pass; 0: no bound", 0, 60'000},
        {"engine.speculation", "--speculation", "DARKBLOOM_SPECULATION", Kind::text, "auto",
         "auto, lookup or off: verify several tokens at once, guessed by the model's own head or "
         "where text repeats itself"},
        {"engine.layers", "--layers", "DARKBLOOM_LAYERS", Kind::integer, "0",
         "only the first N layers; 0: all", 0, 1024},
        {"engine.packed_cache", "--packed-cache", "DARKBLOOM_PACKED_CACHE", Kind::text, "off",
         "off, or a folder that keeps packed weights for the next start"},
        {"engine.precise", "--precise", "DARKBLOOM_PRECISE", Kind::flag, "false",
         "32-bit activations over dequantised weights (slow)"},
    };
    return kSettings;
}

Result<Settings> Settings::load(const std::string& file, const Given& flags) {
    BLOOM_TRY(const auto from_file, read_file(file));
    Settings settings;
    for (const Setting& setting : all_settings()) {
        Value value;
        if (setting.kind != Kind::list) value.items = {setting.built_in};
        std::string where = "built in";
        if (const auto it = from_file.find(setting.key); it != from_file.end()) {
            value = {it->second.items, Origin::file};
            where = it->second.where;
        }
        if (const auto text = environment(setting.environment)) {
            value.items = setting.kind == Kind::list ? split_list(*text) : std::vector{*text};
            value.origin = Origin::environment;
            where = setting.environment;
        }
        if (const auto it = flags.find(setting.flag); it != flags.end()) {
            value = {it->second, Origin::flag};
            where = setting.flag;
        }
        BLOOM_OK(check(setting, value.items, where));
        settings.values_.emplace(setting.key, std::move(value));
    }
    return settings;
}

const Settings::Value& Settings::at(std::string_view key) const {
    const auto found = values_.find(key);
    BLOOM_CHECK(found != values_.end());
    return found->second;
}

const std::string& Settings::text(std::string_view key) const {
    return at(key).items.front();
}

const std::vector<std::string>& Settings::list(std::string_view key) const {
    return at(key).items;
}

std::int64_t Settings::integer(std::string_view key) const {
    std::int64_t value = 0;
    const std::string& text = at(key).items.front();
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

bool Settings::flag(std::string_view key) const {
    return text(key) == "true";
}

Origin Settings::origin(std::string_view key) const {
    return at(key).origin;
}

std::string Settings::print() const {
    std::string out;
    for (const Setting& setting : all_settings()) {
        const Value& value = at(setting.key);
        std::string shown;
        switch (setting.kind) {
        case Kind::list: {
            std::vector<std::string> quoted_items;
            for (const std::string& item : value.items)
                quoted_items.push_back(bloom::quoted(item, 4096));
            shown = fmt::format("[{}]", fmt::join(quoted_items, ", "));
            break;
        }
        case Kind::text:
            shown = bloom::quoted(value.items.front(), 4096);
            break;
        default:
            shown = value.items.front();
            break;
        }
        out += fmt::format("{} = {}  # {}\n", setting.key, shown, to_string(value.origin));
    }
    return out;
}

std::string default_data_dir() {
    if (const auto xdg = environment("XDG_DATA_HOME")) return *xdg + "/darkbloom";
    if (const auto home = environment("HOME")) return *home + "/.local/share/darkbloom";
    return "darkbloom-data";
}

} // namespace bloom::cli
