#include "cli/common.hpp"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include <fmt/format.h>

#include <bloom/node/node.hpp>
#include <bloom/provider/model_folder.hpp>

#include "cli/chat_backend.hpp"

namespace bloom::cli {

int report(const Error& error) {
    std::fprintf(stderr, "error: %s\n", std::string(error.message()).c_str());
    switch (error.code()) {
    case Code::invalid_argument:
        return 2;
    case Code::machine_lacks:
        return 3;
    default:
        return 1;
    }
}

void print(std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
}

std::string data_dir_of(const Settings& settings) {
    const std::string& named = settings.text("serve.data_dir");
    return named.empty() ? default_data_dir() : named;
}

std::string models_dir_of(const Settings& settings) {
    return data_dir_of(settings) + "/models";
}

Result<std::string> locate(std::string_view model, const Settings& settings) {
    return provider::locate_model(model, models_dir_of(settings), registry::Catalog::built_in());
}

std::string key_from_environment() {
    for (const char* name : {"DARKBLOOM_API_KEY", "DARKBLOOM_OWNER_KEY"}) {
        if (const char* key = std::getenv(name); key != nullptr && *key != '\0') return key;
    }
    return {};
}

std::string running_node(const Settings& settings) {
    std::ifstream file(data_dir_of(settings) + "/" + std::string(node::kUrlFile));
    std::string url;
    if (!std::getline(file, url) || url.empty() || !is_alive(url)) return {};
    return url;
}

std::string human_bytes(double bytes) {
    static constexpr std::array kUnits{"B", "kB", "MB", "GB", "TB"};
    std::size_t unit = 0;
    while (bytes >= 1000 && unit + 1 < kUnits.size()) {
        bytes /= 1000;
        ++unit;
    }
    return unit == 0 ? fmt::format("{:.0f} B", bytes)
                     : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

} // namespace bloom::cli
